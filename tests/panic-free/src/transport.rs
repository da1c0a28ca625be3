//! A transport and a clock with any behaviour, valid or not.

use core::hint::black_box;

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use umqtt::{Clock, Instant};

use crate::opaque::{any, hide};

pub(crate) struct Anything;

/// Returns any number of bytes, even too many, or an error.
fn outcome<T: Default>() -> Result<T, ErrorKind> {
    black_box(Ok(T::default()))
}

impl ErrorType for Anything {
    type Error = ErrorKind;
}

impl Read for Anything {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        hide(buf);
        outcome()
    }
}

impl Write for Anything {
    fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        hide(buf);
        outcome()
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        outcome()
    }
}

impl ReadReady for Anything {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        outcome()
    }
}

impl WriteReady for Anything {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        outcome()
    }
}

impl Clock for Anything {
    fn now(&self) -> Instant {
        Instant::from_millis(any())
    }
}

#[cfg(feature = "async")]
mod asynch {
    use super::*;
    use core::{
        future::{Future, poll_fn},
        task::Poll,
    };

    /// Returns a future that may be ready or pending.
    fn later<T: Default>() -> impl Future<Output = Result<T, ErrorKind>> {
        poll_fn(|_| black_box(Poll::Ready(outcome())))
    }

    impl embedded_io_async::Read for Anything {
        async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
            hide(buf);
            later().await
        }
    }

    impl embedded_io_async::Write for Anything {
        async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
            hide(buf);
            later().await
        }

        async fn flush(&mut self) -> Result<(), ErrorKind> {
            later().await
        }
    }

    impl umqtt::asynch::Sleep for Anything {
        async fn sleep_until(&self, at: Instant) {
            hide(at);
            hide(later::<()>().await);
        }
    }
}
