//! CONNECT (section 3.1).

use core::fmt;

use super::error::{DecodeError, EncodeError};
use super::header::FixedHeader;
use super::packet_type::PacketType;
use super::reader::Reader;
use super::topic::TopicName;
use super::types::QoS;
use super::utf8;
use super::wire::CONNECT_VARIABLE_HEADER_LEN;

const PROTOCOL_NAME: &[u8] = b"MQTT";
const PROTOCOL_LEVEL: u8 = 4;

const USER_NAME: u8 = 0b1000_0000;
const PASSWORD: u8 = 0b0100_0000;
const WILL_RETAIN: u8 = 0b0010_0000;
const WILL_QOS: u8 = 0b0001_1000;
const WILL: u8 = 0b0000_0100;
const CLEAN_SESSION: u8 = 0b0000_0010;
const RESERVED: u8 = 0b0000_0001;

/// A client's request to connect (section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Connect<'a> {
    /// The client's name at the server; empty lets the server choose one and needs `clean_session`
    /// (section 3.1.3.1).
    ///
    /// Every server takes 1 to 23 letters and digits; many take more.
    // [MQTT-3.1.3-5] None is refused for its length or its letters.
    pub client_id: &'a str,
    /// True to start afresh and leave nothing behind; false to resume the stored session (section
    /// 3.1.2.4).
    pub clean_session: bool,
    /// Longest silence the client promises, in seconds; 0 turns keep alive off (section 3.1.2.10).
    pub keep_alive: u16,
    /// What the server publishes if the client vanishes (section 3.1.2.5).
    // [MQTT-3.1.2-9] [MQTT-3.1.2-11] All of a will, or nothing of it.
    pub will: Option<Will<'a>>,
    /// Who the client claims to be (sections 3.1.2.8 and 3.1.2.9).
    pub credentials: Option<Credentials<'a>>,
}

impl<'a> Connect<'a> {
    /// A clean session without keep alive, will and credentials.
    #[must_use]
    pub const fn new(client_id: &'a str) -> Self {
        Self {
            client_id,
            clean_session: true,
            keep_alive: 0,
            will: None,
            credentials: None,
        }
    }

    /// The packet whose body this is.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] for every malformed CONNECT. A server answers
    /// [`UnsupportedProtocolLevel`](DecodeError::UnsupportedProtocolLevel) and
    /// [`EmptyClientId`](DecodeError::EmptyClientId), which stand for nothing else, with a CONNACK.
    pub fn decode_body(body: &'a [u8]) -> Result<Self, DecodeError> {
        // [MQTT-3.1.4-1] Every field in its order, and nothing left over.
        let mut reader = Reader::new(body);
        check_protocol(&mut reader)?;
        let flags = reader.u8()?;
        check_flags(flags)?;
        let keep_alive = reader.u16()?;
        // [MQTT-3.1.3-1] [MQTT-3.1.3-3] Client id, will topic, will message, user name, password.
        let client_id = reader.string()?;
        let will = Will::read(flags, &mut reader)?;
        let credentials = Credentials::read(flags, &mut reader)?;
        reader.finish()?;
        let connect = Self {
            client_id,
            clean_session: flags & CLEAN_SESSION != 0,
            keep_alive,
            will,
            credentials,
        };
        // [MQTT-3.1.3-8] Told last: everything else is well-formed, so a server may answer.
        if connect.lacks_client_id() {
            return Err(DecodeError::EmptyClientId);
        }
        Ok(connect)
    }

    /// Length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// [`EncodeError::EmptyClientId`], [`StringTooLong`](EncodeError::StringTooLong) and
    /// [`NulInString`](EncodeError::NulInString).
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        self.header().map(|header| header.frame_len())
    }

    /// Writes the packet to the start of `out` and returns what was written.
    ///
    /// # Errors
    ///
    /// Those of [`encoded_len`](Self::encoded_len) and [`EncodeError::BufferTooSmall`]; `out` is
    /// untouched.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        self.write(self.header()?, out)
    }

    /// Writes the packet with this [header](Self::header).
    pub(crate) fn write<'o>(
        &self,
        header: FixedHeader,
        out: &'o mut [u8],
    ) -> Result<&'o [u8], EncodeError> {
        header.encode(out, header.frame_len(), |writer| {
            writer.bytes(&self.variable_header());
            // [MQTT-3.1.3-1] [MQTT-3.1.3-3] Client id, will topic, will message, user name, password.
            writer.prefixed(self.client_id.as_bytes());
            if let Some(will) = self.will {
                writer.prefixed(will.topic.as_bytes());
                writer.prefixed(will.message);
            }
            if let Some(credentials) = self.credentials {
                writer.prefixed(credentials.user_name.as_bytes());
                if let Some(password) = credentials.password {
                    writer.prefixed(password);
                }
            }
        })
    }

    /// Checks what is to be sent, and measures it.
    pub(crate) fn header(&self) -> Result<FixedHeader, EncodeError> {
        // [MQTT-3.1.3-7] The server would have to refuse it.
        if self.lacks_client_id() {
            return Err(EncodeError::EmptyClientId);
        }
        // [MQTT-3.1.3-4] [MQTT-3.1.3-10] [MQTT-3.1.3-11] Valid strings; a topic name is one
        // already.
        let mut len = utf8::string_len(self.client_id)?;
        if let Some(will) = self.will {
            len = len
                .saturating_add(utf8::field_len(will.topic.as_bytes())?)
                .saturating_add(utf8::field_len(will.message)?);
        }
        if let Some(credentials) = self.credentials {
            len = len.saturating_add(utf8::string_len(credentials.user_name)?);
            if let Some(password) = credentials.password {
                len = len.saturating_add(utf8::field_len(password)?);
            }
        }
        FixedHeader::new(
            PacketType::Connect,
            len.saturating_add(CONNECT_VARIABLE_HEADER_LEN),
        )
    }

    const fn lacks_client_id(&self) -> bool {
        self.client_id.is_empty() && !self.clean_session
    }

    const fn flags(&self) -> u8 {
        let clean_session = if self.clean_session { CLEAN_SESSION } else { 0 };
        let will = match self.will {
            Some(will) => will.flags(),
            None => 0,
        };
        let credentials = match self.credentials {
            Some(credentials) => credentials.flags(),
            None => 0,
        };
        clean_session | will | credentials
    }

    const fn variable_header(&self) -> [u8; CONNECT_VARIABLE_HEADER_LEN] {
        let [high, low] = self.keep_alive.to_be_bytes();
        let flags = self.flags();
        [
            0,
            4,
            b'M',
            b'Q',
            b'T',
            b'T',
            PROTOCOL_LEVEL,
            flags,
            high,
            low,
        ]
    }
}

