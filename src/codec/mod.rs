//! Encoding and decoding of all fourteen packets of MQTT 3.1.1, for clients and servers.
//!
//! The codec has no state and copies no field. A decoded packet borrows from the received bytes, and a packet to be
//! sent borrows its fields. An invalid packet cannot be decoded, and cannot be encoded.
//!
//! No input makes the codec panic.

// [MQTT-7.0.0-2] There are no packets, fields or flags beside those of the specification.

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

use crate::bytes::OPTIMIZE_FOR_SPEED;

pub use ack::{Ack, Puback, Pubcomp, Pubrec, Pubrel, Unsuback};
pub use connack::{Connack, ConnectReturnCode};
pub use connect::{Connect, Credentials, Will};
pub use error::{DecodeError, EncodeError, Field, TopicError};
pub use header::FixedHeader;
pub use packet_type::PacketType;
pub use publish::{Publish, PublishHeader};
pub use remaining_length::MAX_REMAINING_LENGTH;
pub use subscribe::{Suback, SubackCodes, SubackCodesIter, SubackReturnCode, Subscribe};
pub use topic::{Captures, TopicFilter, TopicName};
pub use types::{Delivery, InvalidQos, InvalidReturnCode, PacketId, QoS};
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
///     unreachable!("it is a complete PUBLISH")
/// };
/// assert_eq!((publish.topic, publish.payload, used), (topic, &b"21.5"[..], 14));
///
/// assert_eq!(Packet::decode(&bytes[..13])?, None); // one byte is missing
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Packet<'a> {
    /// Connection request of a client (section 3.1).
    Connect(Connect<'a>),
    /// Answer to a CONNECT (section 3.2).
    Connack(Connack),
    /// Application message (section 3.3).
    Publish(Publish<'a>),
    /// Acknowledgement of a QoS 1 PUBLISH (section 3.4).
    Puback(Puback),
    /// Acknowledgement of a QoS 2 PUBLISH (section 3.5).
    Pubrec(Pubrec),
    /// Answer to a PUBREC (section 3.6).
    Pubrel(Pubrel),
    /// Answer to a PUBREL (section 3.7).
    Pubcomp(Pubcomp),
    /// Subscription request of a client (section 3.8).
    Subscribe(Subscribe<'a>),
    /// Answer to a SUBSCRIBE (section 3.9).
    Suback(Suback<'a>),
    /// Request of a client to end subscriptions (section 3.10).
    Unsubscribe(Unsubscribe<'a>),
    /// Answer to an UNSUBSCRIBE (section 3.11).
    Unsuback(Unsuback),
    /// Keep alive request of a client (section 3.12).
    Pingreq,
    /// Answer to a PINGREQ (section 3.13).
    Pingresp,
    /// Orderly end of a connection (section 3.14).
    Disconnect,
}

impl<'a> Packet<'a> {
    /// Decodes the packet at the start of `bytes`. Returns it with its length, or `None` if it is incomplete.
    ///
    /// Bytes after the packet are ignored. An error in the fixed header is returned before the packet is complete.
    ///
    /// # Errors
    ///
    /// - [`DecodeError`]: the packet is malformed. More bytes cannot change that.
    #[inline] // into a loop that reads a stream
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        match bytes {
            [0x30..0x40, ..] if OPTIMIZE_FOR_SPEED => decode_publish(bytes),
            _ if OPTIMIZE_FOR_SPEED => decode_other(bytes),
            _ => Self::decode_any(bytes),
        }
    }

    fn decode_any(bytes: &'a [u8]) -> Decoded<'a> {
        let Some((header, header_len)) = FixedHeader::decode(bytes)? else {
            return Ok(None);
        };
        let len = header_len.saturating_add(header.body_len());
        let Some(body) = bytes.get(header_len..len) else {
            return Ok(None);
        };
        match header.packet_type {
            PacketType::Connect => decode_with(body, len, Connect::decode_body, Self::Connect),
            PacketType::Connack => decode_with(body, len, Connack::decode_body, Self::Connack),
            PacketType::Publish => {
                let publish = |body| Publish::decode_body(&header, body);
                decode_with(body, len, publish, Self::Publish)
            }
            PacketType::Puback => decode_with(body, len, Puback::decode_body, Self::Puback),
            PacketType::Pubrec => decode_with(body, len, Pubrec::decode_body, Self::Pubrec),
            PacketType::Pubrel => decode_with(body, len, Pubrel::decode_body, Self::Pubrel),
            PacketType::Pubcomp => decode_with(body, len, Pubcomp::decode_body, Self::Pubcomp),
            PacketType::Subscribe => {
                decode_with(body, len, Subscribe::decode_body, Self::Subscribe)
            }
            PacketType::Suback => decode_with(body, len, Suback::decode_body, Self::Suback),
            PacketType::Unsubscribe => {
                decode_with(body, len, Unsubscribe::decode_body, Self::Unsubscribe)
            }
            PacketType::Unsuback => decode_with(body, len, Unsuback::decode_body, Self::Unsuback),
            PacketType::Pingreq => Ok(Some((Self::Pingreq, len))),
            PacketType::Pingresp => Ok(Some((Self::Pingresp, len))),
            PacketType::Disconnect => Ok(Some((Self::Disconnect, len))),
        }
    }

    /// Returns the type of the packet.
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

    /// Returns the length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// - [`EncodeError`]: the packet cannot be encoded.
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

    /// Writes the packet to the start of `out`. Returns the written bytes.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::BufferTooSmall`]: `out` is shorter than the packet. It is unchanged.
    /// - Other values of [`EncodeError`]: the packet cannot be encoded. `out` is unchanged.
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
            Self::Pingreq => writer::write_array(out, [PacketType::Pingreq.first_byte(), 0]),
            Self::Pingresp => writer::write_array(out, [PacketType::Pingresp.first_byte(), 0]),
            Self::Disconnect => writer::write_array(out, [PacketType::Disconnect.first_byte(), 0]),
        }
    }
}

type Decoded<'a> = Result<Option<(Packet<'a>, usize)>, DecodeError>;

/// Decodes a body into a packet of `len` bytes.
///
/// Each packet type has its own copy of this function, which writes the fields directly to the result. One shared
/// function would copy every packet once more: 40 instructions on x86-64.
fn decode_with<'a, T>(
    body: &'a [u8],
    len: usize,
    decode: impl Fn(&'a [u8]) -> Result<T, DecodeError>,
    packet: impl Fn(T) -> Packet<'a>,
) -> Decoded<'a> {
    Ok(Some((packet(decode(body)?), len)))
}

