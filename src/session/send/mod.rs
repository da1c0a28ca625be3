//! What leaves: the arena of encoded packets, and the lane of acknowledgements beside it.
//!
//! The arena is send queue and retransmission store in one:
//!
//! ```text
//! 0        connect        room          record   sent             tail       len - 2
//! | unused |   CONNECT    | kept packets | packet half sent | queued | free   | room for DISCONNECT |
//!                         head
//! ```
//!
//! Packets lie back to back in the order in which they were queued. A PUBLISH at QoS 0 and a DISCONNECT go when they
//! have been sent; everything with a packet id stays until it is acknowledged. Room at the front belongs to the
//! CONNECT alone, so that a full arena can always be reconnected and drained; it keeps the last CONNECT, which tells
//! whose session this is.

pub(super) mod streamed;

use self::streamed::Passing;
use super::{
    error::RequestError,
    in_flight::{InFlight, Slot},
    raw_packet,
};
use heapless::VecView;

use crate::{
    bytes,
    codec::{Connect, EncodeError, FixedHeader, PacketId, wire},
    time::Instant,
};

/// Bytes in the lane: eight acknowledgements.
const LANE: usize = 32;

pub(super) struct Sender<'b> {
    /// Requests that wait for an acknowledgement, and reports about earlier ones.
    pub(super) in_flight: InFlight<'b>,
    /// The session has changed since the last checkpoint.
    pub(super) changed: bool,
    arena: &'b mut [u8],
    /// Start of the CONNECT, which ends at `room`.
    connect: usize,
    room: usize,
    head: usize,
    tail: usize,
    /// Start of the packet that leaves at present, or will leave next.
    record: usize,
    /// First byte that the transport has not taken.
    sent: usize,
    /// End of what has been lent to the transport, which may have taken it even if it never said so.
    offered: usize,
    /// Nothing but the CONNECT may leave: older packets have to go out again first, after CONNACK \[MQTT-4.6.0-1\].
    held: bool,
    /// How many packets there are whose payload is outside.
    longs: u16,
    passing: Passing,
    lane: [u8; LANE],
    lane_len: u8,
    lane_lent: bool,
}

/// Writes a packet with this id, if it has one, or what comes before its payload, and returns the length of that.
pub(super) type Encode<'a> = dyn Fn(PacketId, &mut [u8]) -> Result<usize, EncodeError> + 'a;

/// A packet that has left, whole.
pub(super) enum Sent {
    Connect,
    /// A PUBLISH at QoS 0, which is not kept \[MQTT-4.3.1-1\].
    Publish,
    /// A packet that is kept until it is acknowledged.
    Request(PacketId),
    Disconnect,
}

impl<'b> Sender<'b> {
    #[inline(always)] // into the session, without a copy
    pub(super) fn new(arena: &'b mut [u8], slots: &'b mut VecView<Slot>) -> Self {
        Self {
            in_flight: InFlight::new(slots),
            changed: false,
            arena,
            connect: 0,
            room: 0,
            head: 0,
            tail: 0,
            record: 0,
            sent: 0,
            offered: 0,
            held: false,
            longs: 0,
            passing: Passing::default(),
            lane: [0; LANE],
            lane_len: 0,
            lane_lent: false,
        }
    }
}

