//! Shared code of the tests of the session: a session with a clock that does not advance by itself, and encoded
//! packets.
//!
//! ```text
//! let mut driven = TestSession::new(&mut storage);
//! driven.open(&KEEP, false);                     // CONNECT, CONNACK, Connected
//! driven.feed(&publish(1, 7, b"x"));             // bytes of the server
//! driven.expect(&[Event::Message(message(1, b"x"))]); // all events
//! assert_eq!(driven.sent(), puback(7));          // the bytes sent since then
//! ```

use super::common;
pub(crate) use super::common::{
    DISCONNECT, PINGREQ, PINGRESP, connack, dup, packet_id as id, puback, pubcomp, pubrec, pubrel,
    refused, suback, subscribe, unsuback, unsubscribe,
};
use umqtt::{
    Event, Instant, Message, ProtocolError, Session, Storage, StreamedPublish,
    codec::{Connect, Packet, PacketId, QoS},
};

/// The topic of messages in tests that do not depend on it.
pub(crate) const TOPIC: &str = "t";

/// A client with Clean Session 0.
pub(crate) const KEEP: Connect<'static> = Connect {
    clean_session: false,
    ..CLEAN
};

/// The same client with Clean Session 1.
pub(crate) const CLEAN: Connect<'static> = Connect {
    keep_alive: Connect::NO_KEEP_ALIVE,
    ..Connect::new("c")
};

/// Capacities that are enough for most tests.
pub(crate) type TestStorage = Storage<64, 256, 8, 4>;

/// The response timeout, unless a test sets another.
pub(crate) const TIMEOUT: u32 = umqtt::RESPONSE_TIMEOUT;

/// A storage of any capacities.
pub(crate) trait Memory {
    fn session(&mut self) -> Session<'_>;
}

impl<const RX: usize, const TX: usize, const INFLIGHT: usize, const INBOUND: usize> Memory
    for Storage<RX, TX, INFLIGHT, INBOUND>
{
    fn session(&mut self) -> Session<'_> {
        Session::new(self)
    }
}

/// A session under test, and its clock.
pub(crate) struct TestSession<'b> {
    pub(crate) session: Session<'b>,
    /// The time of the clock in ms.
    pub(crate) now: u32,
    /// The transport has refused bytes, and continues to refuse them until [`Self::sent`].
    stuck: bool,
}

impl<'b> TestSession<'b> {
    pub(crate) fn new(storage: &'b mut impl Memory) -> Self {
        Self {
            session: storage.session(),
            now: 1_000,
            stuck: false,
        }
    }

    /// Returns a session on its first connection, with the options [`KEEP`].
    #[track_caller]
    pub(crate) fn connected(storage: &'b mut impl Memory) -> Self {
        Self::connected_with(storage, &KEEP)
    }

    /// Returns a session on its first connection.
    #[track_caller]
    pub(crate) fn connected_with(storage: &'b mut impl Memory, options: &Connect<'_>) -> Self {
        let mut driven = Self::new(storage);
        driven.open(options, false);
        driven
    }

    /// As [`Self::connected_with`]. The session announces checkpoints, of which none is due.
    #[track_caller]
    pub(crate) fn with_checkpoints(storage: &'b mut impl Memory, options: &Connect<'_>) -> Self {
        let mut driven = Self::new(storage);
        driven.session.set_checkpoints(true);
        driven.open(options, false);
        driven.expect(&[Event::CheckpointDue]);
        driven
    }

    /// Returns the time of the clock.
    pub(crate) fn at(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    /// Advances the clock.
    pub(crate) fn pass(&mut self, millis: u32) {
        self.now = self.now.wrapping_add(millis);
    }

    /// Returns the time to the deadline in ms.
    pub(crate) fn time_to_deadline(&self) -> Option<u32> {
        Some(self.session.deadline()?.millis_after(self.at()))
    }

    /// Begins a connection, without sending a byte.
    pub(crate) fn connect(&mut self, options: &Connect<'_>) {
        self.session.connect(options, self.at()).unwrap();
    }

    /// Connects, up to the event `Connected`. The packets that the session sends after CONNACK are still pending.
    #[track_caller]
    pub(crate) fn open(&mut self, options: &Connect<'_>, session_present: bool) {
        self.connect(options);
        assert_eq!(self.sent(), connect(options));
        self.accept(session_present);
    }

    /// Receives CONNACK, and checks that it is reported.
    #[track_caller]
    pub(crate) fn accept(&mut self, session_present: bool) {
        self.feed(&connack(session_present));
        let event = self.next().unwrap().unwrap();
        assert!(
            event.starts_with(&format!("Connected {{ session_present: {session_present},")),
            "{event}"
        );
    }

    /// Closes the network connection, and returns all events about it.
    pub(crate) fn lose(&mut self) -> Vec<String> {
        self.session.connection_lost();
        self.events_and_reason().0
    }

    /// Receives these bytes of the server, for which there is room.
    #[track_caller]
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let space = self.session.space();
        assert!(bytes.len() <= space.len(), "{} bytes of room", space.len());
        space[..bytes.len()].copy_from_slice(bytes);
        self.session.commit(bytes.len());
    }

