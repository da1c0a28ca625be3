//! Why a connection could not be made, or ended.

use core::fmt;

use umqtt::{RequestError, client};

/// Why a connection could not be made, or ended. `D` is the error of dialling, `E` that of the transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Failure<D, E> {
    /// The broker could not be reached.
    Dial(D),
    /// The connection ended, or the client refused a request.
    Client(client::Error<E>),
    /// The broker does not allow the subscription.
    SubscriptionRefused,
}

impl<D, E> From<client::Error<E>> for Failure<D, E> {
    fn from(error: client::Error<E>) -> Self {
        Self::Client(error)
    }
}

impl<D, E> From<RequestError> for Failure<D, E> {
    fn from(error: RequestError) -> Self {
        Self::Client(error.into())
    }
}

impl<D, E> From<SubscriptionRefused> for Failure<D, E> {
    fn from(SubscriptionRefused: SubscriptionRefused) -> Self {
        Self::SubscriptionRefused
    }
}

impl<D: fmt::Display, E: fmt::Display> fmt::Display for Failure<D, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => error.fmt(f),
            Self::Client(error) => error.fmt(f),
            Self::SubscriptionRefused => f.write_str("subscription refused: the broker does not allow it; check the rights of this client"),
        }
    }
}

/// The broker does not allow the subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SubscriptionRefused;
