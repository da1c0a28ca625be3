//! Discarding one message by its id, in each state that it can have.

use umqtt::{
    Event, ProtocolError, RequestError, Session, Storage, StreamedPublish,
    codec::{PacketType, QoS},
};

use crate::wire::*;

const NOT_KEPT: Result<(), RequestError> = Err(RequestError::NotKept);
const PARTLY_SENT: Result<(), RequestError> = Err(RequestError::PartlySent);

fn discard(driven: &mut TestSession<'_>, number: u16) -> Result<(), RequestError> {
    driven.session.discard_publish(id(number))
}

/// Calls `test` with a session that is restored from an image of this session.
#[track_caller]
fn saved_and_restored(session: &Session<'_>, test: impl FnOnce(&mut TestSession<'_>)) {
    let mut image = [0; TestStorage::IMAGE_LEN];
    let len = session.save(&mut image).unwrap().len;
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.restore(&image[..len]).unwrap();
    test(&mut driven);
}

/// Publishes `count` messages and returns their ids.
fn next_ids(driven: &mut TestSession<'_>, count: usize) -> Vec<u16> {
    (0..count).map(|_| driven.publish(1, b"")).collect()
}

#[test]
fn discard_unknown_id_is_not_kept() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    assert_eq!(discard(&mut driven, 1), NOT_KEPT);
    driven.open(&KEEP, false);
    assert_eq!(discard(&mut driven, 1), NOT_KEPT);
    let subscribe_id = driven.subscribe(&[("f", QoS::AtMostOnce)]);
    let unsubscribe_id = driven.unsubscribe(&["f"]);
    for number in [subscribe_id, unsubscribe_id, 9] {
        assert_eq!(discard(&mut driven, number), NOT_KEPT);
    }
    assert_eq!(
        driven.sent(),
        wire(&[
            &subscribe(subscribe_id, "f"),
            &unsubscribe(unsubscribe_id, "f")
        ])
    );
    for number in [subscribe_id, unsubscribe_id] {
        assert_eq!(discard(&mut driven, number), NOT_KEPT);
    }
}

/// A standing SUBSCRIBE cannot be discarded. Neither can an acknowledged message, even before its event was taken.
#[test]
fn discard_standing_subscribe_or_acknowledged_is_not_kept() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven
        .session
        .set_subscriptions(&[("f", QoS::AtMostOnce)])
        .unwrap();
    driven.open(&KEEP, false);
    assert_eq!(driven.sent(), subscribe(1, "f"));
    assert_eq!(discard(&mut driven, 1), NOT_KEPT);
    driven.publish_and_send(1, b"x");
    driven.feed(&puback(2));
    let token = driven.session.poll(driven.at()).unwrap().unwrap();
    assert_eq!(discard(&mut driven, 2), NOT_KEPT);
    let event = driven.session.event(token).unwrap();
    assert_eq!(event, Some(Event::Puback(id(2))));
    assert_eq!(discard(&mut driven, 2), NOT_KEPT);
}

#[test]
fn discard_never_sent_frees_id_and_room() {
    for level in [1, 2] {
        for is_offline in [true, false] {
            let mut storage = Storage::<64, 256, 3>::new();
            let mut driven = TestSession::new(&mut storage);
            driven.session.prepare(&KEEP).unwrap();
            if !is_offline {
                driven.open(&KEEP, false);
            }
            for payload in [b"a", b"b", b"c"] {
                driven.publish(level, payload);
            }
            discard(&mut driven, 2).unwrap();
            assert_eq!(discard(&mut driven, 2), NOT_KEPT);
            // The slot is free after the discard was reported.
            let full = driven.session.publish(&message(1, b""));
            assert_eq!(full, Err(RequestError::InflightFull { capacity: 3 }));
            if is_offline {
                let (events, reason) = driven.events_and_reason();
                assert_eq!(events, texts(&[Event::PublishDiscarded(id(2))]));
                assert_eq!(reason, ProtocolError::Closed);
                driven.open(&KEEP, false);
            } else {
                driven.expect(&[Event::PublishDiscarded(id(2))]);
            }
            assert_eq!(driven.session.in_flight(), 2);
            assert_eq!(
                driven.sent(),
                wire(&[&publish(level, 1, b"a"), &publish(level, 3, b"c")])
            );
            driven.publish(level, b"d");
            // No answer to the discarded message is expected.
            driven.feed(&wire(&[&puback(1), &puback(3)]));
            if level == 1 {
                driven.expect(&[Event::Puback(id(1)), Event::Puback(id(3))]);
            }
        }
    }
}

