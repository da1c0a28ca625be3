//! The statements of MQTT 3.1.1 about the order of messages, protocol violations of the peer, and lack of room, one
//! test each.

use umqtt::{
    Event, ProtocolError, RequestError, Storage,
    codec::{DecodeError, PacketType, QoS},
};

use crate::wire::*;

/// [MQTT-4.6.0-1] PUBLISHes are resent in their original order, and new QoS 1 and 2 PUBLISHes are sent after them.
#[test]
fn mqtt_4_6_0_1_resends_are_in_order_before_new_ones() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    for (level, payload) in [(1, b"a"), (2, b"b"), (1, b"c"), (1, b"d")] {
        driven.publish(level, payload);
    }
    driven.sent();
    driven.receive(&puback(3), &[Event::Puback(id(3))]);
    driven.lose();

    driven.connect(&KEEP);
    driven.publish(1, b"new");
    driven.publish(2, b"newer");
    assert_eq!(driven.sent(), connect(&KEEP), "the new ones wait");
    driven.lose();
    driven.connect(&KEEP);
    driven.publish_and_send(1, b"newest");
    driven.accept(true);
    driven.publish(1, b"last");
    assert_eq!(
        packets(&driven.sent()),
        [
            dup(publish(1, 1, b"a")),
            dup(publish(2, 2, b"b")),
            dup(publish(1, 4, b"d")),
            publish(1, 5, b"new"),
            publish(2, 6, b"newer"),
            publish(1, 7, b"newest"),
            publish(1, 8, b"last"),
        ]
    );
}

/// [MQTT-4.6.0-1] A pending PUBREL also delays new PUBLISHes until CONNACK.
#[test]
fn mqtt_4_6_0_1_publish_pubrel_pending_waits_for_connack() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(2, b"a");
    driven.receive(&pubrec(1), &[]);
    driven.connect(&KEEP);
    driven.publish(1, b"new");
    assert_eq!(driven.sent(), connect(&KEEP));
    driven.accept(true);
    assert_eq!(driven.sent(), wire(&[&pubrel(1), &publish(1, 2, b"new")]));
}

/// [MQTT-4.6.0-2] PUBACKs are sent in the order of the received PUBLISHes.
#[test]
fn mqtt_4_6_0_2_pubacks_are_in_publish_order() {
    keeps_the_order(1, puback);
}

/// [MQTT-4.6.0-3] PUBRECs are sent in the order of the received PUBLISHes.
#[test]
fn mqtt_4_6_0_3_pubrecs_are_in_publish_order() {
    keeps_the_order(2, pubrec);
}

/// Checks that messages of all kinds at one QoS are answered in order, if the transport accepts few bytes at a time.
fn keeps_the_order(level: u8, answer: fn(u16) -> Vec<u8>) {
    let mut storage = Storage::<64, 128, 4, 32>::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    let long_topic = "t".repeat(100);
    let mut expected = Vec::new();
    let mut incoming = Vec::new();
    for (n, packet_id) in [9, 3, 7, 1, 8, 2, 20, 11].into_iter().enumerate() {
        incoming.extend(match n % 4 {
            0 => publish(level, packet_id, b"x"),
            1 => publish(level, packet_id, &[b'x'; 100]),
            2 => publish_on(&long_topic, level, packet_id, b"x"),
            // At QoS 2, this message is a repetition, which is not reported.
            _ => publish(level, 9, b"x"),
        });
        expected.push(answer(if n % 4 == 3 { 9 } else { packet_id }));
    }
    let mut sent = Vec::new();
    for piece in incoming.chunks(11) {
        driven.stream(piece);
        sent.extend(driven.send_up_to(3));
    }
    sent.extend(driven.sent());
    assert_eq!(packets(&sent), expected);
}

/// [MQTT-4.6.0-4] PUBRELs are sent in the order of the received PUBRECs, even if some of these have an unknown id, or
/// the connection is lost in between.
#[test]
fn mqtt_4_6_0_4_pubrels_are_in_pubrec_order() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    for _ in 0..4 {
        driven.publish(2, b"");
    }
    driven.sent();
    driven.receive(
        &wire(&[
            &pubrec(3),
            &pubrec(99),
            &pubrec(1),
            &pubrec(4),
            &pubrec(3),
            &pubrec(2),
        ]),
        &[],
    );
    assert_eq!(
        packets(&driven.sent()),
        [3, 99, 1, 4, 3, 2].map(pubrel),
        "in the order of receipt"
    );
    driven.lose();
    driven.open(&KEEP, true);
    assert_eq!(packets(&driven.sent()), [3, 1, 4, 2].map(pubrel));
}

