//! A scripted network for the blocking client: each call of the transport does the step that a test has set.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    rc::Rc,
};

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use umqtt::{
    Clock, Instant, Session,
    codec::{Connect, Packet},
};

use super::{Client, connack, server};

/// A scripted network with its peer, and the only clock.
///
/// Time passes when the client waits: one step (1 ms at first) for each call of [`Clock::idle`].
pub(crate) struct Network {
    wire: Rc<RefCell<Wire>>,
    step: Cell<u32>,
    waits: Cell<u32>,
}

/// The behaviour of one call of the transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Moves at most that many bytes, and at least one.
    Bytes(usize),
    /// `read_ready` or `write_ready` returns `false`.
    NotReady,
    /// `read_ready` or `write_ready` fails.
    ReadinessFails,
    /// The call fails temporarily: `Interrupted`.
    Interrupted,
    /// The call fails with the timeout of the transport.
    TimedOut,
    /// `Ok(0)`.
    Zero,
    /// The call fails permanently.
    Broken,
}

/// The client side of a [`Network`].
///
/// It panics if it is read or written without a check of its readiness, or with an empty slice.
pub(crate) struct Transport {
    wire: Rc<RefCell<Wire>>,
}

/// The error of a [`Transport`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault(pub(crate) ErrorKind);

pub(super) type Peer = Box<dyn FnMut(&Packet<'_>) -> Vec<u8>>;

struct Wire {
    arrived: VecDeque<u8>,
    /// Bytes that arrive later, with their times.
    on_its_way: VecDeque<(u32, Vec<u8>)>,
    ended: bool,
    /// The peer has closed the connection, after a DISCONNECT or by itself.
    disconnected: bool,
    reads: Script,
    writes: Script,
    flushes: VecDeque<Step>,
    flushed: u32,
    /// Bytes were written after the last successful flush.
    unflushed: bool,
    /// The time of the clock in ms.
    now: u32,
    written: Vec<(u32, Vec<u8>)>,
    peer: Option<Peer>,
    closing: Rc<Cell<bool>>,
    /// Written bytes of an incomplete packet, which the peer has not handled.
    unseen: Vec<u8>,
    dropped: bool,
    /// A call has failed permanently.
    broken: bool,
}

/// The steps of one direction: first those of the list, then always `then`.
struct Script {
    steps: VecDeque<Step>,
    then: Step,
    /// The client has asked whether the transport is ready, and has been told that it is.
    asked: bool,
    /// A call has returned `Ok(0)`.
    closed: bool,
}

impl Network {
    /// Creates a network that moves all bytes at once. The peer sends only the bytes of [`Self::feed`].
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
            unflushed: false,
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

    /// Creates a network with a [`server`] as peer.
    pub(crate) fn with_server() -> Self {
        let network = Self::new();
        network.answer(server);
        network
    }

    /// Returns the client side.
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

    /// Returns a flag. If the peer sets it, the connection is closed after the answer of the peer.
    pub(crate) fn closing(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.wire.borrow().closing)
    }

    /// Sends these bytes of the peer.
    pub(crate) fn feed(&self, bytes: &[u8]) {
        self.wire.borrow_mut().arrived.extend(bytes);
    }

    /// Sends these bytes of the peer at the time `at`. Call it in the order of the times.
    pub(crate) fn feed_at(&self, at: u32, bytes: &[u8]) {
        self.wire
            .borrow_mut()
            .on_its_way
            .push_back((at, bytes.to_vec()));
    }

    /// Returns the number of received bytes that the client has not read.
    pub(crate) fn unread(&self) -> usize {
        self.wire.borrow().arrived.len()
    }

    /// Ends the stream after the bytes that were fed.
    pub(crate) fn end(&self) {
        self.wire.borrow_mut().ended = true;
    }

    /// Sets the behaviour of the next reads. Later ones do `then`.
    pub(crate) fn reads(&self, steps: &[Step], then: Step) {
        self.wire.borrow_mut().reads.set(steps, then);
    }

    /// Sets the behaviour of the next writes. Later ones do `then`.
    pub(crate) fn writes(&self, steps: &[Step], then: Step) {
        self.wire.borrow_mut().writes.set(steps, then);
    }

    /// Sets the behaviour of the next flushes. `Interrupted`, `TimedOut` and `Broken` are failures; any other step, and
    /// each later flush, succeeds.
    pub(crate) fn flushes(&self, steps: &[Step]) {
        self.wire.borrow_mut().flushes = steps.iter().copied().collect();
    }

    /// Returns the number of successful flushes.
    pub(crate) fn flushed(&self) -> u32 {
        self.wire.borrow().flushed
    }

    /// Returns `true` if all written bytes were flushed.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.wire.borrow().unflushed
    }

    /// Returns the accepted bytes of each write since the last call of this.
    pub(crate) fn take_writes(&self) -> Vec<Vec<u8>> {
        let writes = self.take_timed_writes().into_iter();
        writes.map(|(_, bytes)| bytes).collect()
    }

    /// Returns the time and the accepted bytes of each write since the last call of this or of [`Self::take_writes`].
    pub(crate) fn take_timed_writes(&self) -> Vec<(u32, Vec<u8>)> {
        core::mem::take(&mut self.wire.borrow_mut().written)
    }

    /// Returns all bytes written since the last call of this or of [`Self::take_writes`].
    pub(crate) fn take_sent(&self) -> Vec<u8> {
        self.take_writes().concat()
    }

    /// Returns `true` if the client side was dropped.
    pub(crate) fn is_dropped(&self) -> bool {
        self.wire.borrow().dropped
    }

    /// Returns `true` if a call has failed permanently, or returned `Ok(0)`.
    pub(crate) fn is_broken(&self) -> bool {
        let wire = self.wire.borrow();
        wire.broken || wire.reads.closed || wire.writes.closed
    }

    /// Returns the time of the clock in ms.
    pub(crate) fn millis(&self) -> u32 {
        self.wire.borrow().now
    }

    /// Lets time pass outside of the client.
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

    /// Sets the time of one wait in ms.
    pub(crate) fn set_step(&self, millis: u32) {
        self.step.set(millis);
    }

    /// Returns the number of waits of the client.
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

    /// Returns how many of `len` bytes are moved; `Ok(0)` at the end of the stream.
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
        let n = wire.record_failure(step)?.min(wire.arrived.len());
        for (to, byte) in buf.iter_mut().zip(wire.arrived.drain(..n)) {
            *to = byte;
        }
        Ok(n)
    }
}

