//! A network connection with every possible fault, and the only clock.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use umqtt::{Clock, Instant, asynch::Sleep};

use super::server::Server;

/// Maximum number of calls of the transport in one call of a client.
const BUSY: u32 = 100_000;
/// Time in ms of each wait of a blocking client.
const STEP: u32 = 250;
/// Number of waits after which a silent peer closes the connection, unless a target sets another.
const PATIENCE: u32 = 500;

/// The behaviour of one call of a transport.
enum Mood {
    Moves(usize),
    NotReady,
    /// This time in ms passes without anything else.
    Slow(u32),
    Fails(ErrorKind),
    Ends,
    Breaks,
}

pub(crate) struct Line {
    moods: VecDeque<u8>,
    pub(crate) server: Server,
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    /// The server is busy.
    pub(crate) mute: bool,
    state: State,
    now: u32,
    waits: u32,
    pub(crate) patience: u32,
    calls: u32,
    /// The wakers of tasks that wait for readiness, for bytes, and for a time.
    paused: Vec<Waker>,
    readers: Vec<Waker>,
    timer: Option<(Instant, Waker)>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    Ended,
    Broken,
}

/// The connection, as transport and as clock of the client.
#[derive(Clone)]
pub(crate) struct Shared(pub(crate) Rc<RefCell<Line>>);

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Fault(ErrorKind);

impl Shared {
    pub(crate) fn new(moods: &[u8]) -> Self {
        let line = Line {
            moods: moods.iter().copied().collect(),
            server: Server::default(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            mute: false,
            state: State::Ended,
            now: u32::MAX - 20_000,
            waits: 0,
            patience: PATIENCE,
            calls: 0,
            paused: Vec::new(),
            readers: Vec::new(),
            timer: None,
        };
        Self(Rc::new(RefCell::new(line)))
    }

    /// Begins a new connection. Some bytes that the older one had not delivered to the server may be lost.
    pub(crate) fn dial(&self, refuses: bool) -> Self {
        let line = &mut *self.0.borrow_mut();
        let lost = line.moods.pop_front().unwrap_or_default();
        let arrives = line.to_server.len().saturating_sub(lost.into());
        line.to_server.truncate(arrives);
        line.serve();
        line.to_server.clear();
        line.to_client.clear();
        line.state = State::Open;
        line.server.accept(refuses);
        self.clone()
    }

    pub(crate) fn pass(&self, millis: u32) {
        let line = &mut *self.0.borrow_mut();
        line.now = line.now.wrapping_add(millis);
    }

    /// The server sends arbitrary bytes, and no longer checks acknowledgements.
    pub(crate) fn make_noise(&self, bytes: &[u8]) {
        let line = &mut *self.0.borrow_mut();
        line.to_client.extend(bytes);
        line.server.is_hostile = true;
    }

    /// Turns off all faults.
    pub(crate) fn calm_down(&self) {
        let line = &mut *self.0.borrow_mut();
        line.moods.clear();
        line.mute = false;
    }

    /// Polls a call each time it was woken. Drops it after a number of polls, if it is not ready before.
    pub(crate) fn drive<F: Future>(&self, future: F, polls: Option<u8>) -> Option<F::Output> {
        self.begin();
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut future = pin!(future);
        let mut polled = 0;
        loop {
            if polls.is_some_and(|polls| polled >= u32::from(polls)) {
                return None;
            }
            if woken.0.swap(false, Ordering::Relaxed) {
                polled += 1;
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
                {
                    return Some(output);
                }
            } else {
                self.0.borrow_mut().turn();
            }
        }
    }

    /// Begins a call of a client.
    pub(crate) fn begin(&self) {
        let line = &mut *self.0.borrow_mut();
        (line.calls, line.waits) = (0, 0);
    }
}

impl Line {
    /// Does the next step when no task must be polled: an event, else time passes, else the peer closes the connection.
    pub(crate) fn turn(&mut self) {
        self.waits += 1;
        self.serve();
        let mut woken = std::mem::take(&mut self.paused);
        if self.has_news() {
            woken.append(&mut self.readers);
        }
        if woken.is_empty()
            && let Some((at, waker)) = self.timer.take()
        {
            self.now = self.now.wrapping_add(at.millis_after(self.instant()));
            woken.push(waker);
        }
        if woken.is_empty() || self.waits > self.patience {
            self.state = State::Ended;
            woken.append(&mut self.readers);
            assert!(!woken.is_empty(), "no task waits");
        }
        woken.into_iter().for_each(Waker::wake);
    }

