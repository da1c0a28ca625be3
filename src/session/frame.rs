//! A look into a packet that has not been, or need not be, decoded.

use super::outbound::long;
use crate::codec::{PacketId, wire};

/// The packet id, if the packet has one and `body` reaches so far; nothing else is checked.
pub(super) fn packet_id(first: u8, body: &[u8]) -> Option<PacketId> {
    let before = match first & wire::TYPE_MASK {
        wire::CONNECT | wire::DISCONNECT => return None,
        wire::PUBLISH | long::MARK if first & wire::QOS_MASK == 0 => return None,
        wire::PUBLISH | long::MARK => publish_part(first, body).wrapping_sub(2),
        _ => 0,
    };
    PacketId::new(u16_at(body, before))
}

/// Length of what comes before the payload in the body of a PUBLISH: topic and packet id, in bytes.
pub(super) fn publish_part(flags: u8, body: &[u8]) -> usize {
    let id = if flags & wire::QOS_MASK == 0 { 0 } else { 2 };
    usize::from(u16_at(body, 0))
        .saturating_add(2)
        .saturating_add(id)
}

/// The number there; 0 if it is not.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |number| u16::from_be_bytes(*number))
}

/// The client id in the body of a CONNECT: it follows the variable header (section 3.1.3).
pub(super) fn client_id(connect: &[u8]) -> Option<&[u8]> {
    let (len, rest) = connect
        .get(wire::CONNECT_VARIABLE_HEADER_LEN..)?
        .split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*len)))
}

/// The Remaining Length of a packet of ours, and the length of the fixed header that it ends; nothing is checked.
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

/// How many filters a SUBSCRIBE of ours has.
pub(super) fn filters(subscribe: &[u8]) -> usize {
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
