//! The calls of both clients as steps of the driver. A client repeats a step until it is done, and waits in between.

use embedded_io::{ErrorKind, ErrorType};

use super::{
    Error,
    driver::{Context, Driver, Failed, Progress, Step},
    transport::PollTransport,
};
use crate::{
    codec::{PacketId, SubackCodes},
    session::{Event, EventToken, Publisher, RequestError},
    time::Clock,
};

/// Calls that move no bytes.
impl<T: ErrorType> Driver<'_, '_, T> {
    /// Rejects a waiting call if its packet would be queued after a payload that the caller must provide again first.
    pub(super) fn check_order(&self) -> Result<(), RequestError> {
        if self.session.payload_waits() {
            return Err(RequestError::PayloadPending);
        }
        Ok(())
    }

    /// Returns the event of this token.
    pub(super) fn event(&mut self, token: EventToken) -> Result<Event<'_>, Error<T::Error>> {
        self.session.event(token)?.ok_or(Error::Closed)
    }

    /// Returns the return codes of the SUBACK of this token.
    pub(super) fn suback(&mut self, token: EventToken) -> Result<SubackCodes<'_>, Error<T::Error>> {
        match self.session.event(token)? {
            Some(Event::Suback(_, codes)) => Ok(codes),
            _ => Err(Error::Closed),
        }
    }

    /// Returns the event of a step that the client does not repeat, if the step has produced one.
    pub(super) fn polled(
        &mut self,
        step: Step<EventToken>,
    ) -> Result<Option<Event<'_>>, Error<T::Error>> {
        match step {
            Ok(Progress::Done(token)) => Ok(self.session.event(token)?),
            Ok(_) => Ok(None),
            Err(Failed) => Err(self.error()),
        }
    }

    /// Returns the result of a flush after its last step.
    pub(super) fn flushed(&mut self) -> Result<(), Error<T::Error>> {
        if self.session.has_failed() {
            return Err(self.error());
        }
        if self.has_failure() && !self.has_ended() {
            return Err(RequestError::NotConnected.into());
        }
        if self.session.checkpoint_pending() {
            return Err(RequestError::CheckpointDue.into());
        }
        self.check_order()?;
        Ok(())
    }

    /// Queues DISCONNECT, unless the caller has queued it through the session. After that, the client reads until the
    /// end of the stream, and the caller closes the transport \[MQTT-3.14.4-1\].
    pub(super) fn start_disconnect(&mut self) -> Result<(), Error<T::Error>> {
        match self.session.disconnect() {
            Err(RequestError::NotConnected) if self.session.has_failed() => Err(self.error()),
            Ok(()) | Err(RequestError::NotConnected) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Queues the bytes that a reader has written to [`Session::payload_space`](crate::Session::payload_space). If the
    /// reader failed, aborts the payload.
    pub(super) fn commit_piece(
        &mut self,
        read: Result<usize, ErrorKind>,
    ) -> Result<(), Error<T::Error>> {
        let failure = match read {
            Ok(0) => Error::SourceEnded {
                missing: self.session.payload_left(),
            },
            Ok(n) => {
                self.session.payload_commit(n);
                return Ok(());
            }
            Err(ErrorKind::Interrupted) => return Ok(()),
            Err(kind) => Error::Source(kind),
        };
        self.session.abandon_payload();
        Err(failure)
    }

    /// Copies received payload bytes of the current message to `buf`. Returns 0 at its end, and `None` if more bytes
    /// must be received first.
    pub(super) fn read_payload(&mut self, buf: &mut [u8]) -> Option<usize> {
        let n = self.session.read_payload(buf);
        (n > 0 || buf.is_empty() || !self.session.is_message_open()).then_some(n)
    }

    /// Returns `true` if the pending event is a checkpoint.
    pub(super) fn is_checkpoint_next(&self) -> bool {
        self.session.checkpoint_pending() && !self.session.has_chunk()
    }

    /// Takes the next chunk of the current message. Any other event means that its rest will not be received.
    pub(super) fn next_chunk(&mut self, token: EventToken) -> Result<(), Error<T::Error>> {
        if self.is_checkpoint_next() {
            return Err(RequestError::CheckpointDue.into());
        }
        match self.session.event(token)? {
            Some(Event::Chunk(_)) => Ok(()),
            _ => Err(Error::Closed),
        }
    }
}

/// Calls that wait.
impl<'b, T: PollTransport> Driver<'_, 'b, T> {
    /// Waits for the answer to the request with this id. Other events are delivered.
    pub(super) fn await_answer(
        &mut self,
        id: PacketId,
        on_event: &mut dyn FnMut(Event<'_>, &mut Publisher<'_, 'b>),
        cx: &Context<'_, impl Clock, T::Waker>,
    ) -> Step<EventToken> {
        let progress = self.drive(cx)?;
        let Progress::Done(token) = progress else {
            return Ok(progress);
        };
        if token.completed_request() == Some(id) {
            // Acknowledges the events that were delivered before, because the next call of the caller may be late.
            self.write(cx);
            return Ok(Progress::Done(token));
        }
        self.deliver_event(token, on_event)
    }

    /// Sends the payload of `len` bytes in these slices. Events are delivered.
    pub(super) fn send_slices(
        &mut self,
        slices: &[&[u8]],
        len: usize,
        on_event: &mut dyn FnMut(Event<'_>, &mut Publisher<'_, 'b>),
        cx: &Context<'_, impl Clock, T::Waker>,
    ) -> Step<()> {
        self.write(cx);
        loop {
            let left = self.session.payload_left();
            let bytes = slice_at(slices, len.saturating_sub(left));
            if left == 0 || !self.write_payload(bytes, cx) {
                return self.finish_payload(on_event, cx);
            }
        }
    }

    /// Sends a payload that is written to [`Session::payload_space`](crate::Session::payload_space) in pieces. The step
    /// is done when there is space for the next piece, or when the whole payload was sent. Events are delivered.
    pub(super) fn send_pieces(
        &mut self,
        on_event: &mut dyn FnMut(Event<'_>, &mut Publisher<'_, 'b>),
        cx: &Context<'_, impl Clock, T::Waker>,
    ) -> Step<()> {
        self.write(cx);
        // A read may wait for the timeout of the transport. So nothing is read between pieces that the transport
        // accepts at once.
        if self.is_flushed() && !self.session.payload_space().is_empty() {
            return Ok(Progress::Done(()));
        }
        let progress = self.finish_payload(on_event, cx)?;
        let is_waiting = matches!(progress, Progress::Again | Progress::Blocked);
        if is_waiting && !self.session.payload_space().is_empty() {
            return Ok(Progress::Done(()));
        }
        Ok(progress)
    }
}

/// Returns the length of a payload in several slices.
pub(super) fn total_len(slices: &[&[u8]]) -> usize {
    slices
        .iter()
        .fold(0, |len: usize, slice| len.saturating_add(slice.len()))
}

/// Returns the part of a payload in several slices that begins at `offset`, up to the end of its slice.
pub(super) fn slice_at<'a>(slices: &[&'a [u8]], mut offset: usize) -> &'a [u8] {
    for slice in slices {
        match slice.get(offset..) {
            Some([]) | None => offset = offset.saturating_sub(slice.len()),
            Some(rest) => return rest,
        }
    }
    &[]
}
