//! A session as bytes, for deep sleep and reboots.
//!
//! ```text
//! "uMQ" version | length u32 | flags u8 | last id u16 | room u32 | client id: length u16, bytes
//! | received ids: count u16, u16 each | requests: count u16, (id u16, state u8, forgotten u8) each
//! | kept PUBLISHes as they would be sent again, back to back | CRC-32 of everything before
//! ```
//!
//! All numbers are big-endian. The kept PUBLISHes belong, in their order, to the requests that wait for PUBACK or
//! PUBREC. One whose payload is outside ends where that would begin, and is marked by the packet type 15.

use core::fmt;

use super::{
    in_flight::{Slot, State},
    raw_packet,
    state::Session,
};
use crate::{
    bytes,
    codec::{Connect, PacketId, PacketType, PublishHeader, QoS},
};

const MAGIC: [u8; 3] = *b"uMQ";
const VERSION: u8 = 2;
const CLEAN: u8 = 1;
const KNOWN: u8 = 2;

/// Bytes of an image besides client id, ids, requests and packets.
const FIXED: usize = 4 + 4 + 1 + 2 + 4 + 2 + 2 + 2 + 4;

/// The largest image of a session whose storage has these capacities. (Client id and packets share the arena.)
pub(super) const fn max_len(tx: usize, inflight: usize, inbound: usize) -> usize {
    FIXED
        .saturating_add(tx)
        .saturating_add(inflight.saturating_mul(4))
        .saturating_add(inbound.saturating_mul(2))
}

/// Why a session was not saved or restored. The session is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ImageError {
    /// The buffer is shorter than the image.
    BufferTooSmall {
        /// Length of the image, in bytes; [`Storage::IMAGE_LEN`](super::Storage::IMAGE_LEN) is always enough.
        needed: usize,
    },
    /// The bytes are no image of a session.
    NotAnImage,
    /// The image was written by another version of this library.
    UnknownVersion {
        /// Its version.
        version: u8,
    },
    /// The image is incomplete.
    Truncated,
    /// The checksum is wrong: a byte has changed.
    Corrupt,
    /// The checksum is right, but the image is not one that this library writes.
    Inconsistent,
    /// The image holds more than the storage has room for.
    StorageTooSmall,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferTooSmall { needed } => {
                write!(f, "the image needs a buffer of {needed} bytes")
            }
            Self::NotAnImage => f.write_str("this is no image of a session"),
            Self::UnknownVersion { version } => {
                write!(f, "the image has version {version}, known is {VERSION}")
            }
            Self::Truncated => f.write_str("the image is incomplete"),
            Self::Corrupt => f.write_str("the checksum of the image is wrong"),
            Self::Inconsistent => f.write_str("the image contradicts itself"),
            Self::StorageTooSmall => {
                f.write_str("the image holds more than the storage has room for")
            }
        }
    }
}

impl core::error::Error for ImageError {}

/// The chance to save a session before anything leaves that follows from its last change.
#[derive(Clone, Copy)]
pub struct Checkpoint<'a>(pub(super) &'a Session<'a>);

impl Checkpoint<'_> {
    /// As [`Session::save`].
    ///
    /// # Errors
    ///
    /// As [`Session::save`].
    pub fn save(&self, out: &mut [u8]) -> Result<usize, ImageError> {
        self.0.save(out)
    }
}

impl PartialEq for Checkpoint<'_> {
    /// Whether both are of the same session.
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.0, other.0)
    }
}

impl Eq for Checkpoint<'_> {}

impl fmt::Debug for Checkpoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checkpoint")
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Checkpoint<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Checkpoint");
    }
}

