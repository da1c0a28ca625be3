//! Shared code of the tests of long payloads: sessions of many sizes, and a peer that sends and receives in pieces of
//! any size.

use super::common::Fault;
pub(crate) use super::common::{packet_id as id, publish_as as publish};
use umqtt::{
    Event, Instant, ProtocolError, Session, Storage,
    codec::{Connect, Delivery, QoS},
};

/// The time in tests that do not depend on it.
pub(crate) const T: Instant = Instant::from_millis(7);

/// A client with Clean Session 0.
pub(crate) const KEEP: Connect<'static> = Connect {
    clean_session: false,
    keep_alive: Connect::NO_KEEP_ALIVE,
    ..Connect::new("c")
};

/// Sizes of receive buffers, from the smallest.
pub(crate) const RX: [usize; 9] = [16, 17, 18, 19, 31, 64, 127, 128, 130];

/// Calls `test` with a session that has a receive buffer of this size, one of [`RX`].
pub(crate) fn with_rx<R>(rx: usize, test: impl FnOnce(&mut Session<'_>) -> R) -> R {
    fn run<const N: usize, R>(test: impl FnOnce(&mut Session<'_>) -> R) -> R {
        let mut storage = Storage::<N, 512, 8, 4>::new();
        test(&mut Session::new(&mut storage))
    }
    match rx {
        16 => run::<16, R>(test),
        17 => run::<17, R>(test),
        18 => run::<18, R>(test),
        19 => run::<19, R>(test),
        31 => run::<31, R>(test),
        64 => run::<64, R>(test),
        127 => run::<127, R>(test),
        128 => run::<128, R>(test),
        130 => run::<130, R>(test),
        _ => unreachable!("not one of RX"),
    }
}

/// Bytes in which a gap, a repetition or an exchange can be detected.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i.wrapping_mul(167) ^ (i >> 8).wrapping_mul(59)) as u8)
        .collect()
}

/// Returns the delivery of a message with id 5, or at QoS 0.
pub(crate) fn delivery(qos: QoS, dup: bool) -> Delivery {
    super::common::delivery(qos, 5, dup)
}

/// Returns the answer to a message.
pub(crate) fn ack(delivery: Delivery) -> Vec<u8> {
    let first = match delivery {
        Delivery::AtMostOnce => return Vec::new(),
        Delivery::AtLeastOnce { .. } => 0x40,
        Delivery::ExactlyOnce { .. } => 0x50,
    };
    let [high, low] = delivery.packet_id().unwrap().get().to_be_bytes();
    vec![first, 2, high, low]
}

/// An endless repetition of sizes.
pub(crate) struct Sizes<'a>(std::iter::Cycle<std::slice::Iter<'a, usize>>);

impl<'a> Sizes<'a> {
    pub(crate) fn new(sizes: &'a [usize]) -> Self {
        Self(sizes.iter().cycle())
    }

    pub(crate) fn next(&mut self) -> usize {
        self.0.next().map_or(1, |size| (*size).max(1))
    }
}

/// The bytes of a payload, in pieces of at most this size. Then it ends or fails.
pub(crate) struct Source<'a> {
    pub(crate) rest: &'a [u8],
    pub(crate) piece: usize,
    pub(crate) end: Result<(), Fault>,
}

impl Source<'_> {
    /// Copies the next piece, and returns its size.
    pub(crate) fn next(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        assert!(!buf.is_empty());
        let n = self.piece.min(buf.len()).min(self.rest.len());
        if n == 0 {
            return self.end.map(|()| 0);
        }
        let (piece, rest) = self.rest.split_at(n);
        buf[..n].copy_from_slice(piece);
        self.rest = rest;
        Ok(n)
    }
}

/// A received message, or another event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RecordedEvent {
    Message {
        topic: String,
        payload: Vec<u8>,
        /// The id and the DUP flag of a whole message are not recorded.
        delivery: Option<Delivery>,
        qos: QoS,
        retain: bool,
    },
    Other(String),
}

/// A session with its recorded events and sent bytes.
pub(crate) struct Peer<'s, 'b> {
    pub(crate) session: &'s mut Session<'b>,
    pub(crate) recorded: Vec<RecordedEvent>,
    /// The chunks of a message that is not complete.
    pub(crate) part: Option<(String, Vec<u8>)>,
    pub(crate) sent: Vec<u8>,
    /// For each delivered message or chunk, the number of events and the sent bytes before it.
    pub(crate) before: Vec<(usize, Vec<u8>)>,
}

