//! CONNECT (section 3.1), with will and credentials.

use core::fmt;

use super::error::{DecodeError, EncodeError, Field};
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

/// A client's connection request (section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[doc(alias = "MqttOptions")] // rumqttc
pub struct Connect<'a> {
    /// Client id, unique at the server. If it is empty, the server assigns one, and `clean_session` must be `true`
    /// (section 3.1.3.1).
    ///
    /// Every server accepts 1 to 23 letters and digits. Many servers accept more.
    // [MQTT-3.1.3-5] No client id is refused for its length or characters.
    pub client_id: &'a str,
    /// Clean Session: `true` discards the stored session and stores none; `false` resumes it (section 3.1.2.4).
    pub clean_session: bool,
    /// Keep alive interval in seconds (section 3.1.2.10). [`Connect::NO_KEEP_ALIVE`] turns it off.
    #[doc(alias = "keepalive")] // umqtt.simple, Paho
    pub keep_alive: u16,
    /// Message that the server publishes if the client does not send a DISCONNECT (section 3.1.2.5).
    // [MQTT-3.1.2-9] [MQTT-3.1.2-11] The fields and flags of a will are present together.
    #[doc(alias = "set_last_will")] // umqtt.simple
    #[doc(alias = "will_set")] // Paho
    pub will: Option<Will<'a>>,
    /// User name and password (sections 3.1.2.8 and 3.1.2.9).
    #[doc(alias = "username_pw_set")] // Paho
    #[doc(alias = "set_credentials")] // rumqttc
    pub credentials: Option<Credentials<'a>>,
}

impl<'a> Connect<'a> {
    /// Keep alive interval of [`Connect::new`], in seconds. Paho, rumqttc and mosquitto's clients use the same.
    pub const DEFAULT_KEEP_ALIVE: u16 = 60;

    /// Turns keep alive off. A server that has disappeared is then noticed only if an answer is missing.
    pub const NO_KEEP_ALIVE: u16 = 0;

    /// Creates a request with Clean Session 1 and a keep alive of [60 s](Self::DEFAULT_KEEP_ALIVE), without will and
    /// credentials.
    ///
    /// ```
    /// use umqtt::codec::{Connect, Will};
    ///
    /// let connect = Connect {
    ///     keep_alive: Connect::NO_KEEP_ALIVE,
    ///     will: Some(Will::new("sensor-7/state", b"offline")),
    ///     ..Connect::new("sensor-7")
    /// };
    /// assert_eq!(Connect::new("sensor-7").keep_alive, 60);
    /// ```
    #[must_use]
    pub const fn new(client_id: &'a str) -> Self {
        Self {
            client_id,
            clean_session: true,
            keep_alive: Self::DEFAULT_KEEP_ALIVE,
            will: None,
            credentials: None,
        }
    }

    /// Decodes the body of a CONNECT.
    ///
    /// # Errors
    ///
    /// - [`DecodeError::UnsupportedProtocolLevel`]: the protocol level is not 4. The server answers with return code 1.
    /// - [`DecodeError::EmptyClientId`]: the client id is empty at Clean Session 0, and there is no other error. The
    ///   server answers with return code 2.
    /// - Other values of [`DecodeError`]: the packet is malformed. The server closes the connection.
    pub fn decode_body(body: &'a [u8]) -> Result<Self, DecodeError> {
        // [MQTT-3.1.4-1] Every field is checked.
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
        // [MQTT-3.1.3-8] This is checked last, because the server answers a CONNECT that is otherwise valid.
        if connect.lacks_client_id() {
            return Err(DecodeError::EmptyClientId);
        }
        Ok(connect)
    }

