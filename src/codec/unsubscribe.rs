//! UNSUBSCRIBE (section 3.10).

use super::error::{DecodeError, EncodeError};
use super::list::{self, List};
use super::packet_type::PacketType;
use super::reader::Reader;
use super::topic::TopicFilter;
use super::types::PacketId;

/// A client's request to end subscriptions (section 3.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Unsubscribe<'a> {
    packet_id: PacketId,
    filters: List<'a, TopicFilter<'a>>,
}

impl<'a> Unsubscribe<'a> {
    /// Creates a request to end the subscriptions to these filters.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::NoFilters`]: `filters` is empty.
    pub const fn new(
        packet_id: PacketId,
        filters: &'a [TopicFilter<'a>],
    ) -> Result<Self, EncodeError> {
        // [MQTT-3.10.3-2] There is at least one filter.
        if filters.is_empty() {
            return Err(EncodeError::NoFilters);
        }
        Ok(Self {
            packet_id,
            filters: List::Slice(filters),
        })
    }

    /// Returns the packet id, which the UNSUBACK repeats.
    #[must_use]
    pub const fn packet_id(&self) -> PacketId {
        self.packet_id
    }

    /// Returns the filters.
    pub fn filters(&self) -> impl Iterator<Item = TopicFilter<'a>> + Clone + use<'a> {
        self.filters.iter()
    }

    /// Decodes the body of an UNSUBSCRIBE.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Truncated`]: the body ends inside a field.
    /// - [`DecodeError::PacketIdZero`]: the packet id is 0.
    /// - [`DecodeError::NoFilters`]: there is no filter.
    /// - [`DecodeError::InvalidUtf8`]: a filter is not UTF-8.
    /// - [`DecodeError::TopicFilter`]: a filter is invalid.
    pub fn decode_body(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        // [MQTT-3.10.3-2] There is at least one filter.
        let filters = List::decode(reader, DecodeError::NoFilters)?;
        Ok(Self { packet_id, filters })
    }

    /// Returns the length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::PacketTooLong`]: the packet exceeds the largest Remaining Length.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        self.filters.encoded_len(PacketType::Unsubscribe)
    }

    /// Writes the packet to the start of `out`. Returns the written bytes.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::PacketTooLong`]: the packet exceeds the largest Remaining Length.
    /// - [`EncodeError::BufferTooSmall`]: `out` is shorter than the packet. It is unchanged.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        self.filters
            .encode(PacketType::Unsubscribe, self.packet_id, out)
    }
}

/// Checks filters and encodes an UNSUBSCRIBE. Returns its length, in bytes.
pub(crate) fn encode<'s>(
    packet_id: PacketId,
    filters: impl Iterator<Item = &'s str> + Clone,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    list::encode(PacketType::Unsubscribe, packet_id, filters, out).map(<[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::error::TopicError;

    #[test]
    fn encode_checks_filters() {
        let mut out = [0; 16];
        let id = PacketId::MIN;
        assert_eq!(encode(id, ["a/#"].into_iter(), &mut out), Ok(9));
        assert_eq!(&out[..9], b"\xA2\x07\0\x01\0\x03a/#");
        let filters = ["a", ""].into_iter();
        let error = EncodeError::Filter {
            number: 2,
            error: TopicError::Empty,
        };
        assert_eq!(encode(id, filters, &mut out), Err(error));
        let none = [].into_iter();
        assert_eq!(encode(id, none, &mut out), Err(EncodeError::NoFilters));
    }
}
