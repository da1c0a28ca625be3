//! Everything that is sent: requests and their packets, and acknowledgements.

mod ack_queue;
mod changes;
mod packets;
mod send_buffer;
mod streamed;
mod subscriptions;

use heapless::VecView;

pub use self::subscriptions::SubscriptionState;
use self::{
    ack_queue::AckQueue, changes::Changes, send_buffer::SendBuffer, streamed::Abandoned,
    subscriptions::Subscriptions,
};
pub(super) use self::{packets::SentPacket, send_buffer::Encode};
use super::{
    error::{ProtocolError, RequestError},
    in_flight::{InFlight, Slot, SlotState},
};
use crate::{
    codec::{Connect, FixedHeader, PacketId, QoS, SubackCodes, wire},
    log,
    time::Instant,
};

/// The source of the bytes that were provided to the transport last.
#[derive(Clone, Copy)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
enum Lent {
    Buffer,
    Acks,
    Ping,
    Subscribe,
}

/// A packet that is not kept in the send buffer.
pub(super) enum SmallPacket {
    Ack,
    Ping,
    Subscribe,
}

/// The sending half of a session.
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) struct Sender<'b> {
    pub(super) changes: Changes,
    /// Number of unsent bytes of a queued PINGREQ.
    ping_left: u8,
    lent: Lent,
    /// Connections in a row that ended without a reason after a PUBLISH was sent, and before one was acknowledged.
    closed_without_ack: u8,
    /// PUBLISHes at QoS 0 that were not sent, or whose connection was refused.
    qos0_dropped: u16,
    /// PUBLISHes at QoS 0 that were sent before CONNACK.
    qos0_sent_before_connack: u16,
    /// The caller was asked for this payload.
    asked: Option<PacketId>,
    /// Requests that wait for an acknowledgement, and reports about earlier ones.
    pub(super) in_flight: InFlight<'b>,
    pub(super) buffer: SendBuffer<'b>,
    pub(super) acks: AckQueue,
    pub(super) subscriptions: Subscriptions<'b>,
}

impl<'b> Sender<'b> {
    #[inline(always)] // into the session, without a copy
    pub(super) fn new(buffer: &'b mut [u8], slots: &'b mut VecView<Slot>) -> Self {
        Self {
            changes: Changes::new(),
            ping_left: 0,
            lent: Lent::Buffer,
            closed_without_ack: 0,
            qos0_dropped: 0,
            qos0_sent_before_connack: 0,
            asked: None,
            in_flight: InFlight::new(slots),
            buffer: SendBuffer::new(buffer),
            acks: AckQueue::new(),
            subscriptions: Subscriptions::new(),
        }
    }
}

/// The connection.
impl<'b> Sender<'b> {
    /// Queues a CONNECT. The caller has checked that it fits. Everything else waits for CONNACK if `block` is `true`, if
    /// a PUBLISH is sent again, or if standing subscriptions are sent first.
    pub(super) fn connect(&mut self, connect: &Connect<'_>, header: FixedHeader, block: bool) {
        self.buffer.push_connect(connect, header);
        if block
            || self.subscriptions.has_filters()
            || self.in_flight.iter().any(|slot| !slot.state.is_report())
        {
            self.buffer.set_blocked(true);
        }
        self.asked = None;
    }

    /// Handles a CONNACK that accepts the connection. `disconnecting` is `true` if DISCONNECT was queued.
    pub(super) fn on_connected(&mut self, session_present: bool, disconnecting: bool) {
        if !session_present {
            self.in_flight.server_forgot();
            self.changes.add();
        }
        self.qos0_sent_before_connack = 0;
        self.buffer.set_blocked(false);
        // If the server closes each connection because of one PUBLISH, sending one by one shows which one.
        self.buffer
            .set_one_by_one(self.closed_without_ack > 1 && !disconnecting);
        if !session_present {
            self.subscriptions.forget();
        }
        if let Some(functions) = self.subscriptions.functions {
            (functions.on_connected)(self);
        }
    }