impl Sender<'_> {
    /// Whether a CONNECT of `len` bytes finds room, beside what is queued if that is to be kept.
    #[inline(always)] // two calls, each with an error to copy, cost more
    pub(super) fn fits_connect(&self, len: usize, keep: bool) -> Result<(), RequestError> {
        let kept = if keep {
            self.tail.wrapping_sub(self.head)
        } else {
            0
        };
        let limit = self.limit();
        if self.room.max(len).saturating_add(kept) > limit {
            return Err(no_room(len, limit, limit.saturating_sub(kept)));
        }
        Ok(())
    }

    /// Puts a CONNECT, whose header this is and which [fits](Self::fits_connect), in front of everything
    /// \[MQTT-3.1.0-1\]. What is older than it waits for [`Self::release`].
    pub(super) fn push_connect(&mut self, connect: &Connect<'_>, header: FixedHeader) {
        let len = header.frame_len();
        let room = self.room.max(len);
        self.move_to(room);
        self.room = room;
        self.connect = room.saturating_sub(len);
        if let Some(place) = self.arena.get_mut(self.connect..room) {
            let _ = connect.write(header, place);
        }
        self.record = self.connect;
        self.sent = self.connect;
        self.offered = self.connect;
        self.held = self.head < self.tail;
    }

    /// The client id in the CONNECT that was queued last; `None` before the first.
    pub(super) fn client_id(&self) -> Option<&[u8]> {
        let body = self.packet_at(self.connect).body;
        raw_packet::client_id(self.arena.get(body..self.room)?)
    }

    /// CONNACK came: everything may leave.
    pub(super) fn release(&mut self) {
        self.held = false;
    }

    /// Lets nothing but the CONNECT leave until [`Self::release`].
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    /// Whether the CONNECT has left, whole.
    pub(super) fn connect_sent(&self) -> bool {
        self.record >= self.room
    }

    /// Queues what `encode` writes and the payload behind it, and tells where that begins. It is called again if its
    /// packet finds room only after the free bytes were brought together.
    #[inline(always)] // called in one place, and for its stack
    pub(super) fn push(
        &mut self,
        id: PacketId,
        encode: &Encode<'_>,
        payload: &[u8],
    ) -> Result<usize, RequestError> {
        let mut together = !self.connect_sent();
        loop {
            let free = self.free();
            let before = match encode(id, free) {
                Ok(before) | Err(EncodeError::BufferTooSmall { needed: before }) => before,
                Err(error) => return Err(error.into()),
            };
            let needed = before.saturating_add(payload.len());
            if let Some(place) = free.get_mut(before..needed) {
                bytes::copy(place, payload);
                let begin = self.tail;
                self.tail = begin.wrapping_add(needed);
                return Ok(begin);
            }
            if together {
                let capacity = self.limit().saturating_sub(self.room);
                return Err(no_room(needed, capacity, self.free().len()));
            }
            self.move_to(self.room);
            together = true;
        }
    }

    /// Queues a DISCONNECT, for which there is always room: behind everything, but not behind a payload that may never
    /// be handed over. (While one is being handed over, the session queues none.)
    pub(super) fn push_disconnect(&mut self) {
        let at = self.next_long().unwrap_or(self.tail);
        let behind = at.wrapping_add(wire::DISCONNECT_PACKET.len());
        bytes::move_within(self.arena, at, behind, self.tail.wrapping_sub(at));
        if let Some(place) = self.arena.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *place = wire::DISCONNECT_PACKET;
            self.tail = self.tail.wrapping_add(wire::DISCONNECT_PACKET.len());
        }
    }

    /// Queues an acknowledgement, for which the caller has seen that there is room.
    #[inline(never)] // many answer
    pub(super) fn push_ack(&mut self, first: u8, id: PacketId) {
        let [high, low] = id.get().to_be_bytes();
        self.push_lane(&[first, 2, high, low]);
    }

    /// Sends every PUBREL that is owed, in the order of their PUBRECs, as far as the lane has room for it and the
    /// `reserved` acknowledgements that may follow.
    pub(super) fn send_pubrels(&mut self, reserved: usize, now: Instant) {
        while self.lane_has_room(reserved.wrapping_add(1))
            && let Some(id) = self.in_flight.next_pubrel(now)
        {
            self.push_ack(wire::PUBREL, id);
        }
    }

    /// Queues an acknowledgement or a PINGREQ; the lane is checked with [`Self::lane_has_room`] before.
    pub(super) fn push_lane(&mut self, packet: &[u8]) -> bool {
        let begin = self.lane_len();
        let end = begin.wrapping_add(packet.len());
        let Some(place) = self.lane.get_mut(begin..end) else {
            return false;
        };
        bytes::copy(place, packet);
        self.set_lane_len(end);
        true
    }

    pub(super) fn lane_is_empty(&self) -> bool {
        self.lane_len == 0
    }

    /// Whether so many acknowledgements fit.
    pub(super) fn lane_has_room(&self, acks: usize) -> bool {
        self.lane_len().wrapping_add(acks.wrapping_mul(4)) <= LANE
    }

    pub(super) fn is_empty(&self) -> bool {
        if self.in_payload() {
            return self.staged().is_empty();
        }
        self.lane_is_empty() && self.sent >= self.end()
    }

    /// Whether the lane is not empty, and nothing else may be sent.
    pub(super) fn is_lane_only(&self) -> bool {
        !self.lane_is_empty() && !self.in_payload() && self.sent >= self.end()
    }

    /// Whether packets wait for CONNACK, older ones or what was queued after them.
    pub(super) fn waits_for_connack(&self) -> bool {
        self.held && self.tail > self.room
    }

    /// Whether nothing is queued, and no packet has begun and not ended.
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && !self.in_payload()
    }

    /// The bytes that go next: the rest of a packet that has begun, else the lane, else all that is queued.
    pub(super) fn pending(&mut self) -> &[u8] {
        if self.in_payload() {
            self.lane_lent = false;
            return self.staged();
        }
        self.lane_lent = self.sent == self.record && !self.lane_is_empty();
        if self.lane_lent {
            return self.lane.get(..self.lane_len()).unwrap_or_default();
        }
        self.begin_long();
        let end = if self.lane_is_empty() {
            self.end()
        } else {
            self.packet_at(self.record).end
        };
        self.offered = self.offered.max(end);
        self.arena.get(self.sent..end).unwrap_or_default()
    }

    /// The transport took `n` of the bytes that [`Self::pending`] lent; returns how many of them were the lane's.
    pub(super) fn consume(&mut self, n: usize) -> usize {
        if self.lane_lent {
            let len = self.lane_len();
            let n = n.min(len);
            let left = len.wrapping_sub(n);
            bytes::move_within(&mut self.lane, n, 0, left);
            self.set_lane_len(left);
            return n;
        }
        if self.in_payload() {
            self.consume_staged(n);
        } else {
            self.sent = self.sent.saturating_add(n).min(self.offered);
            self.offered = self.sent;
        }
        0
    }

    /// Bytes queued in the lane.
    pub(super) fn lane_len(&self) -> usize {
        usize::from(self.lane_len)
    }

    fn set_lane_len(&mut self, len: usize) {
        let [low, ..] = len.to_le_bytes();
        self.lane_len = low;
    }

    /// A packet that [`Self::consume`] completed; called until there is none.
    pub(super) fn take_sent(&mut self) -> Option<Sent> {
        let at = self.record;
        let packet = self.packet_at(at);
        let is_whole = self.sent >= packet.end && (!self.passing.begun || self.payload_is_sent());
        if at >= self.tail.max(self.room) || !is_whole {
            return None;
        }
        if self.passing.begun {
            self.end_long();
        }
        self.record = packet.end;
        if let Some(id) = self.id_of(&packet) {
            return Some(Sent::Request(id));
        }
        if packet.first & wire::TYPE_MASK == wire::CONNECT {
            return Some(Sent::Connect);
        }
        self.remove(at);
        Some(if packet.is_publish() {
            Sent::Publish
        } else {
            Sent::Disconnect
        })
    }

    /// Forgets the packet with this id, which has been acknowledged.
    pub(super) fn acknowledge(&mut self, id: PacketId) {
        if let Some(at) = self.find(id) {
            self.dismiss(at);
            self.remove(at);
        }
    }

    /// The body of the packet with this id.
    pub(super) fn body_of(&self, id: PacketId) -> Option<&[u8]> {
        let packet = self.packet_at(self.find(id)?);
        self.arena.get(packet.body..packet.end)
    }

    /// Whether the PUBLISH with this id is to go out again and has not begun to.
    pub(super) fn waits_for_resend(&self, id: PacketId) -> bool {
        self.find(id)
            .is_some_and(|at| at >= self.sent && self.packet_at(at).first & wire::DUP != 0)
    }

    /// The connection is gone: keeps the PUBLISHes above QoS 0, from the first of which the next connection begins
    /// \[MQTT-4.4.0-1\], and returns how many at QoS 0 had not left.
    pub(super) fn end_connection(&mut self) -> u16 {
        self.end_long();
        let mut dropped: u16 = 0;
        let mut at = self.head;
        while at < self.tail {
            let packet = self.packet_at(at);
            if packet.is_kept_publish() {
                // One byte attempted is enough [MQTT-3.3.1-1].
                if at < self.sent.max(self.offered)
                    && let Some(first) = self.arena.get_mut(at)
                {
                    *first |= wire::DUP;
                }
                at = packet.end;
                continue;
            }
            if packet.is_publish() {
                dropped = dropped.saturating_add(1);
            }
            let first = at == self.head;
            self.remove(at);
            if first {
                at = self.head;
            }
        }

        self.record = self.head;
        self.sent = self.head;
        self.offered = self.head;
        self.lane_len = 0;
        self.lane_lent = false;
        dropped
    }

    /// Forgets every packet, and keeps so much room in front; the connection is gone.
    pub(super) fn discard(&mut self, room: usize) {
        self.room = room;
        self.head = room;
        self.tail = room;
        self.record = room;
        self.sent = room;
        self.offered = room;
        self.longs = 0;
    }

    /// Each packet that the next connection would send again: its first byte as it would be then, and the rest.
    pub(super) fn kept_publishes(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.packets()
            .filter(|(_, packet)| packet.is_kept_publish())
            .filter_map(|(at, packet)| {
                let (first, rest) = self.arena.get(at..packet.end)?.split_first()?;
                let first = if packet.is_long {
                    raw_packet::with_type(*first, raw_packet::STREAMED_TYPE)
                } else {
                    *first
                };
                Some((first | wire::DUP, rest))
            })
    }

    /// Length of the room in front that belongs to the CONNECT, in bytes.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// Whether so much room and so many bytes of packets find place.
    pub(super) fn can_restore(&self, room: usize, packets: usize) -> bool {
        room.saturating_add(packets) <= self.limit()
    }

    /// Takes over the packets of a saved session, which find place; `connect` writes a CONNECT to the end of the room
    /// in front and returns its length.
    pub(super) fn restore(
        &mut self,
        room: usize,
        packets: &[u8],
        connect: impl FnOnce(&mut [u8]) -> usize,
    ) {
        let len = connect(self.arena.get_mut(..room).unwrap_or_default());
        self.connect = room.saturating_sub(len);
        self.discard(room);
        let end = room.saturating_add(packets.len());
        if let Some(place) = self.arena.get_mut(room..end)
            && place.len() == packets.len()
        {
            bytes::copy(place, packets);
            self.tail = end;
        }
        let longs = self.packets().filter(|(_, packet)| packet.is_long).count();
        self.longs = u16::try_from(longs).unwrap_or(u16::MAX);
    }

    /// End of what may be sent at present.
    fn end(&self) -> usize {
        if self.held {
            self.room
        } else {
            self.long_limit().unwrap_or(self.tail.max(self.room))
        }
    }

    /// End of what a packet other than DISCONNECT may take.
    fn limit(&self) -> usize {
        // A DISCONNECT finds room whatever else is queued.
        self.arena
            .len()
            .saturating_sub(wire::DISCONNECT_PACKET.len())
    }

    fn find(&self, id: PacketId) -> Option<usize> {
        self.first_packet(self.head, |packet| self.id_of(packet) == Some(id))
    }

    /// Where the first packet that is wanted begins, at or behind `at`, where one begins.
    fn first_packet(&self, mut at: usize, wanted: impl Fn(&Packet) -> bool) -> Option<usize> {
        while at < self.tail {
            let packet = self.packet_at(at);
            if wanted(&packet) {
                return Some(at);
            }
            at = packet.end;
        }
        None
    }

    /// Each packet, and where it begins.
    fn packets(&self) -> impl Iterator<Item = (usize, Packet)> {
        let mut next = self.head;
        core::iter::from_fn(move || {
            let at = next;
            let packet = self.packet_at(at);
            next = packet.end;
            (at < self.tail).then_some((at, packet))
        })
    }

    fn free(&mut self) -> &mut [u8] {
        let limit = self.limit();
        self.arena.get_mut(self.tail..limit).unwrap_or_default()
    }

    /// Cuts out a packet that has left whole, will not leave, or has not begun to. One that is the first, as is usual,
    /// costs nothing.
    fn remove(&mut self, at: usize) {
        let Packet { is_long, end, .. } = self.packet_at(at);
        if is_long {
            self.longs = self.longs.wrapping_sub(1);
        }
        // Before that, the cursor stands in the CONNECT, and packets follow it without a gap.
        if at == self.head && self.record >= at {
            self.head = end;
            self.move_cursors(|position| position.max(end));
            return;
        }
        bytes::move_within(self.arena, end, at, self.tail.wrapping_sub(end));
        let len = end.wrapping_sub(at);
        self.move_cursors(|position| match position.checked_sub(len) {
            Some(moved) if position >= end => moved,
            _ => position.min(at),
        });
    }

    fn move_cursors(&mut self, moved: impl Fn(usize) -> usize) {
        self.tail = moved(self.tail);
        self.record = moved(self.record);
        self.sent = moved(self.sent);
        self.offered = moved(self.offered);
    }

    /// Moves all packets so that the first begins at `head`, where the caller knows that they fit.
    fn move_to(&mut self, head: usize) {
        let from = self.head;
        bytes::move_within(self.arena, from, head, self.tail.wrapping_sub(from));
        self.move_cursors(|position| position.wrapping_sub(from).wrapping_add(head));
        self.head = head;
    }

    /// What lies at `at`, where a packet begins. Its end is never at `at`, so that every walk ends.
    #[inline(never)] // walks call it everywhere
    fn packet_at(&self, at: usize) -> Packet {
        let packet = self.arena.get(at..).unwrap_or_default();
        let (remaining, used) = raw_packet::own_header(packet);
        let first = packet.first().copied().unwrap_or_default();
        let is_long = raw_packet::is_streamed(first) || (self.passing.begun && at == self.record);
        let (mut len, mut payload) = (remaining, 0);
        if is_long {
            len = raw_packet::payload_offset(first, packet.get(used..).unwrap_or_default());
            payload = remaining.wrapping_sub(len);
        }
        let body = at.wrapping_add(used);
        Packet {
            first,
            is_long,
            body,
            end: body.wrapping_add(len),
            payload,
        }
    }

    fn id_of(&self, packet: &Packet) -> Option<PacketId> {
        raw_packet::packet_id(packet.first, self.arena.get(packet.body..)?)
    }
}

