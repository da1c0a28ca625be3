//! An async transport. Each attempt polls a new future once.

use core::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use embedded_io_async::{Error, ErrorType, Read, Write};

use crate::client::transport::{PollTransport, pending_if_not_now};

pub(super) struct AsyncTransport<T>(pub(super) T);

impl<T: ErrorType> ErrorType for AsyncTransport<T> {
    type Error = T::Error;
}

impl<T: Read + Write> PollTransport for AsyncTransport<T> {
    type Waker = Waker;

    fn try_read(&mut self, space: &mut [u8], waker: &Waker) -> Poll<Result<usize, T::Error>> {
        attempt(self.0.read(space), waker)
    }

    fn try_write(&mut self, bytes: &[u8], waker: &Waker) -> Poll<Result<usize, T::Error>> {
        attempt(self.0.write(bytes), waker)
    }

    fn try_flush(&mut self, waker: &Waker) -> Poll<Result<(), T::Error>> {
        attempt(self.0.flush(), waker)
    }
}

/// Polls a future once. After an interruption, the transport does not wake the task, so this function does.
fn attempt<R, E: Error>(
    future: impl Future<Output = Result<R, E>>,
    waker: &Waker,
) -> Poll<Result<R, E>> {
    let Poll::Ready(result) = pin!(future).poll(&mut Context::from_waker(waker)) else {
        return Poll::Pending;
    };
    let attempt = pending_if_not_now(result);
    if attempt.is_pending() {
        waker.wake_by_ref();
    }
    attempt
}
