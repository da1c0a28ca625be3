//! Servers with TLS, and the authority that signs their certificates.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};

/// An authority of one test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "An authority");
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        self.0.der()
    }

    /// Returns a certificate for these names, and its key.
    pub(crate) fn certified_key(&self, names: &[&str]) -> CertifiedKey {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = ring::sign::any_ecdsa_type(&key).unwrap();
        CertifiedKey::new(vec![certificate.der().clone()], key)
    }

    /// Returns the settings of a server whose certificate was issued by a device. The authority has signed the device's
    /// certificate, but does not allow the device to sign others.
    pub(crate) fn forge(&self, name: &str) -> ServerConfig {
        let device_key = KeyPair::generate().unwrap();
        let device = params("lamp").signed_by(&device_key, &self.0).unwrap();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(params("lamp"), device_key);
        let certificate = params(name).signed_by(&key, &issuer).unwrap();
        server(vec![certificate.der().clone(), device.der().clone()], &key)
    }
}

/// Returns the contents of a certificate for this name.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Returns the settings of a server with this chain of certificates.
fn server(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap()
}

/// The server's end of a connection.
pub(crate) struct Link(StreamOwned<ServerConnection, TcpStream>);

impl std::ops::Deref for Link {
    type Target = StreamOwned<ServerConnection, TcpStream>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for Link {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Link {
    /// Sends received bytes back, in records of other sizes, until the client closes.
    pub(crate) fn echo(&mut self) -> io::Result<()> {
        let mut buf = [0; 1_000];
        loop {
            let n = self.read(&mut buf)?;
            if n == 0 {
                return Ok(());
            }
            self.write_all(buf.get(..n).unwrap_or_default())?;
            self.flush()?;
        }
    }
}

/// Starts a server that handles every connection with `serve`. Returns its port.
pub(crate) fn serve(
    config: ServerConfig,
    serve: impl Fn(&mut Link) -> io::Result<()> + Send + Clone + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(config);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (config, serve) = (Arc::clone(&config), serve.clone());
            thread::spawn(move || {
                let connection = ServerConnection::new(config).unwrap();
                // A client that drops its connection causes an error here. It does not fail the test.
                let _ = serve(&mut Link(StreamOwned::new(connection, socket.unwrap())));
            });
        }
    });
    port
}
