//! The send buffer: encoded packets that are sent, and sent again if necessary.
//!
//! ```text
//! 0        connect             packets   current            write_pos        packets   len - 2
//!          .start              .start                                        .end
//! | unused | CONNECT           | kept    | partly sent packet       | queued | free    | room for DISCONNECT |
//! ```
//!
//! After the room for DISCONNECT follows the room for a SUBSCRIBE of the standing subscriptions, if there are any.
//!
//! Packets lie back to back in the order in which they were queued. A PUBLISH at QoS 0 and a DISCONNECT are removed
//! after they were sent. Packets with a packet id stay until they are acknowledged. Only the CONNECT uses the room at
//! the front, so that a client with a full buffer can reconnect. The last CONNECT stays there, because the session
//! belongs to its client id.

use super::{
    super::{error::RequestError, raw_packet},
    packets::{Packets, SentPacket},
    streamed::{Abandoned, Streamed},
};
use crate::{
    bytes::{self, OPTIMIZE_FOR_SPEED, Span},
    codec::{Connect, EncodeError, FixedHeader, PacketId, QoS, wire},
};

/// Writes a packet with this id, up to its payload, and returns the number of bytes.
// A callback, because an enum of requests links SUBSCRIBE and UNSUBSCRIBE into programs that only publish: 256 bytes on
// thumbv6m.
pub(in crate::session) type Encode<'a> =
    dyn Fn(PacketId, &mut [u8]) -> Result<usize, EncodeError> + 'a;

/// Encoded packets, and the positions up to which they were sent.
pub(in crate::session) struct SendBuffer<'b> {
    packets: Packets<'b>,
    /// The last CONNECT.
    connect: Span,
    /// Bytes at the end for the SUBSCRIBE of the standing subscriptions.
    reserved: usize,
    /// A PUBLISH at QoS 1 or 2 is sent only after all before it were acknowledged.
    one_by_one: bool,
    streamed: Streamed,
}

impl<'b> SendBuffer<'b> {
    #[inline(always)] // into the session, without a copy
    pub(super) fn new(bytes: &'b mut [u8]) -> Self {
        Self {
            packets: Packets::new(bytes),
            connect: Span::default(),
            reserved: 0,
            one_by_one: false,
            streamed: Streamed::default(),
        }
    }
}

/// Queueing packets.
impl SendBuffer<'_> {
    /// Checks that a CONNECT of `len` bytes fits. If `keep` is `true`, the other packets must stay.
    #[inline(always)] // two calls, each with an error to copy, cost more
    pub(in crate::session) fn check_connect_fits(
        &self,
        len: usize,
        keep: bool,
    ) -> Result<(), RequestError> {
        let kept = if keep { self.packets.span.len() } else { 0 };
        let limit = self.limit();
        if self.connect.end.max(len).saturating_add(kept) > limit {
            let (needed, capacity) = (len, limit);
            return Err(if needed > capacity {
                RequestError::PacketTooLarge { needed, capacity }
            } else {
                let free = limit.saturating_sub(kept);
                RequestError::NoRoomForConnect { needed, free }
            });
        }
        Ok(())
    }

    /// Writes a CONNECT before all other packets \[MQTT-3.1.0-1\]. The caller has checked that it
    /// [fits](Self::check_connect_fits).
    pub(super) fn push_connect(&mut self, connect: &Connect<'_>, header: FixedHeader) {
        let len = header.packet_len();
        let end = self.connect.end.max(len);
        self.packets.move_to(end);
        let start = end.saturating_sub(len);
        self.connect = Span { start, end };
        if let Some(place) = self.packets.bytes.get_mut(start..end) {
            let _ = connect.write(header, place);
        }
        self.packets.rewind(start);
        self.packets.is_blocked = self.packets.span.start < self.packets.span.end;
    }

    /// Queues a packet and its payload, which is streamed if it is `None`. Encodes the packet again if it fits only
    /// after the free bytes were joined.
    #[inline(always)] // called in one place, and this saves stack
    pub(super) fn push(
        &mut self,
        id: PacketId,
        encode: &Encode<'_>,
        payload: Option<&[u8]>,
    ) -> Result<(), RequestError> {
        let is_streamed = payload.is_none();
        if is_streamed && self.packets.next_streamed().is_some() {
            return Err(RequestError::PayloadPending);
        }
        let payload = payload.unwrap_or_default();
        let mut is_joined = !self.is_connect_sent();
        loop {
            let free = self.free();
            let before = match encode(id, free) {
                Ok(before) | Err(EncodeError::BufferTooSmall { needed: before }) => before,
                Err(error) => return Err(error.into()),
            };
            let needed = before.saturating_add(payload.len());
            if let Some(place) = free.get_mut(before..needed) {
                bytes::copy(place, payload);
                let start = self.packets.span.end;
                self.packets.span.end = start.wrapping_add(needed);
                if is_streamed {
                    self.packets.mark_streamed(start);
                    self.streamed.has_source = true;
                }
                return Ok(());
            }
            if is_joined {
                let capacity = self.limit().saturating_sub(self.connect.end);
                return Err(if needed > capacity {
                    RequestError::PacketTooLarge { needed, capacity }
                } else {
                    let free = self.free().len();
                    RequestError::SendBufferFull { needed, free }
                });
            }
            self.packets.move_to(self.connect.end);
            is_joined = true;
        }
    }

    /// Queues a DISCONNECT, for which there is always room. It is queued after all packets, but before one whose
    /// payload the caller may never provide. The caller has checked that no payload is being provided.
    pub(super) fn push_disconnect(&mut self) {
        self.packets.insert_disconnect();
    }
}

