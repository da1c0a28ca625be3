//! Topic names and topic filters (section 4.7), valid by construction.

use core::fmt;

use super::error::{DecodeError, TopicError};
use super::{fast, utf8};

/// The name under which a message is published: one or more levels with `/` between them, no
/// wildcard (section 4.7).
///
/// Two names are equal if their bytes are; nothing is normalised.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicName<'a> {
    /// UTF-8, checked.
    bytes: &'a [u8],
}

impl<'a> TopicName<'a> {
    /// The topic of this name.
    ///
    /// # Errors
    ///
    /// [`TopicError`], if it is empty, too long, or contains U+0000, `#` or `+`.
    pub fn new(name: &'a str) -> Result<Self, TopicError> {
        let bytes = name.as_bytes();
        check(Kind::Name, bytes)?;
        Ok(Self { bytes })
    }

    /// The topic of a received name.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let name = Self::unchecked(bytes);
        name.check_received()?;
        Ok(name)
    }

    /// The topic of a received name that has to be checked before anybody sees it.
    pub(super) const fn unchecked(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn check_received(&self) -> Result<(), DecodeError> {
        check_received(Kind::Name, self.bytes)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        checked_str(self.bytes)
    }

    /// The name's bytes, as they travel.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// What a subscription asks for: a topic name in which `+` stands for a level and a last `#` for
/// all that follow (section 4.7.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicFilter<'a> {
    /// UTF-8, checked.
    bytes: &'a [u8],
}

impl<'a> TopicFilter<'a> {
    /// The filter that is written so.
    ///
    /// # Errors
    ///
    /// [`TopicError`], if it is empty, too long, contains U+0000, or has a wildcard where none may
    /// be.
    pub fn new(filter: &'a str) -> Result<Self, TopicError> {
        let bytes = filter.as_bytes();
        check(Kind::Filter, bytes)?;
        Ok(Self { bytes })
    }

    /// Checks a received filter.
    #[inline(always)]
    pub(super) fn check_received(bytes: &[u8]) -> Result<(), DecodeError> {
        check_received(Kind::Filter, bytes)
    }

    /// The filter of bytes that were checked.
    pub(super) const fn unchecked(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The filter as it is written.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        checked_str(self.bytes)
    }

    /// The filter's bytes, as they travel.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// True if a message of this topic is meant by the filter (sections 4.7.1 to 4.7.3).
    ///
    /// ```
    /// # use umqtt::codec::{TopicFilter, TopicName};
    /// let filter = TopicFilter::new("room/+/light/#")?;
    /// assert!(filter.matches(TopicName::new("room/7/light")?));
    /// assert!(filter.matches(TopicName::new("room/7/light/set")?));
    /// assert!(!filter.matches(TopicName::new("room/7/fan")?));
    /// # Ok::<(), umqtt::codec::TopicError>(())
    /// ```
    #[must_use]
    pub fn matches(&self, topic: TopicName<'_>) -> bool {
        // [MQTT-4.7.2-1] A leading wildcard does not reach the server's own topics.
        if matches!(self.bytes, [b'#' | b'+', ..]) && topic.bytes.starts_with(b"$") {
            return false;
        }
        let mut names = levels(topic.bytes);
        for wanted in levels(self.bytes) {
            if wanted == b"#" {
                return true;
            }
            // [MQTT-4.7.3-4] Byte for byte.
            match names.next() {
                Some(name) if wanted == b"+" || wanted == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Filter,
}

/// Checks what was received.
fn check_received(kind: Kind, bytes: &[u8]) -> Result<(), DecodeError> {
    if fast::is_plain(bytes) {
        return Ok(());
    }
    utf8::check_utf8(bytes)?;
    check_each(kind, bytes).map_err(match kind {
        Kind::Name => DecodeError::TopicName,
        Kind::Filter => DecodeError::TopicFilter,
    })
}

/// Checks what is UTF-8.
fn check(kind: Kind, bytes: &[u8]) -> Result<(), TopicError> {
    if fast::is_plain(bytes) {
        return Ok(());
    }
    check_each(kind, bytes)
}

fn check_each(kind: Kind, bytes: &[u8]) -> Result<(), TopicError> {
    match bytes.len() {
        // [MQTT-4.7.3-1] At least one character.
        0 => return Err(TopicError::Empty),
        1..=utf8::MAX_LEN => {}
        // [MQTT-4.7.3-3] At most 65,535 bytes.
        len => return Err(TopicError::TooLong { len }),
    }
    for (at, &byte) in bytes.iter().enumerate() {
        // Most bytes are letters, digits or `/`, and above all that may be wrong.
        if byte > b'+' {
            continue;
        }
        // [MQTT-4.7.3-2] No U+0000.
        if byte == 0 {
            return Err(TopicError::Nul { at });
        }
        // [MQTT-3.3.2-2] [MQTT-4.7.1-1] Wildcards are for filters.
        let is_wildcard = matches!(byte, b'#' | b'+');
        if is_wildcard && (kind == Kind::Name || !fits(byte, at, bytes)) {
            return Err(TopicError::Wildcard { at });
        }
    }
    Ok(())
}

/// True if this wildcard at this place of a filter may stand there.
fn fits(wildcard: u8, at: usize, filter: &[u8]) -> bool {
    let before = at.checked_sub(1).and_then(|at| filter.get(at));
    let after = filter.get(at.saturating_add(1));
    // [MQTT-4.7.1-2] [MQTT-4.7.1-3] Alone in its level, and with `#` that level the last.
    matches!(before, None | Some(b'/'))
        && match after {
            None => true,
            Some(after) => wildcard == b'+' && *after == b'/',
        }
}

fn levels(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&byte| byte == b'/')
}

/// The string of bytes that are known to be one; the check is repeated because there is no `unsafe`
/// here to skip it.
fn checked_str(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or_default()
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TopicName").field(&self.as_str()).finish()
    }
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TopicFilter").field(&self.as_str()).finish()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for TopicName<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "TopicName({=str})", self.as_str());
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for TopicFilter<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "TopicFilter({=str})", self.as_str());
    }
}
