//! Receiving messages that are larger than the receive buffer.

use embedded_io::Read;
use proptest::prelude::*;
use umqtt::{
    Event, Instant, ProtocolError, Session, Storage,
    codec::{Connect, QoS},
};

use crate::common::{self, Client, Network, connected};
use crate::long::{KEEP, Peer, RX, RecordedEvent, T, ack, delivery, pattern, publish, with_rx};

const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const PUBREL: [u8; 4] = [0x62, 2, 0, 5];
const PUBCOMP: [u8; 4] = [0x70, 2, 0, 5];

/// A message, and the event and answer that it must cause.
#[derive(Clone, Debug)]
struct Case {
    topic: usize,
    payload: usize,
    qos: QoS,
    retain: bool,
    dup: bool,
}

impl Case {
    fn new(topic: usize, payload: usize, qos: QoS) -> Self {
        let (retain, dup) = (false, false);
        Self {
            topic,
            payload,
            qos,
            retain,
            dup,
        }
    }

    fn topic(&self) -> String {
        "t".repeat(self.topic)
    }

    fn delivery(&self) -> umqtt::codec::Delivery {
        delivery(self.qos, self.dup)
    }

    fn bytes(&self) -> Vec<u8> {
        publish(
            &self.topic(),
            &pattern(self.payload),
            self.delivery(),
            self.retain,
        )
    }

    fn expected(&self, rx: usize) -> RecordedEvent {
        let len = self.bytes().len();
        if len > rx && len - self.payload > rx {
            let len = self.topic;
            return RecordedEvent::Other(format!("{:?}", Event::TopicTooLong { len }));
        }
        RecordedEvent::Message {
            topic: self.topic(),
            payload: pattern(self.payload),
            delivery: (len > rx).then(|| self.delivery()),
            qos: self.qos,
            retain: self.retain,
        }
    }

    /// Receives the message in these pieces, and completes its QoS 2 exchange.
    fn check(&self, peer: &mut Peer<'_, '_>, rx: usize, sizes: &[usize]) {
        peer.recorded.clear();
        peer.before.clear();
        peer.sent.clear();
        peer.feed(&self.bytes(), sizes);
        assert_eq!(peer.recorded, [self.expected(rx)], "{self:?}");
        // [MQTT-3.3.4-1] The message is acknowledged once, after the caller was given all of it.
        assert!(
            peer.before.iter().all(|(_, sent)| sent.is_empty()),
            "acknowledged too early"
        );
        assert_eq!(peer.sent, ack(self.delivery()));
        if self.qos == QoS::ExactlyOnce {
            peer.sent.clear();
            peer.feed(&PUBREL, sizes);
            assert_eq!(peer.sent, PUBCOMP);
        }
    }
}

/// Returns payload lengths around those at which the packet with this topic just fits, or its header changes.
fn boundaries(rx: usize, topic: usize, qos: QoS) -> Vec<usize> {
    let part = 2 + topic + if qos == QoS::AtMostOnce { 0 } else { 2 };
    let mut around: Vec<usize> = [rx, 2 * rx, 127 + 2, 128 + 3, 16_383 + 3, 16_384 + 4]
        .into_iter()
        .flat_map(|frame| (frame.saturating_sub(part + 7)..=frame + 3 - part.min(frame)).step_by(1))
        .chain(0..3)
        .collect();
    around.sort_unstable();
    around.dedup();
    around
}

/// Messages of every size around each boundary are received in one piece, and byte by byte.
#[test]
fn chunks_at_size_boundaries_equal_message() {
    for rx in RX {
        with_rx(rx, |session| {
            let mut peer = Peer::connect(session, false);
            for topic in [1, 7, rx - 9, rx - 5, rx - 3, rx, 200] {
                // Messages with three bytes of Remaining Length are slow, so only some of them are tested.
                let most = if topic == 1 && rx > 100 {
                    20_000
                } else {
                    1_000
                };
                for qos in ALL {
                    for payload in boundaries(rx, topic, qos) {
                        let case = Case::new(topic, payload, qos);
                        if payload < most {
                            case.check(&mut peer, rx, &[usize::MAX]);
                        }
                        if payload < 300 {
                            case.check(&mut peer, rx, &[1]);
                        }
                    }
                }
            }
        });
    }
}

