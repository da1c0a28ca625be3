//! Steps that the caller must do, and events that the session must return, are never lost.

use umqtt::{
    Event, InputBlock, Message, RequestError, Session, Storage, StreamedPublish,
    codec::{ConnectReturnCode, PacketId, QoS, SubackReturnCode},
};

use crate::wire::{self, *};

/// Two tokens of one event: the second one takes no event.
#[test]
fn event_token_used_late_returns_none() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.feed(&wire(&[&publish(0, 0, b"one"), &publish(1, 7, b"two")]));
    let first = driven.session.poll(driven.at()).unwrap().unwrap();
    let same = driven.session.poll(driven.at()).unwrap().unwrap();
    assert!(driven.session.event(first).unwrap().is_some());
    let second = driven.session.poll(driven.at()).unwrap().unwrap();
    assert_eq!(driven.session.event(same).unwrap(), None);
    assert_eq!(driven.sent(), b"", "the second message was not seen");
    let event = driven.session.event(second).unwrap();
    assert_eq!(event, Some(Event::Message(message(1, b"two"))));
    assert_eq!(driven.sent(), puback(7));
}

/// A token from before the connection was closed takes no event of the next connection.
#[test]
fn event_token_of_closed_connection_returns_none() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.feed(&publish(1, 7, b"x"));
    let old = driven.session.poll(driven.at()).unwrap().unwrap();
    driven.connect(&KEEP);
    driven.sent();
    driven.feed(&connack(true));
    let new = driven.session.poll(driven.at()).unwrap().unwrap();
    assert_eq!(driven.session.event(old).unwrap(), None);
    assert!(driven.session.event(new).unwrap().is_some());
}

