//! Encoded packets back to back in a buffer, and the positions up to which they were sent.

use super::super::raw_packet::{self, RawPacket};
use crate::{
    bytes::{self, Span},
    codec::{PacketId, wire},
};

/// All packets in the send buffer but the CONNECT.
pub(super) struct Packets<'b> {
    /// The whole send buffer.
    pub(super) bytes: &'b mut [u8],
    pub(super) span: Span,
    /// Start of the packet that is sent at present, or next. It may be the CONNECT.
    pub(super) current: usize,
    /// First byte that the transport has not accepted.
    pub(super) write_pos: usize,
    /// End of the bytes that were provided to the transport. It may have sent them without reporting that.
    pub(super) lent_end: usize,
    /// Only the CONNECT may be sent: after CONNACK, older packets are sent first \[MQTT-4.6.0-1\].
    // In this place, the small fields need no padding.
    pub(super) is_blocked: bool,
    /// The payload of the current packet is streamed, and the packet has the type of a PUBLISH.
    pub(super) is_streaming: bool,
    /// Number of packets with a streamed payload.
    streamed_count: u16,
}

/// A packet that was sent.
pub(in crate::session) enum SentPacket {
    Connect,
    /// A PUBLISH at QoS 0, which was removed \[MQTT-4.3.1-1\].
    Qos0Publish,
    /// A packet that is kept until it is acknowledged.
    Request(PacketId),
    /// A packet that was acknowledged before all of it was sent again.
    AnsweredRequest,
    Disconnect,
}

impl<'b> Packets<'b> {
    #[inline(always)] // into the session, without a copy
    pub(super) fn new(bytes: &'b mut [u8]) -> Self {
        Self {
            bytes,
            span: Span::default(),
            current: 0,
            write_pos: 0,
            lent_end: 0,
            is_blocked: false,
            is_streaming: false,
            streamed_count: 0,
        }
    }
}

/// Finding packets.
impl Packets<'_> {
    /// Returns the packet that begins at `at`.
    #[inline(never)] // called from many places
    pub(super) fn at(&self, at: usize) -> RawPacket {
        let is_streaming = self.is_streaming && at == self.current;
        RawPacket::read(self.bytes, at, is_streaming)
    }

    /// Returns each packet and its start.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, RawPacket)> {
        let mut next = self.span.start;
        core::iter::from_fn(move || {
            let at = next;
            let packet = self.at(at);
            next = packet.end;
            (at < self.span.end).then_some((at, packet))
        })
    }

    /// Returns the start of the packet with this id.
    pub(super) fn find(&self, id: PacketId) -> Option<usize> {
        self.first(self.span.start, |packet| packet.id(self.bytes) == Some(id))
    }

    /// Returns the start of the next packet with a streamed payload, from the current one on.
    pub(super) fn next_streamed(&self) -> Option<usize> {
        if self.streamed_count == 0 {
            return None;
        }
        self.first(self.current, |packet| packet.is_streamed)
    }

    /// Returns the start of the first PUBLISH at QoS 1 or 2, from the packet at `at` on.
    #[inline(never)] // called from three places
    pub(super) fn first_kept(&self, at: usize) -> Option<usize> {
        self.first(at, RawPacket::is_kept_publish)
    }

    /// Returns the start of the first packet, from the one at `at` on, that matches.
    fn first(&self, mut at: usize, matches: impl Fn(&RawPacket) -> bool) -> Option<usize> {
        while at < self.span.end {
            let packet = self.at(at);
            if matches(&packet) {
                return Some(at);
            }
            at = packet.end;
        }
        None
    }

    /// Returns the packets that the next connection would send again: the first byte as it would be sent, and the
    /// rest.
    pub(super) fn kept_publishes(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.iter()
            .filter(|(_, packet)| packet.is_kept_publish())
            .filter_map(|(at, packet)| {
                let (first, rest) = self.bytes.get(at..packet.end)?.split_first()?;
                let first = if packet.is_streamed {
                    raw_packet::with_type(*first, raw_packet::STREAMED_TYPE)
                } else {
                    *first
                };
                Some((first | wire::DUP, rest))
            })
    }
}