/// Sending packets.
impl SendBuffer<'_> {
    /// Allows only the CONNECT to be sent, or all packets.
    pub(super) fn set_blocked(&mut self, is_blocked: bool) {
        self.packets.is_blocked = is_blocked;
    }

    /// Sends PUBLISHes at QoS 1 and 2 one by one, or all at once.
    pub(super) fn set_one_by_one(&mut self, one_by_one: bool) {
        self.one_by_one = one_by_one;
    }

    /// Returns the first PUBLISH at QoS 1 or 2 of which a byte was offered to the transport on this connection. The
    /// first `bool` is `true` if that was also done on an earlier connection, the second if there are more such
    /// PUBLISHes.
    pub(super) fn attempted(&self) -> (Option<(PacketId, QoS, bool)>, bool) {
        let end = self.packets.write_pos.max(self.packets.lent_end);
        let Some(at) = self.packets.first_kept(self.packets.span.start) else {
            return (None, false);
        };
        if at >= end {
            return (None, false);
        }
        let packet = self.packets.at(at);
        let first = packet
            .id(self.packets.bytes)
            .map(|id| (id, packet.qos(), packet.is_dup()));
        let next = self.packets.first_kept(packet.end);
        (first, next.is_some_and(|at| at < end))
    }

    /// Returns `true` if packets wait for CONNACK.
    pub(in crate::session) fn waits_for_connack(&self) -> bool {
        self.packets.is_blocked && self.packets.span.end > self.connect.end
    }

    /// Returns `true` if the transport accepted the whole CONNECT.
    pub(in crate::session) fn is_connect_sent(&self) -> bool {
        self.packets.current >= self.connect.end
    }

    /// Returns `true` if the transport accepted the whole CONNECT, or may have accepted it without reporting it.
    pub(in crate::session) fn may_connect_be_sent(&self) -> bool {
        self.packets.lent_end.max(self.packets.write_pos) >= self.connect.end
    }

    /// Returns `true` if nothing can be sent at present.
    pub(super) fn is_empty(&self) -> bool {
        (OPTIMIZE_FOR_SPEED && self.is_all_sent()) || !self.has_sendable()
    }

    /// Returns `true` if a part of a packet that was not sent can be sent at present.
    fn has_sendable(&self) -> bool {
        if self.is_in_payload() {
            !self.streamed.staged.is_empty()
        } else {
            self.packets.write_pos < self.sendable_end()
        }
    }

    /// Returns `true` if each queued packet was sent, with its payload.
    fn is_all_sent(&self) -> bool {
        !self.packets.is_streaming
            && self.packets.write_pos >= self.packets.span.end.max(self.connect.end)
    }

    /// Returns `true` if no packet is partly sent.
    pub(super) fn is_between_packets(&self) -> bool {
        self.packets.write_pos == self.packets.current
    }

    /// Returns the bytes to send next: all that may be sent at present. If `current_only` is `true`, returns only those
    /// of the current packet.
    pub(super) fn lend(&mut self, current_only: bool) -> &[u8] {
        if self.is_in_payload() {
            return self.streamed.staged.of(self.packets.bytes);
        }
        self.start_streamed();
        let end = if current_only {
            self.packets.at(self.packets.current).end
        } else {
            self.sendable_end()
        };
        self.packets.lent_end = self.packets.lent_end.max(end);
        self.packets
            .bytes
            .get(self.packets.write_pos..end)
            .unwrap_or_default()
    }

    /// Counts `n` bytes that the transport accepted.
    pub(super) fn consume(&mut self, n: usize) {
        if self.is_in_payload() {
            self.streamed.consume_staged(n);
        } else {
            self.packets.write_pos = self
                .packets
                .write_pos
                .saturating_add(n)
                .min(self.packets.lent_end);
            self.packets.lent_end = self.packets.write_pos;
        }
    }

    /// Returns the next packet that the transport accepted whole, if there is one.
    pub(super) fn next_sent_packet(&mut self) -> Option<SentPacket> {
        let at = self.packets.current;
        if at >= self.packets.span.end.max(self.connect.end) {
            return None;
        }
        let packet = self.packets.at(at);
        if self.packets.write_pos < packet.end
            || (self.packets.is_streaming && !self.streamed.is_sent())
        {
            return None;
        }
        if self.packets.is_streaming {
            self.end_streamed();
        }
        self.packets.current = packet.end;
        let id = packet.id(self.packets.bytes);
        packet.log_sent(at, id);
        if let Some(id) = id {
            return Some(SentPacket::Request(id));
        }
        if packet.is_connect() {
            return Some(SentPacket::Connect);
        }
        let sent = if packet.is_publish() {
            SentPacket::Qos0Publish
        } else {
            SentPacket::Disconnect
        };
        self.packets.remove(at, packet);
        Some(sent)
    }

    /// Removes the packet with this id, which was acknowledged.
    pub(super) fn acknowledge(&mut self, id: PacketId) {
        let Some(at) = self.packets.find(id) else {
            return;
        };
        // If no byte of the packet was sent again, its payload is not needed any more.
        if self.packets.write_pos <= at && self.packets.next_streamed() == Some(at) {
            self.end_streamed();
        }
        let packet = self.packets.at(at);
        self.packets.remove(at, packet);
    }

    /// Returns the body of the packet with this id.
    pub(in crate::session) fn body_of(&self, id: PacketId) -> Option<&[u8]> {
        let packet = self.packets.at(self.packets.find(id)?);
        self.packets.bytes.get(packet.body..packet.end)
    }

    /// Returns `true` if the PUBLISH with this id was sent, at least in part, on an earlier connection.
    pub(in crate::session) fn is_resend(&self, id: PacketId) -> bool {
        let at = self.packets.find(id);
        at.is_some_and(|at| self.packets.at(at).is_dup())
    }

    /// Returns `true` if the packet with this id is being sent.
    pub(in crate::session) fn is_partly_sent(&self, id: PacketId) -> bool {
        let at = self.packets.find(id);
        at == Some(self.packets.current) && !self.is_between_packets()
    }

    /// Keeps the PUBLISHes at QoS 1 and 2 for the next connection \[MQTT-4.4.0-1\], and removes the other packets.
    /// Returns the number of PUBLISHes at QoS 0 that were not sent, and `true` if a kept one was
    /// [attempted](Self::attempted).
    pub(super) fn end_connection(&mut self) -> (u16, bool) {
        self.end_streamed();
        let mut dropped: u16 = 0;
        let mut has_attempted = false;
        let mut at = self.packets.span.start;
        while at < self.packets.span.end {
            let packet = self.packets.at(at);
            if packet.is_kept_publish() {
                // [MQTT-3.3.1-1] DUP is set as soon as one byte may have been sent.
                if at < self.packets.write_pos.max(self.packets.lent_end)
                    && let Some(first) = self.packets.bytes.get_mut(at)
                {
                    *first |= wire::DUP;
                    has_attempted = true;
                }
                at = packet.end;
                continue;
            }
            if packet.is_publish() {
                dropped = dropped.saturating_add(1);
            }
            let is_first = at == self.packets.span.start;
            self.packets.remove(at, packet);
            if is_first {
                at = self.packets.span.start;
            }
        }
        // The next connection begins with the first packet.
        self.packets.rewind(self.packets.span.start);
        (dropped, has_attempted)
    }

    /// Removes every packet, and reserves `connect_end` bytes for the CONNECT. There is no connection.
    pub(super) fn discard(&mut self, connect_end: usize) {
        self.connect.end = connect_end;
        self.packets.clear(connect_end);
        self.packets.rewind(connect_end);
    }

    /// Returns the end of the bytes that may be sent at present. The start of a packet with a streamed payload is a
    /// limit, until it is the current one and has a source. Then the start of its payload is the limit.
    fn sendable_end(&self) -> usize {
        if self.packets.is_blocked {
            return self.connect.end;
        }
        let end = match self.packets.next_streamed() {
            None => self.packets.span.end.max(self.connect.end),
            Some(at) if at == self.packets.current && self.streamed.has_source => {
                self.packets.at(at).end
            }
            Some(at) => at,
        };
        if self.one_by_one {
            end.min(self.one_by_one_end())
        } else {
            end
        }
    }

    /// Returns the limit for sending one by one. A partly sent packet is completed. While a packet is unacknowledged,
    /// no other is sent. Otherwise, the first PUBLISH at QoS 1 or 2 is sent, and all packets before it.
    fn one_by_one_end(&self) -> usize {
        let current = self.packets.current;
        if !self.is_between_packets() {
            return self.packets.at(current).end;
        }
        if self.packets.span.start < current {
            return current;
        }
        let first = self.packets.first_kept(self.packets.span.start);
        first.map_or(usize::MAX, |at| self.packets.at(at).end)
    }
}

