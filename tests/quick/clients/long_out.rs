//! Sending messages whose payload is not in the send buffer.

use embedded_io::{ErrorKind, ErrorType, Read};
use proptest::prelude::*;
use umqtt::{
    Event, Instant, Message, ProtocolError, Publisher, RequestError, Session, Storage,
    StreamedPublish,
    client::Error,
    codec::{Connect, Delivery, EncodeError, PacketId, QoS},
};

use crate::common::{self, DISCONNECT, Fault, Network, PINGREQ, Step, connected, puback};
use crate::long::{self, KEEP, Sizes, Source, T, id, pattern, publish};

const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const KEPT: [QoS; 2] = [QoS::AtLeastOnce, QoS::ExactlyOnce];

/// The source of a payload.
#[derive(Clone, Copy, Debug)]
enum From {
    Memory,
    /// A source that returns this many bytes at a time.
    Source(usize),
}

fn outgoing(topic: &str, qos: QoS) -> StreamedPublish<'_> {
    let retain = true;
    StreamedPublish::New { topic, qos, retain }
}

/// The PUBLISH of [`outgoing`], which is the first in flight.
fn expected(topic: &str, payload: &[u8], qos: QoS, dup: bool) -> Vec<u8> {
    let packet_id = id(1);
    let delivery = match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
    };
    publish(topic, payload, delivery, true)
}

/// Moves at most `limit` bytes to a transport, which accepts as many at a time as `sizes` says. Returns these bytes.
fn send(
    session: &mut Session<'_>,
    payload: &[u8],
    from: From,
    sizes: &[usize],
    limit: usize,
) -> Vec<u8> {
    let (mut sizes, mut sent) = (Sizes::new(sizes), Vec::new());
    while sent.len() < limit {
        let most = sizes.next().min(limit - sent.len());
        let left = session.payload_left();
        if session.has_pending() {
            let pending = session.pending(T);
            assert!(!pending.is_empty());
            let n = most.min(pending.len());
            sent.extend(&pending[..n]);
            session.consume(n, T);
        } else if left == 0 {
            break;
        } else {
            let rest = &payload[payload.len() - left..];
            match from {
                From::Memory => {
                    let n = most.min(left);
                    sent.extend(&rest[..n]);
                    session.payload_sent(n, T);
                }
                From::Source(piece) => {
                    let space = session.payload_space();
                    assert!(!space.is_empty());
                    let n = piece.min(space.len());
                    space[..n].copy_from_slice(&rest[..n]);
                    session.payload_commit(n);
                }
            }
        }
    }
    sent
}

/// Moves all pending bytes to a transport, and returns them.
fn send_all(session: &mut Session<'_>) -> Vec<u8> {
    send(session, &[], From::Memory, &[usize::MAX], usize::MAX)
}

fn feed(session: &mut Session<'_>, bytes: &[u8]) {
    session.space()[..bytes.len()].copy_from_slice(bytes);
    session.commit(bytes.len());
}

/// Returns all events, until there is none or the connection is closed.
fn events(session: &mut Session<'_>) -> (Vec<String>, Option<ProtocolError>) {
    let mut recorded = Vec::new();
    loop {
        match session.poll(T) {
            Ok(Some(ready)) => recorded.extend(session.event(ready).unwrap().map(words)),
            Ok(None) => return (recorded, None),
            Err(reason) => return (recorded, Some(reason)),
        }
    }
}

fn words(event: Event<'_>) -> String {
    format!("{event:?}")
}

/// Connects, and returns all events except `Connected`.
fn connect(session: &mut Session<'_>, session_present: bool) -> Vec<String> {
    session.connect(&KEEP, T).unwrap();
    while !session.is_connected() {
        send_all(session);
        feed(session, &[0x20, 2, u8::from(session_present), 0]);
        session.poll(T).unwrap();
    }
    let mut recorded = events(session).0;
    let connected = recorded
        .iter()
        .position(|event| event.starts_with("Connected"))
        .unwrap();
    recorded.remove(connected);
    recorded
}

