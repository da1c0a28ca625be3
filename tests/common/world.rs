//! An async network under a virtual clock, and an executor that polls a call only when it was woken.
//!
//! The sockets are as strict as those of embassy-net: each direction stores only the last waker, and a future that is
//! dropped while it waits has moved no byte.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use embedded_io::{ErrorKind, ErrorType};
use embedded_io_async::{Read, Write};
use fastrand::Rng;
use umqtt::{
    Clock, Instant, Session, asynch,
    codec::{Connect, Packet},
};

use super::{Fault, Peer, connack};

/// The client under test.
pub(crate) type AsyncClient<'s, 'b, 'w> = asynch::Client<'s, 'b, Socket, &'w World>;

/// Maximum number of polls of a call.
const BUSY: u32 = 100_000;

/// The network, the peer, and the only clock.
///
/// Something happens only if an executor has nothing to poll. Then a pause ends, or some bytes are received. If nothing
/// else can happen, time passes up to the next timer.
pub(crate) struct World {
    wire: Rc<RefCell<Wire>>,
    now: Cell<u32>,
    timers: RefCell<Vec<(u64, u32, Waker)>>,
    next_timer: Cell<u64>,
    polls: Cell<u32>,
}

/// The client side of a connection.
pub(crate) struct Socket {
    wire: Rc<RefCell<Wire>>,
}

/// The faults of a network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkFaults {
    /// Percentage of calls that find the socket not ready.
    pub(crate) pauses: u8,
    /// Maximum number of bytes of one read, write or delivery.
    pub(crate) most: usize,
}

impl NetworkFaults {
    /// Everything at once.
    pub(crate) const NONE: Self = Self {
        pauses: 0,
        most: usize::MAX,
    };
}

struct Wire {
    rng: Rng,
    network_faults: NetworkFaults,
    arrived: VecDeque<u8>,
    on_its_way: VecDeque<u8>,
    ended: bool,
    read: Side,
    write: Side,
    flush: Flush,
    broken: bool,
    /// As `broken`, after all sent bytes were read.
    reset: bool,
    /// Number of bytes that the peer accepts before it is full.
    room: usize,
    /// The peer accepts bytes again when its own bytes were read.
    reads_after_write: bool,
    written: Vec<Vec<u8>>,
    peer: Option<Peer>,
    closing: Rc<Cell<bool>>,
    /// The peer has closed the connection.
    closed: bool,
    unseen: Vec<u8>,
    dropped: bool,
}

/// One direction of a socket.
#[derive(Default)]
struct Side {
    paused: bool,
    waker: Option<Waker>,
}

/// How `flush` behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    /// It is ready at once.
    Done,
    /// It is ready at the second call, like that of a TCP socket that waits for an acknowledgement.
    Slow,
    /// The next call is the second.
    Begun,
    /// It is never ready.
    Never,
}

/// The result of a call in [`World::drive`].
pub(crate) enum Outcome<T> {
    /// It returned.
    Done(T),
    /// It was dropped before its first poll.
    Unpolled,
    /// It was dropped while it waited.
    Dropped,
    /// It waits for time to pass.
    Idle,
}

impl World {
    /// Creates a network that moves all bytes at once. The peer sends only the bytes of [`Self::feed`].
    pub(crate) fn new() -> Self {
        Self::with(0, NetworkFaults::NONE)
    }

    /// Creates a network with these faults, which are random by the seed.
    pub(crate) fn with(seed: u64, network_faults: NetworkFaults) -> Self {
        let wire = Wire {
            rng: Rng::with_seed(seed),
            network_faults,
            arrived: VecDeque::new(),
            on_its_way: VecDeque::new(),
            ended: false,
            read: Side::default(),
            write: Side::default(),
            flush: Flush::Done,
            broken: false,
            reset: false,
            room: usize::MAX,
            reads_after_write: false,
            written: Vec::new(),
            peer: None,
            closing: Rc::default(),
            closed: false,
            unseen: Vec::new(),
            dropped: false,
        };
        Self {
            wire: Rc::new(RefCell::new(wire)),
            now: Cell::new(0),
            timers: RefCell::default(),
            next_timer: Cell::new(0),
            polls: Cell::new(0),
        }
    }

