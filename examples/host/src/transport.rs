//! From a host and a port to a stream: names, addresses, TCP, TLS, each within its time.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConnection, StreamOwned};

use crate::{address::Target, tls, tls::Tls};

/// How long it may take to find the broker's addresses, and then to connect to one of them and agree on TLS.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the broker may take to close its side after the goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// A connection, with TLS or without.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buf),
            Self::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The name has no address.
    UnknownHost { host: String, why: String },
    /// No address of the broker accepts a connection.
    Unreachable(Vec<(SocketAddr, io::Error)>),
    /// It did, but they could not agree on TLS.
    Tls(tls::Reason),
    /// The connection stands, but the async runtime cannot watch it.
    Runtime(io::Error),
}

impl Problem {
    /// Whether trying again is of no use.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(self, Self::Tls(tls::Reason { is_final: true, .. }))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownHost { host, why } => write!(
                f,
                "The host {host} was not found ({why}). Check the name in --broker, and the network."
            ),
            Self::Unreachable(tried) => {
                f.write_str("No broker could be reached")?;
                for (i, (address, error)) in tried.iter().enumerate() {
                    let separator = if i == 0 { ": " } else { "; " };
                    write!(f, "{separator}{address}: {}", in_words(error))?;
                }
                f.write_str(". Check --broker, and that a broker is running there.")
            }
            Self::Tls(reason) => f.write_str(&reason.text),
            Self::Runtime(error) => {
                write!(f, "The async runtime cannot watch the connection: {error}.")
            }
        }
    }
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time".to_owned(),
        _ => error.to_string(),
    }
}

/// Connects, and leaves the stream in non-blocking mode.
pub(crate) fn dial(target: &Target, tls: Option<&Tls>) -> Result<Stream, Problem> {
    let addresses = resolve(target)?;
    let start = Instant::now();
    let mut tried = Vec::new();
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let remaining = DEADLINE.saturating_sub(start.elapsed());
        let share = remaining.checked_div(left).unwrap_or(remaining);
        left = left.saturating_sub(1);
        match tcp(address, share.max(Duration::from_millis(1))) {
            Ok(stream) => return finish(stream, tls),
            Err(error) => tried.push((address, error)),
        }
    }
    Err(Problem::Unreachable(tried))
}

/// The addresses of the host, IPv4 and IPv6, in the order that the system prefers.
fn resolve(target: &Target) -> Result<Vec<SocketAddr>, Problem> {
    let (sender, receiver) = mpsc::channel();
    let Target { host, port } = target.clone();
    // The system's resolver knows no deadline.
    thread::spawn(move || {
        let found = (host, port).to_socket_addrs().map(Vec::from_iter);
        drop(sender.send(found));
    });
    let why = match receiver.recv_timeout(DEADLINE) {
        Ok(Ok(addresses)) if !addresses.is_empty() => return Ok(addresses),
        Ok(Ok(_)) => "it has no address".to_owned(),
        Ok(Err(error)) => lookup_error(&error),
        Err(_) => "no name server answered in time".to_owned(),
    };
    let host = target.host.clone();
    Err(Problem::UnknownHost { host, why })
}

/// Without the standard library's "failed to lookup address information: ".
fn lookup_error(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once("address information: ") {
        Some((_, why)) => why.to_owned(),
        None => text,
    }
}

fn tcp(address: SocketAddr, time: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, time)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn finish(stream: TcpStream, tls: Option<&Tls>) -> Result<Stream, Problem> {
    let stream = match tls {
        None => stream.set_nonblocking(true).map(|()| Stream::Plain(stream)),
        Some(tls) => handshake(stream, tls).map(|stream| Stream::Tls(Box::new(stream))),
    };
    stream.map_err(|error| Problem::Tls(tls::reason(&error).unwrap_or_else(|| interrupted(&error))))
}

fn interrupted(error: &io::Error) -> tls::Reason {
    let why = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the broker closed the connection".to_owned(),
        _ => in_words(error),
    };
    tls::Reason {
        text: format!(
            "TLS could not be agreed on: {why}. Check that the port is one for TLS; 8883 is usual."
        ),
        is_final: false,
    }
}