/// A receive buffer that holds the topic and nine bytes is large enough, for any payload and at any QoS.
#[test]
fn long_message_topic_and_nine_bytes_fill_buffer_is_received() {
    for level in 0..3 {
        for len in [100, 20_000, 2_100_000] {
            let mut storage = Storage::<64, 64, 1, 4>::new();
            let mut driven = TestSession::connected(&mut storage);
            let (topic, expected) = ("t".repeat(64 - 9), payload(len));
            let mut got = Vec::new();
            let bytes = publish_on(&topic, level, 3, &expected);
            // The longest message is received in pieces of two bytes, so only its first 30,000 bytes are tested.
            let mut rest = &bytes[..bytes.len().min(30_000)];
            let is_whole = rest.len() == bytes.len();
            while !rest.is_empty() {
                rest = driven.feed_part(rest);
                while let Some(token) = driven.session.poll(driven.at()).unwrap() {
                    match driven.session.event(token).unwrap() {
                        Some(Event::Chunk(chunk)) => {
                            assert_eq!((chunk.topic, chunk.offset), (&*topic, got.len()));
                            got.extend_from_slice(chunk.bytes);
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            assert!(got == expected[..got.len()], "QoS {level}, {len} bytes");
            assert_eq!(got.len() == len, is_whole);
            let answer = [vec![], puback(3), pubrec(3)][usize::from(level)].clone();
            assert_eq!(driven.sent(), if is_whole { answer } else { vec![] });
        }
    }
}

/// A topic with one byte more is skipped.
#[test]
fn long_message_topic_one_byte_longer_is_skipped() {
    let mut storage = Storage::<64, 64, 1, 4>::new();
    let mut driven = TestSession::connected(&mut storage);
    let topic = "t".repeat(64 - 8);
    let bytes = publish_on(&topic, 1, 3, &payload(2_100_000));
    let events = driven.stream(&bytes);
    assert_eq!(events, texts(&[Event::TopicTooLong { len: 56 }]));
    assert_eq!(driven.sent(), puback(3));
}

/// Sends a PUBLISH, connects again, and sends the first `n` bytes of the PUBLISH again. Returns its id.
fn resend(driven: &mut TestSession<'_>, level: u8, n: usize) -> u16 {
    driven.open(&KEEP, false);
    let id = driven.publish_and_send(level, b"12345678");
    driven.connect(&KEEP);
    driven.sent();
    driven.accept(true);
    assert_eq!(driven.send_up_to(n).len(), n);
    id
}

#[test]
fn qos1_publish_answered_at_any_byte_of_resend_is_complete() {
    let whole = dup(publish(1, 1, b"12345678"));
    for n in 0..=whole.len() {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::new(&mut storage);
        let id = resend(&mut driven, 1, n);
        driven.feed(&puback(id));
        let early = driven.events();
        let rest = driven.sent();
        // If a byte was sent again, the others must follow.
        assert_eq!(rest, if n == 0 { b"" } else { &whole[n..] }, "{n} bytes");
        let mut events = early;
        events.extend(driven.events());
        assert_eq!(events, texts(&[Event::Puback(PacketId::MIN)]), "{n} bytes");
        assert_eq!(driven.session.in_flight(), 0);
        // The server also answers the second transmission.
        driven.receive(&puback(id), &[]);
    }
}

#[test]
fn qos2_publish_answered_at_any_byte_of_resend_is_released() {
    let whole = dup(publish(2, 1, b"12345678"));
    for n in 0..=whole.len() {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::new(&mut storage);
        let id = resend(&mut driven, 2, n);
        driven.receive(&pubrec(id), &[]);
        let rest = if n == 0 { b"" } else { &whole[n..] };
        assert_eq!(driven.sent(), wire(&[rest, &pubrel(id)]), "{n} bytes");
        driven.receive(&pubcomp(id), &[Event::Pubcomp(PacketId::MIN)]);
    }
}

#[test]
fn streamed_publish_answered_at_any_byte_of_resend_is_complete() {
    for level in [1, 2] {
        for n in 0..=8 {
            let mut storage = TestStorage::new();
            let mut driven = TestSession::connected(&mut storage);
            let id = driven
                .session
                .begin_payload(streamed(level), 8)
                .unwrap()
                .unwrap();
            driven.sent();
            driven.session.payload_sent(8, driven.at());
            assert!(!driven.session.is_payload_open());
            driven.connect(&KEEP);
            driven.sent();
            driven.accept(true);
            driven.expect(&[Event::PayloadNeeded(id)]);
            let again = StreamedPublish::Resend(id);
            driven.session.begin_payload(again, 8).unwrap();
            assert_eq!(driven.sent().len(), 7);
            driven.session.payload_sent(n, driven.at());
            let answer = if level == 1 { puback(1) } else { pubrec(1) };
            driven.feed(&answer);
            let mut events = driven.events();
            driven.session.payload_sent(8 - n, driven.at());
            events.extend(driven.events());
            if level == 2 {
                assert_eq!(driven.sent(), pubrel(1), "{n} bytes");
                driven.feed(&pubcomp(1));
                events.extend(driven.events());
            }
            let event = [Event::Puback(id), Event::Pubcomp(id)][usize::from(level) - 1];
            assert_eq!(events, texts(&[event]), "{n} bytes");
            assert_eq!(driven.session.in_flight(), 0);
        }
    }
}

/// If the connection is lost during the resend, the session forgets the PUBACK. It sends the message again.
#[test]
fn publish_answered_in_part_of_resend_then_cut_is_sent_again() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    let id = resend(&mut driven, 1, 3);
    driven.receive(&puback(id), &[]);
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), dup(publish(1, id, b"12345678")));
    driven.receive(&puback(id), &[Event::Puback(PacketId::MIN)]);
}

/// A completed request counts as in flight, and its result is in the image, until the caller takes the event.
#[test]
fn report_announced_and_not_taken_is_counted_and_saved() {
    for (request, answers) in [
        ("Puback", vec![puback(1)]),
        ("Pubcomp", vec![pubrec(1), pubcomp(1)]),
        ("Unsuback", vec![unsuback(1)]),
    ] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        match request {
            "Puback" => driven.publish(1, b"x"),
            "Pubcomp" => driven.publish(2, b"x"),
            _ => driven.unsubscribe(&["t"]),
        };
        driven.sent();
        for (n, answer) in answers.iter().enumerate() {
            driven.feed(answer);
            if n + 1 < answers.len() {
                driven.expect(&[]);
                driven.sent();
            }
        }
        // The token is dropped, as by a future that is cancelled.
        let _ = driven.session.poll(driven.at()).unwrap().unwrap();
        assert_eq!(driven.session.in_flight(), 1, "{request}");
        let mut image = [0; TestStorage::IMAGE_LEN];
        let len = driven.session.save(&mut image).unwrap().len;
        let expected = format!("{request}(PacketId(1))");
        // A new connection does not change it.
        driven.connect(&KEEP);
        driven.sent();
        driven.accept(true);
        assert_eq!(driven.events(), [&*expected]);
        assert_eq!(driven.session.in_flight(), 0);
        assert_eq!(driven.events(), [""; 0]);

        let mut storage = TestStorage::new();
        let mut restored = Session::new(&mut storage);
        restored.restore(&image[..len]).unwrap();
        let token = restored.poll(driven.at()).unwrap().unwrap();
        assert_eq!(token.completed_request(), Some(PacketId::MIN));
        let event = restored.event(token).unwrap();
        assert_eq!(format!("{:?}", event.unwrap()), expected);
        assert_eq!(restored.in_flight(), 0);
    }
}