impl<'s, 'b> Peer<'s, 'b> {
    /// Returns a peer that has accepted a connection.
    pub(crate) fn connect(session: &'s mut Session<'b>, session_present: bool) -> Self {
        session.connect(&KEEP, T).unwrap();
        let mut peer = Self {
            session,
            recorded: Vec::new(),
            part: None,
            sent: Vec::new(),
            before: Vec::new(),
        };
        peer.send();
        peer.feed(&[0x20, 2, u8::from(session_present), 0], &[4]);
        assert!(
            matches!(&peer.recorded[..], [.., RecordedEvent::Other(event)] if event.starts_with("Conn"))
        );
        peer.recorded.clear();
        peer.before.clear();
        peer
    }

    /// Feeds bytes in pieces of these sizes, as far as there is room, and handles their effects.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], sizes: &[usize]) {
        let mut sizes = Sizes::new(sizes);
        while !bytes.is_empty() {
            let space = self.session.space();
            assert!(!space.is_empty(), "no space for received bytes");
            let n = sizes.next().min(space.len()).min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            self.session.commit(n);
            bytes = &bytes[n..];
            self.listen();
        }
    }

    /// Sends all that is pending.
    pub(crate) fn send(&mut self) {
        while self.session.has_pending() {
            let bytes = self.session.pending(T).to_vec();
            assert!(!bytes.is_empty());
            self.session.consume(bytes.len(), T);
            self.sent.extend(bytes);
        }
    }

    /// Handles events and sends bytes until no more are pending.
    pub(crate) fn listen(&mut self) {
        self.try_listen().unwrap();
    }

    pub(crate) fn try_listen(&mut self) -> Result<(), ProtocolError> {
        loop {
            let polled = self.session.poll(T);
            self.send();
            let Some(ready) = polled? else { return Ok(()) };
            let event = self.session.event(ready)?;
            record_event(
                event.unwrap(),
                &mut self.recorded,
                &mut self.part,
                &self.sent,
                &mut self.before,
            );
        }
    }

    /// Closes the connection, and takes all events.
    pub(crate) fn cut(&mut self) {
        self.session.connection_lost();
        assert_eq!(self.try_listen(), Err(ProtocolError::Closed));
    }
}

/// Records an event. Joins chunks to a message, and checks that there is no gap between them.
fn record_event(
    event: Event<'_>,
    recorded: &mut Vec<RecordedEvent>,
    part: &mut Option<(String, Vec<u8>)>,
    sent: &[u8],
    before: &mut Vec<(usize, Vec<u8>)>,
) {
    match event {
        Event::Message(message) => {
            assert_eq!(*part, None, "a message inside another");
            before.push((recorded.len(), sent.to_vec()));
            recorded.push(RecordedEvent::Message {
                topic: message.topic.to_owned(),
                payload: message.payload.to_vec(),
                delivery: None,
                qos: message.qos,
                retain: message.retain,
            });
        }
        Event::Chunk(chunk) => {
            before.push((recorded.len(), sent.to_vec()));
            let (topic, mut payload) = part.take().unwrap_or_else(|| {
                assert_eq!(chunk.offset, 0, "a message that does not begin");
                (chunk.topic.to_owned(), Vec::new())
            });
            assert!(!chunk.bytes.is_empty());
            assert_eq!((chunk.topic, chunk.offset), (&*topic, payload.len()));
            payload.extend(chunk.bytes);
            assert!(payload.len() <= chunk.total);
            assert_eq!(chunk.is_last(), payload.len() == chunk.total);
            if chunk.is_last() {
                recorded.push(RecordedEvent::Message {
                    topic,
                    payload,
                    delivery: Some(chunk.delivery),
                    qos: chunk.delivery.qos(),
                    retain: chunk.retain,
                });
            } else {
                *part = Some((topic, payload));
            }
        }
        Event::ChunksAborted => {
            assert!(
                part.take().is_some(),
                "the end of a message that had not begun"
            );
            recorded.push(RecordedEvent::Other(format!("{event:?}")));
        }
        other => {
            assert_eq!(*part, None, "another event inside a message");
            recorded.push(RecordedEvent::Other(format!("{other:?}")));
        }
    }
}
