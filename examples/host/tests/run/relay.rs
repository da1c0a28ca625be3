//! Between the program and its broker: writes down what the program sends, and can break the connection.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use umqtt::codec::Packet;

/// A relay to a broker, over as many connections as come.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    links: Arc<Mutex<Vec<Link>>>,
}

#[derive(Debug)]
struct Link {
    client: TcpStream,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Relay {
    pub(crate) fn new(broker: SocketAddr) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), broker)
    }

    pub(crate) fn at(address: SocketAddr, broker: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let links = Arc::default();
        let relay = Self {
            address,
            links: Arc::clone(&links),
        };
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect(broker).unwrap();
                let sent = Arc::default();
                links.lock().unwrap().push(Link {
                    client: client.try_clone().unwrap(),
                    sent: Arc::clone(&sent),
                });
                pump(
                    client.try_clone().unwrap(),
                    server.try_clone().unwrap(),
                    sent,
                );
                pump(server, client, Arc::default());
            }
        });
        relay
    }

    /// Breaks every connection.
    pub(crate) fn cut(&self) {
        for link in self.links.lock().unwrap().iter() {
            drop(link.client.shutdown(Shutdown::Both));
        }
    }

    /// What the program has sent on each connection, in words.
    pub(crate) fn sent(&self) -> Vec<Vec<String>> {
        let links = self.links.lock().unwrap();
        links
            .iter()
            .map(|link| in_words(&link.sent.lock().unwrap()))
            .collect()
    }

    /// What the program has sent on each connection.
    pub(crate) fn sent_bytes(&self) -> Vec<Vec<u8>> {
        let links = self.links.lock().unwrap();
        let sent = links.iter().map(|link| link.sent.lock().unwrap().clone());
        sent.collect()
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, copy: Arc<Mutex<Vec<u8>>>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            copy.lock().unwrap().extend(&buffer[..n]);
            if to.write_all(&buffer[..n]).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Write));
    });
}

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

/// A server that speaks TLS in front of a broker.
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

/// A server that answers every connection with these bytes, and keeps it open.
pub(crate) fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            thread::spawn(move || {
                drop(client.read(&mut [0; 4096]));
                drop(client.write_all(answer));
                drop(client.read(&mut [0; 4096]));
            });
        }
    });
    address
}

/// An address on which nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
