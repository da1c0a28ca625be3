//! The names of a device.

use core::fmt::{self, Write as _};

use heapless::String;
use light::TOPIC_SUFFIX;
use uuid::Uuid;

/// Longest topic of a light, in bytes.
const TOPIC_CAPACITY: usize = 256;

/// The part of the topic of firmware images after the topic of the light.
const FIRMWARE_SUFFIX: &str = "/firmware";

/// The names of a device. They derive from the MAC address of the chip, so they are the same after each boot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    device: String<12>,
    topic: String<TOPIC_CAPACITY>,
}

/// The topic would be longer than 256 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrefixTooLong;

impl PrefixTooLong {
    /// The longest prefix, in bytes.
    pub const MAX: usize = TOPIC_CAPACITY - TOPIC_SUFFIX.len();
}

impl Identity {
    /// Creates the names for this MAC address. Without a prefix, the topic begins with a UUID of version 5 in the
    /// namespace of URLs. The name of the UUID is `mac:` and the address in hex.
    ///
    /// # Errors
    ///
    /// The topic would be too long.
    pub fn new(mac: [u8; 6], prefix: Option<&str>) -> Result<Self, PrefixTooLong> {
        Self::format(mac, prefix).map_err(|_| PrefixTooLong)
    }

    fn format(mac: [u8; 6], prefix: Option<&str>) -> Result<Self, fmt::Error> {
        let mut device = String::new();
        for byte in mac {
            write!(device, "{byte:02x}")?;
        }
        let mut topic = String::new();
        match prefix {
            Some(prefix) => topic.write_str(prefix)?,
            None => {
                let mut name = String::<16>::new();
                write!(name, "mac:{device}")?;
                let uuid = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes());
                write!(topic, "{uuid}")?;
            }
        }
        topic.write_str(TOPIC_SUFFIX)?;
        Ok(Self { device, topic })
    }

    /// Returns the address in hex, which is the client id.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Returns the topic of the light.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Returns the topic of firmware images.
    pub fn firmware(&self) -> String<{ TOPIC_CAPACITY + FIRMWARE_SUFFIX.len() }> {
        let parts = [self.topic(), FIRMWARE_SUFFIX];
        parts.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x24, 0x0A, 0xC4, 0x00, 0x01, 0x02];

    /// The UUID is the output of `uuidgen --sha1 --namespace @url --name mac:240ac4000102`.
    #[test]
    fn names_without_prefix_derive_from_mac_address() {
        let identity = Identity::new(MAC, None).unwrap();
        assert_eq!(identity.device(), "240ac4000102");
        assert_eq!(
            identity.topic(),
            "82c50a21-b781-5f63-baae-b46a05c8e79e/living_room/light"
        );
        let other = Identity::new([0x24, 0x0A, 0xC4, 0x00, 0x01, 0x03], None).unwrap();
        assert_ne!(other.topic(), identity.topic());
        let firmware = "82c50a21-b781-5f63-baae-b46a05c8e79e/living_room/light/firmware";
        assert_eq!(identity.firmware(), firmware);
    }

    #[test]
    fn prefix_given_is_used_in_topic() {
        let identity = Identity::new(MAC, Some("house/1")).unwrap();
        assert_eq!(identity.topic(), "house/1/living_room/light");
        let longest = [b'x'; PrefixTooLong::MAX];
        let longest = core::str::from_utf8(&longest).unwrap();
        assert!(Identity::new(MAC, Some(longest)).is_ok());
    }

    #[test]
    fn prefix_too_long_is_an_error() {
        let too_long = [b'x'; PrefixTooLong::MAX + 1];
        let too_long = core::str::from_utf8(&too_long).unwrap();
        assert_eq!(Identity::new(MAC, Some(too_long)), Err(PrefixTooLong));
    }
}
