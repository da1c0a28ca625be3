//! Why there is no connection, or no longer.

use core::fmt;

use embedded_io_async::ErrorKind;
use embedded_tls::TlsError;

/// Why there is no connection, or no longer.
#[derive(Clone, Copy, Debug)]
pub struct Error(pub TlsError);

impl Error {
    /// Whether the peer closed the connection, and nothing else was wrong.
    pub const fn is_closed(&self) -> bool {
        // The second is how the end of the stream is told where a record should begin, or go on.
        matches!(self.0, TlsError::ConnectionClosed | TlsError::IoError)
    }
}

impl embedded_io_async::Error for Error {
    fn kind(&self) -> ErrorKind {
        match self.0 {
            TlsError::Io(kind) => kind,
            _ if self.is_closed() => ErrorKind::ConnectionReset,
            _ => ErrorKind::Other,
        }
    }
}

impl core::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            TlsError::InvalidCertificate => f.write_str(
                "the broker's certificate is not for this name, not valid now, or not signed by our authority",
            ),
            TlsError::InvalidSignature => {
                f.write_str("the broker's certificate is not signed by our authority")
            }
            TlsError::InvalidSignatureScheme => {
                f.write_str("the broker's certificate is of a kind that is not known here")
            }
            // All that it tells of an alert after the handshake, such as one about a client's certificate.
            TlsError::InternalError => f.write_str(
                "the broker ended TLS for a reason of its own; it may ask for another client certificate",
            ),
            // Also how a broker refuses a client's certificate that is still being sent.
            TlsError::Io(ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                f.write_str("the broker closed the connection")
            }
            TlsError::Io(kind) => write!(f, "the network failed: {kind}"),
            _ if self.is_closed() => f.write_str("the broker closed the connection"),
            error => write!(f, "TLS failed: {error}"),
        }
    }
}
