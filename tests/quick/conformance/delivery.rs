//! The statements of MQTT 3.1.1 about the delivery of messages, one test each.

use umqtt::{Event, Message, Storage};

use crate::wire::*;

/// [MQTT-3.3.1-1] DUP is set on a PUBLISH of which at least one byte was attempted before, and on no other.
#[test]
fn mqtt_3_3_1_1_dup_is_set_on_attempted_publishes_only() {
    let first = publish(1, 1, b"first").len();
    let all = first + publish(2, 2, b"second").len() + publish(1, 3, b"third").len();
    for sent_len in 0..=all {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        driven.publish(1, b"first");
        driven.publish(2, b"second");
        driven.publish(1, b"third");
        if sent_len > 0 {
            assert_eq!(driven.send_up_to(sent_len).len(), sent_len);
        }
        driven.lose();
        driven.open(&KEEP, true);
        let mut begin = 0;
        let expected: Vec<_> = [
            publish(1, 1, b"first"),
            publish(2, 2, b"second"),
            publish(1, 3, b"third"),
        ]
        .into_iter()
        .map(|packet| {
            let attempted = sent_len > begin;
            begin += packet.len();
            if attempted { dup(packet) } else { packet }
        })
        .collect();
        assert_eq!(packets(&driven.sent()), expected, "after {sent_len} bytes");
    }
}

/// [MQTT-3.3.1-1] Bytes that were provided to a transport count as attempted, even if it never reported how many it
/// accepted.
#[test]
fn mqtt_3_3_1_1_bytes_provided_count_as_attempted() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish(1, b"lent");
    let now = driven.at();
    assert_eq!(driven.session.pending(now), publish(1, 1, b"lent"));
    driven.publish(1, b"not lent");
    driven.lose();
    // A connection that is closed before CONNACK sends none of them.
    for _ in 0..2 {
        driven.connect(&KEEP);
        driven.sent();
        driven.lose();
    }
    driven.open(&KEEP, true);
    assert_eq!(
        packets(&driven.sent()),
        [dup(publish(1, 1, b"lent")), publish(1, 2, b"not lent")]
    );
}

/// [MQTT-3.3.1-3] A received DUP is reported unchanged and has no effect.
#[test]
fn mqtt_3_3_1_3_received_dup_has_no_effect() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    let with_dup = |qos| Message {
        dup: true,
        ..message(qos, b"x")
    };
    // These messages have DUP, but are new. At QoS 1, each message is new.
    driven.receive(&dup(publish(1, 1, b"x")), &[Event::Message(with_dup(1))]);
    driven.receive(&publish(1, 1, b"x"), &[Event::Message(message(1, b"x"))]);
    driven.receive(&dup(publish(2, 1, b"x")), &[Event::Message(with_dup(2))]);
    // This message is a repetition, although it has no DUP.
    driven.receive(&publish(2, 1, b"x"), &[]);
    assert_eq!(
        packets(&driven.sent()),
        [puback(1), puback(1), pubrec(1), pubrec(1)]
    );
}

/// [MQTT-3.3.4-1] QoS 0 is not answered, QoS 1 is answered with PUBACK, QoS 2 with PUBREC.
#[test]
fn mqtt_3_3_4_1_publish_is_answered_by_its_qos() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    let answers = [(0, vec![]), (1, puback(7)), (2, pubrec(7))];
    for payload in [&b"short"[..], &[b'x'; 200]] {
        for (level, answer) in &answers {
            driven.stream(&publish(*level, 7, payload));
            assert_eq!(&driven.sent(), answer);
            driven.receive(&pubrel(7), &[]);
            driven.sent();
        }
    }
}

