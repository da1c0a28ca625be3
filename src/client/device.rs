//! The common parts of both devices: their settings, the end of a connection, and their errors.

use core::fmt;

use embedded_io::ErrorKind;

use super::Error;
use crate::{
    Backoff,
    codec::{Connect, ConnectReturnCode, QoS},
    log::debug,
    session::{ImageError, ProtocolError, RequestError},
};

/// Minimum duration of a connection in ms after which the back-off starts again from its first delay.
const STABLE_MS: u32 = 10_000;

/// The settings of a device.
///
/// ```
/// use umqtt::{Config, codec::{Connect, QoS}};
///
/// let config = Config {
///     connect: Connect { keep_alive: 30, clean_session: false, ..Connect::new("sensor-7") },
///     subscriptions: &[("led/#", QoS::AtLeastOnce)],
/// };
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Config<'a> {
    /// The CONNECT of each connection. With Clean Session 0, messages at QoS 1 and 2 can be published while there is no
    /// connection.
    pub connect: Connect<'a>,
    /// Filters to which the device subscribes on each connection, unless the server has kept the subscriptions. See
    /// [`Session::set_subscriptions`](crate::Session::set_subscriptions).
    pub subscriptions: &'a [(&'a str, QoS)],
}

impl<'a> Config<'a> {
    /// Creates settings without subscriptions.
    #[must_use]
    pub const fn new(connect: Connect<'a>) -> Self {
        Self {
            connect,
            subscriptions: &[],
        }
    }
}

/// The end of a connection of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "it shows whether to connect again, and `Backoff::after` needs it"]
pub enum Ended<E> {
    /// The device was shut down: DISCONNECT was sent, or there was no connection.
    Shutdown,
    /// The connection was lost, closed or refused, or the CONNECT could not be queued.
    Lost {
        /// The reason.
        error: Error<E>,
        /// Time from CONNACK to the end of the connection in ms; 0 without a CONNACK.
        connected_for: u32,
    },
}

impl<E: fmt::Display> fmt::Display for Ended<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown => f.write_str("shut down"),
            Self::Lost { error, .. } => error.fmt(f),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for Ended<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Shutdown => None,
            Self::Lost { error, .. } => Some(error),
        }
    }
}

impl<E> Error<E> {
    /// Returns `true` if the next attempt to connect will probably fail for the same reason, so it can be made much
    /// later: the server refused the credentials, the authorization, the client id or the protocol version, or the
    /// session rejected the CONNECT, for example because it does not fit into the send buffer.
    pub const fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::Request(_)
                | Self::Protocol(ProtocolError::Refused(
                    ConnectReturnCode::UnacceptableProtocolVersion
                        | ConnectReturnCode::IdentifierRejected
                        | ConnectReturnCode::BadUserNameOrPassword
                        | ConnectReturnCode::NotAuthorized,
                ))
        )
    }
}

impl Backoff {
    /// Returns the delay in ms before the next attempt to connect, after this end of a connection. `random` is a
    /// uniformly distributed number.
    ///
    /// The delays start again from the first one only after a connection that lasted at least 10 s and twice the
    /// present ceiling. This protects a server that accepts each connection and closes it at once. After an error that
    /// [is permanent](Error::is_permanent), the ceiling rises to the limit at once.
    pub fn after<E>(&mut self, ended: &Ended<E>, random: u32) -> u32 {
        match ended {
            Ended::Lost {
                error,
                connected_for,
            } => self.after_connection(error.is_permanent(), *connected_for, random),
            Ended::Shutdown => self.next(random),
        }
    }

    /// As [`Self::after`], for a connection that lasted `connected_for` ms and ended with an error.
    pub(super) fn after_connection(
        &mut self,
        is_permanent: bool,
        connected_for: u32,
        random: u32,
    ) -> u32 {
        if is_permanent {
            self.set_longest();
        } else if connected_for >= STABLE_MS.max(self.ceiling().saturating_mul(2)) {
            self.reset();
        }
        let delay = self.next(random);
        debug!("next attempt to connect in {} ms", delay);
        delay
    }
}

