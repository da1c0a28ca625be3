//! Requests on their way out: who owes what for which packet id.

use heapless::VecView;

use crate::{
    codec::{PacketId, PacketType},
    time::Instant,
};

/// What is owed for a packet id. The PUBLISH, SUBSCRIBE or UNSUBSCRIBE itself lies in the arena.
///
/// A packet that is owed has the number of its type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) enum State {
    /// PUBLISH at QoS 1: the server owes PUBACK.
    Puback = PacketType::Puback as isize,
    /// PUBLISH at QoS 2: the server owes PUBREC.
    Pubrec = PacketType::Pubrec as isize,
    /// The message is the server's: we owe PUBREL.
    Pubrel = PacketType::Pubrel as isize,
    /// PUBREL is on its way: the server owes PUBCOMP.
    Pubcomp = PacketType::Pubcomp as isize,
    /// SUBSCRIBE: the server owes SUBACK.
    Suback = PacketType::Suback as isize,
    /// UNSUBSCRIBE: the server owes UNSUBACK.
    Unsuback = PacketType::Unsuback as isize,
    /// Nobody owes anything; the caller has to be told that a SUBSCRIBE or UNSUBSCRIBE may have taken effect or not.
    OutcomeUnknown = 16,
    /// The same for one that the server refused together with the connection.
    RequestRejected,
    /// The same for a message that a new session discarded.
    PublishDiscarded,
    /// The same for a PUBREL that the server could make no sense of.
    DeliveryUnknown,
    /// PUBLISH at QoS 2 whose payload the caller cannot give again: the id is reserved until the server has forgotten it.
    Declined,
}

impl State {
    /// The state that was saved as this number.
    pub(super) fn from_saved(number: u8) -> Option<Self> {
        const ALL: [State; 11] = [
            State::Puback,
            State::Pubrec,
            State::Pubrel,
            State::Pubcomp,
            State::Suback,
            State::Unsuback,
            State::OutcomeUnknown,
            State::RequestRejected,
            State::PublishDiscarded,
            State::DeliveryUnknown,
            State::Declined,
        ];
        ALL.into_iter().find(|state| *state as u8 == number)
    }

    /// Whether a packet of this type may come for it.
    pub(super) fn is_answered_by(self, packet_type: PacketType) -> bool {
        match self {
            Self::Declined => packet_type == PacketType::Pubrec,
            // PUBREC comes again if PUBREL has not arrived.
            Self::Pubcomp if packet_type == PacketType::Pubrec => true,
            owed => owed as u8 == packet_type as u8,
        }
    }

    pub(super) fn is_report(self) -> bool {
        matches!(
            self,
            Self::OutcomeUnknown
                | Self::RequestRejected
                | Self::PublishDiscarded
                | Self::DeliveryUnknown
        )
    }
}

/// One request in flight: 8 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) id: PacketId,
    pub(super) state: State,
    flags: u8,
    /// When the packet that is to be answered had left.
    pub(super) since: Instant,
}

/// The packet that is to be answered has left, whole, on this connection.
const SENT: u8 = 1;
/// The server forgot the session: the answer to PUBREL says nothing about the message.
const FORGOTTEN: u8 = 2;

impl Slot {
    const SMALL: () = assert!(size_of::<Self>() == 8);

    pub(super) fn new(id: PacketId, state: State, forgotten: bool) -> Self {
        const { Self::SMALL };
        Self {
            id,
            state,
            flags: if forgotten { FORGOTTEN } else { 0 },
            since: Instant::default(),
        }
    }

    pub(super) fn is_sent(&self) -> bool {
        self.flags & SENT != 0
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.flags & FORGOTTEN != 0
    }

    /// What an answer that ends the request tells the caller.
    pub(super) fn outcome(&self) -> State {
        if self.is_forgotten() {
            State::DeliveryUnknown
        } else {
            self.state
        }
    }

    /// The packet that is to be answered had left at `now`.
    pub(super) fn sent(&mut self, now: Instant) {
        self.flags |= SENT;
        self.since = now;
    }
}

/// The instant counts only while an answer is awaited.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for Slot {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        let Self {
            id,
            state: owed,
            flags,
            since,
        } = self;
        (id, owed, flags).hash(state);
        self.is_sent().then_some(since).hash(state);
    }
}

/// The slots, in PUBLISH order as far as they wait for PUBACK or PUBREC, in PUBREC order after that.
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) struct InFlight<'b> {
    slots: &'b mut VecView<Slot>,
    last_id: u16,
}

impl<'b> InFlight<'b> {
    pub(super) fn new(slots: &'b mut VecView<Slot>) -> Self {
        Self { slots, last_id: 0 }
    }
}

