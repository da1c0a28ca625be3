//! A client on the TLS of the chip: embedded-tls, with the features that it has there.

use std::time::SystemTime;

use embedded_tls::{
    Aes128GcmSha256, Certificate, CryptoProvider, CryptoRngCore, SignatureScheme, TlsClock,
    TlsError, TlsVerifier,
};
use p256::{
    ecdsa::{DerSignature, SigningKey, signature::SignerMut},
    pkcs8::DecodePrivateKey,
};
use rand_core::OsRng;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tls_pump::{LONGEST_RECORD, Pump, Stream, Verifier};
use tokio::{runtime::Builder, time::timeout};
use umqtt::{
    Event, Message, Session, Storage,
    asynch::Client,
    codec::{Connect, QoS},
    tokio_io::{self, TcpTransport, TokioClock},
};

use crate::{
    certificates::{Authority, Pair},
    process::LONG,
};

/// How a device connects.
pub(crate) struct Device<'a> {
    pub(crate) port: u16,
    /// Whom it expects there.
    pub(crate) name: &'a str,
    pub(crate) authority: &'a Authority,
    pub(crate) pair: Option<&'a Pair>,
}

impl Device<'_> {
    /// Publishes, and waits until it comes back, at each QoS; the error is what the log of a device would show.
    pub(crate) fn exchange(&self) -> Result<(), String> {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pump = Pump::<TcpTransport>::new();
            let (mut incoming, mut outgoing) = (vec![0; LONGEST_RECORD], vec![0; 4096]);
            let provider = || Checks::new(self);
            let pumping = pump.run(&mut incoming, &mut outgoing, self.name, provider);
            tokio::select! {
                never = pumping => never,
                done = timeout(LONG, self.client(&pump)) => done.expect("it takes too long"),
            }
        })
    }

    async fn client(&self, pump: &Pump<TcpTransport>) -> Result<(), String> {
        let line = pump.line().await;
        let socket = tokio_io::connect(("127.0.0.1", self.port)).await;
        let stream = line.secure(socket.unwrap()).await;
        let stream = stream.map_err(|error| error.to_string())?;
        there_and_back(stream)
            .await
            .map_err(|error| error.to_string())
    }
}

async fn there_and_back(
    stream: Stream<'_, TcpTransport>,
) -> Result<(), umqtt::client::Error<tls_pump::Error>> {
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

/// What embedded-tls asks its caller for.
struct Checks {
    rng: OsRng,
    verifier: Verifier<'static, Wall, 4096>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl Checks {
    fn new(device: &Device<'_>) -> Result<Self, TlsError> {
        let der = |path| CertificateDer::from_pem_file(path).unwrap().to_vec();
        let key = |path| {
            let key = PrivateKeyDer::from_pem_file(path).unwrap();
            key.secret_der().to_vec()
        };
        let pair = device.pair;
        Ok(Self {
            rng: OsRng,
            verifier: Verifier::new(der(device.authority.ca()).leak()),
            certificate: pair.map(|pair| der(pair.certificate.clone())),
            key: pair.map(|pair| key(&pair.key)),
        })
    }
}

impl CryptoProvider for Checks {
    type CipherSuite = Aes128GcmSha256;
    type Signature = DerSignature;

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut self.rng
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Aes128GcmSha256>, TlsError> {
        Ok(&mut self.verifier)
    }

    fn signer(&mut self) -> Result<(impl SignerMut<DerSignature>, SignatureScheme), TlsError> {
        let key = self.key.as_deref().ok_or(TlsError::InvalidPrivateKey)?;
        let key = SigningKey::from_pkcs8_der(key).map_err(|_| TlsError::InvalidPrivateKey)?;
        Ok((key, SignatureScheme::EcdsaSecp256r1Sha256))
    }

    fn client_cert(&mut self) -> Option<Certificate<impl AsRef<[u8]>>> {
        self.certificate.as_ref().map(Certificate::X509)
    }
}

/// Without a clock, embedded-tls accepts certificates of any age.
struct Wall;

impl TlsClock for Wall {
    fn now() -> Option<u64> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.ok().map(|since| since.as_secs())
    }
}
