//! A clock and a transport adapter for programs with the standard library (feature `std`).

use std::{
    io,
    thread::sleep,
    time::{Duration, Instant as StdInstant},
};

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};

use crate::time::{Clock, Instant};

/// Time that [`StdClock::idle`](Clock::idle) sleeps.
const IDLE_TIME: Duration = Duration::from_millis(1);

/// The monotonic clock of the operating system. It starts at 0 when it is created.
#[derive(Clone, Copy, Debug)]
pub struct StdClock {
    start: StdInstant,
}

impl StdClock {
    /// Creates a clock that shows 0 now.
    pub fn new() -> Self {
        Self {
            start: StdInstant::now(),
        }
    }
}

impl Default for StdClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for StdClock {
    fn now(&self) -> Instant {
        let millis = self.start.elapsed().as_millis() & u128::from(u32::MAX);
        Instant::from_millis(u32::try_from(millis).unwrap_or_default())
    }

    fn idle(&self) {
        sleep(IDLE_TIME);
    }
}

/// An adapter that makes a transport of a standard stream (`TcpStream`, a TLS stream over one, ...).
///
/// No call of the stream may block for long. The caller ensures it in one of two ways:
///
/// - Non-blocking mode: data that is received while the client waits is read when its clock returns from
///   [`idle`](Clock::idle) ([`StdClock`]: after 1 ms).
/// - Timeouts of some milliseconds for reads and writes: the operating system wakes the client at once. An exchange of
///   short messages is many times as fast, but `poll` may take as long as the timeout.
///
/// `WouldBlock` of the stream becomes [`ErrorKind::TimedOut`], for which a blocking client tries again. `read_ready` and
/// `write_ready` always return `true`.
///
/// ```no_run
/// # use std::{net::TcpStream, time::Duration};
/// # use umqtt::std_io::NonBlocking;
/// let socket = TcpStream::connect("localhost:1883")?;
/// socket.set_nodelay(true)?;
/// socket.set_read_timeout(Some(Duration::from_millis(10)))?;
/// socket.set_write_timeout(Some(Duration::from_millis(10)))?;
/// let transport = NonBlocking::new(socket);
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct NonBlocking<S> {
    stream: S,
}

impl<S> NonBlocking<S> {
    /// Wraps a stream that is in non-blocking mode or has timeouts.
    pub const fn new(stream: S) -> Self {
        Self { stream }
    }

    /// Returns the stream.
    pub const fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns the stream.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Consumes the adapter and returns the stream.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

/// An error of a standard stream.
#[derive(Debug)]
pub struct Error(pub io::Error);

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl embedded_io::Error for Error {
    fn kind(&self) -> ErrorKind {
        match self.0.kind() {
            io::ErrorKind::WouldBlock => ErrorKind::TimedOut,
            other => other.into(),
        }
    }
}

impl<S> ErrorType for NonBlocking<S> {
    type Error = Error;
}

impl<S: io::Read> Read for NonBlocking<S> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        self.stream.read(buf).map_err(Error)
    }
}

impl<S: io::Write> Write for NonBlocking<S> {
    /// `Ok(0)` of the stream means that it accepts nothing now, as a TLS stream with a full buffer says it.
    fn write(&mut self, buf: &[u8]) -> Result<usize, Error> {
        match self.stream.write(buf) {
            Ok(0) if !buf.is_empty() => Err(Error(io::ErrorKind::WouldBlock.into())),
            written => written.map_err(Error),
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.stream.flush().map_err(Error)
    }
}

impl<S: io::Read> ReadReady for NonBlocking<S> {
    fn read_ready(&mut self) -> Result<bool, Error> {
        Ok(true)
    }
}

impl<S: io::Write> WriteReady for NonBlocking<S> {
    fn write_ready(&mut self) -> Result<bool, Error> {
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream whose buffer is full at every other write, as that of a TLS connection can be.
    struct FullBuffer {
        is_full: bool,
    }

    impl io::Write for FullBuffer {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.is_full = !self.is_full;
            Ok(if self.is_full { 0 } else { buf.len() })
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn write_to_full_stream_means_not_now() {
        let mut transport = NonBlocking::new(FullBuffer { is_full: false });
        let kind = transport
            .write(b"x")
            .map_err(|error| embedded_io::Error::kind(&error));
        assert_eq!(kind, Err(ErrorKind::TimedOut));
        assert!(matches!(transport.write(b"x"), Ok(1)));
        assert!(matches!(transport.write(b""), Ok(0)));
    }
}
