//! Quality of service, packet ids and delivery. A value of these types is always valid.

use core::fmt;
use core::num::NonZeroU16;

use super::wire::QOS_MASK;

/// Quality of service of a message (section 4.3).
///
/// ```
/// use umqtt::codec::QoS;
///
/// assert_eq!(u8::from(QoS::AtLeastOnce), 1);
/// assert_eq!(QoS::try_from(2), Ok(QoS::ExactlyOnce));
/// assert!(QoS::try_from(3).is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum QoS {
    /// QoS 0: the message arrives at most once. It is not acknowledged (section 4.3.1).
    AtMostOnce = 0,
    /// QoS 1: the message arrives at least once. It is acknowledged with a PUBACK (section 4.3.2).
    AtLeastOnce = 1,
    /// QoS 2: the message arrives exactly once. PUBREC, PUBREL and PUBCOMP follow it (section 4.3.3).
    ExactlyOnce = 2,
}

impl QoS {
    /// Returns the QoS in the flags of a PUBLISH, which must be valid.
    pub(super) const fn from_publish_flags(flags: u8) -> Self {
        match flags & QOS_MASK {
            0b0000 => Self::AtMostOnce,
            0b0010 => Self::AtLeastOnce,
            _ => Self::ExactlyOnce,
        }
    }

    /// Returns the QoS as a number of two bits.
    pub(super) const fn bits(self) -> u8 {
        self as u8
    }
}

impl From<QoS> for u8 {
    fn from(qos: QoS) -> Self {
        qos.bits()
    }
}

impl TryFrom<u8> for QoS {
    type Error = InvalidQos;

    fn try_from(value: u8) -> Result<Self, InvalidQos> {
        match value {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            value => Err(InvalidQos { value }),
        }
    }
}

/// A number that is not a QoS: it is not 0, 1 or 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct InvalidQos {
    /// The number.
    pub value: u8,
}

impl fmt::Display for InvalidQos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid QoS: {}, at most 2 (section 4.3)", self.value)
    }
}

impl core::error::Error for InvalidQos {}

/// A number that is not a return code of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct InvalidReturnCode {
    /// The number.
    pub code: u8,
}

impl fmt::Display for InvalidReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no return code", self.code)
    }
}

impl core::error::Error for InvalidReturnCode {}

/// A packet id: it links an acknowledgement to its packet, and is never 0 (section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The smallest packet id, 1.
    pub const MIN: Self = Self(NonZeroU16::MIN);

    /// The largest packet id, 65,535.
    pub const MAX: Self = Self(NonZeroU16::MAX);

    /// Returns the packet id with this number, or `None` for 0.
    #[must_use]
    pub const fn new(id: u16) -> Option<Self> {
        // [MQTT-2.3.1-1] A packet id must not be 0.
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Quality of service of a PUBLISH, with packet id and DUP flag (sections 3.3.1.1, 3.3.1.2 and 3.3.2.2).
///
/// [MQTT-3.3.1-2] [MQTT-2.3.1-5] At QoS 0 there is no DUP flag and no packet id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Delivery {
    /// QoS 0: the message is sent once.
    AtMostOnce,
    /// QoS 1: the message is sent until a PUBACK is received.
    AtLeastOnce {
        /// Packet id, which the PUBACK repeats.
        packet_id: PacketId,
        /// DUP flag: `true` if the message may have been sent before.
        dup: bool,
    },
    /// QoS 2: the message is sent until a PUBREC is received.
    ExactlyOnce {
        /// Packet id, which PUBREC, PUBREL and PUBCOMP repeat.
        packet_id: PacketId,
        /// DUP flag: `true` if the message may have been sent before.
        dup: bool,
    },
}

impl Delivery {
    /// Returns the quality of service.
    #[must_use]
    pub const fn qos(&self) -> QoS {
        match self {
            Self::AtMostOnce => QoS::AtMostOnce,
            Self::AtLeastOnce { .. } => QoS::AtLeastOnce,
            Self::ExactlyOnce { .. } => QoS::ExactlyOnce,
        }
    }

    /// Returns the packet id, or `None` at QoS 0.
    #[must_use]
    pub const fn packet_id(&self) -> Option<PacketId> {
        match *self {
            Self::AtMostOnce => None,
            Self::AtLeastOnce { packet_id, .. } | Self::ExactlyOnce { packet_id, .. } => {
                Some(packet_id)
            }
        }
    }

    /// Returns the DUP flag: `true` if the message may have been sent before. It is `false` at QoS 0.
    #[must_use]
    pub const fn dup(&self) -> bool {
        match *self {
            Self::AtMostOnce => false,
            Self::AtLeastOnce { dup, .. } | Self::ExactlyOnce { dup, .. } => dup,
        }
    }
}