/// [MQTT-4.3.1-1] QoS 0 sent: PUBLISH with QoS 0 and DUP 0, once.
#[test]
fn mqtt_4_3_1_1_qos_0_is_sent_once() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    let message = Message {
        dup: true,
        ..message(0, b"x")
    };
    assert_eq!(driven.session.publish(&message), Ok(None));
    assert_eq!(driven.sent(), publish(0, 0, b"x"));
    assert_eq!(driven.session.in_flight(), 0);
    // Messages that were partly sent, or only queued, are not sent again. Their number is reported.
    driven.publish(0, b"cut");
    driven.publish(0, b"queued");
    driven.send_up_to(3);
    assert_eq!(driven.lose(), texts(&[Event::Qos0Dropped(2)]));
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), b"");
}

/// [MQTT-4.3.2-1] QoS 1 sent: unused id, PUBLISH with DUP 0, kept until PUBACK.
#[test]
fn mqtt_4_3_2_1_qos_1_is_kept_until_puback() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    let other = driven.publish(2, b"other");
    let message = Message {
        dup: true,
        ..message(1, b"x")
    };
    let packet_id = driven.session.publish(&message).unwrap().unwrap();
    assert_ne!(packet_id, id(other));
    let number = packet_id.get();
    assert_eq!(
        driven.sent(),
        wire(&[&publish(2, other, b"other"), &publish(1, number, b"x")])
    );
    for _ in 0..3 {
        driven.lose();
        driven.open(&KEEP, true);
        assert_eq!(
            driven.sent(),
            wire(&[
                &dup(publish(2, other, b"other")),
                &dup(publish(1, number, b"x"))
            ])
        );
        driven.publish_acknowledged();
    }
    driven.receive(&puback(number), &[Event::Puback(packet_id)]);
    driven.lose();
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), dup(publish(2, other, b"other")));
}

/// [MQTT-4.3.2-1] There is no retransmission on a live connection, however long PUBACK takes.
#[test]
fn mqtt_4_3_2_1_open_connection_has_no_retransmission() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.set_response_timeout(1_000_000);
    driven.open(&KEEP, false);
    driven.publish(1, b"one");
    driven.publish_and_send(2, b"two");
    for _ in 0..999 {
        driven.pass(1_000);
        driven.expect(&[]);
        assert_eq!(driven.sent(), b"");
    }
}

/// [MQTT-4.3.2-2] QoS 1 received: PUBACK with the same id after the message was delivered. A later PUBLISH with that id
/// is new.
#[test]
fn mqtt_4_3_2_2_puback_is_sent_after_delivery() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    for payload in [b"one", b"two"] {
        driven.feed(&publish(1, 7, payload));
        let ready = driven.session.poll(driven.at()).unwrap().unwrap();
        assert!(!driven.session.has_pending(), "not before it was seen");
        let event = driven.session.event(ready).unwrap();
        assert_eq!(event, Some(Event::Message(message(1, payload))));
        assert_eq!(driven.sent(), puback(7));
    }
    // An undelivered message is not acknowledged.
    driven.feed(&publish(1, 8, b""));
    let ready = driven.session.poll(driven.at()).unwrap();
    assert!(ready.is_some());
    driven.open(&CLEAN, false);
    driven.expect(&[]);
    assert_eq!(driven.sent(), b"");
}

/// [MQTT-4.3.3-1] QoS 2 sent: PUBLISH until PUBREC, then PUBREL until PUBCOMP. PUBLISH is never sent again after
/// PUBREC. A repeated PUBREC is answered with PUBREL again.
#[test]
fn mqtt_4_3_3_1_qos_2_sent_completes_in_two_steps() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    let packet_id = driven.publish(2, b"x");
    assert_eq!(driven.sent(), publish(2, packet_id, b"x"));
    for _ in 0..2 {
        driven.lose();
        driven.open(&KEEP, true);
        assert_eq!(driven.sent(), dup(publish(2, packet_id, b"x")));
    }
    driven.receive(&pubrec(packet_id), &[]);
    assert_eq!(driven.sent(), pubrel(packet_id));
    for _ in 0..2 {
        driven.receive(&pubrec(packet_id), &[]);
        assert_eq!(driven.sent(), pubrel(packet_id));
        driven.lose();
        driven.open(&KEEP, true);
        assert_eq!(driven.sent(), pubrel(packet_id));
    }
    driven.receive(&pubcomp(packet_id), &[Event::Pubcomp(id(packet_id))]);
    driven.lose();
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), b"");
}

