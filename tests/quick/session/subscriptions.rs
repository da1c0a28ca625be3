//! Standing subscriptions: the times and packets in which they are sent, and the effects of their answers. In a round,
//! the session sends the whole list once, in one or more SUBSCRIBE packets.

use umqtt::{
    Event, Message, ProtocolError, RequestError, Session, Storage, SubscriptionState,
    codec::{Connect, Credentials, DecodeError, PacketType, QoS, Suback, SubackReturnCode},
};

use crate::wire::*;

type Filters = &'static [(&'static str, QoS)];

const ONE: Filters = &[("a/#", QoS::AtLeastOnce)];
const THREE: Filters = &[
    ("a/#", QoS::AtLeastOnce),
    ("b", QoS::ExactlyOnce),
    ("c/+/d", QoS::AtMostOnce),
];

/// Returns a list of this length.
fn numbered(count: usize) -> Filters {
    let filter = |at: usize| {
        let name: &'static str = format!("filter{at:02}").leak();
        (name, QoS::AtLeastOnce)
    };
    (0..count).map(filter).collect::<Vec<_>>().leak()
}

/// Returns a SUBSCRIBE of these filters.
fn subscribe_all(id: u16, filters: &[(&str, QoS)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    for (filter, qos) in filters {
        body.extend((filter.len() as u16).to_be_bytes());
        body.extend(filter.as_bytes());
        body.push(*qos as u8);
    }
    assert!(body.len() < 128);
    wire(&[&[0x82, body.len() as u8], &body])
}

/// Returns a SUBACK with these codes.
fn answer(id: u16, codes: &[u8]) -> Vec<u8> {
    wire(&[&[0x90, 2 + codes.len() as u8], &id.to_be_bytes(), codes])
}

/// Returns the event that reports these codes for these filters.
fn subscribed(filters: &[(&str, QoS)], codes: &[u8]) -> String {
    let codes: Vec<_> = codes
        .iter()
        .map(|code| SubackReturnCode::try_from(*code).unwrap())
        .collect();
    let codes = Suback::new(id(1), &codes).unwrap().codes();
    format!("{:?}", Event::Subscribed { filters, codes })
}

/// Returns the codes that grant the requested QoS.
fn granted(filters: &[(&str, QoS)]) -> Vec<u8> {
    filters.iter().map(|(_, qos)| *qos as u8).collect()
}

/// Grants all filters of the SUBSCRIBE with this id.
#[track_caller]
fn grant(driven: &mut TestSession<'_>, id: u16, filters: &[(&str, QoS)]) {
    let codes = granted(filters);
    driven.feed(&answer(id, &codes));
    assert_eq!(driven.events(), [subscribed(filters, &codes)]);
}

/// Connects. Checks that the session sends only one SUBSCRIBE with the whole list, and returns its id.
#[track_caller]
fn open_subscribing(driven: &mut TestSession<'_>, session_present: bool, filters: Filters) -> u16 {
    driven.open(&KEEP, session_present);
    assert_eq!(
        driven.session.subscriptions(),
        SubscriptionState::Pending,
        "before the SUBSCRIBE"
    );
    let sent = driven.sent();
    let id = u16::from_be_bytes([sent[2], sent[3]]);
    assert_eq!(sent, subscribe_all(id, filters));
    id
}

/// A session with this list, without a connection.
fn with_list(storage: &mut impl Memory, filters: Filters) -> TestSession<'_> {
    let mut driven = TestSession::new(storage);
    driven.session.set_subscriptions(filters).unwrap();
    driven
}

/// A session whose server has granted this list.
#[track_caller]
fn with_granted(storage: &mut impl Memory, filters: Filters) -> TestSession<'_> {
    let mut driven = with_list(storage, filters);
    let id = open_subscribing(&mut driven, false, filters);
    grant(&mut driven, id, filters);
    assert_eq!(driven.session.subscriptions(), SubscriptionState::Granted);
    driven
}

/// Connects, and checks that nothing is sent.
#[track_caller]
fn open_silent(driven: &mut TestSession<'_>, session_present: bool) {
    driven.open(&KEEP, session_present);
    assert_eq!(driven.session.subscriptions(), SubscriptionState::Granted);
    assert_eq!(driven.sent(), b"");
}

// The times at which the list is sent.

#[test]
fn subscriptions_new_session_are_sent_before_publishes() {
    let mut storage = TestStorage::new();
    let mut driven = with_list(&mut storage, THREE);
    assert_eq!(driven.session.subscriptions(), SubscriptionState::Pending);
    driven.session.prepare(&KEEP).unwrap();
    driven.publish(1, b"offline");
    driven.open(&KEEP, false);
    driven.publish(0, b"new");
    assert_eq!(
        driven.sent(),
        wire(&[
            &subscribe_all(2, THREE),
            &publish(1, 1, b"offline"),
            &publish(0, 0, b"new")
        ])
    );
    assert_eq!(driven.session.subscriptions(), SubscriptionState::Pending);
    assert_eq!(driven.session.in_flight(), 1, "SUBSCRIBE takes no slot");
    grant(&mut driven, 2, THREE);
    assert_eq!(driven.session.subscriptions(), SubscriptionState::Granted);
    driven.lose();
    assert_eq!(driven.session.subscriptions(), SubscriptionState::Pending);
}