    /// Returns the client side of a new connection. Bytes that an older one had not delivered are lost.
    pub(crate) fn dial(&self) -> Socket {
        let wire = &mut *self.wire.borrow_mut();
        wire.arrived.clear();
        wire.on_its_way.clear();
        wire.unseen.clear();
        wire.written.clear();
        wire.read = Side::default();
        wire.write = Side::default();
        wire.ended = false;
        wire.closed = false;
        wire.broken = false;
        wire.reset = false;
        wire.dropped = false;
        Socket {
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

    /// The peer sends these bytes.
    pub(crate) fn feed(&self, bytes: &[u8]) {
        self.wire.borrow_mut().send(bytes);
    }

    /// The peer closes the connection.
    pub(crate) fn end(&self) {
        let wire = &mut *self.wire.borrow_mut();
        wire.ended = true;
        wire.read.wake();
    }

    /// The network fails in both directions.
    pub(crate) fn cut(&self) {
        let wire = &mut *self.wire.borrow_mut();
        wire.broken = true;
        wire.read.wake();
        wire.write.wake();
    }

    /// The network fails after the bytes that the peer has sent. These can be read, but nothing can be written.
    pub(crate) fn reset(&self) {
        let wire = &mut *self.wire.borrow_mut();
        wire.reset = true;
        wire.read.wake();
        wire.write.wake();
    }

    /// The peer accepts this number of further bytes, until the next call of this.
    pub(crate) fn set_room(&self, bytes: usize) {
        let wire = &mut *self.wire.borrow_mut();
        wire.room = bytes;
        wire.write.wake();
    }

    /// Returns `true` if the peer accepts no byte now.
    pub(crate) fn is_full(&self) -> bool {
        self.wire.borrow().room == 0
    }

    /// The peer accepts no byte until all its bytes were read.
    pub(crate) fn take_nothing_until_read(&self) {
        self.set_room(0);
        self.wire.borrow_mut().reads_after_write = true;
    }

    /// Sets the behaviour of `flush`.
    pub(crate) fn set_flush(&self, flush: Flush) {
        let wire = &mut *self.wire.borrow_mut();
        wire.flush = flush;
        wire.write.wake();
    }

    /// Returns the accepted bytes of each write since the last call of this.
    pub(crate) fn take_writes(&self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.wire.borrow_mut().written)
    }

    /// Returns all bytes written since the last call of this or of [`Self::take_writes`].
    pub(crate) fn take_sent(&self) -> Vec<u8> {
        self.take_writes().concat()
    }

    /// Returns the number of bytes that the peer has sent and the client has not read.
    pub(crate) fn unread(&self) -> usize {
        let wire = self.wire.borrow();
        wire.arrived.len() + wire.on_its_way.len()
    }

    /// Returns `true` if the client side was dropped.
    pub(crate) fn is_dropped(&self) -> bool {
        self.wire.borrow().dropped
    }

    /// The time of the clock in ms.
    pub(crate) fn millis(&self) -> u32 {
        self.now.get()
    }

    /// Returns the number of polls by executors.
    pub(crate) fn polls(&self) -> u32 {
        self.polls.get()
    }

    /// Runs a call to its end. Time passes as needed.
    pub(crate) fn run<T>(&self, call: impl Future<Output = T>) -> T {
        match self.execute(call, None, true) {
            Some(output) => output,
            None => panic!("no event can wake this call"),
        }
    }

    /// Runs a call for at most this time in ms. Returns `None` if it still waits then.
    pub(crate) fn run_for<T>(&self, millis: u32, call: impl Future<Output = T>) -> Option<T> {
        let until = self.now.get().wrapping_add(millis);
        let output = self.execute(call, Some(until), true);
        if output.is_none() {
            self.now.set(until);
        }
        output
    }

    /// Runs a call without letting time pass, until it returns, or until nothing more can happen.
    ///
    /// `drop_after` is called before each poll, and after each poll after which the call waits, with the number of
    /// polls. If it returns `true`, the call is dropped.
    pub(crate) fn drive<T>(
        &self,
        call: impl Future<Output = T>,
        mut drop_after: impl FnMut(u32) -> bool,
    ) -> Outcome<T> {
        if drop_after(0) {
            return Outcome::Unpolled;
        }
        let mut polled = 0;
        let mut dropped = false;
        let mut call = pin!(call);
        let output = self.execute(
            core::future::poll_fn(|cx| match call.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending => {
                    polled += 1;
                    dropped = drop_after(polled);
                    if dropped {
                        Poll::Ready(None)
                    } else {
                        Poll::Pending
                    }
                }
            }),
            None,
            false,
        );
        match output {
            Some(Some(output)) => Outcome::Done(output),
            Some(None) => Outcome::Dropped,
            None => Outcome::Idle,
        }
    }