/// Payload that `read_payload` has not copied is not discarded by `space`.
#[test]
fn payload_not_copied_space_called_is_kept() {
    let mut storage = Storage::<16, 64, 2>::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.feed(&publish(0, 0, b"0123456789A"));
    let token = driven.session.poll(driven.at()).unwrap().unwrap();
    assert!(driven.session.event(token).unwrap().is_some());
    let mut buf = [0; 8];
    assert_eq!(driven.session.read_payload(&mut buf), 8);
    assert!(driven.session.space().is_empty());
    assert_eq!(driven.session.input_blocked_by(), Some(InputBlock::Payload));
    assert_eq!(driven.session.read_payload(&mut buf), 3);
    assert_eq!(&buf[..3], b"89A");
    assert_eq!(driven.session.input_blocked_by(), None);
    assert!(!driven.session.space().is_empty());

    // After a short payload, there is still room.
    driven.events();
    driven.feed(&publish(0, 0, b"abc"));
    let token = driven.session.poll(driven.at()).unwrap().unwrap();
    assert!(driven.session.event(token).unwrap().is_some());
    driven.feed(&publish(0, 0, b""));
    assert_eq!(driven.session.read_payload(&mut buf), 3);
    assert_eq!(&buf[..3], b"abc");
    assert_eq!(driven.events().len(), 1);
}

/// If there is no room to receive more, the session returns the necessary step. After that step, there is room.
#[test]
fn space_empty_after_poll_returned_none_is_explained() {
    let mut storage = Storage::<16, 128, 2>::new();
    let mut driven = TestSession::connected(&mut storage);
    let bytes: Vec<u8> = (1..20).flat_map(|id| publish(1, id, b"")).collect();
    let (mut rest, mut blocked) = (&*bytes, 0);
    while !rest.is_empty() {
        driven.events();
        let space = driven.session.space();
        if space.is_empty() {
            let reason = driven.session.input_blocked_by();
            assert_eq!(reason, Some(InputBlock::Acknowledgements));
            assert!(driven.session.has_pending());
            driven.sent();
            blocked += 1;
            continue;
        }
        let n = space.len().min(rest.len());
        space[..n].copy_from_slice(&rest[..n]);
        rest = &rest[n..];
        driven.session.commit(n);
    }
    assert!(blocked > 0);
}

/// While a checkpoint is due, `input_blocked_by` returns `Checkpoint`.
#[test]
fn space_empty_before_checkpoint_is_explained() {
    let mut storage = Storage::<16, 128, 2>::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.set_checkpoints(true);
    driven.open(&KEEP, false);
    driven.events();
    driven
        .session
        .publish(&Message {
            qos: QoS::AtLeastOnce,
            ..Message::new(TOPIC, b"")
        })
        .unwrap();
    assert_eq!(
        driven.session.input_blocked_by(),
        Some(InputBlock::Checkpoint)
    );
    driven.feed(&publish(0, 0, b"0123456789A"));
    assert!(driven.session.space().is_empty());
    assert_eq!(driven.next().unwrap().unwrap(), "CheckpointDue");
    let message = driven.session.poll(driven.at()).unwrap().unwrap();
    assert_eq!(driven.session.input_blocked_by(), Some(InputBlock::Event));
    assert!(driven.session.event(message).unwrap().is_some());
}

/// Connects again, and returns the flags Session Present and `connect_unanswered` of the event `Connected`.
fn reconnect(driven: &mut TestSession<'_>, session_present: bool) -> (bool, bool) {
    driven.connect(&KEEP);
    driven.sent();
    driven.feed(&connack(session_present));
    connected(driven)
}