/// A message is partly sent from the first offered byte until the last one was accepted.
#[test]
fn discard_partly_sent_is_refused() {
    let len = publish(1, 1, b"x").len();
    for level in [1, 2] {
        for cut in 0..=len {
            let mut storage = TestStorage::new();
            let mut driven = TestSession::connected(&mut storage);
            driven.publish(level, b"x");
            driven.publish(level, b"y");
            // The bytes are offered, and not accepted.
            driven.refuse();
            let mut sent = Vec::new();
            if cut > 0 {
                sent.extend(driven.send_up_to(cut));
            }
            let expected = if cut < len { PARTLY_SENT } else { Ok(()) };
            assert_eq!(discard(&mut driven, 1), expected, "{cut} bytes");
            sent.extend(driven.sent());
            assert_eq!(
                sent,
                wire(&[&publish(level, 1, b"x"), &publish(level, 2, b"y")])
            );
        }
    }
}

#[test]
fn discard_partly_sent_after_connection_is_accepted() {
    for level in [1, 2] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        driven.publish(level, b"x");
        driven.publish(level, b"y");
        driven.send_up_to(3);
        assert_eq!(discard(&mut driven, 1), PARTLY_SENT);
        driven.lose();
        discard(&mut driven, 1).unwrap();
        driven.open(&KEEP, true);
        let reported = if level == 1 {
            vec![Event::PublishDiscarded(id(1))]
        } else {
            vec![]
        };
        driven.expect(&reported);
        assert_eq!(driven.sent(), publish(level, 2, b"y"));
    }
}

/// Returns a session that has sent three messages at QoS 1, and then discarded the second one.
fn second_of_three_discarded(storage: &mut TestStorage) -> TestSession<'_> {
    let mut driven = TestSession::connected(storage);
    for payload in [b"a", b"b", b"c"] {
        driven.publish_and_send(1, payload);
    }
    discard(&mut driven, 2).unwrap();
    driven
}

#[test]
fn discard_qos_1_sent_puback_is_reported() {
    let mut storage = TestStorage::new();
    let mut driven = second_of_three_discarded(&mut storage);
    assert_eq!(discard(&mut driven, 2), NOT_KEPT);
    // Nothing is reported before the answer of the server or the end of the connection.
    driven.expect(&[]);
    assert_eq!(driven.session.in_flight(), 3);
    driven.receive(
        &wire(&[&puback(1), &puback(2), &puback(3)]),
        &[1, 2, 3].map(|number| Event::Puback(id(number))),
    );
    assert_eq!(driven.session.in_flight(), 0);
}

#[test]
fn discard_qos_1_sent_connection_ends_is_discarded() {
    let mut storage = TestStorage::new();
    let mut driven = second_of_three_discarded(&mut storage);
    let check = |driven: &mut TestSession<'_>| {
        let (events, _) = driven.events_and_reason();
        assert_eq!(events, texts(&[Event::PublishDiscarded(id(2))]));
        driven.open(&KEEP, true);
        assert_eq!(
            driven.sent(),
            wire(&[&dup(publish(1, 1, b"a")), &dup(publish(1, 3, b"c"))])
        );
    };
    saved_and_restored(&driven.session, check);
    driven.session.connection_lost();
    check(&mut driven);
}

/// The id is not given to another message. The server could take that for the discarded one.
#[test]
fn discard_sent_id_is_reserved() {
    for level in [1, 2] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        let reserved = driven.publish_and_send(level, b"x");
        discard(&mut driven, reserved).unwrap();
        for _ in 0..65_536 {
            let number = driven.publish(1, b"y");
            assert_ne!(number, reserved);
            driven.sent();
            driven.receive(&puback(number), &[Event::Puback(id(number))]);
        }
    }
}

#[test]
fn discard_qos_1_sent_unanswered_is_request_timeout() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"x");
    discard(&mut driven, 1).unwrap();
    driven.expect(&[]);
    driven.pass(TIMEOUT - 1);
    driven.expect(&[]);
    driven.pass(1);
    let packet_id = id(1);
    let (events, reason) = driven.events_and_reason();
    assert_eq!(events, texts(&[Event::PublishDiscarded(packet_id)]));
    assert_eq!(reason, ProtocolError::RequestTimeout { packet_id });
}

