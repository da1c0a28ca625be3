//! What the tests of the clients share: a scripted network with a clock, and packets as bytes.
//!
//! ```text
//! let network = Network::new();                  // the wire, the peer behind it, and the time
//! network.feed(&connack(false));                 // bytes that the peer has sent
//! Client::connect(&mut session, network.transport(), &network, &options)
//! network.take_writes();                         // what the client wrote, call by call
//! ```
#![allow(
    dead_code,
    reason = "every test file compiles this module, and none needs all of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "the helpers of tests"
)]

mod packets;
pub(crate) mod world;

pub(crate) use packets::*;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    rc::Rc,
};

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use umqtt::{
    Clock, Event, Instant, Message, Session, blocking,
    codec::{Connect, Delivery, Packet, QoS, SubackReturnCode},
};

/// The client under test.
pub(crate) type Client<'s, 'b, 'n> = blocking::Client<'s, 'b, Transport, &'n Network>;

/// What a call of a client under test returns.
pub(crate) type Result<T> = core::result::Result<T, Error>;

/// Why a call of a client under test failed.
pub(crate) type Error = umqtt::client::Error<Fault>;

/// A network that does what it is told, the peer at its other end, and the only clock there is.
///
/// Time passes when the client waits: one step (1 ms at first) for each call of [`Clock::idle`].
pub(crate) struct Network {
    wire: Rc<RefCell<Wire>>,
    step: Cell<u32>,
    waits: Cell<u32>,
}

/// What one call of a transport does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Moves that many bytes at most, and at least one.
    Bytes(usize),
    /// `read_ready` or `write_ready` says no.
    NotReady,
    /// `read_ready` or `write_ready` fails.
    ReadinessFails,
    /// The call fails and is none the worse for it: `Interrupted`.
    Interrupted,
    /// The transport's own time-out.
    TimedOut,
    /// `Ok(0)`.
    Zero,
    /// The call fails for good.
    Broken,
}

/// The client's end of a [`Network`].
///
/// It panics when it is read or written without having been asked whether it is ready, or with an empty slice.
pub(crate) struct Transport {
    wire: Rc<RefCell<Wire>>,
}

/// The error of a [`Transport`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault(pub(crate) ErrorKind);

