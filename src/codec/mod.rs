//! Bytes to packets and back: all fourteen packets of MQTT 3.1.1, in both directions.
//!
//! The codec holds no state and copies nothing: a decoded packet borrows from the bytes that it was
//! read from, a packet that is to be sent from wherever its parts are. What the specification
//! forbids can be neither decoded nor encoded.
//!
//! Nothing here panics, whatever the bytes.

// [MQTT-7.0.0-2] No packet, field or flag is added to those of the specification.

mod ack;
mod connack;
mod connect;
mod error;
mod fast;
mod header;
mod list;
mod packet_type;
mod publish;
mod reader;
mod remaining_length;
pub(crate) mod subscribe;

mod topic;
mod types;
pub(crate) mod unsubscribe;
mod utf8;
pub(crate) mod wire;
mod writer;

use self::reader::Reader;
use crate::bytes::ROOM_FOR_SPEED;

pub use ack::{Ack, Puback, Pubcomp, Pubrec, Pubrel, Unsuback};
pub use connack::{Connack, ConnectReturnCode};
pub use connect::{Connect, Credentials, Will};
pub use error::{DecodeError, EncodeError, TopicError};
pub use header::FixedHeader;
pub use packet_type::PacketType;
pub use publish::{Publish, PublishHeader};
pub use remaining_length::MAX_REMAINING_LENGTH;
pub use subscribe::{Suback, SubackCodes, SubackReturnCode, Subscribe};
pub use topic::{TopicFilter, TopicName};
pub use types::{Delivery, InvalidQos, PacketId, QoS};
pub use unsubscribe::Unsubscribe;