fn any_case() -> impl Strategy<Value = Case> {
    let topic = prop_oneof![1..140usize, Just(300), Just(65_535)];
    let payload = prop_oneof![0..300usize, 16_300..16_500usize];
    (topic, payload, 0..3u8, any::<bool>(), any::<bool>()).prop_map(
        |(topic, payload, qos, retain, dup)| Case {
            topic,
            payload,
            qos: QoS::try_from(qos).unwrap(),
            retain,
            dup: dup && qos > 0,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chunks_received_in_any_pieces_equal_message(
        rx in proptest::sample::select(RX.to_vec()),
        cases in proptest::collection::vec(any_case(), 1..6),
        sizes in proptest::collection::vec(prop_oneof![1..4usize, 1..40usize, Just(usize::MAX)], 1..6),
    ) {
        with_rx(rx, |session| {
            let mut peer = Peer::connect(session, false);
            for case in &cases {
                case.check(&mut peer, rx, &sizes);
            }
        });
    }

    /// The stream is cut anywhere, in any pieces. The next connection sends whole packets.
    #[test]
    fn message_cut_anywhere_is_received_again_whole(
        rx in proptest::sample::select(RX.to_vec()),
        case in any_case(),
        at in any::<proptest::sample::Index>(),
        answered in any::<bool>(),
        sizes in proptest::collection::vec(1..40usize, 1..4),
    ) {
        let at = at.index(case.bytes().len() + 1);
        cut_and_resume(rx, &case, at, answered, &sizes);
    }
}

/// The stream is cut at every byte, before and after the answer was sent.
#[test]
fn message_cut_at_each_byte_is_received_again_whole() {
    for rx in [16, 19, 31] {
        for (topic, payload) in [(3, 60), (3, 16), (40, 20), (3, 2)] {
            for qos in ALL {
                let case = Case::new(topic, payload, qos);
                for at in 0..=case.bytes().len() {
                    for answered in [false, true] {
                        cut_and_resume(rx, &case, at, answered, &[7, 1]);
                    }
                }
            }
        }
    }
}

/// Cuts the stream after `at` bytes of a message, and reconnects. Checks that the message is not lost, and that a
/// message at QoS 2 is not delivered twice.
fn cut_and_resume(rx: usize, case: &Case, at: usize, answered: bool, sizes: &[usize]) {
    with_rx(rx, |session| {
        let bytes = case.bytes();
        let complete = at == bytes.len();
        let mut peer = Peer::connect(session, false);
        peer.sent.clear();
        if complete && !answered {
            // The last piece is delivered, and the connection is lost before its answer is sent.
            peer.feed(&bytes[..at - 1], sizes);
            let space = peer.session.space();
            space[0] = bytes[at - 1];
            peer.session.commit(1);
            while let Some(ready) = peer.session.poll(T).unwrap() {
                let _ = peer.session.event(ready).unwrap();
            }
            peer.part = None;
        } else {
            peer.feed(&bytes[..at], sizes);
            assert_eq!(peer.recorded.len(), usize::from(complete));
        }
        peer.recorded.clear();
        let begun = peer.part.is_some();
        peer.cut();
        let ended = RecordedEvent::Other(format!("{:?}", Event::ChunksAborted));
        assert_eq!(
            peer.recorded,
            vec![ended; usize::from(begun)],
            "cut at {at}"
        );

        let mut peer = Peer::connect(peer.session, true);
        assert!(peer.recorded.is_empty());
        peer.sent.clear();
        if case.qos == QoS::AtMostOnce {
            case.check(&mut peer, rx, sizes);
            return;
        }
        let again = Case {
            dup: true,
            ..case.clone()
        };
        if complete && answered && case.qos == QoS::AtLeastOnce {
            return;
        }
        if complete && case.qos == QoS::ExactlyOnce {
            // [MQTT-4.3.3-2] The message was delivered before. It is skipped, and answered.
            peer.feed(&again.bytes(), sizes);
            assert!(peer.recorded.is_empty(), "delivered twice");
            assert_eq!(peer.sent, ack(case.delivery()));
            peer.sent.clear();
            peer.feed(&PUBREL, sizes);
            assert_eq!(peer.sent, PUBCOMP);
            // The id is free for another message.
            case.check(&mut peer, rx, sizes);
        } else {
            again.check(&mut peer, rx, sizes);
        }
    });
}

/// A caller that ignores every event and only polls keeps the connection.
#[test]
fn chunks_ignored_are_skipped_and_acknowledged() {
    for qos in ALL {
        with_rx(16, |session| {
            let peer = Peer::connect(session, false);
            let session = peer.session;
            let case = Case::new(2, 500, qos);
            let mut bytes = &case.bytes()[..];
            let mut sent = Vec::new();
            while !bytes.is_empty() {
                let space = session.space();
                let n = space.len().min(bytes.len());
                space[..n].copy_from_slice(&bytes[..n]);
                session.commit(n);
                bytes = &bytes[n..];
                while let Some(ready) = session.poll(T).unwrap() {
                    session.event(ready).unwrap();
                }
            }
            while session.has_pending() {
                let pending = session.pending(T).to_vec();
                session.consume(pending.len(), T);
                sent.extend(pending);
            }
            assert_eq!(sent, ack(case.delivery()));
        });
    }
}

/// Calls `skip_message` after any number of chunks, or while one is pending.
#[test]
fn skip_message_after_any_chunk_skips_rest() {
    for qos in ALL {
        for chunks in 0..12 {
            for event_taken in [false, true] {
                // A message cannot be skipped before its event was taken.
                if chunks == 0 && !event_taken {
                    continue;
                }
                with_rx(16, |session| {
                    let mut peer = Peer::connect(session, false);
                    let case = Case::new(2, 60, qos);
                    let bytes = case.bytes();
                    let mut rest = &bytes[..];
                    let mut seen = 0;
                    while !rest.is_empty() {
                        let space = peer.session.space();
                        let n = space.len().min(rest.len());
                        space[..n].copy_from_slice(&rest[..n]);
                        peer.session.commit(n);
                        rest = &rest[n..];
                        peer.send();
                        while let Some(ready) = peer.session.poll(T).unwrap() {
                            if seen == chunks && !event_taken {
                                peer.session.skip_message();
                                assert_eq!(peer.session.event(ready), Ok(None), "a stale token");
                            } else {
                                assert!(peer.session.event(ready).unwrap().is_some());
                                if seen == chunks {
                                    peer.session.skip_message();
                                }
                            }
                            seen += 1;
                        }
                        assert!(seen <= chunks + 1, "delivered although it was skipped");
                    }
                    peer.listen();
                    assert_eq!(
                        peer.sent[peer.sent.len() - ack(case.delivery()).len()..],
                        ack(case.delivery())
                    );
                    if qos == QoS::ExactlyOnce {
                        peer.feed(&PUBREL, &[4]);
                    }
                    assert_eq!(peer.recorded, []);
                    Case::new(1, 5, QoS::AtMostOnce).check(&mut peer, 16, &[3]);
                });
            }
        }
    }
}

/// [MQTT-4.8.0-2] If another packet does not fit, the error has the number of bytes needed.
#[test]
fn suback_larger_than_buffer_reports_bytes_needed() {
    // A SUBACK for thirteen filters.
    let suback = [&[0x90, 15, 0, 1][..], &[0; 13]].concat();
    with_rx(16, |session| {
        let peer = Peer::connect(session, false);
        peer.session.space()[..3].copy_from_slice(&suback[..3]);
        peer.session.commit(3);
        assert_eq!(
            peer.session.poll(T),
            Err(ProtocolError::ReceiveBufferTooSmall { needed: 17 })
        );
    });
}

/// Malformed long messages close the connection, each with its own reason, as soon as the error can be detected.
#[test]
fn long_message_malformed_closes_connection() {
    let cases: [(&[u8], &str); 4] = [
        (&[0x30, 0xFF, 0x01, 0, 0], "an empty topic"),
        (&[0x30, 0xFF, 0x01, 0, 1, b'#'], "a wildcard"),
        (&[0x32, 0xFF, 0x01, 0, 1, b't', 0, 0], "id 0"),
        (&[0x30, 20, 0, 19], "a topic longer than its packet"),
    ];
    for (bytes, what) in cases {
        with_rx(16, |session| {
            let peer = Peer::connect(session, false);
            peer.session.space()[..bytes.len()].copy_from_slice(bytes);
            peer.session.commit(bytes.len());
            let reason = peer.session.poll(T).unwrap_err();
            assert!(
                matches!(reason, ProtocolError::Decode(_)),
                "{what}: {reason:?}"
            );
        });
    }
    // The id after a topic that does not fit is also checked, before the payload is received.
    with_rx(16, |session| {
        let mut peer = Peer::connect(session, false);
        let mut bytes = Case::new(30, 10, QoS::AtLeastOnce).bytes();
        bytes[35] = 0;
        assert_eq!(bytes[34..36], [0, 0]);
        for byte in &bytes[..35] {
            peer.feed(std::slice::from_ref(byte), &[1]);
        }
        peer.session.space()[0] = 0;
        peer.session.commit(1);
        assert!(matches!(
            peer.session.poll(T),
            Err(ProtocolError::Decode(_))
        ));
    });
}

/// A long message delays every answer after it. Their deadlines are extended while at least 64 bytes of it are received
/// in each response timeout.
#[test]
fn long_message_in_progress_extends_deadlines() {
    let at = Instant::from_millis;
    for shown in [true, false] {
        let mut storage = Storage::<32, 128, 4>::new();
        let mut session = Session::new(&mut storage);
        let options = Connect {
            keep_alive: 60,
            ..KEEP
        };
        session.connect(&options, at(0)).unwrap();
        let drain = |session: &mut Session<'_>, now| {
            while session.has_pending() {
                let n = session.pending(at(now)).len();
                session.consume(n, at(now));
            }
        };
        let put = |session: &mut Session<'_>, bytes: &[u8]| {
            session.space()[..bytes.len()].copy_from_slice(bytes);
            session.commit(bytes.len());
        };
        let settle = |session: &mut Session<'_>, now: u32| -> Result<(), ProtocolError> {
            while let Some(ready) = session.poll(at(now))? {
                session.event(ready)?;
            }
            session.space();
            Ok(())
        };
        drain(&mut session, 0);
        put(&mut session, &[0x20, 2, 0, 0]);
        settle(&mut session, 0).unwrap();
        session.ping().unwrap();
        session
            .publish(&common::message("t", b"x", QoS::AtLeastOnce))
            .unwrap();
        drain(&mut session, 0);

        put(
            &mut session,
            &Case::new(1, 2_000, QoS::AtMostOnce).bytes()[..8],
        );
        settle(&mut session, 1).unwrap();
        if !shown {
            session.skip_message();
        }
        let mut now = 1;
        for _ in 0..20 {
            now += 9_000;
            for _ in 0..4 {
                put(&mut session, &[b'x'; 16]);
                assert_eq!(settle(&mut session, now), Ok(()), "at {now}");
            }
            drain(&mut session, now);
            assert!(!session.deadline().unwrap().has_passed(at(now)));
        }
        assert_eq!(settle(&mut session, now + 9_999), Ok(()));
        let overdue = settle(&mut session, now + 10_000);
        assert_eq!(overdue, Err(ProtocolError::PingrespTimeout));
    }
}

