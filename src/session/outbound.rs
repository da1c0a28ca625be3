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

pub(super) mod long;

use heapless::Vec;

use self::long::Passing;
use super::{error::RequestError, frame};
use crate::{
    bytes,
    codec::{Connect, EncodeError, FixedHeader, PacketId, PacketType, QoS},
};

/// A DISCONNECT finds room whatever else is queued.
const DISCONNECT: [u8; 2] = [0xE0, 0];

/// Bytes in the lane: eight acknowledgements.
const LANE: usize = 32;

pub(super) struct Outbound<'b> {
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
    lane: Vec<u8, LANE>,
    lane_lent: bool,
}

/// A packet that has left, whole.
pub(super) enum Sent {
    Connect,
    /// A PUBLISH at QoS 0, which is not kept \[MQTT-4.3.1-1\].
    Publish,
    /// A packet that is kept until it is acknowledged.
    Request(PacketId),
    Disconnect,
}

impl<'b> Outbound<'b> {
    pub(super) fn new(arena: &'b mut [u8]) -> Self {
        Self {
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
            lane: Vec::new(),
            lane_lent: false,
        }
    }
}

impl Outbound<'_> {
    /// Whether a CONNECT of `len` bytes finds room, beside what is queued if that is to be kept.
    pub(super) fn fits_connect(&self, len: usize, keep: bool) -> Result<(), RequestError> {
        let kept = if keep {
            self.tail.saturating_sub(self.head)
        } else {
            0
        };
        let limit = self.limit();
        if self.room.max(len).saturating_add(kept) > limit {
            return Err(no_room(len, limit, limit.saturating_sub(kept)));
        }
        Ok(())
    }

    /// Puts a CONNECT in front of everything \[MQTT-3.1.0-1\]. What is older than it waits for [`Self::release`].
    pub(super) fn push_connect(&mut self, connect: &Connect<'_>) -> Result<(), RequestError> {
        let len = connect.encoded_len()?;
        self.fits_connect(len, true)?;
        let room = self.room.max(len);
        self.move_to(room);
        self.room = room;
        self.connect = room.saturating_sub(len);
        if let Some(place) = self.arena.get_mut(self.connect..room) {
            connect.encode(place)?;
        }
        self.record = self.connect;
        self.sent = self.connect;
        self.offered = self.connect;
        self.held = self.head < self.tail;
        Ok(())
    }

    /// The client id in the CONNECT that was queued last; `None` before the first.
    pub(super) fn client_id(&self) -> Option<&[u8]> {
        frame::client_id(self.arena.get(self.connect..self.room)?)
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

    /// Queues what `encode` writes. It is called again if its packet finds room only after the free bytes were brought
    /// together.
    pub(super) fn push(
        &mut self,
        encode: impl Fn(&mut [u8]) -> Result<usize, EncodeError>,
    ) -> Result<(), RequestError> {
        let mut written = encode(self.free());
        if matches!(written, Err(EncodeError::BufferTooSmall { .. })) && self.connect_sent() {
            self.move_to(self.room);
            written = encode(self.free());
        }
        if let Err(EncodeError::BufferTooSmall { needed }) = written {
            let capacity = self.limit().saturating_sub(self.room);
            return Err(no_room(needed, capacity, self.free().len()));
        }
        self.tail = self.tail.saturating_add(written?);
        Ok(())
    }

    /// Queues a DISCONNECT, for which there is always room: behind everything, but not behind a payload that may never
    /// be handed over. (While one is being handed over, the session queues none.)
    pub(super) fn push_disconnect(&mut self) {
        let at = self.next_long().unwrap_or(self.tail);
        let end = self.tail.saturating_add(DISCONNECT.len());
        if let Some(place) = self.arena.get_mut(at..end) {
            bytes::move_up(place, DISCONNECT.len());
            bytes::copy(place, &DISCONNECT);
            self.tail = end;
        }
    }

    /// Queues an acknowledgement or a PINGREQ; the lane is checked with [`Self::lane_has_room`] before.
    pub(super) fn push_lane(&mut self, packet: &[u8]) -> bool {
        self.lane.extend_from_slice(packet).is_ok()
    }

    pub(super) fn lane_is_empty(&self) -> bool {
        self.lane.is_empty()
    }

    /// Whether so many acknowledgements fit.
    pub(super) fn lane_has_room(&self, acks: usize) -> bool {
        self.lane.len().saturating_add(acks.saturating_mul(4)) <= LANE
    }

    pub(super) fn is_empty(&self) -> bool {
        if self.in_payload() {
            return self.staged().is_empty();
        }
        self.lane.is_empty() && self.sent >= self.end()
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
        self.lane_lent = self.sent == self.record && !self.lane.is_empty();
        if self.lane_lent {
            return &self.lane;
        }
        self.begin_long();
        let end = if self.lane.is_empty() {
            self.end()
        } else {
            self.record.saturating_add(self.len_at(self.record))
        };
        self.offered = self.offered.max(end);
        self.arena.get(self.sent..end).unwrap_or_default()
    }

    /// The transport took `n` of the bytes that [`Self::pending`] lent; returns how many of them were the lane's.
    pub(super) fn consume(&mut self, n: usize) -> usize {
        let lane = self.lane.len();
        if self.lane_lent {
            let mut left = n;
            self.lane.retain(|_| match left.checked_sub(1) {
                Some(rest) => {
                    left = rest;
                    false
                }
                None => true,
            });
        } else if self.in_payload() {
            self.consume_staged(n);
        } else {
            self.sent = self.sent.saturating_add(n).min(self.offered);
            self.offered = self.sent;
        }
        lane.saturating_sub(self.lane.len())
    }

    /// Bytes queued in the lane.
    pub(super) fn lane_len(&self) -> usize {
        self.lane.len()
    }

    /// A packet that [`Self::consume`] completed; called until there is none.
    pub(super) fn take_sent(&mut self) -> Option<Sent> {
        let at = self.record;
        let len = self.len_at(at);
        if at >= self.tail.max(self.room) || self.sent < at.saturating_add(len) {
            return None;
        }
        if self.passing.begun {
            if !self.payload_is_sent() {
                return None;
            }
            self.end_long();
        }
        self.record = at.saturating_add(len);
        let (header, body) = self.packet_at(at)?;
        Some(match header.packet_type {
            PacketType::Connect => Sent::Connect,
            PacketType::Disconnect => {
                self.remove(at, len);
                Sent::Disconnect
            }
            _ => match frame::packet_id(&header, body) {
                Some(id) => Sent::Request(id),
                None => {
                    self.remove(at, len);
                    Sent::Publish
                }
            },
        })
    }

    /// Forgets the packet with this id, which has been acknowledged.
    pub(super) fn acknowledge(&mut self, id: PacketId) {
        if let Some(at) = self.find(id) {
            self.dismiss(at);
            self.remove(at, self.len_at(at));
        }
    }

    /// The body of the packet with this id.
    pub(super) fn body_of(&self, id: PacketId) -> Option<&[u8]> {
        self.packet_at(self.find(id)?).map(|(_, body)| body)
    }

    /// Whether the PUBLISH with this id is to go out again and has not begun to.
    pub(super) fn waits_for_resend(&self, id: PacketId) -> bool {
        self.find(id)
            .filter(|at| *at >= self.sent)
            .and_then(|at| self.packet_at(at))
            .is_some_and(|(header, _)| header.flags & frame::DUP != 0)
    }

    /// The connection is gone: keeps the PUBLISHes above QoS 0, from the first of which the next connection begins
    /// \[MQTT-4.4.0-1\], and returns how many at QoS 0 had not left.
    pub(super) fn end_connection(&mut self) -> u16 {
        self.end_long();
        // [MQTT-3.3.1-1] One byte attempted is enough.
        let attempted = self.sent.max(self.offered);
        let mut at = self.head;
        while at < attempted.min(self.tail) {
            self.mark_dup(at);
            at = at.saturating_add(self.len_at(at));
        }

        let mut dropped: u16 = 0;
        at = self.head;
        while at < self.tail {
            let len = self.len_at(at);
            if self.is_kept_publish(at) {
                at = at.saturating_add(len);
                continue;
            }
            if self
                .packet_at(at)
                .is_some_and(|(header, _)| header.packet_type == PacketType::Publish)
            {
                dropped = dropped.saturating_add(1);
            }
            let first = at == self.head;
            self.remove(at, len);
            if first {
                at = self.head;
            }
        }

        self.record = self.head;
        self.sent = self.head;
        self.offered = self.head;
        self.lane.clear();
        self.lane_lent = false;
        dropped
    }

    /// Forgets every packet; the connection is gone.
    pub(super) fn discard(&mut self) {
        self.head = self.room;
        self.tail = self.room;
        self.record = self.room;
        self.sent = self.room;
        self.offered = self.room;
        self.longs = 0;
    }

    /// Each packet that the next connection would send again: its first byte as it would be then, and the rest.
    pub(super) fn kept_publishes(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.packets()
            .filter(|at| self.is_kept_publish(*at))
            .filter_map(|at| {
                let packet = self.arena.get(at..at.saturating_add(self.len_at(at)))?;
                let (first, rest) = packet.split_first()?;
                let first = if self.is_long(at) {
                    long::marked(*first)
                } else {
                    *first
                };
                Some((first | frame::DUP, rest))
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
        self.room = room;
        self.connect = room.saturating_sub(len);
        self.discard();
        let end = room.saturating_add(packets.len());
        if let Some(place) = self.arena.get_mut(room..end)
            && place.len() == packets.len()
        {
            bytes::copy(place, packets);
            self.tail = end;
        }
        let longs = self.packets().filter(|at| self.is_long(*at)).count();
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
        self.arena.len().saturating_sub(DISCONNECT.len())
    }

    fn find(&self, id: PacketId) -> Option<usize> {
        self.packets().find(|at| self.id_at(*at) == Some(id))
    }

    /// Where each packet begins.
    fn packets(&self) -> impl Iterator<Item = usize> {
        self.packets_from(self.head)
    }

    fn packets_from(&self, first: usize) -> impl Iterator<Item = usize> {
        let mut next = first;
        core::iter::from_fn(move || {
            let at = next;
            next = at.saturating_add(self.len_at(at));
            (at < self.tail).then_some(at)
        })
    }

    fn free(&mut self) -> &mut [u8] {
        let limit = self.limit();
        self.arena.get_mut(self.tail..limit).unwrap_or_default()
    }

    /// Cuts out a packet that has left whole or has not begun to. One that is the first, as is usual, costs nothing.
    fn remove(&mut self, at: usize, len: usize) {
        if self.is_long(at) {
            self.longs = self.longs.saturating_sub(1);
        }
        let end = at.saturating_add(len);
        // Before that, the cursor stands in the CONNECT, and packets follow it without a gap.
        if at == self.head && self.record >= at {
            self.head = end;
            for position in [&mut self.record, &mut self.sent, &mut self.offered] {
                *position = end.max(*position);
            }
            return;
        }
        if let Some(rest) = self.arena.get_mut(at..self.tail) {
            bytes::move_down(rest, len);
        }
        for position in [
            &mut self.tail,
            &mut self.record,
            &mut self.sent,
            &mut self.offered,
        ] {
            if *position >= end {
                *position = position.saturating_sub(len);
            }
        }
    }

    /// Moves all packets so that the first begins at `head`, where the caller knows that they fit.
    fn move_to(&mut self, head: usize) {
        let kept = self.tail.saturating_sub(self.head);
        let span = self.head.min(head)..self.head.max(head).saturating_add(kept);
        if let Some(span) = self.arena.get_mut(span) {
            match self.head.checked_sub(head) {
                Some(down) => bytes::move_down(span, down),
                None => bytes::move_up(span, head.saturating_sub(self.head)),
            }
        }
        for position in [
            &mut self.tail,
            &mut self.record,
            &mut self.sent,
            &mut self.offered,
        ] {
            *position = position.saturating_sub(self.head).saturating_add(head);
        }
        self.head = head;
    }

    fn packet_at(&self, at: usize) -> Option<(FixedHeader, &[u8])> {
        let (header, used) = self.header_at(at)?;
        let end = at.saturating_add(self.len_at(at));
        Some((header, self.arena.get(at.saturating_add(used)..end)?))
    }

    fn header_at(&self, at: usize) -> Option<(FixedHeader, usize)> {
        long::fixed_header(self.arena.get(at..self.tail.max(self.room))?)
    }

    /// Length of the packet that begins at `at`, in the arena; never 0, so that every walk ends.
    fn len_at(&self, at: usize) -> usize {
        let Some((header, used)) = self.header_at(at) else {
            return usize::MAX;
        };
        let mut body = frame::body_len(&header);
        if self.is_long(at) {
            let begin = at.saturating_add(used);
            body = frame::publish_part(
                &header,
                self.arena.get(begin..self.tail).unwrap_or_default(),
            );
        }
        used.saturating_add(body)
    }

    fn id_at(&self, at: usize) -> Option<PacketId> {
        self.packet_at(at)
            .and_then(|(header, body)| frame::packet_id(&header, body))
    }

    fn is_kept_publish(&self, at: usize) -> bool {
        self.packet_at(at).is_some_and(|(header, _)| {
            header.packet_type == PacketType::Publish && frame::qos(&header) > QoS::AtMostOnce
        })
    }

    fn mark_dup(&mut self, at: usize) {
        if self.is_kept_publish(at)
            && let Some(first) = self.arena.get_mut(at)
        {
            *first |= frame::DUP;
        }
    }
}

fn no_room(needed: usize, capacity: usize, free: usize) -> RequestError {
    if needed > capacity {
        RequestError::PacketTooLarge { needed, capacity }
    } else {
        RequestError::ArenaFull { needed, free }
    }
}
