//! Errors of a TLS connection, with a text for each.

use core::fmt;

use embedded_io_async::ErrorKind;
use mbedtls_rs::{SessionError, sys};

/// The reason why there is no TLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The trusted roots cannot be used.
    Roots(SessionError),
    /// The client's certificate cannot be used.
    ClientCertificate(SessionError),
    /// The client's private key cannot be used.
    ClientKey(SessionError),
    /// The server name is empty, contains a NUL byte, or has more than 253 bytes.
    ServerName,
    /// The server's certificate was refused. Only the handshake was sent.
    Refused(Refusal),
    /// The handshake failed for another reason. No application data was sent.
    Handshake(SessionError),
    /// The connection failed after the handshake, and before the server sent application data. With TLS 1.3, this
    /// happens if the server refuses a wrong or missing client certificate.
    Unanswered(SessionError),
    /// The connection failed after the server had sent application data.
    Connection(SessionError),
}

/// The reasons why a certificate was refused: the flags of Mbed TLS, `MBEDTLS_X509_BADCERT_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal(u32);

impl Refusal {
    /// Returns `true` if the certificate is for another name.
    pub const fn is_for_another_name(self) -> bool {
        self.has(sys::MBEDTLS_X509_BADCERT_CN_MISMATCH)
    }

    /// Returns `true` if no chain leads to a trusted root.
    pub const fn is_untrusted(self) -> bool {
        self.has(sys::MBEDTLS_X509_BADCERT_NOT_TRUSTED)
    }

    /// Returns `true` if the certificate has expired, or is not valid yet. Never without the feature `clock`.
    pub const fn is_out_of_date(self) -> bool {
        self.has(sys::MBEDTLS_X509_BADCERT_EXPIRED) || self.has(sys::MBEDTLS_X509_BADCERT_FUTURE)
    }

    const fn has(self, flag: u32) -> bool {
        // If all bits are set, nothing was verified.
        self.0 != u32::MAX && self.0 & flag != 0
    }

    fn reasons(self) -> impl Iterator<Item = &'static str> {
        let known = REASONS.iter().filter(move |(flag, _)| self.has(*flag));
        known.map(|(_, reason)| *reason)
    }
}

/// Flags and their texts, the most serious ones first.
const REASONS: [(u32, &str); 13] = [
    (
        sys::MBEDTLS_X509_BADCERT_NOT_TRUSTED,
        "no trusted root signed it, or the server does not send an intermediate certificate",
    ),
    (
        sys::MBEDTLS_X509_BADCERT_CN_MISMATCH,
        "it is for another name",
    ),
    (sys::MBEDTLS_X509_BADCERT_EXPIRED, "it has expired"),
    (sys::MBEDTLS_X509_BADCERT_FUTURE, "it is not valid yet"),
    (sys::MBEDTLS_X509_BADCERT_REVOKED, "it is revoked"),
    (sys::MBEDTLS_X509_BADCERT_MISSING, "there is none"),
    (sys::MBEDTLS_X509_BADCERT_SKIP_VERIFY, "it was not verified"),
    (
        sys::MBEDTLS_X509_BADCERT_OTHER,
        "it was refused for another reason",
    ),
    (
        sys::MBEDTLS_X509_BADCERT_KEY_USAGE | sys::MBEDTLS_X509_BADCERT_NS_CERT_TYPE,
        "its key is not for this use",
    ),
    (
        sys::MBEDTLS_X509_BADCERT_EXT_KEY_USAGE,
        "it is not for a server",
    ),
    (sys::MBEDTLS_X509_BADCERT_BAD_MD, "its hash is too weak"),
    (
        sys::MBEDTLS_X509_BADCERT_BAD_PK,
        "its kind of signature is not accepted",
    ),
    (
        sys::MBEDTLS_X509_BADCERT_BAD_KEY,
        "its key is too short, or of another curve",
    ),
];

