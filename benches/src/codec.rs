//! Rows of the codec: every packet type, decoded and encoded by each crate.

use std::hint::black_box;
use std::sync::Arc;

use bytes::BytesMut;
use mqtt_protocol_core::mqtt::packet::{GenericPacket, GenericPacketTrait, v3_1_1};
use mqtt_tiny::error::DecoderError;
use mqtt_tiny::packets::TryFromIterator;
use tokio_util::codec::{Decoder, Encoder};
use umqtt::codec::{Delivery, Packet, Puback, Subscribe};

use crate::floor;
use crate::measure::Jobs;
use crate::packets::{self, KINDS};

pub fn add(jobs: &mut Jobs) {
    for kind in KINDS {
        let bytes: &'static [u8] = packets::with(kind, |packet| packets::encoded(&packet)).leak();
        umqtt(jobs, kind, bytes);
        floor::add(jobs, kind, bytes);
        mqttrs(jobs, kind, bytes);
        mqttbytes(jobs, kind, bytes);
        rmqtt(jobs, kind, bytes);
        rumqttc(jobs, kind, bytes);
        // mqtt-tiny supports only one return code in a SUBACK.
        if kind != "SUBACK x 4" {
            tiny(jobs, kind, bytes);
        }
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
        // Encodes a list of filters, not a decoded SUBSCRIBE.
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

fn rumqttc(jobs: &mut Jobs, kind: &str, bytes: &'static [u8]) {
    use rumqttc::Packet;

    jobs.add(
        decode(kind, "rumqttc-v4-next"),
        move || BytesMut::from(bytes),
        |stream| Packet::read(stream, usize::MAX),
    );
    let packet = Packet::read(&mut BytesMut::from(bytes), usize::MAX).expect("valid");
    let mut out = BytesMut::with_capacity(1 << 17);
    jobs.add(
        encode(kind, "rumqttc-v4-next"),
        || (),
        move |()| {
            out.clear();
            packet.write(&mut out, usize::MAX)
        },
    );
}

/// Adds mqtt-tiny, which decodes from an iterator of bytes and encodes to one.
fn tiny(jobs: &mut Jobs, kind: &str, bytes: &'static [u8]) {
    jobs.add(
        decode(kind, "mqtt-tiny"),
        move || bytes,
        |bytes| read_tiny(bytes),
    );
    let packet = read_tiny(bytes).expect("valid");
    let mut out = Vec::with_capacity(1 << 17);
    jobs.add(
        encode(kind, "mqtt-tiny"),
        move || Some(packet.clone()),
        move |packet| {
            out.clear();
            out.extend(packet.take().into_iter().flatten());
            out.len()
        },
    );
}

pub fn read_tiny(bytes: &[u8]) -> Result<mqtt_tiny::Packet, DecoderError> {
    mqtt_tiny::Packet::try_from_iter(bytes.iter().copied())
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

/// Adds mqtt-protocol-core. It decodes the body of a packet with a known type, so the row reads the fixed header first.
fn protocol_core(jobs: &mut Jobs, kind: &str, bytes: &'static [u8]) {
    let (_, _, body) = split(bytes).expect("whole");
    let shared: Arc<[u8]> = body.into();
    jobs.add(
        decode(kind, "mqtt-protocol-core"),
        move || (bytes, Some(shared.clone())),
        |(bytes, shared)| {
            let (kind, flags, body) = split(bytes)?;
            core_packet(kind, flags, body, shared)
        },
    );
    let packet = read_core(bytes).expect("valid");
    jobs.add(
        encode(kind, "mqtt-protocol-core"),
        || (),
        move |()| packet.to_continuous_buffer(),
    );
}

/// Decodes a packet with mqtt-protocol-core.
pub fn read_core(bytes: &[u8]) -> Option<GenericPacket<u16>> {
    let (kind, flags, body) = split(bytes)?;
    core_packet(kind, flags, body, &mut Some(body.into()))
}

/// Returns type, flags and body of a whole packet.
fn split(bytes: &[u8]) -> Option<(u8, u8, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (mut length, mut shift) = (0, 0);
    for (at, &byte) in rest.iter().enumerate().take(4) {
        length |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte < 0x80 {
            let body = rest.get(at + 1..at + 1 + length)?;
            return Some((first >> 4, first & 0x0F, body));
        }
    }
    None
}

/// Decodes a body. A PUBLISH shares its body, which was allocated before.
fn core_packet(
    kind: u8,
    flags: u8,
    body: &[u8],
    shared: &mut Option<Arc<[u8]>>,
) -> Option<GenericPacket<u16>> {
    macro_rules! parse {
        ($packet:ident) => {{
            let (packet, _) = v3_1_1::$packet::parse(body).ok()?;
            Some(packet.into())
        }};
    }
    match kind {
        1 => parse!(Connect),
        2 => parse!(Connack),
        3 => {
            let (packet, _) = v3_1_1::Publish::parse(flags, shared.take()?).ok()?;
            Some(packet.into())
        }
        4 => parse!(Puback),
        8 => parse!(Subscribe),
        9 => parse!(Suback),
        13 => parse!(Pingresp),
        _ => None,
    }
}