    /// Returns `true` if a read would not wait.
    fn has_news(&self) -> bool {
        self.state != State::Open || !self.to_client.is_empty() || self.server.has_closed()
    }

    /// Passes received bytes to the server.
    fn serve(&mut self) {
        if !self.mute {
            let came: Vec<u8> = self.to_server.drain(..).collect();
            self.to_client.extend(self.server.take(&came));
            self.to_client.extend(self.server.pump());
        }
    }

    fn instant(&self) -> Instant {
        Instant::from_millis(self.now)
    }

    fn mood(&mut self) -> Mood {
        self.calls += 1;
        assert!(self.calls < BUSY, "the call never ends");
        match self.state {
            State::Open => {}
            State::Ended => return Mood::Ends,
            State::Broken => return Mood::Breaks,
        }
        let Some(mood) = self.moods.pop_front() else {
            return Mood::Moves(usize::MAX);
        };
        match mood {
            0..0x40 => Mood::Moves(usize::MAX),
            0x40..0x90 => Mood::Moves(usize::from(mood % 16) + 1),
            0x90..0xC0 => Mood::NotReady,
            0xC0..0xD0 => Mood::Fails(ErrorKind::Interrupted),
            0xD0..0xE0 => Mood::Fails(ErrorKind::TimedOut),
            0xE0..0xF0 => Mood::Slow(u32::from(mood % 16) * 400),
            0xF0..0xF8 => Mood::Ends,
            0xF8.. => Mood::Breaks,
        }
    }

