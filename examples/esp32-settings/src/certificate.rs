//! The certificate of the authority that signed the broker's certificate.

/// The first byte of a certificate in DER.
const SEQUENCE: u8 = 0x30;

/// Returns the certificate in a file, which is PEM or DER, as DER.
///
/// # Errors
///
/// The file contains no certificate. The text names its contents.
pub fn certificate(file: &[u8]) -> Result<Vec<u8>, String> {
    if file.first() == Some(&SEQUENCE) {
        return Ok(file.to_vec());
    }
    match pem_rfc7468::decode_vec(file) {
        Ok(("CERTIFICATE", der)) => Ok(der),
        Ok((label, _)) => Err(format!("this is a {label}, not a CERTIFICATE")),
        Err(error) => Err(format!(
            "this is not one certificate in PEM or DER: {error}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn certificate_in_pem_or_der_is_accepted() {
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::default().self_signed(&key).unwrap();
        assert_eq!(certificate(made.pem().as_bytes()).unwrap(), **made.der());
        assert_eq!(certificate(made.der()).unwrap(), **made.der());
    }

    #[test]
    fn certificate_unusable_is_refused_with_reason() {
        let key = KeyPair::generate().unwrap();
        let error = certificate(key.serialize_pem().as_bytes()).unwrap_err();
        assert_eq!(error, "this is a PRIVATE KEY, not a CERTIFICATE");

        let error = certificate(b"hello").unwrap_err();
        assert!(error.contains("PEM or DER"), "{error}");
    }
}
