//! Encoded packets, as the peer would send them.
#![allow(
    dead_code,
    reason = "no test that compiles this module needs all of it"
)]

use umqtt::codec::{
    Connack, ConnectReturnCode, Delivery, Packet, PacketId, Puback, Pubcomp, Publish, Pubrec,
    Pubrel, QoS, Suback, SubackReturnCode, TopicName, Unsuback,
};

pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
pub(crate) const PINGRESP: [u8; 2] = [0xD0, 0];
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// The codes with which a server refuses a connection.
pub(crate) const REFUSALS: [ConnectReturnCode; 5] = [
    ConnectReturnCode::UnacceptableProtocolVersion,
    ConnectReturnCode::IdentifierRejected,
    ConnectReturnCode::ServerUnavailable,
    ConnectReturnCode::BadUserNameOrPassword,
    ConnectReturnCode::NotAuthorized,
];

/// Returns the packet id with this number.
pub(crate) fn packet_id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

pub(crate) fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut out = vec![0; packet.encoded_len().unwrap()];
    packet.encode(&mut out).unwrap();
    out
}

/// CONNACK with return code 0.
pub(crate) fn connack(session_present: bool) -> Vec<u8> {
    encode(&Packet::Connack(Connack::Accepted { session_present }))
}

pub(crate) fn refused(code: ConnectReturnCode) -> Vec<u8> {
    encode(&Packet::Connack(Connack::Refused(code)))
}

/// Returns the delivery of a message; `id` is not used at QoS 0.
pub(crate) fn delivery(qos: QoS, id: u16, dup: bool) -> Delivery {
    match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce {
            packet_id: packet_id(id),
            dup,
        },
        QoS::ExactlyOnce => Delivery::ExactlyOnce {
            packet_id: packet_id(id),
            dup,
        },
    }
}

/// PUBLISH; `id` is not used at QoS 0.
pub(crate) fn publish(topic: &str, payload: &[u8], qos: QoS, id: u16) -> Vec<u8> {
    publish_as(topic, payload, delivery(qos, id, false), false)
}

/// PUBLISH with every field.
pub(crate) fn publish_as(topic: &str, payload: &[u8], delivery: Delivery, retain: bool) -> Vec<u8> {
    encode(&Packet::Publish(Publish {
        topic: TopicName::new(topic).unwrap(),
        payload,
        delivery,
        retain,
    }))
}

/// Returns the same PUBLISH with DUP.
pub(crate) fn dup(mut publish: Vec<u8>) -> Vec<u8> {
    publish[0] |= 0b1000;
    publish
}

pub(crate) fn puback(id: u16) -> Vec<u8> {
    Puback::new(packet_id(id)).to_bytes().to_vec()
}

pub(crate) fn pubrec(id: u16) -> Vec<u8> {
    Pubrec::new(packet_id(id)).to_bytes().to_vec()
}

pub(crate) fn pubrel(id: u16) -> Vec<u8> {
    Pubrel::new(packet_id(id)).to_bytes().to_vec()
}

pub(crate) fn pubcomp(id: u16) -> Vec<u8> {
    Pubcomp::new(packet_id(id)).to_bytes().to_vec()
}

pub(crate) fn unsuback(id: u16) -> Vec<u8> {
    Unsuback::new(packet_id(id)).to_bytes().to_vec()
}

pub(crate) fn suback(id: u16, codes: &[SubackReturnCode]) -> Vec<u8> {
    encode(&Packet::Suback(Suback::new(packet_id(id), codes).unwrap()))
}

/// A SUBSCRIBE for one filter at QoS 0.
pub(crate) fn subscribe(id: u16, filter: &str) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let len = filter.len() as u8;
    let mut bytes = vec![0x82, len + 5, high, low, 0, len];
    bytes.extend(filter.as_bytes());
    bytes.push(0);
    bytes
}

/// An UNSUBSCRIBE from one filter.
pub(crate) fn unsubscribe(id: u16, filter: &str) -> Vec<u8> {
    let mut bytes = subscribe(id, filter);
    bytes[0] = 0xA2;
    bytes[1] -= 1;
    bytes.pop();
    bytes
}

/// Returns the whole packets in a stream, each as bytes, and the bytes after them. Panics on invalid bytes.
pub(crate) fn packets(mut stream: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut all = Vec::new();
    while let Some((_, used)) = Packet::decode(stream).unwrap() {
        let (packet, rest) = stream.split_at(used);
        all.push(packet);
        stream = rest;
    }
    (all, stream)
}