/// Streamed payloads.
impl SendBuffer<'_> {
    /// Returns the id of the PUBLISH whose payload must be provided before anything else can be sent, unless it has a
    /// source.
    pub(in crate::session) fn payload_needed(&self) -> Option<PacketId> {
        let at = self
            .packets
            .next_streamed()
            .filter(|at| *at == self.packets.write_pos)?;
        let waits = self.one_by_one && at >= self.one_by_one_end();
        if self.streamed.has_source || waits {
            None
        } else {
            self.packets.at(at).id(self.packets.bytes)
        }
    }

    /// Returns `true` if a payload without a source must be provided before the last packet can be sent.
    pub(in crate::session) fn is_blocked_by_payload(&self) -> bool {
        self.packets.next_streamed().is_some() && !self.streamed.has_source
    }

    /// Accepts a source for the [payload needed](Self::payload_needed), of `len` bytes.
    pub(super) fn accept_source(&mut self, id: PacketId, len: usize) -> Result<(), RequestError> {
        if self.payload_needed() != Some(id) {
            return Err(RequestError::PayloadNotNeeded);
        }
        let expected = self.packets.at(self.packets.current).streamed_len;
        if expected != len {
            return Err(RequestError::PayloadLength { expected });
        }
        self.streamed.has_source = true;
        self.streamed.is_resend = true;
        Ok(())
    }

    /// Returns `true` if a payload is being provided: its packet is not sent whole.
    pub(in crate::session) fn has_source(&self) -> bool {
        self.streamed.has_source
    }

    /// Returns `true` if payload bytes are next in the byte stream.
    pub(in crate::session) fn is_in_payload(&self) -> bool {
        self.packets.is_streaming
            && self.packets.write_pos >= self.packets.at(self.packets.current).end
    }

    /// Returns the number of payload bytes that the caller must provide now.
    pub(in crate::session) fn payload_missing(&self) -> usize {
        if self.is_in_payload() {
            self.streamed.missing()
        } else {
            0
        }
    }

    /// Counts `n` payload bytes that the transport accepted from the memory of the caller.
    pub(in crate::session) fn payload_sent(&mut self, n: usize) {
        self.streamed.consume(n);
    }

    /// Returns at most `max` bytes for payload, from the end of the free memory. Returns none until the staged bytes
    /// were sent. Packets can still be queued before them.
    pub(in crate::session) fn payload_space(&mut self, max: usize) -> &mut [u8] {
        let missing = self.payload_missing();
        if !self.streamed.staged.is_empty() {
            return &mut [];
        }
        let end = self.end();
        let free = end.saturating_sub(self.packets.span.end);
        let start = end.saturating_sub(free.min(missing).min(max));
        self.streamed.staged = Span { start, end: start };
        self.packets.bytes.get_mut(start..end).unwrap_or_default()
    }

    /// Returns `true` if no payload is staged.
    pub(in crate::session) fn can_stage(&self) -> bool {
        self.streamed.staged.is_empty()
    }

    /// Stages the first `n` bytes of the [payload space](Self::payload_space) that was returned last.
    pub(in crate::session) fn payload_commit(&mut self, n: usize) {
        let start = self.streamed.staged.start;
        // A packet that was queued since the call may have taken the space.
        if start >= self.packets.span.end {
            let space = self.end().saturating_sub(start);
            self.streamed.staged = Span::at(start, n.min(space).min(self.payload_missing()));
        }
    }

    /// Abandons the payload that is being provided.
    pub(super) fn abandon(&mut self) -> Abandoned {
        let Some(at) = self.packets.next_streamed() else {
            return Abandoned::Postponed;
        };
        if self.packets.write_pos > at {
            return Abandoned::PartlySent;
        }
        let is_resend = self.streamed.is_resend;
        self.end_streamed();
        if is_resend {
            return Abandoned::Postponed;
        }
        let packet = self.packets.at(at);
        let id = packet.id(self.packets.bytes);
        self.packets.remove(at, packet);
        Abandoned::Withdrawn(id)
    }

    /// Removes the PUBLISH with this id. Returns `true` if it was sent, at least in part, on this connection or an
    /// earlier one. It stays while it is being sent, and if it was sent on a connection that the server has not
    /// accepted.
    pub(super) fn discard_publish(
        &mut self,
        id: PacketId,
        before_connack: bool,
    ) -> Result<bool, RequestError> {
        let Some(at) = self.packets.find(id) else {
            return Err(RequestError::NotKept);
        };
        let packet = self.packets.at(at);
        if !packet.is_kept_publish() {
            return Err(RequestError::NotKept);
        }
        let is_next_payload = self.streamed.has_source && self.packets.next_streamed() == Some(at);
        let offered = self.packets.write_pos.max(self.packets.lent_end);
        let is_sent = at < self.packets.current;
        if is_next_payload || (at < offered && (before_connack || !is_sent)) {
            return Err(RequestError::PartlySent);
        }
        let was_sent = is_sent || packet.is_dup();
        self.packets.remove(at, packet);
        Ok(was_sent)
    }

    /// Starts to send the current packet, if its payload is streamed and has a source.
    fn start_streamed(&mut self) {
        let packet = self.packets.at(self.packets.current);
        let can_start = self.streamed.has_source && !self.packets.is_streaming;
        if can_start && self.is_between_packets() && packet.is_streamed {
            self.streamed.start(packet.streamed_len);
            self.packets.start_streaming();
        }
    }

    /// Ends the payload, sent or not.
    fn end_streamed(&mut self) {
        self.packets.end_streaming();
        self.streamed = Streamed::default();
    }
}

