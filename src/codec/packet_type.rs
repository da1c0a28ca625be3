//! The control packet types, with the flags and the length bounds of each.

/// The control packet types (section 2.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PacketType {
    /// Connection request of a client (section 3.1).
    Connect = 1,
    /// Answer to a CONNECT (section 3.2).
    Connack = 2,
    /// Application message (section 3.3).
    Publish = 3,
    /// Acknowledgement of a QoS 1 PUBLISH (section 3.4).
    Puback = 4,
    /// Acknowledgement of a QoS 2 PUBLISH (section 3.5).
    Pubrec = 5,
    /// Answer to a PUBREC (section 3.6).
    Pubrel = 6,
    /// Answer to a PUBREL (section 3.7).
    Pubcomp = 7,
    /// Subscription request of a client (section 3.8).
    Subscribe = 8,
    /// Answer to a SUBSCRIBE (section 3.9).
    Suback = 9,
    /// Request of a client to end subscriptions (section 3.10).
    Unsubscribe = 10,
    /// Answer to an UNSUBSCRIBE (section 3.11).
    Unsuback = 11,
    /// Keep alive request of a client (section 3.12).
    Pingreq = 12,
    /// Answer to a PINGREQ (section 3.13).
    Pingresp = 13,
    /// Orderly end of a connection (section 3.14).
    Disconnect = 14,
}

impl PacketType {
    /// Returns the type with this number, or `None` for 0 and numbers above 14.
    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            _ => return None,
        })
    }

    /// Returns the first byte of a packet of this type. A PUBLISH may have other flags.
    pub(super) const fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.header_rules().flags
    }

    #[inline(always)] // saves 38 to 112 bytes on thumbv6m
    pub(super) const fn header_rules(self) -> HeaderRules {
        match self {
            // Protocol name, level, flags, keep alive, an empty client id. There is no upper bound: a CONNECT of another
            // protocol level may be longer, and the server has to answer it.
            Self::Connect => HeaderRules::at_least(0b0000, 12),
            // A topic of one character.
            Self::Publish => HeaderRules::at_least(0b0000, 3),
            // [MQTT-3.6.1-1]
            Self::Pubrel => HeaderRules::exactly(0b0010, 2),
            // [MQTT-3.8.1-1] A packet id, a filter of one character, a QoS.
            Self::Subscribe => HeaderRules::at_least(0b0010, 6),
            // A packet id, a return code.
            Self::Suback => HeaderRules::at_least(0b0000, 3),
            // [MQTT-3.10.1-1] A packet id, a filter of one character.
            Self::Unsubscribe => HeaderRules::at_least(0b0010, 5),
            Self::Connack | Self::Puback | Self::Pubrec | Self::Pubcomp | Self::Unsuback => {
                HeaderRules::exactly(0b0000, 2)
            }
            // [MQTT-3.14.1-1]
            Self::Pingreq | Self::Pingresp | Self::Disconnect => HeaderRules::exactly(0b0000, 0),
        }
    }
}

/// The flags and lengths that the fixed header of a packet type may have.
#[derive(Clone, Copy)]
pub(super) struct HeaderRules {
    /// The flags of table 2.2. A PUBLISH may have other flags.
    ///
    /// [MQTT-2.2.2-1] Encoders send these.
    pub(super) flags: u8,
    /// Minimum Remaining Length with these flags.
    pub(super) min_remaining_length: u8,
    /// `false` if the Remaining Length is always the minimum.
    pub(super) may_be_longer: bool,
}

impl HeaderRules {
    const fn exactly(flags: u8, remaining_length: u8) -> Self {
        Self {
            flags,
            min_remaining_length: remaining_length,
            may_be_longer: false,
        }
    }

    const fn at_least(flags: u8, min_remaining_length: u8) -> Self {
        Self {
            flags,
            min_remaining_length,
            may_be_longer: true,
        }
    }
}