/// The error of a call on a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DeviceError {
    /// The session rejected the request: nothing was queued.
    Request(RequestError),
    /// The session was not saved.
    Image(ImageError),
    /// The call was made inside an event handler. Use the handler's [`Publisher`](crate::Publisher).
    InHandler,
    /// More tasks wait than the device has places for. Raise its const parameter `TASKS`.
    TooManyTasks {
        /// Number of places.
        capacity: usize,
    },
    /// A subscribe has too many filters. Nothing was subscribed. Divide the filters among several calls.
    TooManyFilters {
        /// Maximum number of filters in one subscribe.
        max: usize,
    },
    /// The device was shut down, so it accepts no requests.
    ShutDown,
    /// The runner was dropped, so nothing more is sent.
    RunnerGone,
    /// The connection was closed before the message at QoS 0 was written. Publish it again.
    NotWritten,
    /// The message was discarded, by [`discard_publish`](crate::Session::discard_publish) or by a connect with Clean
    /// Session 1.
    Discarded,
    /// The server has received the message, and the session ended before PUBCOMP. See
    /// [`Event::DeliveryUnknown`](crate::Event::DeliveryUnknown).
    DeliveryUnknown,
    /// The connection was closed before the server answered a subscribe or unsubscribe. The request may have taken
    /// effect or not. Make it again.
    OutcomeUnknown,
    /// The server refused the connection, and therefore discarded the subscribe or unsubscribe. Make it again once
    /// connected.
    RequestRejected,
    /// The server refused a standing subscription. [`Event::Subscribed`](crate::Event::Subscribed) has reported which
    /// one.
    SubscriptionRefused,
    /// The connection was closed inside a payload whose reader cannot start again. The message was discarded. Publish
    /// it again from its beginning.
    PayloadInterrupted,
    /// The reader of a payload failed. The message was discarded.
    Source(ErrorKind),
    /// The reader of a payload ended before the announced length. The message was discarded. Publish it again with the
    /// real length.
    SourceEnded {
        /// Number of bytes that were not provided.
        missing: usize,
    },
}

impl From<RequestError> for DeviceError {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<ImageError> for DeviceError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::Image(error) => error.fmt(f),
            Self::InHandler => f.write_str("called inside an event handler: use its publisher"),
            Self::TooManyTasks { capacity } => write!(
                f,
                "too many waiting tasks: at most {capacity}; raise the device's TASKS"
            ),
            Self::TooManyFilters { max } => {
                write!(f, "too many filters: at most {max} in one subscribe; divide them")
            }
            Self::ShutDown => f.write_str("the device was shut down: it accepts no requests"),
            Self::RunnerGone => f.write_str("no runner: it was dropped; keep it while the device is used"),
            Self::NotWritten => {
                f.write_str("message not written: the connection was closed; publish it again")
            }
            Self::Discarded => f.write_str("message discarded: by discard_publish or Clean Session 1"),
            Self::DeliveryUnknown => {
                f.write_str(
                    "delivery unknown: the session ended before PUBCOMP; a second publish may repeat it",
                )
            }
            Self::OutcomeUnknown => {
                f.write_str("no answer: the connection was closed; make the request again")
            }
            Self::RequestRejected => f.write_str(
                "request rejected: the server refused the connection; make it again once connected",
            ),
            Self::SubscriptionRefused => {
                f.write_str("subscription refused: check the rights of this user at the server")
            }
            Self::PayloadInterrupted => f.write_str(
                "payload interrupted: the connection was closed; publish it again from its beginning",
            ),
            Self::Source(kind) => write!(f, "payload source failed: {kind}"),
            Self::SourceEnded { missing } => {
                write!(f, "payload source ended early: {missing} bytes missing")
            }
        }
    }
}

impl core::error::Error for DeviceError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Request(error) => Some(error),
            Self::Image(error) => Some(error),
            Self::Source(kind) => Some(kind),
            _ => None,
        }
    }
}