    /// Handles the answer to the SUBSCRIBE of the standing subscriptions.
    pub(super) fn on_subscribed(&mut self, codes: SubackCodes<'_>) {
        if let Some(functions) = self.subscriptions.functions {
            (functions.on_answer)(self, codes);
        }
    }

    /// Returns the error for a connection that was closed without a reason. It names the request at which the server
    /// seems to close every connection, if there is one.
    ///
    /// It names a PUBLISH that was also sent on an earlier connection, if no other was unacknowledged on this one. In
    /// addition, the connection before must have ended without an acknowledgement.
    #[inline(never)] // called once, from a function that is inlined
    pub(super) fn close_reason(&self) -> ProtocolError {
        if let Some(functions) = self.subscriptions.functions
            && let Some((index, connections)) = (functions.suspect)(self)
        {
            return ProtocolError::ClosedAtSubscribe { index, connections };
        }
        if self.closed_without_ack > 0
            && let (Some((packet_id, qos, true)), false) = self.buffer.attempted()
        {
            return ProtocolError::ClosedAtPublish {
                packet_id,
                qos,
                connections: u16::from(self.closed_without_ack).saturating_add(1),
            };
        }
        ProtocolError::Closed
    }

    /// Cleans up after a connection. If it was refused, the server discarded all packets that were sent before CONNACK
    /// \[MQTT-3.1.4-5\]. `is_silent` is `true` if it was closed without a reason: no timeout, refusal or DISCONNECT.
    pub(super) fn end_connection(&mut self, refused: bool, is_silent: bool) {
        let (unsent, has_attempted) = self.buffer.end_connection();
        if is_silent && has_attempted {
            self.closed_without_ack = self.closed_without_ack.saturating_add(1);
        }
        let discarded = core::mem::take(&mut self.qos0_sent_before_connack);
        self.qos0_dropped = self
            .qos0_dropped
            .saturating_add(unsent)
            .saturating_add(if refused { discarded } else { 0 });
        if let Some(functions) = self.subscriptions.functions {
            (functions.on_end)(self, is_silent);
        }
        self.acks.clear();
        self.ping_left = 0;
        self.lent = Lent::Buffer;
        self.in_flight.end_connection(refused);
    }

    /// Discards everything for a new session.
    pub(super) fn discard(&mut self) {
        self.buffer.discard(0);
        self.in_flight.discard();
        self.subscriptions.forget();
        self.changes.add();
    }

    /// Restores the requests of a saved session. Their packets were restored before.
    pub(super) fn restore(&mut self, slots: impl Iterator<Item = Slot>, last_id: u16) {
        self.in_flight.restore(slots, last_id);
        self.qos0_dropped = 0;
        self.changes.mark_saved();
    }

    /// Returns how many PUBLISHes at QoS 0 were lost since the last call.
    pub(super) fn take_qos0_dropped(&mut self) -> u16 {
        core::mem::take(&mut self.qos0_dropped)
    }

    /// Sets the list of standing subscriptions, and reserves room for their SUBSCRIBE. There is no connection.
    pub(super) fn set_subscriptions(
        &mut self,
        list: &'b [(&'b str, QoS)],
    ) -> Result<(), RequestError> {
        let limit = self.buffer.capacity() / 4;
        let room = subscriptions::room_for(list, limit)?;
        self.buffer.reserve(room)?;
        self.subscriptions.set_list(list);
        Ok(())
    }

    /// Queues a DISCONNECT after everything else.
    pub(super) fn disconnect(&mut self) {
        self.buffer.set_one_by_one(false);
        self.buffer.push_disconnect();
    }
}