    /// Returns the number of bytes that a call moves; `None` if it moves none.
    fn attempt(&mut self) -> Option<Result<usize, Fault>> {
        match self.mood() {
            Mood::Moves(most) => Some(Ok(most)),
            Mood::NotReady => None,
            Mood::Slow(millis) => {
                self.now = self.now.wrapping_add(millis);
                None
            }
            Mood::Fails(kind) => Some(Err(Fault(kind))),
            Mood::Ends => {
                self.state = State::Ended;
                Some(Ok(0))
            }
            Mood::Breaks => {
                self.state = State::Broken;
                Some(Err(Fault(ErrorKind::ConnectionReset)))
            }
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> Option<Result<usize, Fault>> {
        assert!(!buf.is_empty(), "a read into nothing looks like the end");
        self.serve();
        match self.attempt()? {
            Ok(0) => Some(Ok(0)),
            Ok(_) if self.to_client.is_empty() => self.server.has_closed().then_some(Ok(0)),
            Ok(most) => {
                let n = buf.len().min(most).min(self.to_client.len());
                for (place, byte) in buf.iter_mut().zip(self.to_client.drain(..n)) {
                    *place = byte;
                }
                Some(Ok(n))
            }
            Err(fault) => Some(Err(fault)),
        }
    }

    fn write(&mut self, buf: &[u8]) -> Option<Result<usize, Fault>> {
        assert!(!buf.is_empty(), "a write of nothing");
        match self.attempt()? {
            Ok(most) => {
                let n = buf.len().min(most);
                self.to_server.extend(&buf[..n]);
                Some(Ok(n))
            }
            Err(fault) => Some(Err(fault)),
        }
    }

    fn flush(&mut self) -> Option<Result<(), Fault>> {
        Some(self.attempt()?.map(|_| ()))
    }

    fn ready(&mut self) -> Result<bool, Fault> {
        match self.attempt() {
            None => Ok(false),
            Some(Ok(_)) => Ok(true),
            Some(Err(fault)) if fault.0 == ErrorKind::ConnectionReset => Err(fault),
            // Its own timeout passes later.
            Some(Err(_)) => Ok(true),
        }
    }

    /// A blocking call that cannot continue has its own timeout.
    fn blocking<R>(&mut self, result: Option<Result<R, Fault>>) -> Result<R, Fault> {
        result.unwrap_or_else(|| {
            self.now = self.now.wrapping_add(STEP);
            Err(Fault(ErrorKind::TimedOut))
        })
    }
}

impl embedded_io::Error for Fault {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Fault {}

impl ErrorType for Shared {
    type Error = Fault;
}

impl Read for Shared {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        let line = &mut *self.0.borrow_mut();
        let read = line.read(buf);
        line.blocking(read)
    }
}

impl Write for Shared {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Fault> {
        let line = &mut *self.0.borrow_mut();
        let written = line.write(buf);
        line.blocking(written)
    }

    fn flush(&mut self) -> Result<(), Fault> {
        let line = &mut *self.0.borrow_mut();
        let flushed = line.flush();
        line.blocking(flushed)
    }
}

impl ReadReady for Shared {
    fn read_ready(&mut self) -> Result<bool, Fault> {
        let line = &mut *self.0.borrow_mut();
        line.serve();
        let ready = line.ready()?;
        // Sometimes, it reports that it does not know.
        Ok(ready && (line.has_news() || line.calls.is_multiple_of(8)))
    }
}

impl WriteReady for Shared {
    fn write_ready(&mut self) -> Result<bool, Fault> {
        self.0.borrow_mut().ready()
    }
}

impl Shared {
    /// Behaves like a socket: a task that finds it not ready is woken when it may be ready.
    async fn poll<R>(
        &self,
        mut call: impl FnMut(&mut Line) -> Option<Result<R, Fault>>,
        waiting: impl Fn(&mut Line) -> &mut Vec<Waker>,
    ) -> Result<R, Fault> {
        poll_fn(|cx| {
            let line = &mut *self.0.borrow_mut();
            match call(line) {
                Some(result) => Poll::Ready(result),
                None => {
                    waiting(line).push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl embedded_io_async::Read for Shared {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        self.poll(
            |line| line.read(buf),
            |line| {
                // The reason is not a lack of bytes.
                match line.has_news() {
                    true => &mut line.paused,
                    false => &mut line.readers,
                }
            },
        )
        .await
    }
}

impl embedded_io_async::Write for Shared {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Fault> {
        self.poll(|line| line.write(buf), |line| &mut line.paused)
            .await
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        self.poll(Line::flush, |line| &mut line.paused).await
    }
}

impl Clock for Shared {
    fn now(&self) -> Instant {
        self.0.borrow().instant()
    }

    fn idle(&self) {
        let line = &mut *self.0.borrow_mut();
        line.now = line.now.wrapping_add(STEP);
        line.waits += 1;
        if line.waits > line.patience {
            line.state = State::Ended;
        }
    }
}

impl Sleep for Shared {
    async fn sleep_until(&self, at: Instant) {
        poll_fn(|cx| {
            let line = &mut *self.0.borrow_mut();
            if at.has_passed(line.instant()) {
                return Poll::Ready(());
            }
            line.timer = Some((at, cx.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The source of a payload, which may fail or end too early.
pub(crate) struct Source<'a> {
    pub(crate) rest: &'a [u8],
    pub(crate) moods: &'a [u8],
}

impl ErrorType for Source<'_> {
    type Error = Fault;
}

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        let (most, moods) = match self.moods {
            [mood, moods @ ..] => (*mood, moods),
            [] => (u8::MAX, self.moods),
        };
        self.moods = moods;
        match most {
            0 => return Err(Fault(ErrorKind::Other)),
            1 => return Err(Fault(ErrorKind::Interrupted)),
            2 => return Ok(0),
            _ => {}
        }
        let n = buf.len().min(most.into()).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(n);
        buf[..n].copy_from_slice(bytes);
        self.rest = rest;
        Ok(n)
    }
}

impl embedded_io_async::Read for Source<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        Read::read(self, buf)
    }
}
