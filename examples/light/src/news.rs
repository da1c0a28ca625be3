//! What the light has to tell.

use core::fmt::{self, Write as _};

use umqtt::{RequestError, codec::QoS};

/// Something that happened, for the user to read: its `Display` is a sentence without a full stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum News<'a> {
    /// The broker accepted the connection.
    Connected(KeptSession),
    /// The broker accepted the subscription, with this QoS.
    Subscribed {
        /// The light's topic.
        topic: &'a str,
        /// What the broker granted; it may be less than what was asked for.
        qos: QoS,
    },
    /// The state of the light is on its way to the broker.
    Published {
        /// The light's topic.
        topic: &'a str,
        /// Its state.
        on: bool,
    },
    /// A message came.
    Received {
        /// Its topic.
        topic: &'a str,
        /// Its payload.
        payload: &'a [u8],
        /// It is one that this light published.
        own: bool,
    },
    /// A message came that is too large, so it was skipped.
    Skipped {
        /// Length of the payload, or of the topic if that was too large already, in bytes.
        len: usize,
    },
    /// There was no room to publish now. The light tries again after its interval.
    Busy(RequestError),
}

/// What the broker remembered when the connection was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum KeptSession {
    /// Nothing.
    None,
    /// The session of this program's last connection.
    Ours,
    /// A session under the same client id, which this program has not begun itself: that of an earlier run.
    Earlier,
}

impl fmt::Display for News<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Connected(KeptSession::None) => f.write_str("Connected"),
            Self::Connected(KeptSession::Ours) => {
                f.write_str("Connected again; the broker kept the session")
            }
            Self::Connected(KeptSession::Earlier) => {
                f.write_str("Connected; the broker kept the session of an earlier run")
            }
            Self::Subscribed { topic, qos } => {
                write!(f, "Subscribed to {topic} with QoS {}", qos as u8)
            }
            Self::Published { on, .. } => write!(f, "Published: {}", state(on)),
            Self::Received {
                payload, own: true, ..
            } => write!(f, "Came back: {}", Text(payload)),
            Self::Received {
                topic,
                payload,
                own: false,
            } => write!(f, "Received on {topic}: {}", Text(payload)),
            Self::Skipped { len } => {
                write!(
                    f,
                    "Skipped a message of {len} bytes, which is too large here"
                )
            }
            Self::Busy(error) => write!(f, "Busy, and going on soon: {error}"),
        }
    }
}

/// The payload that stands for a state of the light.
pub(crate) const fn state(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// Bytes of a stranger as text that is fit for a terminal.
struct Text<'a>(&'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    f.write_char(c)?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    #[test]
    fn a_payload_cannot_drive_the_terminal() {
        let text = Text(b"caf\xc3\xa9 \x1b[2J\n\xff").to_string();
        assert_eq!(text, "café \\u{1b}[2J\\n\\xff");
    }
}
