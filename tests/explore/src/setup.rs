//! The settings of a world: the possible events, and their maximum numbers.

use umqtt::codec::QoS;

/// The kind of a message.
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

/// A world: capacities, messages, and the maximum numbers of faults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    /// Capacity for requests in flight.
    pub(crate) inflight: usize,
    /// Capacity for ids of received QoS 2 messages.
    pub(crate) inbound: usize,
    /// Messages that the client publishes, in this order.
    pub(crate) ups: &'static [Message],
    /// Messages that are published to the client, in this order.
    pub(crate) downs: &'static [Message],
    /// Maximum number of messages in flight to the client.
    pub(crate) window: usize,
    /// Maximum number of connections that are cut, lose sent bytes, or wait without an answer.
    pub(crate) faults: u8,
    /// Connections are also cut inside packets.
    pub(crate) inside: bool,
    /// Number of times that the server forgets the session.
    pub(crate) forgets: u8,
    /// Number of power losses. If it is above 0, checkpoints are on.
    pub(crate) losses: u8,
    /// Number of payloads that are discarded or aborted.
    pub(crate) refusals: u8,
    /// Time may pass.
    pub(crate) timeouts: bool,
    /// Each event, and each step of the session, is a separate action.
    pub(crate) lazy: bool,
    /// The client publishes while it waits for CONNACK.
    pub(crate) early: bool,
    pub(crate) keep_alive: u16,
    /// There are standing subscriptions.
    pub(crate) subscribes: bool,
    /// Number of times that the server refuses a subscription.
    pub(crate) refused: u8,
    /// Number of changes of the list of standing subscriptions.
    pub(crate) changes: u8,
    /// Messages are also published without a connection.
    pub(crate) offline: bool,
    /// Number of messages that are discarded by their id.
    pub(crate) discards: u8,
    /// Images are written while the session continues.
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
