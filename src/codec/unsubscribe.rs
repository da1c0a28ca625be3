//! UNSUBSCRIBE (section 3.10).

use super::error::{DecodeError, EncodeError};
use super::list::{self, Decode, Encode, List};
use super::packet_type::PacketType;
use super::reader::Reader;
use super::topic::TopicFilter;
use super::types::PacketId;
use super::writer::Writer;

/// A client's request to end subscriptions (section 3.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Unsubscribe<'a> {
    packet_id: PacketId,
    filters: List<'a, TopicFilter<'a>>,
}

impl<'a> Unsubscribe<'a> {
    /// A request to end the subscriptions to these filters.
    ///
    /// # Errors
    ///
    /// [`EncodeError::NoFilters`] if there is none.
    pub const fn new(
        packet_id: PacketId,
        filters: &'a [TopicFilter<'a>],
    ) -> Result<Self, EncodeError> {
        // [MQTT-3.10.3-2] At least one filter.
        if filters.is_empty() {
            return Err(EncodeError::NoFilters);
        }
        Ok(Self {
            packet_id,
            filters: List::Slice(filters),
        })
    }

    /// The identifier that the UNSUBACK will carry.
    #[must_use]
    pub const fn packet_id(&self) -> PacketId {
        self.packet_id
    }

    /// The filters.
    pub fn filters(&self) -> impl Iterator<Item = TopicFilter<'a>> + Clone + use<'a> {
        self.filters.iter()
    }

    /// The packet whose body this is.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`], [`PacketIdZero`](DecodeError::PacketIdZero),
    /// [`NoFilters`](DecodeError::NoFilters), [`InvalidUtf8`](DecodeError::InvalidUtf8) and
    /// [`TopicFilter`](DecodeError::TopicFilter).
    pub fn decode_body(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        // [MQTT-3.10.3-2] At least one filter.
        let filters = List::decode(reader, DecodeError::NoFilters)?;
        Ok(Self { packet_id, filters })
    }

    /// Length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError::PacketTooLong`].
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        self.filters.encoded_len(PacketType::Unsubscribe)
    }

    /// Writes the packet to the start of `out` and returns what was written.
    ///
    /// # Errors
    ///
    /// [`EncodeError::PacketTooLong`] and [`BufferTooSmall`](EncodeError::BufferTooSmall); `out` is
    /// untouched.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        self.filters
            .encode(PacketType::Unsubscribe, self.packet_id, out)
    }
}

/// Writes an UNSUBSCRIBE of filters that are not checked yet; the length of what was written.
pub(crate) fn encode<'s>(
    packet_id: PacketId,
    filters: impl Iterator<Item = &'s str> + Clone,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    list::encode(PacketType::Unsubscribe, packet_id, filters, out).map(<[u8]>::len)
}

impl<'a> Decode<'a> for TopicFilter<'a> {
    #[inline(always)]
    fn check(reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        // [MQTT-3.10.3-1] A valid string.
        Self::check_received(reader.prefixed()?)
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        reader.prefixed().ok().map(Self::unchecked)
    }
}

impl Encode for TopicFilter<'_> {
    fn encoded_len(&self) -> Result<usize, EncodeError> {
        Ok(self.as_bytes().len().wrapping_add(2))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.prefixed(self.as_bytes());
    }
}

impl Encode for &str {
    fn encoded_len(&self) -> Result<usize, EncodeError> {
        TopicFilter::new(self)?.encoded_len()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.prefixed(self.as_bytes());
    }
}