fn connected(driven: &mut TestSession<'_>) -> (bool, bool) {
    let token = driven.session.poll(driven.at()).unwrap().unwrap();
    match driven.session.event(token).unwrap() {
        Some(Event::Connected {
            session_present,
            connect_unanswered,
            ..
        }) => (session_present, connect_unanswered),
        other => panic!("{other:?}"),
    }
}

/// The server forgot the session, and the CONNACK that reports it was lost. The next CONNACK cannot report it.
#[test]
fn connect_unanswered_next_connected_reports_it_once() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.receive(
        &publish(2, 1, b"old"),
        &[Event::Message(message(2, b"old"))],
    );
    assert_eq!(reconnect(&mut driven, true), (true, false));
    // Two CONNECTs are not answered.
    for _ in 0..2 {
        driven.connect(&KEEP);
        driven.sent();
        driven.lose();
    }
    assert_eq!(reconnect(&mut driven, true), (true, true));
    // The session keeps its ids, because this may be the old message.
    driven.receive(&publish(2, 1, b"new"), &[]);
    assert_eq!(reconnect(&mut driven, true), (true, false));
}

/// A CONNECT that was not sent whole, or was refused, changed nothing at the server.
#[test]
fn connect_not_sent_or_refused_next_connected_reports_none() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.connect(&KEEP);
    driven.lose();
    assert_eq!(reconnect(&mut driven, true), (true, false));
    driven.connect(&KEEP);
    driven.sent();
    driven.feed(&refused(ConnectReturnCode::ServerUnavailable));
    driven.events_and_reason();
    assert_eq!(reconnect(&mut driven, true), (true, false));
}

/// The flag is kept until its event was taken. The image contains it, even while the answer is awaited.
#[test]
fn connect_unanswered_session_restored_connected_reports_it() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.connect(&KEEP);
    driven.sent();
    let mut image = [0; TestStorage::IMAGE_LEN];
    for lost in [false, true] {
        if lost {
            driven.lose();
        }
        let len = driven.session.save(&mut image).unwrap().len;
        let mut storage = TestStorage::new();
        let mut restored = TestSession::new(&mut storage);
        restored.session.restore(&image[..len]).unwrap();
        assert_eq!(reconnect(&mut restored, true), (true, true), "lost: {lost}");
    }
    driven.connect(&KEEP);
    driven.sent();
    driven.feed(&connack(true));
    let _ = driven.session.poll(driven.at()).unwrap().unwrap();
    assert_eq!(
        reconnect(&mut driven, true),
        (true, true),
        "not taken before"
    );
    // With Clean Session 1, there is no older session of which the client could be unsure.
    driven.connect(&KEEP);
    driven.sent();
    driven.lose();
    driven.connect(&CLEAN);
    driven.sent();
    driven.feed(&connack(false));
    assert_eq!(connected(&mut driven), (false, false));
}

/// A SUBSCRIBE whose SUBACK would not fit is not sent. One filter less is accepted, and answered.
#[test]
fn subscribe_answer_too_large_is_refused() {
    fn check<const RX: usize>(fits: usize, needed: usize) {
        let mut storage = Storage::<RX, 2048, 2>::new();
        let mut driven = TestSession::connected(&mut storage);
        let filters = vec![("t", QoS::AtMostOnce); fits + 1];
        let error = driven.session.subscribe(&filters).unwrap_err();
        let capacity = RX;
        assert_eq!(error, RequestError::AnswerTooLarge { needed, capacity });
        assert_eq!((driven.sent(), driven.session.in_flight()), (vec![], 0));
        let id = driven.subscribe(&filters[1..]);
        driven.sent();
        driven.feed(&suback(
            id,
            &vec![SubackReturnCode::Granted(QoS::AtMostOnce); fits],
        ));
        let events = driven.events();
        assert!(events[0].starts_with("Suback("), "{events:?}");
    }
    check::<16>(12, 17);
    check::<64>(60, 65);
    // From 126 filters on, the length takes two bytes.
    check::<129>(125, 131);
    check::<130>(125, 131);
    check::<131>(126, 132);
}

