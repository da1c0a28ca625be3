//! PUBACK, PUBREC, PUBREL, PUBCOMP (sections 3.4 to 3.7) and UNSUBACK (section 3.11). They contain only a packet id.

use super::error::{DecodeError, EncodeError};
use super::packet_type::PacketType;
use super::reader::Reader;
use super::types::PacketId;
use super::writer;

/// A packet of type `TYPE` that contains only a packet id.
///
/// Only the five types that have a name below can be encoded or decoded. Other types do not compile:
///
/// ```compile_fail
/// # use umqtt::codec::{Ack, PacketId};
/// let ack = Ack::<12>::new(PacketId::MIN).to_bytes();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ack<const TYPE: u8> {
    /// Id of the packet that is acknowledged.
    pub packet_id: PacketId,
}

/// PUBACK: acknowledges a QoS 1 PUBLISH (section 3.4).
pub type Puback = Ack<4>;

/// PUBREC: acknowledges a QoS 2 PUBLISH (section 3.5).
pub type Pubrec = Ack<5>;

/// PUBREL: answers a PUBREC (section 3.6).
pub type Pubrel = Ack<6>;

/// PUBCOMP: answers a PUBREL and completes a QoS 2 delivery (section 3.7).
pub type Pubcomp = Ack<7>;

/// UNSUBACK: answers an UNSUBSCRIBE (section 3.11).
pub type Unsuback = Ack<11>;

impl<const TYPE: u8> Ack<TYPE> {
    pub(super) const FIRST_BYTE: u8 = {
        assert!(
            matches!(TYPE, 4..=7 | 11),
            "this type is no acknowledgement"
        );
        match PacketType::from_number(TYPE) {
            Some(packet_type) => packet_type.first_byte(),
            None => 0,
        }
    };

    /// Creates an acknowledgement of this packet.
    #[must_use]
    pub const fn new(packet_id: PacketId) -> Self {
        Self { packet_id }
    }

    /// Decodes the body of a packet of this type.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Truncated`]: the body is shorter than two bytes.
    /// - [`DecodeError::TrailingBytes`]: the body is longer than two bytes.
    /// - [`DecodeError::PacketIdZero`]: the packet id is 0.
    pub fn decode_body(body: &[u8]) -> Result<Self, DecodeError> {
        const { Self::FIRST_BYTE };
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        reader.finish()?;
        Ok(Self { packet_id })
    }

    /// Returns the encoded packet.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; 4] {
        let [high, low] = self.packet_id.get().to_be_bytes();
        [Self::FIRST_BYTE, 2, high, low]
    }

    /// Returns the length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// None.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        Ok(self.to_bytes().len())
    }

    /// Writes the packet to the start of `out`. Returns the written bytes.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::BufferTooSmall`]: `out` is shorter than four bytes. It is unchanged.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        writer::write_array(out, self.to_bytes())
    }
}
