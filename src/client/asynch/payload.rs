//! A reader over the payload of the current message.

use embedded_io_async::{ErrorType, Read, Write};

use super::{Client, Sleep};
use crate::client::Error;

/// A reader over the payload of the current message; see [`Client::payload`].
pub struct Payload<'c, 's, 'b, T: ErrorType, C> {
    client: &'c mut Client<'s, 'b, T, C>,
    /// The connection was closed inside the message.
    is_cut: bool,
    /// The caller must take a checkpoint before the rest of the message can be received.
    is_interrupted: bool,
}

impl<'c, 's, 'b, T: ErrorType, C> Payload<'c, 's, 'b, T, C> {
    pub(super) fn new(client: &'c mut Client<'s, 'b, T, C>) -> Self {
        Self {
            client,
            is_cut: false,
            is_interrupted: false,
        }
    }
}

impl<T: ErrorType<Error: 'static>, C> ErrorType for Payload<'_, '_, '_, T, C> {
    type Error = Error<T::Error>;
}

impl<T, C> Read for Payload<'_, '_, '_, T, C>
where
    T: Read + Write + ErrorType<Error: 'static>,
    C: Sleep,
{
    /// Copies the next bytes of the payload to `buf`, and waits for them if necessary. Returns 0 at the end.
    ///
    /// If the caller has published between two chunks, a checkpoint may be due before the rest of the message was
    /// received. This then returns [`RequestError::CheckpointDue`](crate::RequestError::CheckpointDue), and skips
    /// nothing. Poll the client: it returns the checkpoint, then the next chunk.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        if self.is_cut {
            return Err(Error::Closed);
        }
        loop {
            if let Some(n) = self.client.driver.read_payload(buf) {
                return Ok(n);
            }
            let next = match self.client.next_event().await {
                Ok(token) => self.client.driver.next_chunk(token),
                Err(error) => Err(error),
            };
            self.is_cut = next.as_ref().is_err_and(Error::is_fatal);
            self.is_interrupted = next.is_err();
            next?;
        }
    }
}

impl<T: ErrorType, C> Drop for Payload<'_, '_, '_, T, C> {
    fn drop(&mut self) {
        if !self.is_interrupted {
            self.client.driver.session.skip_message();
        }
    }
}