impl Error {
    pub(crate) fn of_handshake(error: SessionError, verification: u32) -> Self {
        match error {
            SessionError::MbedTls(code)
                if code.code() == sys::MBEDTLS_ERR_X509_CERT_VERIFY_FAILED =>
            {
                Self::Refused(Refusal(verification))
            }
            error => Self::Handshake(error),
        }
    }

    /// Returns the failed step, and the probable cause.
    fn step_and_cause(&self) -> (&'static str, &'static str) {
        match *self {
            Self::Roots(error) => ("the trusted roots cannot be used", of_parsing(error)),
            Self::ClientCertificate(error) => {
                ("the client certificate cannot be used", of_parsing(error))
            }
            Self::ClientKey(error) => ("the client key cannot be used", of_parsing(error)),
            Self::ServerName => (
                "the server name cannot be used",
                "it is empty, contains a NUL byte, or has more than 253 bytes",
            ),
            Self::Refused(_) => ("the server's certificate is refused", ""),
            Self::Handshake(error) => ("the TLS handshake failed", of_handshake(error)),
            Self::Unanswered(error) => ("the TLS connection failed", of_first_use(error)),
            Self::Connection(error) => ("the TLS connection failed", of_connection(error)),
        }
    }

    /// Returns the error number, as in the documentation of Mbed TLS.
    fn code(&self) -> Option<u32> {
        let (Self::Roots(error)
        | Self::ClientCertificate(error)
        | Self::ClientKey(error)
        | Self::Handshake(error)
        | Self::Unanswered(error)
        | Self::Connection(error)) = self
        else {
            return None;
        };
        match error {
            SessionError::MbedTls(error) => Some(error.code().unsigned_abs()),
            SessionError::Io(_) => None,
        }
    }
}

/// Returns the high-level part of an error code. Mbed TLS may have added a low-level part.
fn high_level(code: i32) -> i32 {
    0_i32.saturating_sub_unsigned(code.unsigned_abs() & 0xff80)
}

fn is_out_of_memory(code: i32) -> bool {
    const PSA_ERROR_INSUFFICIENT_MEMORY: i32 = -141;
    let low_level = 0_i32.saturating_sub_unsigned(code.unsigned_abs() & 0x7f);
    matches!(
        high_level(code),
        sys::MBEDTLS_ERR_SSL_ALLOC_FAILED
            | sys::MBEDTLS_ERR_X509_ALLOC_FAILED
            | sys::MBEDTLS_ERR_PK_ALLOC_FAILED
            | sys::MBEDTLS_ERR_PEM_ALLOC_FAILED
    ) || matches!(
        low_level,
        sys::MBEDTLS_ERR_ASN1_ALLOC_FAILED | sys::MBEDTLS_ERR_MPI_ALLOC_FAILED
    ) || code == PSA_ERROR_INSUFFICIENT_MEMORY
}

const OUT_OF_MEMORY: &str = "not enough memory";

fn of_parsing(error: SessionError) -> &'static str {
    let SessionError::MbedTls(error) = error else {
        return "unknown";
    };
    match high_level(error.code()) {
        _ if is_out_of_memory(error.code()) => OUT_OF_MEMORY,
        sys::MBEDTLS_ERR_PK_PASSWORD_REQUIRED | sys::MBEDTLS_ERR_PEM_PASSWORD_REQUIRED => {
            "it needs a password"
        }
        _ => "not a valid PEM or DER file",
    }
}

