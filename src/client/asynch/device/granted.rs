//! The answer to a subscribe of a handle.

use crate::codec::{QoS, SubackCodes, SubackReturnCode};

/// Maximum number of filters in a [`subscribe`](super::Mqtt::subscribe) of a handle.
pub(super) const MAX_FILTERS: usize = 16;

/// The return codes of the filters of a [`subscribe`](super::Mqtt::subscribe), in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use = "the server may have refused a filter"]
pub struct Granted {
    /// Two bits for each filter: the QoS, or 3 for a refusal. The last filter has the lowest bits.
    codes: u32,
    len: u8,
}

impl Granted {
    /// The answer to a request other than a subscribe: no codes.
    pub(super) const NONE: Self = Self { codes: 0, len: 0 };

    pub(super) fn new(codes: SubackCodes<'_>) -> Self {
        let mut granted = Self::NONE;
        for code in codes.iter().take(MAX_FILTERS) {
            let bits = match code {
                SubackReturnCode::Granted(qos) => u32::from(qos as u8),
                SubackReturnCode::Failure => 3,
            };
            granted.codes = (granted.codes << 2) | bits;
            granted.len = granted.len.wrapping_add(1);
        }
        granted
    }

    /// Returns the return codes, one for each filter.
    pub fn iter(self) -> impl Iterator<Item = SubackReturnCode> {
        (0..self.len).rev().map(move |at| {
            let bits = self.codes >> (at.wrapping_mul(2) & 31) & 3;
            match bits {
                0 => SubackReturnCode::Granted(QoS::AtMostOnce),
                1 => SubackReturnCode::Granted(QoS::AtLeastOnce),
                2 => SubackReturnCode::Granted(QoS::ExactlyOnce),
                _ => SubackReturnCode::Failure,
            }
        })
    }

    /// Returns `true` if the server refused no filter. The granted QoS may be lower than the requested one.
    pub fn all_granted(self) -> bool {
        self.iter().all(|code| code != SubackReturnCode::Failure)
    }
}
