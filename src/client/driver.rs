//! The driver of both clients: moves bytes between a session and a transport, one step at a time, and never waits.

use core::task::Poll;

use embedded_io::ErrorType;

use super::{Error, transport::PollTransport};
use crate::{
    codec::Connect,
    session::{
        ConnectionClosed, Event, EventToken, ProtocolError, RequestError, Session, WriteTimers,
    },
    time::{Clock, Instant},
};

/// A session on a transport.
pub(super) struct Driver<'s, 'b, T: ErrorType> {
    pub(super) session: &'s mut Session<'b>,
    pub(super) transport: T,
    timers: WriteTimers,
    /// Failure of the transport that no call has returned yet.
    failure: Option<TransportFailure<T::Error>>,
}

/// The clock, and the waker of the task that drives. Not in the [`Driver`], because a future that sleeps borrows the clock.
pub(super) struct Context<'a, C, W> {
    pub(super) clock: &'a C,
    pub(super) waker: &'a W,
}

enum TransportFailure<E> {
    Error(E),
    Closed,
    /// Written data was not flushed in time.
    WriteTimeout,
}

/// A step failed, and [`Driver::error`] returns the reason. The error is large, so steps do not return it themselves.
pub(super) struct Failed;

/// Result of a step that the client repeats until it is done.
pub(super) enum Progress<R> {
    Done(R),
    /// An event was delivered. The step can be repeated at once.
    Delivered,
    /// More can be done now, after other tasks have run.
    Again,
    /// Nothing can be done until the transport is ready or the deadline has passed.
    Blocked,
}

/// What a step returns.
pub(super) type Step<R> = Result<Progress<R>, Failed>;

impl<R> Progress<R> {
    fn again_if(more: bool) -> Self {
        if more { Self::Again } else { Self::Blocked }
    }
}

impl<'s, 'b, T: ErrorType> Driver<'s, 'b, T> {
    /// Queues the CONNECT.
    pub(super) fn open(
        session: &'s mut Session<'b>,
        transport: T,
        options: &Connect<'_>,
        now: Instant,
    ) -> Result<Self, Error<T::Error>> {
        session.connect(options, now)?;
        Ok(Self {
            session,
            transport,
            timers: WriteTimers::default(),
            failure: None,
        })
    }

    /// The reason why a step has [`Failed`].
    #[inline(never)] // Every call of a client needs it.
    pub(super) fn error(&mut self) -> Error<T::Error> {
        match self.failure.take() {
            Some(TransportFailure::Error(error)) => Error::Transport(error),
            Some(TransportFailure::Closed) => Error::Closed,
            Some(TransportFailure::WriteTimeout) => Error::Protocol(ProtocolError::WriteTimeout),
            None => self.session.close_reason().into(),
        }
    }

