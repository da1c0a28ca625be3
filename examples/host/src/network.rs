//! Connections to the broker, with TLS or without.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};
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
        let socket = std_io::connect((&*self.host, self.port))?.into_inner();
        Ok(NonBlocking::new(match &self.tls {
            None => Box::new(socket),
            Some(config) => Box::new(secure(socket, config, &self.host)?),
        }))
    }

    /// Connects for the async device.
    pub(crate) async fn dial_async(&self) -> io::Result<FromTokio<Box<dyn AsyncStream>>> {
        let socket = tokio_io::connect((&*self.host, self.port))
            .await?
            .into_inner();
        Ok(FromTokio::new(match &self.tls {
            None => Box::new(socket),
            Some(config) => Box::new(secure_async(socket, config, &self.host).await?),
        }))
    }
}

/// Performs the TLS handshake on a socket whose reads and writes have timeouts.
fn secure(
    socket: TcpStream,
    config: &Arc<ClientConfig>,
    host: &str,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let connection =
        ClientConnection::new(config.clone(), name(host)?).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    let start = Instant::now();
    while stream.conn.is_handshaking() {
        match stream.conn.complete_io(&mut stream.sock) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ if start.elapsed() > HANDSHAKE => return Err(ErrorKind::TimedOut.into()),
            _ => {}
        }
    }
    Ok(stream)
}

async fn secure_async<S: AsyncStream>(
    socket: S,
    config: &Arc<ClientConfig>,
    host: &str,
) -> io::Result<TlsStream<S>> {
    let handshake = TlsConnector::from(config.clone()).connect(name(host)?, socket);
    tokio::time::timeout(HANDSHAKE, handshake).await?
}

fn name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, TcpListener},
        sync::mpsc::{self, Sender},
        thread::{self, JoinHandle},
    };

    use embedded_io::{Error as _, ErrorKind, Read, Write};
    use embedded_io_async::{Read as AsyncRead, Write as AsyncWrite};
    use rustls::{
        ClientConfig, RootCertStore, ServerConfig, ServerConnection, crypto::ring,
        pki_types::PrivateKeyDer,
    };
    use tokio::{io::AsyncWriteExt as _, net::TcpStream, runtime::Builder, time::timeout};

    use super::{
        Arc, Duration, FromTokio, HANDSHAKE, Instant, NonBlocking, StreamOwned, TlsStream, io,
        secure, secure_async, std_io, tokio_io,
    };

    const HELLO: &[u8] = b"while you cannot write";

    /// The address of a server, the settings of TLS for it, and the server itself. It sends [`HELLO`] when
    /// told so for the first time. For the second time it begins to read, and it returns what it has read.
    fn server() -> (
        SocketAddr,
        Arc<ClientConfig>,
        Sender<()>,
        JoinHandle<Vec<u8>>,
    ) {
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
        let address = listener.local_addr().unwrap();
        let (tell, hear) = mpsc::channel();
        let server = thread::spawn(move || {
            let connection = ServerConnection::new(Arc::new(server)).unwrap();
            let mut stream = StreamOwned::new(connection, listener.accept().unwrap().0);
            stream.conn.complete_io(&mut stream.sock).unwrap();
            hear.recv().unwrap();
            io::Write::write_all(&mut stream, HELLO).unwrap();
            hear.recv().unwrap();
            let mut received = Vec::new();
            io::Read::read_to_end(&mut stream, &mut received).unwrap();
            received
        });
        (address, Arc::new(client), tell, server)
    }

    /// Repeats a call while it has nothing to do.
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
        let (address, tls, tell, server) = server();
        let socket = std_io::connect(address).unwrap().into_inner();
        let mut stream = NonBlocking::new(secure(socket, &tls, "localhost").unwrap());

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
                "the server reads nothing, and all is sent"
            );
        }

        tell.send(()).unwrap();
        let n = wait(|| Read::read(&mut stream, &mut buffer));
        assert_eq!(
            &buffer[..n],
            HELLO,
            "it is read although nothing can be written"
        );

        tell.send(()).unwrap();
        wait(|| Write::flush(&mut stream));
        sent.extend_from_slice(b"the end");
        assert_eq!(wait(|| Write::write(&mut stream, b"the end")), 7);
        wait(|| Write::flush(&mut stream));
        let mut stream = stream.into_inner();
        stream.conn.send_close_notify();
        io::Write::flush(&mut stream).unwrap();
        drop(stream);
        assert!(server.join().unwrap() == sent, "not what was sent");
    }

    const SOON: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(10);

    fn block_on<R>(future: impl Future<Output = R>) -> R {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(future)
    }

    /// Waits for what becomes ready once the server, a little later, is told to go on.
    async fn woken<R>(server: &Sender<()>, ready: impl Future<Output = R>) -> R {
        let server = server.clone();
        thread::spawn(move || {
            thread::sleep(SOON);
            server.send(()).unwrap();
        });
        let start = Instant::now();
        let result = timeout(LONG, ready).await.unwrap();
        // The end of the time would wake it, too.
        assert!(start.elapsed() < LONG, "it was not woken");
        result
    }

    /// Writes until the stream takes no more, and returns what it took.
    async fn fill(stream: &mut FromTokio<TlsStream<TcpStream>>) -> Vec<u8> {
        let block: Vec<u8> = (0..=u8::MAX).cycle().take(10_000).collect();
        let mut sent = Vec::new();
        loop {
            while let Ok(written) = timeout(SOON, AsyncWrite::write(stream, &block)).await {
                sent.extend_from_slice(&block[..written.unwrap()]);
                assert!(
                    sent.len() < 100_000_000,
                    "the server reads nothing, and all is sent"
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
        let (address, tls, tell, server) = server();
        let sent = block_on(async {
            let socket = tokio_io::connect(address).await.unwrap().into_inner();
            let mut stream = FromTokio::new(secure_async(socket, &tls, "localhost").await.unwrap());
            let mut buffer = [0; 64];
            let nothing = timeout(SOON, AsyncRead::read(&mut stream, &mut buffer)).await;
            assert!(nothing.is_err(), "{nothing:?}");
            let mut sent = fill(&mut stream).await;

            let n = woken(&tell, AsyncRead::read(&mut stream, &mut buffer))
                .await
                .unwrap();
            assert_eq!(&buffer[..n], HELLO, "although nothing can be written");

            woken(&tell, AsyncWrite::flush(&mut stream)).await.unwrap();
            assert_eq!(AsyncWrite::write(&mut stream, b"the end").await.unwrap(), 7);
            sent.extend_from_slice(b"the end");
            AsyncWrite::flush(&mut stream).await.unwrap();
            stream.into_inner().shutdown().await.unwrap();
            sent
        });
        assert!(server.join().unwrap() == sent, "not what was sent");
    }
}
