//! Connections to the broker, with TLS or without.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use umqtt::std_io::{self, NonBlocking};
use umqtt::tokio_io::{self, FromTokio};

/// Time for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A broker, and how to connect to it.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

pub(crate) trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

pub(crate) trait AsyncStream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> AsyncStream for S {}

impl Broker {
    /// Connects for the blocking device.
    pub(crate) fn dial(&self) -> io::Result<NonBlocking<Box<dyn Stream>>> {
        let mut socket = std_io::connect((&*self.host, self.port))?.into_inner();
        let Some(config) = &self.tls else {
            return Ok(NonBlocking::new(Box::new(socket)));
        };
        let tls = ClientConnection::new(config.clone(), self.name()?);
        let mut tls = tls.map_err(io::Error::other)?;
        let start = Instant::now();
        while tls.is_handshaking() {
            // Reads and writes of the socket have timeouts.
            match tls.complete_io(&mut socket) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ if start.elapsed() > HANDSHAKE => return Err(ErrorKind::TimedOut.into()),
                _ => {}
            }
        }
        Ok(NonBlocking::new(Box::new(StreamOwned::new(tls, socket))))
    }

    /// Connects for the async device.
    pub(crate) async fn dial_async(&self) -> io::Result<FromTokio<Box<dyn AsyncStream>>> {
        let address = (&*self.host, self.port);
        let socket = tokio_io::connect(address).await?.into_inner();
        let Some(config) = &self.tls else {
            return Ok(FromTokio::new(Box::new(socket)));
        };
        let handshake = TlsConnector::from(config.clone()).connect(self.name()?, socket);
        let stream = tokio::time::timeout(HANDSHAKE, handshake).await??;
        Ok(FromTokio::new(Box::new(stream)))
    }

    fn name(&self) -> io::Result<ServerName<'static>> {
        ServerName::try_from(self.host.clone()).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        sync::mpsc::{self, Sender},
        thread::{self, JoinHandle},
    };

    use embedded_io::{Error as _, ErrorKind, Read, Write};
    use embedded_io_async::{Read as AsyncRead, Write as AsyncWrite};
    use rustls::{
        ClientConfig, RootCertStore, ServerConfig, ServerConnection, crypto::ring,
        pki_types::PrivateKeyDer,
    };
    use tokio::{io::AsyncWriteExt as _, runtime::Builder, time::timeout};

    use super::{
        Arc, AsyncStream, Broker, Duration, FromTokio, HANDSHAKE, Instant, StreamOwned, io,
    };

    const HELLO: &[u8] = b"while you cannot write";

    /// Starts a server. Returns it as a broker, with a channel of commands and its thread. After the first command, it
    /// sends [`HELLO`]. After the second, it reads until the end. The thread returns the received bytes.
    fn server() -> (Broker, Sender<()>, JoinHandle<Vec<u8>>) {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = pair.cert.der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = Broker {
            host: "localhost".to_owned(),
            port: listener.local_addr().unwrap().port(),
            tls: Some(Arc::new(client)),
        };
        let (command, commands) = mpsc::channel();
        let server = thread::spawn(move || {
            let connection = ServerConnection::new(Arc::new(server)).unwrap();
            let mut stream = StreamOwned::new(connection, listener.accept().unwrap().0);
            stream.conn.complete_io(&mut stream.sock).unwrap();
            commands.recv().unwrap();
            io::Write::write_all(&mut stream, HELLO).unwrap();
            commands.recv().unwrap();
            let mut received = Vec::new();
            if let Err(cut) = io::Read::read_to_end(&mut stream, &mut received) {
                // The blocking device does not close TLS.
                assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
            }
            received
        });
        (broker, command, server)
    }

    /// Repeats a call until it does not return `TimedOut`.
    fn wait<T, E: embedded_io::Error>(mut call: impl FnMut() -> Result<T, E>) -> T {
        let start = Instant::now();
        loop {
            match call() {
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                result => return result.unwrap(),
            }
            assert!(start.elapsed() < HANDSHAKE);
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn tls_directions_do_not_block_each_other() {
        let (broker, command, server) = server();
        let mut stream = broker.dial().unwrap();

        let mut buffer = [0; 64];
        let nothing = Read::read(&mut stream, &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::TimedOut);

        let mut sent = Vec::new();
        let block: Vec<u8> = (0..=u8::MAX).cycle().take(10_000).collect();
        loop {
            match Write::write(&mut stream, &block) {
                Ok(n) => sent.extend_from_slice(&block[..n]),
                Err(full) => {
                    assert_eq!(full.kind(), ErrorKind::TimedOut);
                    // The operating system may accept more a little later.
                    if let Err(full) = Write::flush(&mut stream) {
                        assert_eq!(full.kind(), ErrorKind::TimedOut);
                        break;
                    }
                }
            }
            assert!(
                sent.len() < 100_000_000,
                "all was sent, but the server reads nothing"
            );
        }

        command.send(()).unwrap();
        let n = wait(|| Read::read(&mut stream, &mut buffer));
        assert_eq!(
            &buffer[..n],
            HELLO,
            "it must be read, even if nothing can be written"
        );

        command.send(()).unwrap();
        wait(|| Write::flush(&mut stream));
        sent.extend_from_slice(b"the end");
        assert_eq!(wait(|| Write::write(&mut stream, b"the end")), 7);
        wait(|| Write::flush(&mut stream));
        drop(stream);
        assert!(
            server.join().unwrap() == sent,
            "the server received other bytes"
        );
    }

    const SOON: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(10);

    fn block_on<R>(future: impl Future<Output = R>) -> R {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(future)
    }

    /// Sends a command to the server after a short time. Waits for a future that is ready when the server has done it.
    async fn woken<R>(server: &Sender<()>, ready: impl Future<Output = R>) -> R {
        let server = server.clone();
        thread::spawn(move || {
            thread::sleep(SOON);
            server.send(()).unwrap();
        });
        let start = Instant::now();
        let result = timeout(LONG, ready).await.unwrap();
        // A timeout would also wake it.
        assert!(start.elapsed() < LONG, "it was not woken");
        result
    }

    /// Writes until the stream accepts no more, and returns the accepted bytes.
    async fn fill(stream: &mut FromTokio<Box<dyn AsyncStream>>) -> Vec<u8> {
        let block: Vec<u8> = (0..=u8::MAX).cycle().take(10_000).collect();
        let mut sent = Vec::new();
        loop {
            while let Ok(written) = timeout(SOON, AsyncWrite::write(stream, &block)).await {
                sent.extend_from_slice(&block[..written.unwrap()]);
                assert!(
                    sent.len() < 100_000_000,
                    "all was sent, but the server reads nothing"
                );
            }
            // The operating system may accept more a little later.
            if timeout(SOON, AsyncWrite::flush(stream)).await.is_err() {
                return sent;
            }
        }
    }

    #[test]
    fn tls_directions_are_woken_separately() {
        let (broker, command, server) = server();
        let sent = block_on(async {
            let mut stream = broker.dial_async().await.unwrap();
            let mut buffer = [0; 64];
            let nothing = timeout(SOON, AsyncRead::read(&mut stream, &mut buffer)).await;
            assert!(nothing.is_err(), "{nothing:?}");
            let mut sent = fill(&mut stream).await;

            let n = woken(&command, AsyncRead::read(&mut stream, &mut buffer))
                .await
                .unwrap();
            assert_eq!(&buffer[..n], HELLO, "although nothing can be written");

            woken(&command, AsyncWrite::flush(&mut stream))
                .await
                .unwrap();
            assert_eq!(AsyncWrite::write(&mut stream, b"the end").await.unwrap(), 7);
            sent.extend_from_slice(b"the end");
            AsyncWrite::flush(&mut stream).await.unwrap();
            stream.into_inner().shutdown().await.unwrap();
            sent
        });
        assert!(
            server.join().unwrap() == sent,
            "the server received other bytes"
        );
    }
}