    /// Receives as many of these bytes as there is room for, and returns the others.
    pub(crate) fn feed_part<'r>(&mut self, bytes: &'r [u8]) -> &'r [u8] {
        let space = self.session.space();
        let (part, rest) = bytes.split_at(space.len().min(bytes.len()));
        space[..part.len()].copy_from_slice(part);
        self.session.commit(part.len());
        rest
    }

    /// Receives these bytes of the server as room allows, and returns all events.
    pub(crate) fn stream(&mut self, mut bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            bytes = self.feed_part(bytes);
            events.extend(self.events());
        }
        events
    }

    /// Returns all bytes that can be sent now, which the transport accepts.
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

    /// Returns at most `n` pending bytes, which the transport accepts. It then refuses more.
    pub(crate) fn send_up_to(&mut self, n: usize) -> Vec<u8> {
        let now = self.at();
        let pending = self.session.pending(now);
        let taken = pending[..n.min(pending.len())].to_vec();
        self.session.consume(taken.len(), now);
        self.stuck = true;
        taken
    }

    /// Offers pending bytes, or payload, to the transport, which accepts none.
    pub(crate) fn refuse(&mut self) {
        self.stuck = true;
        let now = self.at();
        if self.session.has_pending() {
            assert!(!self.session.pending(now).is_empty(), "nothing to send");
        } else if self.session.payload_left() > 0 {
            self.session.payload_sent(0, now);
        }
    }

    /// Returns the text of the next event, if there is one. If there is none, behaves like a client whose transport has
    /// no input, and still refuses the bytes that it refused before.
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

    /// Returns all pending events.
    #[track_caller]
    pub(crate) fn events(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.next().unwrap() {
            events.push(event);
        }
        events
    }

    /// Receives these bytes, and checks that exactly these events follow.
    #[track_caller]
    pub(crate) fn receive(&mut self, bytes: &[u8], expected: &[Event<'_>]) {
        self.feed(bytes);
        self.expect(expected);
    }

    /// Checks that exactly these events are pending.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &[Event<'_>]) {
        assert_eq!(self.events(), texts(expected));
    }

    /// Returns all remaining events, and the reason why the connection was closed.
    ///
    /// Panics if the connection is still open.
    #[track_caller]
    pub(crate) fn events_and_reason(&mut self) -> (Vec<String>, ProtocolError) {
        let mut events = Vec::new();
        let mut ended = None;
        loop {
            match self.next() {
                Ok(Some(event)) => {
                    events.push(event);
                    ended = None;
                }
                Ok(None) => panic!("the connection is still open"),
                // The reason is returned before the reports about the connection, and again after them.
                Err(reason) if ended == Some(reason) => break,
                Err(reason) => ended = Some(reason),
            }
        }
        assert!(!self.session.has_pending() && self.sent().is_empty());
        assert_eq!(self.session.deadline(), None);
        (events, ended.unwrap())
    }

    /// Returns the reason why the connection was closed, and checks that there is no event.
    #[track_caller]
    pub(crate) fn close_reason(&mut self) -> ProtocolError {
        let (events, reason) = self.events_and_reason();
        assert_eq!(events, Vec::<String>::new());
        reason
    }

    /// Publishes a message. Returns its id, or 0 at QoS 0.
    #[track_caller]
    pub(crate) fn publish(&mut self, qos: u8, payload: &[u8]) -> u16 {
        let id = self.session.publish(&message(qos, payload)).unwrap();
        id.map_or(0, PacketId::get)
    }

    /// Publishes a message and sends it. Returns its id, 0 at QoS 0.
    #[track_caller]
    pub(crate) fn publish_and_send(&mut self, qos: u8, payload: &[u8]) -> u16 {
        let id = self.publish(qos, payload);
        self.sent();
        id
    }

    /// Publishes a message that the server acknowledges. After connections without an acknowledgement, the next one
    /// would send the kept messages one by one.
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

/// Returns the texts of events, as [`TestSession`] returns them.
pub(crate) fn texts(events: &[Event<'_>]) -> Vec<String> {
    events.iter().map(|event| format!("{event:?}")).collect()
}

pub(crate) fn qos(number: u8) -> QoS {
    QoS::try_from(number).unwrap()
}

/// A message as it is published and received.
pub(crate) fn message(number: u8, payload: &[u8]) -> Message<'_> {
    Message {
        qos: qos(number),
        ..Message::new(TOPIC, payload)
    }
}

/// A payload in which each byte shows its position.
pub(crate) fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 % 251) as u8).collect()
}

/// A message whose payload is streamed.
pub(crate) fn streamed(number: u8) -> StreamedPublish<'static> {
    StreamedPublish::New {
        topic: TOPIC,
        qos: qos(number),
        retain: false,
    }
}

/// Joins packets.
pub(crate) fn wire(packets: &[&[u8]]) -> Vec<u8> {
    packets.concat()
}

/// Returns the packets of a stream, which must contain only whole packets.
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

/// Returns a PUBLISH for either direction. The id is not used at QoS 0.
pub(crate) fn publish(qos: u8, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    publish_on(TOPIC, qos, packet_id, payload)
}

pub(crate) fn publish_on(topic: &str, number: u8, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    common::publish(topic, payload, qos(number), packet_id)
}