impl ReadReady for Transport {
    fn read_ready(&mut self) -> core::result::Result<bool, Fault> {
        let wire = &mut *self.wire.borrow_mut();
        let has_input = !wire.arrived.is_empty() || wire.ended;
        // A step that moves bytes waits for them. All others happen at once.
        if !has_input
            && matches!(
                wire.reads.steps.front().unwrap_or(&wire.reads.then),
                Step::Bytes(_)
            )
        {
            return Ok(false);
        }
        let ready = wire.reads.is_ready();
        wire.record_failure(ready)
    }
}

impl Write for Transport {
    fn write(&mut self, buf: &[u8]) -> core::result::Result<usize, Fault> {
        let wire = &mut *self.wire.borrow_mut();
        let step = wire.writes.step(buf.len());
        let n = wire.record_failure(step)?;
        if n > 0 {
            wire.unflushed = true;
            wire.written.push((wire.now, buf[..n].to_vec()));
            wire.show_to_peer(&buf[..n]);
        }
        Ok(n)
    }

    fn flush(&mut self) -> core::result::Result<(), Fault> {
        let wire = &mut *self.wire.borrow_mut();
        match wire.flushes.pop_front() {
            Some(step @ (Step::Interrupted | Step::TimedOut | Step::Broken)) => {
                wire.record_failure(Err(step.fault()))
            }
            _ => {
                wire.flushed += 1;
                wire.unflushed = false;
                Ok(())
            }
        }
    }
}

impl WriteReady for Transport {
    fn write_ready(&mut self) -> core::result::Result<bool, Fault> {
        let wire = &mut *self.wire.borrow_mut();
        let ready = wire.writes.is_ready();
        wire.record_failure(ready)
    }
}

impl Wire {
    /// Records that the transport has failed permanently.
    fn record_failure<T>(
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
            // A server closes the connection after a DISCONNECT (section 3.14.4).
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

/// Connects a client, and removes its CONNECT from the recorded writes.
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
