//! Packets that are queued while a payload is streamed: they follow it, in order, and the payload is whole.

use umqtt::{Event, ProtocolError, RequestError, Storage, StreamedPublish, codec::QoS};

use crate::{long::pattern, wire::*};

const CONNECT_LEN: usize = 15;

/// Calls `test` with a session that has a send buffer of this size.
fn with_tx<R>(len: usize, test: impl FnOnce(&mut TestSession<'_>) -> R) -> R {
    fn run<const N: usize, R>(test: impl FnOnce(&mut TestSession<'_>) -> R) -> R {
        let mut storage = Storage::<64, N, 8>::new();
        test(&mut TestSession::new(&mut storage))
    }
    match len {
        30 => run::<30, R>(test),
        64 => run::<64, R>(test),
        128 => run::<128, R>(test),
        256 => run::<256, R>(test),
        _ => unreachable!("not one of the sizes"),
    }
}

/// Copies the next piece of the payload into the send buffer. Returns the number of bytes.
fn stage(driven: &mut TestSession<'_>, payload: &[u8], size: usize) -> usize {
    let left = driven.session.payload_left();
    let rest = &payload[payload.len() - left..];
    let space = driven.session.payload_space();
    let n = size.min(space.len());
    space[..n].copy_from_slice(&rest[..n]);
    driven.session.payload_commit(n);
    n
}

/// For several sizes of pieces, writes and the send buffer, packets are queued as often as there is room. The payload
/// is whole, and the packets follow it in order.
#[test]
fn queued_inside_payload_any_sizes_follow_it_in_order() {
    let payload = pattern(40);
    for tx in [64, 128, 256] {
        for piece in [1, 2, 7, 13, 40] {
            for write in [1, 3, 8, 64] {
                for level in [0, 1, 2] {
                    with_tx(tx, |driven| {
                        one_payload(driven, &payload, piece, write, level)
                    });
                }
            }
        }
    }
}

/// Sends a payload, queues a packet in each turn, and checks the sent bytes.
fn one_payload(
    driven: &mut TestSession<'_>,
    payload: &[u8],
    piece: usize,
    write: usize,
    level: u8,
) {
    driven.open(&KEEP, false);
    driven.session.begin_payload(streamed(level), 40).unwrap();
    let number = u16::from(level > 0);
    let mut following = Vec::new();
    let mut sent = Vec::new();
    let (mut kind, mut was_in_payload) = (0_usize, false);
    loop {
        // One more packet is queued in each turn, as long as there is room.
        let is_in_payload = driven.session.payload_left() > 0;
        was_in_payload |= is_in_payload;
        if is_in_payload {
            let queued = match kind % 4 {
                0 => driven
                    .session
                    .publish(&message(0, b"zero"))
                    .map(|_| publish(0, 0, b"zero")),
                1 => driven
                    .session
                    .publish(&message(1, b"one"))
                    .map(|id| publish(1, id.unwrap().get(), b"one")),
                2 => driven
                    .session
                    .subscribe(&[("f", QoS::AtMostOnce)])
                    .map(|id| subscribe(id.get(), "f")),
                _ => driven
                    .session
                    .unsubscribe(&["f"])
                    .map(|id| unsubscribe(id.get(), "f")),
            };
            match queued {
                Ok(packet) => following.push(packet),
                Err(RequestError::SendBufferFull { .. } | RequestError::InflightFull { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            kind += 1;
            driven.session.ping().unwrap();
        }
        if driven.session.has_pending() {
            sent.extend(driven.send_up_to(write));
        } else if is_in_payload {
            assert!(stage(driven, payload, piece) > 0, "no deadlock");
        } else {
            break;
        }
    }
    assert!(was_in_payload && !following.is_empty());
    let whole = wire(&[
        &publish(level, number, payload),
        &PINGREQ,
        &following.concat(),
    ]);
    assert_eq!(sent, whole, "pieces of {piece}, writes of {write}");
    assert!(!driven.session.is_payload_open());
}

/// Even in a full buffer, two bytes are free for the payload.
#[test]
fn queued_inside_payload_buffer_full_payload_goes_on() {
    let payload = pattern(30);
    for fill in 0..=100 {
        with_tx(128, |driven| {
            driven.open(&KEEP, false);
            driven.session.begin_payload(streamed(2), 30).unwrap();
            let mut sent = driven.sent();
            let mut following = Vec::new();
            // One packet of this size, and then all that still fit.
            for size in std::iter::once(fill).chain((0..100).rev()) {
                while following.len() < 7
                    && driven.session.publish(&message(0, &vec![7; size])).is_ok()
                {
                    following.push(publish(0, 0, &vec![7; size]));
                    if size == fill {
                        break;
                    }
                }
            }
            while driven.session.payload_left() > 0 {
                let n = stage(driven, &payload, usize::MAX);
                assert!(n > 0);
                sent.extend(driven.sent());
            }
            sent.extend(driven.sent());
            let whole = wire(&[&publish(2, 1, &payload), &following.concat()]);
            assert_eq!(sent, whole, "filled with {fill}");
        });
    }
}

/// The smallest send buffer that has room for the packets themselves.
#[test]
fn queued_inside_payload_smallest_buffer_has_two_bytes() {
    assert_eq!(connect(&KEEP).len(), CONNECT_LEN);
    with_tx(30, |driven| {
        let payload = pattern(20);
        driven.open(&KEEP, false);
        driven.session.begin_payload(streamed(1), 20).unwrap();
        let mut sent = driven.sent();
        // CONNECT, the header, the message and the room for DISCONNECT are the whole buffer.
        let header = sent.len();
        let room = 30 - CONNECT_LEN - header - DISCONNECT.len();
        let fits = vec![7; room - publish(0, 0, b"").len()];
        let too_long = vec![7; fits.len() + 1];
        assert!(driven.session.publish(&message(0, &too_long)).is_err());
        driven.session.publish(&message(0, &fits)).unwrap();
        let mut pieces = 0;
        while driven.session.payload_left() > 0 {
            assert_eq!(driven.session.payload_space().len(), 2);
            assert_eq!(stage(driven, &payload, 20), 2);
            sent.extend(driven.sent());
            pieces += 1;
        }
        assert_eq!(pieces, 10);
        sent.extend(driven.sent());
        let whole = wire(&[&publish(1, 1, &payload), &publish(0, 0, &fits)]);
        assert_eq!(sent, whole);
    });
}

/// While a piece of the payload is in the buffer, packets use the room before it, and do not overwrite it.
#[test]
fn queued_inside_payload_piece_staged_is_not_overwritten() {
    let payload = pattern(50);
    for piece in 1..50 {
        with_tx(128, |driven| {
            driven.open(&KEEP, false);
            driven.session.begin_payload(streamed(1), 50).unwrap();
            let mut sent = driven.sent();
            assert_eq!(stage(driven, &payload, piece), piece);
            let mut following = Vec::new();
            for size in (0..60).rev() {
                if driven.session.publish(&message(0, &vec![7; size])).is_ok() {
                    following.push(publish(0, 0, &vec![7; size]));
                }
            }
            while driven.session.payload_left() > 0 {
                sent.extend(driven.sent());
                stage(driven, &payload, piece);
            }
            sent.extend(driven.sent());
            let whole = wire(&[&publish(1, 1, &payload), &following.concat()]);
            assert_eq!(sent, whole, "pieces of {piece}");
        });
    }
}

/// A message that is acknowledged while the payload is sent frees its room, without moving the payload.
#[test]
fn queued_inside_payload_older_acknowledged_room_is_used() {
    let payload = pattern(30);
    for at in 0..30 {
        with_tx(128, |driven| {
            driven.open(&KEEP, false);
            let older = driven.publish(1, &[7; 40]);
            driven.sent();
            driven.session.begin_payload(streamed(1), 30).unwrap();
            let mut sent = driven.sent();
            let mut following = vec![];
            let mut provided = 0;
            while driven.session.payload_left() > 0 {
                provided += stage(driven, &payload, 1);
                if provided == at + 1 {
                    let large = driven.session.publish(&message(1, &[8; 60]));
                    assert!(matches!(large, Err(RequestError::SendBufferFull { .. })));
                    driven.receive(&puback(older), &[Event::Puback(id(older))]);
                    // A piece is at the end of the buffer.
                    let number = driven.publish(1, &[8; 60]);
                    following = publish(1, number, &[8; 60]);
                }
                sent.extend(driven.sent());
            }
            sent.extend(driven.sent());
            assert_eq!(sent, wire(&[&publish(1, 2, &payload), &following]), "{at}");
        });
    }
}

/// Acknowledgements and PINGREQ follow the payload, before the packets that were queued inside it.
#[test]
fn queued_inside_payload_acks_are_sent_before_requests() {
    with_tx(128, |driven| {
        let payload = pattern(10);
        driven.open(&KEEP, false);
        driven.session.begin_payload(streamed(1), 10).unwrap();
        let mut sent = driven.sent();
        stage(driven, &payload, 5);
        driven.publish(1, b"behind");
        driven.feed(&publish(1, 9, b"in"));
        assert_eq!(driven.events().len(), 1);
        driven.session.ping().unwrap();
        sent.extend(driven.sent());
        stage(driven, &payload, 5);
        sent.extend(driven.sent());
        assert_eq!(
            sent,
            wire(&[
                &publish(1, 1, &payload),
                &PINGREQ,
                &puback(9),
                &publish(1, 2, b"behind")
            ])
        );
    });
}

#[test]
fn queued_inside_payload_payload_and_disconnect_are_refused() {
    with_tx(128, |driven| {
        driven.open(&KEEP, false);
        driven.session.begin_payload(streamed(1), 10).unwrap();
        driven.sent();
        let pending = RequestError::PayloadPending;
        assert_eq!(driven.session.begin_payload(streamed(0), 1), Err(pending));
        assert_eq!(driven.session.disconnect(), Err(pending));
        driven.publish(0, b"behind");
        let payload = pattern(10);
        stage(driven, &payload, 10);
        driven.sent();
        driven.session.disconnect().unwrap();
        assert_eq!(driven.sent(), DISCONNECT);
    });
}

/// If no byte of the packet was sent, the packet is removed. Later packets are sent.
#[test]
fn abandon_payload_not_sent_later_packets_are_sent() {
    for level in [0, 1, 2] {
        with_tx(128, |driven| {
            driven.open(&KEEP, false);
            driven.session.begin_payload(streamed(level), 10).unwrap();
            let number = driven.publish(1, b"behind");
            driven.publish(0, b"zero");
            driven.session.abandon_payload();
            assert_eq!(
                driven.sent(),
                wire(&[&publish(1, number, b"behind"), &publish(0, 0, b"zero")])
            );
            assert_eq!(driven.session.in_flight(), 1);
        });
    }
}

/// If the packet is partly sent, the connection is closed. Kept messages are sent on the next one.
#[test]
fn abandon_payload_sent_in_part_later_packets_are_kept() {
    for level in [0, 1, 2] {
        for provided in [0, 5] {
            with_tx(128, |driven| {
                let payload = pattern(10);
                driven.open(&KEEP, false);
                driven.session.begin_payload(streamed(level), 10).unwrap();
                driven.sent();
                if provided > 0 {
                    stage(driven, &payload, provided);
                }
                let number = driven.publish(1, b"behind");
                driven.publish(0, b"zero");
                let subscribe_id = driven.subscribe(&[("f", QoS::AtMostOnce)]);
                driven.session.abandon_payload();
                let (events, reason) = driven.events_and_reason();
                assert_eq!(reason, ProtocolError::PayloadAborted);
                let dropped = if level == 0 { 2 } else { 1 };
                assert_eq!(
                    events,
                    texts(&[
                        Event::OutcomeUnknown(id(subscribe_id)),
                        Event::Qos0Dropped(dropped)
                    ])
                );
                driven.open(&KEEP, true);
                let mut sent = driven.sent();
                let mut expected = publish(1, number, b"behind");
                if level > 0 {
                    // The older message is sent first. Its payload is needed again.
                    assert_eq!(sent, b"");
                    driven.expect(&[Event::PayloadNeeded(id(1))]);
                    let resend = StreamedPublish::Resend(id(1));
                    driven.session.begin_payload(resend, 10).unwrap();
                    sent.extend(driven.sent());
                    stage(driven, &payload, 10);
                    sent.extend(driven.sent());
                    expected = wire(&[&dup(publish(level, 1, &payload)), &expected]);
                }
                assert_eq!(sent, expected);
            });
        }
    }
}

/// If a requested payload is aborted before its first byte, the session requests it again. Later messages wait.
#[test]
fn abandon_resend_not_sent_later_packets_wait() {
    with_tx(128, |driven| {
        let now = driven.at();
        driven.open(&KEEP, false);
        driven.session.begin_payload(streamed(1), 10).unwrap();
        driven.sent();
        driven.session.payload_sent(10, now);
        driven.lose();
        driven.open(&KEEP, true);
        driven.expect(&[Event::PayloadNeeded(id(1))]);
        let resend = StreamedPublish::Resend(id(1));
        driven.session.begin_payload(resend, 10).unwrap();
        driven.publish(1, b"behind");
        driven.session.abandon_payload();
        assert_eq!(driven.sent(), b"");
        driven.expect(&[Event::PayloadNeeded(id(1))]);
        driven.session.begin_payload(resend, 10).unwrap();
        let mut sent = driven.sent();
        driven.session.payload_sent(10, now);
        sent.extend([7; 10]);
        sent.extend(driven.sent());
        assert_eq!(
            sent,
            wire(&[&dup(publish(1, 1, &[7; 10])), &publish(1, 2, b"behind")])
        );
    });
}
