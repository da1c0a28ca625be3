//! The driver of both clients. It moves bytes between a session and a transport, one step at a time, and never waits.

use core::task::Poll;

use embedded_io::ErrorType;

use super::{Error, transport::PollTransport};
use crate::{
    codec::Connect,
    session::{
        ConnectionClosed, Event, EventToken, ProtocolError, Publisher, RequestError, Session,
    },
    time::{Clock, Instant},
};

/// Minimum duration in ms of a slow attempt to write. A transport with a timeout refuses bytes only after this timeout.
const SLOW_REFUSAL_MS: u32 = 2;

/// A session on a transport.
pub(super) struct Driver<'s, 'b, T: ErrorType> {
    pub(super) session: &'s mut Session<'b>,
    pub(super) transport: T,
    /// The transport has accepted data that it has not flushed.
    unflushed: bool,
    /// Number of steps without an attempt to write, modulo 256, since the transport refused bytes slowly. `None` if the
    /// last attempt was fast.
    slow_refusal: Option<u8>,
    /// The transport failed. The session still handles the bytes that were received before.
    failure: Option<TransportFailure<T::Error>>,
}

/// The state of a driver, while it has neither session nor transport.
pub(super) struct DriverState<E> {
    unflushed: bool,
    slow_refusal: Option<u8>,
    failure: Option<TransportFailure<E>>,
}

impl<E> DriverState<E> {
    /// Creates the state of a new connection.
    pub(super) const fn new() -> Self {
        Self {
            unflushed: false,
            slow_refusal: None,
            failure: None,
        }
    }
}

/// The clock, and the waker of the task that runs the driver. They are not in the [`Driver`], because a future that
/// sleeps borrows the clock.
pub(super) struct Context<'a, C, W> {
    pub(super) clock: &'a C,
    pub(super) waker: &'a W,
}

enum TransportFailure<E> {
    Error(E),
    Closed,
}

/// A step failed, and [`Driver::error`] returns the reason. The error is large, so steps do not return it themselves.
pub(super) struct Failed;

/// Result of a step that the client repeats until it is done.
pub(super) enum Progress<R> {
    Done(R),
    /// An event was delivered. The step can be repeated at once.
    Delivered,
    /// More can be done at once, but other tasks should run first.
    Again,
    /// Nothing can be done until the transport is ready or the deadline has passed.
    Blocked,
}

/// Result of one call of a step.
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
            unflushed: false,
            slow_refusal: None,
            failure: None,
        })
    }

    /// Continues a connection with the state that [`Self::pause`] returned.
    pub(super) fn resume(
        session: &'s mut Session<'b>,
        transport: T,
        state: DriverState<T::Error>,
    ) -> Self {
        Self {
            session,
            transport,
            unflushed: state.unflushed,
            slow_refusal: state.slow_refusal,
            failure: state.failure,
        }
    }

    /// Releases session and transport, and returns the state of the connection.
    pub(super) fn pause(self) -> DriverState<T::Error> {
        DriverState {
            unflushed: self.unflushed,
            slow_refusal: self.slow_refusal,
            failure: self.failure,
        }
    }

    /// Returns the reason why a step has [`Failed`].
    #[inline(never)] // called by every call of a client
    pub(super) fn error(&mut self) -> Error<T::Error> {
        match (self.session.close_reason(), self.failure.take()) {
            (ProtocolError::Closed, Some(TransportFailure::Error(error))) => {
                Error::Transport(error)
            }
            (reason, _) => reason.into(),
        }
    }

    /// Queues a request. If the connection is closed, returns the reason why it was closed.
    pub(super) fn request<R>(
        &mut self,
        request: impl FnOnce(&mut Session<'b>) -> Result<R, RequestError>,
    ) -> Result<R, Error<T::Error>> {
        let result = if self.session.is_online() {
            request(self.session)
        } else {
            Err(RequestError::NotConnected)
        };
        result.map_err(|error| self.request_error(error))
    }

    #[inline(never)] // called by every request
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
        on_event: &mut dyn FnMut(Event<'_>, &mut Publisher<'_, 'b>),
    ) -> Step<R> {
        match self.session.event_and_publisher(token) {
            Ok(Some((event, mut publisher))) => on_event(event, &mut publisher),
            Ok(None) => {}
            Err(_) => return Err(Failed),
        }
        Ok(Progress::Delivered)
    }

    /// Records that the transport accepts nothing more. Its received bytes are still read.
    fn write_failed(&mut self, failure: TransportFailure<T::Error>, now: Instant) {
        self.failure.get_or_insert(failure);
        self.unflushed = false;
        self.session.output_lost(now);
    }

    /// Records that the transport delivers nothing more. The bytes in the session are still handled.
    fn read_failed(&mut self, failure: TransportFailure<T::Error>) {
        self.failure.get_or_insert(failure);
        self.unflushed = false;
        self.session.connection_lost();
    }

    /// Returns `true` if the transport failed.
    pub(super) fn has_failure(&self) -> bool {
        self.failure.is_some()
    }

    /// Returns `true` if the peer has ended the stream, and nothing failed before.
    pub(super) fn has_end_of_stream(&self) -> bool {
        matches!(self.failure, Some(TransportFailure::Closed))
    }

    /// Returns `true` if DISCONNECT was sent, and the server has closed the connection.
    pub(super) fn has_ended(&self) -> bool {
        self.session.is_disconnected() && self.has_end_of_stream()
    }

    /// Returns `true` if packets are queued that must wait for CONNACK or for the caller to save the session.
    fn is_held_back(&self) -> bool {
        self.session.waits_for_connack() || self.session.checkpoint_pending()
    }

    /// Returns `true` if all messages at QoS 0 were written and flushed.
    #[cfg(feature = "async")]
    pub(super) fn is_qos0_flushed(&self) -> bool {
        !self.unflushed && self.failure.is_none() && self.session.is_qos0_sent()
    }

    /// Returns `true` if all that may be sent was written and flushed.
    pub(super) fn is_flushed(&self) -> bool {
        !self.unflushed && !self.session.has_pending() && self.failure.is_none()
    }
}

