//! Requests without a connection, requests of a handler while it has its event, and saved changes.

use std::collections::VecDeque;

use crate::wire::{
    CLEAN, DISCONNECT, KEEP, PINGREQ, TIMEOUT, TOPIC, TestSession, TestStorage, connack, connect,
    dup, id, message, packets, puback, pubcomp, publish, publish_on, pubrec, pubrel, qos, streamed,
    suback, subscribe, texts, unsubscribe, wire,
};
use umqtt::{
    Event, ImageError, InputBlock, Message, ProtocolError, RequestError, Session, Storage,
    StreamedPublish,
    codec::{Connect, QoS, SubackReturnCode},
};

/// Another client.
const OTHER: Connect<'static> = Connect {
    client_id: "other",
    ..KEEP
};

// Publishing without a connection.

#[test]
fn publish_prepared_is_sent_after_connack_in_order() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.prepare(&KEEP).unwrap();
    assert_eq!(driven.publish(1, b"a"), 1);
    assert_eq!(driven.publish(2, b"b"), 2);
    assert_eq!(driven.publish(1, b"c"), 3);
    assert_eq!(driven.session.in_flight(), 3);
    // There is no connection yet.
    assert!(!driven.session.is_connecting() && !driven.session.is_connected());
    assert_eq!(driven.sent(), b"");
    assert_eq!(driven.session.pending(driven.at()), b"");
    assert_eq!(driven.session.deadline(), None);
    assert_eq!(driven.close_reason(), ProtocolError::Closed);

    driven.open(&KEEP, false);
    assert_eq!(
        driven.sent(),
        wire(&[
            &publish(1, 1, b"a"),
            &publish(2, 2, b"b"),
            &publish(1, 3, b"c")
        ])
    );
    driven.receive(
        &wire(&[&puback(1), &pubrec(2), &puback(3)]),
        &[Event::Puback(id(1)), Event::Puback(id(3))],
    );
    assert_eq!(driven.sent(), pubrel(2));
    driven.receive(&pubcomp(2), &[Event::Pubcomp(id(2))]);
    assert_eq!(driven.session.in_flight(), 0);
    assert_eq!(driven.sent(), b"");
}

/// Messages that were queued before and after `connect` are sent in the order of the calls.
#[test]
fn publish_before_and_after_connect_keeps_order() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.prepare(&KEEP).unwrap();
    driven.publish(2, b"a");
    driven.session.prepare(&KEEP).unwrap();
    driven.publish(1, b"b");
    driven.connect(&KEEP);
    driven.publish(0, b"c");
    driven.publish(1, b"d");
    assert_eq!(driven.sent(), connect(&KEEP));
    driven.accept(false);
    driven.publish(0, b"e");
    assert_eq!(
        driven.sent(),
        wire(&[
            &publish(2, 1, b"a"),
            &publish(1, 2, b"b"),
            &publish(0, 0, b"c"),
            &publish(1, 3, b"d"),
            &publish(0, 0, b"e"),
        ])
    );
}

/// [MQTT-3.3.1-1] Only messages of which a byte was offered to a transport have DUP.
#[test]
fn publish_after_connection_loss_has_dup_only_if_attempted() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"sent");
    driven.publish(2, b"cut");
    driven.send_up_to(3);
    driven.publish(1, b"never");
    assert_eq!(driven.lose(), [""; 0]);
    driven.publish(2, b"offline");
    // A connection on which only the CONNECT was sent does not count.
    driven.connect(&KEEP);
    driven.sent();
    driven.lose();
    driven.publish(1, b"later");

    driven.open(&KEEP, true);
    assert_eq!(
        packets(&driven.sent()),
        [
            dup(publish(1, 1, b"sent")),
            dup(publish(2, 2, b"cut")),
            publish(1, 3, b"never"),
            publish(2, 4, b"offline"),
            publish(1, 5, b"later"),
        ]
    );
    // All messages were offered to a transport. One is acknowledged, so that the others are not sent one by one.
    driven.receive(&puback(1), &[Event::Puback(id(1))]);
    driven.lose();
    driven.open(&KEEP, true);
    let again = packets(&driven.sent());
    assert_eq!(again.len(), 4);
    assert!(again.iter().all(|packet| packet[0] & 8 != 0));
}

