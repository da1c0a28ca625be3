//! A server that closes the connection without a reason: the message or filter that is named, and the packets that are
//! still sent.
//!
//! The session counts the connections in a row that were closed while the same message or filter was unanswered. From
//! two on, the reason names it, unless it was sent together with others of its kind.

use umqtt::{
    Event, ProtocolError, RequestError, Storage, StreamedPublish,
    codec::{QoS, SubackReturnCode},
};

use crate::wire::*;

const THREE: &[(&str, QoS)] = &[
    ("a", QoS::AtMostOnce),
    ("b", QoS::AtMostOnce),
    ("c", QoS::AtMostOnce),
];

const GRANTED: SubackReturnCode = SubackReturnCode::Granted(QoS::AtMostOnce);

fn closed_at(number: u16, level: u8, connections: u16) -> ProtocolError {
    ProtocolError::ClosedAtPublish {
        packet_id: id(number),
        qos: qos(level),
        connections,
    }
}

/// Lets the server close the connection, and returns the reason.
#[track_caller]
fn close(driven: &mut TestSession<'_>) -> ProtocolError {
    driven.session.connection_lost();
    driven.events_and_reason().1
}

/// Connects to a server that has kept the session, and returns the sent packets.
#[track_caller]
fn reopen(driven: &mut TestSession<'_>) -> Vec<Vec<u8>> {
    driven.open(&KEEP, true);
    packets(&driven.sent())
}

/// The server closes the connection, and accepts the next one. Returns the packets that are sent on it.
#[track_caller]
fn reconnect(driven: &mut TestSession<'_>) -> Vec<Vec<u8>> {
    close(driven);
    reopen(driven)
}

/// Checks that this payload of 10 bytes is needed again, and begins to provide it.
#[track_caller]
fn resend_needed(driven: &mut TestSession<'_>, number: u16) {
    driven.expect(&[Event::PayloadNeeded(id(number))]);
    let resend = StreamedPublish::Resend(id(number));
    driven.session.begin_payload(resend, 10).unwrap();
}

// Publishes.

#[test]
fn publish_closed_twice_is_named() {
    for level in [1, 2] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        driven.publish_and_send(level, b"x");
        assert_eq!(close(&mut driven), ProtocolError::Closed);
        for connections in 2..6 {
            assert_eq!(reopen(&mut driven), [dup(publish(level, 1, b"x"))]);
            assert_eq!(close(&mut driven), closed_at(1, level, connections));
        }
    }
}

/// One byte is enough: the server may have closed the connection because of the topic or of the length.
#[test]
fn publish_sent_in_part_closed_twice_is_named() {
    for cut in 0..8 {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        driven.publish(1, b"x");
        let mut expected = vec![ProtocolError::Closed, closed_at(1, 1, 2)];
        if cut == 0 {
            expected = vec![ProtocolError::Closed; 2];
        }
        for reason in expected {
            if cut > 0 {
                driven.send_up_to(cut);
            }
            assert_eq!(close(&mut driven), reason);
            driven.open(&KEEP, true);
        }
    }
}

#[test]
fn publish_number_of_connections_saturates() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"x");
    for _ in 0..300 {
        reconnect(&mut driven);
    }
    assert_eq!(close(&mut driven), closed_at(1, 1, 256));
}

#[test]
fn publishes_on_third_connection_are_sent_one_by_one() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    for level in [1, 2, 1] {
        driven.publish(level, b"x");
    }
    driven.sent();
    let all = [
        dup(publish(1, 1, b"x")),
        dup(publish(2, 2, b"x")),
        dup(publish(1, 3, b"x")),
    ];
    assert_eq!(close(&mut driven), ProtocolError::Closed);
    assert_eq!(reopen(&mut driven), all);
    assert_eq!(close(&mut driven), ProtocolError::Closed, "one of several");
    // Messages are sent one by one. After each acknowledgement, the next one is sent.
    assert_eq!(reopen(&mut driven), all[..1]);
    driven.receive(&puback(1), &[Event::Puback(id(1))]);
    assert_eq!(driven.sent(), all[1]);
    driven.receive(&pubrec(2), &[]);
    assert_eq!(packets(&driven.sent()), [pubrel(2), all[2].clone()]);
    // The last message is the reason. The acknowledgements have ended the count, so it is named one connection later.
    assert_eq!(close(&mut driven), ProtocolError::Closed);
    assert_eq!(reopen(&mut driven), [pubrel(2), all[2].clone()]);
    assert_eq!(close(&mut driven), closed_at(3, 1, 2));
}

