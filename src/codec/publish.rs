//! PUBLISH (section 3.3), whole or without its payload.

use core::fmt;

use super::error::{DecodeError, EncodeError};
use super::fast::PlainPublish;
use super::header::{FixedHeader, min_publish_length};
use super::packet_type::PacketType;
use super::reader::Reader;
use super::topic::TopicName;
use super::types::{Delivery, QoS};
use super::wire::{DUP, QOS_MASK, RETAIN};
use super::writer::Writer;

/// An application message (section 3.3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Topic of the message.
    pub topic: TopicName<'a>,
    /// Payload; may be empty. An empty one removes the retained message (section 3.3.1.3).
    // [MQTT-3.3.1-10] There is no minimum length.
    pub payload: &'a [u8],
    /// Quality of service, with packet id and DUP flag.
    pub delivery: Delivery,
    /// RETAIN flag (section 3.3.1.3). To a server: retain this message. From a server: this message was retained.
    pub retain: bool,
}

impl<'a> Publish<'a> {
    /// Creates a message with QoS 0 that is not retained.
    #[must_use]
    pub const fn new(topic: TopicName<'a>, payload: &'a [u8]) -> Self {
        Self {
            topic,
            payload,
            delivery: Delivery::AtMostOnce,
            retain: false,
        }
    }

    /// Decodes the body of a PUBLISH with this header.
    ///
    /// # Errors
    ///
    /// - The errors of [`PublishHeader::decode_body`].
    /// - [`DecodeError::Truncated`]: the body is shorter than in the header.
    /// - [`DecodeError::TrailingBytes`]: the body is longer than in the header.
    pub fn decode_body(header: &FixedHeader, body: &'a [u8]) -> Result<Self, DecodeError> {
        min_publish_length(header.flags)?;
        let (body, extra) = body
            .split_at_checked(header.body_len())
            .ok_or(DecodeError::Truncated)?;
        Reader::new(extra).finish()?;
        let mut reader = Reader::new(body);
        // [MQTT-3.3.2-1] The topic is the first field.
        let topic = TopicName::unchecked(reader.length_prefixed()?);
        let publish = Self::read(topic, header.flags, reader)?;
        publish.topic.check_received()?;
        Ok(publish)
    }

    /// Creates the packet from these parts, or `None` if there is an error.
    #[inline(always)]
    pub(super) fn from_plain(parts: &PlainPublish<'a>) -> Option<Self> {
        let topic = TopicName::unchecked(parts.topic);
        Self::read(topic, parts.flags, Reader::new(parts.rest)).ok()
    }

    /// Reads the fields after the topic. The flags must be valid.
    #[inline(always)]
    fn read(topic: TopicName<'a>, flags: u8, mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            topic,
            delivery: read_delivery(flags, &mut reader)?,
            payload: reader.rest(),
            // [MQTT-3.3.1-8] RETAIN is reported as received.
            retain: flags & RETAIN != 0,
        })
    }

    /// Returns the message without its payload.
    #[must_use]
    pub const fn header(&self) -> PublishHeader<'a> {
        PublishHeader {
            topic: self.topic,
            delivery: self.delivery,
            retain: self.retain,
            payload_len: self.payload.len(),
        }
    }

    /// Returns the length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::PacketTooLong`]: the packet exceeds the largest Remaining Length.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        self.header()
            .fixed_header()
            .map(|header| header.packet_len())
    }

    /// Writes the packet to the start of `out`. Returns the written bytes.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::PacketTooLong`]: the packet exceeds the largest Remaining Length.
    /// - [`EncodeError::BufferTooSmall`]: `out` is shorter than the packet. It is unchanged.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        let message = self.header();
        let header = message.fixed_header()?;
        header.encode(out, header.packet_len(), |writer| {
            message.write(writer);
            writer.bytes(self.payload);
        })
    }
}

/// A PUBLISH without its payload, which may be read or written separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PublishHeader<'a> {
    /// Topic of the message.
    pub topic: TopicName<'a>,
    /// Quality of service, with packet id and DUP flag.
    pub delivery: Delivery,
    /// RETAIN flag (section 3.3.1.3). To a server: retain this message. From a server: this message was retained.
    pub retain: bool,
    /// Length of the payload that follows, in bytes.
    pub payload_len: usize,
}

