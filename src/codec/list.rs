//! Lists of filters and return codes, which fill the rest of a packet.

use core::fmt;

use super::error::{DecodeError, EncodeError, TopicError};
use super::header::FixedHeader;
use super::packet_type::PacketType;
use super::reader::Reader;
use super::topic::TopicFilter;
use super::types::{PacketId, QoS};
use super::writer::Writer;

/// An item that can be decoded.
pub(super) trait Decode<'a>: Copy {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
}

/// An item that can be encoded.
pub(super) trait Encode: Copy {
    /// Checks the item and returns its length, in bytes.
    fn encoded_len(&self) -> Result<usize, TopicError>;

    fn write(&self, writer: &mut Writer<'_>);
}

impl<'a> Decode<'a> for TopicFilter<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        // [MQTT-3.8.3-1] [MQTT-3.10.3-1] A filter is valid UTF-8.
        Self::decode(reader.length_prefixed()?)
    }
}

impl Encode for TopicFilter<'_> {
    fn encoded_len(&self) -> Result<usize, TopicError> {
        // At most 65,537.
        Ok(self.as_bytes().len().wrapping_add(2))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.length_prefixed(self.as_bytes());
    }
}

/// A filter. [`Encode::encoded_len`] checks it.
impl Encode for &str {
    fn encoded_len(&self) -> Result<usize, TopicError> {
        TopicFilter::new(self)?.encoded_len()
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.length_prefixed(self.as_bytes());
    }
}

/// A filter with the QoS that is requested.
impl<T: Encode> Encode for (T, QoS) {
    fn encoded_len(&self) -> Result<usize, TopicError> {
        self.0.encoded_len().map(|len| len.wrapping_add(1))
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.0.write(writer);
        writer.u8(self.1.bits());
    }
}

/// A list of at least one item.
#[derive(Clone, Copy)]
pub(super) enum List<'a, T> {
    /// Received bytes, which were checked.
    Wire(&'a [u8]),
    /// Items to be sent.
    Slice(&'a [T]),
}

impl<'a, T: Decode<'a>> List<'a, T> {
    /// Checks the rest of a packet. Returns the error `empty` if there is none.
    pub(super) fn decode(mut reader: Reader<'a>, empty: DecodeError) -> Result<Self, DecodeError> {
        let bytes = reader.rest();
        if bytes.is_empty() {
            return Err(empty);
        }
        while !reader.is_empty() {
            T::decode(&mut reader)?;
        }
        Ok(Self::Wire(bytes))
    }

    pub(super) fn iter(self) -> impl Iterator<Item = T> + Clone + use<'a, T> {
        let mut rest = self;
        core::iter::from_fn(move || rest.take_first())
    }

    /// Removes the first item. The list may become empty.
    pub(super) fn take_first(&mut self) -> Option<T> {
        match self {
            Self::Wire(bytes) => {
                let mut reader = Reader::new(bytes);
                let item = T::decode(&mut reader).ok()?;
                *bytes = reader.rest();
                Some(item)
            }
            Self::Slice(items) => items.split_off_first().copied(),
        }
    }
}

impl<T: Encode> List<'_, T> {
    /// Returns the length of a packet of a packet id and this list, in bytes.
    pub(super) fn encoded_len(&self, packet_type: PacketType) -> Result<usize, EncodeError> {
        let len = match self {
            Self::Wire(bytes) => bytes.len(),
            Self::Slice(items) => measure(items.iter().copied())?,
        };
        header(packet_type, len).map(|header| header.packet_len())
    }

    /// Encodes a packet of a packet id and this list.
    pub(super) fn encode<'o>(
        &self,
        packet_type: PacketType,
        packet_id: PacketId,
        out: &'o mut [u8],
    ) -> Result<&'o [u8], EncodeError> {
        match self {
            Self::Wire(bytes) => {
                let header = header(packet_type, bytes.len())?;
                header.encode(out, header.packet_len(), |writer| {
                    writer.packet_id(packet_id);
                    writer.bytes(bytes);
                })
            }
            Self::Slice(items) => encode(packet_type, packet_id, items.iter().copied(), out),
        }
    }
}

/// Encodes a packet of a packet id and a list.
pub(super) fn encode(
    packet_type: PacketType,
    packet_id: PacketId,
    items: impl Iterator<Item: Encode> + Clone,
    out: &mut [u8],
) -> Result<&[u8], EncodeError> {
    let header = header(packet_type, measure(items.clone())?)?;
    header.encode(out, header.packet_len(), |writer| {
        writer.packet_id(packet_id);
        items.for_each(|item| item.write(writer));
    })
}

/// Checks all items and returns their length, in bytes.
fn measure(items: impl Iterator<Item: Encode>) -> Result<usize, EncodeError> {
    let (mut number, mut len) = (0_u16, 0_usize);
    for item in items {
        number = number.saturating_add(1);
        let item_len = item.encoded_len();
        len = len.saturating_add(item_len.map_err(|error| EncodeError::Filter { number, error })?);
    }
    // [MQTT-3.8.3-3] [MQTT-3.10.3-2] There is at least one filter. (A SUBACK without a code cannot be built.)
    if len == 0 {
        return Err(EncodeError::NoFilters);
    }
    Ok(len)
}

/// Returns the header of a packet of a packet id and `len` bytes of items.
fn header(packet_type: PacketType, len: usize) -> Result<FixedHeader, EncodeError> {
    FixedHeader::new(packet_type, len.saturating_add(2))
}

/// Lists are equal if their items are equal.
impl<'a, T: Decode<'a> + PartialEq> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a, T: Decode<'a> + Eq> Eq for List<'a, T> {}

impl<'a, T: Decode<'a> + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(feature = "defmt")]
impl<'a, T: Decode<'a> + defmt::Format> defmt::Format for List<'a, T> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "[");
        self.iter().for_each(|item| defmt::write!(f, "{}, ", item));
        defmt::write!(f, "]");
    }
}
