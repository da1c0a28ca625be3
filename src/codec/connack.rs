//! CONNACK (section 3.2): the server's answer to a CONNECT.

use core::fmt;

use super::error::{DecodeError, EncodeError};
use super::packet_type::PacketType;
use super::reader::Reader;
use super::types::InvalidReturnCode;
use super::writer;

/// The server's answer to a CONNECT (section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Connack {
    /// The server accepted the connection.
    Accepted {
        /// `true` if the server has stored session state of the client (section 3.2.2.2).
        session_present: bool,
    },
    /// The server refused the connection and is about to close it.
    // [MQTT-3.2.2-4] A refusal has no Session Present flag.
    Refused(ConnectReturnCode),
}

impl Connack {
    /// Decodes the body of a CONNACK.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::Truncated`]: the body is shorter than two bytes.
    /// - [`DecodeError::TrailingBytes`]: the body is longer than two bytes.
    /// - [`DecodeError::ReservedConnackFlags`]: a reserved flag is set.
    /// - [`DecodeError::UnknownConnectReturnCode`]: the return code is above 5.
    /// - [`DecodeError::SessionPresentWithRefusal`]: Session Present is set in a refusal.
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
        let refusal = ConnectReturnCode::try_from(code)
            .map_err(|_| DecodeError::UnknownConnectReturnCode { code })?;
        // [MQTT-3.2.2-4] Session Present must be 0 in a refusal.
        if session_present {
            return Err(DecodeError::SessionPresentWithRefusal { code });
        }
        Ok(Self::Refused(refusal))
    }

    const fn to_bytes(self) -> [u8; 4] {
        let (flags, code) = match self {
            Self::Accepted { session_present } => (session_present as u8, 0),
            Self::Refused(code) => (0, code as u8),
        };
        [PacketType::Connack.first_byte(), 2, flags, code]
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

/// The reason of a server to refuse a connection (section 3.2.2.3).
///
/// ```
/// use umqtt::codec::ConnectReturnCode;
///
/// assert_eq!(u8::from(ConnectReturnCode::NotAuthorized), 5);
/// assert_eq!(ConnectReturnCode::try_from(5), Ok(ConnectReturnCode::NotAuthorized));
/// assert!(ConnectReturnCode::try_from(6).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ConnectReturnCode {
    /// The server does not support this version of the protocol.
    UnacceptableProtocolVersion = 1,
    /// The server does not allow this client id.
    IdentifierRejected = 2,
    /// The MQTT service is not available.
    ServerUnavailable = 3,
    /// The user name or password is malformed. Servers also send this if they are wrong or missing.
    BadUserNameOrPassword = 4,
    /// The client is not authorized to connect.
    NotAuthorized = 5,
}

impl fmt::Display for ConnectReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnacceptableProtocolVersion => "the server does not support MQTT 3.1.1",
            Self::IdentifierRejected => "the server does not allow this client id",
            Self::ServerUnavailable => "the server is not available",
            Self::BadUserNameOrPassword => "the user name or password is wrong or missing",
            Self::NotAuthorized => "this client is not authorized",
        })
    }
}

impl From<ConnectReturnCode> for u8 {
    fn from(code: ConnectReturnCode) -> Self {
        code as Self
    }
}

/// Return code 0 is no refusal.
impl TryFrom<u8> for ConnectReturnCode {
    type Error = InvalidReturnCode;

    fn try_from(code: u8) -> Result<Self, InvalidReturnCode> {
        Ok(match code {
            1 => Self::UnacceptableProtocolVersion,
            2 => Self::IdentifierRejected,
            3 => Self::ServerUnavailable,
            4 => Self::BadUserNameOrPassword,
            5 => Self::NotAuthorized,
            code => return Err(InvalidReturnCode { code }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_codes_convert_from_and_to_numbers() {
        for code in 0..=u8::MAX {
            match ConnectReturnCode::try_from(code) {
                Ok(refusal) => assert!((1..=5).contains(&code) && u8::from(refusal) == code),
                Err(error) => {
                    assert!(!(1..=5).contains(&code) && error == InvalidReturnCode { code })
                }
            }
        }
    }
}
