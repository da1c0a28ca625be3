//! Rows of the codec: every packet type, decoded and encoded by each crate.

use std::hint::black_box;

use bytes::BytesMut;
use mqtt_protocol_core::mqtt::packet::v3_1_1 as core_packet;
use tokio_util::codec::{Decoder, Encoder};
use umqtt::codec::{Delivery, Packet, Puback, Subscribe};

use crate::measure::Jobs;
use crate::packets::{self, KINDS};

pub fn add(jobs: &mut Jobs) {
    for kind in KINDS {
        let bytes: &'static [u8] = packets::with(kind, |packet| packets::encoded(&packet)).leak();
        umqtt(jobs, kind, bytes);
        mqttrs(jobs, kind, bytes);
        mqttbytes(jobs, kind, bytes);
        rmqtt(jobs, kind, bytes);
        protocol_core(jobs, kind, bytes);
    }
    parts(jobs);
}

fn decode(kind: &str, who: &str) -> String {
    format!("decode/{kind}/{who}")
}

fn encode(kind: &str, who: &str) -> String {
    format!("encode/{kind}/{who}")
}

/// Encodes a packet with the function of its type, as a sender does.
macro_rules! encode_own {
    ($jobs:expr, $name:expr, $packet:expr) => {{
        let packet = $packet;
        $jobs.add($name, || (), {
            let mut out = vec![0; 1 << 17];
            move |()| packet.encode(&mut out).map(<[u8]>::len)
        })
    }};
}

fn umqtt(jobs: &mut Jobs, kind: &str, bytes: &'static [u8]) {
    jobs.add(
        decode(kind, "umqtt"),
        move || bytes,
        |bytes| Packet::decode(bytes),
    );
    let (packet, _) = Packet::decode(bytes).expect("valid").expect("whole");
    let name = encode(kind, "umqtt");
    match packet {
        Packet::Connect(packet) => encode_own!(jobs, name, packet),
        Packet::Connack(packet) => encode_own!(jobs, name, packet),
        Packet::Publish(packet) => encode_own!(jobs, name, packet),
        Packet::Puback(packet) => encode_own!(jobs, name, packet),
        Packet::Suback(packet) => encode_own!(jobs, name, packet),
        // From a list of filters, not from the wire.
        Packet::Subscribe(packet) => {
            let filters = packet.filters().collect::<Vec<_>>().leak();
            encode_own!(
                jobs,
                name,
                Subscribe::new(packet.packet_id(), filters).expect("not empty")
            )
        }
        other => encode_own!(jobs, name, other),
    }
}

/// Rows that have a target, and no counterpart in the other crates.
fn parts(jobs: &mut Jobs) {
    let payload: &[u8] = vec![b'x'; 64].leak();
    let header = packets::publish(Delivery::AtMostOnce, payload).header();
    let mut out = vec![0; 128];
    jobs.add(
        encode("PUBLISH QoS 0, 64 B, header alone", "umqtt"),
        || (),
        move |()| header.encode(&mut out).map(<[u8]>::len),
    );
    jobs.add(
        decode("PUBACK, body alone", "umqtt"),
        || -> &'static [u8] { black_box(&[0, 77]) },
        |body| Puback::decode_body(body),
    );
}

fn mqttrs(jobs: &mut Jobs, kind: &str, bytes: &'static [u8]) {
    jobs.add(
        decode(kind, "mqttrs"),
        move || bytes,
        |bytes| mqttrs::decode_slice(bytes),
    );
    let packet = mqttrs::decode_slice(bytes).expect("valid").expect("whole");
    let mut out = vec![0; 1 << 17];
    jobs.add(
        encode(kind, "mqttrs"),
        || (),
        move |()| mqttrs::encode_slice(&packet, &mut out),
    );
}

fn mqttbytes(jobs: &mut Jobs, kind: &str, bytes: &'static [u8]) {
    use mqttbytes::v4::{self, Packet};

    jobs.add(
        decode(kind, "mqttbytes"),
        move || BytesMut::from(bytes),
        |stream| v4::read(stream, usize::MAX),
    );
    let packet = v4::read(&mut BytesMut::from(bytes), usize::MAX).expect("valid");
    let mut buffer = BytesMut::with_capacity(1 << 17);
    let write = move |out: &mut BytesMut| match &packet {
        Packet::Connect(packet) => packet.write(out),
        Packet::ConnAck(packet) => packet.write(out),
        Packet::Publish(packet) => packet.write(out),
        Packet::PubAck(packet) => packet.write(out),
        Packet::Subscribe(packet) => packet.write(out),
        Packet::SubAck(packet) => packet.write(out),
        _ => v4::PingResp.write(out),
    };
    jobs.add(
        encode(kind, "mqttbytes"),
        || (),
        move |()| {
            buffer.clear();
            write(&mut buffer)
        },
    );
}

fn rmqtt(jobs: &mut Jobs, kind: &str, bytes: &'static [u8]) {
    use rmqtt_codec::v3::Codec;

    jobs.add(
        decode(kind, "rmqtt-codec"),
        move || (Codec::new(0), BytesMut::from(bytes)),
        |(codec, stream)| codec.decode(stream),
    );
    let decoded = Codec::new(0).decode(&mut BytesMut::from(bytes));
    let (packet, _) = decoded.expect("valid").expect("whole");
    let mut out = BytesMut::with_capacity(1 << 17);
    jobs.add(
        encode(kind, "rmqtt-codec"),
        move || (Codec::new(0), Some(packet.clone())),
        move |(codec, packet)| {
            out.clear();
            packet.take().map(|packet| codec.encode(packet, &mut out))
        },
    );
}

/// Decodes the body of a packet of known type. The connection reads the fixed header, which is not counted.
fn protocol_core(jobs: &mut Jobs, kind: &str, bytes: &'static [u8]) {
    use std::sync::Arc;

    let start = bytes
        .iter()
        .skip(1)
        .position(|byte| *byte < 0x80)
        .expect("whole")
        + 2;
    let flags = bytes[0] & 0x0F;
    let body = &bytes[start..];
    let name = decode(kind, "mqtt-protocol-core");
    let write = encode(kind, "mqtt-protocol-core");
    macro_rules! both {
        ($packet:ident) => {{
            jobs.add(name, move || body, |body| core_packet::$packet::parse(body));
            let (packet, _) = core_packet::$packet::parse(body).expect("valid");
            jobs.add(write, || (), move |()| packet.to_continuous_buffer());
        }};
    }
    match bytes[0] >> 4 {
        1 => both!(Connect),
        2 => both!(Connack),
        3 => {
            let shared: Arc<[u8]> = body.into();
            let again = shared.clone();
            jobs.add(
                name,
                move || Some(again.clone()),
                move |body| {
                    body.take()
                        .map(|body| core_packet::Publish::parse(flags, body))
                },
            );
            let (packet, _) = core_packet::Publish::parse(flags, shared).expect("valid");
            jobs.add(write, || (), move |()| packet.to_continuous_buffer());
        }
        4 => both!(Puback),
        8 => both!(Subscribe),
        9 => both!(Suback),
        _ => both!(Pingresp),
    }
}
