//! What an exploration may find.

use crate::driver::Reason;

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    /// A PUBREL left before the PUBREC had come.
    EarlyPubrel,
    /// A QoS 2 message was handed to the caller twice, or arrived twice at the server.
    Twice,
    /// A message was reported as delivered that has not arrived, or was given up without cause.
    Lost,
    /// The order of section 4.6.
    Order,
    /// A PUBLISH went again without DUP, or for the first time with it.
    Dup,
    /// An id was given to two requests at a time.
    IdInUse,
    /// A request was reported twice, or one that nobody made.
    ReportedTwice,
    /// Everything has come to rest, and a request was not reported.
    NeverReported,
    /// Everything has come to rest, and a message was not delivered.
    NeverDelivered,
    /// The deadline is later than an obligation.
    Deadline,
    /// Connection after connection ends for this reason.
    NoProgress { reason: Reason, long: bool },
    /// Something has to be done, and nobody will ever do it.
    Asleep,
    /// Bytes that are no packet, or a packet that no client may send then.
    Unlawful,
    /// The session ended a connection on which the server broke no rule.
    Accused(Reason),
    /// A call was refused that the session has to accept.
    Refused,
    /// The session takes a filter for granted that the server does not know.
    NotSubscribed,
    /// A message was sent after it had been discarded.
    Discarded,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

impl Finding {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }
}

/// Returns a [`Finding`] unless this holds.
macro_rules! require {
    ($condition:expr, $kind:expr, $($text:tt)*) => {
        if !$condition {
            return Err($crate::finding::Finding::new($kind, format!($($text)*)));
        }
    };
}
pub(crate) use require;
