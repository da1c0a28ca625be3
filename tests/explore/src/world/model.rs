//! The parts of a world outside of the session: connection, broker and caller.

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
    /// Id of the message whose payload the session needs again, as reported on this connection.
    pub(super) asked: Option<u16>,
    pub(super) broker: Broker,
    pub(super) app: App,
    /// The image in permanent memory, and the state of the caller at that time.
    pub(super) saved: Option<(Vec<u8>, App)>,
    pub(super) line: Line,
    /// Attempts to send each message of the client.
    pub(super) attempts: Vec<Attempt>,
    /// Messages that the caller has skipped. They may be received again.
    pub(super) skipped: Vec<bool>,
    /// The device has restarted after a power loss.
    pub(super) restored: bool,
    /// The server has forgotten the session.
    pub(super) forgot: bool,
    /// Number of messages that were published to the client.
    pub(super) offered: u8,
    /// Numbers of faults and actions of each kind that may still occur, as in [`Setup`].
    pub(super) faults: u8,
    pub(super) forgets: u8,
    pub(super) losses: u8,
    pub(super) refusals: u8,
    /// The current list of standing subscriptions.
    pub(super) list: usize,
    /// Numbers of further faults and actions that may still occur.
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
    /// Number of deliveries of each message to the caller, at most 2.
    pub(super) downs: Vec<u8>,
    /// The last new message at each QoS.
    pub(super) last_new: [u8; 3],
    /// The long message that is being received, and the length of the received part.
    pub(super) partial: Option<(u8, usize)>,
    /// Ids whose PUBREC was received, in order, with `true` if PUBREL was sent.
    pub(super) pubrecs: Vec<(u16, bool)>,
    /// Number of the server's session at the last CONNACK.
    pub(super) epoch: Option<u8>,
}

/// The state of a message to the broker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Up {
    /// Not published yet.
    New,
    /// Published at QoS 1 or 2. `declined`: the caller has discarded it.
    Open { id: u16, declined: bool },
    /// The session has reported its end.
    Ended,
    /// Published at QoS 0, or abandoned before its first byte was sent.
    Gone,
}

/// A payload that is being provided.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) struct Payload {
    pub(super) message: u8,
    /// The message is resent.
    pub(super) again: bool,
}

/// The attempts to send a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Attempt {
    /// A byte was sent on this connection.
    pub(super) now: bool,
    /// A byte was sent on an earlier connection.
    pub(super) before: bool,
    /// It was provided to a transport, which may have sent it.
    pub(super) lent: bool,
}

/// The packets on this connection.
#[derive(Clone, Hash, Debug)]
pub(super) struct Line {
    /// The last message that was sent at QoS 1 or 2.
    pub(super) last_publish: u8,
    /// Position of the last PUBREL in [`App::pubrecs`].
    pub(super) pubrels: usize,
    /// The expected answers, and the times at which their requests were sent.
    pub(super) waits: Vec<(Wait, Moment)>,
    /// Time at which CONNECT was sent.
    pub(super) connected: Moment,
    /// Time at which the last packet was sent.
    pub(super) sent: Moment,
    /// Time at which the last bytes were received.
    pub(super) came: Moment,
}

/// An expected answer.
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

    /// Returns the index of the next message to publish.
    pub(super) fn next_up(&self) -> Option<usize> {
        self.ups.iter().position(|up| *up == Up::New)
    }
}

impl Up {
    pub(super) fn is_open_as(self, other: u16) -> bool {
        other > 0 && matches!(self, Self::Open { id, .. } if id == other)
    }
}
