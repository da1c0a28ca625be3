//! The fields of a packet as JSON. The drivers of all oracles write the same fields.

use std::fmt::Write;

use serde_json::{Value, json};
use umqtt::codec::{Connack, Connect, Packet, Publish, SubackReturnCode};

/// Returns the fields of a packet.
pub(crate) fn of(packet: &Packet<'_>) -> Value {
    match packet {
        Packet::Connect(connect) => of_connect(connect),
        Packet::Connack(connack) => {
            let (session_present, code) = match connack {
                Connack::Accepted { session_present } => (*session_present, 0),
                Connack::Refused(code) => (false, *code as u8),
            };
            json!({ "type": "connack", "session_present": session_present, "code": code })
        }
        Packet::Publish(publish) => of_publish(publish),
        Packet::Puback(ack) => json!({ "type": "puback", "id": ack.packet_id.get() }),
        Packet::Pubrec(ack) => json!({ "type": "pubrec", "id": ack.packet_id.get() }),
        Packet::Pubrel(ack) => json!({ "type": "pubrel", "id": ack.packet_id.get() }),
        Packet::Pubcomp(ack) => json!({ "type": "pubcomp", "id": ack.packet_id.get() }),
        Packet::Subscribe(subscribe) => {
            let filters = subscribe.filters();
            let filters: Vec<Value> = filters
                .map(|(filter, qos)| json!([hex(filter.as_bytes()), qos as u8]))
                .collect();
            json!({ "type": "subscribe", "id": subscribe.packet_id().get(), "filters": filters })
        }
        Packet::Suback(suback) => {
            let codes: Vec<u8> = suback
                .codes()
                .iter()
                .map(|code| match code {
                    SubackReturnCode::Granted(qos) => qos as u8,
                    SubackReturnCode::Failure => 0x80,
                })
                .collect();
            json!({ "type": "suback", "id": suback.packet_id().get(), "codes": codes })
        }
        Packet::Unsubscribe(unsubscribe) => {
            let filters = unsubscribe.filters();
            let filters: Vec<String> = filters.map(|filter| hex(filter.as_bytes())).collect();
            json!({ "type": "unsubscribe", "id": unsubscribe.packet_id().get(), "filters": filters })
        }
        Packet::Unsuback(ack) => json!({ "type": "unsuback", "id": ack.packet_id.get() }),
        Packet::Pingreq => json!({ "type": "pingreq" }),
        Packet::Pingresp => json!({ "type": "pingresp" }),
        Packet::Disconnect => json!({ "type": "disconnect" }),
    }
}

fn of_connect(connect: &Connect<'_>) -> Value {
    let will = connect.will.map(|will| {
        json!({
            "topic": hex(will.topic.as_bytes()),
            "message": hex(will.message),
            "qos": will.qos as u8,
            "retain": will.retain,
        })
    });
    let credentials = connect.credentials;
    json!({
        "type": "connect",
        "client_id": hex(connect.client_id.as_bytes()),
        "clean": connect.clean_session,
        "keep_alive": connect.keep_alive,
        "will": will,
        "user_name": credentials.map(|known| hex(known.user_name.as_bytes())),
        "password": credentials.and_then(|known| known.password).map(hex),
    })
}

fn of_publish(publish: &Publish<'_>) -> Value {
    let delivery = publish.delivery;
    json!({
        "type": "publish",
        "topic": hex(publish.topic.as_bytes()),
        "qos": delivery.qos() as u8,
        "retain": publish.retain,
        "dup": delivery.dup(),
        "id": delivery.packet_id().map(|id| id.get()),
        "payload": hex(publish.payload),
    })
}

/// Writes two hex digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(digits, "{byte:02x}").expect("a string takes anything");
    }
    digits
}

/// Reads the bytes of hex digits.
pub(crate) fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(pair, 16).expect("digits")
        })
        .collect()
}
