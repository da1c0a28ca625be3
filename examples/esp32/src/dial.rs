//! Opens connections to the broker.

use embassy_net::{
    Stack,
    dns::DnsQueryType,
    tcp::{ConnectError, TcpSocket},
};
use embassy_time::{Duration, Instant, with_timeout};
use esp32_parts::DialError;
use portable_atomic::{AtomicU32, Ordering::Relaxed};
use umqtt::codec::Credentials;

use crate::{
    info,
    settings::{MQTT_PASSWORD, MQTT_USER},
    wifi,
};

/// Time that embassy-net waits for the answer of a name server, before it asks the next one.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Number of attempts without any answer after which the Wi-Fi network is joined again.
const MAX_SILENCES: u32 = 3;

/// Number of attempts in succession without any answer.
static SILENCES: AtomicU32 = AtomicU32::new(0);

/// Returns the credentials for the broker, if some are set.
pub fn credentials() -> Option<Credentials<'static>> {
    MQTT_USER.map(|user_name| Credentials {
        user_name,
        password: MQTT_PASSWORD.map(str::as_bytes),
    })
}

/// Waits for the network, and connects the socket to the broker.
///
/// # Errors
///
/// The reason why there is no connection. After three attempts without any answer, the Wi-Fi network is joined again.
pub async fn dial<'h>(
    stack: Stack<'static>,
    socket: &mut TcpSocket<'_>,
    host: &'h str,
    port: u16,
) -> Result<(), DialError<'h>> {
    socket.abort();
    // With Nagle's algorithm, a message would wait for the TCP acknowledgement of the one before.
    socket.set_nagle_enabled(false);
    stack.wait_config_up().await;
    info!("Connecting to {}:{}", host, port);
    let dialled = attempt(stack, socket, host, port).await;
    if !dialled.is_err_and(|error| error.is_silence()) {
        SILENCES.store(0, Relaxed);
    } else if SILENCES.fetch_add(1, Relaxed).saturating_add(1) >= MAX_SILENCES {
        SILENCES.store(0, Relaxed);
        wifi::rejoin();
    }
    dialled
}

async fn attempt<'h>(
    stack: Stack<'static>,
    socket: &mut TcpSocket<'_>,
    host: &'h str,
    port: u16,
) -> Result<(), DialError<'h>> {
    let start = Instant::now();
    let found = stack
        .dns_query(host, DnsQueryType::A)
        .await
        .unwrap_or_default();
    let config = stack.config_v4().ok_or(DialError::NetworkLost)?;
    let Some(address) = found.first().copied() else {
        return Err(match config.dns_servers.first() {
            None => DialError::NoNameServer,
            Some(server) if start.elapsed() >= QUERY_TIMEOUT => {
                DialError::NameServerSilent(*server)
            }
            Some(_) => DialError::UnknownName(host),
        });
    };
    match with_timeout(CONNECT_TIMEOUT, socket.connect((address, port))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(ConnectError::ConnectionReset)) => Err(DialError::Refused(host, port)),
        Ok(Err(ConnectError::NoRoute)) => Err(DialError::NoRoute(host)),
        _ if !stack.is_config_up() => Err(DialError::NetworkLost),
        _ => Err(DialError::Silent(host)),
    }
}
