//! Lists that fill the rest of a packet: filters and return codes. One that came is checked once
//! and read lazily from the packet's bytes; one that is to be sent is a slice.

use core::fmt;

use super::error::{DecodeError, EncodeError};
use super::header::FixedHeader;
use super::packet_type::PacketType;
use super::reader::Reader;
use super::types::PacketId;
use super::writer::Writer;

/// What a list can hold when it comes from the wire.
pub(super) trait Decode<'a>: Copy {
    /// Passes over an item, and judges it.
    fn check(reader: &mut Reader<'a>) -> Result<(), DecodeError>;

    /// Reads an item that [`check`](Self::check) has found right; `None` at the end.
    fn read(reader: &mut Reader<'a>) -> Option<Self>;
}

/// What can be written into a list.
pub(super) trait Encode: Copy {
    /// Checks the item; its length, in bytes.
    fn encoded_len(&self) -> Result<usize, EncodeError>;

    fn write(&self, writer: &mut Writer<'_>);
}

/// A list of at least one item.
#[derive(Clone, Copy)]
pub(super) enum List<'a, T> {
    /// Bytes of a packet, checked.
    Wire(&'a [u8]),
    /// What is to be sent.
    Slice(&'a [T]),
}

impl<'a, T: Decode<'a>> List<'a, T> {
    /// Checks the rest of a packet; `empty` is the error if there is none.
    pub(super) fn decode(mut reader: Reader<'a>, empty: DecodeError) -> Result<Self, DecodeError> {
        let bytes = reader.rest();
        if bytes.is_empty() {
            return Err(empty);
        }
        while !reader.is_empty() {
            T::check(&mut reader)?;
        }
        Ok(Self::Wire(bytes))
    }

    pub(super) const fn iter(self) -> Items<'a, T> {
        match self {
            Self::Wire(bytes) => Items(List::Wire(bytes)),
            Self::Slice(items) => Items(List::Slice(items)),
        }
    }
}

/// The items of a [`List`].
#[derive(Clone)]
pub(super) struct Items<'a, T>(List<'a, T>);

impl<'a, T: Decode<'a>> Iterator for Items<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            List::Wire(bytes) => {
                let mut reader = Reader::new(bytes);
                let item = T::read(&mut reader)?;
                *bytes = reader.rest();
                Some(item)
            }
            List::Slice(items) => {
                let (item, rest) = items.split_first()?;
                *items = rest;
                Some(*item)
            }
        }
    }
}

impl<T: Encode> List<'_, T> {
    /// Length of a packet that is a Packet Identifier and this list, in bytes.
    pub(super) fn encoded_len(&self, packet_type: PacketType) -> Result<usize, EncodeError> {
        let items = match self {
            Self::Wire(bytes) => bytes.len(),
            Self::Slice(items) => measure(items.iter().copied())?,
        };
        fixed(packet_type, items).map(|header| header.frame_len())
    }

    /// Writes a packet that is a Packet Identifier and this list.
    pub(super) fn encode<'o>(
        &self,
        packet_type: PacketType,
        packet_id: PacketId,
        out: &'o mut [u8],
    ) -> Result<&'o [u8], EncodeError> {
        match self {
            // It goes on as it came.
            Self::Wire(bytes) => {
                let header = fixed(packet_type, bytes.len())?;
                header.encode(out, header.frame_len(), |writer| {
                    writer.packet_id(packet_id);
                    writer.bytes(bytes);
                })
            }
            Self::Slice(items) => encode(packet_type, packet_id, items.iter().copied(), out),
        }
    }
}

/// Writes a packet that is a Packet Identifier and a list. Items are checked as they are measured.
pub(super) fn encode(
    packet_type: PacketType,
    packet_id: PacketId,
    items: impl Iterator<Item: Encode> + Clone,
    out: &mut [u8],
) -> Result<&[u8], EncodeError> {
    let header = fixed(packet_type, measure(items.clone())?)?;
    header.encode(out, header.frame_len(), |writer| {
        writer.packet_id(packet_id);
        items.for_each(|item| item.write(writer));
    })
}

/// Length of all items, in bytes; there has to be one.
fn measure(items: impl Iterator<Item: Encode>) -> Result<usize, EncodeError> {
    let mut len = 0_usize;
    for item in items {
        len = len.saturating_add(item.encoded_len()?);
    }
    // [MQTT-3.8.3-3] [MQTT-3.10.3-2] There is no SUBACK without a code.
    if len == 0 {
        return Err(EncodeError::NoFilters);
    }
    Ok(len)
}

fn fixed(packet_type: PacketType, items: usize) -> Result<FixedHeader, EncodeError> {
    FixedHeader::new(packet_type, items.saturating_add(2))
}

/// Two lists are equal if their items are, wherever these are kept.
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
