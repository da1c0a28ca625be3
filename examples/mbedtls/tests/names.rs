//! Servers that require a name (SNI) or a protocol (ALPN) in the TLS handshake, as some cloud brokers do. The blocking
//! device reaches them over rustls, and the async client over Mbed TLS.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

mod server;

use std::{
    ffi::CStr,
    io::{self, Write as _},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use rand::{rand_core::UnwrapErr, rngs::SysRng};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned,
    crypto::ring,
    pki_types::ServerName,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use server::{Authority, Link, serve};
use tls_mbedtls::{Connector, Tls, X509};
use tokio::runtime::Builder;
use umqtt::{
    Config, Session, Storage,
    asynch::Client,
    blocking::Device,
    codec::Connect,
    std_io::{NonBlocking, StdClock},
    tokio_io::{self, TokioClock},
};

const NAME: &str = "localhost";
const ALPN: &[u8] = b"x-amzn-mqtt-ca";
const CONNECTED: &str = "connected: the server has begun a new session";

/// The certificate of a server with several hosts. A client that sends no name receives none.
#[derive(Debug)]
struct ByName(Arc<CertifiedKey>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        (hello.server_name() == Some(NAME)).then(|| Arc::clone(&self.0))
    }
}

/// Starts a broker that requires the name, and one of these protocols if there are any. It accepts the CONNECT.
fn broker(authority: &Authority, protocols: &[&[u8]]) -> u16 {
    let key = authority.certified_key(&[NAME, "127.0.0.1"]);
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName(Arc::new(key))));
    config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
    let wants_protocol = !protocols.is_empty();
    serve(config, move |link: &mut Link| {
        let StreamOwned { conn, sock } = &mut **link;
        conn.complete_io(sock)?;
        // The server of rustls also accepts a client that offers no protocol.
        if wants_protocol && conn.alpn_protocol().is_none() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        link.write_all(&[0x20, 2, 0, 0])?;
        link.flush()?;
        link.echo()
    })
}

type Transport = NonBlocking<StreamOwned<ClientConnection, TcpStream>>;

/// Connects with TLS to this name or address, and offers these protocols.
fn secure(
    authority: &Authority,
    port: u16,
    name: &'static str,
    protocols: &[&[u8]],
) -> io::Result<Transport> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
    let mut connection =
        ClientConnection::new(Arc::new(config), ServerName::try_from(name).unwrap()).unwrap();
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    socket.set_read_timeout(Some(Duration::from_millis(10)))?;
    socket.set_write_timeout(Some(Duration::from_millis(10)))?;
    Ok(NonBlocking::new(StreamOwned::new(connection, socket)))
}

/// Returns the text that a user of a device reads.
fn seen(authority: &Authority, port: u16, name: &'static str, protocols: &[&[u8]]) -> String {
    let mut storage = Storage::<256, 256, 4>::new();
    let config = Config::new(Connect::new("lamp-7"));
    let mut device = Device::new(&mut storage, StdClock::new(), &config).unwrap();
    if let Err(error) = device.dial(|| secure(authority, port, name, protocols)) {
        return format!("cannot connect: {error}");
    }
    let mut text = String::new();
    match device.recv(5_000, |event, _| text = event.to_string()) {
        Ok(_) => text,
        Err(error) => format!("connection lost: {error}"),
    }
}

#[test]
fn server_requiring_name_refuses_address() {
    let authority = Authority::new();
    let port = broker(&authority, &[]);
    assert_eq!(seen(&authority, port, NAME, &[]), CONNECTED);
    let text = seen(&authority, port, "127.0.0.1", &[]);
    assert!(
        text.starts_with("cannot connect: ") && text.contains("alert"),
        "{text}"
    );
}

#[test]
fn server_requiring_protocol_refuses_others_and_none() {
    let authority = Authority::new();
    let port = broker(&authority, &[ALPN]);
    assert_eq!(seen(&authority, port, NAME, &[ALPN]), CONNECTED);
    assert_eq!(seen(&authority, port, NAME, &[b"mqtt", ALPN]), CONNECTED);
    let text = seen(&authority, port, NAME, &[b"mqtt"]);
    assert!(
        text.starts_with("cannot connect: ") && text.contains("alert"),
        "{text}"
    );
    // In TLS 1.3, the client has already finished the handshake when the server refuses it.
    let text = seen(&authority, port, NAME, &[]);
    assert!(text.starts_with("connection lost: "), "{text}");
}

/// Returns the result of a connection over Mbed TLS and of its CONNECT.
async fn over_mbedtls(connector: &Connector<'_>, port: u16, name: &str) -> Result<(), String> {
    let tcp = tokio_io::connect(("127.0.0.1", port)).await.unwrap();
    let stream = connector.connect(tcp, name).await;
    let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
    let mut storage = Storage::<256, 256, 4>::new();
    let mut session = Session::new(&mut storage);
    let connect = Connect::new("lamp-7");
    let client = Client::connect(&mut session, stream, TokioClock::new(), &connect).await;
    client
        .map(drop)
        .map_err(|error| format!("connection lost: {error}"))
}

/// All cases are one test, because only one thread may use Mbed TLS.
#[test]
fn mbedtls_sends_name_and_protocols_and_refuses_forgery() {
    #[cfg(feature = "clock")]
    {
        use tls_mbedtls::{Clock, check_dates_by};
        static CLOCK: Clock<fn() -> Option<u64>> = Clock(|| Some(1_900_000_000));
        check_dates_by(&CLOCK);
    }
    const MQTT: &CStr = c"mqtt";
    const AWS: &CStr = c"x-amzn-mqtt-ca";
    let authority = Authority::new();
    let root: &[u8] = authority.certificate();
    let tls = Tls::new(Box::leak(Box::new(UnwrapErr(SysRng)))).unwrap();
    let connector = Connector::new(tls.reference(), X509::DER(root)).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let seen = |port, name, protocols: &[&CStr]| {
        let connector = connector.clone().with_protocols(protocols);
        runtime.block_on(over_mbedtls(&connector, port, name))
    };

    let port = broker(&authority, &[]);
    assert_eq!(seen(port, NAME, &[]), Ok(()));
    let text = seen(port, "127.0.0.1", &[]).unwrap_err();
    assert!(
        text.starts_with("cannot connect: ") && text.contains("alert"),
        "{text}"
    );

    let port = broker(&authority, &[ALPN]);
    assert_eq!(seen(port, NAME, &[AWS]), Ok(()));
    assert_eq!(seen(port, NAME, &[MQTT, AWS]), Ok(()));
    let text = seen(port, NAME, &[MQTT]).unwrap_err();
    assert!(
        text.starts_with("cannot connect: ") && text.contains("ALPN"),
        "{text}"
    );
    let text = seen(port, NAME, &[]).unwrap_err();
    assert!(text.starts_with("connection lost: "), "{text}");

    // The authority has certified a device, but does not allow it to certify others.
    let port = serve(authority.forge(NAME), |link: &mut Link| link.echo());
    let text = seen(port, NAME, &[]).unwrap_err();
    assert!(text.contains("no trusted root signed it"), "{text}");
}