/// 256 MB less the bytes before the payload: the largest possible message, delivered or skipped.
#[test]
fn largest_message_is_delivered_or_skipped() {
    const REMAINING: usize = 268_435_455;
    for skipped in [false, true] {
        let mut storage = Box::new(Storage::<65_536, 64, 2>::new());
        let mut session = Session::new(&mut storage);
        let peer = Peer::connect(&mut session, false);
        let session = peer.session;
        let head = [0x32, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b't', 0, 5];
        session.space()[..head.len()].copy_from_slice(&head);
        session.commit(head.len());
        let (mut left, mut seen, mut sum) = (REMAINING - 5, 0, 0u64);
        while left > 0 {
            let space = session.space();
            // The payload is not compared byte by byte, because this is a debug build.
            let n = space.len().min(left);
            space[0] = left as u8;
            session.commit(n);
            left -= n;
            while let Some(ready) = session.poll(T).unwrap() {
                let Some(Event::Chunk(chunk)) = session.event(ready).unwrap() else {
                    unreachable!("only chunks are received");
                };
                assert_eq!((chunk.offset, chunk.total), (seen, REMAINING - 5));
                seen += chunk.bytes.len();
                sum += 1;
                assert_eq!(chunk.is_last(), seen == REMAINING - 5);
                if skipped {
                    session.skip_message();
                }
            }
        }
        assert_eq!(session.pending(T), [0x40, 2, 0, 5]);
        assert!(if skipped {
            sum == 1
        } else {
            seen == REMAINING - 5
        });
    }
}

