//! Over TCP, a disconnect loses no sent message, even if the messages of the server were never read.
//!
//! A socket that is closed while it holds received bytes resets the connection. The peer then loses unread bytes: the
//! last messages and DISCONNECT, so it publishes the will.
#![allow(clippy::unwrap_used, reason = "helpers of a test")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::runtime::Builder;
use umqtt::{
    Config, Message, Session, Storage, asynch, blocking,
    codec::{Connect, Packet, Will},
    std_io::{self, StdClock},
    tokio_io::{self, TokioClock},
};

const COUNT: usize = 60;
const PAYLOAD: [u8; 100] = [b'x'; 100];
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

/// Starts a server that accepts, sends as many messages as it will receive, and reads only later. Its thread returns
/// the number of received PUBLISHes, and `true` if DISCONNECT was received.
fn server() -> (SocketAddr, JoinHandle<(usize, bool)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&CONNACK).unwrap();
        for _ in 0..COUNT {
            stream.write_all(&[0x30, 4, 0, 1, b't', b'x']).unwrap();
        }
        thread::sleep(Duration::from_millis(300));
        let mut received = Vec::new();
        let mut buf = [0; 4_096];
        // A server closes the connection after DISCONNECT (section 3.14.4).
        while !received.ends_with(&[0xE0, 0]) {
            match stream.read(&mut buf) {
                Ok(n @ 1..) => received.extend(buf.iter().take(n)),
                _ => break,
            }
        }
        count(&received)
    });
    (address, server)
}

/// Returns the number of PUBLISHes in this stream, and `true` if it contains a DISCONNECT.
fn count(mut bytes: &[u8]) -> (usize, bool) {
    let (mut publishes, mut left) = (0_usize, false);
    while let Ok(Some((packet, used))) = Packet::decode(bytes) {
        publishes = publishes.saturating_add(usize::from(matches!(packet, Packet::Publish(_))));
        left |= matches!(packet, Packet::Disconnect);
        bytes = bytes.split_at(used).1;
    }
    (publishes, left)
}

fn options() -> Connect<'static> {
    Connect {
        will: Some(Will::new("will", b"gone")),
        ..Connect::new("me")
    }
}

#[test]
fn disconnect_loses_no_message_blocking() {
    let (address, server) = server();
    let mut storage = Storage::<128, 512, 1>::new();
    let mut session = Session::new(&mut storage);
    let transport = std_io::connect(address).unwrap();
    let mut client =
        blocking::Client::connect(&mut session, transport, StdClock::new(), &options()).unwrap();
    for _ in 0..COUNT {
        client.publish(&Message::new("t", &PAYLOAD)).unwrap();
    }
    assert!(client.disconnect().unwrap());
    drop(client.into_transport());
    assert_eq!(server.join().unwrap(), (COUNT, true));
}

#[test]
fn disconnect_loses_no_message_async() {
    let (address, server) = server();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut storage = Storage::<128, 512, 1>::new();
        let mut session = Session::new(&mut storage);
        let transport = tokio_io::connect(address).await.unwrap();
        let clock = TokioClock::new();
        let mut client = asynch::Client::connect(&mut session, transport, clock, &options())
            .await
            .unwrap();
        for _ in 0..COUNT {
            client.publish(&Message::new("t", &PAYLOAD)).await.unwrap();
        }
        assert!(client.disconnect().await.unwrap());
        drop(client.into_transport());
    });
    assert_eq!(server.join().unwrap(), (COUNT, true));
}

/// A device waits 1 s for the end of the stream, and returns `true` if it was received.
#[test]
fn shut_down_returns_whether_server_closed() {
    for closes in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&CONNACK).unwrap();
            if closes {
                let mut received = Vec::new();
                while !received.ends_with(&[0xE0, 0]) {
                    received.push(0);
                    stream
                        .read_exact(received.last_mut().map(std::slice::from_mut).unwrap())
                        .unwrap();
                }
                return None;
            }
            Some(stream)
        });
        let mut storage = Storage::<128, 512, 1>::new();
        let config = Config::new(options());
        let mut device = blocking::Device::new(&mut storage, StdClock::new(), &config).unwrap();
        device.connect(std_io::connect(address).unwrap()).unwrap();
        assert_eq!(device.shut_down(|_, _| ()).unwrap(), closes);
        drop(server.join().unwrap());
    }
}
