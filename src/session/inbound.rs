//! What arrives: the receive buffer, cut into packets, and the pieces of packets that do not fit into it.
//!
//! A packet that fits is shown whole. Of a PUBLISH that does not, the part before the payload is kept at the front of
//! the buffer and the payload passes through the rest of it:
//!
//! ```text
//! 0                              base          start         end            len
//! | fixed header, topic, id      |  consumed   | payload     | space        |
//! ```

use super::{error::ProtocolError, raw_packet};
use crate::{
    bytes,
    codec::{
        DecodeError, Delivery, FixedHeader, PacketId, PacketType, PublishHeader, QoS, TopicError,
    },
};

pub(super) struct Inbound<'b> {
    mode: Mode,
    /// Bytes have come since the last call of [`Self::take_progress`].
    progress: bool,
    rx: &'b mut [u8],
    /// Bytes at the front that belong to the message that is passing through; 0 between messages.
    base: usize,
    start: usize,
    end: usize,
    /// So many bytes have to come, as far as is known, before the packet at the start is whole.
    missing: usize,
    /// Payload bytes, or bytes to be skipped, that have not been seen yet.
    left: usize,
    /// Bytes at `start` that the caller has been shown, and that go with the next call.
    shown: usize,
    /// How many of the last of them are payload that [`Self::read_shown`] has not copied.
    unread: usize,
    /// The packet that [`Self::frame`] found last.
    packet: Whole,
}

#[derive(Clone, Copy)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
enum Mode {
    /// Packets, each whole.
    Packets,
    /// The payload of a long message passes by and is shown.
    Chunks,
    /// A topic that does not fit passes by; its id, if any, and the payload come after it.
    Topic,
    /// A payload passes by that nobody wants to see: the message has been delivered before, its rest is skipped, or its
    /// topic did not fit.
    Payload { topic_fits: bool },
}

/// What the bytes in the buffer amount to.
pub(super) enum Frame {
    /// A whole packet, which [`Inbound::body`] shows.
    Packet,
    /// The beginning of a PUBLISH that is larger than the buffer, for [`Inbound::begin_long`].
    Long,
    /// Bytes of a long message, which [`Inbound::show_chunk`] shows.
    Chunk,
    /// A long message has passed by, unseen to its end.
    Passed {
        /// None at QoS 0.
        id: Option<PacketId>,
        /// Length of its topic in bytes, if that does not fit.
        too_long: Option<u16>,
    },
}

/// A whole packet at the start of the unread bytes.
#[derive(Clone, Copy)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
struct Whole {
    header: FixedHeader,
    /// Length of the fixed header as it came, padded or not.
    used: u8,
}

impl Whole {
    const NONE: Self = Self {
        header: FixedHeader {
            packet_type: PacketType::Pingresp,
            flags: 0,
            remaining_length: 0,
        },
        used: 0,
    };

    fn len(self) -> usize {
        usize::from(self.used).saturating_add(self.header.body_len())
    }
}

impl<'b> Inbound<'b> {
    pub(super) fn new(rx: &'b mut [u8]) -> Self {
        Self {
            rx,
            base: 0,
            start: 0,
            end: 0,
            mode: Mode::Packets,
            missing: 0,
            left: 0,
            shown: 0,
            unread: 0,
            packet: Whole::NONE,
            progress: false,
        }
    }
}