/// Saving and restoring.
impl SendBuffer<'_> {
    /// Returns the client id of the last CONNECT, or `None` before the first.
    pub(in crate::session) fn client_id(&self) -> Option<&[u8]> {
        let body = self.packets.at(self.connect.start).body;
        raw_packet::client_id(self.packets.bytes.get(body..self.connect.end)?)
    }

    /// Returns `true` if a CONNECT was written before.
    pub(in crate::session) fn has_connect(&self) -> bool {
        self.connect.end > 0
    }

    /// Returns the size of the room for the CONNECT, in bytes.
    pub(in crate::session) fn connect_room(&self) -> usize {
        self.connect.end
    }

    /// Returns the packets that the next connection would send again: the first byte as it would be sent, and the
    /// rest.
    pub(in crate::session) fn kept_publishes(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.packets.kept_publishes()
    }

    /// Returns `true` if there is room for a CONNECT and other packets of these sizes.
    pub(in crate::session) fn can_restore(&self, connect_room: usize, packets: usize) -> bool {
        connect_room.saturating_add(packets) <= self.limit()
    }

    /// Replaces all packets by those of a saved session, which [fit](Self::can_restore). `connect` writes a CONNECT
    /// to the end of its room and returns its length.
    pub(in crate::session) fn restore(
        &mut self,
        connect_room: usize,
        packets: &[u8],
        connect: impl FnOnce(&mut [u8]) -> usize,
    ) {
        let len = connect(
            self.packets
                .bytes
                .get_mut(..connect_room)
                .unwrap_or_default(),
        );
        self.connect.start = connect_room.saturating_sub(len);
        self.discard(connect_room);
        self.packets.restore(packets);
    }
}