#[test]
fn subscriptions_resend_are_sent_before_it() {
    let mut storage = TestStorage::new();
    let mut driven = with_list(&mut storage, ONE);
    driven.open(&KEEP, false);
    driven.publish_and_send(2, b"kept");
    driven.lose();
    driven.open(&KEEP, true);
    assert_eq!(
        driven.sent(),
        wire(&[&subscribe_all(3, ONE), &dup(publish(2, 2, b"kept"))])
    );
}

#[test]
fn subscriptions_granted_session_present_are_not_sent() {
    let mut storage = TestStorage::new();
    let mut driven = with_granted(&mut storage, THREE);
    for _ in 0..3 {
        driven.lose();
        open_silent(&mut driven, true);
    }
    // Setting the same list again has no effect.
    driven.lose();
    driven.session.set_subscriptions(THREE).unwrap();
    open_silent(&mut driven, true);
}

#[test]
fn subscriptions_session_lost_are_sent_again() {
    let mut storage = TestStorage::new();
    let mut driven = with_granted(&mut storage, THREE);
    driven.lose();
    let id = open_subscribing(&mut driven, false, THREE);
    // Without an answer, the list is sent again, even with Session Present 1.
    driven.lose();
    driven.open(&KEEP, true);
    assert_eq!(driven.sent()[4..], subscribe_all(id + 1, &THREE[..1])[4..]);
}

#[test]
fn subscriptions_connect_unanswered_are_sent_again() {
    let mut storage = TestStorage::new();
    let mut driven = with_granted(&mut storage, THREE);
    driven.lose();
    // A CONNECT whose last byte was not sent has no effect.
    let len = connect(&KEEP).len();
    for sent in [0, len - 1] {
        driven.connect(&KEEP);
        let now = driven.at();
        if sent > 0 {
            let pending = driven.session.pending(now).len();
            assert_eq!(pending, len);
            driven.session.consume(sent, now);
        }
        driven.lose();
    }
    let mut image = [0; TestStorage::IMAGE_LEN];
    driven.connect(&KEEP);
    driven.sent();
    let during = driven.session.save(&mut image).unwrap().len;
    driven.lose();
    let id = open_subscribing(&mut driven, true, THREE);
    grant(&mut driven, id, THREE);
    driven.lose();
    open_silent(&mut driven, true);

    // The image also contains that a CONNECT is unanswered.
    let mut storage = TestStorage::new();
    let mut driven = with_list(&mut storage, THREE);
    driven.session.restore(&image[..during]).unwrap();
    open_subscribing(&mut driven, true, THREE);
}

#[test]
fn subscriptions_refused_connection_are_not_sent_again() {
    let mut storage = TestStorage::new();
    let mut driven = with_granted(&mut storage, ONE);
    driven.lose();
    driven.connect(&KEEP);
    driven.sent();
    driven.feed(&[0x20, 2, 0, 3]);
    assert!(matches!(driven.close_reason(), ProtocolError::Refused(_)));
    open_silent(&mut driven, true);
}

#[test]
fn subscriptions_saved_after_grant_are_not_sent_after_restore() {
    let (mut before, mut after) = ([0; TestStorage::IMAGE_LEN], [0; TestStorage::IMAGE_LEN]);
    let mut storage = TestStorage::new();
    let mut driven = with_list(&mut storage, THREE);
    let id = open_subscribing(&mut driven, false, THREE);
    let before_len = driven.session.save(&mut before).unwrap().len;
    grant(&mut driven, id, THREE);
    let after_len = driven.session.save(&mut after).unwrap().len;
    let (before, after) = (&before[..before_len], &after[..after_len]);
    assert_eq!(after.len(), before.len() + 4, "the checksum of the list");

    for list_first in [true, false] {
        for (image, list, is_sent) in [
            (before, THREE, true),
            (after, THREE, false),
            (after, ONE, true),
            (after, &THREE[1..], true),
        ] {
            let mut storage = TestStorage::new();
            let mut driven = TestSession::new(&mut storage);
            if list_first {
                driven.session.set_subscriptions(list).unwrap();
            }
            driven.session.restore(image).unwrap();
            if !list_first {
                driven.session.set_subscriptions(list).unwrap();
            }
            if is_sent {
                open_subscribing(&mut driven, true, list);
            } else {
                open_silent(&mut driven, true);
            }
        }
    }
    // Without a list, the checksum is kept.
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.restore(after).unwrap();
    open_silent(&mut driven, true);
    let mut again = [0; TestStorage::IMAGE_LEN];
    let len = driven.session.save(&mut again).unwrap().len;
    assert_eq!(len, after.len());
}

