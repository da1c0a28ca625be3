//! SUBSCRIBE (section 3.8) and SUBACK (section 3.9).

use super::error::{DecodeError, EncodeError};
use super::list::{self, Decode, Encode, List};
use super::packet_type::PacketType;
use super::reader::Reader;
use super::topic::TopicFilter;
use super::types::{PacketId, QoS};
use super::writer::Writer;

/// A client's request for messages (section 3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Subscribe<'a> {
    packet_id: PacketId,
    filters: List<'a, (TopicFilter<'a>, QoS)>,
}

impl<'a> Subscribe<'a> {
    /// A request for these filters, each with the highest QoS that is wanted.
    ///
    /// # Errors
    ///
    /// [`EncodeError::NoFilters`] if there is none.
    pub const fn new(
        packet_id: PacketId,
        filters: &'a [(TopicFilter<'a>, QoS)],
    ) -> Result<Self, EncodeError> {
        // [MQTT-3.8.3-3] At least one filter.
        if filters.is_empty() {
            return Err(EncodeError::NoFilters);
        }
        Ok(Self {
            packet_id,
            filters: List::Slice(filters),
        })
    }

    /// The identifier that the SUBACK will carry.
    #[must_use]
    pub const fn packet_id(&self) -> PacketId {
        self.packet_id
    }

    /// The filters, each with the highest QoS that is wanted.
    pub fn filters(&self) -> impl Iterator<Item = (TopicFilter<'a>, QoS)> + Clone + use<'a> {
        self.filters.iter()
    }

    /// The packet whose body this is.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`], [`PacketIdZero`](DecodeError::PacketIdZero),
    /// [`NoFilters`](DecodeError::NoFilters), [`InvalidUtf8`](DecodeError::InvalidUtf8),
    /// [`TopicFilter`](DecodeError::TopicFilter) and
    /// [`InvalidRequestedQos`](DecodeError::InvalidRequestedQos).
    pub fn decode_body(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        // [MQTT-3.8.3-3] At least one filter.
        let filters = List::decode(reader, DecodeError::NoFilters)?;
        Ok(Self { packet_id, filters })
    }

    /// Length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError::PacketTooLong`].
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        self.filters.encoded_len(PacketType::Subscribe)
    }

    /// Writes the packet to the start of `out` and returns what was written.
    ///
    /// # Errors
    ///
    /// [`EncodeError::PacketTooLong`] and [`BufferTooSmall`](EncodeError::BufferTooSmall); `out` is
    /// untouched.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        self.filters
            .encode(PacketType::Subscribe, self.packet_id, out)
    }
}

/// Writes a SUBSCRIBE of filters that are not checked yet; the length of what was written.
pub(crate) fn encode<'s>(
    packet_id: PacketId,
    filters: impl Iterator<Item = (&'s str, QoS)> + Clone,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    list::encode(PacketType::Subscribe, packet_id, filters, out).map(<[u8]>::len)
}

impl<'a> Decode<'a> for (TopicFilter<'a>, QoS) {
    #[inline(always)]
    fn check(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        // [MQTT-3.8.3-1] A valid string.
        TopicFilter::check(reader)?;
        match reader.u8()? {
            0..=2 => Ok(()),
            // [MQTT-3.8.3-4] The reserved bits are part of the number, so they are refused too.
            value => Err(DecodeError::InvalidRequestedQos { value }),
        }
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let filter = TopicFilter::read(reader)?;
        Some((filter, QoS::try_from(reader.u8().ok()?).ok()?))
    }
}

impl Encode for (TopicFilter<'_>, QoS) {
    fn encoded_len(&self) -> Result<usize, EncodeError> {
        Ok(self.0.as_bytes().len().wrapping_add(3))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.prefixed(self.0.as_bytes());
        writer.u8(self.1.bits());
    }
}

impl Encode for (&str, QoS) {
    fn encoded_len(&self) -> Result<usize, EncodeError> {
        (TopicFilter::new(self.0)?, self.1).encoded_len()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.prefixed(self.0.as_bytes());
        writer.u8(self.1.bits());
    }
}

/// The server's answer to a SUBSCRIBE (section 3.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Suback<'a> {
    packet_id: PacketId,
    codes: SubackCodes<'a>,
}