impl Session<'_> {
    /// Writes all that has to survive a reboot to `out` and returns how many bytes that took, at most
    /// [`Storage::IMAGE_LEN`](super::Storage::IMAGE_LEN).
    ///
    /// An event that [`poll`](Session::poll) has announced and nobody has taken is not saved: take all events first.
    ///
    /// What is restored counts as sent: nobody knows what left after the image was made, so every PUBLISH goes out again
    /// with DUP, even one that never left.
    ///
    /// Restoring an image that is older than the last packet sent may repeat a QoS 2 message or swallow one. Either
    /// save when nothing more will be sent, before a deep sleep, or turn on
    /// [checkpoints](Session::set_checkpoints).
    ///
    /// # Errors
    ///
    /// [`ImageError::BufferTooSmall`].
    pub fn save(&self, out: &mut [u8]) -> Result<usize, ImageError> {
        let client_id = self.sender.buffer.client_id().unwrap_or_default();
        let kept = self
            .sender
            .buffer
            .kept_publishes()
            .fold(0, |len: usize, (_, rest)| {
                len.saturating_add(1).saturating_add(rest.len())
            });
        let needed = FIXED
            .saturating_add(client_id.len())
            .saturating_add(self.received_ids.as_slice().len().saturating_mul(2))
            .saturating_add(self.sender.in_flight.len().saturating_mul(4))
            .saturating_add(kept);
        let mut image = Writer {
            out: out
                .get_mut(..needed)
                .ok_or(ImageError::BufferTooSmall { needed })?,
            at: 0,
            crc: Crc::new(),
        };
        image.put(&MAGIC);
        image.put(&[VERSION]);
        image.u32(needed);
        image.put(&[if self.link.clean_session() { CLEAN } else { 0 }
            | if self.link.server_has_session() {
                KNOWN
            } else {
                0
            }]);
        image.u16(usize::from(self.sender.in_flight.last_id()));
        image.u32(self.sender.buffer.connect_room());
        image.u16(client_id.len());
        image.put(client_id);
        image.u16(self.received_ids.as_slice().len());
        for id in self.received_ids.as_slice() {
            image.put(&id.get().to_be_bytes());
        }
        image.u16(self.sender.in_flight.len());
        for slot in self.sender.in_flight.iter() {
            let [high, low] = slot.id.get().to_be_bytes();
            image.put(&[high, low, slot.state as u8, u8::from(slot.is_forgotten())]);
        }
        // With DUP: what leaves after this moment has been attempted when the image is read.
        for (first, rest) in self.sender.buffer.kept_publishes() {
            image.put(&[first]);
            image.put(rest);
        }
        let crc = image.crc.value();
        image.put(&crc.to_be_bytes());
        Ok(needed)
    }

    /// Replaces what this session remembers by what [`Self::save`] wrote; a connection that it has counts as lost.
    ///
    /// # Errors
    ///
    /// [`ImageError`]; the session is as it was.
    pub fn restore(&mut self, image: &[u8]) -> Result<(), ImageError> {
        match &Image::check(image) {
            Ok(image) => self.restore_checked(image),
            Err(error) => Err(*error),
        }
    }

    fn restore_checked(&mut self, image: &Image<'_>) -> Result<(), ImageError> {
        let connect_len = image
            .connect_len()
            .filter(|_| image.ids_are_sound() && image.packets_are_sound())
            .ok_or(ImageError::Inconsistent)?;
        if !self.has_room_for(image) {
            return Err(ImageError::StorageTooSmall);
        }
        self.connection_lost();
        self.clean_up_connection();
        self.take_packets(image, connect_len);
        self.take_over(image);
        Ok(())
    }

    #[inline(never)]
    fn has_room_for(&self, image: &Image<'_>) -> bool {
        image.received().count() <= self.received_ids.capacity()
            && image.slots().count() <= self.sender.in_flight.capacity()
            && self
                .sender
                .buffer
                .can_restore(image.room, image.packets.len())
    }

    /// Takes over the packets of the image, for which there is room.
    #[inline(never)]
    fn take_packets(&mut self, image: &Image<'_>, connect_len: usize) {
        self.sender
            .buffer
            .restore(image.room, image.packets, |room| {
                let place = room.len().saturating_sub(connect_len);
                let connect = image.connect();
                let connect = connect.encode(room.get_mut(place..).unwrap_or_default());
                connect.map_or(0, <[u8]>::len)
            });
    }

    /// Remembers what else the image holds.
    #[inline(never)]
    fn take_over(&mut self, image: &Image<'_>) {
        self.sender.in_flight.restore(image.slots(), image.last_id);
        self.received_ids.restore(image.received());
        self.link.restore(image.clean, image.known);
        self.sender.qos0_dropped = 0;
        self.sender.changed = false;
        self.events.clear();
    }
}