/// What the server publishes if a client vanishes without a DISCONNECT (section 3.1.2.5).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Will<'a> {
    /// Where it is published.
    pub topic: TopicName<'a>,
    /// What it says; may be empty.
    pub message: &'a [u8],
    /// How hard it is delivered.
    pub qos: QoS,
    /// True if it is kept for later subscribers.
    pub retain: bool,
}

impl<'a> Will<'a> {
    /// A will with QoS 0 that is not retained.
    #[must_use]
    pub const fn new(topic: TopicName<'a>, message: &'a [u8]) -> Self {
        Self {
            topic,
            message,
            qos: QoS::AtMostOnce,
            retain: false,
        }
    }

    /// [MQTT-3.1.2-9] With the flag, topic and message are required; without it, neither is read.
    fn read(flags: u8, reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        if flags & WILL == 0 {
            return Ok(None);
        }
        // [MQTT-3.1.2-14]
        let qos = QoS::try_from(will_qos_bits(flags)).map_err(|_| DecodeError::WillQosThree)?;
        // [MQTT-3.1.3-10]
        let topic = TopicName::decode(reader.prefixed()?)?;
        let message = reader.prefixed()?;
        let retain = flags & WILL_RETAIN != 0;
        Ok(Some(Self {
            topic,
            message,
            qos,
            retain,
        }))
    }

    const fn flags(&self) -> u8 {
        WILL | self.qos.bits() << WILL_QOS.trailing_zeros()
            | if self.retain { WILL_RETAIN } else { 0 }
    }
}

/// Who a client claims to be.
///
/// [MQTT-3.1.2-22] A password without a user name cannot be written down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// The user name (section 3.1.3.4).
    pub user_name: &'a str,
    /// The password (section 3.1.3.5).
    pub password: Option<&'a [u8]>,
}

impl<'a> Credentials<'a> {
    /// [MQTT-3.1.2-18] [MQTT-3.1.2-19] The user name is there if its flag is, [MQTT-3.1.2-20]
    /// [MQTT-3.1.2-21] and so is the password.
    fn read(flags: u8, reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        if flags & USER_NAME == 0 {
            return Ok(None);
        }
        // [MQTT-3.1.3-11]
        let user_name = reader.string()?;
        let password = match flags & PASSWORD {
            0 => None,
            _ => Some(reader.prefixed()?),
        };
        Ok(Some(Self {
            user_name,
            password,
        }))
    }

    const fn flags(&self) -> u8 {
        USER_NAME | if self.password.is_some() { PASSWORD } else { 0 }
    }
}

fn check_protocol(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    // [MQTT-3.1.2-1] Another protocol.
    if reader.prefixed()? != PROTOCOL_NAME {
        return Err(DecodeError::WrongProtocolName);
    }
    // [MQTT-3.1.2-2] Another version; whatever follows is its own.
    match reader.u8()? {
        PROTOCOL_LEVEL => Ok(()),
        level => Err(DecodeError::UnsupportedProtocolLevel { level }),
    }
}

/// Judges the flags of a received CONNECT, but for the will QoS.
fn check_flags(flags: u8) -> Result<(), DecodeError> {
    let has = |flag| flags & flag != 0;
    // [MQTT-3.1.2-3]
    if has(RESERVED) {
        return Err(DecodeError::ReservedConnectFlag);
    }
    // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
    if !has(WILL) && has(WILL_QOS) {
        let qos = will_qos_bits(flags);
        return Err(DecodeError::WillQosWithoutWill { qos });
    }
    // [MQTT-3.1.2-11] [MQTT-3.1.2-15]
    if !has(WILL) && has(WILL_RETAIN) {
        return Err(DecodeError::WillRetainWithoutWill);
    }
    // [MQTT-3.1.2-22]
    if !has(USER_NAME) && has(PASSWORD) {
        return Err(DecodeError::PasswordWithoutUserName);
    }
    Ok(())
}

const fn will_qos_bits(flags: u8) -> u8 {
    (flags & WILL_QOS) >> WILL_QOS.trailing_zeros()
}

impl fmt::Debug for Will<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Will")
            .field("topic", &self.topic)
            .field("message", &format_args!("{} bytes", self.message.len()))
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .finish()
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user_name", &self.user_name)
            .field("password", &self.password.map(|_| format_args!("hidden")))
            .finish()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Will<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        let (topic, len) = (self.topic, self.message.len());
        defmt::write!(f, "Will({}, {} bytes, {})", topic, len, self.qos);
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Credentials<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        let has_password = self.password.is_some();
        defmt::write!(
            f,
            "Credentials({}, password: {})",
            self.user_name,
            has_password
        );
    }
}
