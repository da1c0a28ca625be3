//! The packets that carry a Packet Identifier and nothing else: PUBACK, PUBREC, PUBREL, PUBCOMP
//! (sections 3.4 to 3.7) and UNSUBACK (section 3.11).

use super::error::{DecodeError, EncodeError};
use super::reader::Reader;
use super::types::PacketId;

/// A packet of type `TYPE` that carries a Packet Identifier and nothing else.
///
/// Only the five types that have a name below can be encoded or decoded; any other does not
/// compile.
///
/// ```compile_fail
/// # use umqtt::codec::{Ack, PacketId};
/// let ack = Ack::<12>::new(PacketId::MIN).to_bytes();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ack<const TYPE: u8> {
    /// The identifier of the packet that is acknowledged.
    pub packet_id: PacketId,
}

/// A QoS 1 message arrived (section 3.4).
pub type Puback = Ack<4>;

/// A QoS 2 message arrived (section 3.5).
pub type Pubrec = Ack<5>;

/// A QoS 2 message may be let go (section 3.6).
pub type Pubrel = Ack<6>;

/// A QoS 2 message is done with (section 3.7).
pub type Pubcomp = Ack<7>;

/// The server has heard an UNSUBSCRIBE (section 3.11).
pub type Unsuback = Ack<11>;

impl<const TYPE: u8> Ack<TYPE> {
    const FIRST_BYTE: u8 = {
        assert!(
            matches!(TYPE, 4..=7 | 11),
            "this type is no acknowledgement"
        );
        // [MQTT-2.2.2-1] [MQTT-3.6.1-1] PUBREL alone has a flag.
        TYPE << 4 | if TYPE == 6 { 0b0010 } else { 0b0000 }
    };

    /// The acknowledgement of this packet.
    #[must_use]
    pub const fn new(packet_id: PacketId) -> Self {
        Self { packet_id }
    }

    /// The packet whose body this is.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`], [`TrailingBytes`](DecodeError::TrailingBytes) and
    /// [`PacketIdZero`](DecodeError::PacketIdZero).
    #[inline]
    pub fn decode_body(body: &[u8]) -> Result<Self, DecodeError> {
        const { Self::FIRST_BYTE };
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        reader.finish()?;
        Ok(Self { packet_id })
    }

    /// The whole packet.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; 4] {
        let [high, low] = self.packet_id.get().to_be_bytes();
        [Self::FIRST_BYTE, 2, high, low]
    }

    /// Length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// None.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        Ok(self.to_bytes().len())
    }

    /// Writes the packet to the start of `out` and returns what was written.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`]; `out` is untouched.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        let bytes = self.to_bytes();
        let frame = out.first_chunk_mut().ok_or(EncodeError::BufferTooSmall {
            needed: bytes.len(),
        })?;
        *frame = bytes;
        Ok(frame)
    }
}