#[test]
fn discard_qos_2_sent_server_forgets_is_discarded() {
    let mut storage = Storage::<64, 256, 3>::new();
    let mut driven = TestSession::connected(&mut storage);
    for payload in [b"a", b"b", b"c"] {
        driven.publish(2, payload);
    }
    driven.sent();
    discard(&mut driven, 2).unwrap();
    assert_eq!(discard(&mut driven, 2), NOT_KEPT);
    assert_eq!(driven.session.in_flight(), 2, "it uses no slot");
    driven.expect(&[]);
    let kept = wire(&[&dup(publish(2, 1, b"a")), &dup(publish(2, 3, b"c"))]);
    driven.lose();
    // If the server has kept the session, nothing changes.
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), kept);
    driven.expect(&[]);
    driven.lose();
    driven.open(&KEEP, false);
    driven.expect(&[Event::PublishDiscarded(id(2))]);
    assert_eq!(driven.session.in_flight(), 2);
    driven.expect(&[]);
}

#[test]
fn discard_qos_2_sent_pubrec_after_all_is_delivered() {
    // PUBREC is received on the same connection, on the next one, or after a restart.
    for step in 0..3 {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        driven.publish_and_send(2, b"x");
        discard(&mut driven, 1).unwrap();
        let check = |driven: &mut TestSession<'_>| {
            driven.receive(&pubrec(1), &[]);
            assert_eq!(driven.sent(), pubrel(1));
            assert_eq!(discard(driven, 1), NOT_KEPT, "PUBREL is pending");
            driven.receive(&pubcomp(1), &[Event::Pubcomp(id(1))]);
            assert_eq!(driven.session.in_flight(), 0);
        };
        match step {
            0 => check(&mut driven),
            1 => {
                driven.lose();
                driven.open(&KEEP, true);
                assert_eq!(driven.sent(), b"", "never sent again");
                check(&mut driven);
            }
            _ => saved_and_restored(&driven.session, |driven| {
                driven.open(&KEEP, true);
                assert_eq!(driven.sent(), b"");
                check(driven);
            }),
        }
    }
}

/// If the connection is lost after PUBREC, PUBREL is sent on the next one.
#[test]
fn discard_qos_2_pubrec_after_all_survives_connection() {
    for is_pubrel_sent in [false, true] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        driven.publish_and_send(2, b"x");
        discard(&mut driven, 1).unwrap();
        driven.receive(&pubrec(1), &[]);
        if is_pubrel_sent {
            driven.sent();
        }
        let check = |driven: &mut TestSession<'_>| {
            driven.open(&KEEP, true);
            assert_eq!(driven.sent(), pubrel(1));
            driven.receive(&pubcomp(1), &[Event::Pubcomp(id(1))]);
        };
        saved_and_restored(&driven.session, check);
        driven.lose();
        check(&mut driven);
    }
}

/// Without a PUBREC, no PUBREL is sent, because some servers would release another message.
#[test]
fn discard_qos_2_sent_no_pubrel_is_sent() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(2, b"x");
    discard(&mut driven, 1).unwrap();
    for session_present in [true, false] {
        assert_eq!(driven.sent(), b"");
        driven.lose();
        driven.open(&KEEP, session_present);
    }
    driven.expect(&[Event::PublishDiscarded(id(1))]);
    assert_eq!(driven.sent(), b"");
}

/// Four discarded ids are kept without a slot. The others keep their slots. Each one is reported once.
#[test]
fn discard_qos_2_more_than_four_ids_keep_their_slots() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    for _ in 0..6 {
        driven.publish(2, b"x");
    }
    driven.sent();
    for number in 1..=6 {
        discard(&mut driven, number).unwrap();
    }
    assert_eq!(driven.session.in_flight(), 2);
    let check = |driven: &mut TestSession<'_>| {
        driven.open(&KEEP, true);
        assert_eq!(driven.sent(), b"");
        // The server has received a message whose id has a slot, and one whose id has none.
        driven.receive(&wire(&[&pubrec(5), &pubrec(2)]), &[]);
        assert_eq!(driven.sent(), wire(&[&pubrel(5), &pubrel(2)]));
        driven.receive(
            &wire(&[&pubcomp(5), &pubcomp(2)]),
            &[Event::Pubcomp(id(5)), Event::Pubcomp(id(2))],
        );
        driven.lose();
        driven.open(&KEEP, false);
        let mut events = driven.events();
        events.sort();
        let expected = [1, 3, 4, 6].map(|number| Event::PublishDiscarded(id(number)));
        assert_eq!(events, texts(&expected));
        assert_eq!(driven.session.in_flight(), 0);
    };
    saved_and_restored(&driven.session, check);
    driven.lose();
    check(&mut driven);
}

