//! Payloads that the caller provides while the device sends them.

use embedded_io::{Error as _, Read, ReadReady, Write, WriteReady};

use super::{Device, Handler};
use crate::{
    client::{
        Error,
        calls::{slice_at, total_len},
    },
    codec::PacketId,
    session::{Event, Handled, Publisher, RequestError, StreamedPublish},
    time::Clock,
};

/// A source of a payload. It is given memory and the number of missing bytes, and returns the number of bytes that it
/// has written.
type Fill<'f, E> = &'f mut dyn FnMut(&mut [u8], usize) -> Result<usize, Error<E>>;

impl<'d, T, C> Device<'d, T, C>
where
    T: Read + Write + ReadReady + WriteReady,
    C: Clock,
{
    /// Publishes a message whose payload consists of several slices, or does not fit into the send buffer, and waits
    /// until it was sent. Meanwhile, events are passed to the handler.
    ///
    /// At QoS 1 and 2, the payload may be needed again on the next connection: [`Event::PayloadNeeded`] asks for it.
    ///
    /// # Errors
    ///
    /// - [`Error::Request`]: the session rejected the message. With [`RequestError::CheckpointDue`], the handler returned
    ///   [`Handled::NotNow`] for a checkpoint, and the payload was aborted. If a part of it was sent, the connection
    ///   ends.
    /// - [`Error::Closed`]: the connection has ended, and an event is postponed. The reason is reported after this event.
    /// - Others: the connection has ended, for this reason.
    pub fn publish_slices<H: Into<Handled>>(
        &mut self,
        message: StreamedPublish<'_>,
        payload: &[&[u8]],
        mut handler: impl FnMut(Event<'_>, &mut Publisher<'_, 'd>) -> H,
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let len = total_len(payload);
        let id = self.session.begin_payload(message, len)?;
        let handler: Handler<'_, 'd> = &mut |event, publisher| handler(event, publisher).into();
        while self.is_sending_payload()? {
            let left = self.session.payload_left();
            let rest = slice_at(payload, len.saturating_sub(left));
            if left == 0 || !self.write_payload(rest) {
                self.turn_or_idle(handler)?;
            }
        }
        self.write();
        Ok(id)
    }

    /// As [`Self::publish_slices`], with a payload of `len` bytes from a reader. [`ReadFn`](crate::ReadFn) turns a closure
    /// into a reader.
    ///
    /// # Errors
    ///
    /// As [`Self::publish_slices`], and [`Error::Source`] and [`Error::SourceEnded`]: the reader failed or ended early. The
    /// connection ends, because the server would read the next packet as payload.
    pub fn publish_from<H: Into<Handled>>(
        &mut self,
        message: StreamedPublish<'_>,
        len: usize,
        mut reader: impl Read,
        mut handler: impl FnMut(Event<'_>, &mut Publisher<'_, 'd>) -> H,
    ) -> Result<Option<PacketId>, Error<T::Error>> {
        let id = self.session.begin_payload(message, len)?;
        let mut fill = |space: &mut [u8], left: usize| match reader.read(space) {
            Ok(0) => Err(Error::SourceEnded { missing: left }),
            Ok(n) => Ok(n),
            Err(error) => match error.kind() {
                embedded_io::ErrorKind::Interrupted => Ok(0),
                kind => Err(Error::Source(kind)),
            },
        };
        self.send_payload(&mut fill, &mut |event, publisher| {
            handler(event, publisher).into()
        })?;
        Ok(id)
    }

    /// As [`Self::write`], and then writes bytes of a payload. Returns `true` if the transport accepted any of the
    /// payload.
    fn write_payload(&mut self, bytes: &[u8]) -> bool {
        self.with_driver(|driver, cx| {
            driver.write(cx);
            driver.write_payload(bytes, cx)
        })
    }

    /// Returns `true` until the payload was sent. If the connection is closed before that, the last events are reported
    /// first, then the reason.
    fn is_sending_payload(&mut self) -> Result<bool, Error<T::Error>> {
        let is_sending = self.session.is_payload_open() || !self.session.may_receive();
        if is_sending && self.is_paused {
            if !self.session.is_online() {
                return Err(Error::Closed);
            }
            if self.session.checkpoint_pending() {
                // Nothing is sent before the caller has saved the session.
                self.session.abandon_payload();
                return Err(RequestError::CheckpointDue.into());
            }
        }
        Ok(is_sending)
    }

    fn send_payload(
        &mut self,
        fill: Fill<'_, T::Error>,
        handler: Handler<'_, 'd>,
    ) -> Result<(), Error<T::Error>> {
        while self.is_sending_payload()? {
            let left = self.session.payload_left();
            let space = self.session.payload_space();
            if !space.is_empty() {
                match fill(space, left) {
                    Ok(n) => self.session.payload_commit(n),
                    Err(error) => {
                        self.session.abandon_payload();
                        return Err(error);
                    }
                }
                self.write();
            }
            // A read may wait for a timeout of the transport, so none is made between pieces that are accepted at once.
            if self.session.payload_space().is_empty() {
                self.turn_or_idle(handler)?;
            }
        }
        Ok(())
    }
}
