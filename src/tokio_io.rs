//! TCP connections and a clock for the async client and device on tokio (feature `tokio`).
//!
//! ```no_run
//! use umqtt::{Session, Storage, asynch::Client, codec::Connect, tokio_io};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut storage = Storage::<256, 512, 4>::new();
//! let mut session = Session::new(&mut storage);
//! let transport = tokio_io::connect("localhost:1883").await?;
//! let clock = tokio_io::TokioClock::new();
//! let client = Client::connect(&mut session, transport, clock, &Connect::new("sensor-7")).await?;
//! # Ok(())
//! # }
//! ```

use std::{io, time::Duration};

pub use embedded_io_adapters::tokio_1::FromTokio;
use tokio::{
    net::{TcpStream, ToSocketAddrs, lookup_host},
    time::{Instant as TokioInstant, sleep, timeout as with_timeout},
};

use crate::{
    client::asynch::Sleep,
    std_io::{CONNECT_TIMEOUT, no_address, with_address},
    time::{Clock, Instant},
};

/// A TCP connection of tokio for the async client and device.
pub type TcpTransport = FromTokio<TcpStream>;

/// Opens a TCP connection for the async client and device.
///
/// The host name is resolved, and its addresses are tried in the order of the operating system. Resolving the name and
/// trying each address takes at most [`CONNECT_TIMEOUT`] each. Small packets are sent at once (TCP_NODELAY).
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// let transport = umqtt::tokio_io::connect("localhost:1883").await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// - [`io::ErrorKind::NotFound`]: the name has no address.
/// - Other kinds: the name was not resolved, or the last address did not accept the connection. The text of a failed
///   connection starts with the address.
///
/// # Panics
///
/// If it is called outside a runtime of tokio, or if its I/O or time is not enabled.
///
/// # Cancel safety
///
/// Dropping the future closes the connection.
pub async fn connect(address: impl ToSocketAddrs) -> io::Result<TcpTransport> {
    connect_timeout(address, CONNECT_TIMEOUT).await
}

/// Opens a TCP connection like [`connect`]. Resolving the name and trying each address takes at most `timeout` each.
///
/// # Errors
///
/// As [`connect`].
///
/// # Panics
///
/// As [`connect`].
///
/// # Cancel safety
///
/// Dropping the future closes the connection.
pub async fn connect_timeout(
    address: impl ToSocketAddrs,
    timeout: Duration,
) -> io::Result<TcpTransport> {
    let mut failure = no_address();
    for address in with_timeout(timeout, lookup_host(address)).await?? {
        let connected = with_timeout(timeout, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|late| Err(late.into())) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(FromTokio::new(stream));
            }
            Err(error) => failure = with_address(address, &error),
        }
    }
    Err(failure)
}

/// The clock of tokio. It starts at 0 when it is created.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    start: TokioInstant,
}

impl TokioClock {
    /// Creates a clock that shows 0 now.
    pub fn new() -> Self {
        Self {
            start: TokioInstant::now(),
        }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        Instant::from_elapsed(self.start.elapsed())
    }
}

impl Sleep for TokioClock {
    async fn sleep_until(&self, at: Instant) {
        let millis = u64::from(at.millis_after(self.now()));
        sleep(Duration::from_millis(millis)).await;
    }
}