/// If all slots are in use, and PUBREC is received for an id without a slot, PUBREL is still sent.
#[test]
fn discard_qos_2_pubrec_slots_full_is_released() {
    let mut storage = Storage::<64, 256, 1>::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(2, b"x");
    discard(&mut driven, 1).unwrap();
    assert_eq!(driven.publish(1, b"y"), 2);
    driven.receive(&pubrec(1), &[]);
    assert_eq!(driven.sent(), wire(&[&pubrel(1), &publish(1, 2, b"y")]));
    driven.receive(&wire(&[&pubcomp(1), &puback(2)]), &[Event::Puback(id(2))]);
    // The id stays reserved until the server has forgotten it.
    driven.lose();
    driven.open(&KEEP, false);
    driven.expect(&[Event::PublishDiscarded(id(1))]);
}

#[test]
fn discard_pubrel_pending_is_not_kept() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(2, b"x");
    driven.receive(&pubrec(1), &[]);
    assert_eq!(discard(&mut driven, 1), NOT_KEPT);
    assert_eq!(driven.sent(), pubrel(1));
    assert_eq!(discard(&mut driven, 1), NOT_KEPT);
    driven.lose();
    assert_eq!(discard(&mut driven, 1), NOT_KEPT);
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), pubrel(1));
    driven.receive(&pubcomp(1), &[Event::Pubcomp(id(1))]);
}

/// With Clean Session 1, each discarded message is reported once.
#[test]
fn discard_then_clean_session_is_reported_once() {
    for level in [1, 2] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        driven.publish(level, b"x");
        driven.publish_and_send(level, b"y");
        discard(&mut driven, 1).unwrap();
        driven.open(&CLEAN, false);
        let mut events = driven.events();
        events.sort();
        let expected = [1, 2].map(|number| Event::PublishDiscarded(id(number)));
        assert_eq!(events, texts(&expected));
    }
}

/// The server has lost the session, and the device restarts before the discard is reported. It is reported then.
#[test]
fn discard_qos_2_server_forgot_before_reboot_is_reported() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(2, b"x");
    discard(&mut driven, 1).unwrap();
    driven.lose();
    driven.open(&KEEP, false);
    saved_and_restored(&driven.session, |driven| {
        let (events, _) = driven.events_and_reason();
        assert_eq!(events, texts(&[Event::PublishDiscarded(id(1))]));
    });
    driven.expect(&[Event::PublishDiscarded(id(1))]);
}

/// A message that was sent before CONNACK cannot be discarded yet, because the server may still refuse the connection.
#[test]
fn discard_sent_before_connack_waits_for_it() {
    for level in [1, 2] {
        for session_present in [false, true] {
            let mut storage = TestStorage::new();
            let mut driven = TestSession::new(&mut storage);
            driven.connect(&KEEP);
            driven.publish(level, b"x");
            driven.publish(level, b"y");
            let first = connect(&KEEP).len() + publish(level, 1, b"x").len();
            let now = driven.at();
            driven.session.pending(now);
            driven.session.consume(first, now);
            assert_eq!(discard(&mut driven, 1), PARTLY_SENT);
            driven.accept(session_present);
            discard(&mut driven, 1).unwrap();
            driven.expect(&[]);
            let answer = if level == 1 { puback(1) } else { pubrec(1) };
            driven.feed(&answer);
            if level == 1 {
                driven.expect(&[Event::Puback(id(1))]);
            } else {
                driven.expect(&[]);
                driven.feed(&pubcomp(1));
                driven.sent();
                driven.expect(&[Event::Pubcomp(id(1))]);
            }
        }
    }
}