/// [MQTT-4.6.0-4] PUBRELs of an older connection are sent before those for a new PUBREC, for any number of them.
#[test]
fn mqtt_4_6_0_4_older_pubrels_are_sent_first() {
    let mut storage = Storage::<64, 256, 20>::new();
    let mut driven = TestSession::connected(&mut storage);
    for _ in 0..20 {
        driven.publish(2, b"");
    }
    driven.sent();
    for packet_id in (1..=20).rev() {
        driven.receive(&pubrec(packet_id), &[]);
        driven.sent();
    }
    driven.lose();
    driven.open(&KEEP, true);
    driven.feed(&pubrec(99));
    let mut sent = Vec::new();
    for _ in 0..9 {
        driven.expect(&[]);
        sent.extend(driven.send_up_to(16));
    }
    let expected: Vec<_> = (1..=20).rev().chain([99]).map(pubrel).collect();
    assert_eq!(packets(&sent), expected);
}

/// [MQTT-4.8.0-1] A protocol violation by the peer closes that connection, with the reason. The session keeps its
/// state.
#[test]
fn mqtt_4_8_0_1_violation_closes_connection_keeps_session() {
    let wrong = |packet_type, packet_id| ProtocolError::UnexpectedAck {
        packet_type,
        packet_id: id(packet_id),
    };
    let unexpected = ProtocolError::UnexpectedPacket;
    let decode = ProtocolError::Decode;
    let violations = [
        (connack(true), unexpected(PacketType::Connack)),
        (PINGREQ.to_vec(), unexpected(PacketType::Pingreq)),
        (DISCONNECT.to_vec(), unexpected(PacketType::Disconnect)),
        (connect(&KEEP), unexpected(PacketType::Connect)),
        (subscribe(1, "a"), unexpected(PacketType::Subscribe)),
        (unsubscribe(1, "a"), unexpected(PacketType::Unsubscribe)),
        // This packet is longer than the receive buffer. The error is about its type, not its length.
        (vec![0x82, 0xFF, 0x01], unexpected(PacketType::Subscribe)),
        (puback(2), wrong(PacketType::Puback, 2)),
        (pubrec(1), wrong(PacketType::Pubrec, 1)),
        (pubcomp(2), wrong(PacketType::Pubcomp, 2)),
        (puback(3), wrong(PacketType::Puback, 3)),
        (
            vec![0x00, 0],
            decode(DecodeError::ReservedPacketType { value: 0 }),
        ),
        (vec![0x40, 2, 0, 0], decode(DecodeError::PacketIdZero)),
        (vec![0x62, 2, 0, 0], decode(DecodeError::PacketIdZero)),
        (vec![0x90, 3, 0, 0, 0], decode(DecodeError::PacketIdZero)),
        (
            vec![0x32, 5, 0, 1, b't', 0, 0],
            decode(DecodeError::PacketIdZero),
        ),
    ];
    for (bytes, expected) in violations {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        driven.publish(1, b"one");
        driven.publish(2, b"two");
        driven.publish_and_send(2, b"three");
        driven.feed(&pubrec(3));
        driven.receive(
            &publish(2, 5, b"theirs"),
            &[Event::Message(message(2, b"theirs"))],
        );
        driven.sent();

        driven.feed(&wire(&[&bytes, &puback(1)]));
        assert_eq!(driven.close_reason(), expected, "{bytes:x?}");
        let now = driven.at();
        assert_eq!(driven.session.poll(now), Err(expected), "and again");

        driven.open(&KEEP, true);
        assert_eq!(
            packets(&driven.sent()),
            [
                pubrel(3),
                dup(publish(1, 1, b"one")),
                dup(publish(2, 2, b"two"))
            ]
        );
        driven.receive(&dup(publish(2, 5, b"theirs")), &[]);
        assert_eq!(driven.sent(), pubrec(5));
    }
}

/// [MQTT-4.8.0-2] If a packet is larger than the receive buffer, the connection is closed. The error has the size
/// needed, and the session is kept.
#[test]
fn mqtt_4_8_0_2_packet_too_large_reports_bytes_needed() {
    let mut storage = Storage::<16, 256, 8>::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish(1, b"kept");
    let filters = [("a", QoS::AtMostOnce); 12];
    let asked = driven.subscribe(&filters);
    driven.sent();
    // One return code too many.
    let answer = suback(
        asked,
        &[umqtt::codec::SubackReturnCode::Granted(QoS::AtMostOnce); 13],
    );
    driven.feed(&answer[..2]);
    let (events, reason) = driven.events_and_reason();
    assert_eq!(reason, ProtocolError::ReceiveBufferTooSmall { needed: 17 });
    assert_eq!(events, texts(&[Event::OutcomeUnknown(id(asked))]));
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), dup(publish(1, 1, b"kept")));
}

