//! Requests in flight, by packet id.
//!
//! | state of a slot | entered by | next state |
//! | --- | --- | --- |
//! | `Puback` | PUBLISH at QoS 1 queued | PUBACK: `Acknowledged` |
//! | `Pubrec` | PUBLISH at QoS 2 queued | PUBREC: `Pubrel` |
//! | `Pubrel` | PUBREC received | PUBREL queued: `Pubcomp` |
//! | `Pubcomp` | PUBREL queued | PUBCOMP: `Completed`; connection closed: `Pubrel` |
//! | `Suback` | SUBSCRIBE queued | SUBACK: slot freed; connection closed: `OutcomeUnknown` or `RequestRejected` |
//! | `Unsuback` | UNSUBSCRIBE queued | UNSUBACK: `Unsubscribed`; connection closed: as `Suback` |
//! | `Declined` | PUBLISH at QoS 2 discarded after it was sent | session forgotten by the server: `PublishDiscarded` |
//! | a report | see above | event taken: slot freed |
//!
//! A new session turns `Pubrel` and `Pubcomp` into the report `DeliveryUnknown`, and the other states into
//! `PublishDiscarded`. If the server forgot its session, `Pubrel` also ends as `DeliveryUnknown`.

use heapless::VecView;

use crate::{
    codec::{PacketId, PacketType, QoS},
    time::Instant,
};

/// The packet that a request waits for, or the report about its end. The packets are in the send buffer.
///
/// The numbers are part of the image format. An awaited packet has the number of its type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) enum SlotState {
    /// PUBLISH at QoS 1: the server must send PUBACK.
    Puback = PacketType::Puback as isize,
    /// PUBLISH at QoS 2: the server must send PUBREC.
    Pubrec = PacketType::Pubrec as isize,
    /// PUBREC was received: the client must send PUBREL.
    Pubrel = PacketType::Pubrel as isize,
    /// PUBREL was queued: the server must send PUBCOMP.
    Pubcomp = PacketType::Pubcomp as isize,
    /// SUBSCRIBE: the server must send SUBACK.
    Suback = PacketType::Suback as isize,
    /// UNSUBSCRIBE: the server must send UNSUBACK.
    Unsuback = PacketType::Unsuback as isize,
    /// To report: the connection was closed before a SUBSCRIBE or UNSUBSCRIBE was acknowledged.
    OutcomeUnknown = 16,
    /// To report: the server refused the connection with a SUBSCRIBE or UNSUBSCRIBE on it.
    RequestRejected,
    /// To report: a PUBLISH was discarded.
    PublishDiscarded,
    /// To report: the session ended between PUBREC and PUBCOMP.
    DeliveryUnknown,
    /// Discarded PUBLISH at QoS 2: the id stays reserved until the server has forgotten it.
    Declined,
    /// To report: PUBACK was received.
    Acknowledged,
    /// To report: PUBCOMP was received.
    Completed,
    /// To report: UNSUBACK was received.
    Unsubscribed,
}

/// The end of a request. Each variant is reported by the event of the same name.
#[derive(Clone, Copy)]
pub(super) enum Report {
    Puback,
    Pubcomp,
    Unsuback,
    OutcomeUnknown,
    RequestRejected,
    PublishDiscarded,
    DeliveryUnknown,
}

impl SlotState {
    /// Returns the state of a new PUBLISH, or `None` at QoS 0.
    pub(super) fn of_publish(qos: QoS) -> Option<Self> {
        match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce => Some(Self::Puback),
            QoS::ExactlyOnce => Some(Self::Pubrec),
        }
    }

    /// Returns the state with this number.
    pub(super) fn from_number(number: u8) -> Option<Self> {
        const ALL: [SlotState; 14] = [
            SlotState::Puback,
            SlotState::Pubrec,
            SlotState::Pubrel,
            SlotState::Pubcomp,
            SlotState::Suback,
            SlotState::Unsuback,
            SlotState::OutcomeUnknown,
            SlotState::RequestRejected,
            SlotState::PublishDiscarded,
            SlotState::DeliveryUnknown,
            SlotState::Declined,
            SlotState::Acknowledged,
            SlotState::Completed,
            SlotState::Unsubscribed,
        ];
        ALL.into_iter().find(|state| *state as u8 == number)
    }

    /// Returns `true` if the server may answer this request with a packet of this type.
    pub(super) fn is_answered_by(self, packet_type: PacketType) -> bool {
        match self {
            Self::Declined => packet_type == PacketType::Pubrec,
            // The server sends PUBREC again if it has not received PUBREL.
            Self::Pubcomp if packet_type == PacketType::Pubrec => true,
            awaited => awaited as u8 == packet_type as u8,
        }
    }

    /// Returns `true` if the request has ended, and the end must be reported.
    pub(super) fn is_report(self) -> bool {
        matches!(
            self,
            Self::OutcomeUnknown
                | Self::RequestRejected
                | Self::PublishDiscarded
                | Self::DeliveryUnknown
                | Self::Acknowledged
                | Self::Completed
                | Self::Unsubscribed
        )
    }
}