#[test]
fn publish_first_of_several_is_named_on_third_connection() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish(2, b"poison");
    driven.publish_and_send(1, b"fine");
    reconnect(&mut driven);
    assert_eq!(close(&mut driven), ProtocolError::Closed);
    assert_eq!(reopen(&mut driven), [dup(publish(2, 1, b"poison"))]);
    assert_eq!(close(&mut driven), closed_at(1, 2, 3));
    // After it was discarded, it blocks no other message.
    driven.session.discard_publish(id(1)).unwrap();
    assert_eq!(reopen(&mut driven), [dup(publish(1, 2, b"fine"))]);
    driven.receive(&puback(2), &[Event::Puback(id(2))]);
    driven.publish(1, b"a");
    driven.publish(1, b"b");
    assert_eq!(packets(&driven.sent()).len(), 1, "on this connection");
    assert_eq!(reconnect(&mut driven).len(), 2, "all at once");
}

/// An acknowledgement, of QoS 1 or 2, ends the count.
#[test]
fn publish_acknowledged_count_restarts() {
    for level in [1, 2] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        driven.publish(level, b"fine");
        driven.publish_and_send(1, b"x");
        reconnect(&mut driven);
        driven.feed(&if level == 1 { puback(1) } else { pubrec(1) });
        driven.events();
        driven.sent();
        assert_eq!(close(&mut driven), ProtocolError::Closed);
        reopen(&mut driven);
        assert_eq!(close(&mut driven), closed_at(2, 1, 2));
    }
}

/// A message that was not sent on the connection before is not the reason why that connection was closed.
#[test]
fn publish_new_closed_once_is_not_named() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"old");
    close(&mut driven);
    driven.session.discard_publish(id(1)).unwrap();
    driven.open(&KEEP, true);
    driven.events();
    driven.publish_and_send(1, b"new");
    assert_eq!(close(&mut driven), ProtocolError::Closed);
    reopen(&mut driven);
    assert!(matches!(
        close(&mut driven),
        ProtocolError::ClosedAtPublish { .. }
    ));
}

/// A connection on which no message was sent neither counts nor ends the count.
#[test]
fn publish_connections_without_it_do_not_count() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"x");
    close(&mut driven);
    for _ in 0..5 {
        driven.connect(&KEEP);
        driven.sent();
        assert_eq!(close(&mut driven), ProtocolError::Closed);
        driven.open(&KEEP, true);
        assert_eq!(close(&mut driven), ProtocolError::Closed);
    }
    reopen(&mut driven);
    assert_eq!(close(&mut driven), closed_at(1, 1, 2));
}

/// A device that sleeps without waiting for the acknowledgement closes the connection itself. That does not count.
#[test]
fn publish_own_disconnect_does_not_count() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish(1, b"a");
    driven.publish(1, b"b");
    for _ in 0..4 {
        driven.session.disconnect().unwrap();
        assert_eq!(packets(&driven.sent()).len(), 3, "all, and DISCONNECT");
        assert_eq!(close(&mut driven), ProtocolError::Closed);
        driven.open(&KEEP, true);
    }
    driven.sent();
    assert_eq!(close(&mut driven), ProtocolError::Closed);
}

#[test]
fn publish_timeout_does_not_count() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish(1, b"x");
    for _ in 0..3 {
        driven.sent();
        driven.expect(&[]);
        driven.pass(TIMEOUT - 1);
        driven.expect(&[]);
        driven.pass(1);
        let packet_id = id(1);
        assert_eq!(
            driven.close_reason(),
            ProtocolError::RequestTimeout { packet_id }
        );
        driven.open(&KEEP, true);
    }
    driven.sent();
    assert_eq!(close(&mut driven), ProtocolError::Closed);
}

/// If received bytes are the reason why the connection was closed, or acknowledge the message, it is not named.
#[test]
fn publish_reason_in_received_bytes_is_not_named() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"x");
    reconnect(&mut driven);
    driven.feed(&[0xF0, 0]);
    assert!(matches!(close(&mut driven), ProtocolError::Decode(_)));
    // The message is acknowledged in the last received bytes.
    reopen(&mut driven);
    driven.feed(&puback(1));
    driven.session.connection_lost();
    assert_eq!(
        driven.events_and_reason(),
        (texts(&[Event::Puback(id(1))]), ProtocolError::Closed)
    );
}

