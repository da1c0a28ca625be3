//! Clients: a session, a transport and a clock, and the loop around them.

#[cfg(feature = "async")]
pub mod asynch;
pub mod blocking;
mod connection;
#[cfg(feature = "embassy-time")]
mod embassy;
mod line;
mod read_fn;

use core::fmt;

#[cfg(feature = "embassy-time")]
pub use self::embassy::EmbassyClock;
pub use self::read_fn::ReadFn;

use embedded_io::ErrorKind;

use crate::session::{ProtocolError, RequestError};

/// Why a call of a client failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<E> {
    /// The transport failed. The connection is over.
    Transport(E),
    /// The peer closed the connection, or it had ended before.
    Closed,
    /// The protocol ended the connection, for this reason.
    Protocol(ProtocolError),
    /// The source of a payload failed, with this kind of error. Its packet had begun to leave: the connection is over.
    Source(ErrorKind),
    /// The source of a payload ended before it had given what was announced. Its packet had begun to leave: the connection
    /// is over.
    SourceEnded {
        /// Bytes that are missing.
        missing: usize,
    },
    /// The call asked for something that cannot be done, now or ever. Nothing was sent and the connection is fine.
    Request(RequestError),
}

impl<E> Error<E> {
    /// Whether the connection is over. If not, the call may be changed or tried again.
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
            Self::Transport(error) => write!(f, "the network failed: {error}"),
            Self::Closed => f.write_str("the connection was closed"),
            Self::Protocol(error) => error.fmt(f),
            Self::Source(kind) => write!(f, "the source of the payload failed: {kind}"),
            Self::SourceEnded { missing } => {
                write!(
                    f,
                    "the source of the payload ended {missing} bytes too early"
                )
            }
            Self::Request(error) => error.fmt(f),
        }
    }
}

impl<E: embedded_io::Error> embedded_io::Error for Error<E> {
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

impl<E: fmt::Debug + fmt::Display> core::error::Error for Error<E> {}