/// One request in flight: 8 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) id: PacketId,
    pub(super) state: SlotState,
    flags: u8,
    /// Time at which the packet that must be acknowledged was sent.
    pub(super) since: Instant,
}

/// The packet that must be acknowledged was sent on this connection.
const SENT: u8 = 1;
/// The server forgot the session: a PUBCOMP does not prove that it has the message.
const FORGOTTEN: u8 = 2;
/// The acknowledgement was received before the packet was sent again whole. It takes effect when the packet was sent.
const ANSWERED: u8 = 4;
/// The PUBLISH was discarded after it was sent on this connection. The server may still acknowledge it.
const GIVEN_UP: u8 = 8;
/// The payload of the PUBLISH cannot be provided again.
const SOURCE_LOST: u8 = 16;

impl Slot {
    const SMALL: () = assert!(size_of::<Self>() == 8);

    pub(super) fn new(id: PacketId, state: SlotState, forgotten: bool) -> Self {
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

    /// Returns the state after the end of the connection, for an image.
    pub(super) fn state_to_save(&self) -> SlotState {
        if self.flags & GIVEN_UP == 0 {
            self.state
        } else {
            SlotState::PublishDiscarded
        }
    }

    /// Returns the report, if the request has ended.
    fn report(&self) -> Report {
        match self.state {
            SlotState::OutcomeUnknown => Report::OutcomeUnknown,
            SlotState::RequestRejected => Report::RequestRejected,
            SlotState::PublishDiscarded => Report::PublishDiscarded,
            SlotState::Acknowledged => Report::Puback,
            SlotState::Unsubscribed => Report::Unsuback,
            SlotState::Completed => Report::Pubcomp,
            _ => Report::DeliveryUnknown,
        }
    }

    /// Ends the request, whose acknowledgement was received.
    fn complete(&mut self) {
        self.state = match self.state {
            _ if self.is_forgotten() => SlotState::DeliveryUnknown,
            SlotState::Puback => SlotState::Acknowledged,
            SlotState::Unsuback => SlotState::Unsubscribed,
            _ => SlotState::Completed,
        };
        self.flags = 0;
    }

    pub(super) fn is_answered(&self) -> bool {
        self.flags & ANSWERED != 0
    }

    /// Records an acknowledgement that was received before the rest of the packet was sent.
    pub(super) fn mark_answered(&mut self) {
        self.flags |= ANSWERED;
    }

    /// Returns `true` if the payload cannot be provided again.
    #[cfg(feature = "async")]
    pub(super) fn has_lost_source(&self) -> bool {
        self.flags & SOURCE_LOST != 0
    }

    /// Records that the payload cannot be provided again.
    #[cfg(feature = "async")]
    pub(super) fn lose_source(&mut self) {
        self.flags |= SOURCE_LOST;
    }

    /// Records that the packet that must be acknowledged was sent at `now`.
    pub(super) fn mark_sent(&mut self, now: Instant) {
        self.flags |= SENT;
        self.since = now;
    }
}

/// Hashes the instant only while an answer is awaited.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for Slot {
    fn hash<H: core::hash::Hasher>(&self, hasher: &mut H) {
        let Self {
            id,
            state,
            flags,
            since,
        } = self;
        (id, state, flags).hash(hasher);
        self.is_sent().then_some(since).hash(hasher);
    }
}

/// Maximum number of discarded PUBLISHes whose ids are reserved without a slot.
pub(super) const DECLINED: usize = 4;

/// The slots: in the order of PUBLISH while they wait for PUBACK or PUBREC, then in the order of PUBREC.
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) struct InFlight<'b> {
    slots: &'b mut VecView<Slot>,
    /// Ids of PUBLISHes at QoS 2 that were discarded after they were sent. The server may know them.
    declined: [Option<PacketId>; DECLINED],
    /// The server has forgotten these ids, and they must be reported.
    declined_ended: bool,
    last_id: u16,
    /// The SUBSCRIBE of the standing subscriptions, which needs no slot.
    pub(super) standing: Option<Slot>,
}

impl<'b> InFlight<'b> {
    pub(super) fn new(slots: &'b mut VecView<Slot>) -> Self {
        Self {
            slots,
            declined: [None; DECLINED],
            declined_ended: false,
            last_id: 0,
            standing: None,
        }
    }
}