/// If DISCONNECT is queued, before or after CONNACK, all messages are sent at once, and DISCONNECT after them.
#[test]
fn publishes_one_by_one_disconnect_is_not_delayed() {
    for is_early in [true, false] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        driven.publish(1, b"a");
        driven.publish_and_send(2, b"b");
        reconnect(&mut driven);
        close(&mut driven);
        let (a, b) = (dup(publish(1, 1, b"a")), dup(publish(2, 2, b"b")));
        driven.connect(&KEEP);
        let mut sent = driven.sent();
        if is_early {
            driven.session.disconnect().unwrap();
            sent.extend(driven.sent());
        }
        driven.accept(true);
        if !is_early {
            assert_eq!(driven.send_up_to(3), a[..3]);
            sent.extend(&a[..3]);
            driven.session.disconnect().unwrap();
        }
        sent.extend(driven.sent());
        assert_eq!(sent, wire(&[&connect(&KEEP), &a, &b, &DISCONNECT]));
    }
}

#[test]
fn publishes_one_by_one_later_requests_and_qos_0_follow() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish(1, b"a");
    driven.publish_and_send(1, b"b");
    reconnect(&mut driven);
    assert_eq!(reconnect(&mut driven), [dup(publish(1, 1, b"a"))]);
    driven.publish(0, b"zero");
    let subscribe_id = driven.subscribe(&[("f", QoS::AtMostOnce)]);
    driven.session.ping().unwrap();
    driven.feed(&publish(1, 9, b"in"));
    assert_eq!(driven.events().len(), 1);
    // PINGREQ and acknowledgements do not wait.
    assert_eq!(packets(&driven.sent()), [PINGREQ.to_vec(), puback(9)]);
    driven.receive(&puback(1), &[Event::Puback(id(1))]);
    assert_eq!(driven.sent(), dup(publish(1, 2, b"b")));
    driven.receive(&puback(2), &[Event::Puback(id(2))]);
    assert_eq!(
        driven.sent(),
        wire(&[&publish(0, 0, b"zero"), &subscribe(subscribe_id, "f")])
    );
    driven.feed(&suback(subscribe_id, &[GRANTED]));
    assert_eq!(driven.events().len(), 1);

    // If the connection is closed before they are sent, events report it.
    driven.publish(1, b"c");
    driven.publish_and_send(1, b"d");
    reconnect(&mut driven);
    reconnect(&mut driven);
    driven.publish(0, b"zero");
    let subscribe_id = driven.subscribe(&[("f", QoS::AtMostOnce)]);
    driven.sent();
    driven.session.connection_lost();
    let (events, _) = driven.events_and_reason();
    assert_eq!(
        events,
        texts(&[
            Event::OutcomeUnknown(id(subscribe_id)),
            Event::Qos0Dropped(1)
        ])
    );
}

/// Packets before the first message that is kept are sent with it, in any pieces.
#[test]
fn publishes_one_by_one_any_pieces_stay_whole() {
    for size in 1..40 {
        let mut storage = TestStorage::new();
        let mut driven = send_one_by_one_next(&mut storage);
        driven.open(&KEEP, true);
        driven.publish(0, b"zero");
        let subscribe_id = driven.subscribe(&[("f", QoS::AtMostOnce)]);
        let first = driven.publish(1, b"first");
        driven.publish(0, b"one");
        let second = driven.publish(1, b"second");
        let mut sent = Vec::new();
        let pieces = |driven: &mut TestSession<'_>, sent: &mut Vec<u8>| {
            while driven.session.has_pending() {
                sent.extend(driven.send_up_to(size));
            }
        };
        pieces(&mut driven, &mut sent);
        packets(&sent);
        driven.feed(&suback(subscribe_id, &[GRANTED]));
        driven.events();
        pieces(&mut driven, &mut sent);
        driven.feed(&puback(first));
        driven.events();
        pieces(&mut driven, &mut sent);
        let expected = wire(&[
            &publish(0, 0, b"zero"),
            &subscribe(subscribe_id, "f"),
            &publish(1, first, b"first"),
            &publish(0, 0, b"one"),
            &publish(1, second, b"second"),
        ]);
        assert_eq!(sent, expected, "pieces of {size}");
    }
}

/// Returns a session without messages, whose next connection sends one by one.
fn send_one_by_one_next(storage: &mut TestStorage) -> TestSession<'_> {
    let mut driven = TestSession::connected(storage);
    let poison = driven.publish_and_send(1, b"poison");
    reconnect(&mut driven);
    close(&mut driven);
    driven.session.discard_publish(id(poison)).unwrap();
    let (events, _) = driven.events_and_reason();
    assert_eq!(events, texts(&[Event::PublishDiscarded(id(poison))]));
    driven
}

