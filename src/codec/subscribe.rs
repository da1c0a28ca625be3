//! SUBSCRIBE (section 3.8) and SUBACK (section 3.9).

use super::error::{DecodeError, EncodeError, TopicError};
use super::list::{self, Decode, Encode, List};
use super::packet_type::PacketType;
use super::reader::Reader;
use super::topic::TopicFilter;
use super::types::{PacketId, QoS};
use super::writer::Writer;

/// A client's subscription request (section 3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Subscribe<'a> {
    packet_id: PacketId,
    filters: List<'a, (TopicFilter<'a>, QoS)>,
}

impl<'a> Subscribe<'a> {
    /// Creates a request for these filters, each with its maximum QoS.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::NoFilters`]: `filters` is empty.
    pub const fn new(
        packet_id: PacketId,
        filters: &'a [(TopicFilter<'a>, QoS)],
    ) -> Result<Self, EncodeError> {
        // [MQTT-3.8.3-3] There is at least one filter.
        if filters.is_empty() {
            return Err(EncodeError::NoFilters);
        }
        Ok(Self {
            packet_id,
            filters: List::Slice(filters),
        })
    }

    /// The packet id, which the SUBACK repeats.
    #[must_use]
    pub const fn packet_id(&self) -> PacketId {
        self.packet_id
    }

    /// The filters, each with its maximum QoS.
    pub fn filters(&self) -> impl Iterator<Item = (TopicFilter<'a>, QoS)> + Clone + use<'a> {
        self.filters.iter()
    }

    /// Decodes the body of a SUBSCRIBE.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Truncated`]: the body ends inside a field.
    /// - [`DecodeError::PacketIdZero`]: the packet id is 0.
    /// - [`DecodeError::NoFilters`]: there is no filter.
    /// - [`DecodeError::InvalidUtf8`]: a filter is not UTF-8.
    /// - [`DecodeError::TopicFilter`]: a filter is invalid.
    /// - [`DecodeError::InvalidRequestedQos`]: a QoS is not 0, 1 or 2.
    pub fn decode_body(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        // [MQTT-3.8.3-3] There is at least one filter.
        let filters = List::decode(reader, DecodeError::NoFilters)?;
        Ok(Self { packet_id, filters })
    }

    /// Length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::PacketTooLong`]: the packet exceeds the largest Remaining Length.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        self.filters.encoded_len(PacketType::Subscribe)
    }

    /// Writes the packet to the start of `out`. Returns the bytes written.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::PacketTooLong`]: the packet exceeds the largest Remaining Length.
    /// - [`EncodeError::BufferTooSmall`]: `out` is shorter than the packet. It is unchanged.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        self.filters
            .encode(PacketType::Subscribe, self.packet_id, out)
    }
}

/// Checks filters and encodes a SUBSCRIBE. Returns its length, in bytes.
pub(crate) fn encode<'s>(
    packet_id: PacketId,
    filters: impl Iterator<Item = (&'s str, QoS)> + Clone,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    list::encode(PacketType::Subscribe, packet_id, filters, out).map(<[u8]>::len)
}

impl<'a> Decode<'a> for (TopicFilter<'a>, QoS) {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let filter = Decode::decode(reader)?;
        // [MQTT-3.8.3-4] The reserved bits of the byte must be 0, too.
        let value = reader.u8()?;
        match QoS::try_from(value) {
            Ok(qos) => Ok((filter, qos)),
            Err(_) => Err(DecodeError::InvalidRequestedQos { value }),
        }
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
    /// Creates an answer with these return codes, one for each filter, in the order of the filters.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::NoReturnCodes`]: `codes` is empty.
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

    /// Packet id of the SUBSCRIBE.
    #[must_use]
    pub const fn packet_id(&self) -> PacketId {
        self.packet_id
    }

    /// The return codes, one for each filter, in the order of the filters.
    #[must_use]
    pub const fn codes(&self) -> SubackCodes<'a> {
        self.codes
    }

    /// Decodes the body of a SUBACK.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Truncated`]: there is no packet id or no return code.
    /// - [`DecodeError::PacketIdZero`]: the packet id is 0.
    /// - [`DecodeError::UnknownSubackReturnCode`]: a return code is reserved.
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
    /// - [`EncodeError::PacketTooLong`]: the packet exceeds the largest Remaining Length.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        self.codes.0.encoded_len(PacketType::Suback)
    }

    /// Writes the packet to the start of `out`. Returns the bytes written.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::PacketTooLong`]: the packet exceeds the largest Remaining Length.
    /// - [`EncodeError::BufferTooSmall`]: `out` is shorter than the packet. It is unchanged.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        self.codes.0.encode(PacketType::Suback, self.packet_id, out)
    }
}

/// The return codes of a SUBACK, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SubackCodes<'a>(List<'a, SubackReturnCode>);

impl<'a> SubackCodes<'a> {
    /// The number of return codes.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.0 {
            List::Wire(bytes) => bytes.len(),
            List::Slice(codes) => codes.len(),
        }
    }

    /// Returns `false`: a SUBACK has at least one return code.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the code of the first filter. It is never `None`.
    #[must_use]
    pub fn first(&self) -> Option<SubackReturnCode> {
        self.iter().next()
    }

    /// The return codes, in the order of the filters.
    pub fn iter(&self) -> impl Iterator<Item = SubackReturnCode> + Clone + use<'a> {
        self.0.iter()
    }
}

/// The server's answer to one filter of a SUBSCRIBE (section 3.9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SubackReturnCode {
    /// The server accepted the subscription, with at most this QoS.
    Granted(QoS),
    /// The server refused the subscription.
    Failure,
}

/// The return code for [`SubackReturnCode::Failure`].
const FAILURE: u8 = 0x80;

impl Decode<'_> for SubackReturnCode {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            FAILURE => Ok(Self::Failure),
            code => match QoS::try_from(code) {
                Ok(qos) => Ok(Self::Granted(qos)),
                // [MQTT-3.9.3-2] Other codes are reserved.
                Err(_) => Err(DecodeError::UnknownSubackReturnCode { code }),
            },
        }
    }
}

impl Encode for SubackReturnCode {
    fn encoded_len(&self) -> Result<usize, TopicError> {
        Ok(1)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u8(match self {
            Self::Granted(qos) => qos.bits(),
            Self::Failure => FAILURE,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encode_checks_filters() {
        let mut out = [0; 16];
        let id = PacketId::MIN;
        let filters = [("a/#", QoS::AtLeastOnce), ("b", QoS::AtMostOnce)];
        assert_eq!(encode(id, filters.into_iter(), &mut out), Ok(14));
        assert_eq!(&out[..14], b"\x82\x0C\0\x01\0\x03a/#\x01\0\x01b\0");
        let filters = [("b", QoS::AtMostOnce), ("#/a", QoS::AtMostOnce)];
        let error = EncodeError::Filter {
            number: 2,
            error: TopicError::Wildcard { at: 0 },
        };
        assert_eq!(encode(id, filters.into_iter(), &mut out), Err(error));
        let none = [].into_iter();
        assert_eq!(encode(id, none, &mut out), Err(EncodeError::NoFilters));
    }
}
