//! A reader over the payload of the current message.

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};

use super::Client;
use crate::{client::Error, time::Clock};

/// A reader over the payload of the current message; see [`Client::payload`].
pub struct Payload<'c, 's, 'b, T: ErrorType, C> {
    client: &'c mut Client<'s, 'b, T, C>,
}

impl<'c, 's, 'b, T: ErrorType, C> Payload<'c, 's, 'b, T, C> {
    pub(super) fn new(client: &'c mut Client<'s, 'b, T, C>) -> Self {
        Self { client }
    }
}

impl<T: ErrorType, C> ErrorType for Payload<'_, '_, '_, T, C> {
    type Error = Error<T::Error>;
}

impl<T, C> Read for Payload<'_, '_, '_, T, C>
where
    T: Read + Write + ReadReady + WriteReady,
    C: Clock,
{
    /// Copies the next bytes of the payload to `buf`, and waits for them if necessary. Returns 0 at the end.
    ///
    /// If a checkpoint is due, because the caller has published between two chunks, this returns
    /// [`RequestError::CheckpointDue`](crate::RequestError::CheckpointDue). The rest of the message is then skipped.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        loop {
            if let Some(n) = self.client.driver.read_payload(buf) {
                return Ok(n);
            }
            let token = self.client.next_event()?;
            self.client.driver.next_chunk(token)?;
        }
    }
}

impl<T: ErrorType, C> Drop for Payload<'_, '_, '_, T, C> {
    fn drop(&mut self) {
        self.client.driver.session.skip_message();
    }
}