/// A message with a streamed payload at QoS 0 is between others.
#[test]
fn publishes_one_by_one_streamed_payload_before_them_is_whole() {
    for size in 1..30 {
        let mut storage = TestStorage::new();
        let mut driven = send_one_by_one_next(&mut storage);
        driven.open(&KEEP, true);
        driven.publish(0, b"zero");
        driven.session.begin_payload(streamed(0), 10).unwrap();
        let first = driven.publish(1, b"first");
        let second = driven.publish(2, b"second");
        let now = driven.at();
        let mut sent = Vec::new();
        loop {
            if driven.session.has_pending() {
                sent.extend(driven.send_up_to(size));
            } else if let left @ 1.. = driven.session.payload_left() {
                let n = size.min(left);
                driven.session.payload_sent(n, now);
                sent.extend([b'p'].repeat(n));
            } else {
                break;
            }
        }
        let mut expected = wire(&[
            &publish(0, 0, b"zero"),
            &publish(0, 0, b"pppppppppp"),
            &publish(1, first, b"first"),
        ]);
        assert_eq!(sent, expected, "pieces of {size}");
        driven.feed(&puback(first));
        driven.events();
        sent.extend(driven.sent());
        expected.extend(publish(2, second, b"second"));
        assert_eq!(sent, expected, "pieces of {size}");
    }
}

#[test]
fn publish_streamed_payload_closed_twice_is_named() {
    for (level, provided) in [(1, 0), (1, 5), (1, 10), (2, 5), (2, 10)] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::new(&mut storage);
        let now = driven.at();
        driven.open(&KEEP, false);
        driven.session.begin_payload(streamed(level), 10).unwrap();
        for reason in [
            ProtocolError::Closed,
            closed_at(1, level, 2),
            closed_at(1, level, 3),
        ] {
            driven.sent();
            driven.session.payload_sent(provided, now);
            assert_eq!(close(&mut driven), reason);
            driven.open(&KEEP, true);
            resend_needed(&mut driven, 1);
        }
    }
}

/// If messages are sent one by one, streamed payloads are requested one by one.
#[test]
fn publishes_one_by_one_streamed_payloads_are_needed_one_by_one() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    let now = driven.at();
    let provide = |driven: &mut TestSession<'_>| {
        let mut sent = driven.sent();
        sent.extend([b'p'].repeat(driven.session.payload_left()));
        driven.session.payload_sent(10, now);
        sent.extend(driven.sent());
        sent
    };
    driven.open(&KEEP, false);
    for _ in 0..2 {
        driven.session.begin_payload(streamed(1), 10).unwrap();
        provide(&mut driven);
    }
    driven.publish_and_send(1, b"short");
    close(&mut driven);
    driven.open(&KEEP, true);
    for number in [1, 2] {
        resend_needed(&mut driven, number);
        provide(&mut driven);
    }
    assert_eq!(close(&mut driven), ProtocolError::Closed);
    driven.open(&KEEP, true);
    for number in [1, 2] {
        resend_needed(&mut driven, number);
        let sent = provide(&mut driven);
        assert_eq!(sent, dup(publish(1, number, b"pppppppppp")));
        driven.expect(&[]);
        assert_eq!(driven.session.payload_needed(), None);
        driven.feed(&puback(number));
        assert_eq!(
            driven.next().unwrap(),
            Some(format!("{:?}", Event::Puback(id(number))))
        );
    }
    assert_eq!(driven.sent(), dup(publish(1, 3, b"short")));
}

/// A message whose payload is not provided was not sent on this connection.
#[test]
fn publish_streamed_payload_not_provided_is_not_named() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.session.begin_payload(streamed(1), 10).unwrap();
    driven.sent();
    close(&mut driven);
    driven.open(&KEEP, true);
    driven.sent();
    assert_eq!(close(&mut driven), ProtocolError::Closed);
}

// Subscriptions.

/// Returns a session with standing subscriptions, whose connection was closed before the answer.
fn with_unanswered(storage: &mut TestStorage) -> TestSession<'_> {
    let mut driven = TestSession::new(storage);
    driven.session.set_subscriptions(THREE).unwrap();
    driven.open(&KEEP, false);
    assert_eq!(driven.sent()[..4], [0x82, 14, 0, 1]);
    assert_eq!(close(&mut driven), ProtocolError::Closed);
    driven
}

/// Checks that a SUBSCRIBE for only this filter is sent, and returns its id.
#[track_caller]
fn expect_alone(driven: &mut TestSession<'_>, filter: &str) -> u16 {
    let sent = driven.sent();
    let number = u16::from_be_bytes([sent[2], sent[3]]);
    assert_eq!(sent, subscribe(number, filter));
    number
}

