//! What arrives: the receive buffer, cut into packets, and the pieces of packets that do not fit into it.
//!
//! A packet that fits is shown whole. Of a PUBLISH that does not, the part before the payload is kept at the front of
//! the buffer and the payload passes through the rest of it:
//!
//! ```text
//! 0                              base          start         end            len
//! | fixed header, topic, id      |  consumed   | payload     | space        |
//! ```

use super::{error::ProtocolError, frame};
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
enum Mode {
    /// Packets, each whole.
    Packets,
    /// The payload of a long message passes by and is shown.
    Chunks,
    /// A long message passes by that nobody wants to see: it has been delivered before, or its rest is skipped.
    Passing { repeated: bool },
    /// A topic that does not fit passes by; its id, if any, and the payload come after it.
    Topic { len: u16 },
    /// The payload behind such a topic passes by.
    Skipped { len: u16, id: Option<PacketId> },
}

/// What the bytes in the buffer amount to.
pub(super) enum Frame {
    /// A whole packet, which [`Inbound::body`] shows.
    Packet,
    /// Bytes of a long message, which [`Inbound::show_chunk`] shows.
    Chunk,
    /// A long message has passed by, unseen to its end.
    Passed { delivery: Delivery, repeated: bool },
    /// A message has passed by whose topic, of `len` bytes, does not fit.
    Skipped {
        len: u16,
        qos: QoS,
        id: Option<PacketId>,
    },
}

