//! A session on a transport, moved on step by step: what both clients do, but for the waiting.

use core::task::Poll;

use embedded_io::ErrorType;

use super::{Error, transport::PollTransport};
use crate::{
    codec::Connect,
    session::{ConnectionClosed, Event, EventToken, ProtocolError, RequestError, Session},
    time::{Clock, Instant},
};

/// How long acknowledgements may wait for those of the packets that lie behind them in the receive buffer, to leave in
/// one write with them, in milliseconds.
const ACK_DELAY_MS: u32 = 20;

/// All of a client but the clock, which a future that sleeps has to borrow.
pub(super) struct Driver<'s, 'b, L: ErrorType> {
    pub(super) session: &'s mut Session<'b>,
    pub(super) transport: L,
    /// When bytes were last written that have not been flushed.
    unflushed_since: Option<Instant>,
    /// Since when acknowledgements have waited that might have left.
    acks_held_since: Option<Instant>,
    /// Why the transport is of no use, until a call says so: one that had something else to return leaves that to the
    /// next.
    failure: Option<TransportFailure<L::Error>>,
}

enum TransportFailure<E> {
    Error(E),
    Closed,
    /// What it took did not leave in time.
    WriteTimeout,
}

/// A step has failed, and [`Driver::error`] says why: steps return this instead of the error, which is large, so
/// that it is written once and handed on by nobody.
pub(super) struct Failed;

/// What a step came to that a client repeats until it is done.
pub(super) enum Progress<R> {
    Done(R),
    /// There is more to do at once.
    Again,
    /// There is nothing to do before the transport or the clock says so.
    Wait,
}

impl<R> Progress<R> {
    fn again_if(moved: bool) -> Self {
        if moved { Self::Again } else { Self::Wait }
    }
}

/// How far a payload has come that is being handed over.
pub(super) enum PayloadProgress {
    /// Its next bytes may be put into the send buffer.
    Space,
    /// An event came meanwhile.
    Event(EventToken),
    /// All of it has left.
    Done,
}

impl<'s, 'b, L: ErrorType> Driver<'s, 'b, L> {
    /// Queues the CONNECT.
    pub(super) fn open(
        session: &'s mut Session<'b>,
        transport: L,
        options: &Connect<'_>,
        now: Instant,
    ) -> Result<Self, Error<L::Error>> {
        session.connect(options, now)?;
        Ok(Self {
            session,
            transport,
            unflushed_since: None,
            acks_held_since: None,
            failure: None,
        })
    }