/// If the server refuses the connection, no queued message is lost, and none has DUP later.
#[test]
fn publish_prepared_connection_refused_is_kept() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.prepare(&KEEP).unwrap();
    driven.publish(1, b"a");
    driven.connect(&KEEP);
    assert_eq!(driven.sent(), connect(&KEEP));
    driven.feed(&[0x20, 2, 0, 3]);
    assert!(matches!(driven.close_reason(), ProtocolError::Refused(_)));
    driven.publish(1, b"b");
    driven.open(&KEEP, false);
    assert_eq!(
        driven.sent(),
        wire(&[&publish(1, 1, b"a"), &publish(1, 2, b"b")])
    );
}

/// Sends all pending packets to a server that acknowledges them, and returns the PUBLISHes.
fn publishes_with_server(driven: &mut TestSession<'_>, events: &mut Vec<String>) -> Vec<Vec<u8>> {
    let mut publishes = Vec::new();
    let mut sent = VecDeque::from(packets(&driven.sent()));
    while let Some(packet) = sent.pop_front() {
        let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let answer = match packet[0] >> 4 {
            3 if packet[0] >> 1 & 3 == 1 => puback(number(4 + TOPIC.len())),
            3 => pubrec(number(4 + TOPIC.len())),
            6 => pubcomp(number(2)),
            other => unreachable!("{other}"),
        };
        if packet[0] >> 4 == 3 {
            publishes.push(packet);
        }
        events.extend(driven.stream(&answer));
        sent.extend(packets(&driven.sent()));
    }
    publishes
}

#[test]
fn thousand_readings_offline_arrive_once_in_order() {
    for level in [1, 2] {
        let mut storage = Storage::<64, 16_384, 1_000>::new();
        let mut driven = TestSession::new(&mut storage);
        driven.session.prepare(&KEEP).unwrap();
        let readings = (0..1_000_u16).map(u16::to_be_bytes).collect::<Vec<_>>();
        for (reading, expected) in readings.iter().zip(1..) {
            assert_eq!(driven.publish(level, reading), expected);
        }
        assert_eq!(
            driven.session.publish(&message(level, b"one more")),
            Err(RequestError::InflightFull { capacity: 1_000 })
        );
        driven.open(&KEEP, false);
        let mut events = Vec::new();
        let sent = publishes_with_server(&mut driven, &mut events);
        assert_eq!(sent.len(), 1_000);
        for ((packet, reading), packet_id) in sent.iter().zip(&readings).zip(1..) {
            assert_eq!(*packet, publish(level, packet_id, reading));
        }
        assert_eq!(events.len(), 1_000);
        assert_eq!(driven.session.in_flight(), 0);
    }
}

/// Without a connection, only messages at QoS 1 and 2 of a kept session are accepted.
#[test]
fn request_offline_not_kept_is_not_connected() {
    fn refused(driven: &mut TestSession<'_>, levels: &[u8]) {
        let not_connected = RequestError::NotConnected;
        for level in levels {
            let sent = driven.session.publish(&message(*level, b"x"));
            assert_eq!(sent, Err(not_connected), "QoS {level}");
        }
        for level in [0, 1, 2] {
            assert_eq!(
                driven.session.begin_payload(streamed(level), 4),
                Err(not_connected)
            );
        }
        let filters = [("f", QoS::AtMostOnce)];
        assert_eq!(driven.session.subscribe(&filters), Err(not_connected));
        assert_eq!(driven.session.unsubscribe(&["f"]), Err(not_connected));
        assert_eq!(driven.session.ping(), Err(not_connected));
        assert_eq!(driven.session.disconnect(), Err(not_connected));
        assert_eq!(driven.session.in_flight(), 0);
    }
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    // No CONNECT was written.
    refused(&mut driven, &[0, 1, 2]);
    // The session is not kept.
    driven.session.prepare(&CLEAN).unwrap();
    refused(&mut driven, &[0, 1, 2]);
    driven.open(&CLEAN, false);
    driven.lose();
    refused(&mut driven, &[0, 1, 2]);
    // QoS 0 is not kept.
    driven.session.prepare(&KEEP).unwrap();
    refused(&mut driven, &[0]);
    driven.open(&KEEP, false);
    driven.lose();
    refused(&mut driven, &[0]);
    driven.publish(1, b"x");
}