/// Calls `test` with a session whose send buffer has `tx` bytes.
fn with_tx<R>(tx: usize, test: impl FnOnce(&mut Session<'_>) -> R) -> R {
    fn run<const N: usize, R>(test: impl FnOnce(&mut Session<'_>) -> R) -> R {
        let mut storage = Storage::<32, N, 4, 4>::new();
        test(&mut Session::new(&mut storage))
    }
    match tx {
        27 => run::<27, R>(test),
        32 => run::<32, R>(test),
        64 => run::<64, R>(test),
        130 => run::<130, R>(test),
        300 => run::<300, R>(test),
        _ => unreachable!("not one of the sizes"),
    }
}

/// Returns the lengths of payloads near which the Remaining Length takes one more byte. `topic` is the length of the
/// topic.
fn boundaries(topic: usize, qos: QoS) -> impl Iterator<Item = usize> {
    let part = 2 + topic + if qos == QoS::AtMostOnce { 0 } else { 2 };
    [0, 127, 128, 16_383, 16_384]
        .into_iter()
        .flat_map(move |remaining: usize| {
            remaining.saturating_sub(part + 2)..=(remaining + 2).saturating_sub(part)
        })
}

/// The sent bytes are those of the encoder, for send buffers, transports and sources of several sizes.
#[test]
fn streamed_publish_at_boundaries_equals_encoder_output() {
    for (tx, topic) in [(27, 1), (32, 3), (64, 20), (300, 100)] {
        let topic = "t".repeat(topic);
        for qos in ALL {
            for len in boundaries(topic.len(), qos) {
                let payload = pattern(len);
                for from in [From::Memory, From::Source(1), From::Source(1_000)] {
                    for sizes in [&[usize::MAX][..], &[1], &[3, 50]] {
                        if len > 1_000 && (sizes[0] < 9 || matches!(from, From::Source(1))) {
                            continue; // These combinations take long, and test nothing new.
                        }
                        with_tx(tx, |session| {
                            connect(session, false);
                            let id = session.begin_payload(outgoing(&topic, qos), len).unwrap();
                            assert_eq!(id.is_some(), qos > QoS::AtMostOnce);
                            assert!(session.is_payload_open());
                            let sent = send(session, &payload, from, sizes, usize::MAX);
                            assert!(
                                sent == expected(&topic, &payload, qos, false),
                                "{len} {from:?}"
                            );
                            assert!(!session.is_payload_open());
                            // The stream continues.
                            session.ping().unwrap();
                            assert_eq!(send_all(session), PINGREQ);
                        });
                    }
                }
            }
        }
    }
}

/// The smallest send buffer has room only for the smallest CONNECT. Other requests return an error.
#[test]
fn smallest_send_buffer_holds_smallest_connect_only() {
    let mut storage = Storage::<16, 16, 1>::new();
    let mut session = Session::new(&mut storage);
    session.connect(&Connect::new(""), T).unwrap();
    send_all(&mut session);
    feed(&mut session, &[0x20, 2, 0, 0]);
    events(&mut session);
    let (needed, capacity) = (5, 0);
    assert_eq!(
        session.begin_payload(StreamedPublish::new("t"), 0),
        Err(RequestError::PacketTooLarge { needed, capacity })
    );
    // If it also has room for the bytes before a payload, a payload of any length can be sent.
    let mut storage = Storage::<16, 22, 1>::new();
    let mut session = Session::new(&mut storage);
    session.connect(&Connect::new(""), T).unwrap();
    send_all(&mut session);
    feed(&mut session, &[0x20, 2, 0, 0]);
    events(&mut session);
    let payload = pattern(1_000);
    session
        .begin_payload(StreamedPublish::new("t"), 1_000)
        .unwrap();
    let sent = send(&mut session, &payload, From::Source(9), &[1, 2], usize::MAX);
    assert_eq!(sent, publish("t", &payload, Delivery::AtMostOnce, false));
}

/// A Remaining Length of 268,435,455 is sent, and each byte is counted. One more byte is refused before anything is
/// queued.
#[test]
fn largest_message_is_sent_and_one_byte_more_refused() {
    const REMAINING: usize = 268_435_455;
    with_tx(27, |session| {
        connect(session, false);
        let too_long = RequestError::Encode(EncodeError::PacketTooLong {
            remaining_length: REMAINING + 1,
        });
        for qos in ALL {
            let part = if qos == QoS::AtMostOnce { 3 } else { 5 };
            let before = session.in_flight();
            let refused = session.begin_payload(outgoing("t", qos), REMAINING - part + 1);
            assert_eq!(refused, Err(too_long));
            assert_eq!(
                (session.in_flight(), session.has_pending()),
                (before, false)
            );
        }
        for len in [usize::MAX, usize::MAX - 7] {
            assert!(
                session
                    .begin_payload(StreamedPublish::new("t"), len)
                    .is_err()
            );
        }

        session
            .begin_payload(StreamedPublish::new("t"), REMAINING - 3)
            .unwrap();
        assert_eq!(
            send(session, &[], From::Memory, &[99], 8),
            [0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b't']
        );
        let mut left = REMAINING - 3;
        while left > 0 {
            assert_eq!(session.payload_left(), left);
            let n = left.min(65_537);
            session.payload_sent(n, T);
            left -= n;
        }
        assert!(!session.is_payload_open());
        session.ping().unwrap();
        assert_eq!(send_all(session), PINGREQ);
    });
}

/// Packets that are received while a payload is sent are handled. Their answers are sent after the payload, and no byte
/// before its end. So are requests that are queued meanwhile, as far as there is room.
#[test]
fn answers_inside_payload_are_sent_after_it() {
    with_tx(130, |session| {
        connect(session, false);
        let first = session.publish(&message("a", b"x")).unwrap();
        assert_eq!(send_all(session).len(), 8);
        let payload = pattern(50);
        session
            .begin_payload(outgoing("t", QoS::AtLeastOnce), 50)
            .unwrap();
        let whole = {
            let delivery = Delivery::AtLeastOnce {
                packet_id: id(2),
                dup: false,
            };
            publish("t", &payload, delivery, true)
        };
        let mut sent = Vec::new();
        for from in 0..whole.len() {
            sent.extend(send(session, &payload, From::Source(7), &[1], 1));
            if from == 10 {
                feed(session, &puback(first.unwrap().get()));
                assert_eq!(events(session).0, [words(Event::Puback(id(1)))]);
            }
            if from % 9 == 3 && from < 50 {
                feed(
                    session,
                    &publish("in", b"!", long::delivery(QoS::AtLeastOnce, false), false),
                );
                assert!(events(session).0[0].starts_with("Message"));
            }
            if from > 8 && from < whole.len() - 1 {
                let second = outgoing("b", QoS::AtMostOnce);
                assert_eq!(
                    session.begin_payload(second, 1),
                    Err(RequestError::PayloadPending)
                );
                assert_eq!(session.disconnect(), Err(RequestError::PayloadPending));
                session.ping().unwrap();
            }
            if from == 20 || from == 40 {
                session.publish(&message("b", b"")).unwrap();
            }
        }
        assert_eq!(sent, whole);
        let queued = [3, 4].map(|packet_id| {
            let (packet_id, dup) = (id(packet_id), false);
            let delivery = Delivery::AtLeastOnce { packet_id, dup };
            publish("b", b"", delivery, false)
        });
        assert_eq!(
            send_all(session),
            [&PINGREQ[..], &[0x40, 2, 0, 5].repeat(6), &queued.concat(),].concat()
        );
    });
}

/// While a payload is sent slowly, more messages are received than the acknowledgement queue has room for. Nothing is
/// late, and nothing is lost.
#[test]
fn ack_queue_full_during_slow_payload_loses_nothing() {
    with_tx(64, |session| {
        connect(session, false);
        session.publish(&message("a", b"x")).unwrap();
        send_all(session);
        session
            .begin_payload(StreamedPublish::new("t"), 100)
            .unwrap();
        send(session, &[], From::Memory, &[99], 5);
        let (mut waiting, mut recorded) = (12, 0);
        for step in 1..=100 {
            let now = Instant::from_millis(step * 9_000);
            session.payload_sent(1, now);
            loop {
                while let Some(ready) = session.poll(now).unwrap() {
                    session.event(ready).unwrap();
                    recorded += 1;
                }
                if waiting == 0 || session.space().len() < 8 {
                    break;
                }
                let delivery = long::delivery(QoS::AtLeastOnce, false);
                feed(session, &publish("in", b"", delivery, false));
                waiting -= 1;
            }
        }
        assert!(!session.is_payload_open());
        assert_eq!((recorded, waiting), (8, 0));
        let now = Instant::from_millis(900_001);
        for rest in [8, 4] {
            let acks = session.pending(now).to_vec();
            assert_eq!(acks, [0x40, 2, 0, 5].repeat(rest));
            session.consume(acks.len(), now);
            while let Some(ready) = session.poll(now).unwrap() {
                session.event(ready).unwrap();
            }
        }
    });
}

fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    common::message(topic, payload, QoS::AtLeastOnce)
}

/// While a payload is being sent, another payload and a DISCONNECT are refused.
#[test]
fn second_payload_during_first_is_refused() {
    for qos in ALL {
        for sent in 0..4 {
            with_tx(64, |session| {
                connect(session, false);
                session.begin_payload(outgoing("t", qos), 50).unwrap();
                send(session, &pattern(50), From::Memory, &[1], sent);
                let before = session.in_flight();
                for qos in ALL {
                    let second = session.begin_payload(outgoing("u", qos), 5);
                    assert_eq!(second, Err(RequestError::PayloadPending));
                }
                assert_eq!(session.disconnect(), Err(RequestError::PayloadPending));
                assert_eq!(session.in_flight(), before);
                let rest = send(session, &pattern(50), From::Memory, &[9], usize::MAX);
                assert_eq!(rest, expected("t", &pattern(50), qos, false)[sent..]);
                session.disconnect().unwrap();
                assert_eq!(send_all(session), DISCONNECT);
            });
        }
    }
}

/// Packets that are queued before a payload are sent before it. Those that are queued after it wait.
#[test]
fn packets_around_payload_are_sent_in_order() {
    with_tx(300, |session| {
        connect(session, false);
        session.publish(&Message::new("a", b"first")).unwrap();
        session
            .begin_payload(StreamedPublish::new("t"), 40)
            .unwrap();
        session.publish(&Message::new("b", b"last")).unwrap();
        let sent = send(session, &pattern(40), From::Memory, &[5], usize::MAX);
        let whole = [
            publish("a", b"first", Delivery::AtMostOnce, false),
            publish("t", &pattern(40), Delivery::AtMostOnce, false),
            publish("b", b"last", Delivery::AtMostOnce, false),
        ];
        assert_eq!(sent, whole.concat());
    });
}

/// Connects, sends the first `cut` bytes of a message with a streamed payload, and loses the connection.
fn cut_at(session: &mut Session<'_>, qos: QoS, payload: &[u8], from: From, cut: usize) {
    connect(session, false);
    let begun = session.begin_payload(outgoing("topic", qos), payload.len());
    assert_eq!(begun, Ok(Some(id(1))));
    let sent = send(session, payload, from, &[4], cut);
    assert_eq!(sent, expected("topic", payload, qos, false)[..cut]);
    session.connection_lost();
    assert_eq!(events(session), (vec![], Some(ProtocolError::Closed)));
}

/// A connection is lost at any byte of a message. The payload is requested, later messages wait, and the packet that is
/// sent again differs only in DUP.
#[test]
fn payload_cut_at_each_byte_is_requested_and_resent() {
    let payload = pattern(40);
    let needed = [words(Event::PayloadNeeded(id(1)))];
    for qos in KEPT {
        let whole = expected("topic", &payload, qos, false);
        for cut in 0..=whole.len() {
            for from in [From::Memory, From::Source(6)] {
                with_tx(64, |session| {
                    cut_at(session, qos, &payload, from, cut);
                    // The payload is requested once on each connection.
                    for session_present in [true, false] {
                        assert_eq!(connect(session, session_present), needed);
                        assert_eq!(session.payload_needed(), Some(id(1)));
                        assert_eq!(events(session).0, [""; 0]);
                    }
                    let later = session.publish(&message("n", b"")).unwrap();
                    assert_eq!(later, Some(id(2)));
                    assert_eq!(send_all(session), b"", "it waits");
                    session.ping().unwrap();
                    assert_eq!(send_all(session), PINGREQ, "this does not");

                    let again = StreamedPublish::Resend(id(1));
                    let wrong = session.begin_payload(again, payload.len() + 1);
                    assert_eq!(wrong, Err(RequestError::PayloadLength { expected: 40 }));
                    let other = session.begin_payload(StreamedPublish::Resend(id(2)), 40);
                    assert_eq!(other, Err(RequestError::PayloadNotNeeded));
                    assert_eq!(session.begin_payload(again, 40), Ok(Some(id(1))));
                    assert_eq!(session.payload_needed(), None);
                    let twice = session.begin_payload(again, 40);
                    assert_eq!(twice, Err(RequestError::PayloadNotNeeded));

                    let sent = send(session, &payload, from, &[5], usize::MAX);
                    let delivery = Delivery::AtLeastOnce {
                        packet_id: id(2),
                        dup: false,
                    };
                    let next = publish("n", b"", delivery, false);
                    // DUP means that it may have been sent before (section 3.3.1.1).
                    let dup = cut > 0;
                    assert_eq!(
                        sent,
                        [expected("topic", &payload, qos, dup), next].concat(),
                        "cut at {cut}"
                    );
                    finish(session, qos);
                });
            }
        }
    }
}

/// The server acknowledges ids 1 and 2. Nothing more is in flight.
fn finish(session: &mut Session<'_>, qos: QoS) {
    if qos == QoS::ExactlyOnce {
        feed(session, &[0x50, 2, 0, 1]);
        assert_eq!(events(session).0, [""; 0]);
        assert_eq!(send_all(session), [0x62, 2, 0, 1]);
        feed(session, &[0x70, 2, 0, 1]);
        assert_eq!(events(session).0, [words(Event::Pubcomp(id(1)))]);
    } else {
        feed(session, &puback(1));
        assert_eq!(events(session).0, [words(Event::Puback(id(1)))]);
    }
    feed(session, &puback(2));
    assert_eq!(events(session).0, [words(Event::Puback(id(2)))]);
    assert_eq!(session.in_flight(), 0);
    assert_eq!(send_all(session), b"");
}

/// At QoS 0, a cut message is lost, and counted.
#[test]
fn qos_0_payload_cut_is_dropped_and_counted() {
    let whole = expected("topic", &pattern(40), QoS::AtMostOnce, false);
    for cut in 0..whole.len() {
        with_tx(64, |session| {
            connect(session, false);
            session
                .begin_payload(outgoing("topic", QoS::AtMostOnce), 40)
                .unwrap();
            assert_eq!(
                send(session, &pattern(40), From::Source(6), &[1], cut),
                whole[..cut]
            );
            session.connection_lost();
            let dropped = words(Event::Qos0Dropped(1));
            assert_eq!(
                events(session),
                (vec![dropped], Some(ProtocolError::Closed))
            );
            assert!(connect(session, true).is_empty());
            assert_eq!(send_all(session), b"");
        });
    }
}

/// While the payload is provided again, the connection is lost again, at any byte. The payload is requested each time.
#[test]
fn payload_cut_repeatedly_is_requested_each_time() {
    let payload = pattern(30);
    let whole = expected("topic", &payload, QoS::ExactlyOnce, true);
    with_tx(64, |session| {
        cut_at(session, QoS::ExactlyOnce, &payload, From::Memory, 3);
        for cut in 0..whole.len() {
            assert_eq!(connect(session, true), [words(Event::PayloadNeeded(id(1)))]);
            session
                .begin_payload(StreamedPublish::Resend(id(1)), 30)
                .unwrap();
            assert_eq!(
                send(session, &payload, From::Source(4), &[3], cut),
                whole[..cut]
            );
            session.connection_lost();
        }
    });
}

/// If a message was sent in part and then discarded, its id stays reserved until the server has forgotten it, and it
/// occupies no slot.
#[test]
fn payload_discarded_sent_in_part_reserves_id() {
    let discarded = words(Event::PublishDiscarded(id(1)));
    for cut in [3, 20] {
        let declined = |session: &mut Session<'_>| {
            cut_at(session, QoS::ExactlyOnce, &pattern(40), From::Memory, cut);
            connect(session, true);
            session.publish(&message("n", b"")).unwrap();
            let not_kept = Err(RequestError::NotKept);
            assert_eq!(session.discard_publish(id(3)), not_kept);
            session.discard_publish(id(1)).unwrap();
            assert_eq!(session.discard_publish(id(1)), not_kept);
            assert_eq!(session.in_flight(), 1, "the message that waited");
            let delivery = Delivery::AtLeastOnce {
                packet_id: id(2),
                dup: false,
            };
            assert_eq!(
                send_all(session),
                publish("n", b"", delivery, false),
                "the pending packets"
            );
            feed(session, &puback(2));
            events(session);
            // If the server has kept the session, the next connection changes nothing.
            session.connection_lost();
            events(session);
            assert!(connect(session, true).is_empty());
            assert_eq!(session.in_flight(), 0);
        };
        // The server forgets the session.
        with_tx(64, |session| {
            declined(session);
            session.connection_lost();
            assert_eq!(connect(session, false), [&*discarded]);
            assert_eq!(session.in_flight(), 0);
        });
        // The client connects with Clean Session 1.
        with_tx(64, |session| {
            declined(session);
            session.connect(&Connect::new("c"), T).unwrap();
            send_all(session);
            feed(session, &[0x20, 2, 0, 0]);
            assert!(events(session).0.contains(&discarded));
            assert_eq!(session.in_flight(), 0);
        });
        // The server had received the whole message.
        with_tx(64, |session| {
            declined(session);
            feed(session, &[0x50, 2, 0, 1]);
            events(session);
            assert_eq!(send_all(session), [0x62, 2, 0, 1]);
            feed(session, &[0x70, 2, 0, 1]);
            assert_eq!(events(session).0, [words(Event::Pubcomp(id(1)))]);
            assert_eq!(session.in_flight(), 0);
        });
    }
}

