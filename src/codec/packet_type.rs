//! The control packet types, with the flags and the least length of each.

/// The control packet types (section 2.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PacketType {
    /// A client asks to connect (section 3.1).
    Connect = 1,
    /// The server accepts or refuses (section 3.2).
    Connack = 2,
    /// A message (section 3.3).
    Publish = 3,
    /// A QoS 1 message arrived (section 3.4).
    Puback = 4,
    /// A QoS 2 message arrived (section 3.5).
    Pubrec = 5,
    /// A QoS 2 message may be let go (section 3.6).
    Pubrel = 6,
    /// A QoS 2 message is done with (section 3.7).
    Pubcomp = 7,
    /// A client asks for topics (section 3.8).
    Subscribe = 8,
    /// What the server grants (section 3.9).
    Suback = 9,
    /// A client wants topics no more (section 3.10).
    Unsubscribe = 10,
    /// The server has heard so (section 3.11).
    Unsuback = 11,
    /// A client is alive (section 3.12).
    Pingreq = 12,
    /// The server is, too (section 3.13).
    Pingresp = 13,
    /// A client leaves (section 3.14).
    Disconnect = 14,
}

impl PacketType {
    pub(super) const fn from_number(number: u8) -> Option<Self> {
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

    #[inline(always)] // a call costs more
    pub(super) fn shape(self) -> Shape {
        SHAPES.get(self as usize).copied().unwrap_or(RESERVED)
    }
}

/// What the fixed header of a packet type looks like.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// The flags of table 2.2; a PUBLISH may have its own.
    ///
    /// [MQTT-2.2.2-1] Sent so by every encoder.
    pub(super) flags: u8,
    /// The smallest Remaining Length with these flags.
    pub(super) smallest: u8,
    /// No other bound is set, not even for a CONNECT: one of another protocol level may be longer than ours can be,
    /// and has a right to its answer.
    pub(super) may_be_longer: bool,
}

impl Shape {
    const fn fixed(flags: u8, smallest: u8) -> Self {
        Self {
            flags,
            smallest,
            may_be_longer: false,
        }
    }

    const fn at_least(flags: u8, smallest: u8) -> Self {
        Self {
            flags,
            smallest,
            may_be_longer: true,
        }
    }
}

/// Of no packet.
const RESERVED: Shape = Shape::fixed(0, 0);

/// The shapes of all types, by number.
const SHAPES: [Shape; 15] = [
    RESERVED,
    // Protocol name, level, flags, keep alive, an empty client id.
    Shape::at_least(0, 12),
    Shape::fixed(0, 2),
    // A topic of one character.
    Shape::at_least(0, 3),
    Shape::fixed(0, 2),
    Shape::fixed(0, 2),
    // [MQTT-3.6.1-1]
    Shape::fixed(0b0010, 2),
    Shape::fixed(0, 2),
    // [MQTT-3.8.1-1] An id, a filter of one character, its QoS.
    Shape::at_least(0b0010, 6),
    // An id, a return code.
    Shape::at_least(0, 3),
    // [MQTT-3.10.1-1] An id, a filter of one character.
    Shape::at_least(0b0010, 5),
    Shape::fixed(0, 2),
    // No body.
    Shape::fixed(0, 0),
    Shape::fixed(0, 0),
    // [MQTT-3.14.1-1]
    Shape::fixed(0, 0),
];