/// After DISCONNECT was queued, the connection accepts no requests.
#[test]
fn publish_disconnect_queued_is_not_connected_until_it_was_sent() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.session.disconnect().unwrap();
    assert_eq!(
        driven.session.publish(&message(1, b"x")),
        Err(RequestError::NotConnected)
    );
    assert_eq!(driven.sent(), DISCONNECT);
    driven.publish(1, b"x");
    assert_eq!(driven.sent(), b"");
    driven.lose();
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), publish(1, 1, b"x"));
}

/// While events of a closed connection are pending, messages can be published.
#[test]
fn publish_event_of_closed_connection_pending_keeps_both() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish(0, b"lost");
    driven.subscribe(&[("f", QoS::AtMostOnce)]);
    driven.publish(1, b"a");
    let reason = loop {
        driven.refuse();
        driven.pass(TIMEOUT / 8);
        match driven.session.poll(driven.at()) {
            Ok(event) => assert!(event.is_none()),
            Err(reason) => break reason,
        }
    };
    assert_eq!(reason, ProtocolError::WriteTimeout);
    // Messages are published before the report is announced, while it is pending, and after it was taken.
    driven.publish(1, b"b");
    let token = driven.session.poll(driven.at()).unwrap().unwrap();
    driven.publish(2, b"c");
    let event = driven.session.event(token).unwrap();
    assert_eq!(event, Some(Event::OutcomeUnknown(id(1))));
    driven.publish(1, b"d");
    let token = driven.session.poll(driven.at()).unwrap().unwrap();
    driven.publish(1, b"e");
    let event = driven.session.event(token).unwrap();
    assert_eq!(event, Some(Event::Qos0Dropped(1)));
    assert_eq!(driven.close_reason(), ProtocolError::WriteTimeout);

    driven.open(&KEEP, true);
    assert_eq!(
        packets(&driven.sent()),
        [
            dup(publish(1, 2, b"a")),
            publish(1, 3, b"b"),
            publish(2, 4, b"c"),
            publish(1, 5, b"d"),
            publish(1, 6, b"e"),
        ]
    );
}

/// While received packets of a lost connection are handled, messages can be published.
#[test]
fn publish_while_ending_keeps_message_and_publish() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish(1, b"a");
    driven.publish_and_send(1, b"b");
    driven.feed(&wire(&[&puback(1), &publish(1, 7, b"in"), &puback(2)]));
    let token = driven.session.poll(driven.at()).unwrap().unwrap();
    driven.session.connection_lost();
    driven.publish(1, b"c");
    let event = driven.session.event(token).unwrap();
    assert_eq!(event, Some(Event::Puback(id(1))));
    driven.publish(2, b"d");
    let token = driven.session.poll(driven.at()).unwrap().unwrap();
    driven.publish(1, b"e");
    let event = driven.session.event(token).unwrap();
    assert_eq!(event, Some(Event::Message(message(1, b"in"))));
    let (events, reason) = driven.events_and_reason();
    assert_eq!(events, texts(&[Event::Puback(id(2))]));
    assert_eq!(reason, ProtocolError::Closed);
    driven.open(&KEEP, true);
    assert_eq!(
        packets(&driven.sent()),
        [
            publish(1, 3, b"c"),
            publish(2, 4, b"d"),
            publish(1, 5, b"e")
        ]
    );
}