/// At QoS 1, a server keeps no id. A discarded message frees its slot at once, and a late answer has no effect.
#[test]
fn qos_1_payload_discarded_frees_slot_at_once() {
    for cut in [0, 3, 20] {
        with_tx(64, |session| {
            cut_at(session, QoS::AtLeastOnce, &pattern(40), From::Memory, cut);
            connect(session, true);
            session.discard_publish(id(1)).unwrap();
            assert_eq!(events(session).0, [words(Event::PublishDiscarded(id(1)))]);
            assert_eq!(session.in_flight(), 0);
            feed(session, &puback(1));
            assert!(events(session).0.is_empty());
        });
    }
}

/// Of two payloads, the second is requested after the first was provided, or after its message was acknowledged.
#[test]
fn payloads_needed_are_requested_in_order() {
    let needed = |number| words(Event::PayloadNeeded(id(number)));
    for acknowledged in [false, true] {
        for attended in [false, true] {
            with_tx(64, |session| {
                connect(session, false);
                for _ in 0..2 {
                    session
                        .begin_payload(outgoing("t", QoS::AtLeastOnce), 30)
                        .unwrap();
                    send(session, &pattern(30), From::Memory, &[7], usize::MAX);
                }
                session.connection_lost();
                assert_eq!(connect(session, true), [needed(1)]);
                if attended {
                    session
                        .begin_payload(StreamedPublish::Resend(id(1)), 30)
                        .unwrap();
                }
                if acknowledged {
                    feed(session, &puback(1));
                    assert_eq!(events(session).0, [words(Event::Puback(id(1))), needed(2)]);
                    assert!(!session.is_payload_open());
                } else {
                    if !attended {
                        session
                            .begin_payload(StreamedPublish::Resend(id(1)), 30)
                            .unwrap();
                    }
                    send(session, &pattern(30), From::Memory, &[7], usize::MAX);
                    assert_eq!(events(session).0, [needed(2)]);
                }
                session
                    .begin_payload(StreamedPublish::Resend(id(2)), 30)
                    .unwrap();
                let sent = send(session, &pattern(30), From::Memory, &[7], usize::MAX);
                let delivery = Delivery::AtLeastOnce {
                    packet_id: id(2),
                    dup: true,
                };
                assert_eq!(sent, publish("t", &pattern(30), delivery, true));
            });
        }
    }
}