/// [MQTT-4.3.3-1] A PUBREL that was cut, or never sent, is resent. The PUBLISH is not.
#[test]
fn mqtt_4_3_3_1_pubrel_cut_is_resent() {
    for sent_len in 0..=4 {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        driven.publish_and_send(2, b"x");
        driven.receive(&pubrec(1), &[]);
        driven.send_up_to(sent_len);
        driven.lose();
        driven.open(&KEEP, true);
        assert_eq!(driven.sent(), pubrel(1));
    }
}

/// [MQTT-4.3.3-2] QoS 2 received: PUBREC, the id is kept until PUBREL, the message is delivered once, and an unknown
/// PUBREL is also answered with PUBCOMP.
#[test]
fn mqtt_4_3_3_2_qos_2_received_is_delivered_once() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.feed(&publish(2, 7, b"x"));
    let ready = driven.session.poll(driven.at()).unwrap().unwrap();
    assert!(!driven.session.has_pending(), "not before it was seen");
    let event = driven.session.event(ready).unwrap();
    assert_eq!(event, Some(Event::Message(message(2, b"x"))));
    assert_eq!(driven.sent(), pubrec(7));
    for _ in 0..2 {
        driven.receive(&dup(publish(2, 7, b"x")), &[]);
        assert_eq!(driven.sent(), pubrec(7));
        driven.lose();
        driven.open(&KEEP, true);
    }
    // PUBREL, and PUBREL again because the PUBCOMP was lost.
    for _ in 0..2 {
        driven.receive(&pubrel(7), &[]);
        assert_eq!(driven.sent(), pubcomp(7));
        driven.lose();
        driven.open(&KEEP, true);
    }
    driven.receive(
        &publish(2, 7, b"new"),
        &[Event::Message(message(2, b"new"))],
    );
    assert_eq!(driven.sent(), pubrec(7));
    driven.receive(&pubrel(999), &[]);
    assert_eq!(driven.sent(), pubcomp(999));
}

/// [MQTT-4.3.3-2] A message at QoS 2 is also delivered once if it is received in chunks.
#[test]
fn mqtt_4_3_3_2_chunks_are_delivered_once() {
    let payload = [b'x'; 200];
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    let long = publish(2, 7, &payload);
    let events = driven.stream(&long[..long.len() - 1]);
    assert!(!events.is_empty());
    assert_eq!(driven.sent(), b"", "it is not complete");
    assert_eq!(driven.stream(&long[long.len() - 1..]).len(), 1);
    assert_eq!(driven.sent(), pubrec(7));

    driven.lose();
    driven.open(&KEEP, true);
    assert!(driven.stream(&dup(long.clone())).is_empty());
    assert_eq!(driven.sent(), pubrec(7));
    driven.receive(&pubrel(7), &[]);
    assert_eq!(driven.sent(), pubcomp(7));
    assert!(!driven.stream(&long).is_empty(), "a new one");
}

/// [MQTT-4.3.3-2] Inbound and outbound ids are separate spaces.
#[test]
fn mqtt_4_3_3_2_ids_of_both_directions_are_separate() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    let packet_id = driven.publish_and_send(2, b"mine");
    driven.receive(
        &publish(2, packet_id, b"theirs"),
        &[Event::Message(message(2, b"theirs"))],
    );
    assert_eq!(driven.sent(), pubrec(packet_id));
    driven.receive(&pubrel(packet_id), &[]);
    assert_eq!(driven.sent(), pubcomp(packet_id));
    driven.receive(&pubrec(packet_id), &[]);
    assert_eq!(driven.sent(), pubrel(packet_id));
    driven.receive(&pubcomp(packet_id), &[Event::Pubcomp(id(packet_id))]);
}

