//! Fields of an encoded packet, read without decoding the packet.
//!
//! In the send buffer and in images, a PUBLISH with a streamed payload ends where that payload would begin. Until it
//! is sent, its packet type is [`STREAMED_TYPE`].

use crate::{
    codec::{FixedHeader, PacketId, QoS, wire},
    log,
};

/// The packet type of a PUBLISH whose payload is streamed; the specification reserves it.
pub(super) const STREAMED_TYPE: u8 = 0xF0;

/// Returns `true` if `first` is the first byte of a PUBLISH whose payload is streamed and that is not being sent.
pub(super) fn is_streamed(first: u8) -> bool {
    first & STREAMED_TYPE == STREAMED_TYPE
}

/// Returns the first byte with another packet type.
pub(super) fn with_type(first: u8, packet_type: u8) -> u8 {
    packet_type | (first & wire::FLAGS_MASK)
}

/// Decodes the fixed header of a PUBLISH, streamed or not. Returns it with its length.
pub(super) fn publish_header(packet: &[u8]) -> Option<(FixedHeader, usize)> {
    let (&first, rest) = packet.split_first()?;
    if !is_streamed(first) {
        return FixedHeader::decode(packet).ok()?;
    }
    let mut bytes = [with_type(first, wire::PUBLISH), 0, 0, 0, 0];
    for (byte, from) in bytes.iter_mut().skip(1).zip(rest) {
        *byte = *from;
    }
    FixedHeader::decode(&bytes).ok()?
}

/// Returns the packet id, if the packet has one and `body` contains it. Checks nothing else.
pub(super) fn packet_id(first: u8, body: &[u8]) -> Option<PacketId> {
    let at = match first & wire::TYPE_MASK {
        wire::CONNECT | wire::DISCONNECT => return None,
        wire::PUBLISH | STREAMED_TYPE if first & wire::QOS_MASK == 0 => return None,
        wire::PUBLISH | STREAMED_TYPE => payload_offset(first, body).wrapping_sub(2),
        _ => 0,
    };
    PacketId::new(u16_at(body, at))
}

/// Returns the offset of the payload in the body of a PUBLISH: after topic and packet id.
pub(super) fn payload_offset(flags: u8, body: &[u8]) -> usize {
    let id_len = if flags & wire::QOS_MASK == 0 { 0 } else { 2 };
    usize::from(u16_at(body, 0))
        .saturating_add(2)
        .saturating_add(id_len)
}

/// Returns the number at `at`, or 0 if `bytes` is too short.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |number| u16::from_be_bytes(*number))
}

/// Returns the client id in the body of a CONNECT, where it follows the variable header (section 3.1.3).
pub(super) fn client_id(connect: &[u8]) -> Option<&[u8]> {
    let (len, rest) = connect
        .get(wire::CONNECT_VARIABLE_HEADER_LEN..)?
        .split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*len)))
}

/// Returns the Remaining Length of a packet that this library encoded, and the length of its fixed header. Checks
/// nothing.
pub(super) fn own_header(packet: &[u8]) -> (usize, usize) {
    let (mut length, mut used) = (0, 1_usize);
    let mut shift = 0_u32;
    for byte in packet.iter().skip(1).take(4) {
        length |= usize::from(byte & !wire::CONTINUATION).wrapping_shl(shift);
        shift = shift.wrapping_add(7);
        used = used.wrapping_add(1);
        if *byte & wire::CONTINUATION == 0 {
            break;
        }
    }
    (length, used)
}

/// Counts the filters in the body of a SUBSCRIBE that this library encoded.
pub(super) fn filter_count(subscribe: &[u8]) -> usize {
    let mut rest = subscribe.get(2..).unwrap_or_default();
    let mut count: usize = 0;
    while let Some((len, filter)) = rest.split_first_chunk() {
        // The requested QoS follows the filter.
        rest = filter
            .get(usize::from(u16::from_be_bytes(*len)).wrapping_add(1)..)
            .unwrap_or_default();
        count = count.wrapping_add(1);
    }
    count
}

/// Returns the length of a SUBACK with this number of codes: the fixed header, the packet id and one byte a code.
pub(super) const fn suback_len(codes: usize) -> usize {
    let remaining = codes.saturating_add(2);
    let length_bytes = match remaining {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        _ => 3,
    };
    remaining.saturating_add(1).saturating_add(length_bytes)
}

/// An encoded packet in a buffer.
pub(super) struct RawPacket {
    first: u8,
    /// The payload is not in the buffer.
    pub(super) is_streamed: bool,
    /// Start of its body.
    pub(super) body: usize,
    /// End of the packet, or the position at which its streamed payload would begin.
    pub(super) end: usize,
    /// Length of the streamed payload, in bytes.
    pub(super) streamed_len: usize,
}

impl RawPacket {
    /// Reads the packet that begins at `at`. Its payload is streamed if it has the type [`STREAMED_TYPE`], or if
    /// `is_streamed` is `true`. The end is always after the start, so that every loop over packets ends.
    pub(super) fn read(buffer: &[u8], at: usize, is_streamed: bool) -> Self {
        let packet = buffer.get(at..).unwrap_or_default();
        let (remaining, used) = own_header(packet);
        let first = packet.first().copied().unwrap_or_default();
        let is_streamed = is_streamed || self::is_streamed(first);
        let (mut len, mut streamed_len) = (remaining, 0);
        if is_streamed {
            len = payload_offset(first, packet.get(used..).unwrap_or_default());
            streamed_len = remaining.wrapping_sub(len);
        }
        let body = at.wrapping_add(used);
        Self {
            first,
            is_streamed,
            body,
            end: body.wrapping_add(len),
            streamed_len,
        }
    }

    /// Returns the packet id. `buffer` is the one that the packet was read from.
    pub(super) fn id(&self, buffer: &[u8]) -> Option<PacketId> {
        packet_id(self.first, buffer.get(self.body..)?)
    }

    /// Logs that this packet was sent. It begins at `at`.
    pub(super) fn log_sent(&self, at: usize, id: Option<PacketId>) {
        let in_buffer = self.end.wrapping_sub(at);
        log::sent(self.first, id, in_buffer.wrapping_add(self.streamed_len));
    }

    pub(super) fn is_connect(&self) -> bool {
        self.first & wire::TYPE_MASK == wire::CONNECT
    }

    pub(super) fn is_publish(&self) -> bool {
        matches!(self.first & wire::TYPE_MASK, wire::PUBLISH | STREAMED_TYPE)
    }

    /// Returns `true` for a PUBLISH at QoS 1 or 2.
    pub(super) fn is_kept_publish(&self) -> bool {
        self.is_publish() && self.first & wire::QOS_MASK != 0
    }

    /// Returns the QoS of a PUBLISH.
    pub(super) fn qos(&self) -> QoS {
        match self.first & wire::QOS_MASK {
            0 => QoS::AtMostOnce,
            0b0010 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    pub(super) fn is_dup(&self) -> bool {
        self.first & wire::DUP != 0
    }
}