/// An image whose checksum and outline are right.
struct Image<'a> {
    clean: bool,
    known: bool,
    last_id: u16,
    room: usize,
    client_id: &'a str,
    received: &'a [u8],
    slots: &'a [u8],
    packets: &'a [u8],
}

impl<'a> Image<'a> {
    #[inline(never)] // each step of a restore has the stack for itself
    fn check(image: &'a [u8]) -> Result<Self, ImageError> {
        let mut reader = Reader(image);
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
        Self::read(&mut Reader(content)).ok_or(ImageError::Inconsistent)
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let [flags] = reader.array().ok()?;
        let last_id = reader.u16().ok()?;
        let room = reader.u32().ok()?;
        let len = reader.u16().ok()?;
        let client_id = core::str::from_utf8(reader.take(usize::from(len)).ok()?).ok()?;
        let count = reader.u16().ok()?;
        let received = reader.take(usize::from(count).checked_mul(2)?).ok()?;
        let count = reader.u16().ok()?;
        let slots = reader.take(usize::from(count).checked_mul(4)?).ok()?;
        let image = Self {
            clean: flags & CLEAN != 0,
            known: flags & KNOWN != 0,
            last_id,
            room,
            client_id,
            received,
            slots,
            packets: reader.0,
        };
        (flags & !(CLEAN | KNOWN) == 0).then_some(image)
    }

    /// A CONNECT with the client id of the last.
    fn connect(&self) -> Connect<'a> {
        Connect {
            clean_session: self.clean,
            ..Connect::new(self.client_id)
        }
    }

    /// Length of that CONNECT, in bytes, or 0 if none has been queued so far; `None` if it cannot have been.
    fn connect_len(&self) -> Option<usize> {
        if self.room == 0 && self.client_id.is_empty() {
            return Some(0);
        }
        let len = self.connect().encoded_len().ok()?;
        (len <= self.room).then_some(len)
    }

    fn received(&self) -> impl Iterator<Item = PacketId> + Clone {
        let (ids, _) = self.received.as_chunks();
        ids.iter()
            .filter_map(|id| PacketId::new(u16::from_be_bytes(*id)))
    }

    fn slots(&self) -> impl Iterator<Item = Slot> + Clone {
        let (slots, _) = self.slots.as_chunks();
        slots.iter().filter_map(slot)
    }

    /// No id is 0, none stands twice, every state is one that can be saved.
    #[inline(never)]
    fn ids_are_sound(&self) -> bool {
        self.received().count() == self.received.len() / 2
            && self.slots().count() == self.slots.len() / 4
            && all_different(self.received())
            && all_different(self.slots().map(|slot| slot.id))
    }

    /// Each packet is a PUBLISH, each belongs to a request that waits for one, in the same order, and none is missing.
    #[inline(never)]
    fn packets_are_sound(&self) -> bool {
        let mut rest = self.packets;
        for slot in self.slots() {
            let qos = match slot.state {
                State::Puback => QoS::AtLeastOnce,
                State::Pubrec => QoS::ExactlyOnce,
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

fn slot(&[high, low, state, forgotten]: &[u8; 4]) -> Option<Slot> {
    let slot = Slot::new(
        PacketId::new(u16::from_be_bytes([high, low]))?,
        State::from_saved(state)?,
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

/// Id and QoS of the PUBLISH at the start of `bytes`, and what follows it.
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

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
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

struct Writer<'o> {
    /// Exactly as long as the image.
    out: &'o mut [u8],
    at: usize,
    crc: Crc,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.at.saturating_add(bytes.len());
        if let Some(place) = self.out.get_mut(self.at..end)
            && place.len() == bytes.len()
        {
            bytes::copy(place, bytes);
            self.at = end;
            self.crc.add(bytes);
        }
    }

    /// A number that fits: the codec allows no longer strings, the storage no more ids.
    fn u16(&mut self, value: usize) {
        self.put(&u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes());
    }

    fn u32(&mut self, value: usize) {
        self.put(&u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes());
    }
}

/// CRC-32 as in Ethernet, bit by bit: a save is rare, and a table would cost 1 KiB of flash.
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
    fn crc_is_the_one_of_ethernet() {
        let mut crc = Crc::new();
        crc.add(b"123456789");
        assert_eq!(crc.value(), 0xCBF4_3926);
    }
}
