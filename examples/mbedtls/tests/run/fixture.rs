//! Shared code of the tests.

use std::{
    ffi::{CStr, CString},
    fs,
    net::SocketAddr,
    path::Path,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use rand::{rand_core::UnwrapErr, rngs::SysRng};
use tls_mbedtls::{Connector, Error, Stream, Tls, TlsReference, X509};
use tokio::{runtime::Builder, time::timeout};
use umqtt::{
    Event, Message, Session, Storage,
    asynch::Client,
    codec::{Connect, QoS},
    tokio_io::{self, TcpTransport, TokioClock},
};

use crate::pki::{Pair, Pki};

/// The server name that the client expects.
pub(crate) const NAME: &str = "broker.example";
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a test while no other runs, because only one thread at a time may use Mbed TLS.
pub(crate) fn run(test: impl Future<Output = ()>) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    #[cfg(feature = "clock")]
    crate::dates::start_clock();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(DEADLINE, test).await.expect("it takes too long") });
}

pub(crate) fn tls() -> TlsReference<'static> {
    static TLS: LazyLock<Tls<'static>> =
        LazyLock::new(|| Tls::new(Box::leak(Box::new(UnwrapErr(SysRng)))).unwrap());
    TLS.reference()
}

/// Returns a connector that trusts the root of `pki`, in PEM form.
pub(crate) fn connector(pki: &Pki) -> Connector<'static> {
    Connector::new(tls(), X509::PEM(leak(pki.root()))).unwrap()
}

/// As [`connector`], with a client certificate.
pub(crate) fn connector_with(pki: &Pki, pair: &Pair) -> Connector<'static> {
    let (chain, key) = (pem(&pair.chain), pem(&pair.key));
    connector(pki)
        .with_client_certificate(X509::PEM(chain), X509::PEM(key))
        .unwrap()
}

fn pem(path: &Path) -> &'static CStr {
    leak(CString::new(fs::read(path).unwrap()).unwrap())
}

/// Leaks a text. The process of a test is short-lived.
fn leak(text: CString) -> &'static CStr {
    Box::leak(text.into_boxed_c_str())
}

pub(crate) async fn dial<'a>(
    connector: &Connector<'a>,
    address: SocketAddr,
) -> Result<Stream<'a, TcpTransport>, Error> {
    let tcp = tokio_io::connect(address).await.unwrap();
    connector.connect(tcp, NAME).await
}

/// Connects, publishes at each QoS, and waits until all messages are received. The error is the text for a log.
pub(crate) async fn exchange(connector: &Connector<'_>, address: SocketAddr) -> Result<(), String> {
    let stream = dial(connector, address)
        .await
        .map_err(|error| error.to_string())?;
    echo(stream).await.map_err(|error| error.to_string())
}

async fn echo(stream: Stream<'_, TcpTransport>) -> Result<(), umqtt::client::Error<Error>> {
    let mut storage = Storage::<256, 256, 4>::new();
    let mut session = Session::new(&mut storage);
    let clock = TokioClock::new();
    let mut client = Client::connect(&mut session, stream, clock, &Connect::new("lamp")).await?;
    let filters = [("lamp", QoS::ExactlyOnce)];
    let codes = client.subscribe_and_wait(&filters, |_, _| {}).await?;
    assert!(codes.all_granted());
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let message = Message {
            qos,
            ..Message::new("lamp", b"on")
        };
        client.publish(&message).await?;
        while !matches!(client.recv().await?, Event::Message(_)) {}
    }
    client.disconnect().await.map(drop)
}