#[test]
fn subscriptions_list_changed_are_sent() {
    const QOS_CHANGED: Filters = &[("a/#", QoS::ExactlyOnce)];
    let mut storage = TestStorage::new();
    let mut driven = with_granted(&mut storage, ONE);
    driven.lose();
    for list in [THREE, QOS_CHANGED, ONE] {
        driven.session.set_subscriptions(list).unwrap();
        let id = open_subscribing(&mut driven, true, list);
        grant(&mut driven, id, list);
        driven.lose();
    }
    driven.session.set_subscriptions(&[]).unwrap();
    open_silent(&mut driven, true);
}

/// The server may have changed a subscription of the old list, so that list is sent again.
#[test]
fn subscriptions_other_list_interrupted_old_list_is_sent() {
    const LOWER: Filters = &[("a/#", QoS::AtMostOnce)];
    let mut storage = TestStorage::new();
    let mut driven = with_granted(&mut storage, ONE);
    driven.lose();
    driven.session.set_subscriptions(LOWER).unwrap();
    open_subscribing(&mut driven, true, LOWER);
    let mut image = [0; TestStorage::IMAGE_LEN];
    let len = driven.session.save(&mut image).unwrap().len;
    driven.lose();
    driven.session.set_subscriptions(ONE).unwrap();
    open_subscribing(&mut driven, true, ONE);

    let mut storage = TestStorage::new();
    let mut driven = with_list(&mut storage, ONE);
    driven.session.restore(&image[..len]).unwrap();
    open_subscribing(&mut driven, true, ONE);
}

/// With checkpoints, an image is due before the SUBSCRIBE. In it, the old list is not granted any more.
#[test]
fn subscriptions_other_list_checkpoint_is_due_before_subscribe() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.set_checkpoints(true);
    driven.session.set_subscriptions(ONE).unwrap();
    driven.open(&KEEP, false);
    driven.expect(&[Event::CheckpointDue]);
    assert_eq!(driven.sent(), subscribe_all(1, ONE));
    driven.feed(&answer(1, &[1]));
    assert_eq!(
        driven.events(),
        [subscribed(ONE, &[1]), "CheckpointDue".into()]
    );
    driven.lose();
    driven.session.set_subscriptions(THREE).unwrap();
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), b"");
    driven.expect(&[Event::CheckpointDue]);
    assert_eq!(driven.sent(), subscribe_all(2, THREE));
}

#[test]
fn subscriptions_clean_session_are_sent_on_each_connection() {
    let mut storage = TestStorage::new();
    let mut driven = with_list(&mut storage, ONE);
    for number in 1..4 {
        driven.open(&CLEAN, false);
        assert_eq!(driven.sent(), subscribe_all(number, ONE));
        grant(&mut driven, number, ONE);
        driven.lose();
    }
    // The connections with Clean Session 1 left no session. Session Present 1 is therefore about an unknown session.
    open_subscribing(&mut driven, true, ONE);
}

// The answers.

#[test]
fn subscriptions_filter_refused_is_reported_and_sent_again() {
    let list = numbered(10);
    let mut storage = Storage::<64, 512, 4>::new();
    let mut driven = with_list(&mut storage, list);
    for connection in 0..3 {
        driven.open(&KEEP, connection > 0);
        let first = connection * 2 + 1;
        assert_eq!(driven.sent(), subscribe_all(first, &list[..8]));
        let codes = [1, 1, 0x80, 1, 1, 1, 1, 1];
        driven.feed(&answer(first, &codes));
        assert_eq!(driven.events(), [subscribed(&list[..8], &codes)]);
        assert_eq!(driven.session.subscriptions(), SubscriptionState::Refused);
        // The round continues.
        assert_eq!(driven.sent(), subscribe_all(first + 1, &list[8..]));
        grant(&mut driven, first + 1, &list[8..]);
        assert_eq!(driven.session.subscriptions(), SubscriptionState::Refused);
        assert_eq!(driven.sent(), b"", "once a connection");
        driven.lose();
    }
    // The server grants all filters.
    driven.open(&KEEP, true);
    driven.sent();
    grant(&mut driven, 7, &list[..8]);
    assert_eq!(driven.session.subscriptions(), SubscriptionState::Pending);
    driven.sent();
    grant(&mut driven, 8, &list[8..]);
    assert_eq!(driven.session.subscriptions(), SubscriptionState::Granted);
    driven.lose();
    open_silent(&mut driven, true);
}

#[test]
fn subscriptions_lower_qos_is_granted() {
    let mut storage = TestStorage::new();
    let mut driven = with_list(&mut storage, THREE);
    let id = open_subscribing(&mut driven, false, THREE);
    driven.feed(&answer(id, &[0, 1, 0]));
    assert_eq!(driven.events(), [subscribed(THREE, &[0, 1, 0])]);
    assert_eq!(driven.session.subscriptions(), SubscriptionState::Granted);
    driven.lose();
    open_silent(&mut driven, true);
}

