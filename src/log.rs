//! Log events. They go to `defmt` and to `log`, each if its feature is enabled. Otherwise nothing is logged.
//!
//! Both receive the same texts: `{}` is `Format` of one and `Display` of the other.

use crate::codec::PacketId;
#[cfg(any(feature = "defmt", feature = "log"))]
use crate::codec::{PacketType, wire};

macro_rules! debug {
    ($text:literal $(, $value:expr)*) => {{
        #[cfg(feature = "defmt")]
        defmt::debug!($text $(, $value)*);
        #[cfg(feature = "log")]
        ::log::debug!($text $(, $value)*);
        #[cfg(not(any(feature = "defmt", feature = "log")))]
        let _ = ($(&$value,)*);
    }};
}

macro_rules! warn_ {
    ($text:literal $(, $value:expr)*) => {{
        #[cfg(feature = "defmt")]
        defmt::warn!($text $(, $value)*);
        #[cfg(feature = "log")]
        ::log::warn!($text $(, $value)*);
        #[cfg(not(any(feature = "defmt", feature = "log")))]
        let _ = ($(&$value,)*);
    }};
}

pub(crate) use debug;
pub(crate) use warn_ as warn;

/// Logs a packet that was sent: its first byte, its packet id, and its length in bytes.
#[cfg(any(feature = "defmt", feature = "log"))]
pub(crate) fn sent(first: u8, id: Option<PacketId>, len: usize) {
    let Some(packet_type) = PacketType::from_number(first >> 4) else {
        return;
    };
    match (packet_type, id.map(PacketId::get)) {
        (PacketType::Publish, None) => debug!("sent Publish: QoS 0, {} bytes", len),
        (PacketType::Publish, Some(id)) => {
            let (qos, dup) = delivery(first);
            debug!(
                "sent Publish {}: QoS {}, DUP {}, {} bytes",
                id, qos, dup, len
            );
        }
        (packet_type, None) => debug!("sent {:?}", packet_type),
        (packet_type, Some(id)) => debug!("sent {:?} {}", packet_type, id),
    }
}

/// Logs a packet that was received, as [`sent`].
#[cfg(any(feature = "defmt", feature = "log"))]
pub(crate) fn received(first: u8, id: Option<PacketId>, len: usize) {
    let Some(packet_type) = PacketType::from_number(first >> 4) else {
        return;
    };
    match (packet_type, id.map(PacketId::get)) {
        (PacketType::Publish, None) => debug!("received Publish: QoS 0, {} bytes", len),
        (PacketType::Publish, Some(id)) => {
            let (qos, dup) = delivery(first);
            debug!(
                "received Publish {}: QoS {}, DUP {}, {} bytes",
                id, qos, dup, len
            );
        }
        // The bytes at the place of the packet id are flags and a return code.
        (PacketType::Connack, _) | (_, None) => debug!("received {:?}", packet_type),
        (packet_type, Some(id)) => debug!("received {:?} {}", packet_type, id),
    }
}

/// Returns QoS and DUP flag of a PUBLISH.
#[cfg(any(feature = "defmt", feature = "log"))]
const fn delivery(first: u8) -> (u8, bool) {
    ((first & wire::QOS_MASK) >> 1, first & wire::DUP != 0)
}

#[cfg(not(any(feature = "defmt", feature = "log")))]
pub(crate) const fn sent(_first: u8, _id: Option<PacketId>, _len: usize) {}

#[cfg(not(any(feature = "defmt", feature = "log")))]
pub(crate) const fn received(_first: u8, _id: Option<PacketId>, _len: usize) {}
