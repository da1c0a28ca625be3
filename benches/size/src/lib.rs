//! Shared code of the measured programs: transport and clock, whose drivers are not counted.
#![no_std]

use core::panic::PanicInfo;

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use umqtt::{Clock, Instant};

unsafe extern "C" {
    safe fn transport_read_ready() -> bool;
    safe fn transport_write_ready() -> bool;
    /// Writes up to `len` received bytes to `to`, and returns their number. Below 0: the transport has failed.
    safe fn transport_read(to: *mut u8, len: usize) -> isize;
    /// Sends up to `len` bytes from `from`, and returns their number. Below 0: the transport has failed.
    safe fn transport_write(from: *const u8, len: usize) -> isize;
    safe fn clock_now() -> u32;
    safe fn show_bytes(from: *const u8, len: usize);
    safe fn halt() -> !;
}

/// Passes a received message to the rest of the firmware, which is not counted.
pub fn show(bytes: &[u8]) {
    show_bytes(bytes.as_ptr(), bytes.len());
}

/// A transport whose driver is not counted.
#[derive(Debug)]
pub struct Line;

fn moved(n: isize) -> Result<usize, ErrorKind> {
    usize::try_from(n).map_err(|_| ErrorKind::Other)
}

impl ErrorType for Line {
    type Error = ErrorKind;
}

impl ReadReady for Line {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(transport_read_ready())
    }
}

impl WriteReady for Line {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(transport_write_ready())
    }
}

impl Read for Line {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        moved(transport_read(buf.as_mut_ptr(), buf.len()))
    }
}

impl Write for Line {
    fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        moved(transport_write(buf.as_ptr(), buf.len()))
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// A clock whose driver is not counted.
#[derive(Debug)]
pub struct Timer;

impl Clock for Timer {
    fn now(&self) -> Instant {
        Instant::from_millis(clock_now())
    }
}

#[cfg(feature = "async")]
mod asynch {
    use core::future::{Future, poll_fn};
    use core::task::Poll;

    use super::{Clock, transport_write, transport_write_ready};
    use super::{ErrorKind, Instant, Line, Timer, moved, transport_read, transport_read_ready};
    use umqtt::asynch::Sleep;

    impl embedded_io_async::Read for Line {
        async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
            ready(|| transport_read_ready()).await;
            moved(transport_read(buf.as_mut_ptr(), buf.len()))
        }
    }

    impl embedded_io_async::Write for Line {
        async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
            ready(|| transport_write_ready()).await;
            moved(transport_write(buf.as_ptr(), buf.len()))
        }

        async fn flush(&mut self) -> Result<(), ErrorKind> {
            Ok(())
        }
    }

    impl Sleep for Timer {
        fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
            ready(move || at.has_passed(self.now()))
        }
    }

    fn ready(is_ready: impl Fn() -> bool) -> impl Future<Output = ()> {
        poll_fn(move |_| match is_ready() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    halt()
}