/// An acknowledgement of a message that was not sent is refused, even while the connection ends.
#[test]
fn puback_for_publish_queued_while_ending_is_a_protocol_error() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.feed(&puback(1));
    driven.session.connection_lost();
    driven.publish(1, b"a");
    let reason = driven.close_reason();
    assert!(
        matches!(reason, ProtocolError::UnexpectedAck { .. }),
        "{reason:?}"
    );
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), publish(1, 1, b"a"));
}

/// If the connection is lost inside a streamed payload, the payload is requested again. A message that was queued
/// meanwhile follows it.
#[test]
fn publish_while_ending_in_payload_follows_the_payload() {
    for staged in [false, true] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        driven.session.begin_payload(streamed(1), 6).unwrap();
        driven.sent();
        let now = driven.at();
        driven.session.payload_sent(2, now);
        if staged {
            driven.session.payload_space()[..3].copy_from_slice(b"abc");
            driven.session.payload_commit(3);
        }
        driven.session.connection_lost();
        driven.publish(1, b"after");
        assert_eq!(driven.close_reason(), ProtocolError::Closed);
        driven.publish(2, b"last");
        driven.open(&KEEP, true);
        driven.expect(&[Event::PayloadNeeded(id(1))]);
        assert_eq!(driven.sent(), b"");
        driven
            .session
            .begin_payload(StreamedPublish::Resend(id(1)), 6)
            .unwrap();
        let mut sent = driven.sent();
        driven.session.payload_sent(6, now);
        sent.extend(b"abcdef");
        sent.extend(driven.sent());
        assert_eq!(
            packets(&sent),
            [
                dup(publish(1, 1, b"abcdef")),
                publish(1, 2, b"after"),
                publish(2, 3, b"last")
            ]
        );
    }
}

/// A restored message counts as sent, and has DUP.
#[test]
fn publish_offline_saved_and_restored_is_sent_with_dup() {
    let mut image = [0; TestStorage::IMAGE_LEN];
    let mut first = TestStorage::new();
    let mut driven = TestSession::new(&mut first);
    driven.session.prepare(&KEEP).unwrap();
    driven.publish(1, b"a");
    driven.publish(2, b"b");
    let saved = driven.session.save(&mut image).unwrap();

    let mut second = TestStorage::new();
    let mut driven = TestSession::new(&mut second);
    driven.session.restore(&image[..saved.len]).unwrap();
    assert_eq!(driven.session.in_flight(), 2);
    // The image also records that the session is kept.
    assert_eq!(driven.publish(1, b"c"), 3);
    driven.open(&KEEP, false);
    assert_eq!(
        packets(&driven.sent()),
        [
            dup(publish(1, 1, b"a")),
            dup(publish(2, 2, b"b")),
            publish(1, 3, b"c")
        ]
    );
}

/// [MQTT-3.1.3-2] Queued messages belong to the client id of the CONNECT that was prepared.
#[test]
fn connect_other_id_messages_queued_is_client_id_mismatch() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.prepare(&KEEP).unwrap();
    // Without messages, the session belongs to no client id.
    driven.session.prepare(&OTHER).unwrap();
    driven.session.prepare(&KEEP).unwrap();
    driven.publish(1, b"a");
    let now = driven.at();
    let mismatch = Err(RequestError::ClientIdMismatch);
    assert_eq!(driven.session.prepare(&OTHER), mismatch);
    assert_eq!(driven.session.connect(&OTHER, now), mismatch);
    assert!(!driven.session.is_connecting());
    driven.open(&KEEP, false);
    assert_eq!(driven.sent(), publish(1, 1, b"a"));
}