/// A payload is aborted at any byte of its message. The message is removed if no byte was sent. Otherwise the
/// connection is closed, and nothing more is sent.
#[test]
fn payload_aborted_at_any_byte_is_undone_or_closes() {
    for qos in ALL {
        let whole = expected("topic", &pattern(40), qos, false);
        for cut in 0..whole.len() {
            with_tx(64, |session| {
                connect(session, false);
                session.begin_payload(outgoing("topic", qos), 40).unwrap();
                send(session, &pattern(40), From::Source(9), &[1], cut);
                // Bytes that were provided to the transport may not have been accepted.
                let _ = session.pending(T);
                session.abandon_payload();
                assert!(!session.has_pending() && session.payload_left() == 0);
                assert_eq!(
                    session.in_flight(),
                    usize::from(cut > 0 && qos > QoS::AtMostOnce)
                );
                if cut == 0 {
                    assert!(!session.is_payload_open());
                    assert_eq!(events(session), (vec![], None));
                    session.publish(&message("n", b"")).unwrap();
                    assert_eq!(send_all(session).len(), 7);
                } else {
                    let (recorded, reason) = events(session);
                    assert_eq!(reason, Some(ProtocolError::PayloadAborted));
                    assert_eq!(recorded.len(), usize::from(qos == QoS::AtMostOnce));
                    assert!(session.payload_space().is_empty());
                    assert_eq!(session.disconnect(), Err(RequestError::NotConnected));
                    assert_eq!(send_all(session), b"");
                    assert_eq!(
                        connect(session, true).len(),
                        usize::from(qos > QoS::AtMostOnce)
                    );
                }
            });
        }
    }
}

