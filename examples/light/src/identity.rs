//! Who a device is (feature `identity`).

use core::fmt::{self, Write as _};

use heapless::String;
use uuid::Uuid;

use crate::{PrefixTooLong, TOPIC_CAPACITY, TOPIC_SUFFIX};

/// The names of a device, made from the address that its chip got at the factory: they are the same after every boot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    device: String<12>,
    topic: String<TOPIC_CAPACITY>,
    prefix_len: usize,
}

impl Identity {
    /// The names of the device with this MAC address. Without a prefix, the topic begins with a UUID: version 5, of
    /// `mac:` and the address in hex, in the namespace of URLs.
    ///
    /// # Errors
    ///
    /// The topic would be too long.
    pub fn new(mac: [u8; 6], prefix: Option<&str>) -> Result<Self, PrefixTooLong> {
        let mut device = String::new();
        let mut topic = String::new();
        let mut prefix_len = 0;
        let mut write = || -> fmt::Result {
            for byte in mac {
                write!(device, "{byte:02x}")?;
            }
            match prefix {
                Some(prefix) => topic.write_str(prefix)?,
                None => write!(topic, "{}", uuid(&device)?)?,
            }
            prefix_len = topic.len();
            topic.write_str(TOPIC_SUFFIX)
        };
        // Nothing but a prefix that was given has any length.
        let written = write();
        written.map_err(|_| PrefixTooLong {
            len: prefix.map_or(0, str::len),
        })?;
        Ok(Self {
            device,
            topic,
            prefix_len,
        })
    }

    /// The address in hex, fit for a client id.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// What its topics begin with.
    pub fn prefix(&self) -> &str {
        self.topic.get(..self.prefix_len).unwrap_or_default()
    }

    /// The topic of its light.
    pub fn topic(&self) -> &str {
        &self.topic
    }
}

fn uuid(device: &str) -> Result<Uuid, fmt::Error> {
    let mut name = String::<16>::new();
    write!(name, "mac:{device}")?;
    Ok(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x24, 0x0A, 0xC4, 0x00, 0x01, 0x02];

    /// `uuidgen --sha1 --namespace @url --name mac:240ac4000102` says the same.
    #[test]
    fn a_device_has_one_name_for_ever() {
        let identity = Identity::new(MAC, None).unwrap();
        assert_eq!(identity.device(), "240ac4000102");
        assert_eq!(identity.prefix(), "82c50a21-b781-5f63-baae-b46a05c8e79e");
        assert_eq!(
            identity.topic(),
            "82c50a21-b781-5f63-baae-b46a05c8e79e/living_room/light"
        );
        let other = Identity::new([0x24, 0x0A, 0xC4, 0x00, 0x01, 0x03], None).unwrap();
        assert_ne!(other.prefix(), identity.prefix());
    }

    #[test]
    fn a_prefix_that_is_given_is_kept() {
        let identity = Identity::new(MAC, Some("house/1")).unwrap();
        assert_eq!(identity.prefix(), "house/1");
        assert_eq!(identity.topic(), "house/1/living_room/light");
        let longest = [b'x'; PrefixTooLong::MAX];
        let longest = core::str::from_utf8(&longest).unwrap();
        assert!(Identity::new(MAC, Some(longest)).is_ok());
        let too_long = [b'x'; PrefixTooLong::MAX + 1];
        let too_long = core::str::from_utf8(&too_long).unwrap();
        let len = too_long.len();
        assert_eq!(
            Identity::new(MAC, Some(too_long)),
            Err(PrefixTooLong { len })
        );
    }
}