#[test]
fn subscriptions_many_are_sent_eight_per_subscribe_in_turn() {
    for count in [1, 7, 8, 9, 16, 17, 40] {
        let list = numbered(count);
        let mut storage = Storage::<64, 1024, 1>::new();
        let mut driven = with_list(&mut storage, list);
        driven.open(&KEEP, false);
        for (chunk, number) in list.chunks(8).zip(1..) {
            assert_eq!(driven.session.subscriptions(), SubscriptionState::Pending);
            assert_eq!(driven.sent(), subscribe_all(number, chunk), "{count}");
            assert_eq!(driven.sent(), b"");
            grant(&mut driven, number, chunk);
        }
        assert_eq!(driven.session.subscriptions(), SubscriptionState::Granted);
        assert_eq!(driven.sent(), b"");
    }
}

/// A SUBSCRIBE may take a quarter of the send buffer, or as much as the longest filter needs.
#[test]
fn subscriptions_little_room_are_sent_as_many_as_fit() {
    const LONGEST: Filters = &[
        ("a", QoS::AtMostOnce),
        ("b", QoS::AtMostOnce),
        ("a/filter/longer/than/a/quarter", QoS::AtMostOnce),
        ("c", QoS::AtMostOnce),
    ];
    // Two bytes of fixed header, the id, and 11 bytes a filter.
    for (room, in_packet) in [(15, 1), (25, 1), (26, 2), (36, 2), (37, 3), (48, 4)] {
        let list = numbered(7);
        let sizes = with_tx(room * 4, |driven| {
            driven.session.set_subscriptions(list).unwrap();
            sizes_of_round(driven, list)
        });
        assert!(sizes[..sizes.len() - 1].iter().all(|n| *n == in_packet));
        assert_eq!(sizes.iter().sum::<usize>(), 7, "room of {room}");
    }
    let sizes = with_tx(100, |driven| {
        driven.session.set_subscriptions(LONGEST).unwrap();
        sizes_of_round(driven, LONGEST)
    });
    // 4 + 33 bytes for the longest filter alone.
    assert_eq!(sizes, [2, 1, 1]);
}

