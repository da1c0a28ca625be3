//! Futures that are polled once and dropped, with and without the adapter.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use embedded_io_async::{Read, Write};
use mbedtls_rs::{Certificate, ClientSessionConfig, Session as Bare, SessionConfig};
use tls_mbedtls::X509;
use tokio::{task::yield_now, time::timeout};
use umqtt::{
    Event, Message, RequestError, Session, Storage,
    asynch::Client,
    client::Error,
    codec::{Connect, QoS},
    tokio_io::{self, TcpTransport, TokioClock},
};

use crate::{
    choppy::Choppy,
    fixture::{NAME, connector, run, tls},
    mosquitto::{Mosquitto, VERSIONS},
    pki::{Kind, Pki},
};

const TOTAL: usize = 200_000;

async fn choppy(broker: &Mosquitto, seed: u64) -> Choppy<TcpTransport> {
    Choppy::new(tokio_io::connect(broker.address).await.unwrap(), seed)
}

#[test]
fn bytes_are_identical_under_dropped_futures() {
    let pki = Pki::new(Kind::P256);
    let pair = pki.issue(NAME);
    for (seed, start) in (1..).zip(VERSIONS) {
        let broker = start(&pki, &pair, "");
        run(async {
            let transport = choppy(&broker, seed).await;
            let stream = connector(&pki).connect(transport, NAME).await.unwrap();
            echo(stream, seed).await.unwrap();
        });
    }
}

/// The same over a session of mbedtls-rs itself. If this test fails, the adapter may not be needed any more.
#[test]
fn bytes_are_damaged_without_the_adapter() {
    let pki = Pki::new(Kind::P256);
    let broker = Mosquitto::new(&pki, &pki.issue(NAME), "");
    run(async {
        let root = pki.root();
        let config = ClientSessionConfig {
            ca_chain: Some(Certificate::new(X509::PEM(&root)).unwrap()),
            server_name: Some(c"broker.example"),
            ..ClientSessionConfig::new()
        };
        let transport = choppy(&broker, 1).await;
        let mut session = Bare::new(tls(), transport, &SessionConfig::Client(config)).unwrap();
        session.connect().await.unwrap();
        session.flush().await.unwrap();
        let outcome = timeout(Duration::from_secs(10), echo(session, 1)).await;
        println!("without the adapter: {outcome:?}");
        assert!(!matches!(outcome, Ok(Ok(()))), "{outcome:?}");
    });
}

/// Publishes random bytes to itself. Each future of the client is polled once.
async fn echo<T: Read + Write>(transport: T, seed: u64) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let sent: Vec<u8> = (0..TOTAL).map(|_| random.u8(..)).collect();
    let mut storage = Storage::<2048, 4096, 8>::new();
    let mut session = Session::new(&mut storage);
    let clock = TokioClock::new();
    let client = Client::connect(&mut session, transport, clock, &Connect::new("echo")).await;
    let mut client = client.map_err(|error| error.to_string())?;
    let filters = [("echo", QoS::AtLeastOnce)];
    let codes = client.subscribe_and_wait(&filters, |_, _| {}).await;
    assert!(codes.map_err(|error| error.to_string())?.all_granted());
    let (mut written, mut received, mut dropped) = (0, Vec::new(), 0_u32);
    while received.len() < sent.len() {
        let end = sent.len().min(written + random.usize(1..=1500));
        if written < end {
            let mut message = Message::new("echo", &sent[written..end]);
            message.qos = QoS::AtLeastOnce;
            match at_once(client.publish(&message)).await {
                Some(Ok(_)) => written = end,
                Some(Err(Error::Request(RequestError::InflightFull { .. }))) => {}
                Some(Err(error)) => return Err(error.to_string()),
                None => dropped += 1,
            }
        }
        match at_once(client.recv()).await {
            Some(Ok(Event::Message(message))) => received.extend_from_slice(message.payload),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.to_string()),
            None => dropped += 1,
        }
        yield_now().await;
    }
    if received != sent {
        return Err("the received bytes differ from the sent bytes".to_owned());
    }
    assert!(dropped > 1000, "only {dropped} futures were dropped");
    Ok(())
}

/// Polls this once, and drops it if it is not ready.
async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