/// [MQTT-3.1.2-6] A new session has no messages.
#[test]
fn clean_session_messages_queued_discards_and_reports_them() {
    for prepares in [false, true] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::new(&mut storage);
        driven.session.prepare(&KEEP).unwrap();
        driven.publish(1, b"a");
        driven.publish(2, b"b");
        let discarded = [
            Event::PublishDiscarded(id(1)),
            Event::PublishDiscarded(id(2)),
        ];
        if prepares {
            driven.session.prepare(&CLEAN).unwrap();
            assert_eq!(driven.events_and_reason().0, texts(&discarded));
            assert_eq!(
                driven.session.publish(&message(1, b"c")),
                Err(RequestError::NotConnected)
            );
        }
        driven.connect(&CLEAN);
        assert_eq!(driven.sent(), connect(&CLEAN));
        driven.feed(&connack(false));
        let events = driven.events();
        assert!(events[0].starts_with("Connected"), "{events:?}");
        let expected = if prepares { vec![] } else { texts(&discarded) };
        assert_eq!(events[1..], expected);
        assert_eq!(driven.sent(), b"");
        assert_eq!(driven.session.in_flight(), 0);
    }
}

#[test]
fn publish_offline_slots_taken_is_in_flight_full() {
    let mut storage = Storage::<64, 256, 2>::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.prepare(&KEEP).unwrap();
    driven.publish(1, b"a");
    driven.publish(2, b"b");
    for level in [1, 2] {
        assert_eq!(
            driven.session.publish(&message(level, b"c")),
            Err(RequestError::InflightFull { capacity: 2 })
        );
    }
    driven.open(&KEEP, false);
    assert_eq!(
        driven.sent(),
        wire(&[&publish(1, 1, b"a"), &publish(2, 2, b"b")])
    );
}

/// Even in a full send buffer, there is room for the prepared CONNECT and for DISCONNECT.
#[test]
fn publish_offline_buffer_full_leaves_room_for_connect() {
    let connect_len = connect(&KEEP).len();
    let mut storage = Storage::<64, 64, 8>::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.prepare(&KEEP).unwrap();
    let free = 64 - connect_len - DISCONNECT.len();
    driven.publish(1, b"abcde");
    let first = publish(1, 1, b"abcde");
    let too_long = vec![7; free - first.len() - publish(1, 2, b"").len() + 1];
    assert!(matches!(
        driven.session.publish(&message(1, &too_long)),
        Err(RequestError::SendBufferFull { .. })
    ));
    assert!(matches!(
        driven.session.publish(&message(1, &[7; 64])),
        Err(RequestError::PacketTooLarge { .. })
    ));
    let fits = &too_long[1..];
    assert_eq!(driven.publish(1, fits), 2);
    assert_eq!(driven.session.in_flight(), 2);
    // A longer CONNECT has no room. The session is unchanged.
    let longer = Connect {
        credentials: Some(umqtt::codec::Credentials {
            user_name: "u",
            password: None,
        }),
        ..KEEP
    };
    let now = driven.at();
    for result in [
        driven.session.prepare(&longer),
        driven.session.connect(&longer, now),
    ] {
        let needed = connect(&longer).len();
        let free = connect_len;
        assert_eq!(result, Err(RequestError::NoRoomForConnect { needed, free }));
    }
    driven.open(&KEEP, false);
    driven.session.disconnect().unwrap();
    assert_eq!(
        driven.sent(),
        wire(&[&first, &publish(1, 2, fits), &DISCONNECT])
    );
}

/// `prepare` ends an older connection, as `connect` does.
#[test]
fn prepare_connected_closes_connection() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"a");
    driven.session.prepare(&KEEP).unwrap();
    assert!(!driven.session.is_connected());
    assert_eq!(driven.close_reason(), ProtocolError::Closed);
    driven.publish(1, b"b");
    driven.open(&KEEP, true);
    assert_eq!(
        driven.sent(),
        wire(&[&dup(publish(1, 1, b"a")), &publish(1, 2, b"b")])
    );
}

// A publisher that is used while an event is borrowed.