/// Bytes for the transport.
impl Sender<'_> {
    /// Returns `true` if nothing can be sent at present.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && (self.buffer.is_in_payload() || !self.has_small_packets())
    }

    /// Returns `true` if there are packets that are sent before those of the send buffer.
    fn has_small_packets(&self) -> bool {
        !self.acks.is_empty() || self.ping_left > 0 || self.subscriptions.has_unsent()
    }

    /// Returns `true` if there are acknowledgements, and nothing else can be sent.
    pub(super) fn has_only_acks(&self) -> bool {
        !self.acks.is_empty()
            && self.ping_left == 0
            && !self.subscriptions.has_unsent()
            && !self.buffer.is_in_payload()
            && self.buffer.is_empty()
    }

    /// Queues a PINGREQ, unless one is queued already.
    pub(super) fn queue_ping(&mut self) {
        if self.ping_left == 0 {
            self.ping_left = 2;
        }
    }

    /// Returns `true` if a PINGREQ can be sent now.
    pub(super) fn can_send_ping(&self) -> bool {
        self.ping_left > 0 && self.is_between_packets()
    }

    /// Returns `true` if no packet is partly sent, except a PINGREQ.
    fn is_between_packets(&self) -> bool {
        self.buffer.is_between_packets()
            && self.acks.is_between_packets()
            && self.subscriptions.is_between_packets()
    }

    /// Returns the bytes that are sent next. The order is the rest of a partly sent packet, PINGREQ,
    /// acknowledgements, the SUBSCRIBE of the standing subscriptions, queued packets.
    pub(super) fn lend(&mut self) -> &[u8] {
        if self.can_send_ping() {
            self.lent = Lent::Ping;
            let [.., last] = &wire::PINGREQ_PACKET;
            return match self.ping_left {
                1 => core::slice::from_ref(last),
                _ => &wire::PINGREQ_PACKET,
            };
        }
        let is_between = self.buffer.is_between_packets();
        if !self.acks.is_empty() && is_between && self.subscriptions.is_between_packets() {
            self.lent = Lent::Acks;
            return self.acks.bytes();
        }
        if is_between
            && self.subscriptions.has_unsent()
            && let Some(functions) = self.subscriptions.functions
        {
            self.lent = Lent::Subscribe;
            return (functions.lend)(self);
        }
        self.lent = Lent::Buffer;
        self.buffer.lend(self.has_small_packets())
    }

    /// Counts `n` bytes that the transport accepted of those provided last. Returns the packet outside the send buffer
    /// that was sent with them.
    pub(super) fn consume(&mut self, n: usize, now: Instant) -> Option<SmallPacket> {
        match self.lent {
            Lent::Ping => {
                let [n, ..] = n.min(2).to_le_bytes();
                self.ping_left = self.ping_left.saturating_sub(n);
                let sent = self.ping_left == 0;
                if sent {
                    log::sent(wire::PINGREQ, None, wire::PINGREQ_PACKET.len());
                }
                sent.then_some(SmallPacket::Ping)
            }
            Lent::Acks => {
                let in_flight = &mut self.in_flight;
                let sent = self.acks.consume(n, |id| in_flight.on_pubrel_sent(id, now));
                sent.then_some(SmallPacket::Ack)
            }
            Lent::Subscribe => {
                let functions = self.subscriptions.functions?;
                (functions.consume)(self, n, now)
            }
            Lent::Buffer => {
                self.buffer.consume(n);
                None
            }
        }
    }

    /// Returns the next packet of the send buffer that was sent whole, if there is one.
    pub(super) fn next_sent_packet(
        &mut self,
        before_connack: bool,
        now: Instant,
    ) -> Option<SentPacket> {
        let sent = self.buffer.next_sent_packet()?;
        match sent {
            SentPacket::Qos0Publish if before_connack => {
                let count = &mut self.qos0_sent_before_connack;
                *count = count.saturating_add(1);
            }
            SentPacket::Request(id) => {
                if let Some(slot) = self.in_flight.get_mut(id) {
                    slot.mark_sent(now);
                    if slot.is_answered() {
                        match slot.state {
                            SlotState::Pubrec => self.on_pubrec(id),
                            _ => self.complete(id),
                        }
                        return Some(SentPacket::AnsweredRequest);
                    }
                }
            }
            _ => {}
        }
        Some(sent)
    }
}