    /// Makes one of the possible events happen that need no time. Returns `false` if there is none.
    pub(crate) fn happen(&self) -> bool {
        self.wire.borrow_mut().happen()
    }

    /// Polls a call whenever it was woken, and otherwise makes something happen. Returns `None` if nothing can wake it.
    /// If time passes, it passes at most to `until`.
    fn execute<T>(
        &self,
        call: impl Future<Output = T>,
        until: Option<u32>,
        time_passes: bool,
    ) -> Option<T> {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&flag));
        let mut call = pin!(call);
        for _ in 0..BUSY {
            if flag.0.swap(false, Ordering::Relaxed) {
                self.polls.set(self.polls.get() + 1);
                if let Poll::Ready(output) = call.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Some(output);
                }
            } else if !(self.happen() || time_passes && self.pass(until)) {
                return None;
            }
        }
        panic!("the call is polled repeatedly without an effect");
    }

    /// Lets time pass to the next timer. Returns `false` if there is none until the limit.
    fn pass(&self, until: Option<u32>) -> bool {
        let now = self.now.get();
        let mut timers = self.timers.borrow_mut();
        let next = timers
            .iter()
            .map(|(_, at, _)| Instant::from_millis(*at).millis_after(Instant::from_millis(now)))
            .min();
        let Some(wait) = next else { return false };
        if until.is_some_and(|until| wait > until.wrapping_sub(now)) {
            return false;
        }
        let now = now.wrapping_add(wait);
        self.now.set(now);
        timers.retain(|(_, at, waker)| {
            let due = Instant::from_millis(*at).has_passed(Instant::from_millis(now));
            if due {
                waker.wake_by_ref();
            }
            !due
        });
        true
    }
}

impl Wire {
    /// Makes one of the possible events happen that need no time. Returns `false` if there is none.
    fn happen(&mut self) -> bool {
        let possible = [
            self.read.paused,
            self.write.paused,
            !self.on_its_way.is_empty(),
        ];
        let count = possible.iter().filter(|possible| **possible).count();
        if count == 0 {
            return false;
        }
        let chosen = self.rng.usize(..count);
        let event = (0..possible.len())
            .filter(|event| possible[*event])
            .nth(chosen);
        match event {
            Some(0) => self.read.wake(),
            Some(1) => self.write.wake(),
            _ => {
                let n = self.some_of(self.on_its_way.len());
                self.arrived.extend(self.on_its_way.drain(..n));
                if let Some(waker) = self.read.waker.take_if(|_| !self.read.paused) {
                    waker.wake();
                }
            }
        }
        true
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.network_faults.pauses == 0 {
            self.arrived.extend(bytes);
            self.read.wake();
        } else {
            self.on_its_way.extend(bytes);
        }
    }

    /// Returns how many of `len` bytes are moved at once.
    fn some_of(&mut self, len: usize) -> usize {
        let most = len.min(self.network_faults.most);
        if self.network_faults.pauses == 0 || most < 2 {
            most
        } else {
            self.rng.usize(1..=most)
        }
    }

    /// Returns `true` if the direction of a call is paused, or becomes paused now.
    fn pauses(&mut self, side: fn(&mut Self) -> &mut Side) -> bool {
        let begins = self.rng.u8(..100) < self.network_faults.pauses;
        let side = side(self);
        // A call that waits for bytes does not also wait for the end of a pause.
        side.paused |= begins && side.waker.is_none();
        side.paused
    }

    /// Passes written bytes to the peer, and sends its answers.
    fn show_to_peer(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        let Some(mut peer) = self.peer.take() else {
            return;
        };
        self.unseen.extend_from_slice(bytes);
        let mut answers = Vec::new();
        let mut seen = 0;
        while let Some((packet, used)) = Packet::decode(&self.unseen[seen..]).unwrap() {
            answers.extend(peer(&packet));
            // After DISCONNECT, a server must close the connection (section 3.14.4).
            self.closed = self.closing.take();
            self.ended |= self.closed || matches!(packet, Packet::Disconnect);
            seen += used;
            if self.closed {
                seen = self.unseen.len();
            }
        }
        self.unseen.drain(..seen);
        self.send(&answers);
        if self.ended {
            self.read.wake();
        }
        self.peer = Some(peer);
    }
}