/// Changing packets.
impl Packets<'_> {
    /// Marks the packet at `at` as one with a streamed payload.
    pub(super) fn mark_streamed(&mut self, at: usize) {
        self.set_type(at, raw_packet::STREAMED_TYPE);
        self.streamed_count = self.streamed_count.saturating_add(1);
    }

    /// Gives the current packet, whose payload is streamed, the type of a PUBLISH.
    pub(super) fn start_streaming(&mut self) {
        self.set_type(self.current, wire::PUBLISH);
        self.is_streaming = true;
    }

    /// Marks the current packet as one with a streamed payload again.
    pub(super) fn end_streaming(&mut self) {
        if core::mem::take(&mut self.is_streaming) {
            self.set_type(self.current, raw_packet::STREAMED_TYPE);
        }
    }

    fn set_type(&mut self, at: usize, packet_type: u8) {
        if let Some(first) = self.bytes.get_mut(at) {
            *first = raw_packet::with_type(*first, packet_type);
        }
    }

    /// Inserts a DISCONNECT at the end, or before the first payload without a source. The caller has checked that it
    /// fits.
    pub(super) fn insert_disconnect(&mut self) {
        let packet = wire::DISCONNECT_PACKET;
        let at = self.next_streamed().unwrap_or(self.span.end);
        let after = at.wrapping_add(packet.len());
        let len = self.span.end.wrapping_sub(at);
        bytes::move_within(self.bytes, at, after, len);
        if let Some(place) = self.bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *place = packet;
            self.span.end = self.span.end.wrapping_add(packet.len());
        }
    }

    /// Removes this packet, which begins at `at` and is not partly sent. Usually it is the first packet, and no byte is
    /// moved.
    pub(super) fn remove(&mut self, at: usize, packet: RawPacket) {
        let end = packet.end;
        if packet.is_streamed {
            self.streamed_count = self.streamed_count.wrapping_sub(1);
        }
        // While the CONNECT is sent, the packets must follow it without a gap.
        if at == self.span.start && self.current >= at {
            self.span.start = end;
            self.move_cursors(|position| position.max(end));
            return;
        }
        bytes::move_within(self.bytes, end, at, self.span.end.wrapping_sub(end));
        let len = end.wrapping_sub(at);
        self.move_cursors(|position| match position.checked_sub(len) {
            Some(moved) if position >= end => moved,
            _ => position.min(at),
        });
    }

    /// Moves all packets to `start`. The caller has checked that they fit.
    pub(super) fn move_to(&mut self, start: usize) {
        let from = self.span.start;
        bytes::move_within(self.bytes, from, start, self.span.len());
        self.move_cursors(|position| position.wrapping_sub(from).wrapping_add(start));
        self.span.start = start;
    }

    fn move_cursors(&mut self, moved: impl Fn(usize) -> usize) {
        self.span.end = moved(self.span.end);
        self.current = moved(self.current);
        self.write_pos = moved(self.write_pos);
        self.lent_end = moved(self.lent_end);
    }

    /// Continues with the packet at `at`, which is sent next.
    pub(super) fn rewind(&mut self, at: usize) {
        self.current = at;
        self.write_pos = at;
        self.lent_end = at;
    }

    /// Removes all packets. Packets will begin at `start`.
    pub(super) fn clear(&mut self, start: usize) {
        self.span = Span::at(start, 0);
        self.streamed_count = 0;
    }

    /// Adds these packets to an empty buffer. The caller has checked that there is room.
    pub(super) fn restore(&mut self, packets: &[u8]) {
        let start = self.span.start;
        let end = start.saturating_add(packets.len());
        if let Some(place) = self.bytes.get_mut(start..end)
            && place.len() == packets.len()
        {
            bytes::copy(place, packets);
            self.span.end = end;
        }
        let streamed = self.iter().filter(|(_, packet)| packet.is_streamed);
        self.streamed_count = u16::try_from(streamed.count()).unwrap_or(u16::MAX);
    }
}

/// Hashes all but the bytes that belong to no packet.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for Packets<'_> {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        let Self {
            bytes,
            span,
            current,
            write_pos,
            lent_end,
            is_blocked,
            is_streaming,
            streamed_count,
        } = self;
        (span, current, write_pos, lent_end).hash(state);
        (is_blocked, is_streaming, streamed_count, bytes.len()).hash(state);
        span.of(bytes).hash(state);
    }
}
