//! The reason why there is no connection.

use core::fmt;

use embedded_io_async::ErrorKind;
use embedded_tls::TlsError;

/// The reason why there is no connection.
#[derive(Clone, Copy, Debug)]
pub struct Error(pub TlsError);

impl Error {
    /// Returns `true` if the peer closed the connection without an error.
    pub const fn is_closed(&self) -> bool {
        // The second is returned at the end of the stream, at the start of a record or inside one.
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
                f.write_str("the broker's certificate has an unsupported type")
            }
            // The only information about an alert after the handshake, such as one about the certificate of the client.
            TlsError::InternalError => f.write_str(
                "the broker ended TLS for a reason of its own; it may ask for another client certificate",
            ),
            // A broker may refuse the certificate of the client like this, while it is still being sent.
            TlsError::Io(ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                f.write_str("the broker closed the connection")
            }
            TlsError::Io(kind) => write!(f, "the network failed: {kind}"),
            _ if self.is_closed() => f.write_str("the broker closed the connection"),
            error => write!(f, "TLS failed: {error}"),
        }
    }
}