/// [MQTT-4.8.0-2] If there is no room for the ids of QoS 2 messages, the connection is closed. The error has the
/// capacity. The next connection makes progress.
#[test]
fn mqtt_4_8_0_2_too_many_inbound_ids_reports_capacity() {
    let mut storage = Storage::<64, 128, 2, 2>::new();
    let mut driven = TestSession::connected(&mut storage);
    let incoming = wire(&[
        &publish(2, 1, b"a"),
        &publish(2, 2, b"b"),
        &publish(2, 3, b"c"),
    ]);
    driven.receive(
        &incoming,
        &[
            Event::Message(message(2, b"a")),
            Event::Message(message(2, b"b")),
        ],
    );
    // The messages with a kept id are completed first. Otherwise, the next connection would begin with the same
    // messages.
    assert_eq!(packets(&driven.sent()), [pubrec(1), pubrec(2)]);
    driven.expect(&[]);
    for (packet, answer) in [
        (dup(publish(2, 1, b"a")), pubrec(1)),
        (pubrel(1), pubcomp(1)),
    ] {
        driven.receive(&packet, &[]);
        assert_eq!(packets(&driven.sent()), [answer]);
    }
    // There is room again. But QoS 2 messages are acknowledged in order, and an earlier one had no room. QoS 1 messages
    // have their own order.
    driven.receive(
        &wire(&[&publish(2, 4, b"d"), &publish(1, 5, b"e")]),
        &[Event::Message(message(1, b"e"))],
    );
    assert_eq!(packets(&driven.sent()), [puback(5)]);
    driven.receive(&pubrel(2), &[]);
    assert_eq!(packets(&driven.sent()), [pubcomp(2)]);
    assert_eq!(
        driven.close_reason(),
        ProtocolError::TooManyQos2Messages { capacity: 2 }
    );

    driven.open(&KEEP, true);
    driven.feed(&wire(&[
        &dup(publish(2, 3, b"c")),
        &dup(publish(2, 4, b"d")),
    ]));
    assert_eq!(driven.events().len(), 2);
    assert_eq!(packets(&driven.sent()), [pubrec(3), pubrec(4)]);
    // A long message without room is skipped. The messages with a kept id are completed.
    assert_eq!(driven.stream(&publish(2, 6, &[0; 100])), [""; 0]);
    assert_eq!(driven.sent(), b"");
    for packet_id in [3, 4] {
        driven.receive(&pubrel(packet_id), &[]);
        assert_eq!(driven.sent(), pubcomp(packet_id));
    }
    assert_eq!(
        driven.close_reason(),
        ProtocolError::TooManyQos2Messages { capacity: 2 }
    );
}

/// [MQTT-4.8.0-2] An oversized topic is skipped, acknowledged and reported instead.
#[test]
fn mqtt_4_8_0_2_oversized_topic_is_skipped() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    let topic = "t".repeat(60_000);
    for (level, answer) in [(0, vec![]), (1, puback(7)), (2, pubrec(7))] {
        let mut bytes = publish_head(&topic, level, 7, 10);
        bytes.extend([b'x'; 10]);
        bytes.extend(publish(0, 0, b"next"));
        assert_eq!(
            driven.stream(&bytes),
            texts(&[
                Event::TopicTooLong { len: 60_000 },
                Event::Message(message(0, b"next"))
            ])
        );
        assert_eq!(driven.sent(), answer);
    }
}

/// Returns a PUBLISH without its payload. Its topic may be too long for [`encoded`].
fn publish_head(topic: &str, level: u8, packet_id: u16, payload_len: usize) -> Vec<u8> {
    let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
    body.extend(topic.as_bytes());
    if level > 0 {
        body.extend(packet_id.to_be_bytes());
    }
    let mut len = body.len() + payload_len;
    let mut bytes = vec![0x30 | (level << 1)];
    while len >= 128 {
        bytes.push(u8::try_from(len % 128).unwrap() | 0x80);
        len /= 128;
    }
    bytes.push(u8::try_from(len).unwrap());
    bytes.extend(body);
    bytes
}

/// [MQTT-4.8.0-2] If no more requests fit, the caller gets an error, and the connection stays open.
#[test]
fn mqtt_4_8_0_2_in_flight_full_is_returned_to_caller() {
    let mut storage = Storage::<64, 128, 1>::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    driven.publish(1, b"");
    let full = RequestError::InflightFull { capacity: 1 };
    assert_eq!(driven.session.publish(&message(2, b"")), Err(full));
    driven.sent();
    driven.receive(&puback(1), &[Event::Puback(id(1))]);
    driven.publish(2, b"");
}