    /// Queues a request. On a closed connection, the error is the reason why it is closed.
    pub(super) fn request<R>(
        &mut self,
        request: impl FnOnce(&mut Session<'b>) -> Result<R, RequestError>,
    ) -> Result<R, Error<T::Error>> {
        request(self.session).map_err(|error| self.request_error(error))
    }

    #[inline(never)] // Every request needs it.
    fn request_error(&mut self, error: RequestError) -> Error<T::Error> {
        match error {
            RequestError::NotConnected if self.session.has_failed() => self.error(),
            _ => Error::Request(error),
        }
    }

    /// Passes the event of this token to `on_event`.
    pub(super) fn deliver_event<R>(
        &mut self,
        token: EventToken,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Step<R> {
        match self.session.event(token) {
            Ok(Some(event)) => on_event(event),
            Ok(None) => {}
            Err(_) => return Err(Failed),
        }
        Ok(Progress::Delivered)
    }

    /// Closes the connection because its transport is unusable.
    fn transport_failed(&mut self, failure: TransportFailure<T::Error>) -> Failed {
        self.session.connection_lost();
        self.failure = Some(failure);
        Failed
    }

    /// Returns `true` if packets are queued that must wait for CONNACK or for the caller to save the session.
    fn is_held_back(&self) -> bool {
        self.session.waits_for_connack() || self.session.checkpoint_pending()
    }

    /// Returns `true` if all that may be sent was written and flushed.
    fn is_flushed(&self) -> bool {
        self.timers.is_flushed() && !self.session.has_pending()
    }
}

/// Time.
impl<T: ErrorType> Driver<'_, '_, T> {
    /// The time of the next step, even if the transport is not ready before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let deadline = self.session.deadline();
        if self.session.has_pending() {
            return deadline;
        }
        let timeout = self.session.response_timeout();
        self.timers.flush_deadline(deadline, timeout)
    }

    /// Returns `true` if pending acknowledgements may wait until the session has looked for the next packet. If that
    /// was received, one write sends its acknowledgement as well.
    fn may_hold_acks(&mut self, now: Instant) -> bool {
        self.timers.may_delay_acks(now) && self.session.has_only_new_acks()
    }
}

/// Steps.
impl<T: PollTransport> Driver<'_, '_, T> {
    /// Writes, reads and handles packets up to the next event. Pending packets are sent first, except for
    /// acknowledgements that [`Self::may_hold_acks`].
    ///
    /// It reads once, so that a fast server cannot occupy the task. If a timeout may have passed, it reads all that fits
    /// the receive buffer instead.
    pub(super) fn drive(&mut self, cx: &Context<'_, impl Clock, T::Waker>) -> Step<EventToken> {
        if !self.may_hold_acks(cx.clock.now()) {
            self.write(cx)?;
        }
        let mut moved = self.read_if_overdue(cx)?;
        let mut has_read = moved;
        loop {
            if let Some(token) = self.poll(cx)? {
                return Ok(Progress::Done(token));
            }
            // Makes room for the answers to packets that are still in the receive buffer.
            moved |= self.write(cx)?;
            if !has_read {
                moved |= self.read(cx)?;
            }
            if has_read || !moved {
                return Ok(Progress::again_if(moved));
            }
            has_read = true;
        }
    }

    fn poll(
        &mut self,
        cx: &Context<'_, impl Clock, T::Waker>,
    ) -> Result<Option<EventToken>, Failed> {
        self.session
            .poll_inner(cx.clock.now())
            .map_err(|ConnectionClosed| Failed)
    }

    /// Writes and flushes all that is queued.
    pub(super) fn flush(&mut self, cx: &Context<'_, impl Clock, T::Waker>) -> Step<()> {
        self.write(cx)?;
        let is_flushed = self.is_flushed();
        if is_flushed && !self.session.waits_for_connack() {
            return Ok(Progress::Done(()));
        }
        // After DISCONNECT, nothing is read.
        if !self.session.is_open() {
            return Ok(Progress::Blocked);
        }
        // If both peers only wrote, full buffers would block both for ever.
        let mut moved = self.read_if_overdue(cx)?;
        let _ = self.poll(cx)?;
        moved |= self.read(cx)?;
        Ok(Progress::again_if(
            moved || is_flushed && self.session.has_pending(),
        ))
    }

