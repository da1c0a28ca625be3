//! [Mbed TLS](https://docs.rs/mbedtls-rs) as a transport for a client whose futures may be dropped.
//!
//! umqtt's async client and device poll a future of the transport once and drop it if it is not ready. A session of
//! mbedtls-rs then duplicates bytes: it has already encrypted them, and is given them again. [`Stream`] prevents that.
//!
//! ```no_run
//! use embedded_io_async::{Read, Write};
//! use tls_mbedtls::{Connector, Error, Stream, Tls, X509};
//!
//! async fn dial<T: Read + Write>(tls: &'static Tls<'static>, tcp: T) -> Result<Stream<'static, T>, Error> {
//!     let roots = X509::PEM(c"-----BEGIN CERTIFICATE-----\n..."); // or X509::DER(include_bytes!("root.der"))
//!     let connector = Connector::new(tls.reference(), roots)?;
//!     connector.connect(tcp, "broker.example").await
//! }
//! ```
//!
//! - The server must prove its name with a chain of certificates that ends at one of the roots. This cannot be turned
//!   off.
//! - **Without the feature `clock`, the dates of certificates are not checked:** an expired certificate is accepted,
//!   and the log has a warning. With the feature, see [`Clock`].
//! - This Mbed TLS does not support several threads. Use all its connections in one thread.
//! - An allocator is needed: about 48 KB for a connection, and 59 KB during its handshake.
#![no_std]

#[cfg(feature = "clock")]
mod clock;
mod error;
mod stream;

use core::ffi::CStr;

use embedded_io_async::{Read, Write};
use mbedtls_rs::{
    Certificate, ClientSessionConfig, Credentials, PrivateKey, Session, SessionConfig,
};

pub use mbedtls_rs::{SessionError, Tls, TlsReference, X509};

#[cfg(feature = "clock")]
pub use self::clock::{Clock, check_dates_by};
pub use self::{
    error::{Error, Refusal},
    stream::Stream,
};

/// Longest host name (RFC 1035), with a NUL byte.
const MAX_NAME: usize = 254;

/// The settings of connections: the trusted roots, and the certificate of the client.
#[derive(Clone, Debug)]
pub struct Connector<'a> {
    tls: TlsReference<'a>,
    roots: Certificate<'a>,
    client: Option<Credentials<'a>>,
    protocols: &'a [&'a CStr],
}

impl<'a> Connector<'a> {
    /// Trusts these roots: one certificate in DER form, which is not copied, or any number in PEM form.
    ///
    /// # Errors
    ///
    /// - [`Error::Roots`]: there is no certificate in `roots`, or there is too little memory.
    pub fn new(tls: TlsReference<'a>, roots: X509<'a>) -> Result<Self, Error> {
        #[cfg(not(feature = "clock"))]
        warn_of_dates();
        Ok(Self {
            tls,
            roots: certificate(roots).map_err(Error::Roots)?,
            client: None,
            protocols: &[],
        })
    }

    /// Sends this certificate to servers that request one.
    ///
    /// In PEM form, the certificates of intermediate authorities may follow it. The key is copied. This call does
    /// not check whether it belongs to the certificate. If not, the server refuses it.
    ///
    /// # Errors
    ///
    /// - [`Error::ClientCertificate`], [`Error::ClientKey`]: it cannot be used, or there is too little memory.
    pub fn with_client_certificate(
        self,
        certificate: X509<'a>,
        key: X509<'_>,
    ) -> Result<Self, Error> {
        let client = Credentials {
            certificate: self::certificate(certificate).map_err(Error::ClientCertificate)?,
            private_key: PrivateKey::new(key, None).map_err(Error::ClientKey)?,
        };
        Ok(Self {
            client: Some(client),
            ..self
        })
    }

    /// Offers these protocols (ALPN), the preferred one first. Some servers have MQTT beside others on one port.
    pub const fn with_protocols(mut self, protocols: &'a [&'a CStr]) -> Self {
        self.protocols = protocols;
        self
    }

    /// Opens a TLS connection (1.2 or 1.3) over a transport, to a server that proves to be `server_name`.
    ///
    /// Only TLS records are written to the transport. The handshake blocks the executor while it computes, for up to
    /// 1.8 s at 125 MIPS.
    ///
    /// # Errors
    ///
    /// - [`Error::ServerName`]: the name is empty, contains a NUL byte, or has more than 253 bytes.
    /// - [`Error::Refused`]: the certificate is not trusted, or not for this name.
    /// - [`Error::Handshake`]: the handshake failed for another reason.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the transport.
    pub async fn connect<T: Read + Write>(
        &self,
        transport: T,
        server_name: &str,
    ) -> Result<Stream<'a, T>, Error> {
        let mut name = [0; MAX_NAME];
        let name = c_string(server_name, &mut name).ok_or(Error::ServerName)?;
        let config = SessionConfig::Client(ClientSessionConfig {
            ca_chain: Some(self.roots.clone()),
            creds: self.client.clone(),
            alpn_protocols: (!self.protocols.is_empty()).then_some(self.protocols),
            ..ClientSessionConfig::new()
        });
        let mut session = Session::new(self.tls, transport, &config).map_err(Error::Handshake)?;
        session.set_server_name(name).map_err(Error::Handshake)?;
        if let Err(error) = session.connect().await {
            return Err(Error::of_handshake(
                error,
                session.tls_verification_details(),
            ));
        }
        let mut stream = Stream::new(session);
        // A byte of the last record may be pending.
        stream.flush().await?;
        Ok(stream)
    }
}

fn certificate(x509: X509<'_>) -> Result<Certificate<'_>, SessionError> {
    match x509 {
        X509::DER(der) => Certificate::new_no_copy(der),
        X509::PEM(_) => Ok(Certificate::new(x509)?),
    }
}

fn c_string<'b>(name: &str, buf: &'b mut [u8; MAX_NAME]) -> Option<&'b CStr> {
    let (last, room) = buf.split_last_mut()?;
    *last = 0;
    let space = room.get_mut(..name.len()).filter(|_| !name.is_empty())?;
    space.copy_from_slice(name.as_bytes());
    let ends = buf.get(..=name.len())?;
    CStr::from_bytes_with_nul(ends).ok()
}

#[cfg(not(feature = "clock"))]
fn warn_of_dates() {
    #[cfg(feature = "defmt")]
    defmt::warn!("TLS: the dates of certificates are not checked (feature clock)");
    #[cfg(feature = "log")]
    log::warn!("TLS: the dates of certificates are not checked (feature clock)");
}

/// Compiles the examples of the chapter on TLS.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/tls.md")]
struct Chapter;
