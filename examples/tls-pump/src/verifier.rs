//! A stricter check of certificates than that of embedded-tls.

use embedded_tls::{
    Aes128GcmSha256, Certificate, CertificateEntryRef, CertificateRef, CertificateVerifyRef,
    TlsCipherSuite, TlsClock, TlsError, TlsVerifier, pki::CertVerifier,
};

/// Accepts certificates that one authority has signed itself.
///
/// embedded-tls does not check that the issuer of a certificate may issue certificates. With only its [`CertVerifier`],
/// every device with a certificate of the authority could issue one for the name of the broker, and impersonate the
/// broker. So no intermediate authority is accepted.
///
/// `SIZE` is the room for the certificates that the broker sends, in bytes.
pub struct Verifier<'a, Clock: TlsClock, const SIZE: usize> {
    authority: &'a [u8],
    verifier: CertVerifier<'a, Aes128GcmSha256, Clock, SIZE>,
}

impl<'a, Clock: TlsClock, const SIZE: usize> Verifier<'a, Clock, SIZE> {
    /// `authority` is a certificate in DER form.
    pub fn new(authority: &'a [u8]) -> Self {
        Self {
            authority,
            verifier: CertVerifier::new(Certificate::X509(authority)),
        }
    }
}

impl<Clock: TlsClock, const SIZE: usize> TlsVerifier<Aes128GcmSha256>
    for Verifier<'_, Clock, SIZE>
{
    fn set_hostname_verification(&mut self, name: &str) -> Result<(), TlsError> {
        TlsVerifier::<Aes128GcmSha256>::set_hostname_verification(&mut self.verifier, name)
    }

    fn verify_certificate(
        &mut self,
        transcript: &<Aes128GcmSha256 as TlsCipherSuite>::Hash,
        certificate: CertificateRef<'_>,
    ) -> Result<(), TlsError> {
        let ours = |issuer: &CertificateEntryRef<'_>| matches!(issuer, CertificateEntryRef::X509(der) if *der == self.authority);
        if !certificate.entries.iter().skip(1).all(ours) {
            return Err(TlsError::InvalidCertificate);
        }
        self.verifier.verify_certificate(transcript, certificate)
    }

    fn verify_signature(&mut self, verify: CertificateVerifyRef<'_>) -> Result<(), TlsError> {
        TlsVerifier::<Aes128GcmSha256>::verify_signature(&mut self.verifier, verify)
    }
}