    /// Why a step has [`Failed`].
    #[inline(never)] // of every call
    pub(super) fn error(&mut self) -> Error<L::Error> {
        match self.failure.take() {
            Some(TransportFailure::Error(error)) => Error::Transport(error),
            Some(TransportFailure::Closed) => Error::Closed,
            Some(TransportFailure::WriteTimeout) => Error::Protocol(ProtocolError::WriteTimeout),
            None => self.session.close_reason().into(),
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
        if self.session.checkpoint_pending() {
            return Err(RequestError::CheckpointDue.into());
        }
        self.check_order()?;
        Ok(())
    }

    /// A transport that took all bytes may still never get rid of them.
    fn flush_deadline(&self) -> Option<Instant> {
        let since = self
            .unflushed_since
            .filter(|_| !self.session.has_pending())?;
        Some(since.add_millis(self.session.response_timeout()))
    }

    /// Hands the event over for which this token stands.
    pub(super) fn deliver_event(
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
        if self.session.checkpoint_pending() {
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
        let since = *self.acks_held_since.get_or_insert(now);
        self.session.owes_only_acks() && !since.add_millis(ACK_DELAY_MS).has_passed(now)
    }

    fn poll(&mut self, clock: &impl Clock) -> Result<Option<EventToken>, Failed> {
        self.session
            .poll_inner(clock.now())
            .map_err(|ConnectionClosed| Failed)
    }

    /// The transport is of no use any more.
    fn transport_failed(&mut self, why: TransportFailure<L::Error>) -> Failed {
        self.session.connection_lost();
        self.failure = Some(why);
        Failed
    }
}

impl<L: PollTransport> Driver<'_, '_, L> {
    /// Moves bytes both ways, up to the next event. What is owed leaves first, but for acknowledgements that
    /// [`Self::may_hold`].
    ///
    /// Reads once at most, or what the buffer can take if something may be overdue, so that a peer that sends without
    /// end stops nobody else.
    pub(super) fn drive(
        &mut self,
        clock: &impl Clock,
        waker: &L::Waker,
    ) -> Result<Progress<EventToken>, Failed> {
        if !self.may_hold(clock.now()) {
            self.write(clock, waker)?;
        }
        let mut moved = self.catch_up(clock, waker)?;
        let mut has_read = moved;
        loop {
            if let Some(ready) = self.poll(clock)? {
                return Ok(Progress::Done(ready));
            }
            // What leaves makes room for the answers to packets that have been left in the buffer.
            moved |= self.write(clock, waker)?;
            if !has_read {
                moved |= self.read(waker)?;
            }
            if has_read || !moved {
                return Ok(Progress::again_if(moved));
            }
            has_read = true;
        }
    }

    /// Writes all that is queued; done when it has left.
    pub(super) fn flush(
        &mut self,
        clock: &impl Clock,
        waker: &L::Waker,
    ) -> Result<Progress<()>, Failed> {
        self.write(clock, waker)?;
        let is_flushed = self.is_flushed();
        if is_flushed && !self.session.waits_for_connack() {
            return Ok(Progress::Done(()));
        }
        // Two full peers would wait for each other for ever if neither read. After DISCONNECT there is no need.
        if !self.session.is_open() {
            return Ok(Progress::Wait);
        }
        let mut moved = self.catch_up(clock, waker)?;
        let _ = self.poll(clock)?;
        moved |= self.read(waker)?;
        Ok(Progress::again_if(
            moved || is_flushed && self.session.has_pending(),
        ))
    }

    /// As [`Self::flush`], up to the next event; done without one when all has left.
    pub(super) fn flush_until_event(
        &mut self,
        clock: &impl Clock,
        waker: &L::Waker,
    ) -> Result<Progress<Option<EventToken>>, Failed> {
        Ok(match self.drive(clock, waker)? {
            Progress::Done(ready) => Progress::Done(Some(ready)),
            _ if self.is_flushed() && !self.waits() => Progress::Done(None),
            Progress::Again => Progress::Again,
            Progress::Wait => Progress::Wait,
        })
    }

    /// Hands the payload of `len` bytes over that lies in these slices.
    pub(super) fn pass_slices(
        &mut self,
        slices: &[&[u8]],
        len: usize,
        clock: &impl Clock,
        waker: &L::Waker,
    ) -> Result<Progress<PayloadProgress>, Failed> {
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
    ) -> Result<Progress<PayloadProgress>, Failed> {
        self.write(clock, waker)?;
        let step = self.pass(clock, waker)?;
        if !matches!(step, Progress::Done(_)) && !self.session.payload_space().is_empty() {
            return Ok(Progress::Done(PayloadProgress::Space));
        }
        Ok(step)
    }

    /// Reads up to the next event, until the payload that is open has left. After its last byte nothing is read: its
    /// acknowledgement is for the caller, who has no id yet.
    fn pass(
        &mut self,
        clock: &impl Clock,
        waker: &L::Waker,
    ) -> Result<Progress<PayloadProgress>, Failed> {
        let is_blocked = self.session.payload_left() > 0;
        let mut moved = false;
        if self.session.is_payload_open() {
            moved = self.catch_up(clock, waker)?;
            moved |= self.read(waker)?;
        } else {
            self.write(clock, waker)?;
            if self.is_flushed() {
                return Ok(Progress::Done(PayloadProgress::Done));
            }
        }
        if let Some(ready) = self.poll(clock)? {
            return Ok(Progress::Done(PayloadProgress::Event(ready)));
        }
        // The turn of the payload may have come, of which the transport knows nothing.
        Ok(Progress::again_if(
            moved || !is_blocked && self.session.payload_left() > 0,
        ))
    }

    /// Writes as much as the transport takes; true if that was anything.
    pub(super) fn write(&mut self, clock: &impl Clock, waker: &L::Waker) -> Result<bool, Failed> {
        if self.failure.is_some() {
            return Err(Failed);
        }
        self.acks_held_since = None;
        let mut moved = false;
        while self.session.has_pending() {
            let bytes = self.session.lend(clock.now());
            let written = self.transport.try_write(bytes, waker);
            let now = clock.now();
            let n = self.bytes_written(written, now)?;
            if n == 0 {
                return Ok(moved);
            }
            self.session.consume(n, now);
            moved = true;
        }
        if self.unflushed_since.is_some() {
            self.flush_transport(clock, waker)?;
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
        let written = self.transport.try_write(bytes, waker);
        let now = clock.now();
        let n = self.bytes_written(written, now)?;
        self.session.payload_sent(n, now);
        Ok(n > 0)
    }

    /// How many bytes a write took.
    fn bytes_written(
        &mut self,
        written: Poll<Result<usize, L::Error>>,
        now: Instant,
    ) -> Result<usize, Failed> {
        let n = match written {
            Poll::Pending => return Ok(0),
            Poll::Ready(written) => self.nonzero(written)?,
        };
        self.unflushed_since = Some(now);
        Ok(n)
    }

    fn flush_transport(&mut self, clock: &impl Clock, waker: &L::Waker) -> Result<(), Failed> {
        match self.transport.try_flush(waker) {
            Poll::Ready(Ok(())) => self.unflushed_since = None,
            Poll::Ready(Err(error)) => {
                return Err(self.transport_failed(TransportFailure::Error(error)));
            }
            Poll::Pending => {
                if self
                    .flush_deadline()
                    .is_some_and(|at| at.has_passed(clock.now()))
                {
                    return Err(self.transport_failed(TransportFailure::WriteTimeout));
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
        let Poll::Ready(read) = self.transport.try_read(space, waker) else {
            return Ok(false);
        };
        let n = self.nonzero(read)?;
        self.session.commit(n);
        Ok(true)
    }

    /// How many bytes a read or write moved; none means that the connection is closed.
    fn nonzero(&mut self, result: Result<usize, L::Error>) -> Result<usize, Failed> {
        match result {
            Ok(0) => Err(self.transport_failed(TransportFailure::Closed)),
            Ok(n) => Ok(n),
            Err(error) => Err(self.transport_failed(TransportFailure::Error(error))),
        }
    }

    /// Whether something may be written only after an answer, or after the caller has seen a checkpoint.
    fn waits(&self) -> bool {
        self.session.waits_for_connack() || self.session.checkpoint_pending()
    }

    /// Whether all that may be written has been, and has left the transport.
    fn is_flushed(&self) -> bool {
        self.unflushed_since.is_none() && !self.session.has_pending()
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