/// An MQTT control packet (section 3).
///
/// ```
/// use umqtt::codec::{Packet, Publish, TopicName};
///
/// let mut buf = [0; 64];
/// let topic = TopicName::new("room/1")?;
/// let bytes = Publish::new(topic, b"21.5").encode(&mut buf)?;
/// assert_eq!(bytes, b"\x30\x0C\0\x06room/121.5");
///
/// let Some((Packet::Publish(publish), used)) = Packet::decode(bytes)? else {
///     unreachable!("it is a PUBLISH, and whole")
/// };
/// assert_eq!((publish.topic, publish.payload, used), (topic, &b"21.5"[..], 14));
///
/// assert_eq!(Packet::decode(&bytes[..13])?, None); // one byte is still to come
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Packet<'a> {
    /// A client asks to connect (section 3.1).
    Connect(Connect<'a>),
    /// The server accepts or refuses (section 3.2).
    Connack(Connack),
    /// A message (section 3.3).
    Publish(Publish<'a>),
    /// A QoS 1 message arrived (section 3.4).
    Puback(Puback),
    /// A QoS 2 message arrived (section 3.5).
    Pubrec(Pubrec),
    /// A QoS 2 message may be let go (section 3.6).
    Pubrel(Pubrel),
    /// A QoS 2 message is done with (section 3.7).
    Pubcomp(Pubcomp),
    /// A client asks for topics (section 3.8).
    Subscribe(Subscribe<'a>),
    /// What the server grants (section 3.9).
    Suback(Suback<'a>),
    /// A client wants topics no more (section 3.10).
    Unsubscribe(Unsubscribe<'a>),
    /// The server has heard so (section 3.11).
    Unsuback(Unsuback),
    /// A client is alive (section 3.12).
    Pingreq,
    /// The server is, too (section 3.13).
    Pingresp,
    /// A client leaves (section 3.14).
    Disconnect,
}

impl<'a> Packet<'a> {
    /// The packet at the start of these bytes and its length, or `None` while it is incomplete.
    ///
    /// Only the packet's own bytes are looked at. What its header betrays is reported before the
    /// rest has arrived.
    ///
    /// # Errors
    ///
    /// [`DecodeError`], if no bytes that may follow can make this a packet.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        match bytes {
            // What comes most has the shortest way.
            [0x30..0x40, ..] if ROOM_FOR_SPEED => publish(bytes),
            _ => Self::decode_any(bytes),
        }
    }

    fn decode_any(bytes: &'a [u8]) -> Decoded<'a> {
        let Some((header, start)) = FixedHeader::read(bytes)? else {
            return Ok(None);
        };
        let end = start.saturating_add(header.body_len());
        let Some(body) = bytes.get(start..end) else {
            return Ok(None);
        };
        match header.packet_type {
            PacketType::Connect => whole(body, end, Connect::decode_body, Self::Connect),
            PacketType::Connack => whole(body, end, Connack::decode_body, Self::Connack),
            PacketType::Publish => {
                let publish = |body| Publish::decode_body(&header, body);
                whole(body, end, publish, Self::Publish)
            }
            PacketType::Puback => whole(body, end, Puback::decode_body, Self::Puback),
            PacketType::Pubrec => whole(body, end, Pubrec::decode_body, Self::Pubrec),
            PacketType::Pubrel => whole(body, end, Pubrel::decode_body, Self::Pubrel),
            PacketType::Pubcomp => whole(body, end, Pubcomp::decode_body, Self::Pubcomp),
            PacketType::Subscribe => whole(body, end, Subscribe::decode_body, Self::Subscribe),
            PacketType::Suback => whole(body, end, Suback::decode_body, Self::Suback),
            PacketType::Unsubscribe => {
                whole(body, end, Unsubscribe::decode_body, Self::Unsubscribe)
            }
            PacketType::Unsuback => whole(body, end, Unsuback::decode_body, Self::Unsuback),
            PacketType::Pingreq => Ok(Some((Self::Pingreq, end))),
            PacketType::Pingresp => Ok(Some((Self::Pingresp, end))),
            PacketType::Disconnect => Ok(Some((Self::Disconnect, end))),
        }
    }

    /// Which of the fourteen it is.
    #[must_use]
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::Connack(_) => PacketType::Connack,
            Self::Publish(_) => PacketType::Publish,
            Self::Puback(_) => PacketType::Puback,
            Self::Pubrec(_) => PacketType::Pubrec,
            Self::Pubrel(_) => PacketType::Pubrel,
            Self::Pubcomp(_) => PacketType::Pubcomp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::Suback(_) => PacketType::Suback,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::Unsuback(_) => PacketType::Unsuback,
            Self::Pingreq => PacketType::Pingreq,
            Self::Pingresp => PacketType::Pingresp,
            Self::Disconnect => PacketType::Disconnect,
        }
    }

    /// Length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError`], if it cannot be sent.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        match self {
            Self::Connect(packet) => packet.encoded_len(),
            Self::Connack(packet) => packet.encoded_len(),
            Self::Publish(packet) => packet.encoded_len(),
            Self::Puback(packet) => packet.encoded_len(),
            Self::Pubrec(packet) => packet.encoded_len(),
            Self::Pubrel(packet) => packet.encoded_len(),
            Self::Pubcomp(packet) => packet.encoded_len(),
            Self::Subscribe(packet) => packet.encoded_len(),
            Self::Suback(packet) => packet.encoded_len(),
            Self::Unsubscribe(packet) => packet.encoded_len(),
            Self::Unsuback(packet) => packet.encoded_len(),
            Self::Pingreq | Self::Pingresp | Self::Disconnect => Ok(2),
        }
    }

    /// Writes the packet to the start of `out` and returns what was written.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`], or any other if the packet cannot be sent; `out` is
    /// untouched.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        match self {
            Self::Connect(packet) => packet.encode(out),
            Self::Connack(packet) => packet.encode(out),
            Self::Publish(packet) => packet.encode(out),
            Self::Puback(packet) => packet.encode(out),
            Self::Pubrec(packet) => packet.encode(out),
            Self::Pubrel(packet) => packet.encode(out),
            Self::Pubcomp(packet) => packet.encode(out),
            Self::Subscribe(packet) => packet.encode(out),
            Self::Suback(packet) => packet.encode(out),
            Self::Unsubscribe(packet) => packet.encode(out),
            Self::Unsuback(packet) => packet.encode(out),
            Self::Pingreq | Self::Pingresp | Self::Disconnect => {
                let header = FixedHeader::new(self.packet_type(), 0)?;
                header.encode(out, header.frame_len(), |_| {})
            }
        }
    }
}

type Decoded<'a> = Result<Option<(Packet<'a>, usize)>, DecodeError>;

/// The packet of `end` bytes with this body.
///
/// Each kind has a function of its own, in which its fields go straight to their place: a common end for all would
/// move every packet once more.
#[inline(never)]
fn whole<'a, T>(
    body: &'a [u8],
    end: usize,
    decode: impl Fn(&'a [u8]) -> Result<T, DecodeError>,
    packet: impl Fn(T) -> Packet<'a>,
) -> Decoded<'a> {
    Ok(Some((packet(decode(body)?), end)))
}

/// The packet at the start of these bytes, which begin as a PUBLISH does.
#[inline(never)]
fn publish(bytes: &[u8]) -> Decoded<'_> {
    if let Some(parts) = fast::publish(bytes)
        && let topic = TopicName::unchecked(parts.topic)
        && let Ok(publish) = Publish::behind_topic(topic, parts.flags, Reader::new(parts.rest))
    {
        return Ok(Some((Packet::Publish(publish), parts.len)));
    }
    Packet::decode_any(bytes)
}
