//! A PUBLISH that is larger than the receive buffer: its payload is received in parts, or skipped.

use super::buffer::{ReceiveBuffer, ReceivedPacket};
use crate::{
    codec::{DecodeError, Delivery, PacketId, PublishHeader, QoS, TopicError},
    session::raw_packet,
};

/// The rest of an oversized PUBLISH, which must still be received.
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) struct Oversized {
    pub(super) mode: Mode,
    /// Number of bytes that were not handled yet: of the payload or, while a topic is skipped, of everything after the
    /// topic length.
    pub(super) remaining: usize,
}

#[derive(Clone, Copy)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) enum Mode {
    /// No oversized PUBLISH: packets are received whole.
    Whole,
    /// The payload is announced in chunks.
    Streaming,
    /// The topic does not fit and is skipped. Its packet id, if any, and the payload follow.
    SkippingTopic,
    /// The payload is skipped: the message is a repetition, the caller has skipped the rest, or the topic did not fit.
    SkippingPayload { topic_fits: bool },
    /// The payload is skipped, and the message is not acknowledged: the caller could not handle it.
    Discarding,
}

/// An oversized PUBLISH whose last bytes were skipped.
pub(in crate::session) struct Skipped {
    /// The packet id to acknowledge; `None` at QoS 0, and if the message was discarded.
    pub(in crate::session) id: Option<PacketId>,
    /// The length of its topic in bytes, if that did not fit.
    pub(in crate::session) too_long: Option<u16>,
}

impl Oversized {
    pub(super) const fn new() -> Self {
        Self {
            mode: Mode::Whole,
            remaining: 0,
        }
    }

    /// Returns `true` if part of an oversized PUBLISH is still to be received.
    pub(super) const fn is_active(&self) -> bool {
        !matches!(self.mode, Mode::Whole)
    }

    pub(super) const fn is_streaming(&self) -> bool {
        matches!(self.mode, Mode::Streaming)
    }

    /// Begins with the packet at the start of the unread bytes. Returns `false` if more bytes must be received first.
    ///
    /// A QoS 2 message with one of the `delivered` ids is skipped.
    #[inline(never)]
    pub(super) fn begin(
        &mut self,
        packet: ReceivedPacket,
        buffer: &mut ReceiveBuffer<'_>,
        delivered: &[PacketId],
    ) -> Result<bool, DecodeError> {
        let ReceivedPacket { header, header_len } = packet;
        let header_len = usize::from(header_len);
        let body = buffer.unread().get(header_len..).unwrap_or_default();
        let body_len = header.body_len();
        if body.len() < 2 {
            return Ok(false);
        }
        let part = raw_packet::payload_offset(header.flags, body);
        if header_len.saturating_add(part) > buffer.capacity() {
            // This is checked before the whole packet was received.
            if part > body_len {
                return Err(DecodeError::Truncated);
            }
            self.remaining = body_len.saturating_sub(2);
            self.mode = Mode::SkippingTopic;
            buffer.keep_prefix(header_len, 2);
        } else if let Some((message, part)) = PublishHeader::decode_body(&header, body)? {
            self.mode = match message.delivery {
                Delivery::ExactlyOnce { packet_id, .. } if delivered.contains(&packet_id) => {
                    Mode::SkippingPayload { topic_fits: true }
                }
                _ => Mode::Streaming,
            };
            self.remaining = body_len.saturating_sub(part);
            // Discarding the fixed header makes room for payload.
            buffer.keep_prefix(header_len, part);
        }
        Ok(self.is_active())
    }

    /// Counts `len` bytes of the payload that the caller was given.
    pub(super) const fn advance(&mut self, len: usize, buffer: &mut ReceiveBuffer<'_>) {
        self.remaining = self.remaining.saturating_sub(len);
        if self.remaining == 0 {
            self.end(buffer);
        }
    }

    /// Skips the rest of the payload.
    pub(super) const fn skip_rest(&mut self) {
        self.mode = Mode::SkippingPayload { topic_fits: true };
    }

    /// Skips the rest of the payload. The message is not acknowledged.
    pub(super) const fn discard_rest(&mut self) {
        self.mode = Mode::Discarding;
    }

