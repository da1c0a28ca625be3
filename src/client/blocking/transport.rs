//! A blocking transport, which is asked before each read and write whether that would block.

use core::task::Poll;

use embedded_io::{Error, ErrorType, Read, ReadReady, Write, WriteReady};

use crate::client::transport::{PollTransport, retry_is_pending};

pub(super) struct BlockingTransport<T>(pub(super) T);

impl<T: ErrorType> ErrorType for BlockingTransport<T> {
    type Error = T::Error;
}

impl<T: Read + Write + ReadReady + WriteReady> PollTransport for BlockingTransport<T> {
    /// Whoever blocks needs none.
    type Waker = ();

    fn try_read(&mut self, space: &mut [u8], (): &()) -> Poll<Result<usize, T::Error>> {
        let ready = self.0.read_ready();
        attempt_if(ready, || self.0.read(space))
    }

    fn try_write(&mut self, bytes: &[u8], (): &()) -> Poll<Result<usize, T::Error>> {
        let ready = self.0.write_ready();
        attempt_if(ready, || self.0.write(bytes))
    }

    fn try_flush(&mut self, (): &()) -> Poll<Result<(), T::Error>> {
        retry_is_pending(self.0.flush())
    }
}

fn attempt_if<R, E: Error>(
    ready: Result<bool, E>,
    attempt: impl FnOnce() -> Result<R, E>,
) -> Poll<Result<R, E>> {
    match ready {
        Ok(true) => retry_is_pending(attempt()),
        Ok(false) => Poll::Pending,
        Err(error) => retry_is_pending(Err(error)),
    }
}
