//! A look into a packet that has not been, or need not be, decoded.

use crate::codec::{FixedHeader, PacketId, PacketType, QoS};

/// Bits of a PUBLISH's first byte (section 3.3.1).
pub(super) const DUP: u8 = 0b1000;
const QOS: u8 = 0b0110;

/// The quality of service in the flags of a PUBLISH.
pub(super) fn qos(header: &FixedHeader) -> QoS {
    match (header.flags & QOS) >> 1 {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

/// The packet id, if the packet has one and `body` reaches so far; nothing else is checked.
pub(super) fn packet_id(header: &FixedHeader, body: &[u8]) -> Option<PacketId> {
    let bytes = match header.packet_type {
        PacketType::Publish if qos(header) == QoS::AtMostOnce => return None,
        PacketType::Publish => {
            let (topic, rest) = body.split_first_chunk()?;
            rest.get(usize::from(u16::from_be_bytes(*topic))..)?
        }
        PacketType::Connect
        | PacketType::Connack
        | PacketType::Pingreq
        | PacketType::Pingresp
        | PacketType::Disconnect => return None,
        _ => body,
    };
    PacketId::new(u16::from_be_bytes(*bytes.first_chunk()?))
}

/// Length of what comes before the payload in the body of a PUBLISH: topic and packet id, in bytes.
pub(super) fn publish_part(header: &FixedHeader, body: &[u8]) -> usize {
    let topic = body
        .first_chunk()
        .map_or(0, |len| usize::from(u16::from_be_bytes(*len)));
    let id = if qos(header) > QoS::AtMostOnce { 2 } else { 0 };
    topic.saturating_add(2).saturating_add(id)
}

/// The Remaining Length as a size in memory.
pub(super) fn body_len(header: &FixedHeader) -> usize {
    usize::try_from(header.remaining_length).unwrap_or(usize::MAX)
}

/// The client id in an encoded CONNECT: it follows the ten bytes of the variable header (section 3.1.3).
pub(super) fn client_id(connect: &[u8]) -> Option<&[u8]> {
    let (_, used) = FixedHeader::decode(connect).ok()??;
    let (len, rest) = connect.get(used.checked_add(10)?..)?.split_first_chunk()?;
    rest.get(..usize::from(u16::from_be_bytes(*len)))
}

/// How many filters a SUBSCRIBE of ours has.
pub(super) fn filters(subscribe: &[u8]) -> usize {
    let mut rest = subscribe.get(2..).unwrap_or_default();
    let mut count: usize = 0;
    while let Some((len, filter)) = rest.split_first_chunk() {
        // The requested QoS follows the filter.
        rest = filter
            .get(usize::from(u16::from_be_bytes(*len)).saturating_add(1)..)
            .unwrap_or_default();
        count = count.saturating_add(1);
    }
    count
}