/// [MQTT-4.3.2-2] The message is acknowledged before the answer is sent.
#[test]
fn message_answered_with_its_payload_follows_acknowledgement() {
    for (level, acknowledgement) in [(0, vec![]), (1, puback(7)), (2, pubrec(7))] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        driven.feed(&publish(level, 7, b"question"));
        let token = driven.session.poll(driven.at()).unwrap().unwrap();
        let taken = driven.session.event_and_publisher(token).unwrap();
        let Some((Event::Message(received), mut publisher)) = taken else {
            unreachable!("{taken:?}")
        };
        for answer_level in [0, 1] {
            let answer = Message {
                topic: "answer",
                qos: qos(answer_level),
                ..received
            };
            let packet_id = publisher.publish(&answer).unwrap();
            assert_eq!(packet_id, (answer_level == 1).then_some(id(1)));
        }
        assert_eq!(received, message(level, b"question"));
        assert_eq!(
            driven.sent(),
            wire(&[
                &acknowledgement,
                &publish_on("answer", 0, 0, b"question"),
                &publish_on("answer", 1, 1, b"question"),
            ])
        );
    }
}

/// A long message is answered chunk by chunk, and acknowledged before the answer to its last chunk.
#[test]
fn chunks_answered_with_their_bytes_follow_acknowledgement() {
    let mut storage = Storage::<16, 128, 4>::new();
    let mut driven = TestSession::connected(&mut storage);
    let payload = *b"0123456789abcdefghij";
    let mut rest = &publish(1, 7, &payload)[..];
    let mut expected = Vec::new();
    let mut sent = Vec::new();
    while !rest.is_empty() {
        rest = driven.feed_part(rest);
        let Some(token) = driven.session.poll(driven.at()).unwrap() else {
            continue;
        };
        let taken = driven.session.event_and_publisher(token).unwrap();
        let Some((Event::Chunk(chunk), mut publisher)) = taken else {
            unreachable!("{taken:?}")
        };
        publisher
            .publish(&Message::new("answer", chunk.bytes))
            .unwrap();
        if chunk.is_last() {
            expected.push(puback(7));
        }
        expected.push(publish_on("answer", 0, 0, chunk.bytes));
        sent.extend(packets(&driven.sent()));
    }
    assert!(expected.len() > 2);
    assert_eq!(sent, expected);
}

#[test]
fn publisher_requests_are_sent_in_order() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.feed(&publish(1, 7, b"x"));
    let token = driven.session.poll(driven.at()).unwrap().unwrap();
    let (_, mut publisher) = driven.session.event_and_publisher(token).unwrap().unwrap();
    assert_eq!(publisher.subscribe(&[("f", QoS::AtMostOnce)]), Ok(id(1)));
    assert_eq!(publisher.unsubscribe(&["g"]), Ok(id(2)));
    publisher.ping().unwrap();
    // One code for each filter must fit into the receive buffer.
    let filters = [("f", QoS::AtMostOnce); 61];
    assert_eq!(
        publisher.subscribe(&filters),
        Err(RequestError::AnswerTooLarge {
            needed: 65,
            capacity: 64
        })
    );
    assert_eq!(
        driven.sent(),
        wire(&[
            &PINGREQ,
            &puback(7),
            &subscribe(1, "f"),
            &unsubscribe(2, "g")
        ])
    );
    // SUBACK borrows the receive buffer. A publisher can be used at the same time.
    driven.feed(&suback(1, &[SubackReturnCode::Granted(QoS::AtMostOnce)]));
    let token = driven.session.poll(driven.at()).unwrap().unwrap();
    let taken = driven.session.event_and_publisher(token).unwrap();
    let Some((Event::Suback(_, codes), mut publisher)) = taken else {
        unreachable!("{taken:?}")
    };
    publisher.publish(&message(1, b"subscribed")).unwrap();
    assert_eq!(codes.len(), 1);
    assert_eq!(driven.sent(), publish(1, 3, b"subscribed"));
}

