//! The format of an image: its parts, its checksum, and the checks when it is read.
//!
//! ```text
//! "uMQ" version | length u32 | flags u8 | checksum of the subscriptions u32, if flag 8 is set | last id u16 | room u32 | client id: length u16, bytes
//! | received ids: count u16, u16 each | requests: count u16, (id u16, state u8, forgotten u8) each
//! | kept PUBLISHes as they would be sent again, back to back | CRC-32 of everything before
//! ```
//!
//! All numbers are big-endian. `room` is the length of the longest CONNECT, for which the send buffer keeps room.
//!
//! Bits of the flags: Clean Session of the last CONNECT (1), the server has the session (2), a CONNECT was sent and not
//! answered (4), the checksum of the subscriptions follows (8). Other bits are 0.
//!
//! The state of a request is the type of the packet that comes next: 4 PUBACK, 5 PUBREC, 6 PUBREL, 7 PUBCOMP, 9 SUBACK,
//! 11 UNSUBACK. Or it is a report whose event was not taken:
//!
//! ```text
//! 16 outcome unknown     18 publish discarded     21 PUBACK received      23 UNSUBACK received
//! 17 request rejected    19 delivery unknown      22 PUBCOMP received
//! ```
//!
//! State 20 is a discarded PUBLISH at QoS 2, whose id stays reserved. Up to four of them need no slot of the storage.
//! `forgotten` is 1 if the server forgot the session of a request.
//!
//! The kept PUBLISHes belong, in order, to the requests that wait for PUBACK or PUBREC. One with a streamed payload ends
//! where the payload would begin, and has the packet type 15.

use core::fmt;

use super::super::{
    in_flight::{DECLINED, Slot, SlotState},
    raw_packet,
};
use crate::{
    bytes,
    codec::{Connect, PacketId, PacketType, PublishHeader, QoS},
};

const MAGIC: [u8; 3] = *b"uMQ";
const VERSION: u8 = 2;
pub(super) const CLEAN_SESSION: u8 = 1;
pub(super) const SERVER_HAS_SESSION: u8 = 2;
pub(super) const CONNECT_UNANSWERED: u8 = 4;
pub(super) const SUBSCRIBED: u8 = 8;

/// Length of an image without client id, ids, requests and packets, in bytes.
pub(super) const FIXED_LEN: usize = 4 + 4 + 1 + 2 + 4 + 2 + 2 + 2 + 4;

/// Returns the length of the largest image of a session whose storage has these capacities. Client id and packets
/// share the send buffer.
pub(in crate::session) const fn max_len(tx: usize, inflight: usize, inbound: usize) -> usize {
    FIXED_LEN
        .saturating_add(4)
        .saturating_add(tx)
        .saturating_add(inflight.saturating_add(DECLINED).saturating_mul(4))
        .saturating_add(inbound.saturating_mul(2))
}

/// The reason why a session was not saved or restored. The session is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ImageError {
    /// The buffer is shorter than the image.
    BufferTooSmall {
        /// Length of the image, in bytes; [`Storage::IMAGE_LEN`](crate::session::Storage::IMAGE_LEN) is always enough.
        needed: usize,
    },
    /// The bytes are not an image of a session.
    NotAnImage,
    /// The image has the format of another version of this library.
    UnknownVersion {
        /// Its version.
        version: u8,
    },
    /// The image is incomplete.
    Truncated,
    /// The checksum is wrong: a byte has changed.
    Corrupt,
    /// The checksum is right, but this library does not write such an image.
    Inconsistent,
    /// The image needs more room than the storage has. Restore it into the capacities with which it was saved.
    StorageTooSmall,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferTooSmall { needed } => {
                write!(f, "buffer too small: the image needs {needed} bytes")
            }
            Self::NotAnImage => f.write_str("not an image: the bytes are no saved session"),
            Self::UnknownVersion { version } => {
                write!(
                    f,
                    "unknown image version: {version}; this library reads {VERSION}"
                )
            }
            Self::Truncated => f.write_str("image incomplete: bytes are missing at its end"),
            Self::Corrupt => f.write_str("image corrupt: its checksum is wrong"),
            Self::Inconsistent => {
                f.write_str("image inconsistent: its parts do not belong together")
            }
            Self::StorageTooSmall => {
                f.write_str("storage too small: use the capacities with which the image was saved")
            }
        }
    }
}

impl core::error::Error for ImageError {}