/// Sends a streamed PUBLISH at QoS 2, and connects again, so that its payload is requested. Returns its id.
fn sent_and_asked_again(driven: &mut TestSession<'_>) -> PacketId {
    let id = driven
        .session
        .begin_payload(streamed(2), 8)
        .unwrap()
        .unwrap();
    driven.sent();
    driven.session.payload_sent(8, driven.at());
    driven.open(&KEEP, true);
    driven.expect(&[Event::PayloadNeeded(id)]);
    id
}

/// A message of which nothing was sent frees its id at once, because the server cannot know the id.
#[test]
fn discarded_message_never_sent_frees_id_at_once() {
    let mut storage = Storage::<64, 256, 1, 4>::new();
    let mut driven = TestSession::connected(&mut storage);
    let id = driven
        .session
        .begin_payload(streamed(2), 8)
        .unwrap()
        .unwrap();
    driven.open(&KEEP, true);
    driven.expect(&[Event::PayloadNeeded(id)]);
    driven.session.discard_publish(id).unwrap();
    driven.expect(&[Event::PublishDiscarded(id)]);
    assert_eq!(driven.session.in_flight(), 0);
}

/// Discarded messages use no slot. Their ids stay in use, also after a restart, until the server has lost the session.
#[test]
fn discarded_messages_sent_keep_ids_without_slots() {
    let mut storage = Storage::<64, 256, 1, 4>::new();
    let mut driven = TestSession::connected(&mut storage);
    let mut kept_ids = Vec::new();
    for _ in 0..4 {
        let id = sent_and_asked_again(&mut driven);
        driven.session.discard_publish(id).unwrap();
        driven.expect(&[]);
        assert_eq!(driven.session.in_flight(), 0);
        kept_ids.push(id);
    }
    let mut image = [0; Storage::<64, 256, 1, 4>::IMAGE_LEN];
    let len = driven.session.save(&mut image).unwrap().len;
    let mut storage = Storage::<64, 256, 1, 4>::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.restore(&image[..len]).unwrap();
    driven.open(&KEEP, true);
    // New messages get every other id, and none of these.
    for _ in 0..65_600 {
        let id = driven.publish(1, b"");
        assert!(!kept_ids.contains(&wire::id(id)));
        driven.sent();
        driven.receive(&puback(id), &[Event::Puback(wire::id(id))]);
    }
    driven.open(&KEEP, false);
    let discarded: Vec<_> = kept_ids
        .iter()
        .map(|id| Event::PublishDiscarded(*id))
        .collect();
    driven.expect(&discarded);
    // There is room for four such ids again. A fifth message keeps its slot.
    for n in 1..=5 {
        let id = sent_and_asked_again(&mut driven);
        driven.session.discard_publish(id).unwrap();
        assert_eq!(driven.session.in_flight(), usize::from(n == 5));
    }
}

/// If the server has received a discarded message, the session sends PUBREL, also on the next connection.
#[test]
fn discarded_message_received_by_server_is_delivered() {
    let mut storage = Storage::<64, 256, 1, 4>::new();
    let mut driven = TestSession::connected(&mut storage);
    let id = sent_and_asked_again(&mut driven);
    driven.session.discard_publish(id).unwrap();
    driven.receive(&pubrec(id.get()), &[]);
    assert_eq!(driven.sent(), pubrel(id.get()));
    driven.open(&KEEP, true);
    driven.expect(&[]);
    assert_eq!(driven.sent(), pubrel(id.get()));
    driven.receive(&pubcomp(id.get()), &[Event::Pubcomp(id)]);
    assert_eq!(driven.session.in_flight(), 0);
    driven.open(&KEEP, false);
    driven.expect(&[]);
}

/// From 16,382 filters on, the length of a SUBACK takes three bytes.
#[test]
fn subscribe_sixteen_thousand_filters_answer_too_large_has_its_length() {
    for (filters, needed) in [(16_381, 16_386), (16_382, 16_388)] {
        let mut storage = Box::new(Storage::<64, 70_000, 2>::new());
        let mut driven = TestSession::connected(&mut *storage);
        let filters = vec![("t", qos(0)); filters];
        let capacity = 64;
        assert_eq!(
            driven.session.subscribe(&filters),
            Err(RequestError::AnswerTooLarge { needed, capacity })
        );
    }
}