/// With the event of a closed connection, a publisher behaves like the session.
#[test]
fn publisher_offline_queues_kept_messages_only() {
    for options in [KEEP, CLEAN] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected_with(&mut storage, &options);
        driven.feed(&publish(0, 0, b"x"));
        let token = driven.session.poll(driven.at()).unwrap().unwrap();
        driven.session.connection_lost();
        let (_, mut publisher) = driven.session.event_and_publisher(token).unwrap().unwrap();
        let not_connected = RequestError::NotConnected;
        assert_eq!(publisher.publish(&message(0, b"a")), Err(not_connected));
        assert_eq!(publisher.ping(), Err(not_connected));
        assert_eq!(publisher.unsubscribe(&["f"]), Err(not_connected));
        let kept = publisher.publish(&message(1, b"a"));
        if options.clean_session {
            assert_eq!(kept, Err(not_connected));
            continue;
        }
        assert_eq!(kept, Ok(Some(id(1))));
        driven.lose();
        driven.open(&KEEP, true);
        assert_eq!(driven.sent(), publish(1, 1, b"a"));
    }
}

#[test]
fn event_and_publisher_old_token_is_none() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.feed(&publish(1, 7, b"x"));
    let now = driven.at();
    let first = driven.session.poll(now).unwrap().unwrap();
    let second = driven.session.poll(now).unwrap().unwrap();
    assert!(driven.session.event_and_publisher(first).unwrap().is_some());
    assert!(
        driven
            .session
            .event_and_publisher(second)
            .unwrap()
            .is_none()
    );
    assert_eq!(driven.sent(), puback(7), "once");
}

// Saved changes.

fn generation(session: &Session<'_>) -> u16 {
    session
        .save(&mut [0; TestStorage::IMAGE_LEN])
        .unwrap()
        .generation
}

#[test]
fn saved_last_change_clears_checkpoint() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::with_checkpoints(&mut storage, &KEEP);
    driven.publish(1, b"a");
    driven.publish(2, b"b");
    let block = driven.session.input_blocked_by();
    assert_eq!(block, Some(InputBlock::Checkpoint));
    assert_eq!(driven.sent(), b"");
    let saved = generation(&driven.session);
    driven.session.saved(saved);
    assert_eq!(driven.session.input_blocked_by(), None);
    assert_eq!(
        driven.sent(),
        wire(&[&publish(1, 1, b"a"), &publish(2, 2, b"b")])
    );
    driven.expect(&[]);
}

#[test]
fn saved_change_since_save_keeps_the_checkpoint_due() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::with_checkpoints(&mut storage, &KEEP);
    driven.publish(1, b"a");
    let saved = generation(&driven.session);
    driven.publish(1, b"b");
    driven.session.saved(saved);
    assert_eq!(driven.sent(), b"", "nothing is sent before the checkpoint");
    driven.expect(&[Event::CheckpointDue]);
    // An older image changes nothing.
    driven.session.saved(saved);
    driven.expect(&[]);
    assert_eq!(
        driven.sent(),
        wire(&[&publish(1, 1, b"a"), &publish(1, 2, b"b")])
    );
}

/// After a failed save, the checkpoint is still due.
#[test]
fn save_buffer_too_small_keeps_the_checkpoint_due() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::with_checkpoints(&mut storage, &KEEP);
    driven.publish(1, b"a");
    let failed = driven.session.save(&mut [0; 8]);
    assert!(matches!(failed, Err(ImageError::BufferTooSmall { .. })));
    let block = driven.session.input_blocked_by();
    assert_eq!(block, Some(InputBlock::Checkpoint));
    driven.expect(&[Event::CheckpointDue]);
}

