//! A client whose futures are dropped, over embedded-tls, against rustls.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "helpers of a test"
)]

mod server;

use std::{
    future::poll_fn,
    io::{Read as _, Write as _},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Read, Write};
use embedded_tls::{
    Aes128GcmSha256, CryptoProvider, CryptoRngCore, NoClock, TlsError, TlsVerifier,
};
use rand_core::OsRng;
use rustls::pki_types::CertificateDer;
use server::{Authority, Link, serve};
use tls_pump::{Error, LONGEST_RECORD, Pump, Stream, Verifier};
use tokio::{
    net::TcpStream,
    runtime::Builder,
    task::{LocalSet, spawn_local, yield_now},
    time::timeout,
};

const NAME: &str = "broker.example";
const DEADLINE: Duration = Duration::from_secs(20);

type Socket = FromTokio<TcpStream>;

struct Checks {
    rng: OsRng,
    verifier: Verifier<'static, NoClock, 4096>,
}

impl CryptoProvider for Checks {
    type CipherSuite = Aes128GcmSha256;
    type Signature = [u8; 0];

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut self.rng
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Aes128GcmSha256>, TlsError> {
        Ok(&mut self.verifier)
    }
}

/// Starts the task of a pump that trusts this authority.
fn pump(authority: &CertificateDer<'static>) -> Rc<Pump<Socket>> {
    let pump = Rc::new(Pump::new());
    let authority: &'static [u8] = authority.to_vec().leak();
    spawn_local({
        let pump = Rc::clone(&pump);
        async move {
            let (mut incoming, mut outgoing) = (vec![0; LONGEST_RECORD], vec![0; 1024]);
            let provider = || {
                Ok(Checks {
                    rng: OsRng,
                    verifier: Verifier::new(authority),
                })
            };
            pump.run(&mut incoming, &mut outgoing, NAME, provider).await
        }
    });
    pump
}

async fn dial<'p>(pump: &'p Pump<Socket>, port: u16) -> Result<Stream<'p, Socket>, Error> {
    let line = pump.line().await;
    let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket.set_nodelay(true).unwrap();
    line.secure(FromTokio::new(socket)).await
}

fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let test = async { timeout(DEADLINE, test).await.unwrap() };
    LocalSet::new().block_on(&runtime, test);
}

/// Polls this once, and drops it if it is not ready.
async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| Poll::Ready(ready(future.as_mut().poll(cx)))).await
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Every future is polled once and dropped. Each written byte is received again, once.
#[test]
fn dropped_futures_lose_nothing_and_break_no_record() {
    let authority = Authority::new();
    let port = serve(authority.certify(NAME), |link: &mut Link| link.echo());
    run(async {
        let pump = pump(authority.certificate());
        let mut stream = dial(&pump, port).await.unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let sent: Vec<u8> = (0..400_000).map(|_| random.u8(..)).collect();
        let (mut written, mut received) = (0, Vec::new());
        let mut dropped = 0_u32;
        while received.len() < sent.len() {
            let end = sent.len().min(written + random.usize(1..=700));
            if written < end {
                match at_once(stream.write(&sent[written..end])).await {
                    Some(n) => written += n.unwrap(),
                    None => dropped += 1,
                }
            }
            if random.u8(..) < 64 {
                match at_once(stream.flush()).await {
                    Some(flushed) => flushed.unwrap(),
                    None => dropped += 1,
                }
            }
            let mut buf = [0; 700];
            let len = random.usize(1..=buf.len());
            match at_once(stream.read(&mut buf[..len])).await {
                Some(n) => received.extend_from_slice(&buf[..n.unwrap()]),
                None => dropped += 1,
            }
            yield_now().await;
        }
        assert!(
            received == sent,
            "the received bytes differ from the sent bytes"
        );
        assert!(
            dropped > 100,
            "only {dropped} futures were dropped half-way"
        );
    });
}

/// A waiting side is woken, although each side has its own task.
#[test]
fn a_wait_ends_when_there_is_something() {
    let authority = Authority::new();
    let port = serve(authority.certify(NAME), |link: &mut Link| link.echo());
    run(async {
        let pump = pump(authority.certificate());
        let mut stream = dial(&pump, port).await.unwrap();
        let sent = [7; 20_000];
        let mut received = vec![0; sent.len()];
        for (out, back) in sent.chunks(5_000).zip(received.chunks_mut(5_000)) {
            stream.write_all(out).await.unwrap();
            stream.flush().await.unwrap();
            stream.read_exact(back).await.unwrap();
        }
        assert_eq!(received, sent);
    });
}

