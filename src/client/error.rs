//! The error of a client's calls.

use core::fmt;

use embedded_io::ErrorKind;

use crate::session::{ProtocolError, RequestError};

/// The error of a client's calls. Its text contains that of its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<E> {
    /// The transport failed. The connection is closed.
    Transport(E),
    /// The peer closed the connection, or an earlier call closed it.
    Closed,
    /// The session closed the connection for this reason.
    Protocol(ProtocolError),
    /// The reader of a payload failed with this kind of error. The rest of the packet cannot be sent, so the connection
    /// is closed.
    Source(ErrorKind),
    /// The reader of a payload ended before the announced length. The rest of the packet cannot be sent, so the
    /// connection is closed.
    SourceEnded {
        /// Number of bytes that were not provided.
        missing: usize,
    },
    /// The session rejected the request. Nothing was sent, and the connection stays open.
    Request(RequestError),
}

impl<E> Error<E> {
    /// Returns `true` if the connection is closed. Otherwise, change the request or retry it.
    pub const fn is_fatal(&self) -> bool {
        !matches!(self, Self::Request(_))
    }
}

impl<E> From<ProtocolError> for Error<E> {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::Closed => Self::Closed,
            other => Self::Protocol(other),
        }
    }
}

impl<E> From<RequestError> for Error<E> {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(error) => write!(f, "transport failed: {error}"),
            Self::Closed => f.write_str("connection closed: by the peer, or in an earlier call"),
            Self::Protocol(error) => error.fmt(f),
            Self::Source(kind) => write!(f, "payload source failed: {kind}"),
            Self::SourceEnded { missing } => {
                write!(f, "payload source ended early: {missing} bytes missing")
            }
            Self::Request(error) => error.fmt(f),
        }
    }
}

impl<E: embedded_io::Error + 'static> embedded_io::Error for Error<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Transport(error) => error.kind(),
            Self::Closed => ErrorKind::ConnectionAborted,
            Self::Protocol(_) | Self::SourceEnded { .. } => ErrorKind::Other,
            Self::Source(kind) => *kind,
            Self::Request(_) => ErrorKind::InvalidInput,
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Transport(error) => Some(error),
            Self::Protocol(error) => Some(error),
            Self::Source(kind) => Some(kind),
            Self::Request(error) => Some(error),
            Self::Closed | Self::SourceEnded { .. } => None,
        }
    }
}