/// Agrees on TLS while the stream still blocks, so that what is wrong with a certificate is known here.
fn handshake(
    mut stream: TcpStream,
    tls: &Tls,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut connection =
        ClientConnection::new(tls.config.clone(), tls.name.clone()).map_err(io::Error::other)?;
    let start = Instant::now();
    while connection.is_handshaking() {
        let remaining = DEADLINE.saturating_sub(start.elapsed());
        if remaining.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(remaining))?;
        stream.set_write_timeout(Some(remaining))?;
        if connection.wants_write() {
            connection.write_tls(&mut stream)?;
        } else if connection.read_tls(&mut stream)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        } else if let Err(error) = connection.process_new_packets() {
            // The broker is told why.
            drop(connection.write_tls(&mut stream));
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
    stream.set_nonblocking(true)?;
    Ok(StreamOwned::new(connection, stream))
}

/// Closes the connection so that what was said last arrives: a stream that is dropped with bytes unread is reset.
pub(crate) fn hang_up(mut stream: Stream) -> io::Result<()> {
    let socket = match &mut stream {
        Stream::Plain(socket) => socket,
        Stream::Tls(stream) => {
            stream.conn.send_close_notify();
            &mut stream.sock
        }
    };
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(GOODBYE))?;
    socket.set_write_timeout(Some(GOODBYE))?;
    stream.flush()?;
    let socket = match &mut stream {
        Stream::Plain(socket) => socket,
        Stream::Tls(stream) => &mut stream.sock,
    };
    socket.shutdown(Shutdown::Write)?;
    let start = Instant::now();
    while socket.read(&mut [0; 512])? > 0 && start.elapsed() < GOODBYE {}
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        net::TcpListener,
        sync::{Arc, mpsc::Sender},
        thread::JoinHandle,
    };

    use embedded_io::{Error as _, ErrorKind, Read as _, Write as _};
    use rustls::{
        ClientConfig, RootCertStore, ServerConfig, ServerConnection,
        crypto::ring,
        pki_types::{PrivateKeyDer, ServerName},
    };
    use umqtt::std_io::NonBlocking;

    use super::*;

    pub(crate) const HELLO: &[u8] = b"while you cannot write";

    /// A TLS stream as the program uses it, and a server that says [`HELLO`] when told so for the first time, and for
    /// the second time begins to read; it returns what it read.
    pub(crate) fn connected() -> (Stream, Sender<()>, JoinHandle<Vec<u8>>) {
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
        let target = Target {
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
        };
        let (tell, hear) = mpsc::channel();
        let server = thread::spawn(move || {
            let connection = ServerConnection::new(Arc::new(server)).unwrap();
            let mut stream = StreamOwned::new(connection, listener.accept().unwrap().0);
            stream.conn.complete_io(&mut stream.sock).unwrap();
            hear.recv().unwrap();
            stream.write_all(HELLO).unwrap();
            hear.recv().unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            received
        });
        let tls = Tls {
            config: Arc::new(client),
            name: ServerName::try_from("localhost").unwrap(),
        };
        (dial(&target, Some(&tls)).unwrap(), tell, server)
    }

    /// Repeats a call while it has nothing to do.
    fn wait<T, E: embedded_io::Error>(mut call: impl FnMut() -> Result<T, E>) -> T {
        let start = Instant::now();
        loop {
            match call() {
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                result => return result.unwrap(),
            }
            assert!(start.elapsed() < DEADLINE);
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn over_tls_neither_side_blocks_the_other() {
        let (stream, tell, server) = connected();
        let mut stream = NonBlocking::new(stream);

        let mut buffer = [0; 64];
        let nothing = stream.read(&mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::TimedOut);

        let mut sent = Vec::new();
        let block: Vec<u8> = (0..=u8::MAX).cycle().take(10_000).collect();
        loop {
            match stream.write(&block) {
                Ok(n) => sent.extend_from_slice(&block[..n]),
                Err(full) => {
                    assert_eq!(full.kind(), ErrorKind::TimedOut);
                    break;
                }
            }
            assert!(
                sent.len() < 100_000_000,
                "the server reads nothing, and all is sent"
            );
        }
        assert_eq!(stream.flush().unwrap_err().kind(), ErrorKind::TimedOut);

        tell.send(()).unwrap();
        let n = wait(|| stream.read(&mut buffer));
        assert_eq!(
            &buffer[..n],
            HELLO,
            "it is read although nothing can be written"
        );

        tell.send(()).unwrap();
        wait(|| stream.flush());
        sent.extend_from_slice(b"the end");
        assert_eq!(wait(|| stream.write(b"the end")), 7);
        wait(|| stream.flush());
        hang_up(stream.into_inner()).unwrap();
        assert!(server.join().unwrap() == sent, "not what was sent");
    }

    #[test]
    fn a_silent_server_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _peer) = (stream, listener.accept().unwrap());
        hang_up(Stream::Plain(stream)).unwrap_err();
    }
}