/// [MQTT-4.4.0-1] On reconnect with Clean Session 0, all unacknowledged PUBLISHes and PUBRELs are resent with their
/// ids, for any value of Session Present.
#[test]
fn mqtt_4_4_0_1_unacknowledged_packets_are_resent() {
    for session_present in [true, false] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        for (level, payload) in [(1, b"a"), (2, b"b"), (2, b"c"), (1, b"d"), (2, b"e")] {
            driven.publish(level, payload);
        }
        driven.sent();
        driven.receive(
            &wire(&[&pubrec(5), &puback(1), &pubrec(2)]),
            &[Event::Puback(id(1))],
        );
        driven.lose();
        driven.open(&KEEP, session_present);
        assert_eq!(
            packets(&driven.sent()),
            [
                pubrel(5),
                pubrel(2),
                dup(publish(2, 3, b"c")),
                dup(publish(1, 4, b"d"))
            ]
        );
    }
}

/// [MQTT-4.4.0-1] With Session Present 0 a PUBREL is resent on that one connection. Its message is then reported as
/// delivery unknown: after PUBCOMP, or if the server refuses it.
#[test]
fn mqtt_4_4_0_1_pubrel_session_lost_is_resent_once() {
    for answered in [true, false] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        let packet_id = driven.publish_and_send(2, b"x");
        driven.receive(&pubrec(packet_id), &[]);
        driven.sent();
        driven.lose();
        driven.open(&KEEP, false);
        assert_eq!(driven.sent(), pubrel(packet_id));
        let unknown = Event::DeliveryUnknown(id(packet_id));
        if answered {
            driven.receive(&pubcomp(packet_id), &[unknown]);
        } else {
            assert_eq!(driven.lose(), texts(&[unknown]));
        }
        assert_eq!(driven.session.in_flight(), 0);
        driven.open(&KEEP, false);
        driven.expect(&[]);
        assert_eq!(driven.sent(), b"", "it is not tried again");
    }
}

/// [MQTT-4.5.0-2] Every PUBLISH is acknowledged, whether it is read, received in chunks or skipped.
#[test]
fn mqtt_4_5_0_2_every_publish_is_acknowledged() {
    let mut storage = Storage::<64, 128, 4, 8>::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    let topic = "t".repeat(100);
    let mut packet_id = 0;
    for (level, answer) in [(1, puback as fn(u16) -> Vec<u8>), (2, pubrec)] {
        for packet in [
            publish_on("nobody/asked", level, 1, b""),
            publish(level, 1, b""),
            publish(level, 1, &[b'x'; 300]),
            publish_on(&topic, level, 1, b""),
            publish_on(&topic, level, 1, &[b'x'; 300]),
        ] {
            packet_id += 1;
            let mut packet = packet;
            // The id is after the topic.
            let header = packets(&packet)[0].len() - remaining(&packet);
            let topic_len = usize::from(u16::from_be_bytes([packet[header], packet[header + 1]]));
            packet[header + 2 + topic_len + 1] = packet_id;
            // The caller takes each event, and ignores it.
            let mut rest = &packet[..];
            while !rest.is_empty() {
                rest = driven.feed_part(rest);
                while let Some(ready) = driven.session.poll(driven.at()).unwrap() {
                    let _ = driven.session.event(ready).unwrap();
                }
            }
            assert_eq!(driven.sent(), answer(packet_id.into()));
        }
        driven.stream(&wire(&[&pubrel(6), &pubrel(7), &pubrel(8)]));
        driven.sent();
    }
}

/// Returns the Remaining Length of a packet.
fn remaining(packet: &[u8]) -> usize {
    let (header, _) = umqtt::codec::FixedHeader::decode(packet).unwrap().unwrap();
    usize::try_from(header.remaining_length).unwrap()
}
