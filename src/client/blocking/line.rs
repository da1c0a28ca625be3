//! A blocking transport, which is asked before each read and write whether that would block.

use core::task::Poll;

use embedded_io::{Error, ErrorType, Read, ReadReady, Write, WriteReady};

use crate::client::line::{Line, attempted};

pub(super) struct Blocking<T>(pub(super) T);

impl<T: ErrorType> ErrorType for Blocking<T> {
    type Error = T::Error;
}

impl<T: Read + Write + ReadReady + WriteReady> Line for Blocking<T> {
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
        attempted(self.0.flush())
    }
}

fn attempt_if<R, E: Error>(
    ready: Result<bool, E>,
    attempt: impl FnOnce() -> Result<R, E>,
) -> Poll<Result<R, E>> {
    match ready {
        Ok(true) => attempted(attempt()),
        Ok(false) => Poll::Pending,
        Err(error) => attempted(Err(error)),
    }
}
