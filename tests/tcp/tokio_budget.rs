//! The async client on tokio, over TCP.
#![allow(clippy::unwrap_used, reason = "helpers of a test")]

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use tokio::runtime::Builder;
use umqtt::{
    Message, Session, Storage,
    asynch::Client,
    codec::Connect,
    tokio_io::{self, TokioClock},
};

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

/// The runtime refuses all I/O of a task that never returns to it.
#[test]
fn publish_loop_exceeding_task_budget_completes() {
    const COUNT: usize = 2_000;
    const PAYLOAD: &[u8] = b"0123456789";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&CONNACK).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        received
    });
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let transport = tokio_io::connect(address).await.unwrap();
        let mut storage = Storage::<64, 512, 1>::new();
        let mut session = Session::new(&mut storage);
        let clock = TokioClock::new();
        let mut client = Client::connect(&mut session, transport, clock, &Connect::new("budget"))
            .await
            .unwrap();
        for number in 0..COUNT {
            let published = client.publish(&Message::new("a", PAYLOAD)).await;
            assert!(published.is_ok(), "message {number}: {published:?}");
        }
        client.flush().await.unwrap();
    });
    let received = server.join().unwrap();
    let messages = received
        .windows(PAYLOAD.len())
        .filter(|bytes| *bytes == PAYLOAD);
    assert_eq!(messages.count(), COUNT);
}
