//! TCP connections, a clock and a transport adapter for programs with the standard library (feature `std`).
//!
//! ```no_run
//! use umqtt::{Session, Storage, blocking::Client, codec::Connect, std_io};
//!
//! let mut storage = Storage::<256, 512, 4>::new();
//! let mut session = Session::new(&mut storage);
//! let transport = std_io::connect("localhost:1883")?;
//! let clock = std_io::StdClock::new();
//! let client = Client::connect(&mut session, transport, clock, &Connect::new("sensor-7"))?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

use std::{
    format, io,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    thread::sleep,
    time::{Duration, Instant as StdInstant},
};

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};

use crate::time::{Clock, Instant};

/// Time that [`StdClock::idle`](Clock::idle) sleeps.
const IDLE_TIME: Duration = Duration::from_millis(1);

/// Time after which [`connect`] tries the next address.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time that a read or write waits, on a transport that [`connect`] returned.
const IO_TIMEOUT: Duration = Duration::from_millis(10);

/// A TCP connection for the blocking client and device.
pub type TcpTransport = NonBlocking<TcpStream>;

/// Opens a TCP connection for the blocking client and device.
///
/// The host name is resolved, and its addresses are tried in the order of the operating system, each for at most
/// [`CONNECT_TIMEOUT`]. The operating system limits the time to resolve the name.
///
/// Small packets are sent at once (TCP_NODELAY). A read or write waits at most 10 ms, and returns as soon as bytes were
/// moved.
///
/// ```no_run
/// let transport = umqtt::std_io::connect("localhost:1883")?;
/// let transport = umqtt::std_io::connect(("localhost", 1883))?;
/// # Ok::<_, std::io::Error>(())
/// ```
///
/// # Errors
///
/// - [`io::ErrorKind::NotFound`]: the name has no address.
/// - Other kinds: the name was not resolved, or the last address did not accept the connection. The text of a failed
///   connection starts with the address.
pub fn connect(address: impl ToSocketAddrs) -> io::Result<TcpTransport> {
    connect_timeout(address, CONNECT_TIMEOUT)
}

/// Opens a TCP connection like [`connect`], and tries each address for at most `timeout`.
///
/// ```no_run
/// # use std::time::Duration;
/// let transport = umqtt::std_io::connect_timeout("localhost:1883", Duration::from_secs(3))?;
/// # Ok::<_, std::io::Error>(())
/// ```
///
/// # Errors
///
/// - The errors of [`connect`].
/// - [`io::ErrorKind::InvalidInput`]: `timeout` is 0.
pub fn connect_timeout(address: impl ToSocketAddrs, timeout: Duration) -> io::Result<TcpTransport> {
    let mut failure = no_address();
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(IO_TIMEOUT))?;
                stream.set_write_timeout(Some(IO_TIMEOUT))?;
                return Ok(NonBlocking::new(stream));
            }
            Err(error) => failure = with_address(address, &error),
        }
    }
    Err(failure)
}

pub(crate) fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the name has no address")
}

pub(crate) fn with_address(address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{address}: {error}"))
}

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
        Instant::from_elapsed(self.start.elapsed())
    }

    fn idle(&self) {
        sleep(IDLE_TIME);
    }
}

/// An adapter that turns a standard stream into a transport: a `TcpStream`, a TLS stream over one, and others.
///
/// No call of the stream may block for long. The caller ensures this in one of two ways:
///
/// - Non-blocking mode: while the client waits, it reads received data each time its clock returns from
///   [`idle`](Clock::idle). With [`StdClock`], that is every 1 ms.
/// - Timeouts of some milliseconds for reads and writes: the client reads received data at once. An exchange of short
///   messages is many times as fast, but `poll` may take as long as the timeout.
///
/// [`connect`] returns a TCP stream with such timeouts. The error `WouldBlock` of the stream becomes
/// [`ErrorKind::TimedOut`], after which a blocking client tries again. `read_ready` and `write_ready` always return
/// `true`.
///
/// ```no_run
/// # use std::{net::TcpStream, time::Duration};
/// # use umqtt::std_io::NonBlocking;
/// let socket = TcpStream::connect("localhost:1883")?; // or a stream with TLS
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
    /// Converts `Ok(0)` to a timeout, because a TLS stream with a full buffer returns it.
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

    /// A stream whose buffer is full at every other write, as in a TLS stream.
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
    fn write_to_full_stream_is_timed_out() {
        let mut transport = NonBlocking::new(FullBuffer { is_full: false });
        let kind = transport
            .write(b"x")
            .map_err(|error| embedded_io::Error::kind(&error));
        assert_eq!(kind, Err(ErrorKind::TimedOut));
        assert!(matches!(transport.write(b"x"), Ok(1)));
        assert!(matches!(transport.write(b""), Ok(0)));
    }
}