/// Room and positions.
impl SendBuffer<'_> {
    /// Returns the end of the bytes for packets other than DISCONNECT, for which there is always room.
    fn limit(&self) -> usize {
        self.end().saturating_sub(wire::DISCONNECT_PACKET.len())
    }

    /// Returns the end of the bytes for packets other than the SUBSCRIBE of the standing subscriptions.
    const fn end(&self) -> usize {
        self.packets.bytes.len().wrapping_sub(self.reserved)
    }

    /// Returns the length of the longest packet for which there can be room.
    #[cfg(feature = "async")]
    pub(in crate::session) fn packet_capacity(&self) -> usize {
        self.limit().saturating_sub(self.connect.end)
    }

    /// Returns `true` if a PUBLISH at QoS 0 is queued that was not sent whole.
    #[cfg(feature = "async")]
    pub(in crate::session) fn has_qos0_publish(&self) -> bool {
        self.packets
            .iter()
            .any(|(_, packet)| packet.is_publish() && !packet.is_kept_publish())
    }

    /// Returns the size of the send buffer in bytes.
    pub(super) const fn capacity(&self) -> usize {
        self.packets.bytes.len()
    }

    /// Reserves `len` bytes for the SUBSCRIBE of the standing subscriptions. There is no connection.
    pub(super) fn reserve(&mut self, len: usize) -> Result<(), RequestError> {
        self.packets.move_to(self.connect.end);
        self.packets.rewind(self.connect.end);
        let disconnect = wire::DISCONNECT_PACKET.len();
        let capacity = self.capacity().saturating_sub(disconnect);
        let free = capacity.saturating_sub(self.packets.span.end);
        let needed = len;
        if needed > capacity {
            return Err(RequestError::PacketTooLarge { needed, capacity });
        }
        if needed > free {
            return Err(RequestError::SendBufferFull { needed, free });
        }
        self.reserved = len;
        Ok(())
    }

    /// Returns the bytes that were [reserved](Self::reserve).
    pub(super) fn reserved(&mut self) -> &mut [u8] {
        let end = self.end();
        self.packets.bytes.get_mut(end..).unwrap_or_default()
    }

    fn free(&mut self) -> &mut [u8] {
        let mut limit = self.limit();
        if !self.streamed.staged.is_empty() {
            limit = limit.min(self.streamed.staged.start);
        }
        let span = self.packets.span.end..limit;
        self.packets.bytes.get_mut(span).unwrap_or_default()
    }
}

/// Hashes all but the bytes that belong to no packet.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for SendBuffer<'_> {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        let Self {
            packets,
            connect,
            reserved,
            one_by_one,
            streamed,
        } = self;
        (packets, connect, reserved, one_by_one, streamed).hash(state);
        connect.of(packets.bytes).hash(state);
        streamed.staged.of(packets.bytes).hash(state);
    }
}
