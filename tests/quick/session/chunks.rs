//! Received messages, and other packets, that are larger than the receive buffer.

use umqtt::{
    Event, ProtocolError, Storage,
    codec::{DecodeError, QoS, SubackReturnCode, TopicError},
};

use crate::wire::*;

/// Receives the message in `bytes`, in pieces of at most `piece` bytes. Checks that its chunks have the `expected`
/// payload, and returns their number.
fn receive(driven: &mut TestSession<'_>, bytes: &[u8], piece: usize, expected: &[u8]) -> usize {
    let (mut got, mut chunks, mut rest) = (Vec::new(), 0, bytes);
    while !rest.is_empty() {
        let space = driven.session.space();
        assert!(!space.is_empty(), "there is always room for more");
        let n = space.len().min(piece).min(rest.len());
        space[..n].copy_from_slice(&rest[..n]);
        driven.session.commit(n);
        rest = &rest[n..];
        while let Some(ready) = driven.session.poll(driven.at()).unwrap() {
            match driven.session.event(ready).unwrap() {
                Some(Event::Chunk(chunk)) => {
                    assert_eq!(chunk.topic, TOPIC);
                    assert_eq!(chunk.offset, got.len());
                    assert_eq!(chunk.total, expected.len());
                    assert!(!chunk.bytes.is_empty());
                    got.extend_from_slice(chunk.bytes);
                    assert_eq!(chunk.is_last(), got.len() == expected.len());
                    assert_eq!(chunk.is_last(), rest.is_empty());
                    chunks += 1;
                }
                other => panic!("{other:?}"),
            }
            // The message is acknowledged only after its last chunk.
            assert!(rest.is_empty() || !driven.session.has_pending());
        }
    }
    assert_eq!(got, expected);
    chunks
}

/// A payload of any size, read in pieces of any size, is received whole. The message is acknowledged once, after its
/// last byte.
#[test]
fn long_message_is_delivered_in_chunks() {
    for len in [10, 11, 12, 30, 500, 5_000] {
        for piece in [1, 2, 3, 7, 16, 100] {
            let expected = payload(len);
            let mut storage = Storage::<16, 64, 1, 4>::new();
            let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
            let mut tested = 0;
            for (level, answer) in [
                (0, None),
                (1, Some(puback as fn(u16) -> _)),
                (2, Some(pubrec)),
            ] {
                let bytes = publish(level, 9, &expected);
                if bytes.len() <= 16 {
                    continue;
                }
                let chunks = receive(&mut driven, &bytes, piece, &expected);
                assert!(chunks <= len && chunks >= len / 16);
                tested += 1;
                assert_eq!(driven.sent(), answer.map_or(vec![], |answer| answer(9)));
            }
            assert!(tested > 0);
        }
    }
}

/// Packets before and after a long message are received as usual, and acknowledged in order.
#[test]
fn long_message_between_others_delays_no_acknowledgement() {
    let mut storage = Storage::<16, 64, 4, 4>::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    driven.publish_and_send(1, b"out");
    let long = publish(1, 9, &payload(40));
    let bytes = wire(&[
        &puback(1),
        &publish(1, 8, b"a"),
        &long,
        &publish(1, 10, b"b"),
    ]);
    let mut rest = &bytes[..];
    // Events, and the bytes that are sent at once after each.
    let mut log = Vec::new();
    while !rest.is_empty() {
        rest = driven.feed_part(rest);
        while let Some(event) = driven.next().unwrap() {
            let name = event.split('(').next().unwrap().to_owned();
            log.push((name, driven.sent()));
        }
    }
    let chunks = log.len() - 4;
    assert!(chunks > 1, "{log:?}");
    let last = [("Chunk", puback(9)), ("Message", puback(10))];
    let expected = [("Puback", vec![]), ("Message", puback(8))]
        .into_iter()
        .chain(vec![("Chunk", vec![]); chunks])
        .chain(last)
        .map(|(name, sent)| (name.to_owned(), sent));
    assert_eq!(log, expected.collect::<Vec<_>>());
}

