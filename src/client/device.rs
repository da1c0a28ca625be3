//! What both devices have in common: their settings, the end of a connection, and their errors.

use core::fmt;

use embedded_io::ErrorKind;

use super::Error;
use crate::{
    Backoff,
    codec::{Connect, ConnectReturnCode, QoS},
    session::{ImageError, ProtocolError, RequestError},
};

/// Time in ms for which a connection must last at least before the back-off starts again from its first delay.
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
    /// Filters that are subscribed on each connection, unless the server has kept them; see
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
#[must_use = "it says whether to connect again, and the back-off needs it"]
pub enum Ended<E> {
    /// The device was shut down: DISCONNECT was sent, or there was no connection.
    Shutdown,
    /// The connection was lost, closed or refused, or not begun.
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

impl<E> Error<E> {
    /// Returns `true` if the next attempt to connect will probably fail for the same reason, so that it need not come soon:
    /// bad credentials, no authorization, a client id that the server rejects, a CONNECT that does not fit.
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
    /// Returns the delay in ms before the next attempt to connect, after a connection that ended like this. `random` is a
    /// uniformly distributed number.
    ///
    /// The delays start again from the first one only after a connection that lasted at least 10 s and twice the present
    /// ceiling, so that a server which accepts and closes is not asked too often. After an error that
    /// [is permanent](Error::is_permanent), the delay is the longest one at once.
    pub fn after<E>(&mut self, ended: &Ended<E>, random: u32) -> u32 {
        match ended {
            Ended::Lost {
                error,
                connected_for,
            } => self.after_connection(error.is_permanent(), *connected_for, random),
            Ended::Shutdown => self.next(random),
        }
    }

    /// As [`Self::after`] a connection that ended with an error, and was accepted for this time in ms.
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
        self.next(random)
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
    /// More tasks wait than the device has places for. Its const parameter is their number.
    TooManyTasks {
        /// Number of places.
        capacity: usize,
    },
    /// A subscribe has more filters than a handle takes. Nothing was subscribed.
    TooManyFilters {
        /// Most filters in one subscribe.
        max: usize,
    },
    /// The device was shut down.
    ShutDown,
    /// The runner was dropped, so nothing is sent any more.
    RunnerGone,
    /// The connection ended before the message at QoS 0 was written.
    NotWritten,
    /// The message was discarded, by [`discard_publish`](crate::Session::discard_publish) or by a connect with Clean
    /// Session 1.
    Discarded,
    /// The server has received the message, and the session ended before its delivery did; see
    /// [`Event::DeliveryUnknown`](crate::Event::DeliveryUnknown).
    DeliveryUnknown,
    /// The connection ended before the server answered a subscribe or unsubscribe. It may have taken effect or not.
    OutcomeUnknown,
    /// The server refused the connection, and with it a subscribe or unsubscribe.
    RequestRejected,
    /// The server refused a standing subscription; [`Event::Subscribed`](crate::Event::Subscribed) said which.
    SubscriptionRefused,
    /// The connection ended inside a payload whose reader cannot start again. The message was discarded.
    PayloadInterrupted,
    /// The reader of a payload failed. The message was discarded.
    Source(ErrorKind),
    /// The reader of a payload ended before the announced length. The message was discarded.
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
                "more than {capacity} tasks wait for the device: raise its number of tasks"
            ),
            Self::TooManyFilters { max } => {
                write!(f, "more than {max} filters in one subscribe: divide them")
            }
            Self::ShutDown => f.write_str("the device was shut down"),
            Self::RunnerGone => f.write_str("the runner of the device was dropped: keep it"),
            Self::NotWritten => {
                f.write_str("the connection ended before the message was written: publish it again")
            }
            Self::Discarded => f.write_str("the message was discarded"),
            Self::DeliveryUnknown => {
                f.write_str("the server has the message, unless it lost it with its session")
            }
            Self::OutcomeUnknown => {
                f.write_str("the connection ended before the server answered: ask again")
            }
            Self::RequestRejected => f.write_str("the server refused the connection"),
            Self::SubscriptionRefused => {
                f.write_str("the server refused a subscription: check what this user may read")
            }
            Self::PayloadInterrupted => f.write_str(
                "the connection ended inside the payload: publish it again from its beginning",
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
            _ => None,
        }
    }
}