/// A packet in the arena.
struct Packet {
    first: u8,
    /// Its payload is outside.
    is_long: bool,
    /// Where its body begins.
    body: usize,
    /// Where it ends, or where its payload would begin if that is outside.
    end: usize,
    /// Length of the payload outside.
    payload: usize,
}

impl Packet {
    fn is_publish(&self) -> bool {
        raw_packet::is_publish(self.first)
    }

    fn is_kept_publish(&self) -> bool {
        self.is_publish() && self.first & wire::QOS_MASK != 0
    }
}

fn no_room(needed: usize, capacity: usize, free: usize) -> RequestError {
    if needed > capacity {
        RequestError::PacketTooLarge { needed, capacity }
    } else {
        RequestError::SendBufferFull { needed, free }
    }
}

/// All but the bytes that belong to no packet.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for Sender<'_> {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        let Self {
            in_flight,
            changed,
            arena,
            connect,
            room,
            head,
            tail,
            record,
            sent,
            offered,
            held,
            longs,
            passing,
            lane,
            lane_len,
            lane_lent,
        } = self;
        (connect, room, head, tail, record, sent, offered).hash(state);
        (held, longs, passing, lane_lent, arena.len()).hash(state);
        (in_flight, changed).hash(state);
        arena.get(*connect..*room).hash(state);
        arena.get(*head..*tail).hash(state);
        self.staged().hash(state);
        lane.get(..usize::from(*lane_len)).hash(state);
    }
}