/// An image with a valid checksum and layout.
pub(super) struct Image<'a> {
    pub(super) clean_session: bool,
    pub(super) server_has_session: bool,
    pub(super) connect_unanswered: bool,
    /// Checksum of the standing subscriptions that the server has, or 0.
    pub(super) granted_checksum: u32,
    pub(super) last_id: u16,
    pub(super) connect_room: usize,
    client_id: &'a str,
    received: &'a [u8],
    slots: &'a [u8],
    pub(super) packets: &'a [u8],
}

impl<'a> Image<'a> {
    #[inline(never)] // each step of a restore has its own stack frame
    pub(super) fn parse(image: &'a [u8]) -> Result<Self, ImageError> {
        let mut reader = ImageReader(image);
        if reader.array().ok() != Some(MAGIC) {
            return Err(ImageError::NotAnImage);
        }
        let [version] = reader.array()?;
        if version != VERSION {
            return Err(ImageError::UnknownVersion { version });
        }
        let len = reader.u32()?;
        let body = image.get(..len).ok_or(ImageError::Truncated)?;
        let (body, crc) = body.split_last_chunk().ok_or(ImageError::Corrupt)?;
        let mut sum = Crc::new();
        sum.add(body);
        if sum.value() != u32::from_be_bytes(*crc) {
            return Err(ImageError::Corrupt);
        }
        let content = body.get(8..).ok_or(ImageError::Corrupt)?;
        Self::read(&mut ImageReader(content)).ok_or(ImageError::Inconsistent)
    }

    fn read(reader: &mut ImageReader<'a>) -> Option<Self> {
        let [flags] = reader.array().ok()?;
        let granted_checksum = if flags & SUBSCRIBED == 0 {
            0
        } else {
            u32::from_be_bytes(reader.array().ok()?)
        };
        let last_id = reader.u16().ok()?;
        let connect_room = reader.u32().ok()?;
        let len = reader.u16().ok()?;
        let client_id = core::str::from_utf8(reader.take(usize::from(len)).ok()?).ok()?;
        let count = reader.u16().ok()?;
        let received = reader.take(usize::from(count).checked_mul(2)?).ok()?;
        let count = reader.u16().ok()?;
        let slots = reader.take(usize::from(count).checked_mul(4)?).ok()?;
        let image = Self {
            clean_session: flags & CLEAN_SESSION != 0,
            server_has_session: flags & SERVER_HAS_SESSION != 0,
            connect_unanswered: flags & CONNECT_UNANSWERED != 0,
            granted_checksum,
            last_id,
            connect_room,
            client_id,
            received,
            slots,
            packets: reader.0,
        };
        let known = CLEAN_SESSION | SERVER_HAS_SESSION | CONNECT_UNANSWERED | SUBSCRIBED;
        (flags & !known == 0).then_some(image)
    }

    /// Returns a CONNECT with the client id of the last one.
    pub(super) fn connect(&self) -> Connect<'a> {
        Connect {
            clean_session: self.clean_session,
            ..Connect::new(self.client_id)
        }
    }

    /// Returns the length of that CONNECT in bytes, or 0 if there was none. Returns `None` if the CONNECT would be
    /// invalid.
    pub(super) fn connect_len(&self) -> Option<usize> {
        if self.connect_room == 0 && self.client_id.is_empty() {
            return Some(0);
        }
        let len = self.connect().encoded_len().ok()?;
        (len <= self.connect_room).then_some(len)
    }

    pub(super) fn received_ids(&self) -> impl Iterator<Item = PacketId> + Clone {
        let (ids, _) = self.received.as_chunks();
        ids.iter()
            .filter_map(|id| PacketId::new(u16::from_be_bytes(*id)))
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + Clone {
        let (slots, _) = self.slots.as_chunks();
        slots.iter().filter_map(read_slot)
    }

    /// Returns the number of slots that the requests occupy.
    pub(super) fn slots_needed(&self) -> usize {
        let declined = self
            .slots()
            .filter(|slot| slot.state == SlotState::Declined);
        let without_slot = declined.count().min(DECLINED);
        self.slots().count().saturating_sub(without_slot)
    }

    /// Returns `true` if ids, states and packets are valid and belong together.
    pub(super) fn is_consistent(&self) -> bool {
        self.ids_are_valid() && self.packets_are_valid()
    }

    /// Returns `true` if no id is 0, no id occurs twice, and every state can occur in an image.
    #[inline(never)]
    fn ids_are_valid(&self) -> bool {
        self.received_ids().count() == self.received.len() / 2
            && self.slots().count() == self.slots.len() / 4
            && all_different(self.received_ids())
            && all_different(self.slots().map(|slot| slot.id))
    }

    /// Returns `true` if the packets are the PUBLISHes of the requests that wait for PUBACK or PUBREC, in the same order.
    #[inline(never)]
    fn packets_are_valid(&self) -> bool {
        let mut rest = self.packets;
        for slot in self.slots() {
            let qos = match slot.state {
                SlotState::Puback => QoS::AtLeastOnce,
                SlotState::Pubrec => QoS::ExactlyOnce,
                _ => continue,
            };
            match split_publish(rest) {
                Some((id, found, tail)) if id == slot.id && found == qos => rest = tail,
                _ => return false,
            }
        }
        rest.is_empty()
    }
}

