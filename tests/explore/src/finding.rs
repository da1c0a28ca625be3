//! The violations that an exploration can find.

use crate::driver::Reason;

/// A violated guarantee.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    /// A PUBREL was sent before the PUBREC was received.
    EarlyPubrel,
    /// A QoS 2 message was delivered twice, to the caller or to the server.
    Twice,
    /// A message was reported as delivered but not received, or was discarded without reason.
    Lost,
    /// The order of section 4.6 was violated.
    Order,
    /// A PUBLISH was resent without DUP, or sent for the first time with DUP.
    Dup,
    /// Two requests had the same id at the same time.
    IdInUse,
    /// A request was reported twice, or was reported but not made.
    ReportedTwice,
    /// No further step is possible, but a request was not reported.
    NeverReported,
    /// No further step is possible, but a message was not delivered.
    NeverDelivered,
    /// The deadline is later than the time of a necessary step.
    Deadline,
    /// Every connection is closed for this reason.
    NoProgress { reason: Reason, long: bool },
    /// A step is necessary, but no action and no deadline leads to it.
    Asleep,
    /// Invalid bytes, or a packet that a client must not send at that time.
    Forbidden,
    /// The session closed a connection although the server violated no rule.
    Accused(Reason),
    /// A call was refused that the session must accept.
    Refused,
    /// The session reports a filter as granted that the server does not have.
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

/// If the condition is false, returns a [`Finding`] from the calling function.
macro_rules! require {
    ($condition:expr, $kind:expr, $($text:tt)*) => {
        if !$condition {
            return Err($crate::finding::Finding::new($kind, format!($($text)*)));
        }
    };
}
pub(crate) use require;