/// A message that was never sent can also be discarded before CONNACK.
#[test]
fn discard_never_sent_before_connack_frees_id() {
    for level in [1, 2] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::new(&mut storage);
        driven.session.prepare(&KEEP).unwrap();
        driven.publish(level, b"x");
        driven.connect(&KEEP);
        driven.sent();
        discard(&mut driven, 1).unwrap();
        driven.accept(false);
        driven.expect(&[Event::PublishDiscarded(id(1))]);
        assert_eq!(driven.sent(), b"");
        driven.lose();
        saved_and_restored(&driven.session, |driven| {
            driven.open(&KEEP, true);
            driven.expect(&[]);
        });
    }
}

/// With checkpoints, a discard is saved before anything else is sent.
#[test]
fn discard_checkpoints_on_is_due() {
    for level in [1, 2] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::new(&mut storage);
        driven.session.set_checkpoints(true);
        driven.open(&KEEP, false);
        driven.publish(level, b"x");
        driven.expect(&[Event::CheckpointDue]);
        driven.sent();
        discard(&mut driven, 1).unwrap();
        driven.publish(0, b"later");
        assert_eq!(driven.sent(), b"");
        driven.expect(&[Event::CheckpointDue]);
        assert_eq!(driven.sent(), publish(0, 0, b"later"));
        if level == 2 {
            // The PUBREC that is received nevertheless is saved, too.
            driven.receive(&pubrec(1), &[Event::CheckpointDue]);
            assert_eq!(driven.sent(), pubrel(1));
        }
    }
}

// Streamed payloads.

#[test]
fn discard_streamed_with_source_is_partly_sent() {
    for level in [1, 2] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::new(&mut storage);
        let now = driven.at();
        driven.open(&KEEP, false);
        driven.session.begin_payload(streamed(level), 10).unwrap();
        // No byte was sent, but the caller is about to provide the payload. It can abandon it.
        assert_eq!(discard(&mut driven, 1), PARTLY_SENT);
        let mut sent = driven.sent();
        assert_eq!(discard(&mut driven, 1), PARTLY_SENT);
        driven.session.payload_sent(9, now);
        assert_eq!(discard(&mut driven, 1), PARTLY_SENT);
        driven.session.payload_sent(1, now);
        sent.extend([b'p'; 10]);
        assert_eq!(sent, publish(level, 1, &[b'p'; 10]));
        discard(&mut driven, 1).unwrap();
        driven.lose();
        driven.open(&KEEP, true);
        assert_eq!(driven.session.payload_needed(), None);
        assert_eq!(driven.events().len(), 0);
        assert_eq!(driven.sent(), b"");
    }
}

#[test]
fn discard_streamed_without_source_unblocks_later_messages() {
    for level in [1, 2] {
        for is_asked in [false, true] {
            let mut storage = TestStorage::new();
            let mut driven = TestSession::new(&mut storage);
            let now = driven.at();
            driven.open(&KEEP, false);
            driven.session.begin_payload(streamed(level), 10).unwrap();
            driven.publish_and_send(1, b"behind");
            driven.session.payload_sent(5, now);
            driven.lose();
            driven.open(&KEEP, true);
            if is_asked {
                driven.expect(&[Event::PayloadNeeded(id(1))]);
            }
            assert_eq!(driven.sent(), b"");
            discard(&mut driven, 1).unwrap();
            assert_eq!(driven.session.payload_needed(), None);
            let resend = StreamedPublish::Resend(id(1));
            assert_eq!(
                driven.session.begin_payload(resend, 10),
                Err(RequestError::PayloadNotNeeded)
            );
            let reported = if level == 1 {
                vec![Event::PublishDiscarded(id(1))]
            } else {
                vec![]
            };
            driven.expect(&reported);
            assert_eq!(driven.sent(), publish(1, 2, b"behind"));
        }
    }
}

