//! The host example over TLS 1.3, with rustls, to mosquitto, which uses OpenSSL.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Instant,
};

use rcgen::KeyPair;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use umqtt::{
    Event, Message, Session, Storage,
    blocking::Client,
    codec::{Connect, QoS},
    std_io::{NonBlocking, StdClock},
};

use crate::{
    certificates::{Authority, Pair, rsa_key},
    mosquitto::{Mosquitto, is_installed, is_installed_with_openssl},
    process::{LONG, Running, count, host, with_both_clients},
    relay::Relay,
};

/// Starts the program with the authority's certificate and further options, until two messages have come back.
fn connect(broker: &Mosquitto, authority: &Authority, more: &str) -> Running {
    let (port, ca) = (broker.address.port(), authority.ca());
    host(&format!(
        "--broker localhost:{port} --count 2 --interval 0.05 --tls --ca {} {more}",
        ca.display()
    ))
}

/// As [`connect`], with a client certificate.
fn connect_as(pair: &Pair, broker: &Mosquitto, authority: &Authority, more: &str) -> Running {
    let (certificate, key) = (pair.certificate.display(), pair.key.display());
    let more = format!("{more} --client-cert {certificate} --client-key {key}");
    connect(broker, authority, &more)
}

fn broker(authority: &Authority, more: &str) -> Mosquitto {
    Mosquitto::over_tls(authority, &authority.certify("localhost"), more)
}

#[test]
fn private_authority_is_trusted() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let authority = Authority::new();
        let broker = broker(&authority, "");
        for qos in 0..3 {
            let lines = connect(&broker, &authority, &format!("{client} --qos {qos}")).succeeds();
            assert_eq!(count(&lines, "Came back"), 2, "{lines:#?}");
        }
    });
}

/// The authority, the broker and the client have keys of either algorithm.
#[test]
fn keys_of_each_algorithm_are_accepted() {
    if !is_installed_with_openssl() {
        return;
    }
    let keys: [fn() -> KeyPair; 2] = [|| KeyPair::generate().unwrap(), rsa_key];
    with_both_clients(|client| {
        for (number, authority) in keys.iter().enumerate() {
            let authority = Authority::with_key(authority());
            let certified = authority.certify_key("localhost", &keys[1 - number]());
            let broker = Mosquitto::over_tls(&authority, &certified, "require_certificate true");
            for key in keys {
                let lamp = authority.certify_key("lamp", &key());
                connect_as(&lamp, &broker, &authority, client).succeeds();
            }
        }
    });
}

#[test]
fn unknown_authority_is_not_trusted() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let (authority, other) = (Authority::new(), Authority::new());
        let broker = broker(&authority, "");
        connect(&broker, &other, client).gives_up(&["No trusted authority", "--ca FILE"]);
    });
}

#[test]
fn other_host_or_expired_certificate_is_not_trusted() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let authority = Authority::new();
        let elsewhere = authority.certify("elsewhere.example");
        let broker = Mosquitto::over_tls(&authority, &elsewhere, "");
        connect(&broker, &authority, client).gives_up(&["another host", "elsewhere.example"]);

        let expired = authority.certify_expired("localhost");
        let broker = Mosquitto::over_tls(&authority, &expired, "");
        connect(&broker, &authority, client).gives_up(&["not valid today", "clock"]);
    });
}

#[test]
fn client_certificate_of_known_authority_is_accepted() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let authority = Authority::new();
        let broker = broker(&authority, "require_certificate true");
        let lamp = authority.certify("lamp");
        connect_as(&lamp, &broker, &authority, client).succeeds();
        connect(&broker, &authority, client).gives_up(&["client certificate", "--client-cert"]);
        for unwelcome in [
            Authority::new().certify("lamp"),
            authority.certify_expired("lamp"),
        ] {
            connect_as(&unwelcome, &broker, &authority, client)
                .gives_up(&["does not accept the client certificate"]);
        }
    });
}

/// With `--tls`, the program sends only TLS records, even to a broker without TLS.
#[test]
fn plain_port_receives_handshake_records_only() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let broker = Mosquitto::open();
        let relay = Relay::new(broker.address);
        let mut host = host(&format!("{client} --broker {} --tls", relay.address));
        let line = host.line("TLS");
        assert!(line.contains("8883"), "{line}");
        let sent = relay.sent_bytes();
        assert!(!sent.is_empty());
        for bytes in sent {
            assert_eq!(bytes[..2], [0x16, 3], "a handshake record");
            assert!(!bytes.windows(4).any(|four| four == b"MQTT"));
        }
    });
}

#[test]
fn tls_port_without_tls_option_suggests_it() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let authority = Authority::new();
        let broker = broker(&authority, "");
        let mut host = host(&format!("{client} --broker {}", broker.address));
        let line = host.line("Trying again");
        assert!(line.contains("--tls"), "{line}");
    });
}

/// A TLS stream that encrypts into the buffer of rustls, which accepts nothing and returns `Ok(0)` when it is full.
struct Buffered(StreamOwned<ClientConnection, TcpStream>);

impl Read for Buffered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Buffered {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let taken = self.0.conn.writer().write(buf)?;
        if taken == 0 {
            match self.0.conn.write_tls(&mut self.0.sock) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Connects, and returns the stream after the handshake, with 8 KiB of buffer in rustls.
fn stream(broker: &Mosquitto, authority: &Authority) -> Buffered {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(authority.ca()).unwrap();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    connection.set_buffer_limit(Some(8 << 10));
    let mut socket = TcpStream::connect(broker.address).unwrap();
    connection.complete_io(&mut socket).unwrap();
    socket.set_nonblocking(true).unwrap();
    Buffered(StreamOwned::new(connection, socket))
}

#[test]
fn five_megabytes_both_ways_at_qos1_complete() {
    const LEN: usize = 64 << 10;
    const COUNT: usize = 80;
    if !is_installed() {
        return;
    }
    let authority = Authority::new();
    let broker = broker(&authority, "");
    let mut storage = Box::new(Storage::<4096, { 5 * LEN }, 4>::new());
    let mut session = Session::new(&mut storage);
    let transport = NonBlocking::new(stream(&broker, &authority));
    let options = Connect {
        keep_alive: 30,
        ..Connect::new("both-ways")
    };
    let mut client = Client::connect(&mut session, transport, StdClock::new(), &options).unwrap();
    let granted = client.subscribe_and_wait(&[("t", QoS::AtLeastOnce)], |_, _| {});
    assert_eq!(granted.unwrap().len(), 1);

    let payload: Vec<u8> = (0..=250).cycle().take(LEN).collect();
    let (mut published, mut acknowledged, mut received) = (0, 0, 0);
    let start = Instant::now();
    while acknowledged < COUNT || received < COUNT * LEN {
        assert!(
            start.elapsed() < 3 * LONG,
            "{acknowledged}, {received} bytes"
        );
        if published < COUNT && client.session().in_flight() < 4 {
            let message = Message {
                qos: QoS::AtLeastOnce,
                ..Message::new("t", &payload)
            };
            client.publish(&message).unwrap();
            published += 1;
        }
        match client.recv().unwrap() {
            Event::Puback(_) => acknowledged += 1,
            Event::Chunk(chunk) => {
                let expected = &payload[chunk.offset..][..chunk.bytes.len()];
                assert!(chunk.bytes == expected, "at {received}");
                received += chunk.bytes.len();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((published, received), (COUNT, 5 << 20));
    assert_eq!(client.session().in_flight(), 0);
    client.disconnect().unwrap();
}
