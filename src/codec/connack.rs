//! CONNACK (section 3.2).

use core::fmt;

use super::error::{DecodeError, EncodeError};
use super::header::FixedHeader;
use super::packet_type::PacketType;
use super::reader::Reader;

/// The server's answer to a CONNECT (section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Connack {
    /// The client is connected.
    Accepted {
        /// True if the server still has the client's session (section 3.2.2.2).
        session_present: bool,
    },
    /// The client is not connected, and the connection is about to be closed.
    // [MQTT-3.2.2-4] There is no Session Present to set here.
    Refused(ConnectReturnCode),
}

impl Connack {
    /// The packet whose body this is.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`], [`TrailingBytes`](DecodeError::TrailingBytes),
    /// [`ReservedConnackFlags`](DecodeError::ReservedConnackFlags),
    /// [`UnknownConnectReturnCode`](DecodeError::UnknownConnectReturnCode) and
    /// [`SessionPresentWithRefusal`](DecodeError::SessionPresentWithRefusal).
    #[inline]
    pub fn decode_body(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let flags = reader.u8()?;
        let code = reader.u8()?;
        reader.finish()?;
        let session_present = match flags {
            0 => false,
            1 => true,
            flags => return Err(DecodeError::ReservedConnackFlags { flags }),
        };
        if code == 0 {
            return Ok(Self::Accepted { session_present });
        }
        let refusal = ConnectReturnCode::from_byte(code)
            .ok_or(DecodeError::UnknownConnectReturnCode { code })?;
        // [MQTT-3.2.2-4] A refusal has no session.
        if session_present {
            return Err(DecodeError::SessionPresentWithRefusal { code });
        }
        Ok(Self::Refused(refusal))
    }

    /// Length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// None.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        Ok(4)
    }

    /// Writes the packet to the start of `out` and returns what was written.
    ///
    /// # Errors
    ///
    /// [`EncodeError::BufferTooSmall`]; `out` is untouched.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        let header = FixedHeader::new(PacketType::Connack, 2)?;
        let (flags, code) = match *self {
            Self::Accepted { session_present } => (u8::from(session_present), 0),
            Self::Refused(code) => (0, code as u8),
        };
        header.encode(out, header.frame_len(), |writer| {
            writer.bytes(&[flags, code])
        })
    }
}

/// Why a server refuses a client (section 3.2.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ConnectReturnCode {
    /// The server does not speak this version of the protocol.
    UnacceptableProtocolVersion = 1,
    /// The client id is not allowed.
    IdentifierRejected = 2,
    /// The server is there, but not the service.
    ServerUnavailable = 3,
    /// User name or password is malformed.
    BadUserNameOrPassword = 4,
    /// The client may not connect.
    NotAuthorized = 5,
}

impl fmt::Display for ConnectReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnacceptableProtocolVersion => "it does not speak this version of the protocol",
            Self::IdentifierRejected => "it does not allow this client id",
            Self::ServerUnavailable => "it is not available",
            Self::BadUserNameOrPassword => "the user name or password is wrong or missing",
            Self::NotAuthorized => "this client is not authorized",
        })
    }
}

impl ConnectReturnCode {
    const fn from_byte(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::UnacceptableProtocolVersion,
            2 => Self::IdentifierRejected,
            3 => Self::ServerUnavailable,
            4 => Self::BadUserNameOrPassword,
            5 => Self::NotAuthorized,
            _ => return None,
        })
    }
}
