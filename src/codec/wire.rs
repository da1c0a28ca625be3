//! Constants of the wire format, shared by the codec and the session.

use super::packet_type::PacketType;

/// Bits of the first byte that hold the packet type (section 2.2.1).
pub(crate) const TYPE_MASK: u8 = 0xF0;
/// Bits of the first byte that hold the flags (section 2.2.2).
pub(crate) const FLAGS_MASK: u8 = 0x0F;

/// Flags of a PUBLISH (section 3.3.1).
pub(crate) const DUP: u8 = 0b1000;
pub(crate) const QOS_MASK: u8 = 0b0110;
pub(crate) const RETAIN: u8 = 0b0001;

/// First bytes of packets. A PUBLISH adds its flags.
pub(crate) const CONNECT: u8 = PacketType::Connect.first_byte();
pub(crate) const PUBLISH: u8 = PacketType::Publish.first_byte();
pub(crate) const PUBACK: u8 = PacketType::Puback.first_byte();
pub(crate) const PUBREC: u8 = PacketType::Pubrec.first_byte();
pub(crate) const PUBREL: u8 = PacketType::Pubrel.first_byte();
pub(crate) const PUBCOMP: u8 = PacketType::Pubcomp.first_byte();
pub(crate) const SUBSCRIBE: u8 = PacketType::Subscribe.first_byte();
pub(crate) const PINGREQ: u8 = PacketType::Pingreq.first_byte();
pub(crate) const DISCONNECT: u8 = PacketType::Disconnect.first_byte();

/// Packets without a body.
pub(crate) const PINGREQ_PACKET: [u8; 2] = [PINGREQ, 0];
pub(crate) const DISCONNECT_PACKET: [u8; 2] = [DISCONNECT, 0];

/// Set in each byte of a Remaining Length but the last (section 2.2.3).
pub(crate) const CONTINUATION: u8 = 0x80;

/// Length of the variable header of a CONNECT: protocol name, level, flags, keep alive (section 3.1.2).
pub(crate) const CONNECT_VARIABLE_HEADER_LEN: usize = 10;