/// A whole packet at the start of the unread bytes.
#[derive(Clone, Copy)]
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
        usize::from(self.used).saturating_add(frame::body_len(&self.header))
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
    /// `delivered` are the ids of the QoS 2 messages that must not be shown again, and `is_connected` says whether
    /// CONNACK has come.
    #[inline(never)]
    pub(super) fn frame(
        &mut self,
        delivered: &[PacketId],
        is_connected: bool,
    ) -> Result<Option<Frame>, ProtocolError> {
        if !self.is_passing() {
            let is_whole = self.packet(delivered, is_connected)?;
            if !self.is_passing() {
                return Ok(is_whole.then_some(Frame::Packet));
            }
        }
        Ok(match self.mode {
            Mode::Packets => None,
            Mode::Chunks => (self.start < self.end).then_some(Frame::Chunk),
            Mode::Passing { repeated } => self.pass().then(|| self.passed(repeated)).flatten(),
            Mode::Topic { len } => {
                self.check_topic(len)?;
                self.topic(len)
            }
            Mode::Skipped { len, id } => self.pass().then(|| self.skipped(len, id)),
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
        let before = frame::publish_part(self.packet.header.flags, self.body());
        self.unread = frame::body_len(&self.packet.header).saturating_sub(before);
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
                self.mode = Mode::Packets;
                self.base = 0;
            }
        }
    }

    /// The long message at hand, the offset of the bytes that have come of it, and those bytes; and marks them shown.
    pub(super) fn show_chunk(&mut self) -> Option<(PublishHeader<'_>, usize, &[u8])> {
        let len = self.end.wrapping_sub(self.start).min(self.left);
        self.shown = len;
        self.unread = len;
        let (head, rest) = self.rx.split_at_checked(self.base)?;
        let message = long_publish(self.packet, head)?;
        let offset = message.payload_len.saturating_sub(self.left);
        let begin = self.start.saturating_sub(self.base);
        Some((message, offset, rest.get(begin..begin.wrapping_add(len))?))
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
        self.mode = Mode::Passing { repeated: false };
    }

    /// How the long message at hand is to be answered, once its last bytes have come.
    pub(super) fn chunk_delivery(&self) -> Option<(Delivery, bool)> {
        let message = self.long_message_at_hand()?;
        Some((
            message.delivery,
            self.end.wrapping_sub(self.start) >= self.left,
        ))
    }

    /// Looks for a packet at the start, and says whether it is whole; a PUBLISH that cannot be changes the mode instead.
    fn packet(
        &mut self,
        delivered: &[PacketId],
        is_connected: bool,
    ) -> Result<bool, ProtocolError> {
        let bytes = self.rx.get(self.start..self.end).unwrap_or_default();
        let Some((header, used)) = FixedHeader::decode(bytes)? else {
            return Ok(false);
        };
        // Before any wait for the rest, for which there may not even be room.
        admit(is_connected, header.packet_type)?;
        let [used, ..] = used.to_le_bytes();
        self.packet = Whole { header, used };
        let needed = self.packet.len();
        if needed <= bytes.len() {
            return Ok(true);
        }
        if needed > self.rx.len() {
            if header.packet_type != PacketType::Publish {
                return Err(ProtocolError::RxTooSmall { needed });
            }
            self.long_message(delivered)?;
        }
        Ok(false)
    }

    /// Begins with a PUBLISH that is larger than the buffer, once enough of it has come.
    #[inline(never)]
    fn long_message(&mut self, delivered: &[PacketId]) -> Result<(), ProtocolError> {
        let Whole { header, used } = self.packet;
        let used = usize::from(used);
        let bytes = self.rx.get(self.start..self.end).unwrap_or_default();
        let body = bytes.get(used..).unwrap_or_default();
        let remaining = frame::body_len(&header);
        let Some((topic_len, _)) = body.split_first_chunk() else {
            return Ok(());
        };
        let part = frame::publish_part(header.flags, body);
        if used.saturating_add(part) >= self.rx.len() {
            // Only its length is judged, however much of it has come.
            PublishHeader::decode_body(&header, topic_len)?;
            let len = u16::from_be_bytes(*topic_len);
            self.left = remaining.saturating_sub(2);
            self.mode = Mode::Topic { len };
            self.keep_front(used.wrapping_add(2));
        } else if let Some((message, part)) = PublishHeader::decode_body(&header, body)? {
            self.mode = match message.delivery {
                Delivery::ExactlyOnce { packet_id, .. } if delivered.contains(&packet_id) => {
                    Mode::Passing { repeated: true }
                }
                _ => Mode::Chunks,
            };
            self.left = remaining.saturating_sub(part);
            self.keep_front(used.wrapping_add(part));
        }
        Ok(())
    }

    /// Lets a topic pass by, up to the id behind it, which it takes.
    #[inline(never)]
    fn topic(&mut self, len: u16) -> Option<Frame> {
        let header = self.packet.header;
        let left = self.topic_left(len);
        let passing = left.min(self.end.wrapping_sub(self.start));
        self.start = self.start.wrapping_add(passing);
        self.left = self.left.wrapping_sub(passing);
        if passing < left {
            return None;
        }
        let mut id = None;
        if frame::qos(&header) > QoS::AtMostOnce {
            let bytes = self.rx.get(self.start..self.end)?.first_chunk()?;
            id = PacketId::new(u16::from_be_bytes(*bytes));
            self.start = self.start.wrapping_add(2);
            self.left = self.left.saturating_sub(2);
        }
        self.mode = Mode::Skipped { len, id };
        self.pass().then(|| self.skipped(len, id))
    }

    /// Refuses what no topic name contains, as far as single bytes tell: a skipped topic is never seen whole.
    fn check_topic(&self, len: u16) -> Result<(), DecodeError> {
        let left = self.topic_left(len);
        let begin = usize::from(len).saturating_sub(left);
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

    /// Bytes of the topic at hand, of this length, that have not passed by.
    fn topic_left(&self, len: u16) -> usize {
        let behind = frame::body_len(&self.packet.header)
            .saturating_sub(2)
            .saturating_sub(usize::from(len));
        self.left.saturating_sub(behind)
    }

    /// Lets the bytes that have come pass by; true when they were the last.
    fn pass(&mut self) -> bool {
        let passing = self.left.min(self.end.wrapping_sub(self.start));
        self.start = self.start.wrapping_add(passing);
        self.left = self.left.wrapping_sub(passing);
        self.left == 0
    }

    fn passed(&mut self, repeated: bool) -> Option<Frame> {
        let delivery = self.long_message_at_hand()?.delivery;
        self.mode = Mode::Packets;
        self.base = 0;
        Some(Frame::Passed { delivery, repeated })
    }

    fn skipped(&mut self, len: u16, id: Option<PacketId>) -> Frame {
        let qos = frame::qos(&self.packet.header);
        self.mode = Mode::Packets;
        self.base = 0;
        Frame::Skipped { len, qos, id }
    }

    /// Keeps the first `len` unread bytes at the front of the buffer.
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
        let len = self.end.wrapping_sub(self.start);
        bytes::move_within(self.rx, self.start, to, len);
        self.end = to.wrapping_add(len);
        self.start = to;
    }

    /// The part before the payload of the long message at hand.
    fn long_message_at_hand(&self) -> Option<PublishHeader<'_>> {
        long_publish(self.packet, self.rx.get(..self.base)?)
    }

    /// Length of the payload of the long message at hand.
    fn total(&self) -> usize {
        self.long_message_at_hand()
            .map_or(0, |message| message.payload_len)
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

/// The part before the payload of a long message, which has been decoded once before.
fn long_publish(packet: Whole, front: &[u8]) -> Option<PublishHeader<'_>> {
    let body = front.get(usize::from(packet.used)..)?;
    let (message, _) = PublishHeader::decode_body(&packet.header, body).ok()??;
    Some(message)
}