impl InFlight<'_> {
    pub(super) fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    pub(super) fn is_full(&self) -> bool {
        self.slots.is_full()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn iter(&self) -> core::slice::Iter<'_, Slot> {
        self.slots.iter()
    }

    pub(super) fn iter_mut(&mut self) -> core::slice::IterMut<'_, Slot> {
        self.slots.iter_mut()
    }

    /// An id that nothing in flight uses \[MQTT-2.3.1-2\]: the next one upwards, without 0.
    ///
    /// Ends after as many steps as there are slots at most, each of which can refuse one id.
    pub(super) fn free_id(&self) -> PacketId {
        let mut candidate = self.last_id;
        loop {
            candidate = candidate.wrapping_add(1);
            if let Some(id) = PacketId::new(candidate)
                && self.get(id).is_none()
            {
                return id;
            }
        }
    }

    /// Takes a slot for an id that [`Self::free_id`] gave; a full table takes nothing.
    pub(super) fn insert(&mut self, id: PacketId, state: State) {
        if self.slots.push(Slot::new(id, state, false)).is_ok() {
            self.last_id = id.get();
        }
    }

    pub(super) fn get(&self, id: PacketId) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.id == id)
    }

    pub(super) fn get_mut(&mut self, id: PacketId) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.id == id)
    }

    /// The request with this id, if something is owed for it.
    pub(super) fn waiting(&self, id: PacketId) -> Option<Slot> {
        self.get(id).copied().filter(|slot| !slot.state.is_report())
    }

    pub(super) fn remove(&mut self, id: PacketId) {
        self.slots.retain(|slot| slot.id != id);
    }

    /// PUBREC came: from now on PUBREL is owed, behind those owed already \[MQTT-4.6.0-4\].
    pub(super) fn owe_pubrel(&mut self, id: PacketId) {
        if let Some(slot) = self.get(id).copied() {
            self.remove(id);
            let owed = Slot::new(id, State::Pubrel, slot.is_forgotten());
            // The place that has just become free.
            let _ = self.slots.push(owed);
        }
    }

    /// The first PUBREL that is owed, which is sent at `now`.
    pub(super) fn next_pubrel(&mut self, now: Instant) -> Option<PacketId> {
        let slot = self
            .slots
            .iter_mut()
            .find(|slot| slot.state == State::Pubrel)?;
        slot.state = State::Pubcomp;
        slot.sent(now);
        Some(slot.id)
    }

    /// The id that was given last.
    pub(super) fn last_id(&self) -> u16 {
        self.last_id
    }

    /// Takes over the slots of a saved session, for which the caller has seen that there is room.
    pub(super) fn restore(&mut self, slots: impl Iterator<Item = Slot>, last_id: u16) {
        self.slots.clear();
        for slot in slots {
            let _ = self.slots.push(slot);
        }
        self.last_id = last_id;
        self.end_connection(false);
    }

    /// The connection is gone: nothing counts as sent any more, and what cannot be repeated becomes a report.
    pub(super) fn end_connection(&mut self, refused: bool) {
        for slot in self.slots.iter_mut() {
            slot.flags &= !SENT;
            slot.state = match slot.state {
                State::Suback | State::Unsuback if refused => State::RequestRejected,
                State::Suback | State::Unsuback => State::OutcomeUnknown,
                State::Pubrel | State::Pubcomp if slot.is_forgotten() => State::DeliveryUnknown,
                State::Pubcomp => State::Pubrel,
                other => other,
            };
        }
    }

    /// A new session begins: every duty of the old one becomes a report \[MQTT-3.1.2-6\].
    pub(super) fn discard(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| !slot.state.is_report()) {
            slot.state = match slot.state {
                // The message is the server's, unless it forgets that with the session.
                State::Pubrel | State::Pubcomp => State::DeliveryUnknown,
                _ => State::PublishDiscarded,
            };
        }
    }

    /// The caller cannot provide the payload of this PUBLISH again.
    pub(super) fn decline(&mut self, id: PacketId) {
        if let Some(slot) = self.get_mut(id) {
            slot.state = if slot.state == State::Puback {
                State::PublishDiscarded
            } else {
                State::Declined
            };
        }
    }

    /// The server has no session: a PUBREL means nothing to it, and is tried on this connection only.
    pub(super) fn server_forgot(&mut self) {
        for slot in self.slots.iter_mut() {
            slot.flags = (slot.flags & SENT)
                | if slot.state == State::Pubrel {
                    FORGOTTEN
                } else {
                    0
                };
            if slot.state == State::Declined {
                slot.state = State::PublishDiscarded;
            }
        }
    }

    /// Takes the first slot that is a report.
    pub(super) fn take_report(&mut self) -> Option<Slot> {
        let slot = *self.slots.iter().find(|slot| slot.state.is_report())?;
        self.remove(slot.id);
        Some(slot)
    }
}