impl Inbound<'_> {
    /// Forgets everything that came; says whether that cuts a message of which chunks have been shown.
    pub(super) fn reset(&mut self) -> bool {
        self.drop_shown();
        let cut = self.in_message() && self.left < self.total();
        self.base = 0;
        self.start = 0;
        self.end = 0;
        self.mode = Mode::Packets;
        self.missing = 0;
        self.left = 0;
        self.shown = 0;
        self.unread = 0;
        self.progress = false;
        cut
    }

    /// Whether chunks of a message have been shown and more of them will come.
    pub(super) fn in_message(&self) -> bool {
        matches!(self.mode, Mode::Chunks)
    }

    /// Where the next bytes go. Empty only while there are bytes that [`Self::frame`] has not dealt with.
    pub(super) fn space(&mut self) -> &mut [u8] {
        self.compact(self.base);
        self.rx.get_mut(self.end..).unwrap_or_default()
    }

    /// `n` bytes have been put into the space.
    pub(super) fn commit(&mut self, n: usize) {
        self.end = self.end.saturating_add(n).min(self.rx.len());
        self.missing = self.missing.saturating_sub(n);
        self.progress |= n > 0;
    }

    /// Whether bytes have come that are part of an unfinished packet.
    pub(super) fn take_progress(&mut self) -> bool {
        core::mem::take(&mut self.progress) && self.is_inside()
    }

    /// Whether a long message passes by, shown or not: every answer has to wait behind it.
    pub(super) fn is_passing(&self) -> bool {
        !matches!(self.mode, Mode::Packets)
    }

    /// Whether a packet has begun of which more has to come.
    pub(super) fn is_inside(&self) -> bool {
        self.is_passing() || self.end > self.start
    }

    /// Cuts off the next packet or piece, once what was shown before has been dropped with [`Self::drop_shown`].
    ///
    /// `is_connected` says whether CONNACK has come.
    #[inline(never)]
    pub(super) fn frame(&mut self, is_connected: bool) -> Result<Option<Frame>, ProtocolError> {
        Ok(match self.mode {
            Mode::Packets => return self.packet(is_connected),
            Mode::Chunks => (self.start < self.end).then_some(Frame::Chunk),
            Mode::Topic => {
                self.topic()?;
                self.payload()
            }
            Mode::Payload { .. } => self.payload(),
        })
    }

    /// The header of the packet that [`Self::frame`] found.
    pub(super) fn header(&self) -> FixedHeader {
        self.packet.header
    }

    /// The body of that packet.
    #[inline(never)] // wherever a packet is looked at
    pub(super) fn body(&self) -> &[u8] {
        let begin = self.start.wrapping_add(usize::from(self.packet.used));
        let end = self.start.wrapping_add(self.packet.len());
        self.rx.get(begin..end).unwrap_or_default()
    }

    /// Drops that packet.
    pub(super) fn drop_packet(&mut self) {
        self.start = self.start.wrapping_add(self.packet.len()).min(self.end);
    }

    /// Lets that packet be looked at until [`Self::drop_shown`].
    pub(super) fn show_packet(&mut self) -> &[u8] {
        self.shown = self.packet.len();
        if self.packet.header.packet_type == PacketType::Publish {
            let before = raw_packet::payload_offset(self.packet.header.flags, self.body());
            self.unread = self.packet.header.body_len().saturating_sub(before);
        }
        self.body()
    }

    /// Drops what was shown.
    pub(super) fn drop_shown(&mut self) {
        let shown = core::mem::take(&mut self.shown);
        self.unread = 0;
        self.start = self.start.wrapping_add(shown).min(self.end);
        if self.in_message() {
            self.left = self.left.saturating_sub(shown);
            if self.left == 0 {
                self.end_message();
            }
        }
    }

    /// The long message at hand, the offset of the bytes that have come of it, and those bytes; and marks them shown.
    pub(super) fn show_chunk(&mut self) -> Option<(PublishHeader<'_>, usize, &[u8])> {
        let len = self.unread_len().min(self.left);
        self.shown = len;
        self.unread = len;
        let body = self.rx.get(usize::from(self.packet.used)..self.base)?;
        // It was decoded when the message began.
        let (message, _) = PublishHeader::decode_body(&self.packet.header, body).ok()??;
        let offset = message.payload_len.saturating_sub(self.left);
        let bytes = self.rx.get(self.start..self.start.wrapping_add(len))?;
        Some((message, offset, bytes))
    }

    /// Copies shown payload bytes that have not been copied yet.
    pub(super) fn read_shown(&mut self, buf: &mut [u8]) -> usize {
        let end = self.start.wrapping_add(self.shown);
        let bytes = self
            .rx
            .get(end.saturating_sub(self.unread)..end)
            .unwrap_or_default();
        let len = bytes.len().min(buf.len());
        bytes::copy(buf, bytes);
        self.unread = self.unread.saturating_sub(len);
        len
    }

    /// Whether more will come of the message at hand, of which at least one chunk has been shown.
    pub(super) fn is_message_open(&self) -> bool {
        let begun = self.shown > 0 || self.left < self.total();
        self.in_message() && self.left > self.shown && begun
    }

    /// Nobody wants to see the rest of the message at hand.
    pub(super) fn skip_message(&mut self) {
        self.drop_shown();
        self.mode = Mode::Payload { topic_fits: true };
    }

    /// Looks for a packet at the start.
    fn packet(&mut self, is_connected: bool) -> Result<Option<Frame>, ProtocolError> {
        if self.missing > 0 {
            return Ok(None);
        }
        let bytes = self.rx.get(self.start..self.end).unwrap_or_default();
        let Some((header, used)) = FixedHeader::decode(bytes)? else {
            self.missing = 1;
            return Ok(None);
        };
        // Before any wait for the rest, for which there may not even be room.
        admit(is_connected, header.packet_type)?;
        let [used, ..] = used.to_le_bytes();
        self.packet = Whole { header, used };
        let needed = self.packet.len();
        if needed <= bytes.len() {
            return Ok(Some(Frame::Packet));
        }
        if needed <= self.rx.len() {
            self.missing = needed.wrapping_sub(bytes.len());
            return Ok(None);
        }
        if header.packet_type != PacketType::Publish {
            return Err(ProtocolError::ReceiveBufferTooSmall { needed });
        }
        Ok(Some(Frame::Long))
    }

    /// Begins with a PUBLISH that is larger than the buffer, once enough of it has come; says whether it has.
    ///
    /// `delivered` are the ids of the QoS 2 messages that must not be shown again.
    #[inline(never)]
    pub(super) fn begin_long(&mut self, delivered: &[PacketId]) -> Result<bool, DecodeError> {
        let Whole { header, used } = self.packet;
        let used = usize::from(used);
        let bytes = self.rx.get(self.start..self.end).unwrap_or_default();
        let body = bytes.get(used..).unwrap_or_default();
        let remaining = header.body_len();
        if body.len() < 2 {
            return Ok(false);
        }
        let part = raw_packet::payload_offset(header.flags, body);
        if used.saturating_add(part) >= self.rx.len() {
            // However much of it has come.
            if part > remaining {
                return Err(DecodeError::Truncated);
            }
            self.left = remaining.saturating_sub(2);
            self.mode = Mode::Topic;
            self.keep_front(used.wrapping_add(2));
        } else if let Some((message, part)) = PublishHeader::decode_body(&header, body)? {
            self.mode = match message.delivery {
                Delivery::ExactlyOnce { packet_id, .. } if delivered.contains(&packet_id) => {
                    Mode::Payload { topic_fits: true }
                }
                _ => Mode::Chunks,
            };
            self.left = remaining.saturating_sub(part);
            self.keep_front(used.wrapping_add(part));
        }
        Ok(self.is_passing())
    }

    /// Lets a topic pass by, up to the id behind it, which is kept where it stands behind a topic that fits.
    #[inline(never)]
    fn topic(&mut self) -> Result<(), DecodeError> {
        self.check_topic()?;
        self.pass(self.topic_left());
        let id_len = match self.packet.header.qos() {
            QoS::AtMostOnce => 0,
            QoS::AtLeastOnce | QoS::ExactlyOnce => 2,
        };
        if self.topic_left() > 0 || self.unread_len() < id_len {
            return Ok(());
        }
        self.compact(self.base);
        self.pass(id_len);
        self.base = self.start;
        self.mode = Mode::Payload { topic_fits: false };
        if id_len > 0 && self.long_id().is_none() {
            return Err(DecodeError::PacketIdZero);
        }
        Ok(())
    }

    /// Refuses what no topic name contains, as far as single bytes tell: a skipped topic is never seen whole.
    fn check_topic(&self) -> Result<(), DecodeError> {
        let left = self.topic_left();
        let begin = usize::from(self.topic_len()).saturating_sub(left);
        let bytes = self.rx.get(self.start..self.end).unwrap_or_default();
        for (offset, byte) in bytes.iter().take(left).enumerate() {
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

    /// Bytes of the topic at hand that have not passed by.
    fn topic_left(&self) -> usize {
        let behind = self
            .packet
            .header
            .body_len()
            .saturating_sub(2)
            .saturating_sub(usize::from(self.topic_len()));
        self.left.saturating_sub(behind)
    }

    /// Length of the topic of the long message at hand, of which at least this is kept.
    fn topic_len(&self) -> u16 {
        raw_packet::u16_at(self.rx, usize::from(self.packet.used))
    }

    /// The id of the long message at hand, which is the last that is kept of it; `None` at QoS 0.
    fn long_id(&self) -> Option<PacketId> {
        match self.packet.header.qos() {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => {
                PacketId::new(raw_packet::u16_at(self.rx, self.base.wrapping_sub(2)))
            }
        }
    }

    /// Lets as much of the payload at hand pass by as has come; with the last of it, the message has.
    #[inline(always)] // two calls cost more
    fn payload(&mut self) -> Option<Frame> {
        let Mode::Payload { topic_fits } = self.mode else {
            return None;
        };
        self.pass(self.left);
        if self.left > 0 {
            return None;
        }
        let id = self.long_id();
        let too_long = (!topic_fits).then(|| self.topic_len());
        self.end_message();
        Some(Frame::Passed { id, too_long })
    }

    /// Lets `len` bytes pass by, or as many as have come.
    fn pass(&mut self, len: usize) {
        let passing = len.min(self.unread_len());
        self.start = self.start.wrapping_add(passing);
        self.left = self.left.wrapping_sub(passing);
    }

    /// Bytes that have come and have not been dealt with.
    fn unread_len(&self) -> usize {
        self.end.wrapping_sub(self.start)
    }

    fn end_message(&mut self) {
        self.mode = Mode::Packets;
        self.base = 0;
    }

    /// Keeps the first `len` unread bytes at the front of the buffer.
    #[inline(always)] // two calls cost more
    fn keep_front(&mut self, len: usize) {
        self.compact(0);
        self.base = len;
        self.start = len;
    }

    /// Moves the unread bytes down to `to`.
    fn compact(&mut self, to: usize) {
        if self.start == to {
            return;
        }
        let len = self.unread_len();
        bytes::move_within(self.rx, self.start, to, len);
        self.end = to.wrapping_add(len);
        self.start = to;
    }

    /// Length of the payload of the long message at hand, in bytes.
    fn total(&self) -> usize {
        self.packet.len().wrapping_sub(self.base)
    }
}

/// Whether a server may send a packet of this type at this stage.
fn admit(is_connected: bool, packet_type: PacketType) -> Result<(), ProtocolError> {
    match packet_type {
        PacketType::Connack if !is_connected => Ok(()),
        // [MQTT-3.2.0-1]
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

/// All but bytes and lengths of what has been dealt with, which nobody looks at again.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for Inbound<'_> {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        let Self {
            mode,
            progress,
            rx,
            base,
            start,
            end,
            missing,
            left,
            shown,
            unread,
            packet,
        } = self;
        (mode, progress, rx.len()).hash(state);
        (base, start, end, missing, left, shown, unread).hash(state);
        (rx.get(..*base), rx.get(*start..*end)).hash(state);
        if self.is_inside() {
            packet.hash(state);
        }
    }
}
