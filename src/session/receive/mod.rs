//! Divides received bytes into packets. A PUBLISH that does not fit into the receive buffer is divided into parts.

mod buffer;
mod oversized;

pub(super) use self::oversized::Skipped;
use self::{
    buffer::{ReceiveBuffer, ReceivedPacket},
    oversized::{Mode, Oversized},
};
use super::{error::ProtocolError, raw_packet};
use crate::{
    bytes,
    codec::{DecodeError, FixedHeader, PacketId, PacketType, PublishHeader},
};

/// Divides received bytes into packets. An event borrows from this part of a session, and from no other.
pub(super) struct Receiver<'b> {
    /// Packets stay in the buffer until there is room for their answers.
    pub(super) is_blocked: bool,
    /// [`Self::read_payload`] has copied a part of the payload that the caller was given.
    is_partly_copied: bool,
    oversized: Oversized,
    buffer: ReceiveBuffer<'b>,
    /// Minimum number of bytes that must be received before the next packet is whole.
    bytes_needed: usize,
    /// Unread bytes that the caller was given. The next call releases them.
    borrowed_len: usize,
    /// Number of payload bytes, at the end of the borrowed bytes, that [`Self::read_payload`] has not copied.
    payload_uncopied: usize,
    /// The packet that [`Self::next_frame`] found last.
    packet: ReceivedPacket,
}

/// The packet, or part of a packet, at the start of the unread bytes.
pub(super) enum Frame {
    /// A whole packet, for [`Receiver::body`].
    Packet,
    /// The beginning of a PUBLISH that is larger than the buffer, for [`Receiver::begin_oversized`].
    Oversized,
    /// A part of the payload of such a PUBLISH, for [`Receiver::borrow_chunk`].
    Chunk,
    /// The last part of an oversized PUBLISH was skipped.
    Skipped(Skipped),
}

impl<'b> Receiver<'b> {
    pub(super) const fn new(memory: &'b mut [u8]) -> Self {
        Self {
            is_blocked: false,
            is_partly_copied: false,
            oversized: Oversized::new(),
            buffer: ReceiveBuffer::new(memory),
            bytes_needed: 0,
            borrowed_len: 0,
            payload_uncopied: 0,
            packet: ReceivedPacket {
                header: FixedHeader {
                    packet_type: PacketType::Pingresp,
                    flags: 0,
                    remaining_length: 0,
                },
                header_len: 0,
            },
        }
    }
}