type Peer = Box<dyn FnMut(&Packet<'_>) -> Vec<u8>>;

struct Wire {
    arrived: VecDeque<u8>,
    /// What arrives later, and when.
    on_its_way: VecDeque<(u32, Vec<u8>)>,
    ended: bool,
    /// The peer has closed the connection, after a DISCONNECT or as it liked.
    disconnected: bool,
    reads: Script,
    writes: Script,
    flushes: VecDeque<Step>,
    flushed: u32,
    /// What the clock shows, in milliseconds.
    now: u32,
    written: Vec<(u32, Vec<u8>)>,
    peer: Option<Peer>,
    closing: Rc<Cell<bool>>,
    /// Written, and not yet seen by the peer for lack of a whole packet.
    unseen: Vec<u8>,
    dropped: bool,
    /// A call has failed for good.
    broken: bool,
}

/// The steps of one direction: first those of the list, then always the last.
struct Script {
    steps: VecDeque<Step>,
    then: Step,
    asked: bool,
    closed: bool,
}

impl Network {
    /// A network that takes and brings everything at once; the peer says only what [`Self::feed`] makes it say.
    pub(crate) fn new() -> Self {
        let wire = Wire {
            arrived: VecDeque::new(),
            on_its_way: VecDeque::new(),
            ended: false,
            disconnected: false,
            reads: Script::new(),
            writes: Script::new(),
            flushes: VecDeque::new(),
            flushed: 0,
            now: 0,
            written: Vec::new(),
            peer: None,
            closing: Rc::default(),
            unseen: Vec::new(),
            dropped: false,
            broken: false,
        };
        Self {
            wire: Rc::new(RefCell::new(wire)),
            step: Cell::new(1),
            waits: Cell::new(0),
        }
    }

    /// A network with a [`server`] at its other end.
    pub(crate) fn with_server() -> Self {
        let network = Self::new();
        network.answer(server);
        network
    }

    /// The client's end.
    pub(crate) fn transport(&self) -> Transport {
        let wire = &mut *self.wire.borrow_mut();
        if core::mem::take(&mut wire.disconnected) {
            wire.ended = false;
        }
        Transport {
            wire: Rc::clone(&self.wire),
        }
    }

    /// The peer answers each whole packet with these bytes.
    pub(crate) fn answer(&self, peer: impl FnMut(&Packet<'_>) -> Vec<u8> + 'static) {
        self.wire.borrow_mut().peer = Some(Box::new(peer));
    }

    /// A peer that sets it closes the connection after its answer.
    pub(crate) fn closing(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.wire.borrow().closing)
    }

    /// The peer has sent these bytes.
    pub(crate) fn feed(&self, bytes: &[u8]) {
        self.wire.borrow_mut().arrived.extend(bytes);
    }

    /// The peer's bytes arrive when the clock shows `at`; to be called in the order of arrival.
    pub(crate) fn feed_at(&self, at: u32, bytes: &[u8]) {
        self.wire
            .borrow_mut()
            .on_its_way
            .push_back((at, bytes.to_vec()));
    }

    /// Bytes that have arrived and that the client has not read.
    pub(crate) fn unread(&self) -> usize {
        self.wire.borrow().arrived.len()
    }

    /// The stream ends behind what has been fed.
    pub(crate) fn end(&self) {
        self.wire.borrow_mut().ended = true;
    }

    /// What the next reads do; the others do `then`.
    pub(crate) fn reads(&self, steps: &[Step], then: Step) {
        self.wire.borrow_mut().reads.set(steps, then);
    }

    /// What the next writes do; the others do `then`.
    pub(crate) fn writes(&self, steps: &[Step], then: Step) {
        self.wire.borrow_mut().writes.set(steps, then);
    }

    /// What the next flushes do: fail in one of three ways, or succeed, as the others do.
    pub(crate) fn flushes(&self, steps: &[Step]) {
        self.wire.borrow_mut().flushes = steps.iter().copied().collect();
    }

    /// How many flushes succeeded.
    pub(crate) fn flushed(&self) -> u32 {
        self.wire.borrow().flushed
    }

    /// What each write took since the last call of this.
    pub(crate) fn take_writes(&self) -> Vec<Vec<u8>> {
        let writes = self.take_timed_writes().into_iter();
        writes.map(|(_, bytes)| bytes).collect()
    }

    /// The same, each with the time.
    pub(crate) fn take_timed_writes(&self) -> Vec<(u32, Vec<u8>)> {
        core::mem::take(&mut self.wire.borrow_mut().written)
    }

    /// All bytes written since the last call of this or of [`Self::take_writes`].
    pub(crate) fn take_sent(&self) -> Vec<u8> {
        self.take_writes().concat()
    }

    /// Whether the client's end has been dropped.
    pub(crate) fn is_dropped(&self) -> bool {
        self.wire.borrow().dropped
    }

    /// Whether a call has failed for good, or returned `Ok(0)`.
    pub(crate) fn is_broken(&self) -> bool {
        let wire = self.wire.borrow();
        wire.broken || wire.reads.closed || wire.writes.closed
    }

    /// What the clock shows, in milliseconds.
    pub(crate) fn millis(&self) -> u32 {
        self.wire.borrow().now
    }

    /// Time passes outside the client.
    pub(crate) fn pass(&self, millis: u32) {
        let wire = &mut *self.wire.borrow_mut();
        wire.now = wire.now.wrapping_add(millis);
        while wire.on_its_way.front().is_some_and(|(at, _)| {
            Instant::from_millis(*at).has_passed(Instant::from_millis(wire.now))
        }) {
            let (_, bytes) = wire.on_its_way.pop_front().unwrap();
            wire.arrived.extend(bytes);
        }
    }

    /// How much time one wait takes, in milliseconds.
    pub(crate) fn set_step(&self, millis: u32) {
        self.step.set(millis);
    }

    /// How often the client has waited.
    pub(crate) fn waits(&self) -> u32 {
        self.waits.get()
    }
}

impl Clock for Network {
    fn now(&self) -> Instant {
        Instant::from_millis(self.millis())
    }

    fn idle(&self) {
        self.waits.set(self.waits.get() + 1);
        assert!(self.waits.get() < 1_000_000, "the call does not end");
        self.pass(self.step.get());
    }
}

impl Script {
    fn new() -> Self {
        Self {
            steps: VecDeque::new(),
            then: Step::Bytes(usize::MAX),
            asked: false,
            closed: false,
        }
    }

    fn set(&mut self, steps: &[Step], then: Step) {
        self.steps = steps.iter().copied().collect();
        self.then = then;
    }

    fn is_ready(&mut self) -> core::result::Result<bool, Fault> {
        let step = self.steps.front().copied().unwrap_or(self.then);
        self.asked = !matches!(step, Step::NotReady | Step::ReadinessFails);
        if !self.asked {
            self.steps.pop_front();
        }
        match step {
            Step::NotReady => Ok(false),
            Step::ReadinessFails => Err(Fault(ErrorKind::Other)),
            _ => Ok(true),
        }
    }

    /// How many of `len` bytes are moved; `Ok(0)` for the end of the stream.
    fn step(&mut self, len: usize) -> core::result::Result<usize, Fault> {
        assert!(
            core::mem::take(&mut self.asked),
            "the transport was not asked whether it is ready"
        );
        assert!(len > 0, "an empty slice looks like the end of the stream");
        match self.steps.pop_front().unwrap_or(self.then) {
            Step::Bytes(most) => Ok(len.min(most.max(1))),
            Step::Zero => {
                self.closed = true;
                Ok(0)
            }
            other => Err(other.fault()),
        }
    }
}

impl Step {
    fn fault(self) -> Fault {
        Fault(match self {
            Self::Interrupted => ErrorKind::Interrupted,
            Self::TimedOut => ErrorKind::TimedOut,
            _ => ErrorKind::ConnectionReset,
        })
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.wire.borrow_mut().dropped = true;
    }
}

impl ErrorType for Transport {
    type Error = Fault;
}

impl Read for Transport {
    fn read(&mut self, buf: &mut [u8]) -> core::result::Result<usize, Fault> {
        let wire = &mut *self.wire.borrow_mut();
        let step = wire.reads.step(buf.len());
        let n = wire.note(step)?.min(wire.arrived.len());
        for (to, byte) in buf.iter_mut().zip(wire.arrived.drain(..n)) {
            *to = byte;
        }
        Ok(n)
    }
}

impl ReadReady for Transport {
    fn read_ready(&mut self) -> core::result::Result<bool, Fault> {
        let wire = &mut *self.wire.borrow_mut();
        let something = !wire.arrived.is_empty() || wire.ended;
        // A step that moves bytes waits for them; all others happen now.
        if !something
            && matches!(
                wire.reads.steps.front().unwrap_or(&wire.reads.then),
                Step::Bytes(_)
            )
        {
            return Ok(false);
        }
        let ready = wire.reads.is_ready();
        wire.note(ready)
    }
}

impl Write for Transport {
    fn write(&mut self, buf: &[u8]) -> core::result::Result<usize, Fault> {
        let wire = &mut *self.wire.borrow_mut();
        let step = wire.writes.step(buf.len());
        let n = wire.note(step)?;
        if n > 0 {
            wire.written.push((wire.now, buf[..n].to_vec()));
            wire.show_to_peer(&buf[..n]);
        }
        Ok(n)
    }

    fn flush(&mut self) -> core::result::Result<(), Fault> {
        let wire = &mut *self.wire.borrow_mut();
        match wire.flushes.pop_front() {
            Some(step @ (Step::Interrupted | Step::TimedOut | Step::Broken)) => {
                wire.note(Err(step.fault()))
            }
            _ => {
                wire.flushed += 1;
                Ok(())
            }
        }
    }
}

impl WriteReady for Transport {
    fn write_ready(&mut self) -> core::result::Result<bool, Fault> {
        let wire = &mut *self.wire.borrow_mut();
        let ready = wire.writes.is_ready();
        wire.note(ready)
    }
}

impl Wire {
    /// Remembers whether the transport has failed for good.
    fn note<T>(
        &mut self,
        result: core::result::Result<T, Fault>,
    ) -> core::result::Result<T, Fault> {
        self.broken |= matches!(
            result,
            Err(Fault(ErrorKind::Other | ErrorKind::ConnectionReset))
        );
        result
    }

    fn show_to_peer(&mut self, bytes: &[u8]) {
        let Some(peer) = &mut self.peer else { return };
        if self.disconnected {
            return;
        }
        self.unseen.extend_from_slice(bytes);
        let mut seen = 0;
        while let Some((packet, used)) = Packet::decode(&self.unseen[seen..]).unwrap() {
            self.arrived.extend(peer(&packet));
            // As a server must (section 3.14.4).
            self.disconnected |= matches!(packet, Packet::Disconnect) || self.closing.take();
            self.ended |= self.disconnected;
            seen += used;
            if self.disconnected {
                seen = self.unseen.len();
            }
        }
        self.unseen.drain(..seen);
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl core::error::Error for Fault {}

impl embedded_io::Error for Fault {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

/// The least that a server may do: accepts, grants and acknowledges everything, and forwards nothing.
pub(crate) fn server(packet: &Packet<'_>) -> Vec<u8> {
    match packet {
        Packet::Connect(_) => connack(false),
        Packet::Publish(publish) => match publish.delivery {
            Delivery::AtMostOnce => Vec::new(),
            Delivery::AtLeastOnce { packet_id, .. } => puback(packet_id.get()),
            Delivery::ExactlyOnce { packet_id, .. } => pubrec(packet_id.get()),
        },
        Packet::Pubrec(ack) => pubrel(ack.packet_id.get()),
        Packet::Pubrel(ack) => pubcomp(ack.packet_id.get()),
        Packet::Subscribe(subscribe) => {
            let codes: Vec<_> = subscribe
                .filters()
                .map(|(_, qos)| SubackReturnCode::Granted(qos))
                .collect();
            suback(subscribe.packet_id().get(), &codes)
        }
        Packet::Unsubscribe(unsubscribe) => unsuback(unsubscribe.packet_id().get()),
        Packet::Pingreq => PINGRESP.to_vec(),
        _ => Vec::new(),
    }
}

/// A client whose CONNECT was accepted, and of which the network has forgotten the CONNECT.
pub(crate) fn connected<'s, 'b, 'n>(
    session: &'s mut Session<'b>,
    network: &'n Network,
    options: &Connect<'_>,
) -> Client<'s, 'b, 'n> {
    let answers = network.wire.borrow().peer.is_some();
    if !answers {
        network.feed(&connack(false));
    }
    let client = Client::connect(session, network.transport(), network, options).unwrap();
    network.take_writes();
    client
}

/// A message at this QoS.
pub(crate) fn message<'a>(topic: &'a str, payload: &'a [u8], qos: QoS) -> Message<'a> {
    Message {
        qos,
        ..Message::new(topic, payload)
    }
}

/// An event that outlives its borrow. A message that came in chunks is one message again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// A message, whole.
    Message {
        topic: String,
        payload: Vec<u8>,
        qos: QoS,
        retain: bool,
        dup: bool,
    },
    /// Chunks of a message, the last of which has not come.
    Part { topic: String, payload: Vec<u8> },
    /// Anything else, as `Debug` shows it.
    Other(String),
}

impl Seen {
    /// A message at QoS 0 as it should be seen.
    pub(crate) fn message(topic: &str, payload: &[u8]) -> Self {
        Self::Message {
            topic: topic.to_owned(),
            payload: payload.to_vec(),
            qos: QoS::AtMostOnce,
            retain: false,
            dup: false,
        }
    }

    /// An event without borrowed text as it should be seen.
    pub(crate) fn other(event: Event<'_>) -> Self {
        Self::Other(format!("{event:?}"))
    }
}

/// Adds an event to those seen before.
pub(crate) fn record(seen: &mut Vec<Seen>, event: Event<'_>) {
    match event {
        Event::Message(message) => seen.push(Seen::Message {
            topic: message.topic.to_owned(),
            payload: message.payload.to_vec(),
            qos: message.qos,
            retain: message.retain,
            dup: message.dup,
        }),
        Event::Chunk(chunk) => {
            let mut payload = match seen.pop() {
                Some(Seen::Part { payload, .. }) => payload,
                last => {
                    seen.extend(last);
                    Vec::new()
                }
            };
            assert_eq!(chunk.offset, payload.len(), "the chunks leave a gap");
            assert!(!chunk.bytes.is_empty());
            payload.extend_from_slice(chunk.bytes);
            let topic = chunk.topic.to_owned();
            seen.push(if chunk.is_last() {
                assert_eq!(payload.len(), chunk.total);
                Seen::Message {
                    topic,
                    payload,
                    qos: chunk.delivery.qos(),
                    retain: chunk.retain,
                    dup: chunk.delivery.dup(),
                }
            } else {
                Seen::Part { topic, payload }
            });
        }
        other => seen.push(Seen::other(other)),
    }
}
