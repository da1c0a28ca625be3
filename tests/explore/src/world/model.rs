//! The state of a world without the session.

use std::collections::VecDeque;

use crate::{broker::Broker, fingerprint::Moment, setup::Setup, wire::Packet};

/// The state of a world without the session.
#[derive(Clone, Hash, Debug)]
pub(super) struct Model {
    pub(super) is_open: bool,
    /// Sent packets are lost.
    pub(super) is_broken: bool,
    /// Packets from the broker that the session has not received.
    pub(super) down: VecDeque<Packet>,
    /// Number of received bytes of the first packet.
    pub(super) down_at: usize,
    /// Bytes of a packet to the broker that was not sent whole.
    pub(super) up: Vec<u8>,
    pub(super) payload: Option<Payload>,
    /// The payload that the session has asked for on this connection.
    pub(super) asked: Option<u16>,
    pub(super) broker: Broker,
    pub(super) app: App,
    pub(super) saved: Option<(Vec<u8>, App)>,
    pub(super) line: Line,
    /// State of each message of the client, and `true` if it was provided to a transport.
    pub(super) attempts: Vec<Attempt>,
    /// Messages that the caller has skipped. They may be received again.
    pub(super) skipped: Vec<bool>,
    pub(super) restored: bool,
    pub(super) forgot: bool,
    pub(super) offered: u8,
    /// Numbers of faults and actions of each kind that may still occur, as in [`Setup`].
    pub(super) faults: u8,
    pub(super) forgets: u8,
    pub(super) losses: u8,
    pub(super) refusals: u8,
    /// The current list of standing subscriptions.
    pub(super) list: usize,
    pub(super) refused: u8,
    pub(super) changes: u8,
    pub(super) discards: u8,
    /// An image that is being written, with the number of its last change.
    pub(super) writing: Option<(Vec<u8>, App, u16)>,
}

/// State of the caller, which is restored with the session after a power loss.
#[derive(Clone, Hash, Debug)]
pub(super) struct App {
    pub(super) ups: Vec<Up>,
    pub(super) downs: Vec<u8>,
    /// The last new message at each QoS.
    pub(super) last_new: [u8; 3],
    /// The long message that is being received, and the length of the received part.
    pub(super) partial: Option<(u8, usize)>,
    /// Ids whose PUBREC was received, in order, with `true` if PUBREL was sent.
    pub(super) pubrecs: Vec<(u16, bool)>,
    /// The session of the server that the client knows.
    pub(super) epoch: Option<u8>,
}

/// The state of a message to the broker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Up {
    /// It was not published yet.
    New,
    /// It was published at QoS 1 or 2. `declined`: it was discarded.
    Open { id: u16, declined: bool },
    /// Its end was reported.
    Ended,
    /// At QoS 0, or removed.
    Gone,
}

/// A payload that is being provided.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) struct Payload {
    pub(super) message: u8,
    pub(super) again: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Attempt {
    /// A byte was sent on this or an earlier connection.
    pub(super) now: bool,
    pub(super) before: bool,
    /// It was provided to a transport, which may have sent it.
    pub(super) lent: bool,
}

/// The packets on this connection.
#[derive(Clone, Hash, Debug)]
pub(super) struct Line {
    pub(super) last_publish: u8,
    pub(super) pubrels: usize,
    /// Times at which the unanswered packets were sent.
    pub(super) waits: Vec<(Wait, Moment)>,
    /// Times at which CONNECT was sent, the last packet was sent, and the last bytes were received.
    pub(super) connected: Moment,
    pub(super) sent: Moment,
    pub(super) came: Moment,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Wait {
    Connack,
    Puback(u16),
    Pubrec(u16),
    Pubcomp(u16),
    Suback(u16),
    Pingresp,
}

impl Line {
    pub(super) fn new(now: u32) -> Self {
        let now = Moment(now);
        Self {
            last_publish: 0,
            pubrels: 0,
            waits: vec![],
            connected: now,
            sent: now,
            came: now,
        }
    }
}

impl App {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            ups: vec![Up::New; setup.ups.len()],
            downs: vec![0; setup.downs.len()],
            last_new: [0; 3],
            partial: None,
            pubrecs: vec![],
            epoch: None,
        }
    }

    /// Returns `true` if a message was published, and neither reported nor discarded.
    pub(super) fn may_discard(&self) -> bool {
        let mut ups = self.ups.iter();
        ups.any(|up| {
            matches!(
                up,
                Up::Open {
                    declined: false,
                    ..
                }
            )
        })
    }

    /// Returns `true` if the message with this id was discarded.
    pub(super) fn is_discarded(&self, id: u16) -> bool {
        self.ups.contains(&Up::Open { id, declined: true })
    }

    pub(super) fn next_up(&self) -> Option<usize> {
        self.ups.iter().position(|up| *up == Up::New)
    }
}

impl Up {
    pub(super) fn is_open_as(self, other: u16) -> bool {
        other > 0 && matches!(self, Self::Open { id, .. } if id == other)
    }
}
