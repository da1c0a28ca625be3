//! The certificate of the authority that has to have signed the broker's.

/// How the numbers of an elliptic curve begin a public key: id-ecPublicKey, prime256v1.
const P256: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

/// What DER begins with.
const SEQUENCE: u8 = 0x30;

/// The certificate in a file, in PEM or DER, as DER.
///
/// # Errors
///
/// It is none, or one that a chip cannot check.
pub fn certificate(file: &[u8]) -> Result<Vec<u8>, String> {
    let der = if file.first() == Some(&SEQUENCE) {
        file.to_vec()
    } else {
        match pem_rfc7468::decode_vec(file) {
            Ok(("CERTIFICATE", der)) => der,
            Ok((label, _)) => return Err(format!("this is a {label}, not a CERTIFICATE")),
            Err(error) => {
                return Err(format!(
                    "this is not one certificate in PEM or DER: {error}"
                ));
            }
        }
    };
    // embedded-tls, as it is built here, knows no other signatures.
    if !der.windows(P256.len()).any(|bytes| bytes == P256) {
        return Err(
            "the key of this authority is of a kind that is not known here: it has to be on the curve P-256 (prime256v1)"
                .to_owned(),
        );
    }
    Ok(der)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384};

    use super::*;

    #[test]
    fn both_forms_of_a_certificate() {
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::default().self_signed(&key).unwrap();
        assert_eq!(certificate(made.pem().as_bytes()).unwrap(), **made.der());
        assert_eq!(certificate(made.der()).unwrap(), **made.der());
    }

    #[test]
    fn what_is_no_certificate_that_can_be_used() {
        let key = KeyPair::generate().unwrap();
        let said = certificate(key.serialize_pem().as_bytes()).unwrap_err();
        assert_eq!(said, "this is a PRIVATE KEY, not a CERTIFICATE");

        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let made = CertificateParams::default().self_signed(&key).unwrap();
        let said = certificate(made.der()).unwrap_err();
        assert!(said.contains("P-256"), "{said}");

        let said = certificate(b"hello").unwrap_err();
        assert!(said.contains("PEM or DER"), "{said}");
    }
}