// The readers.

/// Reads with buffers of this size, at most `most` bytes. Returns the bytes, and `true` if the end was read.
fn read_some(reader: &mut impl Read, size: usize, most: usize) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    while all.len() < most {
        let mut buf = vec![0; size.min(most - all.len())];
        let n = reader.read(&mut buf).unwrap();
        if n == 0 {
            return (all, true);
        }
        all.extend(&buf[..n]);
    }
    (all, false)
}

fn next<'c>(client: &'c mut Client<'_, '_, '_>) -> Event<'c> {
    client.recv().unwrap()
}

/// A message, whole or in chunks, is read with buffers of several sizes. The reader is dropped after any number of
/// bytes.
#[test]
fn reader_dropped_at_any_byte_loses_nothing() {
    for qos in ALL {
        for payload in [0usize, 1, 8, 9, 40, 61] {
            for size in [1, 2, 5, 13, 100] {
                for most in 0..=payload + 1 {
                    let network = Network::new();
                    let mut storage = Storage::<16, 64, 4>::new();
                    let mut session = Session::new(&mut storage);
                    let mut client = connected(&mut session, &network, &KEEP);
                    let case = Case::new(2, payload, qos);
                    network.feed(&case.bytes());
                    network.feed(&publish(
                        "n",
                        b"next",
                        delivery(QoS::AtMostOnce, false),
                        false,
                    ));
                    assert!(matches!(
                        next(&mut client),
                        Event::Message(_) | Event::Chunk(_)
                    ));
                    let (read, ended) = read_some(&mut client.payload(), size, most);
                    assert_eq!(read, pattern(payload)[..most.min(payload)]);
                    assert_eq!(ended, most > payload);
                    let Event::Message(message) = next(&mut client) else {
                        unreachable!("the next message is whole");
                    };
                    assert_eq!((message.topic, message.payload), ("n", &b"next"[..]));
                    client.flush().unwrap();
                    assert_eq!(network.take_sent(), ack(case.delivery()), "answered once");
                }
            }
        }
    }
}

