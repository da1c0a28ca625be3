//! The small worlds: what may happen in each, and how often.

use umqtt::codec::QoS;

/// What a message is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    pub(crate) qos: u8,
    pub(crate) is_long: bool,
}

pub(crate) const fn short(qos: u8) -> Message {
    Message {
        qos,
        is_long: false,
    }
}

pub(crate) const fn long(qos: u8) -> Message {
    Message { qos, is_long: true }
}

/// A world: capacities, messages, and how often what may go wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    pub(crate) inflight: usize,
    pub(crate) inbound: usize,
    /// Messages that the client publishes, in this order, and those published to it.
    pub(crate) ups: &'static [Message],
    pub(crate) downs: &'static [Message],
    /// Messages in flight to the client at a time.
    pub(crate) window: usize,
    /// How many connections may be cut, lose what is sent, or wait in vain.
    pub(crate) faults: u8,
    /// Cuts also inside packets.
    pub(crate) inside: bool,
    pub(crate) forgets: u8,
    /// Power losses; with any, checkpoints are on.
    pub(crate) losses: u8,
    /// Payloads that are declined or given up.
    pub(crate) refusals: u8,
    /// Time may pass.
    pub(crate) timeouts: bool,
    /// Each event, and each step of the session, is taken for itself.
    pub(crate) lazy: bool,
    /// Publishes while CONNACK is awaited.
    pub(crate) early: bool,
    pub(crate) keep_alive: u16,
    /// There are standing subscriptions, and the server refuses one so often.
    pub(crate) subscribes: bool,
    pub(crate) refused: u8,
    /// How often the list of standing subscriptions changes.
    pub(crate) changes: u8,
    /// Publishes without a connection.
    pub(crate) offline: bool,
    /// Messages that are discarded by their id.
    pub(crate) discards: u8,
    /// Images are written while the session goes on.
    pub(crate) late_saves: bool,
}

/// The lists of standing subscriptions: the second one has a filter of the first at another QoS.
pub(crate) const LISTS: [&[(&str, QoS)]; 2] = [
    &[("a", QoS::AtLeastOnce), ("b", QoS::AtMostOnce)],
    &[("a", QoS::AtMostOnce)],
];

impl Setup {
    pub(crate) const fn new(
        name: &'static str,
        (inflight, inbound): (usize, usize),
        ups: &'static [Message],
        downs: &'static [Message],
    ) -> Self {
        Self {
            name,
            inflight,
            inbound,
            ups,
            downs,
            window: 8,
            faults: 2,
            inside: false,
            forgets: 0,
            losses: 0,
            refusals: 0,
            timeouts: false,
            lazy: false,
            early: false,
            keep_alive: 0,
            subscribes: false,
            refused: 0,
            changes: 0,
            offline: false,
            discards: 0,
            late_saves: false,
        }
    }

    pub(crate) fn down(&self, message: u8) -> Message {
        self.downs[usize::from(message) - 129]
    }
}