impl InFlight<'_> {
    pub(super) fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    pub(super) fn is_full(&self) -> bool {
        self.slots.is_full()
    }

    /// Returns `true` if the server knows no id of this client, and there is no report.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.declined().next().is_none()
    }

    /// Returns `true` if no answer is awaited, and there is no report.
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.standing.is_none()
    }

    /// Returns the ids that are reserved without a slot.
    pub(super) fn declined(&self) -> impl Iterator<Item = PacketId> {
        self.declined.into_iter().flatten()
    }

    /// Returns `true` if the server has forgotten the [declined](Self::declined) ids, and they must be reported.
    pub(super) fn have_declined_ended(&self) -> bool {
        self.declined_ended
    }

    /// Replaces the place of `from` in the list of declined ids, and returns `true` if there is one.
    fn replace_declined(&mut self, from: Option<PacketId>, to: Option<PacketId>) -> bool {
        let mut places = self.declined.iter_mut();
        let place = places.find(|place| **place == from);
        place.map(|place| *place = to).is_some()
    }

    /// Handles a PUBREC for an id without a slot. Returns `true` if the id has a slot now, from which PUBREL is sent.
    pub(super) fn revive_declined(&mut self, id: PacketId) -> bool {
        let revived = !self.is_full() && self.replace_declined(Some(id), None);
        if revived {
            let _ = self.slots.push(Slot::new(id, SlotState::Pubrel, false));
        }
        revived
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn iter(&self) -> core::slice::Iter<'_, Slot> {
        self.slots.iter()
    }

    /// Returns the id that was given last, or 0.
    pub(super) fn last_id(&self) -> u16 {
        self.last_id
    }

    /// Returns an unused id \[MQTT-2.3.1-2\]: the next one upwards, without 0.
    ///
    /// Each slot and each declined id makes the loop skip at most one id, so it ends.
    pub(super) fn free_id(&self) -> PacketId {
        let mut candidate = self.last_id;
        loop {
            candidate = candidate.wrapping_add(1);
            if let Some(id) = PacketId::new(candidate)
                && self.get(id).is_none()
                && !self.declined.contains(&Some(id))
            {
                return id;
            }
        }
    }

    /// Adds a request with an id that [`Self::free_id`] returned, unless the table is full.
    pub(super) fn insert(&mut self, id: PacketId, state: SlotState) {
        if self.slots.push(Slot::new(id, state, false)).is_ok() {
            self.last_id = id.get();
        }
    }

    pub(super) fn get(&self, id: PacketId) -> Option<&Slot> {
        let mut slots = self.slots.iter().chain(&self.standing);
        slots.find(|slot| slot.id == id)
    }

    /// Starts to wait for the answer to the SUBSCRIBE of the standing subscriptions, and returns its id.
    pub(super) fn insert_standing(&mut self) -> PacketId {
        let id = self.free_id();
        self.last_id = id.get();
        self.standing = Some(Slot::new(id, SlotState::Suback, false));
        id
    }

    /// Returns `true` if this is the id of a SUBSCRIBE of the standing subscriptions.
    pub(super) fn is_standing(&self, id: PacketId) -> bool {
        self.standing.is_some_and(|slot| slot.id == id)
    }

    pub(super) fn get_mut(&mut self, id: PacketId) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.id == id)
    }

    /// Returns the request with this id, if it waits for something.
    pub(super) fn waiting(&self, id: PacketId) -> Option<Slot> {
        self.get(id).copied().filter(|slot| !slot.state.is_report())
    }

    /// Ends this request, whose acknowledgement was received. The slot is kept until the event is taken.
    pub(super) fn complete(&mut self, id: PacketId) {
        if let Some(slot) = self.get_mut(id) {
            slot.complete();
        }
    }

    pub(super) fn remove(&mut self, id: PacketId) {
        self.slots.retain(|slot| slot.id != id);
    }

    /// Handles a PUBREC: a PUBREL must be sent, after those that are pending \[MQTT-4.6.0-4\].
    pub(super) fn on_pubrec(&mut self, id: PacketId) {
        if let Some(slot) = self.get(id).copied() {
            self.remove(id);
            let pubrel = Slot::new(id, SlotState::Pubrel, slot.is_forgotten());
            // There is room where the slot was removed.
            let _ = self.slots.push(pubrel);
        }
    }

    /// Returns the id of the first pending PUBREL, which is queued now.
    pub(super) fn next_pubrel(&mut self) -> Option<PacketId> {
        let mut slots = self.slots.iter_mut();
        let slot = slots.find(|slot| slot.state == SlotState::Pubrel)?;
        slot.state = SlotState::Pubcomp;
        Some(slot.id)
    }

    /// Records that PUBREL was sent.
    pub(super) fn on_pubrel_sent(&mut self, id: PacketId, now: Instant) {
        if let Some(slot) = self.get_mut(id) {
            slot.mark_sent(now);
        }
    }

    /// Discards this PUBLISH. `was_sent` is `true` if the server may know its id.
    ///
    /// An id that the server may know stays reserved. At QoS 1, its slot waits for PUBACK or the end of the connection.
    /// At QoS 2, the id is moved to the list of declined ids, or stays in its slot if that list is full.
    pub(super) fn decline(&mut self, id: PacketId, was_sent: bool) {
        if let Some(slot) = self.get_mut(id) {
            if slot.state == SlotState::Puback && slot.is_sent() {
                slot.flags |= GIVEN_UP;
                return;
            }
            slot.state = if slot.state == SlotState::Puback || !was_sent {
                SlotState::PublishDiscarded
            } else {
                SlotState::Declined
            };
            if slot.state == SlotState::Declined {
                self.free_slot_of_declined(id);
            }
        }
    }

    fn free_slot_of_declined(&mut self, id: PacketId) {
        self.declined_ended &= self.declined.iter().any(Option::is_some);
        if !self.declined_ended && self.replace_declined(None, Some(id)) {
            self.remove(id);
        }
    }

    /// Returns the times at which the waiting requests were sent.
    pub(super) fn sent_times(&mut self) -> impl Iterator<Item = &mut Instant> {
        self.slots
            .iter_mut()
            .chain(&mut self.standing)
            .filter(|slot| slot.is_sent())
            .map(|slot| &mut slot.since)
    }

    /// Restores the slots of a saved session. The caller has checked that they fit.
    pub(super) fn restore(&mut self, slots: impl Iterator<Item = Slot>, last_id: u16) {
        self.slots.clear();
        self.declined = [None; DECLINED];
        self.declined_ended = false;
        for slot in slots {
            if slot.state == SlotState::Declined && self.replace_declined(None, Some(slot.id)) {
                self.declined_ended |= slot.is_forgotten();
            } else {
                let _ = self.slots.push(slot);
            }
        }
        self.last_id = last_id;
        self.end_connection(false);
    }

    /// Prepares the requests for the next connection. Those that cannot be sent again are reported.
    pub(super) fn end_connection(&mut self, refused: bool) {
        self.standing = None;
        self.declined_ended &= self.declined.iter().any(Option::is_some);
        for slot in self.slots.iter_mut() {
            slot.state = slot.state_to_save();
            slot.flags &= FORGOTTEN | SOURCE_LOST;
            slot.state = match slot.state {
                SlotState::Suback | SlotState::Unsuback if refused => SlotState::RequestRejected,
                SlotState::Suback | SlotState::Unsuback => SlotState::OutcomeUnknown,
                SlotState::Pubrel | SlotState::Pubcomp if slot.is_forgotten() => {
                    SlotState::DeliveryUnknown
                }
                SlotState::Pubcomp => SlotState::Pubrel,
                other => other,
            };
        }
    }

    /// Ends every request of the old session, to be reported \[MQTT-3.1.2-6\].
    pub(super) fn discard(&mut self) {
        self.declined_ended = true;
        for slot in self.slots.iter_mut().filter(|slot| !slot.state.is_report()) {
            slot.state = match slot.state {
                // The server has the message, unless it forgets it with the session.
                SlotState::Pubrel | SlotState::Pubcomp => SlotState::DeliveryUnknown,
                _ => SlotState::PublishDiscarded,
            };
        }
    }

    /// Marks the PUBRELs after the server has lost its session. It does not know their ids, so they are sent only on
    /// this connection.
    pub(super) fn server_forgot(&mut self) {
        self.declined_ended = true;
        for slot in self.slots.iter_mut() {
            slot.flags &= SENT | SOURCE_LOST;
            match slot.state {
                SlotState::Pubrel => slot.flags |= FORGOTTEN,
                SlotState::Declined => slot.state = SlotState::PublishDiscarded,
                _ => {}
            }
        }
    }

    /// Returns the id of the first request that has ended and must be reported.
    pub(super) fn next_report(&self) -> Option<PacketId> {
        match self.slots.iter().find(|slot| slot.state.is_report()) {
            Some(slot) => Some(slot.id),
            None if self.declined_ended => self.declined().next(),
            None => None,
        }
    }

    /// Frees this id, and returns the report about its request.
    pub(super) fn take_report(&mut self, id: PacketId) -> Option<Report> {
        if let Some(slot) = self.get(id) {
            let report = slot.report();
            self.remove(id);
            return Some(report);
        }
        let found = self.replace_declined(Some(id), None);
        found.then_some(Report::PublishDiscarded)
    }
}
