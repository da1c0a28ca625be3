//! TLS: certificates in, reasons out.

use std::{
    error::Error as _,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as TlsError, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem, pem::PemObject},
};

use crate::options::Options;

/// How to speak TLS with the broker.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    /// Whom the broker's certificate has to name.
    pub(crate) name: ServerName<'static>,
}

/// Why TLS cannot be prepared.
#[derive(Debug)]
pub(crate) enum Unprepared {
    /// This PEM file cannot be read, or holds nothing usable.
    File { path: PathBuf, why: String },
    /// The key does not belong to the certificate, or cannot be used.
    ClientCertificate(TlsError),
    /// The host can stand in no certificate.
    Name(String),
    /// The cryptography is not available.
    Crypto(TlsError),
}

impl fmt::Display for Unprepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, why } => {
                write!(f, "The file {} cannot be used: {why}.", path.display())
            }
            Self::ClientCertificate(error) => write!(
                f,
                "The client certificate cannot be used with this key: {error}. Check that --client-cert and --client-key belong together."
            ),
            Self::Name(host) => write!(
                f,
                "No certificate can name the host {host}. Check --broker."
            ),
            Self::Crypto(error) => write!(f, "TLS cannot be used: {error}."),
        }
    }
}

impl Tls {
    /// Reads the certificates that the options name.
    pub(crate) fn new(options: &Options, host: &str) -> Result<Self, Unprepared> {
        let roots = match &options.ca {
            Some(path) => private_roots(path)?,
            None => RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            },
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Unprepared::Crypto)?
            .with_root_certificates(roots);
        let config = match (&options.client_cert, &options.client_key) {
            (Some(certificate), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| unusable(key, &error, "private key"))?;
                config
                    .with_client_auth_cert(certificates(certificate)?, key)
                    .map_err(Unprepared::ClientCertificate)?
            }
            _ => config.with_no_client_auth(),
        };
        Ok(Self {
            config: Arc::new(config),
            name: ServerName::try_from(host.to_owned())
                .map_err(|_| Unprepared::Name(host.to_owned()))?,
        })
    }
}

fn private_roots(path: &Path) -> Result<RootCertStore, Unprepared> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| Unprepared::File {
            path: path.to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unprepared> {
    let unusable = |error| unusable(path, &error, "certificate");
    let all = CertificateDer::pem_file_iter(path).map_err(unusable)?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(unusable)?;
    if all.is_empty() {
        return Err(unusable(pem::Error::NoItemsFound));
    }
    Ok(all)
}

fn unusable(path: &Path, error: &pem::Error, wanted: &str) -> Unprepared {
    let why = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => format!("there is no {wanted} in PEM form in it"),
        _ => "it is no valid PEM file".to_owned(),
    };
    Unprepared::File {
        path: path.to_owned(),
        why,
    }
}

/// What a user should know about an error of TLS.
#[derive(Debug)]
pub(crate) struct Reason {
    pub(crate) text: String,
    /// It will be the same the next time.
    pub(crate) is_final: bool,
}

/// The reason, if TLS is to blame for an error of a stream.
pub(crate) fn reason(error: &io::Error) -> Option<Reason> {
    let error = error.get_ref()?.downcast_ref::<TlsError>()?;
    let (text, is_final) = match error {
        TlsError::InvalidCertificate(why) => (certificate_reason(why), true),
        TlsError::AlertReceived(alert) => alert_reason(*alert),
        TlsError::InvalidMessage(_) => (
            "What the broker sent is no TLS. Check the port: 8883 is usual with TLS, 1883 without."
                .to_owned(),
            true,
        ),
        TlsError::PeerIncompatible(why) => (
            format!(
                "The broker speaks no TLS that is safe enough ({why:?}); TLS 1.2 or 1.3 is needed."
            ),
            true,
        ),
        other => (format!("TLS failed: {other}."), false),
    };
    Some(Reason { text, is_final })
}

fn certificate_reason(error: &CertificateError) -> String {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
        NotValidYet, NotValidYetContext, UnknownIssuer,
    };
    match error {
        // Another authority of the same name is a stranger, too.
        UnknownIssuer | BadSignature => {
            "The broker's certificate comes from nobody trusted here. Give the certificate of the \
             authority that issued it with --ca FILE."
                .to_owned()
        }
        NotValidForName | NotValidForNameContext { .. } => {
            format!(
                "The broker's certificate is for another host ({error}). Use a name in --broker that it holds."
            )
        }
        Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. } => format!(
            "The broker's certificate is not valid today ({error}). Check this computer's clock, or have the certificate renewed."
        ),
        CertificateError::Other(why) => format!(
            "The broker's certificate cannot be accepted: {}. Have it replaced.",
            why.source()
                .map_or_else(|| why.to_string(), |source| source.to_string())
        ),
        other => format!("The broker's certificate cannot be accepted: {other}. Have it replaced."),
    }
}

fn alert_reason(alert: AlertDescription) -> (String, bool) {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired => (
            "The broker asks for a client certificate. Give one with --client-cert FILE --client-key FILE.".to_owned(),
            true,
        ),
        Alert::UnknownCA
        | Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::AccessDenied
        | Alert::DecryptError => (
            format!(
                "The broker does not accept the client certificate ({alert:?}). Check --client-cert and --client-key."
            ),
            true,
        ),
        Alert::HandshakeFailure => (
            "The broker ended the TLS handshake. It may ask for a client certificate: give one with --client-cert \
             FILE --client-key FILE."
                .to_owned(),
            true,
        ),
        Alert::ProtocolVersion => (
            "The broker speaks no TLS that is safe enough; TLS 1.2 or 1.3 is needed.".to_owned(),
            true,
        ),
        other => (format!("The broker ended TLS with the alert {other:?}."), false),
    }
}
