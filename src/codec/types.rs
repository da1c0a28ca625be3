//! Quality of service, packet identifiers and delivery, valid by construction.

use core::fmt;
use core::num::NonZeroU16;

use super::wire::QOS_MASK;

/// Quality of service: how hard the two sides try to deliver a message (section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum QoS {
    /// Sent once and never acknowledged; may be lost (section 4.3.1).
    AtMostOnce = 0,
    /// Sent until it is acknowledged; may arrive more than once (section 4.3.2).
    AtLeastOnce = 1,
    /// Arrives exactly once (section 4.3.3).
    ExactlyOnce = 2,
}

impl QoS {
    /// QoS in the flags of a PUBLISH that were checked.
    pub(super) const fn from_publish_flags(flags: u8) -> Self {
        match flags & QOS_MASK {
            0b0000 => Self::AtMostOnce,
            0b0010 => Self::AtLeastOnce,
            _ => Self::ExactlyOnce,
        }
    }

    /// The two bits that stand for this QoS on the wire.
    pub(super) const fn bits(self) -> u8 {
        self as u8
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

/// A number that is no QoS: 0, 1 and 2 are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct InvalidQos {
    /// The number.
    pub value: u8,
}

impl fmt::Display for InvalidQos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no QoS: 0, 1 and 2 are (section 4.3)", self.value)
    }
}

impl core::error::Error for InvalidQos {}

/// Packet Identifier: ties an acknowledgement to its packet; never 0 (section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The smallest identifier, 1.
    pub const MIN: Self = Self(NonZeroU16::MIN);

    /// The largest identifier, 65,535.
    pub const MAX: Self = Self(NonZeroU16::MAX);

    /// The identifier of this number; `None` for 0, which the specification forbids.
    #[must_use]
    pub const fn new(id: u16) -> Option<Self> {
        // [MQTT-2.3.1-1] Zero is not an identifier, so no packet can carry it.
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number.
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

/// How hard a message is to be delivered, and what that takes (sections 3.3.1.1, 3.3.1.2 and
/// 3.3.2.2).
///
/// [MQTT-3.3.1-2] [MQTT-2.3.1-5] At QoS 0 there is neither a DUP flag nor a Packet Identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Delivery {
    /// QoS 0: sent once.
    AtMostOnce,
    /// QoS 1: sent until a PUBACK comes.
    AtLeastOnce {
        /// The identifier that the PUBACK carries.
        packet_id: PacketId,
        /// True if this may have been sent before.
        dup: bool,
    },
    /// QoS 2: sent until a PUBREC comes.
    ExactlyOnce {
        /// The identifier that PUBREC, PUBREL and PUBCOMP carry.
        packet_id: PacketId,
        /// True if this may have been sent before.
        dup: bool,
    },
}

impl Delivery {
    /// The quality of service.
    #[must_use]
    pub const fn qos(&self) -> QoS {
        match self {
            Self::AtMostOnce => QoS::AtMostOnce,
            Self::AtLeastOnce { .. } => QoS::AtLeastOnce,
            Self::ExactlyOnce { .. } => QoS::ExactlyOnce,
        }
    }

    /// The Packet Identifier; `None` at QoS 0.
    #[must_use]
    pub const fn packet_id(&self) -> Option<PacketId> {
        match *self {
            Self::AtMostOnce => None,
            Self::AtLeastOnce { packet_id, .. } | Self::ExactlyOnce { packet_id, .. } => {
                Some(packet_id)
            }
        }
    }

    /// True if the message may have been sent before; never at QoS 0.
    #[must_use]
    pub const fn dup(&self) -> bool {
        match *self {
            Self::AtMostOnce => false,
            Self::AtLeastOnce { dup, .. } | Self::ExactlyOnce { dup, .. } => dup,
        }
    }
}