impl Receiver<'_> {
    /// Discards all bytes. Returns `true` if the caller was given chunks of a message, and not the last one.
    pub(super) fn reset(&mut self) -> bool {
        self.release();
        let aborted =
            self.oversized.is_streaming() && self.oversized.remaining < self.payload_len();
        self.oversized = Oversized::new();
        self.buffer.clear();
        self.bytes_needed = 0;
        self.is_blocked = false;
        aborted
    }

    /// Returns the size of the receive buffer in bytes.
    pub(super) const fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Returns `true` if chunks of the current message are announced.
    pub(super) const fn is_streaming(&self) -> bool {
        self.oversized.is_streaming()
    }

    /// Returns the memory for the bytes that are received next. It is empty only while there are unread bytes.
    pub(super) fn space(&mut self) -> &mut [u8] {
        self.buffer.space()
    }

    /// Adds `n` bytes that were received into the space.
    pub(super) fn commit(&mut self, n: usize) {
        self.buffer.commit(n);
        self.bytes_needed = self.bytes_needed.saturating_sub(n);
    }

    /// Returns `true` if the buffer may hold a packet, or a part of one, that was not handled.
    pub(super) fn may_have_packet(&self) -> bool {
        let unread = self.has_unread();
        match self.oversized.mode {
            Mode::Streaming => unread,
            Mode::Whole | Mode::SkippingTopic | Mode::SkippingPayload { .. } | Mode::Discarding => {
                unread && self.bytes_needed == 0
            }
        }
    }

    /// Returns `true` if more bytes must be received before anything can be handled. The caller then borrows no bytes.
    pub(super) const fn awaits_bytes(&self) -> bool {
        self.bytes_needed > 0
    }

    /// Returns `true` if there are bytes that were not handled.
    pub(super) const fn has_unread(&self) -> bool {
        self.buffer.unread_len() > self.borrowed_len
    }

    /// Returns `true` if a packet has begun and is not complete.
    pub(super) const fn is_inside_packet(&self) -> bool {
        self.oversized.is_active() || self.buffer.unread_len() > 0
    }

    /// Returns the packet, or part of one, at the start of the unread bytes; `None` if more bytes must be received
    /// first.
    ///
    /// Call [`Self::release`] first. `is_connected` is `true` if CONNACK was received.
    #[inline(never)]
    pub(super) fn next_frame(
        &mut self,
        is_connected: bool,
    ) -> Result<Option<Frame>, ProtocolError> {
        match self.oversized.mode {
            Mode::Whole => return self.next_packet(is_connected),
            Mode::Streaming => return Ok((self.buffer.unread_len() > 0).then_some(Frame::Chunk)),
            Mode::SkippingTopic => self.oversized.skip_topic(self.packet, &mut self.buffer)?,
            Mode::SkippingPayload { .. } | Mode::Discarding => {}
        }
        let skipped = self.oversized.skip_payload(self.packet, &mut self.buffer);
        self.bytes_needed = usize::from(skipped.is_none());
        Ok(skipped.map(Frame::Skipped))
    }

    /// Returns the header of the packet that [`Self::next_frame`] found.
    pub(super) const fn header(&self) -> FixedHeader {
        self.packet.header
    }

    /// Returns the length of that packet in bytes.
    pub(super) fn packet_len(&self) -> usize {
        self.packet.len()
    }

    /// Returns the body of that packet.
    pub(super) fn body(&self) -> &[u8] {
        self.buffer.body(self.packet)
    }

    /// Discards that packet.
    pub(super) fn discard_packet(&mut self) {
        self.buffer.consume(self.packet.len());
    }

    /// Returns the body of that packet, which stays in the buffer until [`Self::release`].
    pub(super) fn borrow_packet(&mut self) -> &[u8] {
        self.borrowed_len = self.packet.len();
        if self.packet.header.packet_type == PacketType::Publish {
            let before = raw_packet::payload_offset(self.packet.header.flags, self.body());
            self.payload_uncopied = self.packet.header.body_len().saturating_sub(before);
        }
        self.body()
    }

    /// Takes back the bytes that the caller was given. They will be given to the caller again.
    pub(super) const fn return_borrowed(&mut self) {
        self.borrowed_len = 0;
        self.payload_uncopied = 0;
        self.is_partly_copied = false;
    }

    /// Discards the bytes that the caller was given.
    pub(super) fn release(&mut self) {
        if self.borrowed_len == 0 {
            return;
        }
        let len = core::mem::take(&mut self.borrowed_len);
        self.payload_uncopied = 0;
        self.is_partly_copied = false;
        self.buffer.consume(len);
        if self.oversized.is_streaming() {
            self.oversized.advance(len, &mut self.buffer);
        }
    }

    /// Returns the header of the current message, the offset of the received part of its payload, and that part. It
    /// stays in the buffer until [`Self::release`].
    pub(super) fn borrow_chunk(&mut self) -> Option<(PublishHeader<'_>, usize, &[u8])> {
        let len = self.buffer.unread_len().min(self.oversized.remaining);
        self.borrowed_len = len;
        self.payload_uncopied = len;
        // This header was decoded before, at the start of the message.
        let (message, _) =
            PublishHeader::decode_body(&self.packet.header, self.buffer.prefix()).ok()??;
        let offset = message.payload_len.saturating_sub(self.oversized.remaining);
        Some((message, offset, self.buffer.unread().get(..len)?))
    }

    /// Copies payload bytes that the caller was given and that were not copied yet. Returns their number.
    pub(super) fn read_payload(&mut self, to: &mut [u8]) -> usize {
        let start = self.borrowed_len.saturating_sub(self.payload_uncopied);
        let unread = self.buffer.unread();
        let payload = unread.get(start..self.borrowed_len).unwrap_or_default();
        let len = payload.len().min(to.len());
        bytes::copy(to, payload);
        self.payload_uncopied = self.payload_uncopied.saturating_sub(len);
        self.is_partly_copied = self.payload_uncopied > 0;
        len
    }

    /// Returns `true` if [`Self::read_payload`] has copied a part of the payload that the caller was given, and not
    /// all.
    pub(super) const fn is_partly_copied(&self) -> bool {
        self.is_partly_copied
    }

    /// Returns `true` if payload that the caller was given stays until all of it was copied. That is the case if a part
    /// of it was copied, or if it leaves room for received bytes.
    pub(super) const fn keeps_payload(&self) -> bool {
        self.is_partly_copied || (self.payload_uncopied > 0 && self.buffer.has_room())
    }

    /// Returns `true` if the caller was given chunks of a message, and not the last one.
    pub(super) fn is_message_open(&self) -> bool {
        let has_begun = self.borrowed_len > 0 || self.oversized.remaining < self.payload_len();
        self.is_streaming() && self.oversized.remaining > self.borrowed_len && has_begun
    }

    /// Skips the rest of the current message.
    pub(super) fn skip_message(&mut self) {
        self.release();
        self.oversized.skip_rest();
    }

    /// Discards the message whose event was pending, or the rest of that message.
    pub(super) fn discard_message(&mut self) {
        if self.is_streaming() {
            self.release();
            self.oversized.discard_rest();
        } else {
            self.discard_packet();
        }
    }

    /// Begins with a PUBLISH larger than the buffer. Returns `false` if more bytes must be received first.
    ///
    /// It is skipped if `skip` is true, or if it is a QoS 2 message with one of the `delivered` ids.
    pub(super) fn begin_oversized(
        &mut self,
        delivered: &[PacketId],
        skip: bool,
    ) -> Result<bool, DecodeError> {
        let has_begun = self
            .oversized
            .begin(self.packet, &mut self.buffer, delivered)?;
        if skip && self.oversized.is_streaming() {
            self.oversized.skip_rest();
        }
        self.bytes_needed = usize::from(!has_begun);
        Ok(has_begun)
    }

    /// Returns the packet at the start of the unread bytes, if it is complete or oversized.
    fn next_packet(&mut self, is_connected: bool) -> Result<Option<Frame>, ProtocolError> {
        if self.bytes_needed > 0 {
            return Ok(None);
        }
        let unread = self.buffer.unread();
        let Some((header, header_len)) = FixedHeader::decode(unread)? else {
            self.bytes_needed = 1;
            return Ok(None);
        };
        // The type is checked before the rest is received, because there may be no room for it.
        check_allowed(is_connected, header.packet_type)?;
        let [header_len, ..] = header_len.to_le_bytes();
        self.packet = ReceivedPacket { header, header_len };
        let needed = self.packet.len();
        if needed <= unread.len() {
            return Ok(Some(Frame::Packet));
        }
        if needed <= self.buffer.capacity() {
            self.bytes_needed = needed.wrapping_sub(unread.len());
            return Ok(None);
        }
        if header.packet_type != PacketType::Publish {
            return Err(ProtocolError::ReceiveBufferTooSmall { needed });
        }
        Ok(Some(Frame::Oversized))
    }

    /// Returns the length of the payload of the current message, of which chunks are announced.
    fn payload_len(&self) -> usize {
        let body_len = self.packet.header.body_len();
        body_len.wrapping_sub(self.buffer.prefix().len())
    }
}

/// Checks that a server may send a packet of this type.
fn check_allowed(is_connected: bool, packet_type: PacketType) -> Result<(), ProtocolError> {
    match packet_type {
        PacketType::Connack if !is_connected => Ok(()),
        // [MQTT-3.2.0-1] The first packet of the server is CONNACK.
        _ if !is_connected => Err(ProtocolError::BeforeConnack(packet_type)),
        PacketType::Connect
        | PacketType::Connack
        | PacketType::Subscribe
        | PacketType::Unsubscribe
        | PacketType::Pingreq
        | PacketType::Disconnect => Err(ProtocolError::UnexpectedPacket(packet_type)),
        _ => Ok(()),
    }
}

/// Hashes the last packet only inside a packet, where it matters.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for Receiver<'_> {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        let Self {
            is_blocked,
            is_partly_copied,
            oversized,
            buffer,
            bytes_needed,
            borrowed_len,
            payload_uncopied,
            packet,
        } = self;
        (is_blocked, is_partly_copied, oversized, buffer).hash(state);
        (bytes_needed, borrowed_len, payload_uncopied).hash(state);
        if self.is_inside_packet() {
            packet.hash(state);
        }
    }
}