/// While a payload is being sent, a later message that needs its payload is discarded.
#[test]
fn discard_streamed_after_payload_in_progress_keeps_it_whole() {
    for size in 1..12 {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::new(&mut storage);
        let now = driven.at();
        driven.open(&KEEP, false);
        for _ in 0..3 {
            driven.session.begin_payload(streamed(1), 10).unwrap();
            driven.sent();
            driven.session.payload_sent(10, now);
        }
        driven.publish_and_send(1, b"last");
        driven.lose();
        driven.open(&KEEP, true);
        driven.expect(&[Event::PayloadNeeded(id(1))]);
        let resend = StreamedPublish::Resend(id(1));
        driven.session.begin_payload(resend, 10).unwrap();
        let mut sent = driven.sent();
        let mut provided = 0;
        while driven.session.payload_left() > 0 {
            let space = driven.session.payload_space();
            let n = size.min(space.len());
            space[..n].fill(b'p');
            driven.session.payload_commit(n);
            provided += n;
            if provided >= 5 && provided - n < 5 {
                // A piece is in the buffer.
                discard(&mut driven, 2).unwrap();
            }
            sent.extend(driven.sent());
        }
        assert_eq!(sent, dup(publish(1, 1, b"pppppppppp")));
        driven.expect(&[Event::PublishDiscarded(id(2)), Event::PayloadNeeded(id(3))]);
        discard(&mut driven, 3).unwrap();
        driven.expect(&[Event::PublishDiscarded(id(3))]);
        assert_eq!(driven.sent(), dup(publish(1, 4, b"last")));
    }
}

/// A message cannot be discarded while it is being sent again, even if its acknowledgement was received meanwhile.
#[test]
fn discard_resend_answered_while_partly_sent_is_refused() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"x");
    driven.lose();
    driven.open(&KEEP, true);
    driven.send_up_to(3);
    driven.receive(&puback(1), &[]);
    assert_eq!(discard(&mut driven, 1), PARTLY_SENT);
    driven.sent();
    driven.expect(&[Event::Puback(id(1))]);
}

/// The wrong acknowledgement for a discarded message closes the connection, as for any other.
#[test]
fn discard_sent_wrong_acknowledgement_closes() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"x");
    discard(&mut driven, 1).unwrap();
    driven.feed(&pubrec(1));
    let (packet_type, packet_id) = (PacketType::Pubrec, id(1));
    let (events, reason) = driven.events_and_reason();
    assert_eq!(events, texts(&[Event::PublishDiscarded(packet_id)]));
    assert_eq!(
        reason,
        ProtocolError::UnexpectedAck {
            packet_type,
            packet_id
        }
    );
}

/// If any of several messages is discarded, sent or not, the others keep their order and are sent once.
#[test]
fn discard_one_of_several_order_of_others_is_unchanged() {
    let all: Vec<_> = (1..=4)
        .map(|number| publish(if number % 2 == 0 { 2 } else { 1 }, number, &[7; 5]))
        .collect();
    let total: usize = all.iter().map(Vec::len).sum();
    for cut in 0..=total {
        for number in 1..=4 {
            let mut storage = TestStorage::new();
            let mut driven = TestSession::connected(&mut storage);
            for at in 1..=4 {
                driven.publish(if at % 2 == 0 { 2 } else { 1 }, &[7; 5]);
            }
            // The transport accepts `cut` bytes. The others do not count as offered any more.
            let now = driven.at();
            let mut sent = Vec::new();
            if cut > 0 {
                sent.extend(driven.session.pending(now)[..cut].to_vec());
                driven.session.consume(cut, now);
            }
            let is_discarded = discard(&mut driven, number).is_ok();
            sent.extend(driven.sent());
            let start: usize = all[..usize::from(number) - 1].iter().map(Vec::len).sum();
            let is_removed = is_discarded && cut <= start;
            assert_eq!(
                is_discarded,
                cut <= start || cut >= start + all[usize::from(number) - 1].len()
            );
            let expected: Vec<_> = (1..=4)
                .filter(|at| !is_removed || *at != number)
                .flat_map(|at| all[usize::from(at) - 1].clone())
                .collect();
            assert_eq!(sent, expected, "{number} after {cut} bytes");
            driven.lose();
            driven.open(&KEEP, true);
            let again: Vec<_> = (1..=4)
                .filter(|at| !is_discarded || *at != number)
                .map(|at| dup(all[usize::from(at) - 1].clone()))
                .collect();
            assert_eq!(packets(&driven.sent()), again);
        }
    }
}

/// After two discards, there is room for two new messages.
#[test]
fn discard_frees_slots_for_new_messages() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    for _ in 0..8 {
        driven.publish(2, b"x");
    }
    driven.sent();
    for number in [3, 5] {
        discard(&mut driven, number).unwrap();
    }
    assert_eq!(next_ids(&mut driven, 2), [9, 10]);
    assert_eq!(
        driven.session.publish(&message(1, b"")),
        Err(RequestError::InflightFull { capacity: 8 })
    );
}
