//! A session on a transport, moved on step by step: what both clients do, but for the waiting.

use core::task::Poll;

use embedded_io::ErrorType;

use super::{Error, line::Line};
use crate::{
    codec::Connect,
    session::{Event, EventToken, Over, ProtocolError, RequestError, Session},
    time::{Clock, Instant},
};

/// How long acknowledgements may wait for those of the packets that lie behind them in the receive buffer, to leave in
/// one write with them, in milliseconds.
const HOLD: u32 = 20;

/// All of a client but the clock, which a future that sleeps has to borrow.
pub(super) struct Connection<'s, 'b, L: ErrorType> {
    pub(super) session: &'s mut Session<'b>,
    pub(super) line: L,
    /// When bytes were last written that have not been flushed.
    unflushed: Option<Instant>,
    /// Since when acknowledgements have waited that might have left.
    held: Option<Instant>,
    /// Why the transport is of no use, until a call says so: one that had something else to return leaves that to the
    /// next.
    lost: Option<Lost<L::Error>>,
}

enum Lost<E> {
    Failed(E),
    Closed,
    /// What it took did not leave in time.
    Stuck,
}

/// A step has failed, and [`Connection::error`] says why: steps return this instead of the error, which is large, so
/// that it is written once and handed on by nobody.
pub(super) struct Failed;

/// What a step came to that a client repeats until it is done.
pub(super) enum Step<R> {
    Done(R),
    /// There is more to do at once.
    Again,
    /// There is nothing to do before the transport or the clock says so.
    Wait,
}

impl<R> Step<R> {
    fn again_if(moved: bool) -> Self {
        if moved { Self::Again } else { Self::Wait }
    }
}

/// How far a payload has come that is being handed over.
pub(super) enum Passing {
    /// Its next bytes may be put into the send buffer.
    Space,
    /// An event came meanwhile.
    Event(EventToken),
    /// All of it has left.
    Done,
}

impl<'s, 'b, L: ErrorType> Connection<'s, 'b, L> {
    /// Queues the CONNECT.
    pub(super) fn open(
        session: &'s mut Session<'b>,
        line: L,
        options: &Connect<'_>,
        now: Instant,
    ) -> Result<Self, Error<L::Error>> {
        session.connect(options, now)?;
        Ok(Self {
            session,
            line,
            unflushed: None,
            held: None,
            lost: None,
        })
    }

    /// Why a step has [`Failed`].
    #[inline(never)] // of every call
    pub(super) fn error(&mut self) -> Error<L::Error> {
        match self.lost.take() {
            Some(Lost::Failed(error)) => Error::Transport(error),
            Some(Lost::Closed) => Error::Closed,
            Some(Lost::Stuck) => Error::Protocol(ProtocolError::WriteTimeout),
            None => self.session.reason().into(),
        }
    }

    /// Why a call of the session was refused; on a connection that is over, that is why it is.
    #[inline(never)] // of every request
    pub(super) fn refusal(&mut self, error: RequestError) -> Error<L::Error> {
        match error {
            RequestError::NotConnected if self.session.has_failed() => self.error(),
            _ => Error::Request(error),
        }
    }

    /// Refuses to wait for what cannot leave before the caller, who would wait, has given a payload again.
    pub(super) fn check_order(&self) -> Result<(), RequestError> {
        if self.session.payload_waits() {
            return Err(RequestError::PayloadPending);
        }
        Ok(())
    }

    /// When the next call has to be made, by a caller for whom it is `now`.
    pub(super) fn next_call(&self, now: Instant) -> Option<Instant> {
        if self.session.has_pending() || self.session.has_event() {
            return Some(now);
        }
        self.deadline()
    }

    /// When something has to be done even if nothing can be moved.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match (self.session.deadline(), self.flush_deadline()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// What flushing amounts to that has nothing more to do.
    pub(super) fn flushed(&mut self) -> Result<(), Error<L::Error>> {
        if self.session.has_failed() {
            return Err(self.error());
        }
        if self.session.owes_checkpoint() {
            return Err(RequestError::CheckpointDue.into());
        }
        self.check_order()?;
        Ok(())
    }

    /// A transport that took all bytes may still never get rid of them.
    fn flush_deadline(&self) -> Option<Instant> {
        let since = self.unflushed.filter(|_| !self.session.has_pending())?;
        Some(since.add_millis(self.session.response_timeout()))
    }