    /// Like [`Self::flush`], but stops at each event to deliver it.
    pub(super) fn flush_until_event(
        &mut self,
        on_event: &mut dyn FnMut(Event<'_>),
        cx: &Context<'_, impl Clock, T::Waker>,
    ) -> Step<()> {
        match self.drive(cx)? {
            Progress::Done(token) => self.deliver_event(token, on_event),
            _ if self.is_flushed() && !self.is_held_back() => Ok(Progress::Done(())),
            Progress::Again => Ok(Progress::Again),
            _ => Ok(Progress::Blocked),
        }
    }

    /// Reads while a payload is being sent, up to the next event to deliver. Done when the whole packet was flushed.
    ///
    /// After the last byte of the payload nothing is read: the caller does not have the packet id yet, so it could not
    /// recognize the acknowledgement.
    pub(super) fn finish_payload(
        &mut self,
        on_event: &mut dyn FnMut(Event<'_>),
        cx: &Context<'_, impl Clock, T::Waker>,
    ) -> Step<()> {
        let is_blocked = self.session.payload_left() > 0;
        let mut moved = false;
        if self.session.is_payload_open() {
            moved = self.read_if_overdue(cx)?;
            moved |= self.read(cx)?;
        } else {
            self.write(cx)?;
            if self.is_flushed() {
                return Ok(Progress::Done(()));
            }
        }
        if let Some(token) = self.poll(cx)? {
            return self.deliver_event(token, on_event);
        }
        // If an earlier packet was sent, the payload is next. The transport does not wake the task for that.
        Ok(Progress::again_if(
            moved || !is_blocked && self.session.payload_left() > 0,
        ))
    }

    /// Writes until the transport accepts no more, and returns `true` if it accepted anything.
    pub(super) fn write(&mut self, cx: &Context<'_, impl Clock, T::Waker>) -> Result<bool, Failed> {
        if self.failure.is_some() {
            return Err(Failed);
        }
        self.timers.end_ack_delay();
        let mut moved = false;
        while self.session.has_pending() {
            let bytes = self.session.lend(cx.clock.now());
            let written = self.transport.try_write(bytes, cx.waker);
            let now = cx.clock.now();
            let n = self.bytes_written(written, now)?;
            if n == 0 {
                return Ok(moved);
            }
            self.session.consume(n, now);
            moved = true;
        }
        if !self.timers.is_flushed() {
            self.flush_transport(cx)?;
        }
        Ok(moved)
    }

    /// Writes payload from the caller's memory once, and returns `true` if the transport accepted anything.
    pub(super) fn write_payload(
        &mut self,
        bytes: &[u8],
        cx: &Context<'_, impl Clock, T::Waker>,
    ) -> Result<bool, Failed> {
        let written = self.transport.try_write(bytes, cx.waker);
        let now = cx.clock.now();
        let n = self.bytes_written(written, now)?;
        self.session.payload_sent(n, now);
        Ok(n > 0)
    }

    fn bytes_written(
        &mut self,
        written: Poll<Result<usize, T::Error>>,
        now: Instant,
    ) -> Result<usize, Failed> {
        let n = match written {
            Poll::Pending => return Ok(0),
            Poll::Ready(written) => self.nonzero(written)?,
        };
        self.timers.on_write(now);
        Ok(n)
    }

    fn flush_transport(&mut self, cx: &Context<'_, impl Clock, T::Waker>) -> Result<(), Failed> {
        match self.transport.try_flush(cx.waker) {
            Poll::Ready(Ok(())) => self.timers.on_flush(),
            Poll::Ready(Err(error)) => {
                return Err(self.transport_failed(TransportFailure::Error(error)));
            }
            Poll::Pending => {
                let timeout = self.session.response_timeout();
                if self.timers.is_flush_overdue(timeout, cx.clock.now()) {
                    return Err(self.transport_failed(TransportFailure::WriteTimeout));
                }
            }
        }
        Ok(())
    }

    /// If a timeout may have passed, reads all that the transport has and the receive buffer can hold. An answer that
    /// the transport already holds is not late. Returns `true` if bytes were received.
    fn read_if_overdue(&mut self, cx: &Context<'_, impl Clock, T::Waker>) -> Result<bool, Failed> {
        let mut moved = false;
        while self.session.is_overdue(cx.clock.now()) && self.read(cx)? {
            moved = true;
        }
        Ok(moved)
    }

    /// Reads once, and returns `true` if bytes were received.
    fn read(&mut self, cx: &Context<'_, impl Clock, T::Waker>) -> Result<bool, Failed> {
        let space = self.session.space();
        if space.is_empty() {
            return Ok(false);
        }
        let Poll::Ready(read) = self.transport.try_read(space, cx.waker) else {
            return Ok(false);
        };
        let n = self.nonzero(read)?;
        self.session.commit(n);
        Ok(true)
    }

    /// The number of bytes read or written. 0 means that the peer has closed the connection.
    fn nonzero(&mut self, result: Result<usize, T::Error>) -> Result<usize, Failed> {
        match result {
            Ok(0) => Err(self.transport_failed(TransportFailure::Closed)),
            Ok(n) => Ok(n),
            Err(error) => Err(self.transport_failed(TransportFailure::Error(error))),
        }
    }
}
