//! PUBLISH (section 3.3).

use core::fmt;

use super::error::{DecodeError, EncodeError};
use super::header::{FixedHeader, publish_smallest};
use super::packet_type::PacketType;
use super::reader::Reader;
use super::topic::TopicName;
use super::types::{Delivery, QoS};
use super::wire::{DUP, QOS_MASK, RETAIN};
use super::writer::Writer;

/// A message (section 3.3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Where it goes, or where it comes from.
    pub topic: TopicName<'a>,
    /// What it says; may be empty, which clears a retained message (section 3.3.1.3).
    // [MQTT-3.3.1-10] No rule asks for a byte of it.
    pub payload: &'a [u8],
    /// How hard it is to be delivered.
    pub delivery: Delivery,
    /// To a server, keep this for later subscribers; from a server, this was kept (section
    /// 3.3.1.3).
    pub retain: bool,
}

impl<'a> Publish<'a> {
    /// A message with QoS 0 that is not retained.
    #[must_use]
    pub const fn new(topic: TopicName<'a>, payload: &'a [u8]) -> Self {
        Self {
            topic,
            payload,
            delivery: Delivery::AtMostOnce,
            retain: false,
        }
    }

    /// The packet with this header and body.
    ///
    /// # Errors
    ///
    /// Those of [`PublishHeader::decode_body`], [`DecodeError::Truncated`] and
    /// [`TrailingBytes`](DecodeError::TrailingBytes) if the body is shorter or longer than the
    /// header says.
    pub fn decode_body(header: &FixedHeader, body: &'a [u8]) -> Result<Self, DecodeError> {
        publish_smallest(header.flags)?;
        let (body, extra) = body
            .split_at_checked(header.body_len())
            .ok_or(DecodeError::Truncated)?;
        Reader::new(extra).finish()?;
        let publish = Self::parse(header.flags, body)?;
        publish.topic.check_received()?;
        Ok(publish)
    }

    /// The packet with these flags, which were checked, and this body, which is whole; the topic is not checked.
    fn parse(flags: u8, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        // [MQTT-3.3.2-1] The topic comes first.
        let topic = TopicName::unchecked(reader.prefixed()?);
        Self::behind_topic(topic, flags, reader)
    }

    /// The packet with these flags, which were checked, this topic, and what the reader has left.
    #[inline(always)]
    pub(super) fn behind_topic(
        topic: TopicName<'a>,
        flags: u8,
        mut reader: Reader<'a>,
    ) -> Result<Self, DecodeError> {
        Ok(Self {
            topic,
            delivery: delivery(flags, &mut reader)?,
            payload: reader.rest(),
            // [MQTT-3.3.1-8] RETAIN is handed on as it came.
            retain: flags & RETAIN != 0,
        })
    }

    /// Everything but the payload.
    #[must_use]
    pub const fn header(&self) -> PublishHeader<'a> {
        let Self {
            topic,
            payload,
            delivery,
            retain,
        } = *self;
        PublishHeader {
            topic,
            delivery,
            retain,
            payload_len: payload.len(),
        }
    }

    /// Length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError::PacketTooLong`].
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        self.header().fixed().map(|header| header.frame_len())
    }

    /// Writes the packet to the start of `out` and returns what was written.
    ///
    /// # Errors
    ///
    /// [`EncodeError::PacketTooLong`] and [`BufferTooSmall`](EncodeError::BufferTooSmall); `out` is
    /// untouched.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        let message = self.header();
        let header = message.fixed()?;
        header.encode(out, header.frame_len(), |writer| {
            message.write(writer);
            writer.bytes(self.payload);
        })
    }
}

/// Everything of a PUBLISH but its payload, which may come from or go elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PublishHeader<'a> {
    /// Where it goes, or where it comes from.
    pub topic: TopicName<'a>,
    /// How hard it is to be delivered.
    pub delivery: Delivery,
    /// To a server, keep this for later subscribers; from a server, this was kept (section
    /// 3.3.1.3).
    pub retain: bool,
    /// Length of the payload that follows, in bytes.
    pub payload_len: usize,
}

impl<'a> PublishHeader<'a> {
    /// What stands before the payload, and how many bytes of the body that takes; `None` while it
    /// is incomplete.
    ///
    /// `prefix` is as much of the body as is there.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] as soon as the topic's length exceeds the packet's; with the
    /// whole topic, [`InvalidUtf8`](DecodeError::InvalidUtf8) and
    /// [`TopicName`](DecodeError::TopicName); with the identifier,
    /// [`PacketIdZero`](DecodeError::PacketIdZero). From a header that was not decoded,
    /// [`PublishQosThree`](DecodeError::PublishQosThree) and
    /// [`DupAtQosZero`](DecodeError::DupAtQosZero).
    pub fn decode_body(
        header: &FixedHeader,
        prefix: &'a [u8],
    ) -> Result<Option<(Self, usize)>, DecodeError> {
        publish_smallest(header.flags)?;
        let found = Self::parse(header.flags, header.body_len(), prefix)?;
        if let Some((message, _)) = &found {
            message.topic.check_received()?;
        }
        Ok(found)
    }

