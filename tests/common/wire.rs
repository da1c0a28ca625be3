//! What the tests of the session share: a session with a clock that stands still, and packets as bytes.
//!
//! ```text
//! let mut driven = Driven::new(&mut storage);
//! driven.open(&KEEP, false);                     // CONNECT, CONNACK, Connected
//! driven.feed(&publish(1, 7, b"x"));             // the server has sent this
//! driven.expect(&[Event::Message(message(1, b"x"))]); // what the caller is told, all of it
//! assert_eq!(driven.sent(), puback(7));          // what has left since
//! ```
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "test helpers may panic, and no test file needs all of them"
)]

use super::common;
pub(crate) use super::common::{
    DISCONNECT, PINGREQ, PINGRESP, connack, dup, packet_id as id, puback, pubcomp, pubrec, pubrel,
    refused, suback, subscribe, unsuback, unsubscribe,
};
use umqtt::{
    Event, Instant, Message, ProtocolError, Session, Storage,
    codec::{Connect, Packet, PacketId, QoS},
};

/// The topic of every message whose topic does not matter.
pub(crate) const TOPIC: &str = "t";

/// A client whose state is kept.
pub(crate) const KEEP: Connect<'static> = Connect {
    clean_session: false,
    ..CLEAN
};

/// The same client, beginning anew.
pub(crate) const CLEAN: Connect<'static> = Connect {
    keep_alive: Connect::NO_KEEP_ALIVE,
    ..Connect::new("c")
};

/// Room for what most tests do.
pub(crate) type Room = Storage<64, 256, 8, 4>;

/// The response timeout, unless a test sets another.
pub(crate) const TIMEOUT: u32 = umqtt::RESPONSE_TIMEOUT;

/// A session, and the time.
pub(crate) struct Driven<'b> {
    pub(crate) session: Session<'b>,
    /// What the clock shows, in milliseconds.
    pub(crate) now: u32,
    /// The transport has refused bytes, and refuses them until [`Self::sent`].
    stuck: bool,
}

impl<'b> Driven<'b> {
    pub(crate) fn new<
        const RX: usize,
        const TX: usize,
        const INFLIGHT: usize,
        const INBOUND: usize,
    >(
        storage: &'b mut Storage<RX, TX, INFLIGHT, INBOUND>,
    ) -> Self {
        Self {
            session: Session::new(storage),
            now: 1_000,
            stuck: false,
        }
    }

    pub(crate) fn at(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    pub(crate) fn pass(&mut self, millis: u32) {
        self.now = self.now.wrapping_add(millis);
    }

    /// Milliseconds to the deadline.
    pub(crate) fn sleep(&self) -> Option<u32> {
        Some(self.session.deadline()?.millis_after(self.at()))
    }

    /// Begins a connection; nothing has left yet.
    pub(crate) fn connect(&mut self, options: &Connect<'_>) {
        self.session.connect(options, self.at()).unwrap();
    }

    /// Connects, up to the event that says so; what the session sends after CONNACK is still pending.
    #[track_caller]
    pub(crate) fn open(&mut self, options: &Connect<'_>, session_present: bool) {
        self.connect(options);
        assert_eq!(self.sent(), connect(options));
        self.accept(session_present);
    }

    /// CONNACK comes, and is reported.
    #[track_caller]
    pub(crate) fn accept(&mut self, session_present: bool) {
        self.feed(&connack(session_present));
        let event = self.next().unwrap().unwrap();
        assert!(
            event.starts_with(&format!("Connected {{ session_present: {session_present},")),
            "{event}"
        );
    }

    /// The network connection breaks, and the caller has heard what there is to hear about it.
    pub(crate) fn lose(&mut self) -> Vec<String> {
        self.session.connection_lost();
        self.last_words().0
    }

    /// The server has sent this, which finds room.
    #[track_caller]
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let space = self.session.space();
        assert!(bytes.len() <= space.len(), "{} bytes of room", space.len());
        space[..bytes.len()].copy_from_slice(bytes);
        self.session.commit(bytes.len());
    }