/// Changes that were saved offline need no checkpoint after CONNACK. Unsaved changes do.
#[test]
fn saved_offline_counts_after_connack() {
    for changed in [false, true] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::with_checkpoints(&mut storage, &KEEP);
        driven.lose();
        driven.publish(1, b"a");
        let saved = generation(&driven.session);
        if changed {
            driven.publish(1, b"b");
        }
        driven.session.saved(saved);
        // Without a connection, nothing can be sent, and no checkpoint is due.
        assert_eq!(driven.session.input_blocked_by(), None);
        assert_eq!(driven.close_reason(), ProtocolError::Closed);
        driven.open(&KEEP, true);
        if changed {
            assert_eq!(driven.sent(), b"");
            driven.expect(&[Event::CheckpointDue]);
            assert_eq!(
                driven.sent(),
                wire(&[&publish(1, 1, b"a"), &publish(1, 2, b"b")])
            );
        } else {
            driven.expect(&[]);
            assert_eq!(driven.sent(), publish(1, 1, b"a"));
        }
    }
}

/// With its publisher, a handler saves a request that it has just queued.
#[test]
fn publisher_saved_in_handler_clears_checkpoint() {
    for changed in [false, true] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::with_checkpoints(&mut storage, &KEEP);
        driven.feed(&publish(2, 7, b"x"));
        let token = driven.session.poll(driven.at()).unwrap().unwrap();
        let (_, mut publisher) = driven.session.event_and_publisher(token).unwrap().unwrap();
        publisher.publish(&message(1, b"a")).unwrap();
        let mut image = [0; TestStorage::IMAGE_LEN];
        let saved = publisher.save(&mut image).unwrap();
        if changed {
            publisher.publish(&message(1, b"b")).unwrap();
        }
        publisher.saved(saved.generation);
        if changed {
            assert_eq!(driven.sent(), b"");
            driven.expect(&[Event::CheckpointDue]);
        } else {
            driven.expect(&[]);
        }
        let sent = driven.sent();
        assert!(sent.starts_with(&wire(&[&pubrec(7), &publish(1, 1, b"a")])));

        // The image contains the received id and the answer.
        let mut second = TestStorage::new();
        let mut restored = TestSession::new(&mut second);
        restored.session.restore(&image[..saved.len]).unwrap();
        restored.open(&KEEP, true);
        assert_eq!(restored.sent(), dup(publish(1, 1, b"a")));
        restored.feed(&dup(publish(2, 7, b"x")));
        restored.expect(&[]);
        assert_eq!(restored.sent(), pubrec(7));
    }
}

/// If a handler changes the session after it has saved, another checkpoint is due.
#[test]
fn publish_in_checkpoint_handler_makes_another_due() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::with_checkpoints(&mut storage, &KEEP);
    driven.publish(1, b"a");
    let token = driven.session.poll(driven.at()).unwrap().unwrap();
    let taken = driven.session.event_and_publisher(token).unwrap();
    let Some((Event::CheckpointDue, mut publisher)) = taken else {
        unreachable!("{taken:?}")
    };
    let saved = publisher.save(&mut [0; TestStorage::IMAGE_LEN]).unwrap();
    publisher.publish(&message(1, b"b")).unwrap();
    publisher.saved(saved.generation);
    assert_eq!(driven.sent(), b"");
    driven.expect(&[Event::CheckpointDue]);
    assert_eq!(
        driven.sent(),
        wire(&[&publish(1, 1, b"a"), &publish(1, 2, b"b")])
    );
}

#[test]
fn saved_before_restore_does_not_cover_later_changes() {
    let mut image = [0; TestStorage::IMAGE_LEN];
    let mut storage = TestStorage::new();
    let mut driven = TestSession::with_checkpoints(&mut storage, &KEEP);
    driven.publish(1, b"a");
    let saved = driven.session.save(&mut image).unwrap();
    driven.session.restore(&image[..saved.len]).unwrap();
    driven.open(&KEEP, true);
    driven.expect(&[]);
    driven.publish(1, b"b");
    driven.session.saved(saved.generation);
    driven.expect(&[Event::CheckpointDue]);
}