fn read_slot(&[high, low, state, forgotten]: &[u8; 4]) -> Option<Slot> {
    let slot = Slot::new(
        PacketId::new(u16::from_be_bytes([high, low]))?,
        SlotState::from_number(state)?,
        forgotten == 1,
    );
    (forgotten <= 1).then_some(slot)
}

fn all_different(mut ids: impl Iterator<Item = PacketId> + Clone) -> bool {
    while let Some(id) = ids.next() {
        if ids.clone().any(|other| other == id) {
            return false;
        }
    }
    true
}

/// Returns id and QoS of the PUBLISH at the start of `bytes`, and the bytes after it.
fn split_publish(bytes: &[u8]) -> Option<(PacketId, QoS, &[u8])> {
    let (header, used) = raw_packet::publish_header(bytes)?;
    if header.packet_type != PacketType::Publish {
        return None;
    }
    let (publish, part) = PublishHeader::decode_body(&header, bytes.get(used..)?).ok()??;
    let body = if raw_packet::is_streamed(*bytes.first()?) {
        part
    } else {
        header.body_len()
    };
    let (_, rest) = bytes.split_at_checked(used.checked_add(body)?)?;
    Some((publish.delivery.packet_id()?, publish.delivery.qos(), rest))
}

struct ImageReader<'a>(&'a [u8]);

impl<'a> ImageReader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ImageError> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(ImageError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(ImageError::Truncated)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u16(&mut self) -> Result<u16, ImageError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<usize, ImageError> {
        let value = u32::from_be_bytes(self.array()?);
        usize::try_from(value).map_err(|_| ImageError::Inconsistent)
    }
}

/// Writes an image, and its checksum at the end.
pub(super) struct ImageWriter<'o> {
    /// Exactly as long as the image.
    out: &'o mut [u8],
    at: usize,
    crc: Crc,
}

impl<'o> ImageWriter<'o> {
    /// Begins an image of `len` bytes at the start of `out`.
    pub(super) fn new(out: &'o mut [u8], len: usize) -> Result<Self, ImageError> {
        let needed = len;
        let out = out
            .get_mut(..len)
            .ok_or(ImageError::BufferTooSmall { needed })?;
        let mut image = Self {
            out,
            at: 0,
            crc: Crc::new(),
        };
        image.put(&MAGIC);
        image.put(&[VERSION]);
        image.u32(len);
        Ok(image)
    }

    pub(super) fn finish(mut self) {
        let crc = self.crc.value();
        self.put(&crc.to_be_bytes());
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        let end = self.at.saturating_add(bytes.len());
        if let Some(place) = self.out.get_mut(self.at..end)
            && place.len() == bytes.len()
        {
            bytes::copy(place, bytes);
            self.at = end;
            self.crc.add(bytes);
        }
    }

    /// Writes a number. It always fits, because the codec limits strings and the storage limits ids.
    pub(super) fn u16(&mut self, value: usize) {
        self.put(&u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: usize) {
        self.put(&u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes());
    }
}

/// CRC-32 as in Ethernet. Bit by bit, because a save is rare and a table takes 1 KiB of flash.
struct Crc(u32);

impl Crc {
    const fn new() -> Self {
        Self(u32::MAX)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u32::from(*byte);
            for _ in 0..8 {
                let carry = self.0 & 1;
                self.0 >>= 1;
                if carry != 0 {
                    self.0 ^= 0xEDB8_8320;
                }
            }
        }
    }

    const fn value(&self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_of_check_string_equals_ethernet_crc() {
        let mut crc = Crc::new();
        crc.add(b"123456789");
        assert_eq!(crc.value(), 0xCBF4_3926);
    }
}
