//! A session, and defects that can be planted between it and the connection or the caller.

use crate::{
    driver::{Driver, Outcome, Seen},
    wire::{Filters, Packet, Publish},
};

/// The defects. They are planted around the session, so they do not depend on its structure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Defect {
    /// PUBREL is sent directly after the PUBLISH.
    EarlyPubrel,
    /// The id of a QoS 2 message is not remembered across connections.
    ForgottenId,
    /// A repeated message is not acknowledged.
    LostAck,
    /// A QoS 2 message closes the connection at once if there is no room for its id.
    ClosedForLackOfRoom,
    /// The first two PUBLISHes of a resumed session are swapped.
    WrongOrder,
    /// A PUBLISH is resent without DUP.
    DupMissing,
    /// A delivery is reported twice.
    ReportedTwice,
    /// After the first connection, nothing is reported.
    NeverReported,
    /// Each deadline is 30 s too late.
    LateDeadline,
    /// The caller is asked to save the session only once.
    SkippedCheckpoint,
    /// A refused filter counts as granted.
    RefusalIgnored,
    /// A discarded message is still sent.
    DiscardIgnored,
    /// Changes after an image was made count as saved with it.
    SavedTooMuch,
}

impl Defect {
    pub(crate) const ALL: [Self; 13] = [
        Self::EarlyPubrel,
        Self::ForgottenId,
        Self::LostAck,
        Self::ClosedForLackOfRoom,
        Self::WrongOrder,
        Self::DupMissing,
        Self::ReportedTwice,
        Self::NeverReported,
        Self::LateDeadline,
        Self::SkippedCheckpoint,
        Self::RefusalIgnored,
        Self::DiscardIgnored,
        Self::SavedTooMuch,
    ];
}

pub(crate) struct Client<'b> {
    pub(crate) driver: Driver<'b>,
    pub(crate) memory: Memory,
}

/// The state of the planted defect.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Memory {
    defect: Option<Defect>,
    /// A connection has ended.
    resumed: bool,
    checkpointed: bool,
    /// The PUBLISH that is sent after the next one.
    held: Option<Packet>,
    /// Messages that the caller has received.
    shown: Vec<u8>,
    /// Ids that were received with DUP.
    repeated: Vec<u16>,
    /// Ids of QoS 2 messages that the server has not released.
    open: Vec<u16>,
}

impl<'b> Client<'b> {
    pub(crate) fn new(driver: Driver<'b>, defect: Option<Defect>) -> Self {
        Self {
            driver,
            memory: Memory {
                defect,
                resumed: false,
                checkpointed: false,
                held: None,
                shown: vec![],
                repeated: vec![],
                open: vec![],
            },
        }
    }
}

impl Memory {
    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// Returns the packet that is received instead of this one.
    pub(crate) fn arrives(&self, packet: Packet) -> Packet {
        match packet {
            Packet::Suback(id, Filters(codes)) if self.has(Defect::RefusalIgnored) => {
                let granted = codes.map(|code| code.map(|(letter, code)| (letter, code & 3)));
                Packet::Suback(id, Filters(granted))
            }
            packet => packet,
        }
    }

    /// Returns `true` if a discard is not passed to the session.
    pub(crate) fn discards(&self) -> bool {
        self.has(Defect::DiscardIgnored)
    }

    /// Returns the number of the last change that counts as saved with an image.
    pub(crate) fn generation(&self, generation: u16, last: impl Fn() -> u16) -> u16 {
        if self.has(Defect::SavedTooMuch) {
            last()
        } else {
            generation
        }
    }

    /// Handles the end of the connection.
    pub(crate) fn disconnected(&mut self) {
        self.resumed = true;
        self.held = None;
    }

    /// Returns the packets that are sent instead of this one. `is_last` is `true` if none is queued after it.
    pub(crate) fn sends(&mut self, packet: Packet, is_last: bool) -> Vec<Packet> {
        let Some(defect) = self.defect else {
            return vec![packet];
        };
        match (defect, packet) {
            (Defect::EarlyPubrel, Packet::Publish(Publish { qos: 2, id, .. })) => {
                vec![packet, Packet::Pubrel(id)]
            }
            (Defect::LostAck, Packet::Puback(id) | Packet::Pubrec(id))
                if self.repeated.contains(&id) =>
            {
                vec![]
            }
            (Defect::WrongOrder, Packet::Publish(publish)) if self.resumed && publish.qos > 0 => {
                match self.held.take() {
                    Some(held) => vec![packet, held],
                    None if is_last => vec![packet],
                    None => {
                        self.held = Some(packet);
                        vec![]
                    }
                }
            }
            (Defect::DupMissing, Packet::Publish(publish)) => {
                vec![Packet::Publish(Publish {
                    dup: false,
                    ..publish
                })]
            }
            _ => vec![packet],
        }
    }

    /// Returns the events that the caller receives instead of this one.
    pub(crate) fn shows(&mut self, seen: Seen) -> Vec<Seen> {
        let Some(defect) = self.defect else {
            return vec![seen];
        };
        match (defect, &seen) {
            (Defect::ReportedTwice, Seen::Ended(_, Outcome::Delivered)) => vec![seen.clone(), seen],
            (Defect::NeverReported, Seen::Ended(..)) if self.resumed => vec![],
            (Defect::SkippedCheckpoint, Seen::Checkpoint(_))
                if std::mem::replace(&mut self.checkpointed, true) =>
            {
                vec![]
            }
            _ => vec![seen],
        }
    }

    /// Returns additional events before those of this packet, or `None` if the connection must be closed.
    pub(crate) fn receives(&mut self, packet: Packet, inbound: usize) -> Option<Vec<Seen>> {
        if self.defect.is_none() {
            return Some(vec![]);
        }
        match packet {
            Packet::Publish(publish) if publish.qos > 0 => {
                if publish.dup && !self.repeated.contains(&publish.id) {
                    self.repeated.push(publish.id);
                }
                if publish.qos == 2 && !self.open.contains(&publish.id) {
                    if self.has(Defect::ClosedForLackOfRoom) && self.open.len() == inbound {
                        return None;
                    }
                    self.open.push(publish.id);
                }
                let again = self.shown.contains(&publish.message);
                if again && publish.qos == 2 && self.has(Defect::ForgottenId) {
                    let payload = crate::wire::payload(publish.message, false);
                    return Some(vec![Seen::Message { qos: 2, payload }]);
                }
                self.shown.push(publish.message);
            }
            Packet::Pubrel(id) => self.open.retain(|open| *open != id),
            _ => {}
        }
        Some(vec![])
    }

    pub(crate) fn deadline(&self, deadline: Option<u32>) -> Option<u32> {
        if self.has(Defect::LateDeadline) {
            deadline.map(|deadline| deadline.wrapping_add(30_000))
        } else {
            deadline
        }
    }
}
