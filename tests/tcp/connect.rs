//! TCP connections of `std_io` and `tokio_io`, and the clock of tokio.
#![allow(clippy::unwrap_used, reason = "helpers of a test")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant as StdInstant},
};

use tokio::{
    net::TcpSocket,
    runtime::{Builder, Runtime},
};
use umqtt::{
    Clock, Session, Storage, StreamedPublish,
    asynch::Sleep,
    blocking::Client,
    codec::Connect,
    std_io::{self, StdClock},
    tokio_io::{self, TokioClock},
};

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(5);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Returns an address without a listener.
fn closed() -> SocketAddr {
    listener().1
}

#[test]
fn connect_sets_the_options_of_the_socket() {
    let (_listener, address) = listener();
    let transport = std_io::connect(address).unwrap();
    let socket = transport.get_ref();
    assert!(socket.nodelay().unwrap());
    assert!(socket.read_timeout().unwrap().unwrap() < SHORT);
    assert!(socket.write_timeout().unwrap().unwrap() < SHORT);
    let transport = runtime().block_on(tokio_io::connect(address)).unwrap();
    assert!(transport.inner().nodelay().unwrap());
}

/// The system may return the IPv6 address first, which has no listener.
#[test]
fn connect_resolves_names() {
    let (_listener, address) = listener();
    let name = format!("localhost:{}", address.port());
    let transport = std_io::connect(&*name).unwrap();
    assert_eq!(transport.get_ref().peer_addr().unwrap(), address);
    let transport = runtime().block_on(tokio_io::connect(&*name)).unwrap();
    assert_eq!(transport.inner().peer_addr().unwrap(), address);
}

#[test]
fn connect_tries_each_address() {
    let (_listener, address) = listener();
    let addresses = [closed(), address];
    let transport = std_io::connect(&addresses[..]).unwrap();
    assert_eq!(transport.get_ref().peer_addr().unwrap(), address);
    let transport = runtime()
        .block_on(tokio_io::connect(&addresses[..]))
        .unwrap();
    assert_eq!(transport.inner().peer_addr().unwrap(), address);
}

#[test]
fn connect_without_address_reports_not_found() {
    let none: &[SocketAddr] = &[];
    let error = std_io::connect(none).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = runtime().block_on(tokio_io::connect(none)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn connect_refused_names_address() {
    let address = closed();
    let refused = std_io::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(refused.to_string().starts_with(&address.to_string()));
    let refused = runtime()
        .block_on(tokio_io::connect(address))
        .err()
        .unwrap();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(refused.to_string().starts_with(&address.to_string()));
}

/// A listener with a full queue does not answer.
#[test]
fn connect_without_answer_times_out() {
    let runtime = runtime();
    let listener = {
        let _guard = runtime.enter();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.listen(1).unwrap()
    };
    let address = listener.local_addr().unwrap();
    let start = StdInstant::now();
    let mut queued = Vec::new();
    let late = loop {
        match std_io::connect_timeout(address, SHORT) {
            Ok(transport) => queued.push(transport),
            Err(error) => break error,
        }
        assert!(queued.len() < 10, "the queue is never full");
    };
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    assert!(late.to_string().starts_with(&address.to_string()));
    let late = runtime
        .block_on(tokio_io::connect_timeout(address, SHORT))
        .err()
        .unwrap();
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    assert!(late.to_string().starts_with(&address.to_string()));
    assert!(start.elapsed() < LONG);
}

#[test]
fn sleep_until_ends_at_its_time() {
    runtime().block_on(async {
        let clock = TokioClock::default();
        let at = clock.now().add_millis(30);
        clock.sleep_until(at).await;
        let now = clock.now();
        assert!(at.has_passed(now), "it is {now:?}, and not yet {at:?}");
        let start = StdInstant::now();
        clock.sleep_until(at).await;
        assert!(start.elapsed() < LONG);
    });
}

/// The server sends nothing, so each read of the transport waits as long as it may.
#[test]
fn upload_in_pieces_does_not_wait_between_them() {
    const LEN: usize = 200_000;
    let (listener, address) = listener();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&CONNACK).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        received.len()
    });
    let mut storage = Storage::<128, 128, 1>::new();
    let mut session = Session::new(&mut storage);
    let transport = std_io::connect(address).unwrap();
    let options = Connect::new("upload");
    let mut client = Client::connect(&mut session, transport, StdClock::new(), &options).unwrap();
    let payload = vec![b'x'; LEN];
    let start = StdInstant::now();
    client
        .publish_from(StreamedPublish::new("t"), LEN, &payload[..], |_, _| {})
        .unwrap();
    assert!(start.elapsed() < LONG, "it took {:?}", start.elapsed());
    client.disconnect().unwrap();
    drop(client);
    assert!(server.join().unwrap() > LEN);
}