/// Runs a test with a session whose send buffer has this size.
fn with_tx<R>(len: usize, test: impl FnOnce(&mut TestSession<'_>) -> R) -> R {
    fn run<const N: usize, R>(test: impl FnOnce(&mut TestSession<'_>) -> R) -> R {
        let mut storage = Storage::<64, N, 4>::new();
        test(&mut TestSession::new(&mut storage))
    }
    match len {
        60 => run::<60, R>(test),
        100 => run::<100, R>(test),
        104 => run::<104, R>(test),
        144 => run::<144, R>(test),
        148 => run::<148, R>(test),
        192 => run::<192, R>(test),
        _ => unreachable!("not one of the sizes"),
    }
}

/// Grants the whole list, and returns the number of filters in each SUBSCRIBE.
fn sizes_of_round(driven: &mut TestSession<'_>, list: Filters) -> Vec<usize> {
    driven.open(&KEEP, false);
    let (mut rest, mut sizes) = (list, Vec::new());
    while !rest.is_empty() {
        let sent = driven.sent();
        let id = u16::from_be_bytes([sent[2], sent[3]]);
        let count = (1..=rest.len()).find(|n| subscribe_all(id, &rest[..*n]) == sent);
        let (now, later) = rest.split_at(count.expect("the next filters"));
        grant(driven, id, now);
        sizes.push(now.len());
        rest = later;
    }
    assert_eq!(driven.session.subscriptions(), SubscriptionState::Granted);
    sizes
}

#[test]
fn subscriptions_invalid_suback_closes() {
    type Case = (Vec<u8>, fn(ProtocolError) -> bool);
    let cases: [Case; 7] = [
        (vec![0x90, 2, 0, 1], |reason| {
            matches!(reason, ProtocolError::Decode(_))
        }),
        (answer(1, &[1, 2]), |reason| {
            let (expected, got) = (3, 2);
            reason == ProtocolError::SubackCount { expected, got }
        }),
        (answer(1, &[1, 2, 0, 0]), |reason| {
            let (expected, got) = (3, 4);
            reason == ProtocolError::SubackCount { expected, got }
        }),
        (answer(1, &[1, 3, 0]), |reason| {
            matches!(reason, ProtocolError::Decode(_))
        }),
        (answer(0, &[1, 2, 0]), |reason| {
            reason == ProtocolError::Decode(DecodeError::PacketIdZero)
        }),
        (puback(1), |reason| {
            let (packet_type, packet_id) = (PacketType::Puback, id(1));
            let unexpected = ProtocolError::UnexpectedAck {
                packet_type,
                packet_id,
            };
            reason == unexpected
        }),
        (vec![0xB0, 2, 0, 1], |reason| {
            matches!(reason, ProtocolError::UnexpectedAck { .. })
        }),
    ];
    for (bytes, expected) in cases {
        let mut storage = TestStorage::new();
        let mut driven = with_list(&mut storage, THREE);
        assert_eq!(open_subscribing(&mut driven, false, THREE), 1);
        driven.feed(&bytes);
        let (events, reason) = driven.events_and_reason();
        assert!(expected(reason), "{bytes:?}: {reason:?}");
        assert_eq!(events, [""; 0]);
        // Nothing counts as granted.
        driven.open(&KEEP, true);
        assert_eq!(driven.session.subscriptions(), SubscriptionState::Pending);
        assert_eq!(driven.sent()[4..12], subscribe_all(2, THREE)[4..12]);
    }
}

#[test]
fn subscriptions_suback_before_whole_subscribe_closes() {
    let len = subscribe_all(1, THREE).len();
    for sent in 0..len {
        let mut storage = TestStorage::new();
        let mut driven = with_list(&mut storage, THREE);
        driven.open(&KEEP, false);
        if sent > 0 {
            driven.send_up_to(sent);
        }
        driven.feed(&answer(1, &[1, 2, 0]));
        let (packet_type, packet_id) = (PacketType::Suback, id(1));
        assert_eq!(
            driven.close_reason(),
            ProtocolError::UnexpectedAck {
                packet_type,
                packet_id
            }
        );
    }
}

/// A second answer to a SUBSCRIBE has no effect.
#[test]
fn subscriptions_suback_repeated_is_ignored() {
    let mut storage = TestStorage::new();
    let mut driven = with_granted(&mut storage, ONE);
    driven.receive(&answer(1, &[0x80]), &[]);
    assert_eq!(driven.session.subscriptions(), SubscriptionState::Granted);
}

#[test]
fn subscriptions_suback_late_is_request_timeout() {
    let mut storage = TestStorage::new();
    let mut driven = with_list(&mut storage, ONE);
    driven.open(&KEEP, false);
    driven.send_up_to(3);
    driven.pass(TIMEOUT - 1);
    driven.expect(&[]);
    // The timeout begins when the whole SUBSCRIBE was sent.
    driven.sent();
    driven.pass(TIMEOUT - 1);
    driven.expect(&[]);
    assert_eq!(driven.time_to_deadline(), Some(1));
    driven.pass(1);
    let packet_id = id(1);
    assert_eq!(
        driven.close_reason(),
        ProtocolError::RequestTimeout { packet_id }
    );
    open_subscribing(&mut driven, true, ONE);
}

// Room and ids.

#[test]
fn subscriptions_everything_full_are_sent_first() {
    let mut storage = Storage::<64, 128, 2, 4>::new();
    let mut driven = with_list(&mut storage, THREE);
    driven.session.prepare(&KEEP).unwrap();
    let mut filling = 64;
    let mut kept = Vec::new();
    while filling > 0 && kept.len() < 2 {
        match driven.session.publish(&message(1, &vec![7; filling])) {
            Ok(id) => kept.push(publish(1, id.unwrap().get(), &vec![7; filling])),
            Err(_) => filling -= 1,
        }
    }
    assert_eq!(kept.len(), 2, "all slots are taken");
    let full = driven.session.publish(&message(1, b""));
    assert_eq!(full, Err(RequestError::InflightFull { capacity: 2 }));
    for (session_present, number) in [(false, 3), (true, 4)] {
        driven.open(&KEEP, session_present);
        let zero = driven.session.publish(&message(0, b"no room"));
        assert!(matches!(zero, Err(RequestError::SendBufferFull { .. })));
        let expected = wire(&[&subscribe_all(number, THREE), &kept.concat()]);
        assert_eq!(driven.sent(), expected);
        for packet in &mut kept {
            *packet = dup(packet.clone());
        }
        // There is also room for DISCONNECT.
        driven.session.disconnect().unwrap();
        assert_eq!(driven.sent(), DISCONNECT);
        driven.lose();
    }
}

/// No request has the id of the unanswered SUBSCRIBE, even after all ids were used.
#[test]
fn subscriptions_unanswered_id_is_not_reused() {
    let mut storage = TestStorage::new();
    let mut driven = with_list(&mut storage, ONE);
    let standing = open_subscribing(&mut driven, false, ONE);
    for _ in 0..66_000 {
        let number = driven.publish(1, b"x");
        assert_ne!(number, standing);
        driven.sent();
        driven.receive(&puback(number), &[Event::Puback(id(number))]);
    }
    grant(&mut driven, standing, ONE);
}

/// A SUBSCRIBE does not take the id of a message that is in flight, even after all ids were used.
#[test]
fn subscriptions_id_in_flight_is_not_taken() {
    let mut storage = TestStorage::new();
    let mut driven = with_granted(&mut storage, ONE);
    let kept = driven.publish_and_send(1, b"kept");
    assert_eq!(kept, 2);
    let mut last = kept;
    while last < u16::MAX - 1 {
        last = driven.publish(1, b"x");
        driven.sent();
        driven.receive(&puback(last), &[Event::Puback(id(last))]);
    }
    driven.lose();
    let next = [(); 4].map(|()| {
        let next = open_subscribing_beside(&mut driven);
        driven.lose();
        next
    });
    assert_eq!(next, [u16::MAX, 1, 3, 4]);
}

/// Connects to a server without a session. Returns the id of the SUBSCRIBE, which is sent first.
fn open_subscribing_beside(driven: &mut TestSession<'_>) -> u16 {
    driven.open(&KEEP, false);
    let sent = driven.sent();
    assert_eq!(sent[0], 0x82);
    u16::from_be_bytes([sent[2], sent[3]])
}

#[test]
fn subscriptions_caller_subscribes_too_answers_are_separate() {
    let mut storage = TestStorage::new();
    let mut driven = with_list(&mut storage, ONE);
    driven.open(&KEEP, false);
    let own = driven.subscribe(&[("own", QoS::AtMostOnce)]);
    assert_eq!(
        driven.sent(),
        wire(&[&subscribe_all(1, ONE), &subscribe(own, "own")])
    );
    driven.feed(&suback(own, &[SubackReturnCode::Failure]));
    let events = driven.events();
    assert_eq!(events.len(), 1);
    assert!(events[0].starts_with("Suback("), "{events:?}");
    assert_eq!(driven.session.subscriptions(), SubscriptionState::Pending);
    grant(&mut driven, 1, ONE);
}

// The list between other packets.

/// Acknowledgements and a PINGREQ become pending after any number of sent bytes. For writes of several sizes, the
/// stream consists of whole packets: the SUBSCRIBE, the acknowledgements in order, the PINGREQ, and the packets of the
/// caller in order.
#[test]
fn subscriptions_in_parts_between_acks_and_pings_stay_whole() {
    let list = numbered(3);
    let total = subscribe_all(1, list).len() + publish(1, 2, b"x").len() + 30;
    for size in [1, 2, 3, 5, 7, 64] {
        for at in 0..total {
            let mut storage = TestStorage::new();
            let mut driven = with_list(&mut storage, list);
            driven.open(&KEEP, false);
            driven.publish(1, b"x");
            let mut sent = Vec::new();
            while sent.len() < at {
                let taken = driven.send_up_to(size);
                if taken.is_empty() {
                    break;
                }
                sent.extend(taken);
            }
            driven.feed(&wire(&[&publish(1, 7, b""), &publish(2, 8, b"")]));
            assert_eq!(driven.events().len(), 2);
            driven.session.ping().unwrap();
            driven.publish(0, b"last");
            while driven.session.has_pending() {
                sent.extend(driven.send_up_to(size));
            }
            let mut sent = packets(&sent);
            let subscribe = subscribe_all(1, list);
            let subscribes = sent.iter().filter(|packet| **packet == subscribe);
            assert_eq!(subscribes.count(), 1);
            let pings = sent.iter().filter(|packet| **packet == PINGREQ).count();
            assert_eq!(pings, 1);
            sent.retain(|packet| *packet != subscribe && **packet != PINGREQ);
            let (own, acks): (Vec<_>, Vec<_>) = sent
                .into_iter()
                .partition(|packet| packet[0] & 0xF0 == 0x30);
            assert_eq!(acks, [puback(7), pubrec(8)]);
            assert_eq!(own, [publish(1, 2, b"x"), publish(0, 0, b"last")]);
        }
    }
}

#[test]
fn subscriptions_disconnect_queued_is_sent_last() {
    let list = numbered(9);
    let first = subscribe_all(1, &list[..8]);
    for cut in 0..first.len() {
        let mut storage = Storage::<64, 512, 4>::new();
        let mut driven = with_list(&mut storage, list);
        driven.open(&KEEP, false);
        let mut sent = Vec::new();
        if cut > 0 {
            sent.extend(driven.send_up_to(cut));
        }
        driven.session.disconnect().unwrap();
        sent.extend(driven.sent());
        assert_eq!(sent, wire(&[&first, &DISCONNECT]));
        // The answer is reported, and nothing is sent any more.
        let codes = [1; 8];
        driven.feed(&answer(1, &codes));
        assert_eq!(driven.events(), [subscribed(&list[..8], &codes)]);
        assert_eq!(driven.sent(), b"");
        driven.session.connection_lost();
        assert_eq!(driven.close_reason(), ProtocolError::Closed);
        // The round was not complete.
        driven.open(&KEEP, true);
        assert_eq!(driven.sent(), subscribe_all(3, &list[..8]));
    }
}

/// The answer is received while DISCONNECT is queued. The next SUBSCRIBE is sent before DISCONNECT, unless a byte of
/// DISCONNECT was already sent.
#[test]
fn subscriptions_disconnect_waits_none_is_sent_after_it() {
    let list = numbered(9);
    for cut in 0..2 {
        let mut storage = Storage::<64, 512, 4>::new();
        let mut driven = with_list(&mut storage, list);
        driven.open(&KEEP, false);
        driven.sent();
        driven.session.disconnect().unwrap();
        let mut sent = Vec::new();
        if cut > 0 {
            sent.extend(driven.send_up_to(cut));
        }
        let codes = [1; 8];
        driven.feed(&answer(1, &codes));
        assert_eq!(driven.events(), [subscribed(&list[..8], &codes)]);
        sent.extend(driven.sent());
        let second = subscribe_all(2, &list[8..]);
        let before: &[u8] = if cut == 0 { &second } else { &[] };
        assert_eq!(sent, wire(&[before, &DISCONNECT]));
    }
}

/// [MQTT-3.14.4-2] DISCONNECT waits for CONNACK, and nothing follows it.
#[test]
fn subscriptions_disconnect_awaits_connack_are_sent_before() {
    for pending in [0, 1] {
        let mut storage = TestStorage::new();
        let mut driven = with_list(&mut storage, ONE);
        driven.session.prepare(&KEEP).unwrap();
        let message = publish(1, 1, b"x");
        let kept = if pending == 1 { &message[..] } else { b"" };
        for _ in 0..pending {
            driven.publish(1, b"x");
        }
        driven.connect(&KEEP);
        driven.session.disconnect().unwrap();
        assert_eq!(driven.sent(), connect(&KEEP));
        driven.accept(false);
        let id = 1 + pending;
        assert_eq!(
            driven.sent(),
            wire(&[&subscribe_all(id, ONE), kept, &DISCONNECT])
        );
        driven.expect(&[]);
        assert_eq!(driven.sent(), b"");
        assert_eq!(driven.time_to_deadline(), Some(1_000));
        driven.session.connection_lost();
        assert_eq!(driven.close_reason(), ProtocolError::Closed);
        if pending == 0 {
            open_subscribing(&mut driven, true, ONE);
        }
    }
}

// The list.

#[test]
fn set_subscriptions_connection_open_is_error() {
    let mut storage = TestStorage::new();
    let mut driven = with_granted(&mut storage, ONE);
    let open = Err(RequestError::ConnectionOpen);
    assert_eq!(driven.session.set_subscriptions(THREE), open);
    driven.lose();
    driven.connect(&KEEP);
    assert_eq!(driven.session.set_subscriptions(THREE), open);
    driven.sent();
    driven.accept(true);
    assert_eq!(driven.sent(), b"", "the list is unchanged");
}

#[test]
fn set_subscriptions_too_large_changes_nothing() {
    let long: &'static str = "f".repeat(300).leak();
    let too_long: Filters = vec![("a", QoS::AtMostOnce), (long, QoS::AtMostOnce)].leak();
    let too_long_beside: Filters = vec![(&long[..230], QoS::AtMostOnce)].leak();
    let mut storage = TestStorage::new();
    let mut driven = with_granted(&mut storage, ONE);
    let kept = driven.publish(1, &[7; 100]);
    driven.sent();
    driven.lose();
    assert_eq!(
        driven.session.set_subscriptions(too_long),
        Err(RequestError::PacketTooLarge {
            needed: 3 + 2 + 2 + 300 + 1,
            capacity: 256 - 2
        })
    );
    let free = 256 - 2 - connect(&KEEP).len() - publish(1, kept, &[7; 100]).len();
    assert_eq!(
        driven.session.set_subscriptions(too_long_beside),
        Err(RequestError::SendBufferFull {
            needed: 3 + 2 + 2 + 230 + 1,
            free
        })
    );
    for invalid in ["", "a#", "a/#/b", "+a"] {
        let list: Filters = vec![("a", QoS::AtMostOnce), (invalid, QoS::AtMostOnce)].leak();
        let result = driven.session.set_subscriptions(list);
        assert!(matches!(result, Err(RequestError::Encode(_))), "{invalid}");
    }
    // The old list is the one that the server has granted.
    driven.open(&KEEP, true);
    assert_eq!(driven.session.subscriptions(), SubscriptionState::Granted);
    assert_eq!(driven.sent(), dup(publish(1, kept, &[7; 100])));
    driven.lose();
    open_subscribing_beside(&mut driven);
}

/// The longest filter that fits, to the byte, with messages, CONNECT and DISCONNECT beside it.
#[test]
fn set_subscriptions_fills_buffer_everything_is_sent() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.prepare(&KEEP).unwrap();
    driven.publish(1, &[7; 50]);
    let free = 256 - 2 - connect(&KEEP).len() - publish(1, 1, &[7; 50]).len();
    let name: &'static str = "f".repeat(free - 8).leak();
    let longer: &'static str = "f".repeat(free - 7).leak();
    let list: Filters = vec![(name, QoS::AtMostOnce)].leak();
    let too_long: Filters = vec![(longer, QoS::AtMostOnce)].leak();
    // Three bytes of fixed header from 128 bytes on.
    assert!(free > 130);
    assert!(matches!(
        driven.session.set_subscriptions(too_long),
        Err(RequestError::SendBufferFull { .. })
    ));
    driven.session.set_subscriptions(list).unwrap();
    driven.open(&KEEP, false);
    driven.session.disconnect().unwrap();
    let sent = packets(&driven.sent());
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[0].len(), free);
    assert_eq!(sent[0][0], 0x82);
    assert_eq!(sent[1], publish(1, 1, &[7; 50]));
    assert_eq!(sent[2], DISCONNECT);
}