/// Decodes the packet at the start of `bytes`, which is no PUBLISH.
#[inline(never)]
fn decode_other(bytes: &[u8]) -> Decoded<'_> {
    match decode_short(bytes) {
        Some(packet) => Ok(Some(packet)),
        None => Packet::decode_any(bytes),
    }
}

/// Decodes a valid PINGRESP, CONNACK, UNSUBACK or acknowledgement of a PUBLISH. It saves half of the instructions of a
/// PUBACK on x86-64.
#[inline(always)]
fn decode_short<'a>(bytes: &[u8]) -> Option<(Packet<'a>, usize)> {
    const CONNACK: u8 = PacketType::Connack.first_byte();
    const PINGRESP: u8 = PacketType::Pingresp.first_byte();
    if let [PINGRESP, 0, ..] = bytes {
        return Some((Packet::Pingresp, 2));
    }
    let &[first, 2, high, low, ..] = bytes else {
        return None;
    };
    let body = &[high, low];
    let packet = match first {
        Puback::FIRST_BYTE => Packet::Puback(Puback::decode_body(body).ok()?),
        Pubrec::FIRST_BYTE => Packet::Pubrec(Pubrec::decode_body(body).ok()?),
        Pubrel::FIRST_BYTE => Packet::Pubrel(Pubrel::decode_body(body).ok()?),
        Pubcomp::FIRST_BYTE => Packet::Pubcomp(Pubcomp::decode_body(body).ok()?),
        Unsuback::FIRST_BYTE => Packet::Unsuback(Unsuback::decode_body(body).ok()?),
        CONNACK => Packet::Connack(Connack::decode_body(body).ok()?),
        _ => return None,
    };
    Some((packet, 4))
}

/// Decodes the packet at the start of `bytes`, which is a PUBLISH.
#[inline(always)] // saves a third of the instructions if a stream is decoded again after each byte
fn decode_publish(bytes: &[u8]) -> Decoded<'_> {
    let Some((header_len, len)) = fast::short_lengths(bytes) else {
        return decode_long_publish(bytes);
    };
    // DUP at QoS 0, QoS 3 and bodies that may be too short are left to the general code.
    let is_valid = len >= 8 && matches!(bytes, [0x30..0x36 | 0x3A..0x3E, ..]);
    if is_valid && bytes.len() < len {
        return Ok(None);
    }
    decode_whole_publish(bytes, header_len, len)
}

/// Decodes a PUBLISH whose header has this length. `len` is the length of the packet.
#[inline(never)]
fn decode_whole_publish(bytes: &[u8], header_len: usize, len: usize) -> Decoded<'_> {
    if let Some(parts) = fast::split_publish(bytes, header_len, len)
        && let Some(publish) = Publish::from_plain(&parts)
    {
        return Ok(Some((Packet::Publish(publish), len)));
    }
    Packet::decode_any(bytes)
}

/// Decodes a PUBLISH whose Remaining Length has more than two bytes, or is incomplete.
#[inline(never)]
fn decode_long_publish(bytes: &[u8]) -> Decoded<'_> {
    let rest = bytes.get(1..).unwrap_or_default();
    let Ok(Some((remaining_length, header_len))) = remaining_length::decode(rest) else {
        return Packet::decode_any(bytes);
    };
    let len = header_len.saturating_add(remaining_length::to_usize(remaining_length));
    decode_whole_publish(bytes, header_len, len)
}