    /// Skips the received part of the topic. The packet id after it becomes part of the prefix.
    #[inline(never)]
    pub(super) fn skip_topic(
        &mut self,
        packet: ReceivedPacket,
        buffer: &mut ReceiveBuffer<'_>,
    ) -> Result<(), DecodeError> {
        let topic_len = topic_len(buffer);
        let unread = self.topic_remaining(packet, topic_len);
        check_topic(buffer.unread(), usize::from(topic_len), unread)?;
        self.skip(unread, buffer);
        let id_len = match packet.header.qos() {
            QoS::AtMostOnce => 0,
            QoS::AtLeastOnce | QoS::ExactlyOnce => 2,
        };
        if self.topic_remaining(packet, topic_len) > 0 || buffer.unread_len() < id_len {
            return Ok(());
        }
        buffer.extend_prefix(id_len);
        self.remaining = self.remaining.wrapping_sub(id_len);
        self.mode = Mode::SkippingPayload { topic_fits: false };
        if id_len > 0 && packet_id(packet, buffer).is_none() {
            return Err(DecodeError::PacketIdZero);
        }
        Ok(())
    }

    /// Skips the received part of the payload. With its last byte, the message is complete.
    #[inline(always)] // smaller than two calls
    pub(super) fn skip_payload(
        &mut self,
        packet: ReceivedPacket,
        buffer: &mut ReceiveBuffer<'_>,
    ) -> Option<Skipped> {
        let (topic_fits, is_discarded) = match self.mode {
            Mode::SkippingPayload { topic_fits } => (topic_fits, false),
            Mode::Discarding => (true, true),
            Mode::Whole | Mode::Streaming | Mode::SkippingTopic => return None,
        };
        self.skip(self.remaining, buffer);
        if self.remaining > 0 {
            return None;
        }
        let id = packet_id(packet, buffer).filter(|_| !is_discarded);
        let too_long = (!topic_fits).then(|| topic_len(buffer));
        self.end(buffer);
        Some(Skipped { id, too_long })
    }

    /// Skips `len` bytes, or as many as were received.
    fn skip(&mut self, len: usize, buffer: &mut ReceiveBuffer<'_>) {
        let len = len.min(buffer.unread_len());
        buffer.consume(len);
        self.remaining = self.remaining.wrapping_sub(len);
    }

    const fn end(&mut self, buffer: &mut ReceiveBuffer<'_>) {
        self.mode = Mode::Whole;
        buffer.drop_prefix();
    }

    /// Returns the number of bytes of the topic that were not skipped yet.
    fn topic_remaining(&self, packet: ReceivedPacket, topic_len: u16) -> usize {
        let after_topic = packet
            .header
            .body_len()
            .saturating_sub(2)
            .saturating_sub(usize::from(topic_len));
        self.remaining.saturating_sub(after_topic)
    }
}

/// Checks the next bytes of a topic of which `remaining` bytes were not checked yet.
///
/// The buffer never contains the whole topic, so only single bytes are checked.
fn check_topic(unread: &[u8], topic_len: usize, remaining: usize) -> Result<(), DecodeError> {
    let begin = topic_len.saturating_sub(remaining);
    for (offset, byte) in unread.iter().take(remaining).enumerate() {
        let at = begin.wrapping_add(offset);
        match byte {
            0 => return Err(DecodeError::TopicName(TopicError::Nul { at })),
            b'#' | b'+' => return Err(DecodeError::TopicName(TopicError::Wildcard { at })),
            0xC0 | 0xC1 | 0xF5.. => return Err(DecodeError::InvalidUtf8 { at }),
            _ => {}
        }
    }
    Ok(())
}

/// Returns the length of the topic, which the prefix contains.
fn topic_len(buffer: &ReceiveBuffer<'_>) -> u16 {
    raw_packet::u16_at(buffer.prefix(), 0)
}

/// Returns the packet id, which is at the end of the prefix; `None` at QoS 0.
fn packet_id(packet: ReceivedPacket, buffer: &ReceiveBuffer<'_>) -> Option<PacketId> {
    match packet.header.qos() {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce | QoS::ExactlyOnce => {
            let prefix = buffer.prefix();
            PacketId::new(raw_packet::u16_at(prefix, prefix.len().wrapping_sub(2)))
        }
    }
}
