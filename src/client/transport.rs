//! What both clients ask of a transport.

use core::task::Poll;

use embedded_io::{Error, ErrorKind, ErrorType};

/// A transport on which each call is one attempt: `Pending` where nothing can be moved at present.
pub(super) trait PollTransport: ErrorType {
    /// Is told when an attempt that was `Pending` may be worth another.
    type Waker;

    /// Ready with 0 at the end of the stream.
    fn try_read(
        &mut self,
        space: &mut [u8],
        waker: &Self::Waker,
    ) -> Poll<Result<usize, Self::Error>>;

    /// Ready with 0 if the transport will not take anything any more.
    fn try_write(&mut self, bytes: &[u8], waker: &Self::Waker) -> Poll<Result<usize, Self::Error>>;

    /// Ready when what was written has left.
    fn try_flush(&mut self, waker: &Self::Waker) -> Poll<Result<(), Self::Error>>;
}

/// What an attempt came to; some errors only mean that nothing could be moved this time.
pub(super) fn retry_is_pending<R, E: Error>(result: Result<R, E>) -> Poll<Result<R, E>> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::TimedOut) => {
            Poll::Pending
        }
        result => Poll::Ready(result),
    }
}
