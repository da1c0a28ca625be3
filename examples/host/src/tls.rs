//! TLS: certificates, and its errors in words.

use std::{io, path::Path, sync::Arc};

use anyhow::{Context as _, ensure};
use rustls::{
    AlertDescription as Alert, CertificateError as Invalid, ClientConfig, Error as TlsError,
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::{failure::Failure, options::Options};

/// Reads the certificates that the options name.
pub(crate) fn config(options: &Options) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &options.ca {
        for certificate in certificates(path)? {
            roots.add(certificate).with_context(|| unusable(path))?;
        }
    } else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    let (Some(certificate), Some(key)) = (&options.client_cert, &options.client_key) else {
        return Ok(Arc::new(config.with_no_client_auth()));
    };
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| unusable(key))?;
    let config = config.with_client_auth_cert(certificates(certificate)?, key);
    let config = config.context("Check that --client-cert and --client-key belong together")?;
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> = certificates.with_context(|| unusable(path))?;
    ensure!(
        !certificates.is_empty(),
        "{}: there is no certificate in it",
        unusable(path)
    );
    Ok(certificates)
}

fn unusable(path: &Path) -> String {
    format!("The file {} cannot be used", path.display())
}

/// Returns the text for the user if an error of a stream is one of TLS.
pub(crate) fn failure(error: &io::Error) -> Option<Failure> {
    let error = error.get_ref()?.downcast_ref::<TlsError>()?;
    let advice = match error {
        TlsError::InvalidMessage(_) => {
            "The answer of the broker is not TLS: 8883 is the usual port with TLS, 1883 without."
        }
        TlsError::InvalidCertificate(Invalid::UnknownIssuer | Invalid::BadSignature) => {
            "No trusted authority has signed the broker's certificate: give the authority's certificate with --ca FILE."
        }
        TlsError::InvalidCertificate(
            Invalid::NotValidForName | Invalid::NotValidForNameContext { .. },
        ) => {
            "The broker's certificate is for another host: use a name of this certificate in --broker."
        }
        TlsError::InvalidCertificate(_) => {
            "The broker's certificate is not valid, or not valid today: check this computer's clock, or have it replaced."
        }
        TlsError::PeerIncompatible(_) | TlsError::AlertReceived(Alert::ProtocolVersion) => {
            "The broker supports neither TLS 1.2 nor TLS 1.3, or no common algorithm: update it."
        }
        TlsError::AlertReceived(Alert::CertificateRequired | Alert::HandshakeFailure) => {
            "The broker asks for a client certificate: give one with --client-cert FILE --client-key FILE."
        }
        TlsError::AlertReceived(alert) if *alert != Alert::InternalError => {
            "The broker does not accept the client certificate: check --client-cert and --client-key."
        }
        _ => "",
    };
    let is_permanent = !advice.is_empty();
    let text = format!("TLS failed: {error}. {advice}");
    Some(Failure { text, is_permanent })
}
