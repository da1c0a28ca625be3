//! A relay between client and broker. It records the bytes of the client, corrupts a byte, and breaks connections.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// The bytes that the client sent on each connection.
    sent: Mutex<Vec<Vec<u8>>>,
    corrupts: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    pub(crate) fn new(broker: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let relay = Self {
            address,
            state: Arc::clone(&state),
        };
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let broker = TcpStream::connect(broker).unwrap();
                for stream in [&client, &broker] {
                    stream.set_nodelay(true).unwrap();
                    state.open.lock().unwrap().push(stream.try_clone().unwrap());
                }
                let (from, to) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
                let up = Arc::clone(&state);
                let number = {
                    let mut sent = up.sent.lock().unwrap();
                    sent.push(Vec::new());
                    sent.len() - 1
                };
                thread::spawn(move || {
                    carry(from, to, |bytes| {
                        up.sent.lock().unwrap()[number].extend_from_slice(bytes);
                    });
                });
                let down = Arc::clone(&state);
                thread::spawn(move || {
                    carry(broker, client, |bytes| {
                        if down.corrupts.swap(false, Ordering::SeqCst) {
                            *bytes.last_mut().unwrap() ^= 1;
                        }
                    });
                });
            }
        });
        relay
    }

    /// Flips a bit in the last byte of the next piece from the broker.
    pub(crate) fn corrupt(&self) {
        self.state.corrupts.store(true, Ordering::SeqCst);
    }

    /// Breaks every connection.
    pub(crate) fn cut(&self) {
        for stream in self.state.open.lock().unwrap().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// Returns the types of the TLS records that the client sent on each connection. The last record may be incomplete.
    #[track_caller]
    pub(crate) fn records(&self) -> Vec<Vec<u8>> {
        let sent = self.state.sent.lock().unwrap();
        sent.iter().map(|bytes| record_types(bytes)).collect()
    }
}

/// Passes bytes on, after `change` has seen them, until one side ends.
fn carry(mut from: TcpStream, mut to: TcpStream, mut change: impl FnMut(&mut [u8])) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        change(&mut buffer[..n]);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}

/// Returns the types of these TLS records. Panics if they contain the protocol name of a CONNECT in the clear.
#[track_caller]
fn record_types(mut bytes: &[u8]) -> Vec<u8> {
    assert!(
        !bytes.windows(4).any(|four| four == b"MQTT"),
        "sent in the clear"
    );
    let mut types = Vec::new();
    while let [kind, 3, 1..=3, high, low, rest @ ..] = bytes {
        assert!((20..=23).contains(kind), "a TLS record has no type {kind}");
        types.push(*kind);
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        bytes = rest.get(len..).unwrap_or_default();
    }
    assert!(bytes.is_empty(), "not a TLS record: {bytes:?}");
    types
}