/// If the caller ignores the events of the chunks, the message is skipped.
#[test]
fn chunks_ignored_message_is_skipped() {
    let mut storage = Storage::<16, 64, 1, 4>::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    let bytes = wire(&[&publish(2, 9, &payload(100)), &publish(0, 0, b"next")]);
    let events = driven.stream(&bytes);
    assert_eq!(
        events.last(),
        texts(&[Event::Message(message(0, b"next"))]).last()
    );
    assert_eq!(driven.sent(), pubrec(9));
}

/// If the connection is lost after the first chunk, that is reported once. The message is then received from its
/// beginning.
#[test]
fn message_cut_is_reported_and_received_again() {
    for level in [1, 2] {
        let bytes = publish(level, 9, &payload(100));
        for cut in 1..bytes.len() {
            let mut storage = Storage::<16, 64, 1, 4>::new();
            let mut driven = TestSession::connected(&mut storage);
            let begun = !driven.stream(&bytes[..cut]).is_empty();
            assert_eq!(driven.sent(), b"");
            let expected = if begun {
                texts(&[Event::ChunksAborted])
            } else {
                vec![]
            };
            assert_eq!(driven.lose(), expected, "cut after {cut} bytes");

            driven.open(&KEEP, true);
            driven.expect(&[]);
            assert_eq!(driven.sent(), b"");
            receive(&mut driven, &dup(bytes.clone()), 16, &payload(100));
            assert_eq!(
                driven.sent(),
                if level == 1 { puback(9) } else { pubrec(9) }
            );
        }
    }
}

/// `ChunksAborted` is also reported if the caller connects again before it takes the event.
#[test]
fn chunks_aborted_is_reported_on_next_connection() {
    let mut storage = Storage::<16, 64, 1, 4>::new();
    let mut driven = TestSession::connected(&mut storage);
    let bytes = publish(1, 9, &payload(100));
    assert!(!driven.stream(&bytes[..50]).is_empty());
    driven.open(&KEEP, true);
    driven.expect(&[Event::ChunksAborted]);
}

/// If only the PUBREC of a message is lost, the server sends the message again. It is not delivered again, in pieces of
/// any size.
#[test]
fn repeated_long_message_is_not_delivered() {
    let bytes = publish(2, 9, &payload(100));
    for piece in [1, 5, 16] {
        let mut storage = Storage::<16, 64, 1, 4>::new();
        let mut driven = TestSession::connected(&mut storage);
        receive(&mut driven, &bytes, 16, &payload(100));
        assert_eq!(driven.lose(), Vec::<String>::new());
        driven.open(&KEEP, true);
        for part in dup(bytes.clone()).chunks(piece) {
            assert_eq!(driven.sent(), b"");
            assert_eq!(driven.stream(part), Vec::<String>::new());
        }
        assert_eq!(driven.sent(), pubrec(9));
        // If the repetition is cut, nothing is reported.
        driven.stream(&bytes[..50]);
        assert_eq!(driven.lose(), Vec::<String>::new());
    }
}

/// A topic that does not fit is skipped, acknowledged and reported, in any pieces. A repeated one is only acknowledged.
#[test]
fn long_topic_is_skipped_and_reported() {
    // Fixed header, topic length and packet id leave 10 bytes for the topic. Without an id, they leave 12.
    for len in 1..40 {
        for level in [0, 1, 2] {
            for piece in [1, 3, 16] {
                let topic = "t".repeat(len);
                let bytes = publish_on(&topic, level, 9, &[b'x'; 40]);
                let mut storage = Storage::<16, 64, 1, 4>::new();
                let mut driven = TestSession::connected(&mut storage);
                let mut events = Vec::new();
                for part in bytes.chunks(piece) {
                    assert_eq!(driven.sent(), b"", "answered before its end");
                    events.extend(driven.stream(part));
                }
                let front = 2 + 2 + len + if level > 0 { 2 } else { 0 };
                if front <= 16 {
                    assert!(events[0].starts_with("Chunk("), "{len} {level}");
                } else {
                    assert_eq!(events, texts(&[Event::TopicTooLong { len }]));
                }
                let answer = [vec![], puback(9), pubrec(9)][usize::from(level)].clone();
                assert_eq!(driven.sent(), answer);
                if level == 2 && front > 16 {
                    assert_eq!(driven.stream(&dup(bytes)), Vec::<String>::new());
                    assert_eq!(driven.sent(), pubrec(9));
                }
            }
        }
    }
}