/// Before the first CONNECT is written, a filter may take the whole buffer except the room of DISCONNECT.
#[test]
fn set_subscriptions_fills_empty_buffer_is_accepted() {
    let longest: &'static str = "f".repeat(256 - 2 - 8).leak();
    let list: Filters = vec![(longest, QoS::AtMostOnce)].leak();
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.session.set_subscriptions(list).unwrap();
    let refused = driven.session.prepare(&KEEP);
    assert!(matches!(
        refused,
        Err(RequestError::PacketTooLarge { capacity: 0, .. })
    ));
}

/// A shorter list frees room. Without a list, all its room is free.
#[test]
fn set_subscriptions_empty_frees_room() {
    let largest = |driven: &mut TestSession<'_>| {
        driven.open(&KEEP, true);
        let result = driven.session.publish(&message(0, &[0; 300]));
        let Err(RequestError::PacketTooLarge { capacity, .. }) = result else {
            panic!("{result:?}");
        };
        driven.lose();
        capacity
    };
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    let without = largest(&mut driven);
    driven.session.set_subscriptions(THREE).unwrap();
    let reserved = subscribe_all(1, THREE).len();
    assert_eq!(largest(&mut driven), without - reserved);
    driven.session.set_subscriptions(ONE).unwrap();
    let reserved = subscribe_all(1, ONE).len();
    assert_eq!(largest(&mut driven), without - reserved);
    driven.session.set_subscriptions(&[]).unwrap();
    assert_eq!(largest(&mut driven), without);
    open_silent(&mut driven, false);
}