    /// Hands the event over for which this token stands.
    pub(super) fn redeem(
        &mut self,
        ready: EventToken,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Failed> {
        match self.session.event(ready) {
            Ok(Some(event)) => on_event(event),
            Ok(None) => {}
            Err(_) => return Err(Failed),
        }
        Ok(())
    }

    /// Copies bytes of the message at hand that have come to `buf`; 0 at its end, `None` if more have to come first.
    pub(super) fn read_payload(&mut self, buf: &mut [u8]) -> Option<usize> {
        let n = self.session.read_payload(buf);
        (n > 0 || buf.is_empty() || !self.session.is_message_open()).then_some(n)
    }

    /// Takes what came while the message at hand was read: its next bytes, or else the rest will not come.
    pub(super) fn next_chunk(&mut self, ready: EventToken) -> Result<(), Error<L::Error>> {
        if self.session.owes_checkpoint() {
            return Err(RequestError::CheckpointDue.into());
        }
        match self.session.event(ready)? {
            Some(Event::Chunk(_)) => Ok(()),
            _ => Err(Error::Closed),
        }
    }

    /// Whether what is owed may wait until the session has looked for the next packet: if that is at hand, its answer
    /// leaves with it, and if not, nothing is lost but this look.
    fn may_hold(&mut self, now: Instant) -> bool {
        let since = *self.held.get_or_insert(now);
        self.session.owes_only_acks() && !since.add_millis(HOLD).has_passed(now)
    }

    fn poll(&mut self, clock: &impl Clock) -> Result<Option<EventToken>, Failed> {
        self.session.turn(clock.now()).map_err(|Over| Failed)
    }

    /// The transport is of no use any more.
    fn lose(&mut self, why: Lost<L::Error>) -> Failed {
        self.session.connection_lost();
        self.lost = Some(why);
        Failed
    }
}

impl<L: Line> Connection<'_, '_, L> {
    /// Moves bytes both ways, up to the next event. What is owed leaves first, but for acknowledgements that
    /// [`Self::may_hold`].
    ///
    /// Reads once at most, or what the buffer can take if something may be overdue, so that a peer that sends without
    /// end stops nobody else.
    pub(super) fn round(
        &mut self,
        clock: &impl Clock,
        waker: &L::Waker,
    ) -> Result<Step<EventToken>, Failed> {
        if !self.may_hold(clock.now()) {
            self.write(clock, waker)?;
        }
        let mut moved = self.catch_up(clock, waker)?;
        let mut has_read = moved;
        loop {
            if let Some(ready) = self.poll(clock)? {
                return Ok(Step::Done(ready));
            }
            // What leaves makes room for the answers to packets that have been left in the buffer.
            moved |= self.write(clock, waker)?;
            if !has_read {
                moved |= self.read(waker)?;
            }
            if has_read || !moved {
                return Ok(Step::again_if(moved));
            }
            has_read = true;
        }
    }

    /// Writes all that is queued; done when it has left.
    pub(super) fn flush(
        &mut self,
        clock: &impl Clock,
        waker: &L::Waker,
    ) -> Result<Step<()>, Failed> {
        self.write(clock, waker)?;
        let has_left = self.has_left();
        if has_left && !self.session.waits_for_connack() {
            return Ok(Step::Done(()));
        }
        // Two full peers would wait for each other for ever if neither read. After DISCONNECT there is no need.
        if !self.session.is_open() {
            return Ok(Step::Wait);
        }
        let mut moved = self.catch_up(clock, waker)?;
        let _ = self.poll(clock)?;
        moved |= self.read(waker)?;
        Ok(Step::again_if(
            moved || has_left && self.session.has_pending(),
        ))
    }

    /// As [`Self::flush`], up to the next event; done without one when all has left.
    pub(super) fn drain(
        &mut self,
        clock: &impl Clock,
        waker: &L::Waker,
    ) -> Result<Step<Option<EventToken>>, Failed> {
        Ok(match self.round(clock, waker)? {
            Step::Done(ready) => Step::Done(Some(ready)),
            _ if self.has_left() && !self.waits() => Step::Done(None),
            Step::Again => Step::Again,
            Step::Wait => Step::Wait,
        })
    }

    /// Hands the payload of `len` bytes over that lies in these slices.
    pub(super) fn pass_slices(
        &mut self,
        slices: &[&[u8]],
        len: usize,
        clock: &impl Clock,
        waker: &L::Waker,
    ) -> Result<Step<Passing>, Failed> {
        self.write(clock, waker)?;
        loop {
            let left = self.session.payload_left();
            let bytes = slice_at(slices, len.saturating_sub(left));
            if left == 0 || !self.write_payload(bytes, clock, waker)? {
                return self.pass(clock, waker);
            }
        }
    }

    /// Writes what has been put into the send buffer of a payload, and asks for more of it.
    pub(super) fn pass_pieces(
        &mut self,
        clock: &impl Clock,
        waker: &L::Waker,
    ) -> Result<Step<Passing>, Failed> {
        self.write(clock, waker)?;
        let step = self.pass(clock, waker)?;
        if !matches!(step, Step::Done(_)) && !self.session.payload_space().is_empty() {
            return Ok(Step::Done(Passing::Space));
        }
        Ok(step)
    }