/// Requests.
impl Sender<'_> {
    /// Queues a request and its payload. If `payload` is `None`, the caller provides it later. A request that must be
    /// acknowledged occupies a slot in this state, and its packet id is returned.
    pub(super) fn request(
        &mut self,
        state: Option<SlotState>,
        payload: Option<&[u8]>,
        encode: &Encode<'_>,
    ) -> Result<PacketId, RequestError> {
        let mut id = PacketId::MIN;
        if state.is_some() {
            if self.in_flight.is_full() {
                let capacity = self.in_flight.capacity();
                return Err(RequestError::InflightFull { capacity });
            }
            id = self.in_flight.free_id();
        }
        self.buffer.push(id, encode, payload)?;
        if let Some(state) = state {
            self.in_flight.insert(id, state);
            if matches!(state, SlotState::Puback | SlotState::Pubrec) {
                self.changes.add();
            }
        }
        Ok(id)
    }

    /// Handles the acknowledgement that ends the request with this id. The end must be reported.
    pub(super) fn complete(&mut self, id: PacketId) {
        self.closed_without_ack = 0;
        self.buffer.acknowledge(id);
        self.in_flight.complete(id);
    }

    /// Removes the SUBSCRIBE with this id, whose answer was reported, and frees the id.
    pub(super) fn finish_subscribe(&mut self, id: PacketId) {
        self.buffer.acknowledge(id);
        self.in_flight.remove(id);
    }

    /// Handles a PUBREC: the PUBLISH is never sent again, and a PUBREL follows \[MQTT-4.3.3-1\].
    pub(super) fn on_pubrec(&mut self, id: PacketId) {
        self.closed_without_ack = 0;
        self.buffer.acknowledge(id);
        self.in_flight.on_pubrec(id);
        self.changes.add();
    }

    /// Handles a PUBREC for an id without a slot. If the id is that of a discarded PUBLISH that the server has
    /// received, a slot is occupied for the PUBREL. Returns `true` in that case.
    pub(super) fn revive_declined(&mut self, id: PacketId) -> bool {
        let revived = self.in_flight.revive_declined(id);
        if revived {
            self.changes.add();
        }
        revived
    }

    /// Queues the acknowledgement of a message that the caller was given.
    pub(super) fn acknowledge_message(&mut self, first: u8, id: PacketId) {
        self.acks.push_ack(first, id);
        self.changes.add();
    }

    /// Queues the PUBCOMP of a message whose id was released. `was_known` is `true` if the id was kept.
    pub(super) fn complete_message(&mut self, id: PacketId, was_known: bool) {
        self.acks.push_ack(wire::PUBCOMP, id);
        if was_known {
            self.changes.add();
        }
    }

    /// Queues the pending PUBRELs, in the order of their PUBRECs. Leaves room for `reserved` acknowledgements.
    pub(super) fn send_pubrels(&mut self, reserved: usize) {
        while self.acks.has_room(reserved.wrapping_add(1))
            && let Some(id) = self.in_flight.next_pubrel()
        {
            self.acks.push_ack(wire::PUBREL, id);
        }
    }
}

/// Streamed payloads.
impl Sender<'_> {
    /// Returns the id of a payload that the caller must provide, once.
    pub(super) fn next_payload_needed(&mut self) -> Option<PacketId> {
        let id = self.buffer.payload_needed()?;
        (self.asked.replace(id) != Some(id)).then_some(id)
    }

    /// Accepts a source for a payload of `len` bytes that the caller was asked for.
    pub(super) fn accept_source(&mut self, id: PacketId, len: usize) -> Result<(), RequestError> {
        self.buffer.accept_source(id, len)?;
        self.asked = None;
        Ok(())
    }

    /// Abandons the payload that is being provided. Returns `true` if its packet was sent in part.
    pub(super) fn abandon_payload(&mut self) -> bool {
        match self.buffer.abandon() {
            Abandoned::Postponed => self.asked = None,
            Abandoned::PartlySent => return true,
            Abandoned::Withdrawn(None) => {}
            Abandoned::Withdrawn(Some(id)) => {
                self.in_flight.remove(id);
                self.changes.add();
            }
        }
        false
    }

    /// Discards a message that the server has not acknowledged.
    pub(super) fn discard_publish(
        &mut self,
        id: PacketId,
        before_connack: bool,
    ) -> Result<(), RequestError> {
        let is_attempted = self.buffer.discard_publish(id, before_connack)?;
        self.in_flight.decline(id, is_attempted);
        self.asked = None;
        self.changes.add();
        Ok(())
    }
}