/// If the list leaves no room for a CONNECT, that is an error, and the session is unchanged.
#[test]
fn set_subscriptions_no_room_for_connect_is_reported() {
    let name: &'static str = "f".repeat(200).leak();
    let list: Filters = vec![(name, QoS::AtMostOnce)].leak();
    let long = Connect {
        credentials: Some(Credentials {
            user_name: "a user name that is long",
            password: Some(b"a password that is long, too"),
        }),
        ..KEEP
    };
    let mut storage = TestStorage::new();
    let mut driven = with_list(&mut storage, list);
    let capacity = 256 - 2 - (3 + 2 + 2 + 200 + 1);
    let needed = connect(&long).len();
    assert_eq!(
        driven.session.prepare(&long),
        Err(RequestError::PacketTooLarge { needed, capacity })
    );
    driven.open(&KEEP, false);
    assert_eq!(driven.sent().len(), 208);
}

/// A new connection begins the round again, even if the event of a SUBACK of the old connection was not taken.
#[test]
fn subscriptions_connection_replaced_round_restarts() {
    let list = numbered(9);
    let mut storage = Storage::<64, 512, 4>::new();
    let mut driven = with_list(&mut storage, list);
    driven.open(&KEEP, false);
    driven.sent();
    driven.feed(&answer(1, &[1; 8]));
    // The event was announced and not taken.
    let token = driven.session.poll(driven.at()).unwrap().unwrap();
    assert_eq!(token.completed_request(), Some(id(1)));
    driven.connect(&KEEP);
    assert_eq!(driven.session.event(token).unwrap(), None);
    assert_eq!(driven.sent(), connect(&KEEP));
    driven.accept(true);
    assert_eq!(driven.sent()[..2], subscribe_all(2, &list[..1])[..2]);
}

/// A message that the caller publishes in answer to an event is sent after the SUBSCRIBE.
#[test]
fn subscriptions_answer_in_handler_is_sent_after_subscribe() {
    let mut storage = TestStorage::new();
    let mut driven = with_list(&mut storage, ONE);
    driven.open(&KEEP, true);
    driven.feed(&publish(1, 9, b"in"));
    let event = |session: &mut Session<'_>, now| {
        let token = session.poll(now).unwrap().unwrap();
        let mut topic = String::new();
        if let Some(Event::Message(message)) = session.event(token).unwrap() {
            topic.push_str(message.topic);
        }
        session.publish(&Message::new(&topic, b"out")).unwrap();
    };
    let now = driven.at();
    event(&mut driven.session, now);
    assert_eq!(
        driven.sent(),
        wire(&[&puback(9), &subscribe_all(1, ONE), &publish(0, 0, b"out")])
    );
}