/// A requested payload that is aborted before its first byte is requested again, with or without DUP.
#[test]
fn resend_aborted_before_first_byte_is_requested_again() {
    for cut in [0, 2, 30] {
        with_tx(64, |session| {
            cut_at(session, QoS::AtLeastOnce, &pattern(40), From::Memory, cut);
            let needed = [words(Event::PayloadNeeded(id(1)))];
            assert_eq!(connect(session, true), needed);
            for _ in 0..2 {
                session
                    .begin_payload(StreamedPublish::Resend(id(1)), 40)
                    .unwrap();
                session.abandon_payload();
                assert_eq!(events(session), (needed.to_vec(), None));
            }
            session
                .begin_payload(StreamedPublish::Resend(id(1)), 40)
                .unwrap();
            let sent = send(session, &pattern(40), From::Memory, &[9], usize::MAX);
            assert_eq!(
                sent,
                expected("topic", &pattern(40), QoS::AtLeastOnce, cut > 0)
            );
        });
    }
}

/// If a payload is aborted after its connection was lost, its message is kept.
#[test]
fn payload_aborted_after_close_is_requested_again() {
    for cut in [0, 2, 30] {
        with_tx(64, |session| {
            connect(session, false);
            session
                .begin_payload(outgoing("topic", QoS::AtLeastOnce), 40)
                .unwrap();
            send(session, &pattern(40), From::Memory, &[4], cut);
            session.connection_lost();
            session.abandon_payload();
            assert_eq!(events(session).1, Some(ProtocolError::Closed));
            assert_eq!(connect(session, true), [words(Event::PayloadNeeded(id(1)))]);
        });
    }
}

/// DISCONNECT does not wait for a payload that is not provided.
#[test]
fn disconnect_payload_needed_is_sent_first() {
    with_tx(64, |session| {
        cut_at(session, QoS::AtLeastOnce, &pattern(40), From::Memory, 20);
        connect(session, true);
        session.publish(&message("n", b"")).unwrap();
        session.disconnect().unwrap();
        assert_eq!(send_all(session), DISCONNECT);
        session.connection_lost();
        assert_eq!(events(session).1, Some(ProtocolError::Closed));
        assert_eq!(connect(session, true), [words(Event::PayloadNeeded(id(1)))]);
        session
            .begin_payload(StreamedPublish::Resend(id(1)), 40)
            .unwrap();
        let sent = send(session, &pattern(40), From::Memory, &[8], usize::MAX);
        assert_eq!(
            sent.len(),
            expected("topic", &pattern(40), QoS::AtLeastOnce, true).len() + 7
        );
    });
}

/// Payload bytes that are committed or reported when none are expected have no effect.
#[test]
fn payload_calls_out_of_order_are_ignored() {
    with_tx(64, |session| {
        session.payload_commit(5);
        assert!(session.payload_space().is_empty());
        connect(session, false);
        session.payload_commit(5);
        session.payload_sent(5, T);
        session.begin_payload(StreamedPublish::new("t"), 6).unwrap();
        session.payload_commit(5);
        session.payload_sent(5, T);
        assert!(session.payload_space().is_empty());
        assert_eq!(
            send(session, &[], From::Memory, &[5], 5),
            [0x30, 9, 0, 1, b't']
        );
        session.payload_space()[..6].copy_from_slice(b"abcdef");
        session.payload_commit(4);
        session.payload_commit(4);
        session.payload_commit(0);
        assert_eq!(send(session, &[], From::Memory, &[9], 4), b"abcd");
        session.payload_space()[..2].copy_from_slice(b"ef");
        session.payload_commit(99);
        assert_eq!(send_all(session), b"ef");
        assert!(!session.is_payload_open());
    });
}