impl<'a> Suback<'a> {
    /// The answer with these return codes, one for each filter and in the filters' order.
    ///
    /// # Errors
    ///
    /// [`EncodeError::NoReturnCodes`] if there is none.
    pub const fn new(
        packet_id: PacketId,
        codes: &'a [SubackReturnCode],
    ) -> Result<Self, EncodeError> {
        if codes.is_empty() {
            return Err(EncodeError::NoReturnCodes);
        }
        Ok(Self {
            packet_id,
            codes: SubackCodes(List::Slice(codes)),
        })
    }

    /// The identifier of the SUBSCRIBE.
    #[must_use]
    pub const fn packet_id(&self) -> PacketId {
        self.packet_id
    }

    /// The return codes, one for each filter and in the filters' order.
    #[must_use]
    pub const fn codes(&self) -> SubackCodes<'a> {
        self.codes
    }

    /// The packet whose body this is.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`], [`PacketIdZero`](DecodeError::PacketIdZero) and
    /// [`UnknownSubackReturnCode`](DecodeError::UnknownSubackReturnCode).
    pub fn decode_body(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let codes = List::decode(reader, DecodeError::Truncated)?;
        Ok(Self {
            packet_id,
            codes: SubackCodes(codes),
        })
    }

    /// Length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError::PacketTooLong`].
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        self.codes.0.encoded_len(PacketType::Suback)
    }

    /// Writes the packet to the start of `out` and returns what was written.
    ///
    /// # Errors
    ///
    /// [`EncodeError::PacketTooLong`] and [`BufferTooSmall`](EncodeError::BufferTooSmall); `out` is
    /// untouched.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        self.codes.0.encode(PacketType::Suback, self.packet_id, out)
    }
}

/// The return codes of a SUBACK; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SubackCodes<'a>(List<'a, SubackReturnCode>);

impl<'a> SubackCodes<'a> {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.0 {
            List::Wire(bytes) => bytes.len(),
            List::Slice(codes) => codes.len(),
        }
    }

    /// Always false.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The code of the first filter; `None` is never returned by a SUBACK.
    #[must_use]
    pub fn first(&self) -> Option<SubackReturnCode> {
        self.iter().next()
    }

    /// The codes, in the filters' order.
    pub fn iter(&self) -> impl Iterator<Item = SubackReturnCode> + Clone + use<'a> {
        self.0.iter()
    }
}

/// What became of one filter of a SUBSCRIBE (section 3.9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SubackReturnCode {
    /// Subscribed, with at most this QoS.
    Granted(QoS),
    /// Not subscribed.
    Failure,
}

impl Decode<'_> for SubackReturnCode {
    fn check(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match reader.u8()? {
            0..=2 | 0x80 => Ok(()),
            // [MQTT-3.9.3-2] Every other code is reserved.
            code => Err(DecodeError::UnknownSubackReturnCode { code }),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        match reader.u8().ok()? {
            0x80 => Some(Self::Failure),
            code => QoS::try_from(code).ok().map(Self::Granted),
        }
    }
}

impl Encode for SubackReturnCode {
    fn encoded_len(&self) -> Result<usize, EncodeError> {
        Ok(1)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u8(match self {
            Self::Granted(qos) => qos.bits(),
            Self::Failure => 0x80,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{TopicError, unsubscribe};
    use super::*;

    #[test]
    fn unchecked_filters_are_checked() {
        let mut out = [0; 16];
        let id = PacketId::MIN;
        let filters = [("a/#", QoS::AtLeastOnce), ("b", QoS::AtMostOnce)];
        assert_eq!(encode(id, filters.into_iter(), &mut out), Ok(14));
        assert_eq!(&out[..14], b"\x82\x0C\0\x01\0\x03a/#\x01\0\x01b\0");
        let filters = [("b", QoS::AtMostOnce), ("#/a", QoS::AtMostOnce)];
        let error = EncodeError::Topic(TopicError::Wildcard { at: 0 });
        assert_eq!(encode(id, filters.into_iter(), &mut out), Err(error));
        let none = [].into_iter();
        assert_eq!(encode(id, none, &mut out), Err(EncodeError::NoFilters));

        assert_eq!(
            unsubscribe::encode(id, ["a/#"].into_iter(), &mut out),
            Ok(9)
        );
        assert_eq!(&out[..9], b"\xA2\x07\0\x01\0\x03a/#");
        let filters = ["a", ""].into_iter();
        let error = EncodeError::Topic(TopicError::Empty);
        assert_eq!(unsubscribe::encode(id, filters, &mut out), Err(error));
        let none = [].into_iter();
        assert_eq!(
            unsubscribe::encode(id, none, &mut out),
            Err(EncodeError::NoFilters)
        );
    }
}