    /// The server has sent this: fed as room allows, with all events.
    pub(crate) fn stream(&mut self, mut bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let space = self.session.space();
            let n = space.len().min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            self.session.commit(n);
            bytes = &bytes[n..];
            events.extend(self.events());
        }
        events
    }

    /// Everything that leaves now, as a transport that takes all of it would have it.
    pub(crate) fn sent(&mut self) -> Vec<u8> {
        self.stuck = false;
        let mut sent = Vec::new();
        let now = self.at();
        while self.session.has_pending() {
            let bytes = self.session.pending(now).to_vec();
            assert!(!bytes.is_empty(), "pending, and yet nothing to send");
            self.session.consume(bytes.len(), now);
            sent.extend(bytes);
        }
        sent
    }

    /// The transport takes `n` bytes at most of what is pending, and no more.
    pub(crate) fn take(&mut self, n: usize) -> Vec<u8> {
        let now = self.at();
        let pending = self.session.pending(now);
        let taken = pending[..n.min(pending.len())].to_vec();
        self.session.consume(taken.len(), now);
        self.stuck = true;
        taken
    }

    /// The transport is offered what is pending, or payload, and takes nothing.
    pub(crate) fn refuse(&mut self) {
        self.stuck = true;
        let now = self.at();
        if self.session.has_pending() {
            assert!(!self.session.pending(now).is_empty(), "nothing to send");
        } else if self.session.payload_left() > 0 {
            self.session.payload_sent(0, now);
        }
    }

    /// The next event, in words, if there is one. If not, the transport is read, and nothing has come; if it has refused
    /// bytes, it refuses them again.
    pub(crate) fn next(&mut self) -> Result<Option<String>, ProtocolError> {
        let Some(ready) = self.session.poll(self.at())? else {
            self.session.space();
            if self.stuck {
                self.refuse();
            }
            return Ok(None);
        };
        Ok(self.session.event(ready)?.map(|event| format!("{event:?}")))
    }

    /// All events that wait.
    #[track_caller]
    pub(crate) fn events(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.next().unwrap() {
            events.push(event);
        }
        events
    }

    /// These events come, and no others.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &[Event<'_>]) {
        assert_eq!(self.events(), words(expected));
    }

    /// The end of the connection: its reason, and all events before and after it.
    ///
    /// Panics if the connection goes on.
    #[track_caller]
    pub(crate) fn last_words(&mut self) -> (Vec<String>, ProtocolError) {
        let mut events = Vec::new();
        let mut ended = None;
        loop {
            match self.next() {
                Ok(Some(event)) => {
                    events.push(event);
                    ended = None;
                }
                Ok(None) => panic!("the connection goes on"),
                // The end is told once before what it leaves behind, and once after.
                Err(reason) if ended == Some(reason) => break,
                Err(reason) => ended = Some(reason),
            }
        }
        assert!(!self.session.has_pending() && self.sent().is_empty());
        assert_eq!(self.session.deadline(), None);
        (events, ended.unwrap())
    }

    /// Why the connection ends, with no other news.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ProtocolError {
        let (events, reason) = self.last_words();
        assert_eq!(events, Vec::<String>::new());
        reason
    }

    /// Publishes a message; its id, 0 at QoS 0.
    #[track_caller]
    pub(crate) fn publish(&mut self, qos: u8, payload: &[u8]) -> u16 {
        let id = self.session.publish(&message(qos, payload)).unwrap();
        id.map_or(0, PacketId::get)
    }

    /// Publishes a message that the server acknowledges: the next connection sends all kept messages at once, whatever
    /// earlier connections came to.
    #[track_caller]
    pub(crate) fn publish_acknowledged(&mut self) {
        let number = self.publish(1, b"acknowledged");
        assert_eq!(self.sent(), publish(1, number, b"acknowledged"));
        self.feed(&puback(number));
        self.expect(&[Event::Puback(id(number))]);
    }

    #[track_caller]
    pub(crate) fn subscribe(&mut self, filters: &[(&str, QoS)]) -> u16 {
        self.session.subscribe(filters).unwrap().get()
    }

    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, filters: &[&str]) -> u16 {
        self.session.unsubscribe(filters).unwrap().get()
    }
}

/// Events as [`Driven`] gives them.
pub(crate) fn words(events: &[Event<'_>]) -> Vec<String> {
    events.iter().map(|event| format!("{event:?}")).collect()
}

pub(crate) fn qos(number: u8) -> QoS {
    QoS::try_from(number).unwrap()
}

/// A message as the session takes it and gives it.
pub(crate) fn message(number: u8, payload: &[u8]) -> Message<'_> {
    Message {
        qos: qos(number),
        ..Message::new(TOPIC, payload)
    }
}

/// Packets one after the other.
pub(crate) fn wire(packets: &[&[u8]]) -> Vec<u8> {
    packets.concat()
}

/// What a stream consists of; all of it must be whole packets.
#[track_caller]
pub(crate) fn packets(stream: &[u8]) -> Vec<Vec<u8>> {
    let (packets, rest) = common::packets(stream);
    assert_eq!(rest, b"");
    packets.into_iter().map(<[u8]>::to_vec).collect()
}

pub(crate) fn encoded(packet: Packet<'_>) -> Vec<u8> {
    common::encode(&packet)
}

pub(crate) fn connect(options: &Connect<'_>) -> Vec<u8> {
    encoded(Packet::Connect(*options))
}

/// A PUBLISH in either direction; the id of one at QoS 0 does not matter.
pub(crate) fn publish(qos: u8, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    publish_on(TOPIC, qos, packet_id, payload)
}

pub(crate) fn publish_on(topic: &str, number: u8, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    common::publish(topic, payload, qos(number), packet_id)
}