impl Side {
    fn wake(&mut self) {
        self.paused = false;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.wire.borrow_mut().dropped = true;
    }
}

impl ErrorType for Socket {
    type Error = Fault;
}

impl Read for Socket {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        assert!(
            !buf.is_empty(),
            "an empty slice looks like the end of the stream"
        );
        core::future::poll_fn(|cx| {
            let wire = &mut *self.wire.borrow_mut();
            if wire.broken || wire.reset && wire.arrived.is_empty() {
                return Poll::Ready(Err(Fault(ErrorKind::ConnectionReset)));
            }
            let ended = wire.ended && wire.on_its_way.is_empty();
            if wire.pauses(|wire| &mut wire.read) || (wire.arrived.is_empty() && !ended) {
                return wire.read.wait(cx);
            }
            let n = wire.some_of(buf.len().min(wire.arrived.len()));
            for (to, byte) in buf.iter_mut().zip(wire.arrived.drain(..n)) {
                *to = byte;
            }
            if wire.reads_after_write && wire.arrived.is_empty() {
                wire.room = usize::MAX;
                wire.write.wake();
            }
            Poll::Ready(Ok(n))
        })
        .await
    }
}

impl Write for Socket {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Fault> {
        assert!(!buf.is_empty(), "there is nothing to write");
        core::future::poll_fn(|cx| {
            let wire = &mut *self.wire.borrow_mut();
            if wire.broken || wire.reset {
                return Poll::Ready(Err(Fault(ErrorKind::ConnectionReset)));
            }
            if wire.pauses(|wire| &mut wire.write) || wire.room == 0 {
                return wire.write.wait(cx);
            }
            let n = wire.some_of(buf.len().min(wire.room));
            wire.room -= if wire.room == usize::MAX { 0 } else { n };
            wire.written.push(buf[..n].to_vec());
            wire.show_to_peer(&buf[..n]);
            Poll::Ready(Ok(n))
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        core::future::poll_fn(|cx| {
            let wire = &mut *self.wire.borrow_mut();
            let ready = match wire.flush {
                Flush::Done => !wire.pauses(|wire| &mut wire.write),
                Flush::Slow => {
                    wire.flush = Flush::Begun;
                    wire.write.paused = true;
                    false
                }
                Flush::Begun if wire.write.paused => false,
                Flush::Begun => {
                    wire.flush = Flush::Slow;
                    true
                }
                Flush::Never => false,
            };
            if ready {
                return Poll::Ready(Ok(()));
            }
            wire.write.wait(cx)
        })
        .await
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Clock for World {
    fn now(&self) -> Instant {
        Instant::from_millis(self.now.get())
    }

    fn idle(&self) {
        panic!("an async client must not block");
    }
}

impl asynch::Sleep for World {
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        let id = self.next_timer.get();
        self.next_timer.set(id + 1);
        Timer {
            world: self,
            id,
            at,
        }
    }
}

struct Timer<'w> {
    world: &'w World,
    id: u64,
    at: Instant,
}

impl Timer<'_> {
    fn forget(&self) {
        self.world
            .timers
            .borrow_mut()
            .retain(|(id, ..)| *id != self.id);
    }
}

impl Future for Timer<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.forget();
        if self.at.has_passed(self.world.now()) {
            return Poll::Ready(());
        }
        let timer = (self.id, self.at.as_millis(), cx.waker().clone());
        self.world.timers.borrow_mut().push(timer);
        Poll::Pending
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.forget();
    }
}

/// Connects a client, and removes its CONNECT from the recorded writes.
pub(crate) fn connected<'s, 'b, 'w>(
    session: &'s mut Session<'b>,
    world: &'w World,
    options: &Connect<'_>,
) -> AsyncClient<'s, 'b, 'w> {
    let answers = world.wire.borrow().peer.is_some();
    let socket = world.dial();
    if !answers {
        world.feed(&connack(false));
    }
    let client = world
        .run(AsyncClient::connect(session, socket, world, options))
        .unwrap();
    world.take_writes();
    client
}
