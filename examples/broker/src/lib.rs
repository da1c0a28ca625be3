//! An MQTT broker inside this process, for the host example and for tests: [rumqttd](https://docs.rs/rumqttd) on a
//! free port of the loopback interface.
//!
//! It takes 180 of the 260 s of CPU time in which the host example compiles. No feature removes a dependency of it,
//! such as axum, config, metrics or tracing-subscriber.
//!
//! It runs until the process ends, because rumqttd cannot be stopped. It logs through `tracing`, so it prints nothing
//! unless the program installs a subscriber. It has three peculiarities: it closes the connection of a client whose
//! keep alive is 0, it refuses a login by closing the connection without a CONNACK, and it stores sessions and messages
//! only in memory.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// Number of ports that are tried, because another program may use a port before the broker does.
const TRIES: u32 = 5;
/// Maximum time until the broker accepts a connection.
const START: Duration = Duration::from_secs(10);
/// Time between attempts to connect to a broker that starts.
const NAP: Duration = Duration::from_millis(1);

/// Starts a broker that accepts every client. Returns its address as soon as it accepts connections.
///
/// # Errors
///
/// There is no free port, no thread can be started, or the broker does not accept in time.
pub fn start() -> io::Result<SocketAddr> {
    start_with(None)
}

/// Starts a broker that accepts only these `users`, each with a name and a password.
///
/// # Errors
///
/// As [`start`].
pub fn start_with_users(users: &[(&str, &str)]) -> io::Result<SocketAddr> {
    let users = users
        .iter()
        .map(|&(name, password)| (name.to_owned(), password.to_owned()));
    start_with(Some(users.collect()))
}

fn start_with(users: Option<HashMap<String, String>>) -> io::Result<SocketAddr> {
    for _ in 0..TRIES {
        let address = free_port()?;
        let mut broker = Broker::new(config(address, users.clone()));
        let broker = thread::Builder::new()
            .name("broker".to_owned())
            .spawn(move || drop(broker.start()))?;
        if accepts(address, &broker)? {
            return Ok(address);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        "the broker found no free port",
    ))
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Returns `true` when the broker accepts connections, and `false` if it ended because another program uses the port.
fn accepts<T>(address: SocketAddr, broker: &JoinHandle<T>) -> io::Result<bool> {
    let start = Instant::now();
    while !broker.is_finished() {
        match TcpStream::connect(address) {
            Ok(_) => return Ok(!broker.is_finished()),
            Err(error) if start.elapsed() > START => return Err(error),
            Err(_) => thread::sleep(NAP),
        }
    }
    Ok(false)
}

fn config(listen: SocketAddr, users: Option<HashMap<String, String>>) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        max_payload_size: 16 << 20,
        max_inflight_count: 100,
        auth: users,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "loopback".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 0,
        connections,
    };
    Config {
        router: RouterConfig {
            max_connections: 1_000,
            max_outgoing_packet_count: 200,
            max_segment_size: 16 << 20,
            max_segment_count: 10,
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("loopback".to_owned(), server)])),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// CONNECT with client id "a", Clean Session and a keep alive of 60 s.
    const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a";
    /// The same CONNECT with user "u" and password "p".
    const LOGIN: &[u8] = b"\x10\x13\0\x04MQTT\x04\xc2\0\x3c\0\x01a\0\x01u\0\x01p";

    fn answer(address: SocketAddr, packet: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(START)).unwrap();
        stream.write_all(packet).unwrap();
        let mut answer = [0; 4];
        let len = stream.read(&mut answer).unwrap();
        answer[..len].to_vec()
    }

    #[test]
    fn two_brokers_start_and_accept() {
        let (one, two) = (start().unwrap(), start().unwrap());
        assert_ne!(one, two);
        for broker in [one, two] {
            assert!(broker.ip().is_loopback());
            assert_eq!(answer(broker, CONNECT), [0x20, 2, 0, 0]);
        }
    }

    #[test]
    fn connect_without_valid_login_is_refused() {
        let broker = start_with_users(&[("u", "p")]).unwrap();
        assert_eq!(answer(broker, LOGIN), [0x20, 2, 0, 0]);
        assert!(
            answer(broker, CONNECT).is_empty(),
            "no CONNACK, as documented"
        );
    }
}
