//! Packets that MQTT 3.1.1 forbids, and the crates whose decoders refuse them.

use bytes::BytesMut;
use tokio_util::codec::Decoder;

use crate::{codec, session};

/// A name, and packets with this fault.
type Fault = (&'static str, &'static [&'static [u8]]);

/// A PUBLISH at QoS 0 and at QoS 1, and a SUBSCRIBE. All decoders accept them. The packets below have one fault each.
const VALID: [&[u8]; 3] = [
    b"\x30\x06\0\x03a/bx",
    b"\x32\x08\0\x03a/b\0\x09x",
    b"\x82\x09\0\x09\0\x04a/bb\x01",
];

const FAULTS: [Fault; 7] = [
    ("empty topic", &[b"\x30\x03\0\0x"]),
    ("topic with NUL", &[b"\x30\x06\0\x03a/\0x"]),
    (
        "topic with wildcard",
        &[b"\x30\x06\0\x03a/+x", b"\x30\x06\0\x03a/#x"],
    ),
    ("topic not UTF-8", &[b"\x30\x06\0\x03a/\xFFx"]),
    ("packet id 0", &[b"\x32\x08\0\x03a/b\0\0x"]),
    ("DUP at QoS 0", &[b"\x38\x06\0\x03a/bx"]),
    ("filter `a/b#`", &[b"\x82\x09\0\x09\0\x04a/b#\x01"]),
];

/// A name, and a function that returns `true` if the decoder accepts a packet.
type Accepts = (&'static str, fn(&[u8]) -> bool);

const DECODERS: [Accepts; 7] = [
    ("umqtt", |bytes| {
        matches!(umqtt::codec::Packet::decode(bytes), Ok(Some(_)))
    }),
    ("mqttrs", |bytes| {
        matches!(mqttrs::decode_slice(bytes), Ok(Some(_)))
    }),
    ("rumqttc-v4-next", |bytes| {
        rumqttc::Packet::read(&mut BytesMut::from(bytes), usize::MAX).is_ok()
    }),
    ("mqttbytes", |bytes| {
        mqttbytes::v4::read(&mut BytesMut::from(bytes), usize::MAX).is_ok()
    }),
    ("mqtt-tiny", |bytes| codec::read_tiny(bytes).is_ok()),
    ("rmqtt-codec", |bytes| {
        let decoded = rmqtt_codec::v3::Codec::new(0).decode(&mut BytesMut::from(bytes));
        matches!(decoded, Ok(Some(_)))
    }),
    ("mqtt-protocol-core", |bytes| {
        codec::read_core(bytes).is_some()
    }),
];

/// Returns a table of the faults that each decoder refuses. umqtt refuses all.
pub fn table() -> String {
    let names = FAULTS.map(|fault| fault.0).join(" | ");
    let mut table = format!("| | {names} |\n|---{}|\n", "|:---:".repeat(FAULTS.len()));
    for (name, accepts) in DECODERS {
        assert!(
            VALID.into_iter().all(accepts),
            "{name} accepts valid packets"
        );
        table += &format!("| {name}");
        for (fault, packets) in FAULTS {
            let is_refused = !packets.iter().any(|packet| accepts(packet));
            assert!(is_refused || name != "umqtt", "umqtt accepts {fault}");
            table += if is_refused {
                " | refused"
            } else {
                " | accepted"
            };
        }
        table += " |\n";
    }
    table
}

/// Returns which clients deliver a repeated message at QoS 2 more than once. umqtt does not.
pub fn repeated() -> String {
    let mut twice = Vec::new();
    for (name, deliveries) in session::deliveries_of_repeated() {
        match deliveries {
            1 => {}
            2 if name != "umqtt" => twice.push(name),
            other => panic!("{name} has delivered a message {other} times"),
        }
    }
    match twice.as_slice() {
        [] => "None of the clients".into(),
        names => names.join(" and "),
    }
}