    /// Returns the length of the whole packet, in bytes.
    ///
    /// # Errors
    ///
    /// - [`EncodeError::EmptyClientId`]: the client id is empty at Clean Session 0.
    /// - [`EncodeError::StringTooLong`]: a field has more than 65,535 bytes.
    /// - [`EncodeError::NulInString`]: client id or user name contain U+0000.
    /// - [`EncodeError::WillTopic`]: the will topic is invalid.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        self.header().map(|header| header.packet_len())
    }

    /// Writes the packet to the start of `out`. Returns the written bytes.
    ///
    /// # Errors
    ///
    /// - The errors of [`encoded_len`](Self::encoded_len).
    /// - [`EncodeError::BufferTooSmall`]: `out` is shorter than the packet. It is unchanged.
    pub fn encode<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
        self.write(self.header()?, out)
    }

    /// Writes the packet with this [header](Self::header).
    pub(crate) fn write<'o>(
        &self,
        header: FixedHeader,
        out: &'o mut [u8],
    ) -> Result<&'o [u8], EncodeError> {
        header.encode(out, header.packet_len(), |writer| {
            let [high, low] = self.keep_alive.to_be_bytes();
            writer.length_prefixed(PROTOCOL_NAME);
            writer.bytes(&[PROTOCOL_LEVEL, self.flags(), high, low]);
            // [MQTT-3.1.3-1] [MQTT-3.1.3-3] Client id, will topic, will message, user name, password.
            writer.length_prefixed(self.client_id.as_bytes());
            if let Some(will) = self.will {
                writer.length_prefixed(will.topic.as_bytes());
                writer.length_prefixed(will.message);
            }
            if let Some(credentials) = self.credentials {
                writer.length_prefixed(credentials.user_name.as_bytes());
                if let Some(password) = credentials.password {
                    writer.length_prefixed(password);
                }
            }
        })
    }

    /// Checks the packet and returns its header.
    pub(crate) fn header(&self) -> Result<FixedHeader, EncodeError> {
        // [MQTT-3.1.3-7] An empty client id requires Clean Session 1.
        if self.lacks_client_id() {
            return Err(EncodeError::EmptyClientId);
        }
        // [MQTT-3.1.3-4] [MQTT-3.1.3-10] [MQTT-3.1.3-11] Strings are valid, and the will topic is a topic name.
        let mut len = utf8::string_len(Field::ClientId, self.client_id)?;
        if let Some(will) = self.will {
            len = len
                .saturating_add(utf8::field_len(Field::WillTopic, will.topic.as_bytes())?)
                .saturating_add(utf8::field_len(Field::WillMessage, will.message)?);
            TopicName::new(will.topic).map_err(EncodeError::WillTopic)?;
        }
        if let Some(credentials) = self.credentials {
            len = len.saturating_add(utf8::string_len(Field::UserName, credentials.user_name)?);
            if let Some(password) = credentials.password {
                len = len.saturating_add(utf8::field_len(Field::Password, password)?);
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
}

/// A message that the server publishes if the client does not send a DISCONNECT (section 3.1.2.5).
#[derive(Clone, Copy, PartialEq, Eq)]
#[doc(alias = "LastWill")] // rumqttc
pub struct Will<'a> {
    /// Topic of the message. It is checked when the CONNECT is encoded.
    pub topic: &'a str,
    /// Payload of the message; may be empty.
    pub message: &'a [u8],
    /// Maximum QoS of the message.
    pub qos: QoS,
    /// `true` if the server retains the message for later subscribers.
    pub retain: bool,
}

impl<'a> Will<'a> {
    /// Creates a will with QoS 0 that is not retained.
    #[must_use]
    pub const fn new(topic: &'a str, message: &'a [u8]) -> Self {
        Self {
            topic,
            message,
            qos: QoS::AtMostOnce,
            retain: false,
        }
    }

    /// Reads topic and message if the flag is set.
    fn read(flags: u8, reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        // [MQTT-3.1.2-9] Without the flag, there are no such fields.
        if flags & WILL == 0 {
            return Ok(None);
        }
        // [MQTT-3.1.2-14] The will QoS must not be 3.
        let qos = QoS::try_from(will_qos_bits(flags)).map_err(|_| DecodeError::WillQosThree)?;
        // [MQTT-3.1.3-10] The will topic is valid UTF-8.
        let topic = TopicName::decode(reader.length_prefixed()?)?.as_str();
        let message = reader.length_prefixed()?;
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

/// User name and password of a client.
///
/// [MQTT-3.1.2-22] There is no password without a user name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// The user name (section 3.1.3.4).
    pub user_name: &'a str,
    /// The password (section 3.1.3.5).
    pub password: Option<&'a [u8]>,
}

impl<'a> Credentials<'a> {
    /// Reads each field whose flag is set.
    fn read(flags: u8, reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        // [MQTT-3.1.2-18] [MQTT-3.1.2-19] Without the flag, there is no user name.
        if flags & USER_NAME == 0 {
            return Ok(None);
        }
        // [MQTT-3.1.3-11] The user name is valid UTF-8.
        let user_name = reader.string()?;
        // [MQTT-3.1.2-20] [MQTT-3.1.2-21] Without the flag, there is no password.
        let password = match flags & PASSWORD {
            0 => None,
            _ => Some(reader.length_prefixed()?),
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
    // [MQTT-3.1.2-1] Another protocol is refused.
    if reader.length_prefixed()? != PROTOCOL_NAME {
        return Err(DecodeError::WrongProtocolName);
    }
    // [MQTT-3.1.2-2] Another version is refused. The rest of its CONNECT is unknown.
    match reader.u8()? {
        PROTOCOL_LEVEL => Ok(()),
        level => Err(DecodeError::UnsupportedProtocolLevel { level }),
    }
}

/// Checks the flags of a received CONNECT except a will QoS of 3.
fn check_flags(flags: u8) -> Result<(), DecodeError> {
    let has = |flag| flags & flag != 0;
    // [MQTT-3.1.2-3] The reserved flag must be 0.
    if has(RESERVED) {
        return Err(DecodeError::ReservedConnectFlag);
    }
    // [MQTT-3.1.2-11] [MQTT-3.1.2-13] Without a will, the will QoS must be 0.
    if !has(WILL) && has(WILL_QOS) {
        let qos = will_qos_bits(flags);
        return Err(DecodeError::WillQosWithoutWill { qos });
    }
    // [MQTT-3.1.2-11] [MQTT-3.1.2-15] Without a will, Will Retain must be 0.
    if !has(WILL) && has(WILL_RETAIN) {
        return Err(DecodeError::WillRetainWithoutWill);
    }
    // [MQTT-3.1.2-22] A password requires a user name.
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
