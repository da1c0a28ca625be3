//! The session and its transport, moved on poll by poll.

use core::{
    future::Future,
    pin::pin,
    task::{Context, Poll},
};

use embedded_io_async::{ErrorType, Read, Write};

use crate::{
    client::{Error, is_overdue, is_transient},
    session::{ProtocolError, Ready, Session},
    time::{Clock, Instant},
};

/// All but the clock, which a sleeping future borrows.
pub(super) struct Wire<'s, 'b, T: ErrorType> {
    pub(super) session: &'s mut Session<'b>,
    pub(super) transport: T,
    /// When bytes were last written that have not been flushed.
    pub(super) unflushed: Option<Instant>,
    /// What ended the connection in a call that had something else to return.
    pub(super) failure: Option<Error<T::Error>>,
}

/// How far a payload has come that is being handed over.
pub(super) enum Step {
    Done,
    Event(Ready),
}

impl<T: Read + Write> Wire<'_, '_, T> {
    /// Moves bytes both ways up to the next event. What is owed leaves first, as far as the transport takes it.
    ///
    /// Reads at most once a call, and asks to be called again, so that a peer that sends without end stops nobody else.
    pub(super) fn poll_ready<C: Clock>(
        &mut self,
        clock: &C,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Ready, Error<T::Error>>> {
        // An answer that waits to be read is in time, however late the caller comes.
        if is_overdue(self.session, clock.now()) {
            let _ = self.poll_read(cx)?;
        }
        for read in [false, true] {
            if read && self.poll_read(cx)?.is_pending() {
                return Poll::Pending;
            }
            let _ = self.poll_write(clock, cx)?;
            if let Some(ready) = self.session.poll(clock.now())? {
                return Poll::Ready(Ok(ready));
            }
            let _ = self.poll_write(clock, cx)?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads up to the next event, until the payload that is open has left. After its last byte nothing is read: its
    /// acknowledgement is for the caller, who has no id yet.
    pub(super) fn poll_step<C: Clock>(
        &mut self,
        clock: &C,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Step, Error<T::Error>>> {
        if !self.session.is_payload_open() {
            return self.poll_write(clock, cx).map_ok(|()| Step::Done);
        }
        if self.poll_read(cx)?.is_ready() {
            cx.waker().wake_by_ref();
        }
        let ready = self.session.poll(clock.now())?;
        ready.map_or(Poll::Pending, |ready| Poll::Ready(Ok(Step::Event(ready))))
    }

    /// One write of payload bytes from the caller's memory.
    pub(super) fn poll_payload<C: Clock>(
        &mut self,
        bytes: &[u8],
        clock: &C,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error<T::Error>>> {
        let Poll::Ready(written) = pin!(self.transport.write(bytes)).poll(cx) else {
            return Poll::Pending;
        };
        self.unflushed = Some(clock.now());
        match written {
            Ok(0) => Poll::Ready(Err(self.lost(Error::Closed))),
            Ok(n) => {
                self.session.payload_sent(n, clock.now());
                Poll::Ready(Ok(()))
            }
            Err(error) => self.failed(error, cx).map(Err),
        }
    }

    /// Writes as much as the transport takes; ready when that was everything.
    pub(super) fn poll_write<C: Clock>(
        &mut self,
        clock: &C,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error<T::Error>>> {
        if let Some(error) = self.failure.take() {
            return Poll::Ready(Err(error));
        }
        loop {
            let bytes = self.session.pending(clock.now());
            if bytes.is_empty() {
                break;
            }
            let written = match pin!(self.transport.write(bytes)).poll(cx) {
                Poll::Ready(written) => written,
                Poll::Pending => return Poll::Pending,
            };
            match written {
                Ok(0) => return Poll::Ready(Err(self.lost(Error::Closed))),
                Ok(n) => self.session.consume(n, clock.now()),
                Err(error) => return self.failed(error, cx).map(Err),
            }
            self.unflushed = Some(clock.now());
        }
        self.poll_flush(clock, cx)
    }

    fn poll_flush<C: Clock>(
        &mut self,
        clock: &C,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error<T::Error>>> {
        if self.unflushed.is_none() {
            return Poll::Ready(Ok(()));
        }
        let flushed = match pin!(self.transport.flush()).poll(cx) {
            Poll::Ready(flushed) => Some(flushed),
            Poll::Pending => None,
        };
        match flushed {
            Some(Ok(())) => {
                self.unflushed = None;
                Poll::Ready(Ok(()))
            }
            Some(Err(error)) => self.failed(error, cx).map(Err),
            None if self.flush_is_overdue(clock.now()) => {
                let reason = Error::Protocol(ProtocolError::WriteTimeout);
                Poll::Ready(Err(self.lost(reason)))
            }
            None => Poll::Pending,
        }
    }

    /// Reads once; ready when bytes came.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error<T::Error>>> {
        let space = self.session.space();
        if space.is_empty() {
            return Poll::Pending;
        }
        let read = match pin!(self.transport.read(space)).poll(cx) {
            Poll::Ready(read) => read,
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(match read {
            Ok(0) => Err(self.lost(Error::Closed)),
            Ok(n) => {
                self.session.commit(n);
                Ok(())
            }
            Err(error) => return self.failed(error, cx).map(Err),
        })
    }

    /// When something has to be done even if the transport wakes nobody.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.session
            .deadline()
            .into_iter()
            .chain(self.flush_deadline())
            .reduce(Instant::earlier)
    }

    /// A transport that took all bytes may still never get rid of them.
    fn flush_deadline(&self) -> Option<Instant> {
        let since = self.unflushed?;
        Some(since.after(self.session.response_timeout()))
    }

    fn flush_is_overdue(&self, now: Instant) -> bool {
        self.flush_deadline().is_some_and(|at| at.is_reached(now))
    }

    /// An interruption is tried again; any other error ends the connection.
    fn failed(&mut self, error: T::Error, cx: &mut Context<'_>) -> Poll<Error<T::Error>> {
        if is_transient(&error) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.lost(Error::Transport(error)))
    }

    fn lost(&mut self, error: Error<T::Error>) -> Error<T::Error> {
        self.session.connection_lost();
        error
    }
}