/// Checks that a SUBSCRIBE for only this filter is sent, and grants it.
#[track_caller]
fn grant_alone(driven: &mut TestSession<'_>, filter: &str) {
    let number = expect_alone(driven, filter);
    driven.feed(&suback(number, &[GRANTED]));
    assert_eq!(driven.events().len(), 1);
}

#[test]
fn subscription_closed_twice_is_named() {
    for poison in 0..3 {
        let mut storage = TestStorage::new();
        let mut driven = with_unanswered(&mut storage);
        for connections in 2..5 {
            driven.open(&KEEP, true);
            for (filter, _) in &THREE[..poison] {
                grant_alone(&mut driven, filter);
            }
            expect_alone(&mut driven, THREE[poison].0);
            let index = poison;
            let reason = ProtocolError::ClosedAtSubscribe { index, connections };
            assert_eq!(close(&mut driven), reason);
        }
        // After the caller has removed it, the others are sent together.
        let list: Vec<_> = THREE
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != poison)
            .map(|(_, filter)| *filter)
            .collect();
        driven.session.set_subscriptions(list.leak()).unwrap();
        driven.open(&KEEP, true);
        assert_eq!(driven.sent()[..2], [0x82, 10]);
    }
}

/// If the server has granted all filters one by one, later lists are sent together.
#[test]
fn subscriptions_one_by_one_granted_are_together_next_time() {
    let mut storage = TestStorage::new();
    let mut driven = with_unanswered(&mut storage);
    driven.open(&KEEP, true);
    for (filter, _) in THREE {
        grant_alone(&mut driven, filter);
    }
    close(&mut driven);
    driven.open(&KEEP, false);
    assert_eq!(driven.sent()[..2], [0x82, 14]);
    assert_eq!(
        close(&mut driven),
        ProtocolError::Closed,
        "the count starts again"
    );
}

#[test]
fn subscription_not_sent_whole_is_not_named() {
    let mut storage = TestStorage::new();
    let mut driven = with_unanswered(&mut storage);
    driven.open(&KEEP, true);
    driven.send_up_to(3);
    assert_eq!(close(&mut driven), ProtocolError::Closed);
}

#[test]
fn subscription_own_disconnect_or_timeout_does_not_count() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.set_subscriptions(THREE).unwrap();
    for _ in 0..3 {
        driven.open(&KEEP, true);
        assert_eq!(driven.sent()[..2], [0x82, 14], "together");
        driven.session.disconnect().unwrap();
        driven.sent();
        assert_eq!(close(&mut driven), ProtocolError::Closed);
        driven.open(&KEEP, true);
        assert_eq!(driven.sent()[..2], [0x82, 14], "together");
        driven.expect(&[]);
        driven.pass(TIMEOUT - 1);
        driven.expect(&[]);
        driven.pass(1);
        let (_, reason) = driven.events_and_reason();
        assert!(matches!(reason, ProtocolError::RequestTimeout { .. }));
    }
}

/// If a SUBSCRIBE and a message are unanswered, the SUBSCRIBE is named, because it was sent first.
#[test]
fn subscription_and_publish_unanswered_subscription_is_named() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.set_subscriptions(&THREE[..1]).unwrap();
    driven.open(&KEEP, false);
    driven.publish_and_send(1, b"x");
    reconnect(&mut driven);
    let (index, connections) = (0, 2);
    let reason = ProtocolError::ClosedAtSubscribe { index, connections };
    assert_eq!(close(&mut driven), reason);
}

/// The texts of the reasons.
#[test]
fn reasons_displayed_name_id_and_index() {
    assert_eq!(
        closed_at(7, 2, 3).to_string(),
        "connection closed at message 7 at QoS 2, 3 times in a row: the server may not allow its topic, size or QoS; \
         discard it"
    );
    let (index, connections) = (4, 2);
    assert_eq!(
        ProtocolError::ClosedAtSubscribe { index, connections }.to_string(),
        "connection closed at filter 5 of the subscriptions, 2 times in a row: the server may not allow it"
    );
}

/// If the in-flight table is full, the message is still named.
#[test]
fn publish_all_slots_taken_is_named() {
    let mut storage = Storage::<64, 256, 1>::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"x");
    close(&mut driven);
    assert_eq!(
        driven.session.publish(&message(1, b"y")),
        Err(RequestError::InflightFull { capacity: 1 })
    );
    reopen(&mut driven);
    assert_eq!(close(&mut driven), closed_at(1, 1, 2));
    driven.session.discard_publish(id(1)).unwrap();
    let (events, _) = driven.events_and_reason();
    assert_eq!(events, texts(&[Event::PublishDiscarded(id(1))]));
    driven.publish(1, b"y");
}