/// The time of a payload byte runs from the moment at which it is offered to the transport. The time that its source
/// took does not count if the caller did not poll meanwhile.
#[test]
fn payload_provided_late_is_not_write_timeout() {
    let at = Instant::from_millis;
    with_tx(64, |session| {
        connect(session, false);
        session.begin_payload(StreamedPublish::new("t"), 3).unwrap();
        send(session, &[], From::Memory, &[9], 5);
        for now in [60_000, 120_000, 180_000] {
            session.payload_space()[0] = 1;
            session.payload_commit(1);
            for offered_for in [0, 1, 9_999] {
                assert_eq!(session.pending(at(now + offered_for)), [1]);
                assert_eq!(session.poll(at(now + offered_for)), Ok(None));
            }
            session.consume(1, at(now + 9_999));
        }
        assert!(!session.is_payload_open());
    });
}

/// If the transport does not accept the bytes before a payload, or those of the payload, the session closes the
/// connection after the response timeout.
#[test]
fn payload_not_accepted_is_write_timeout() {
    let at = Instant::from_millis;
    for provided in [false, true] {
        with_tx(64, |session| {
            connect(session, false);
            session.begin_payload(StreamedPublish::new("t"), 3).unwrap();
            let mut offered = 5;
            if provided {
                send(session, &[], From::Memory, &[9], 5);
                session.payload_space()[..3].fill(1);
                session.payload_commit(3);
                offered = 3;
            }
            assert_eq!(session.pending(at(200_000)).len(), offered);
            assert_eq!(session.poll(at(209_999)), Ok(None));
            assert_eq!(session.pending(at(209_999)).len(), offered);
            assert_eq!(session.poll(at(210_000)), Err(ProtocolError::WriteTimeout));
        });
    }
}

/// If the caller polls and provides no byte of a payload, the session closes the connection after the response timeout.
#[test]
fn payload_not_provided_is_write_timeout() {
    with_tx(64, |session| {
        connect(session, false);
        session.begin_payload(StreamedPublish::new("t"), 3).unwrap();
        send(session, &[], From::Memory, &[9], 5);
        assert_eq!(session.poll(T.add_millis(9_999)), Ok(None));
        assert_eq!(
            session.poll(T.add_millis(10_000)),
            Err(ProtocolError::WriteTimeout)
        );
    });
}

/// An image is saved at any byte of a message, and restored in another session. The payload is requested, and the
/// packet is the same.
#[test]
fn session_saved_inside_payload_requests_it_on_restore() {
    for qos in KEPT {
        let whole = expected("topic", &pattern(40), qos, false);
        for cut in 0..=whole.len() {
            let mut image = [0; Storage::<32, 64, 4, 4>::IMAGE_LEN];
            let used = with_tx(64, |session| {
                connect(session, false);
                session.publish(&message("a", b"")).unwrap();
                send_all(session);
                feed(session, &puback(1));
                events(session);
                session.begin_payload(outgoing("topic", qos), 40).unwrap();
                send(session, &pattern(40), From::Source(6), &[1], cut);
                session.save(&mut image).unwrap().len
            });
            with_tx(64, |session| {
                session.restore(&image[..used]).unwrap();
                assert_eq!(connect(session, true), [words(Event::PayloadNeeded(id(2)))]);
                session
                    .begin_payload(StreamedPublish::Resend(id(2)), 40)
                    .unwrap();
                let sent = send(session, &pattern(40), From::Memory, &[8], usize::MAX);
                let mut again = expected("topic", &pattern(40), qos, true);
                again[10] = 2;
                assert_eq!(sent, again);
            });
        }
    }
}

/// A message in flight that the server never acknowledges.
struct Kept {
    id: PacketId,
    topic: &'static str,
    payload: Vec<u8>,
    qos: QoS,
    dup: bool,
}

