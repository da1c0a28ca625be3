//! The way to the broker: its name, a TCP connection, and TLS with feature `tls`.

use core::fmt;

use embassy_net::{
    Stack,
    dns::DnsQueryType,
    tcp::{self, ConnectError, TcpSocket},
};
use embassy_sync::{
    blocking_mutex::raw::NoopRawMutex,
    mutex::{Mutex, MutexGuard},
};
use embassy_time::{Duration, with_timeout};
use embedded_io_async::{ErrorType, Read, Write};
use light::{
    RETRY_MS,
    asynch::{FailureOf, Network},
};
use static_cell::{ConstStaticCell, StaticCell};

use crate::{
    console::{complain, info},
    settings::{MQTT_HOST, MQTT_PORT},
};

/// How long reaching the broker may take. A handshake of TLS costs the slower chips seconds.
const PATIENCE: Duration = Duration::from_secs(if cfg!(feature = "tls") { 20 } else { 10 });

type Socket = Mutex<NoopRawMutex, TcpSocket<'static>>;

/// The broker that was named.
pub(crate) struct Broker {
    stack: Stack<'static>,
    /// The only one there is; it is used again for every connection.
    socket: &'static Socket,
    #[cfg(feature = "tls")]
    tunnel: &'static crate::tls::Tunnel,
}

impl Broker {
    pub(crate) fn new(
        stack: Stack<'static>,
        #[cfg(feature = "tls")] tunnel: &'static crate::tls::Tunnel,
    ) -> Self {
        static RECEIVE: ConstStaticCell<[u8; 2048]> = ConstStaticCell::new([0; 2048]);
        static SEND: ConstStaticCell<[u8; 2048]> = ConstStaticCell::new([0; 2048]);
        static SOCKET: StaticCell<Socket> = StaticCell::new();

        let mut socket = TcpSocket::new(stack, RECEIVE.take(), SEND.take());
        // A message does not wait for the acknowledgement of the one before.
        socket.set_nagle_enabled(false);
        Self {
            stack,
            socket: SOCKET.init(Mutex::new(socket)),
            #[cfg(feature = "tls")]
            tunnel,
        }
    }

    async fn connect(&self) -> Result<Connection, DialError> {
        info!("Connecting to {}:{}", MQTT_HOST, MQTT_PORT);
        let addresses = self.stack.dns_query(MQTT_HOST, DnsQueryType::A).await;
        let address = addresses.ok().and_then(|found| found.first().copied());
        let address = address.ok_or(DialError::UnknownName)?;
        let mut connection = Connection(self.socket.lock().await);
        connection.0.connect((address, MQTT_PORT)).await?;
        Ok(connection)
    }
}

impl Network for Broker {
    #[cfg(not(feature = "tls"))]
    type Transport = Connection;
    #[cfg(feature = "tls")]
    type Transport = crate::tls::Stream;
    type Error = DialError;

    /// Without a network it waits, and `wifi` says why.
    #[cfg(not(feature = "tls"))]
    async fn dial(&mut self) -> Result<Self::Transport, DialError> {
        self.stack.wait_config_up().await;
        within_patience(self.connect()).await
    }

    #[cfg(feature = "tls")]
    async fn dial(&mut self) -> Result<Self::Transport, DialError> {
        self.stack.wait_config_up().await;
        within_patience(async {
            // First the end of the last connection: there is one socket.
            let line = self.tunnel.line().await;
            let connection = self.connect().await?;
            line.secure(connection).await.map_err(DialError::Tls)
        })
        .await
    }

    /// The broker closes after a DISCONNECT. To close before that has been read could destroy it on its way.
    async fn hang_up(&mut self, mut transport: Self::Transport) {
        let end = async { while !matches!(transport.read(&mut [0; 64]).await, Ok(0) | Err(_)) {} };
        let _ = with_timeout(Duration::from_secs(2), end).await;
    }

    fn failed(&mut self, failure: &FailureOf<Self>) -> bool {
        complain!("{}; trying again in {} s", failure, RETRY_MS / 1_000);
        true
    }
}

async fn within_patience<T>(
    dial: impl Future<Output = Result<T, DialError>>,
) -> Result<T, DialError> {
    with_timeout(PATIENCE, dial)
        .await
        .unwrap_or(Err(DialError::TimedOut))
}

/// The TCP connection. Dropping it resets it, so that the broker sends the will at once.
pub(crate) struct Connection(MutexGuard<'static, NoopRawMutex, TcpSocket<'static>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ErrorType for Connection {
    type Error = tcp::Error;
}

impl Read for Connection {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, tcp::Error> {
        self.0.read(buf).await
    }
}

impl Write for Connection {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, tcp::Error> {
        self.0.write(buf).await
    }

    async fn flush(&mut self) -> Result<(), tcp::Error> {
        self.0.flush().await
    }
}

/// Why the broker was not reached.
pub(crate) enum DialError {
    UnknownName,
    Connect(ConnectError),
    TimedOut,
    #[cfg(feature = "tls")]
    Tls(tls_pump::Error),
}

impl From<ConnectError> for DialError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName => write!(
                f,
                "the network's name server has no address for {MQTT_HOST}"
            ),
            Self::Connect(ConnectError::ConnectionReset) => {
                write!(f, "{MQTT_HOST} refuses connections to port {MQTT_PORT}")
            }
            Self::Connect(ConnectError::NoRoute) => write!(f, "there is no way to {MQTT_HOST}"),
            Self::Connect(_) | Self::TimedOut => write!(f, "{MQTT_HOST} does not answer"),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.fmt(f),
        }
    }
}
