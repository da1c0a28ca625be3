//! Opens connections to the broker.

use core::fmt;

use board::println;
use embassy_net::{
    Stack,
    dns::{self, DnsQueryType},
    tcp::{ConnectError, TcpSocket},
};
use embassy_time::{Duration, TimeoutError, Timer, with_timeout};

/// The port, if the broker is named without one.
const PORT: u16 = 1883;

/// Maximum time of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time between attempts.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Opens a connection to the broker with this name or address, and optionally a port after a colon. It tries again
/// until it succeeds.
pub(crate) async fn dial(host: &str, stack: Stack<'static>, socket: &mut TcpSocket<'_>) {
    socket.abort();
    // With Nagle's algorithm, a message would wait for the TCP acknowledgement of the one before.
    socket.set_nagle_enabled(false);
    loop {
        stack.wait_config_up().await;
        let Err(error) = with_timeout(ATTEMPT_TIMEOUT, attempt(host, stack, socket))
            .await
            .unwrap_or_else(|e| Err(e.into()))
        else {
            return;
        };
        println!("{host}: {error}");
        socket.abort();
        Timer::after(RETRY_DELAY).await;
    }
}

async fn attempt(
    host: &str,
    stack: Stack<'static>,
    socket: &mut TcpSocket<'_>,
) -> Result<(), DialError> {
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|_| DialError::InvalidPort)?),
        None => (host, PORT),
    };
    let found = stack.dns_query(name, DnsQueryType::A).await?;
    let address = *found.first().ok_or(DialError::NoAddress)?;
    Ok(socket.connect((address, port)).await?)
}

enum DialError {
    InvalidPort,
    Dns(dns::Error),
    NoAddress,
    Connect(ConnectError),
    TimedOut,
}

impl From<dns::Error> for DialError {
    fn from(error: dns::Error) -> Self {
        Self::Dns(error)
    }
}

impl From<ConnectError> for DialError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}

impl From<TimeoutError> for DialError {
    fn from(_: TimeoutError) -> Self {
        Self::TimedOut
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidPort => {
                f.write_str("the port after the colon is not a number up to 65535")
            }
            Self::Dns(error) => write!(f, "the name cannot be resolved: {error:?}"),
            Self::NoAddress => f.write_str("the name has no address"),
            Self::Connect(error) => write!(f, "no connection: {error}"),
            Self::TimedOut => f.write_str("no answer from the name server or the broker"),
        }
    }
}
