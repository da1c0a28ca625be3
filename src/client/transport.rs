//! The interface of a transport for the driver: calls that make one attempt and never wait.

use core::task::Poll;

use embedded_io::{Error, ErrorKind, ErrorType};

/// A transport whose calls make one attempt each, and return `Pending` if it cannot move data now.
pub(super) trait PollTransport: ErrorType {
    /// The transport wakes it when an attempt that was `Pending` should be repeated.
    type Waker;

    /// Returns 0 at the end of the stream.
    fn try_read(
        &mut self,
        space: &mut [u8],
        waker: &Self::Waker,
    ) -> Poll<Result<usize, Self::Error>>;

    /// Returns 0 if the transport will never accept data again.
    fn try_write(&mut self, bytes: &[u8], waker: &Self::Waker) -> Poll<Result<usize, Self::Error>>;

    /// Returns `Ready` when all written data was sent.
    fn try_flush(&mut self, waker: &Self::Waker) -> Poll<Result<(), Self::Error>>;
}

/// Turns errors that only mean "not now" into `Pending`.
pub(super) fn pending_if_not_now<R, E: Error>(result: Result<R, E>) -> Poll<Result<R, E>> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::TimedOut) => {
            Poll::Pending
        }
        result => Poll::Ready(result),
    }
}