impl Kept {
    fn bytes(&self) -> Vec<u8> {
        let (packet_id, dup) = (self.id, self.dup);
        let delivery = match self.qos {
            QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
            _ => Delivery::AtLeastOnce { packet_id, dup },
        };
        publish(self.topic, &self.payload, delivery, self.topic == "long")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each connection has a new message, short or long, and is cut somewhere. It sends all unacknowledged messages in
    /// order, then the new one, up to the cut. After two connections without an acknowledgement, it sends only the
    /// first message.
    #[test]
    fn connections_cut_anywhere_send_whole_packets_in_order(
        rounds in proptest::collection::vec((any::<[bool; 2]>(), 0..3u8, 0..200usize, 0..600usize), 1..8),
        piece in 1..60usize,
        sizes in proptest::collection::vec(1..50usize, 1..4),
    ) {
        with_tx(300, |session| {
            let (mut kept, mut without_ack) = (Vec::new(), 0);
            for (round, ([long, answers], qos, len, cut)) in rounds.iter().copied().enumerate() {
                let cut = if round + 1 == rounds.len() { usize::MAX } else { cut };
                let new = (round < 4).then(|| (long, QoS::try_from(qos).unwrap(), pattern(len)));
                let from = From::Source(piece);
                one_connection(session, &mut kept, &mut without_ack, new, from, &sizes, cut, answers);
            }
        });
    }
}

/// Runs one connection up to the cut, and checks the sent bytes. `without_ack`: the number of connections in a row
/// without an acknowledgement. `answers`: the server acknowledges the first message if it can.
#[allow(clippy::too_many_arguments)]
fn one_connection(
    session: &mut Session<'_>,
    kept: &mut Vec<Kept>,
    without_ack: &mut u32,
    new: Option<(bool, QoS, Vec<u8>)>,
    from: From,
    sizes: &[usize],
    cut: usize,
    answers: bool,
) {
    connect(session, true);
    let one_by_one = *without_ack > 1 && !kept.is_empty();
    let mut packets: Vec<Vec<u8>> = kept.iter().map(Kept::bytes).collect();
    let mut stream = send(session, &[], from, sizes, cut);
    while let Some(needed) = session.payload_needed().filter(|_| stream.len() < cut) {
        let payload = &kept.iter().find(|kept| kept.id == needed).unwrap().payload;
        session
            .begin_payload(StreamedPublish::Resend(needed), payload.len())
            .unwrap();
        stream.extend(send(session, payload, from, sizes, cut - stream.len()));
    }
    if let Some((long, qos, mut payload)) = new.filter(|_| stream.len() < cut) {
        let (topic, id) = if long {
            let id = session.begin_payload(outgoing("long", qos), payload.len());
            ("long", id)
        } else {
            payload.truncate(30);
            ("t", session.publish(&common::message("t", &payload, qos)))
        };
        stream.extend(send(session, &payload, from, sizes, cut - stream.len()));
        match id {
            // The payload of an older message was not requested yet.
            Err(RequestError::PayloadPending) if one_by_one => {}
            Err(error) => panic!("{error}"),
            Ok(None) => packets.push(publish(topic, &payload, Delivery::AtMostOnce, long)),
            Ok(Some(id)) => {
                kept.push(Kept {
                    id,
                    topic,
                    payload,
                    qos,
                    dup: false,
                });
                packets.extend(kept.last().map(Kept::bytes));
            }
        }
    }
    if one_by_one {
        packets.truncate(1);
    }
    let whole = packets.concat();
    assert_eq!(stream, whole[..cut.min(whole.len())]);
    let mut start = 0;
    let mut attempted = 0;
    for kept in &mut *kept {
        kept.dup |= start < stream.len();
        attempted += u32::from(start < stream.len());
        start += kept.bytes().len();
    }
    let first = kept.first().filter(|first| {
        answers && first.qos == QoS::AtLeastOnce && first.bytes().len() <= stream.len()
    });
    if let Some(first) = first {
        feed(session, &puback(first.id.get()));
        let mut recorded = events(session).0;
        assert_eq!(recorded.remove(0), words(Event::Puback(first.id)));
        // The payload of the next message, whose turn it is now.
        assert!(recorded.is_empty() || one_by_one, "{recorded:?}");
        kept.remove(0);
        attempted -= 1;
        *without_ack = 0;
    }
    *without_ack += attempted.min(1);
    session.connection_lost();
    events(session);
}

// The blocking client.

/// If the transport accepts all bytes, header and payload are sent in two writes.
#[test]
fn header_and_payload_are_two_writes() {
    for qos in ALL {
        for len in [1, 40, 100_000] {
            let network = Network::new();
            let mut storage = Storage::<16, 32, 4>::new();
            let mut session = Session::new(&mut storage);
            let mut client = connected(&mut session, &network, &KEEP);
            let payload = pattern(len);
            client
                .publish_slices(outgoing("t", qos), &[&payload], |_, _| {})
                .unwrap();
            let writes = network.take_writes();
            assert_eq!(writes.len(), 2);
            assert_eq!(writes[1], payload);
            assert_eq!(writes.concat(), expected("t", &payload, qos, false));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Slices of any size, including empty ones, and readers, over a transport that accepts any number of bytes.
    #[test]
    fn slices_and_readers_send_same_bytes(
        lens in proptest::collection::vec(prop_oneof![Just(0usize), 1..50usize, 100..400usize], 0..6),
        qos in 0..3u8,
        takes in proptest::collection::vec(1..60usize, 1..6),
        piece in 1..100usize,
    ) {
        let qos = QoS::try_from(qos).unwrap();
        let all = pattern(lens.iter().sum());
        let mut rest = &all[..];
        let slices: Vec<&[u8]> = lens.iter().map(|len| {
            let (slice, tail) = rest.split_at(*len);
            rest = tail;
            slice
        }).collect();
        let steps: Vec<Step> = takes.iter().flat_map(|n| [Step::Bytes(*n), Step::NotReady]).collect();
        for read in [false, true] {
            let network = Network::new();
            let mut storage = Storage::<32, 32, 4>::new();
            let mut session = Session::new(&mut storage);
            let mut client = connected(&mut session, &network, &KEEP);
            network.writes(&steps.repeat(20), Step::Bytes(7));
            network.feed(&publish("in", b"!", long::delivery(QoS::AtLeastOnce, false), false));
            let mut recorded = 0;
            let on_event = |_: Event<'_>, _: &mut Publisher<'_, '_>| recorded += 1;
            let id = if read {
                let source = Source { rest: &all, piece, end: Ok(()) };
                client.publish_from(outgoing("t", qos), all.len(), source, on_event)
            } else {
                client.publish_slices(outgoing("t", qos), &slices, on_event)
            };
            prop_assert_eq!(id.unwrap().is_some(), qos > QoS::AtMostOnce);
            client.flush().unwrap();
            let sent = network.take_sent();
            if recorded == 0 {
                let Ok(Event::Message(_)) = client.recv() else { panic!("no message") };
                client.flush().unwrap();
                prop_assert_eq!(sent, expected("t", &all, qos, false));
                prop_assert_eq!(network.take_sent(), vec![0x40, 2, 0, 5]);
            } else {
                // The acknowledgement was sent before or after the message, and not inside it.
                let answer = vec![0x40, 2, 0, 5];
                let whole = expected("t", &all, qos, false);
                prop_assert!(sent == [&whole[..], &answer].concat() || sent == [&answer[..], &whole].concat());
            }
        }
    }
}

impl ErrorType for Source<'_> {
    type Error = Fault;
}

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        self.next(buf)
    }
}