/// Before a message and after its end, a reader returns 0.
#[test]
fn reader_without_message_returns_zero() {
    let network = Network::new();
    let mut storage = Storage::<16, 64, 4>::new();
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &KEEP);
    assert_eq!(client.payload().read(&mut [0; 4]).unwrap(), 0);
    network.feed(&Case::new(2, 40, QoS::AtMostOnce).bytes());
    assert!(matches!(next(&mut client), Event::Chunk(_)));
    assert_eq!(read_some(&mut client.payload(), 7, 99), (pattern(40), true));
    assert_eq!(client.payload().read(&mut [0; 4]).unwrap(), 0);
    assert_eq!(client.payload().read(&mut []).unwrap(), 0);
}

/// If the connection ends inside a message, each read returns an error. The payload never looks complete.
#[test]
fn reader_message_cut_returns_error() {
    let message = Case::new(2, 42, QoS::AtLeastOnce).bytes();
    for at in 10..message.len() {
        let network = Network::new();
        let mut storage = Storage::<16, 64, 4>::new();
        let mut session = Session::new(&mut storage);
        let mut client = connected(&mut session, &network, &KEEP);
        network.feed(&message[..at]);
        network.end();
        assert!(matches!(next(&mut client), Event::Chunk(_)));
        let mut reader = client.payload();
        let mut read = 0;
        let error = loop {
            match reader.read(&mut [0; 5]) {
                Ok(0) => unreachable!("cut at {at}, and complete"),
                Ok(n) => read += n,
                Err(error) => break error,
            }
        };
        assert_eq!(read, at - 8);
        assert!(error.is_fatal());
        assert!(reader.read(&mut [0; 5]).is_err(), "still");
        drop(reader);
        assert!(client.recv().is_err());
        assert!(network.take_sent().is_empty(), "no answer");
    }
}

/// If a topic does not quite fit, only its single bytes are checked, even if the buffer contains all of it. This topic
/// is not UTF-8, which can be seen only from two bytes.
#[test]
fn topic_too_long_any_cut_is_checked_the_same() {
    let mut bytes = Case::new(13, 30, QoS::AtMostOnce).bytes();
    bytes[7] = 0xE9;
    for sizes in [&[1][..], &[usize::MAX]] {
        with_rx(16, |session| {
            let mut peer = Peer::connect(session, false);
            peer.feed(&bytes, sizes);
            let skipped = format!("{:?}", Event::TopicTooLong { len: 13 });
            assert_eq!(peer.recorded, [RecordedEvent::Other(skipped)]);
        });
    }
}