impl<'a> PublishHeader<'a> {
    /// Decodes the body of a PUBLISH up to its payload. Returns the header with the position of the payload, or `None`
    /// if it is incomplete.
    ///
    /// `prefix` is the part of the body that has been received.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Truncated`]: topic and packet id do not fit into the body. It is returned as soon as the topic's
    ///   length is received.
    /// - [`DecodeError::PacketIdZero`]: the packet id is 0.
    /// - [`DecodeError::InvalidUtf8`], [`DecodeError::TopicName`]: the topic is invalid.
    /// - [`DecodeError::PublishQosThree`], [`DecodeError::DupAtQosZero`]: the flags of `header` are invalid.
    ///   [`FixedHeader::decode`] returns no such header.
    pub fn decode_body(
        header: &FixedHeader,
        prefix: &'a [u8],
    ) -> Result<Option<(Self, usize)>, DecodeError> {
        min_publish_length(header.flags)?;
        let Some((&topic_len, _)) = prefix.split_first_chunk() else {
            return Ok(None);
        };
        let topic_len = usize::from(u16::from_be_bytes(topic_len));
        let len = fields_len(topic_len, header.qos());
        let payload_len = header
            .body_len()
            .checked_sub(len)
            .ok_or(DecodeError::Truncated)?;
        let Some((fields, _)) = prefix.split_at_checked(len) else {
            return Ok(None);
        };
        let mut reader = Reader::new(fields);
        // [MQTT-3.3.2-1] The topic is the first field.
        let topic = TopicName::unchecked(reader.length_prefixed()?);
        let delivery = read_delivery(header.flags, &mut reader)?;
        topic.check_received()?;
        let message = Self {
            topic,
            delivery,
            // [MQTT-3.3.1-8] RETAIN is reported as received.
            retain: header.flags & RETAIN != 0,
            payload_len,
        };
        Ok(Some((message, len)))
    }

    /// Returns the length of the packet without its payload, in bytes.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::PacketTooLong`]: the packet exceeds the largest Remaining Length.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        self.fixed_header().map(|header| self.len(&header))
    }

    /// Writes the packet without its payload to the start of `out`. Returns the written bytes.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::PacketTooLong`]: the packet exceeds the largest Remaining Length.
    /// - [`EncodeError::BufferTooSmall`]: `out` is too short. It is unchanged.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        let header = self.fixed_header()?;
        header.encode(out, self.len(&header), |writer| self.write(writer))
    }

    fn len(&self, header: &FixedHeader) -> usize {
        // At most 65,544.
        header.encoded_len().wrapping_add(self.fields_len())
    }

    fn fields_len(&self) -> usize {
        fields_len(self.topic.as_bytes().len(), self.delivery.qos())
    }

    fn fixed_header(&self) -> Result<FixedHeader, EncodeError> {
        let remaining_length = self.fields_len().saturating_add(self.payload_len);
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
        writer.length_prefixed(self.topic.as_bytes());
        // [MQTT-2.3.1-5] There is no packet id at QoS 0.
        if let Some(packet_id) = self.delivery.packet_id() {
            writer.packet_id(packet_id);
        }
    }
}

/// Reads the packet id, if there is one. The flags must be valid.
#[inline(always)] // with `Publish::read`, saves 16 to 80 bytes on thumbv6m
fn read_delivery(flags: u8, reader: &mut Reader<'_>) -> Result<Delivery, DecodeError> {
    let dup = flags & DUP != 0;
    Ok(match QoS::from_publish_flags(flags) {
        // [MQTT-2.3.1-5] There is no packet id at QoS 0.
        QoS::AtMostOnce => Delivery::AtMostOnce,
        // [MQTT-2.3.1-1] A packet id must not be 0.
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

/// Returns the length of the topic, its length field and the packet id, in bytes.
fn fields_len(topic_len: usize, qos: QoS) -> usize {
    let other_fields = if qos == QoS::AtMostOnce { 2 } else { 4 };
    // A topic has at most 65,535 bytes.
    topic_len.wrapping_add(other_fields)
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