/// A source fails or ends at any byte. The stream ends there, without DISCONNECT, and every call returns the reason.
#[test]
fn source_ended_or_failed_closes_connection() {
    let payload = pattern(50);
    for qos in ALL {
        for given in 0..50 {
            for fails in [false, true] {
                let network = Network::new();
                let mut storage = Storage::<32, 32, 4>::new();
                let mut session = Session::new(&mut storage);
                let mut client = connected(&mut session, &network, &KEEP);
                let end = if fails {
                    Err(Fault(ErrorKind::NotFound))
                } else {
                    Ok(())
                };
                let source = Source {
                    rest: &payload[..given],
                    piece: 7,
                    end,
                };
                let error = client
                    .publish_from(outgoing("t", qos), 50, source, |_, _| {})
                    .unwrap_err();
                let missing = 50 - given;
                assert_eq!(
                    error,
                    if fails {
                        Error::Source(ErrorKind::NotFound)
                    } else {
                        Error::SourceEnded { missing }
                    }
                );
                assert!(error.is_fatal());
                let aborted = Error::Protocol(ProtocolError::PayloadAborted);
                assert_eq!(client.publish(&Message::new("n", b"")), Err(aborted));
                assert_eq!(client.ping(), Err(aborted));
                assert_eq!(
                    client.publish_slices(outgoing("n", qos), &[b"x"], |_, _| {}),
                    Err(aborted)
                );
                assert_eq!(client.subscribe(&[("n", qos)]), Err(aborted));
                let recorded = client.poll();
                if qos == QoS::AtMostOnce {
                    assert_eq!(recorded, Ok(Some(Event::Qos0Dropped(1))));
                    assert_eq!(client.recv(), Err(aborted));
                } else {
                    assert_eq!(recorded, Err(aborted));
                }
                assert_eq!(client.disconnect().err(), Some(aborted));
                let sent = network.take_sent();
                let head = 7 - if qos == QoS::AtMostOnce { 2 } else { 0 };
                assert_eq!(sent, expected("t", &payload, qos, false)[..head + given]);
            }
        }
    }
}

/// If the read of a source is interrupted, it is repeated.
#[test]
fn source_interrupted_is_retried() {
    struct Interrupted<'a>(Source<'a>, bool);
    impl ErrorType for Interrupted<'_> {
        type Error = Fault;
    }
    impl Read for Interrupted<'_> {
        fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
            self.1 = !self.1;
            if self.1 {
                return Err(Fault(ErrorKind::Interrupted));
            }
            self.0.read(buf)
        }
    }
    let network = Network::new();
    let mut storage = Storage::<32, 32, 4>::new();
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &KEEP);
    let payload = pattern(30);
    let source = Source {
        rest: &payload,
        piece: 4,
        end: Ok(()),
    };
    client
        .publish_from(
            outgoing("t", QoS::AtMostOnce),
            30,
            Interrupted(source, false),
            |_, _| {},
        )
        .unwrap();
    assert_eq!(
        network.take_sent(),
        expected("t", &payload, QoS::AtMostOnce, false)
    );
}

/// A client on its second connection. The first one was lost inside a payload of 40 bytes at QoS 1.
fn connected_after_cut<'s, 'b, 'n>(
    session: &'s mut Session<'b>,
    network: &'n Network,
) -> common::Client<'s, 'b, 'n> {
    cut_at(session, QoS::AtLeastOnce, &pattern(40), From::Memory, 20);
    connected(session, network, &KEEP)
}

/// A call that would wait for a packet that cannot be sent returns an error instead.
#[test]
fn waiting_calls_payload_needed_return_error() {
    let network = Network::new();
    let mut storage = Storage::<32, 64, 4>::new();
    let mut session = Session::new(&mut storage);
    let mut client = connected_after_cut(&mut session, &network);
    let pending = Err(Error::Request(RequestError::PayloadPending));
    assert_eq!(
        client.publish_and_wait(&message("n", b""), |_, _| {}),
        pending
    );
    assert_eq!(
        client
            .subscribe_and_wait(&[("n", QoS::AtMostOnce)], |_, _| {})
            .map(|_| ()),
        pending
    );
    assert_eq!(client.unsubscribe_and_wait(&["n"], |_, _| {}), pending);
    assert_eq!(client.session().in_flight(), 1);
    assert_eq!(client.recv(), Ok(Event::PayloadNeeded(id(1))));
    client
        .publish_slices(StreamedPublish::Resend(id(1)), &[&pattern(40)], |_, _| {})
        .unwrap();
    network.feed(&puback(1));
    network.feed(&puback(2));
    let mut recorded = Vec::new();
    client
        .publish_and_wait(&message("n", b""), |event, _| recorded.push(words(event)))
        .unwrap();
    assert_eq!(recorded, [words(Event::Puback(id(1)))]);
}

/// A call that waits to send a payload again ends if the message is acknowledged before the first byte.
#[test]
fn resend_acknowledged_before_first_byte_ends_call() {
    let network = Network::new();
    let mut storage = Storage::<32, 64, 4>::new();
    let mut session = Session::new(&mut storage);
    let mut client = connected_after_cut(&mut session, &network);
    assert_eq!(client.recv(), Ok(Event::PayloadNeeded(id(1))));
    network.writes(&vec![Step::NotReady; 20], Step::Bytes(99));
    network.feed(&puback(1));
    let mut recorded = Vec::new();
    let on_event = |event: Event<'_>, _: &mut Publisher<'_, '_>| recorded.push(words(event));
    let result = client.publish_slices(StreamedPublish::Resend(id(1)), &[&pattern(40)], on_event);
    assert_eq!(result, Ok(Some(id(1))));
    assert_eq!(recorded, [words(Event::Puback(id(1)))]);
    assert!(network.waits() < 100);
    client.ping().unwrap();
    client.flush().unwrap();
    assert_eq!(network.take_sent(), PINGREQ);
}