/// Any other packet that does not fit closes the connection when its header is received. The reason has its size. A
/// packet that just fits is received.
#[test]
fn other_long_packets_report_bytes_needed() {
    let mut storage = Storage::<16, 128, 4, 4>::new();
    let mut driven = TestSession::connected(&mut storage);
    let asked = driven.subscribe(&[("a", QoS::AtMostOnce); 12]);
    driven.sent();
    let codes = [umqtt::codec::SubackReturnCode::Failure; 12];
    driven.feed(&suback(asked, &codes));
    assert_eq!(driven.events().len(), 1, "16 bytes fit");
    for (header, needed) in [
        (&[0x90, 15][..], 17),
        (&[0x90, 0x80, 0x01], 131),
        (&[0x90, 0xFF, 0x7F], 16_386),
    ] {
        driven.feed(header);
        assert_eq!(
            driven.close_reason(),
            ProtocolError::ReceiveBufferTooSmall { needed }
        );
        driven.open(&KEEP, true);
    }
}

/// A message of the maximum Remaining Length is received through a buffer of 128 bytes, and acknowledged.
#[test]
fn longest_message_is_received_and_acknowledged() {
    let mut storage = Storage::<128, 64, 1, 4>::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    // Topic and id take 5 of the 268,435,455 bytes.
    driven.receive(&[0x32, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b't', 0, 9], &[]);
    let (total, mut seen) = (268_435_450, 0);
    let now = driven.at();
    while seen < total {
        assert!(!driven.session.has_pending());
        let n = driven.session.space().len().min(total - seen);
        driven.session.commit(n);
        let ready = driven.session.poll(now).unwrap().unwrap();
        match driven.session.event(ready).unwrap() {
            Some(Event::Chunk(chunk)) => {
                assert_eq!((chunk.offset, chunk.total), (seen, total));
                seen += chunk.bytes.len();
                assert_eq!(chunk.is_last(), seen == total);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(driven.sent(), puback(9));
}

/// A message or another packet that just fits is received whole, even in two pieces.
#[test]
fn message_filling_buffer_is_delivered_whole() {
    let mut storage = Storage::<16, 128, 4, 4>::new();
    let mut driven = TestSession::connected(&mut storage);
    let payload = [b'x'; 11];
    let whole = publish(0, 0, &payload);
    assert_eq!(whole.len(), 16);
    let codes = [SubackReturnCode::Failure; 12];
    let filters = [("a", QoS::AtMostOnce); 12];
    for cut in 2..16 {
        driven.receive(&whole[..cut], &[]);
        driven.receive(&whole[cut..], &[Event::Message(message(0, &payload))]);

        let asked = driven.subscribe(&filters);
        driven.sent();
        let answer = suback(asked, &codes);
        assert_eq!(answer.len(), 16);
        driven.receive(&answer[..cut], &[]);
        driven.feed(&answer[cut..]);
        assert!(driven.next().unwrap().unwrap().starts_with("Suback"));
    }
}

/// The topic of a skipped message is checked to its end, at every QoS.
#[test]
fn wildcard_in_skipped_topic_is_refused() {
    for level in [0, 1, 2] {
        for at in 0..40 {
            let mut bytes = publish_on(&"t".repeat(40), level, 9, b"x");
            bytes[4 + at] = b'#';
            let mut storage = Storage::<16, 64, 1, 4>::new();
            let mut driven = TestSession::connected(&mut storage);
            let refused = bytes.chunks(5).any(|part| {
                driven.feed(part);
                driven.session.poll(driven.at()).is_err()
            });
            assert!(refused, "byte {at} at QoS {level}");
            let wildcard = DecodeError::TopicName(TopicError::Wildcard { at });
            assert_eq!(driven.close_reason(), ProtocolError::Decode(wildcard));
        }
    }
}