/// Steps.
impl<'b, T: PollTransport> Driver<'_, 'b, T> {
    /// Writes, reads and handles packets up to the next event. Pending packets are sent first. Exception: if only
    /// acknowledgements are pending and the next packet was received, it is handled first. One write then also sends
    /// its answer.
    ///
    /// It reads once at most, so that a fast server cannot occupy the task. If a socket with a timeout accepts no
    /// bytes, each attempt to write takes that time. In this case, received bytes are handled first.
    pub(super) fn drive(&mut self, cx: &Context<'_, impl Clock, T::Waker>) -> Step<EventToken> {
        let mut moved = false;
        let reads_first = self.reads_first();
        if !reads_first && !self.session.may_delay_acks() {
            moved = self.write(cx);
        }
        let mut read = None;
        if !self.session.has_input() {
            read = self.read(cx);
        }
        if let Some(token) = self.poll(cx)? {
            return Ok(Progress::Done(token));
        }
        if reads_first {
            read = read.or_else(|| self.read(cx));
            if read == Some(true) {
                return Ok(Progress::Again);
            }
        }
        moved |= self.write(cx);
        let read = read.or_else(|| self.read(cx));
        Ok(Progress::again_if(moved || read == Some(true)))
    }

    /// Returns `true` if an attempt to write would probably wait without success. Every 256th step, a write is
    /// attempted nevertheless.
    fn reads_first(&mut self) -> bool {
        self.slow_refusal = self.slow_refusal.map(|steps| steps.wrapping_add(1));
        self.slow_refusal.is_some_and(|steps| steps != 0)
    }

    /// Writes pending bytes and checks the timers, while the caller cannot take the pending event.
    pub(super) fn hold(&mut self, cx: &Context<'_, impl Clock, T::Waker>) -> Step<EventToken> {
        let moved = self.write(cx);
        self.poll(cx)?;
        Ok(Progress::again_if(moved))
    }

    fn poll(
        &mut self,
        cx: &Context<'_, impl Clock, T::Waker>,
    ) -> Result<Option<EventToken>, Failed> {
        self.session
            .poll_inner(cx.clock.now())
            .map_err(|ConnectionClosed| Failed)
    }

    /// Reads once and handles packets up to the next event. Returns `true` if bytes were received.
    fn read_and_poll(
        &mut self,
        cx: &Context<'_, impl Clock, T::Waker>,
    ) -> Result<(bool, Option<EventToken>), Failed> {
        let mut read = self.read(cx);
        let token = self.poll(cx)?;
        if read.is_none() && token.is_none() {
            read = self.read(cx);
        }
        Ok((read == Some(true), token))
    }

    /// Writes and flushes all queued packets.
    pub(super) fn flush(&mut self, cx: &Context<'_, impl Clock, T::Waker>) -> Step<()> {
        self.write(cx);
        let is_flushed = self.is_flushed();
        if is_flushed && !self.session.waits_for_connack() {
            return Ok(Progress::Done(()));
        }
        // Reads too: if both peers only wrote, full buffers would block both permanently.
        let (moved, token) = match self.read_and_poll(cx) {
            // The server closed the connection after DISCONNECT.
            Err(Failed) if self.has_ended() => return Ok(Progress::Done(())),
            result => result?,
        };
        // Nothing more is sent, but the caller must take the events first.
        if token.is_some() && self.failure.is_some() {
            return Ok(Progress::Done(()));
        }
        Ok(Progress::again_if(
            moved || is_flushed && self.session.has_pending(),
        ))
    }

    /// Like [`Self::flush`], but stops at each event to deliver it.
    pub(super) fn flush_until_event(
        &mut self,
        on_event: &mut dyn FnMut(Event<'_>, &mut Publisher<'_, 'b>),
        cx: &Context<'_, impl Clock, T::Waker>,
    ) -> Step<()> {
        self.write(cx);
        if self.is_flushed() && !self.is_held_back() {
            return Ok(Progress::Done(()));
        }
        match self.drive(cx)? {
            Progress::Done(token) => self.deliver_event(token, on_event),
            Progress::Again => Ok(Progress::Again),
            _ => Ok(Progress::Blocked),
        }
    }

    /// Reads after DISCONNECT, until the end of the stream. The step is done when the connection is closed. Events are
    /// dropped.
    pub(super) fn await_end(&mut self, cx: &Context<'_, impl Clock, T::Waker>) -> Step<()> {
        match self.drive(cx) {
            Err(Failed) if !self.session.has_failed() => Ok(Progress::Done(())),
            Ok(Progress::Done(token)) => match self.session.discard_event(token) {
                Ok(()) => Ok(Progress::Delivered),
                Err(_) => Err(Failed),
            },
            Ok(Progress::Again) => Ok(Progress::Again),
            Ok(_) => Ok(Progress::Blocked),
            Err(failed) => Err(failed),
        }
    }

    /// Reads while a payload is being sent, up to the next event to deliver. The step is done when the whole packet was
    /// flushed.
    ///
    /// After the last byte of the payload, it reads nothing. The caller does not know the packet id yet, so it could
    /// not recognize the acknowledgement.
    pub(super) fn finish_payload(
        &mut self,
        on_event: &mut dyn FnMut(Event<'_>, &mut Publisher<'_, 'b>),
        cx: &Context<'_, impl Clock, T::Waker>,
    ) -> Step<()> {
        let is_blocked = self.session.payload_left() > 0;
        let (moved, token) = if self.session.is_payload_open() {
            self.read_and_poll(cx)?
        } else {
            self.write(cx);
            if self.is_flushed() {
                return Ok(Progress::Done(()));
            }
            (false, self.poll(cx)?)
        };
        if let Some(token) = token {
            return self.deliver_event(token, on_event);
        }
        // If an earlier packet was sent, the payload is next. The transport does not wake the task for that.
        Ok(Progress::again_if(
            moved || !is_blocked && self.session.payload_left() > 0,
        ))
    }

    /// Writes until the transport accepts no more, and returns `true` if it accepted anything.
    pub(super) fn write(&mut self, cx: &Context<'_, impl Clock, T::Waker>) -> bool {
        let mut moved = false;
        while self.session.has_pending() {
            let begun = cx.clock.now();
            let bytes = self.session.lend(begun);
            let written = self.transport.try_write(bytes, cx.waker);
            let now = cx.clock.now();
            let n = self.bytes_written(written, now);
            let is_slow = n == 0 && now.millis_after(begun) >= SLOW_REFUSAL_MS;
            self.slow_refusal = is_slow.then_some(0);
            if n == 0 {
                return moved;
            }
            self.session.consume(n, now);
            moved = true;
        }
        if self.unflushed {
            self.flush_transport(cx);
        }
        moved
    }

    /// Writes payload from the caller's memory once, and returns `true` if the transport accepted anything.
    pub(super) fn write_payload(
        &mut self,
        bytes: &[u8],
        cx: &Context<'_, impl Clock, T::Waker>,
    ) -> bool {
        let written = self.transport.try_write(bytes, cx.waker);
        let now = cx.clock.now();
        let n = self.bytes_written(written, now);
        self.session.payload_sent(n, now);
        n > 0
    }

    /// Returns the number of bytes that the transport accepted.
    fn bytes_written(&mut self, written: Poll<Result<usize, T::Error>>, now: Instant) -> usize {
        match written {
            Poll::Pending => return 0,
            Poll::Ready(Ok(0)) => self.write_failed(TransportFailure::Closed, now),
            Poll::Ready(Ok(n)) => {
                self.unflushed = true;
                return n;
            }
            Poll::Ready(Err(error)) => self.write_failed(TransportFailure::Error(error), now),
        }
        0
    }

    fn flush_transport(&mut self, cx: &Context<'_, impl Clock, T::Waker>) {
        let flushed = self.transport.try_flush(cx.waker);
        let now = cx.clock.now();
        match flushed {
            Poll::Ready(Ok(())) => {
                self.unflushed = false;
                self.session.on_flushed(now);
            }
            Poll::Ready(Err(error)) => self.write_failed(TransportFailure::Error(error), now),
            Poll::Pending => self.session.on_flush_pending(now),
        }
    }

    /// Reads once. Returns `Some(true)` if the session must be polled: bytes were received, or the input has ended.
    /// Returns `Some(false)` if no bytes are ready. Returns `None` if there is no space for bytes, or if nothing more
    /// can be received.
    fn read(&mut self, cx: &Context<'_, impl Clock, T::Waker>) -> Option<bool> {
        if !self.session.may_receive() {
            return None;
        }
        let space = self.session.released_space();
        if space.is_empty() {
            return None;
        }
        match self.transport.try_read(space, cx.waker) {
            // The transport accepts nothing more, and has delivered all received bytes.
            Poll::Pending if self.failure.is_some() => self.session.connection_lost(),
            Poll::Pending => return Some(false),
            Poll::Ready(Ok(0)) => self.read_failed(TransportFailure::Closed),
            Poll::Ready(Ok(n)) => self.session.commit(n),
            Poll::Ready(Err(error)) => self.read_failed(TransportFailure::Error(error)),
        }
        Some(true)
    }
}