/// Bytes that were received before the end are not lost. Then each read reports the end.
#[test]
fn the_end_comes_after_what_was_said() {
    const LAST_WORDS: [u8; 5_000] = [b'x'; 5_000];
    for polite in [true, false] {
        let authority = Authority::new();
        let port = serve(authority.certify(NAME), move |link: &mut Link| {
            link.write_all(&LAST_WORDS)?;
            if polite {
                link.conn.send_close_notify();
            }
            link.flush()
        });
        run(async {
            let pump = pump(authority.certificate());
            let mut stream = dial(&pump, port).await.unwrap();
            let mut received = vec![0; LAST_WORDS.len()];
            stream.read_exact(&mut received).await.unwrap();
            assert_eq!(received, LAST_WORDS);
            for _ in 0..2 {
                assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            }
            assert!(stream.write(b"too late").await.unwrap_err().is_closed());
            assert!(stream.flush().await.is_ok(), "there was nothing to send");
        });
    }
}

/// A connection that is dropped at any point does not disturb the next one.
#[test]
fn one_connection_after_another() {
    let authority = Authority::new();
    let port = serve(authority.certify(NAME), |link: &mut Link| link.echo());
    run(async {
        let pump = pump(authority.certificate());
        for turns in 0..60 {
            // Dropped after this number of turns of the runtime, at any step of the handshake.
            let mut attempt = pin!(dial(&pump, port));
            for _ in 0..turns {
                if at_once(attempt.as_mut()).await.is_some() {
                    break;
                }
                yield_now().await;
            }
        }
        for word in [b"first", b"other"] {
            let mut stream = dial(&pump, port).await.unwrap();
            stream.write_all(word).await.unwrap();
            let mut back = [0; 5];
            stream.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, word);
            // Unread bytes in both pipes are not delivered to the next connection.
            stream.write_all(b"unread").await.unwrap();
            stream.flush().await.unwrap();
            let _ = stream.write(b"unsent").await.unwrap();
        }
    });
}

/// When the client drops its stream, the peer reads the end, and the next connection can use the pump.
#[test]
fn dropping_the_stream_closes_the_socket() {
    let authority = Authority::new();
    let (seen, ends) = std::sync::mpsc::channel();
    let port = serve(authority.certify(NAME), move |link: &mut Link| {
        let echoed = link.echo();
        seen.send(()).unwrap();
        echoed
    });
    run(async {
        let pump = pump(authority.certificate());
        drop(dial(&pump, port).await.unwrap());
        let _line = pump.line().await;
        ends.recv_timeout(DEADLINE).unwrap();
    });
}

#[test]
fn a_peer_that_nobody_vouches_for_is_refused() {
    let (ours, other) = (Authority::new(), Authority::new());
    for (certified, name) in [(&ours, "elsewhere.example"), (&other, NAME)] {
        let port = serve(certified.certify(name), |link: &mut Link| link.echo());
        run(async {
            let pump = pump(ours.certificate());
            let error = dial(&pump, port).await.err().unwrap();
            let text = error.to_string();
            assert!(
                text.starts_with("the broker's certificate is not"),
                "{text}"
            );
        });
    }
}

/// The certificate of a device is signed by the authority, but the device is not allowed to sign others.
#[test]
fn a_certificate_issued_by_another_is_refused() {
    let authority = Authority::new();
    let port = serve(authority.forge(NAME), |link: &mut Link| link.echo());
    run(async {
        let pump = pump(authority.certificate());
        let error = dial(&pump, port).await.err().unwrap();
        assert!(matches!(error.0, TlsError::InvalidCertificate), "{error}");
    });
}

/// One server does not use TLS, and one closes the connection.
#[test]
fn a_peer_that_does_not_speak_tls() {
    let authority = Authority::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", ""] {
            let mut socket = listener.accept().unwrap().0;
            // Unread bytes in a dropped socket reset the connection.
            let _ = socket.read(&mut [0; 4096]).unwrap();
            socket.write_all(answer.as_bytes()).unwrap();
        }
    });
    run(async {
        let pump = pump(authority.certificate());
        for closed in [false, true] {
            let error = dial(&pump, port).await.err().unwrap();
            assert_eq!(error.is_closed(), closed, "{error}");
        }
    });
}
