//! A message at hand, as a reader.

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};

use super::{Client, Failed};
use crate::{client::Error, time::Clock};

/// The payload of the message at hand, to be given to whatever reads; see [`Client::payload`].
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
    /// Copies the next bytes of the payload to `buf`, waiting for them if need be; 0 at its end.
    ///
    /// A checkpoint that is due (after a publish between two chunks) has to be seen first, which
    /// [`RequestError::CheckpointDue`](crate::RequestError::CheckpointDue) says; that skips the rest of the message.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        loop {
            if let Some(n) = self.client.driver.read_payload(buf) {
                return Ok(n);
            }
            let ready = self.client.ready().map_err(|Failed| self.client.error())?;
            self.client.driver.next_chunk(ready)?;
        }
    }
}

impl<T: ErrorType, C> Drop for Payload<'_, '_, '_, T, C> {
    fn drop(&mut self) {
        self.client.driver.session.skip_message();
    }
}