    /// Reads up to the next event, until the payload that is open has left. After its last byte nothing is read: its
    /// acknowledgement is for the caller, who has no id yet.
    fn pass(&mut self, clock: &impl Clock, waker: &L::Waker) -> Result<Step<Passing>, Failed> {
        let is_blocked = self.session.payload_left() > 0;
        let mut moved = false;
        if self.session.is_payload_open() {
            moved = self.catch_up(clock, waker)?;
            moved |= self.read(waker)?;
        } else {
            self.write(clock, waker)?;
            if self.has_left() {
                return Ok(Step::Done(Passing::Done));
            }
        }
        if let Some(ready) = self.poll(clock)? {
            return Ok(Step::Done(Passing::Event(ready)));
        }
        // The turn of the payload may have come, of which the transport knows nothing.
        Ok(Step::again_if(
            moved || !is_blocked && self.session.payload_left() > 0,
        ))
    }

    /// Writes as much as the transport takes; true if that was anything.
    pub(super) fn write(&mut self, clock: &impl Clock, waker: &L::Waker) -> Result<bool, Failed> {
        if self.lost.is_some() {
            return Err(Failed);
        }
        self.held = None;
        let mut moved = false;
        while self.session.has_pending() {
            let bytes = self.session.lend(clock.now());
            let written = self.line.try_write(bytes, waker);
            let now = clock.now();
            let n = self.taken(written, now)?;
            if n == 0 {
                return Ok(moved);
            }
            self.session.consume(n, now);
            moved = true;
        }
        if self.unflushed.is_some() {
            self.flush_line(clock, waker)?;
        }
        Ok(moved)
    }

    /// One write of payload bytes from the caller's memory; true if any were taken.
    fn write_payload(
        &mut self,
        bytes: &[u8],
        clock: &impl Clock,
        waker: &L::Waker,
    ) -> Result<bool, Failed> {
        let written = self.line.try_write(bytes, waker);
        let now = clock.now();
        let n = self.taken(written, now)?;
        self.session.payload_sent(n, now);
        Ok(n > 0)
    }

    /// How many bytes a write took.
    fn taken(
        &mut self,
        written: Poll<Result<usize, L::Error>>,
        now: Instant,
    ) -> Result<usize, Failed> {
        let n = match written {
            Poll::Pending => return Ok(0),
            Poll::Ready(written) => self.moved(written)?,
        };
        self.unflushed = Some(now);
        Ok(n)
    }

    fn flush_line(&mut self, clock: &impl Clock, waker: &L::Waker) -> Result<(), Failed> {
        match self.line.try_flush(waker) {
            Poll::Ready(Ok(())) => self.unflushed = None,
            Poll::Ready(Err(error)) => return Err(self.lose(Lost::Failed(error))),
            Poll::Pending => {
                if self
                    .flush_deadline()
                    .is_some_and(|at| at.has_passed(clock.now()))
                {
                    return Err(self.lose(Lost::Stuck));
                }
            }
        }
        Ok(())
    }

    /// Reads all that has come and finds room if something may be overdue, however little a read brings: an answer that
    /// waits to be read is in time, however late the caller comes. True if bytes came.
    fn catch_up(&mut self, clock: &impl Clock, waker: &L::Waker) -> Result<bool, Failed> {
        let mut moved = false;
        while self.session.is_overdue(clock.now()) && self.read(waker)? {
            moved = true;
        }
        Ok(moved)
    }

    /// Reads once; true if bytes came.
    fn read(&mut self, waker: &L::Waker) -> Result<bool, Failed> {
        let space = self.session.space();
        if space.is_empty() {
            return Ok(false);
        }
        let Poll::Ready(read) = self.line.try_read(space, waker) else {
            return Ok(false);
        };
        let n = self.moved(read)?;
        self.session.commit(n);
        Ok(true)
    }

    /// How many bytes a read or write moved; none means that the connection is closed.
    fn moved(&mut self, result: Result<usize, L::Error>) -> Result<usize, Failed> {
        match result {
            Ok(0) => Err(self.lose(Lost::Closed)),
            Ok(n) => Ok(n),
            Err(error) => Err(self.lose(Lost::Failed(error))),
        }
    }

    /// Whether something may be written only after an answer, or after the caller has seen a checkpoint.
    fn waits(&self) -> bool {
        self.session.waits_for_connack() || self.session.owes_checkpoint()
    }

    /// Whether all that may be written has been, and has left the transport.
    fn has_left(&self) -> bool {
        self.unflushed.is_none() && !self.session.has_pending()
    }
}

/// The part of a payload in several slices that begins at `offset`, up to the end of its slice.
fn slice_at<'a>(slices: &[&'a [u8]], mut offset: usize) -> &'a [u8] {
    for slice in slices {
        match slice.get(offset..) {
            Some([]) | None => offset = offset.saturating_sub(slice.len()),
            Some(rest) => return rest,
        }
    }
    &[]
}
