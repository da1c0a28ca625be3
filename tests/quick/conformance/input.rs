//! The statements of MQTT 3.1.1 about strings, flags and topics that the session enforces, one test each.
//!
//! The tests of the codec are in `codec.rs`.

use umqtt::{
    Event, Message, ProtocolError, RequestError,
    codec::{
        Connect, DecodeError, EncodeError, PacketType, QoS, SubackReturnCode::Granted, TopicError,
    },
};

use crate::wire::*;

/// Checks that these bytes close the connection with this reason, without an event or an answer. The session keeps its
/// state.
#[track_caller]
fn ends_the_connection(bytes: &[u8], reason: DecodeError) {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"kept");
    driven.feed(bytes);
    assert_eq!(
        driven.close_reason(),
        ProtocolError::Decode(reason),
        "{bytes:x?}"
    );
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), dup(publish(1, 1, b"kept")));
}

/// Returns PUBLISHes on this topic at each QoS: a whole one, and the beginning of one that is larger than the buffer.
fn publishes_on(topic: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for level in 0..=2 {
        for payload in [&b"x"[..], &[b'x'; 200]] {
            let mut packet = publish_on(&"t".repeat(topic.len()), level, 7, payload);
            let header = if payload.len() > 100 { 3 } else { 2 };
            packet[header + 2..][..topic.len()].copy_from_slice(topic);
            packet.truncate(64);
            all.push(packet);
        }
    }
    all
}

/// [MQTT-1.5.3-1] The session closes the connection if it receives ill-formed UTF-8.
#[test]
fn mqtt_1_5_3_1_ill_formed_utf8_closes_connection() {
    for topic in [&b"a\xED\xA0\x80"[..], b"a\xC0\x80", b"a\xFFb"] {
        for packet in publishes_on(topic) {
            ends_the_connection(&packet, DecodeError::InvalidUtf8 { at: 1 });
        }
    }
}

/// [MQTT-1.5.3-2] The session closes the connection if it receives U+0000 in a string.
#[test]
fn mqtt_1_5_3_2_nul_closes_connection() {
    for packet in publishes_on(b"ab\0c") {
        ends_the_connection(&packet, DecodeError::TopicName(TopicError::Nul { at: 2 }));
    }
}

/// [MQTT-2.2.2-2] The session closes the connection at the first byte with invalid flags.
#[test]
fn mqtt_2_2_2_2_invalid_flags_close_connection() {
    let packets = [
        (PacketType::Puback, puback(1)),
        (PacketType::Pubrec, pubrec(1)),
        (PacketType::Pubrel, pubrel(1)),
        (PacketType::Pubcomp, pubcomp(1)),
        (PacketType::Suback, suback(1, &[Granted(QoS::AtMostOnce)])),
        (PacketType::Unsuback, unsuback(1)),
        (PacketType::Pingresp, PINGRESP.to_vec()),
    ];
    for (packet_type, packet) in packets {
        for flags in (0..16).filter(|flags| packet[0] & 0x0F != *flags) {
            let first = packet[0] & 0xF0 | flags;
            let reason = DecodeError::InvalidFlags { packet_type, flags };
            ends_the_connection(&[&[first], &packet[1..]].concat(), reason);
            ends_the_connection(&[first], reason);
        }
    }
    // CONNACK is tested after CONNECT, where it is allowed.
    for flags in 1..16 {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::new(&mut storage);
        driven.connect(&CLEAN);
        driven.sent();
        driven.feed(&[0x20 | flags, 2, 0, 0]);
        let packet_type = PacketType::Connack;
        let reason = DecodeError::InvalidFlags { packet_type, flags };
        assert_eq!(driven.close_reason(), ProtocolError::Decode(reason));
    }
}

/// [MQTT-3.3.1-4] The session closes the connection if it receives a PUBLISH with QoS 3.
#[test]
fn mqtt_3_3_1_4_qos_3_closes_connection() {
    for flags in [0b0110, 0b0111, 0b1110, 0b1111] {
        let packet = [0x30 | flags, 6, 0, 1, b't', 0, 7, b'x'];
        ends_the_connection(&packet, DecodeError::PublishQosThree);
        ends_the_connection(&packet[..1], DecodeError::PublishQosThree);
    }
}

/// [MQTT-3.1.3-7] An empty client id with Clean Session 0 is refused before anything is sent.
#[test]
fn mqtt_3_1_3_7_empty_client_id_sends_nothing() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    let without_id = Connect {
        client_id: "",
        ..KEEP
    };
    let at = driven.at();
    assert_eq!(
        driven.session.connect(&without_id, at),
        Err(RequestError::Encode(EncodeError::EmptyClientId))
    );
    assert_eq!(driven.sent(), b"");
    assert_eq!(driven.time_to_deadline(), None);
    driven.open(&Connect::new(""), false);
}

/// [MQTT-3.3.1-8] The retain flag of a received message is reported to the caller, also if the message is received in
/// chunks.
#[test]
fn mqtt_3_3_1_8_retain_is_reported_to_caller() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    for retain in [true, false] {
        for level in 0..=2 {
            let flag = u8::from(retain);
            let mut packet = publish(level, 7, b"x");
            packet[0] |= flag;
            driven.receive(
                &packet,
                &[Event::Message(Message {
                    retain,
                    ..message(level, b"x")
                })],
            );

            let mut packet = publish(level, 8, &[b'x'; 200]);
            packet[0] |= flag;
            let events = driven.stream(&packet);
            assert!(events.len() > 1);
            assert!(
                events
                    .iter()
                    .all(|event| event.contains(&format!("retain: {retain}"))),
                "{events:?}"
            );
            driven.receive(&wire(&[&pubrel(7), &pubrel(8)]), &[]);
            driven.sent();
        }
    }
}

/// [MQTT-3.3.1-10] An empty retained message can be published and received.
#[test]
fn mqtt_3_3_1_10_empty_retained_is_sent_and_received() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    for level in 0..=2 {
        let clear = Message {
            retain: true,
            ..message(level, b"")
        };
        let packet_id = driven.session.publish(&clear).unwrap();
        let mut packet = publish(level, packet_id.map_or(0, |id| id.get()), b"");
        packet[0] |= 1;
        assert_eq!(driven.sent(), packet);
        driven.receive(&packet, &[Event::Message(clear)]);
        driven.sent();
    }
}

/// [MQTT-3.3.2-2] A message on a topic with a wildcard is not published, and not received.
#[test]
fn mqtt_3_3_2_2_wildcard_topic_is_refused_both_ways() {
    for (topic, at) in [("a/#", 2), ("+", 0), ("a/+/b", 2)] {
        let wildcard = TopicError::Wildcard { at };
        for packet in publishes_on(topic.as_bytes()) {
            ends_the_connection(&packet, DecodeError::TopicName(wildcard));
        }
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let message = Message {
                qos,
                ..Message::new(topic, b"x")
            };
            assert_eq!(
                driven.session.publish(&message),
                Err(RequestError::Encode(EncodeError::Topic(wildcard)))
            );
        }
        assert_eq!((driven.sent(), driven.session.in_flight()), (vec![], 0));
    }
}