fn of_handshake(error: SessionError) -> &'static str {
    let code = match error {
        SessionError::Io(_) if is_closed(error) => {
            return "the server closed the connection; check the port (8883 is usual with TLS), and whether it wants a client certificate";
        }
        SessionError::Io(_) => return "the network failed",
        SessionError::MbedTls(error) => error.code(),
    };
    match high_level(code) {
        _ if is_out_of_memory(code) => OUT_OF_MEMORY,
        sys::MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE => {
            "the server ended it with an alert; check whether it wants a client certificate, an ALPN protocol, or another TLS version"
        }
        sys::MBEDTLS_ERR_SSL_INVALID_RECORD | sys::MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION => {
            "the server does not speak TLS 1.2 or 1.3; check the port (8883 is usual with TLS)"
        }
        sys::MBEDTLS_ERR_SSL_INVALID_MAC => "a record was corrupted on the way",
        sys::MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE => "the server sent an unexpected message",
        sys::MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE => "no algorithm is known to both sides",
        sys::MBEDTLS_ERR_X509_FATAL_ERROR => {
            "the certificate cannot be checked; the clock may not know the time"
        }
        sys::MBEDTLS_ERR_SSL_CA_CHAIN_REQUIRED => "no root is trusted",
        sys::MBEDTLS_ERR_SSL_CERTIFICATE_VERIFICATION_WITHOUT_HOSTNAME => "no server name is set",
        sys::MBEDTLS_ERR_SSL_DECODE_ERROR | sys::MBEDTLS_ERR_SSL_ILLEGAL_PARAMETER => {
            "the server sent a malformed message"
        }
        _ => "see the code",
    }
}

/// With TLS 1.3, the server checks the client's certificate after the handshake of the client.
fn of_first_use(error: SessionError) -> &'static str {
    let is_alert = matches!(error, SessionError::MbedTls(code)
        if high_level(code.code()) == sys::MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE);
    if is_alert || is_closed(error) {
        "the server closed it at once; check whether it wants a client certificate, or another one"
    } else {
        of_connection(error)
    }
}

const fn is_closed(error: SessionError) -> bool {
    matches!(
        error,
        SessionError::Io(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
    )
}

fn of_connection(error: SessionError) -> &'static str {
    let code = match error {
        SessionError::Io(_) if is_closed(error) => {
            return "the server closed the connection";
        }
        SessionError::Io(_) => return "the network failed",
        SessionError::MbedTls(error) => error.code(),
    };
    match high_level(code) {
        _ if is_out_of_memory(code) => OUT_OF_MEMORY,
        sys::MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE => "the server ended it with an alert",
        sys::MBEDTLS_ERR_SSL_INVALID_MAC | sys::MBEDTLS_ERR_SSL_INVALID_RECORD => {
            "a record was corrupted on the way"
        }
        sys::MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE => {
            "the server sent an unexpected message; key updates are not supported"
        }
        // An alert had to be sent while the transport accepted nothing.
        sys::MBEDTLS_ERR_SSL_WANT_WRITE => "the transport accepts no data",
        _ => "see the code",
    }
}

impl embedded_io_async::Error for Error {
    fn kind(&self) -> ErrorKind {
        match *self {
            Self::Handshake(SessionError::Io(kind))
            | Self::Unanswered(SessionError::Io(kind))
            | Self::Connection(SessionError::Io(kind)) => kind,
            _ if self
                .code()
                .is_some_and(|code| is_out_of_memory(0_i32.saturating_sub_unsigned(code))) =>
            {
                ErrorKind::OutOfMemory
            }
            _ => ErrorKind::Other,
        }
    }
}

impl core::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Refused(refusal) = self {
            return write!(f, "the server's certificate is refused: {refusal}");
        }
        let (step, cause) = self.step_and_cause();
        write!(f, "{step}: {cause}")?;
        match self.code() {
            Some(code) => write!(f, " (0x{code:04x})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, reason) in self.reasons().enumerate() {
            write!(f, "{}{reason}", if i == 0 { "" } else { "; " })?;
        }
        write!(f, " (0x{:x})", self.0)
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Error {
    fn format(&self, f: defmt::Formatter<'_>) {
        if let Self::Refused(refusal) = self {
            return defmt::write!(f, "the server's certificate is refused: {}", refusal);
        }
        let (step, cause) = self.step_and_cause();
        defmt::write!(f, "{}: {}", step, cause);
        if let Some(code) = self.code() {
            defmt::write!(f, " (0x{:x})", code);
        }
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Refusal {
    fn format(&self, f: defmt::Formatter<'_>) {
        for reason in self.reasons() {
            defmt::write!(f, "{}; ", reason);
        }
        defmt::write!(f, "(0x{:x})", self.0);
    }
}
