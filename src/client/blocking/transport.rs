//! A blocking transport. It is asked before each read and write whether the call would block.

use core::task::Poll;

use embedded_io::{Error, ErrorType, Read, ReadReady, Write, WriteReady};

use crate::client::transport::{PollTransport, pending_if_not_now};

pub(super) struct BlockingTransport<T>(pub(super) T);

impl<T: ErrorType> ErrorType for BlockingTransport<T> {
    type Error = T::Error;
}

impl<T: Read + Write + ReadReady + WriteReady> PollTransport for BlockingTransport<T> {
    /// A blocking caller repeats its calls without being woken.
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
        pending_if_not_now(self.0.flush())
    }
}

fn attempt_if<R, E: Error>(
    ready: Result<bool, E>,
    attempt: impl FnOnce() -> Result<R, E>,
) -> Poll<Result<R, E>> {
    match ready {
        Ok(true) => pending_if_not_now(attempt()),
        Ok(false) => Poll::Pending,
        Err(error) => pending_if_not_now(Err(error)),
    }
}
