//! The sentences for the light's user.

use core::fmt;

use umqtt::{Event, Message};

/// Something that happened. Its `Display` is a sentence without a full stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum News<'a> {
    /// The light was switched, and its new state was queued for the server.
    Published {
        /// The new state.
        on: bool,
    },
    /// A message of this light was received.
    CameBack {
        /// The state that it carries.
        on: bool,
    },
    /// Another message was received.
    Received(Message<'a>),
    /// Any other event.
    Event(Event<'a>),
}

impl fmt::Display for News<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published { on } => write!(f, "Published: {}", state(*on)),
            Self::CameBack { on } => write!(f, "Came back: {}", state(*on)),
            Self::Received(message) => write!(
                f,
                "Received on {}: {}",
                message.topic.escape_debug(),
                message.payload.escape_ascii()
            ),
            Self::Event(event) => event.fmt(f),
        }
    }
}

/// Returns the payload for a state of the light.
pub(crate) const fn state(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