    /// [`decode_body`](Self::decode_body) with flags that were checked; the topic is not checked.
    #[inline(always)]
    fn parse(
        flags: u8,
        remaining_length: usize,
        prefix: &'a [u8],
    ) -> Result<Option<(Self, usize)>, DecodeError> {
        let Some((&topic_len, _)) = prefix.split_first_chunk() else {
            return Ok(None);
        };
        let topic_len = usize::from(u16::from_be_bytes(topic_len));
        let used = body_len(topic_len, QoS::from_publish_flags(flags));
        let payload_len = remaining_length
            .checked_sub(used)
            .ok_or(DecodeError::Truncated)?;
        let Some((head, _)) = prefix.split_at_checked(used) else {
            return Ok(None);
        };
        let mut reader = Reader::new(head);
        // [MQTT-3.3.2-1] The topic comes first.
        let topic = TopicName::unchecked(reader.prefixed()?);
        let delivery = delivery(flags, &mut reader)?;
        // [MQTT-3.3.1-8] RETAIN is handed on as it came.
        let retain = flags & RETAIN != 0;
        Ok(Some((
            Self {
                topic,
                delivery,
                retain,
                payload_len,
            },
            used,
        )))
    }

    /// Length of what [`encode`](Self::encode) writes, in bytes: the packet without its payload.
    ///
    /// # Errors
    ///
    /// [`EncodeError::PacketTooLong`].
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        self.fixed().map(|header| self.len(&header))
    }

    /// Writes what comes before the payload to the start of `out` and returns what was written.
    ///
    /// # Errors
    ///
    /// [`EncodeError::PacketTooLong`] and [`BufferTooSmall`](EncodeError::BufferTooSmall); `out` is
    /// untouched.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        let header = self.fixed()?;
        header.encode(out, self.len(&header), |writer| self.write(writer))
    }

    fn len(&self, header: &FixedHeader) -> usize {
        header.encoded_len().wrapping_add(self.body_len())
    }

    fn body_len(&self) -> usize {
        body_len(self.topic.as_bytes().len(), self.delivery.qos())
    }

    fn fixed(&self) -> Result<FixedHeader, EncodeError> {
        let remaining_length = self.body_len().saturating_add(self.payload_len);
        let header = FixedHeader::new(PacketType::Publish, remaining_length)?;
        Ok(FixedHeader {
            flags: self.flags(),
            ..header
        })
    }

    fn flags(&self) -> u8 {
        let qos = self.delivery.qos().bits() << QOS_MASK.trailing_zeros();
        let dup = if self.delivery.dup() { DUP } else { 0 };
        let retain = if self.retain { RETAIN } else { 0 };
        qos | dup | retain
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.prefixed(self.topic.as_bytes());
        // [MQTT-2.3.1-5] QoS 0 has no identifier.
        if let Some(packet_id) = self.delivery.packet_id() {
            writer.packet_id(packet_id);
        }
    }
}

#[inline(always)]
fn delivery(flags: u8, reader: &mut Reader<'_>) -> Result<Delivery, DecodeError> {
    let dup = flags & DUP != 0;
    Ok(match QoS::from_publish_flags(flags) {
        // [MQTT-2.3.1-5] There is no identifier to read.
        QoS::AtMostOnce => Delivery::AtMostOnce,
        // [MQTT-2.3.1-1] Read, and refused if 0.
        QoS::AtLeastOnce => Delivery::AtLeastOnce {
            packet_id: reader.packet_id()?,
            dup,
        },
        QoS::ExactlyOnce => Delivery::ExactlyOnce {
            packet_id: reader.packet_id()?,
            dup,
        },
    })
}

/// Length of topic and identifier with the topic's length in front, in bytes.
fn body_len(topic_len: usize, qos: QoS) -> usize {
    let around = if qos == QoS::AtMostOnce { 2 } else { 4 };
    // A topic has at most 65,535 bytes.
    topic_len.wrapping_add(around)
}

impl fmt::Debug for Publish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("topic", &self.topic)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .field("delivery", &self.delivery)
            .field("retain", &self.retain)
            .finish()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Publish<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Publish({})", self.header());
    }
}
