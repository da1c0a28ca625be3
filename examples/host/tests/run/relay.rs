//! A relay between the program and its broker, which records the sent packets and can close the connections. Also
//! servers with scripted answers.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use faults::{Plan, Proxy};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use umqtt::codec::Packet;

/// A relay to a broker, for any number of connections.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    proxy: Proxy,
}

impl Relay {
    pub(crate) fn new(broker: SocketAddr) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), broker)
    }

    pub(crate) fn at(address: SocketAddr, broker: SocketAddr) -> Self {
        let (proxy, _cuts) = Proxy::at(address, broker, || Plan {
            record: true,
            ..Plan::default()
        });
        Self {
            address: proxy.address,
            proxy,
        }
    }

    /// Closes every connection.
    pub(crate) fn cut(&self) {
        self.proxy.cut();
    }

    /// Returns the types of the packets that the program has sent on each connection.
    pub(crate) fn sent(&self) -> Vec<Vec<String>> {
        let sent = self.sent_bytes();
        sent.iter().map(|bytes| in_words(bytes)).collect()
    }

    /// Returns the bytes that the program has sent on each connection.
    pub(crate) fn sent_bytes(&self) -> Vec<Vec<u8>> {
        let records = self.proxy.records().into_iter();
        records.map(|record| record.up).collect()
    }
}

/// Returns the types of these packets. A CONNECT with Clean Session 1 is "Connect, clean".
fn in_words(mut bytes: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    while let Some((packet, used)) = Packet::decode(bytes).unwrap() {
        words.push(match packet {
            Packet::Connect(connect) if connect.clean_session => "Connect, clean".to_owned(),
            packet => format!("{:?}", packet.packet_type()),
        });
        bytes = &bytes[used..];
    }
    words
}

/// Starts a server with TLS that passes all bytes on to a broker. Returns its address.
pub(crate) fn tls(config: ServerConfig, broker: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let config = Arc::new(config);
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            client.set_nonblocking(true).unwrap();
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let server = TcpStream::connect(broker).unwrap();
            server.set_nonblocking(true).unwrap();
            thread::spawn(|| exchange(StreamOwned::new(connection, client), server));
        }
    });
    address
}

/// Passes bytes on in both directions, until one side ends.
fn exchange(mut a: impl Read + Write, mut b: impl Read + Write) {
    let mut buffer = [0; 4096];
    let mut carry = |from: &mut dyn Read, to: &mut dyn Write| match from.read(&mut buffer) {
        Ok(0) => false,
        Ok(n) => to.write_all(&buffer[..n]).and_then(|()| to.flush()).is_ok(),
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    };
    while carry(&mut a, &mut b) && carry(&mut b, &mut a) {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Starts a server that serves each connection in a thread. Returns its address.
fn serving(serve: impl Fn(TcpStream) + Copy + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            thread::spawn(move || serve(client));
        }
    });
    address
}

/// Starts a server that answers every connection with these bytes, and keeps it open.
pub(crate) fn answering(answer: &'static [u8]) -> SocketAddr {
    serving(move |mut client| {
        drop(client.read(&mut [0; 4096]));
        drop(client.write_all(answer));
        drop(client.read(&mut [0; 4096]));
    })
}

/// Starts a server that accepts every connection, and refuses its first subscription.
pub(crate) fn refusing_subscriptions() -> SocketAddr {
    serving(|mut client| {
        let mut packet = [0; 4096];
        drop(client.read(&mut packet));
        drop(client.write_all(b"\x20\x02\0\0"));
        drop(client.read(&mut packet));
        let suback = [0x90, 3, packet[2], packet[3], 0x80];
        drop(client.write_all(&suback));
        while client.read(&mut packet).is_ok_and(|len| len > 0) {}
    })
}

/// Returns an address on which no server listens.
pub(crate) fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
