//! Topic names and topic filters (section 4.7). A value of these types is always valid.

use core::fmt;
use core::iter::FusedIterator;

use super::error::{DecodeError, TopicError};
use super::{fast, utf8};

/// A topic name: one or more levels separated by `/`, without wildcards (section 4.7).
///
/// Two names are equal if their bytes are equal. Unicode is not normalised.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicName<'a> {
    /// Valid UTF-8.
    bytes: &'a [u8],
}

impl<'a> TopicName<'a> {
    /// Checks a topic name.
    ///
    /// # Errors
    ///
    /// - [`TopicError::Empty`]: there is no character.
    /// - [`TopicError::TooLong`]: there are more than 65,535 bytes.
    /// - [`TopicError::Nul`]: there is a U+0000.
    /// - [`TopicError::Wildcard`]: there is a `#` or a `+`.
    pub fn new(name: &'a str) -> Result<Self, TopicError> {
        let bytes = name.as_bytes();
        check(Kind::Name, bytes)?;
        Ok(Self { bytes })
    }

    /// Checks a received topic name.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let name = Self::unchecked(bytes);
        name.check_received()?;
        Ok(name)
    }

    /// Wraps received bytes without a check. The codec checks them before it returns them to the caller.
    pub(super) const fn unchecked(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn check_received(&self) -> Result<(), DecodeError> {
        check_received(Kind::Name, self.bytes)
    }

    /// Returns the name as a string.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        checked_str(self.bytes)
    }

    /// Returns the name as bytes of UTF-8.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// A topic filter: a topic name in which `+` matches any one level and a final `#` all remaining levels (section 4.7.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TopicFilter<'a> {
    /// Valid UTF-8.
    bytes: &'a [u8],
}

impl<'a> TopicFilter<'a> {
    /// Checks a topic filter.
    ///
    /// # Errors
    ///
    /// - [`TopicError::Empty`]: there is no character.
    /// - [`TopicError::TooLong`]: there are more than 65,535 bytes.
    /// - [`TopicError::Nul`]: there is a U+0000.
    /// - [`TopicError::Wildcard`]: a `+` does not fill its level, or a `#` does not fill the last level.
    pub fn new(filter: &'a str) -> Result<Self, TopicError> {
        let bytes = filter.as_bytes();
        check(Kind::Filter, bytes)?;
        Ok(Self { bytes })
    }

    /// Checks a received topic filter.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        check_received(Kind::Filter, bytes)?;
        Ok(Self { bytes })
    }

    /// Returns the filter as a string.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        checked_str(self.bytes)
    }

    /// Returns the filter as bytes of UTF-8.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns `true` if the filter matches this topic (sections 4.7.1 to 4.7.3).
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
        // [MQTT-4.7.2-1] A wildcard in the first level does not match topics that begin with `$`.
        if matches!(self.bytes, [b'#' | b'+', ..]) && topic.bytes.starts_with(b"$") {
            return false;
        }
        let mut names = levels(topic.bytes);
        for pattern in levels(self.bytes) {
            if pattern == b"#" {
                return true;
            }
            // [MQTT-4.7.3-4] Levels are compared byte by byte.
            match names.next() {
                Some(name) if pattern == b"+" || pattern == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// Returns the levels of this topic that the wildcards matched, or `None` if the filter does not match it.
    ///
    /// Each `+` yields its level, and the `#` yields all remaining levels with the separators between them. A level may be
    /// empty. `#` also matches the parent level (section 4.7.1.2). No level remains then, and it yields nothing.
    ///
    /// ```
    /// # use umqtt::codec::{TopicFilter, TopicName};
    /// let filter = TopicFilter::new("room/+/light/#")?;
    /// let captures = |topic| Some(filter.captures(TopicName::new(topic).ok()?)?.collect::<Vec<_>>());
    /// assert_eq!(captures("room/7/light/set/color"), Some(vec!["7", "set/color"]));
    /// assert_eq!(captures("room/7/light/"), Some(vec!["7", ""]));
    /// assert_eq!(captures("room/7/light"), Some(vec!["7"]));
    /// assert_eq!(captures("room/7/fan"), None);
    /// # Ok::<(), umqtt::codec::TopicError>(())
    /// ```
    ///
    /// A device that subscribed to one filter can call a function for each command:
    ///
    /// ```
    /// # use umqtt::codec::{TopicError, TopicFilter, TopicName};
    /// # fn set(_lamp: &str, _value: &[u8]) {}
    /// # fn reset(_lamp: &str) {}
    /// fn on_message(topic: &str, payload: &[u8]) -> Result<(), TopicError> {
    ///     let (filter, topic) = (TopicFilter::new("lamp/+/+")?, TopicName::new(topic)?);
    ///     if let Some(mut levels) = filter.captures(topic)
    ///         && let (Some(lamp), Some(command)) = (levels.next(), levels.next())
    ///     {
    ///         match command {
    ///             "set" => set(lamp, payload),
    ///             "reset" => reset(lamp),
    ///             _ => {}
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// # on_message("lamp/7/set", b"on").unwrap();
    /// ```
    #[must_use]
    pub fn captures<'t>(&self, topic: TopicName<'t>) -> Option<Captures<'a, 't>> {
        self.matches(topic).then_some(Captures {
            patterns: Some(self.bytes),
            rest: Some(topic.bytes),
        })
    }
}

/// The levels of a topic that the wildcards of a filter matched, in their order. See [`TopicFilter::captures`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Captures<'f, 't> {
    /// Levels of the filter that were not compared, or `None` after the last one.
    patterns: Option<&'f [u8]>,
    /// Levels of the topic that were not compared, or `None` after the last one.
    rest: Option<&'t [u8]>,
}

impl<'t> Iterator for Captures<'_, 't> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        loop {
            let level = match take_level(&mut self.patterns)? {
                b"#" => self.rest.take()?,
                b"+" => take_level(&mut self.rest)?,
                _ => {
                    take_level(&mut self.rest)?;
                    continue;
                }
            };
            return Some(checked_str(level));
        }
    }
}

/// Takes the first level of `rest`, which is `None` after the last one.
fn take_level<'l>(rest: &mut Option<&'l [u8]>) -> Option<&'l [u8]> {
    let bytes = rest.take()?;
    let Some(end) = bytes.iter().position(|&byte| byte == b'/') else {
        return Some(bytes);
    };
    *rest = bytes.get(end.saturating_add(1)..);
    bytes.get(..end)
}

impl FusedIterator for Captures<'_, '_> {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Filter,
}

/// Checks received bytes.
fn check_received(kind: Kind, bytes: &[u8]) -> Result<(), DecodeError> {
    if fast::is_plain_topic(bytes) {
        return Ok(());
    }
    utf8::check(bytes)?;
    check_bytes(kind, bytes).map_err(match kind {
        Kind::Name => DecodeError::TopicName,
        Kind::Filter => DecodeError::TopicFilter,
    })
}

/// Checks bytes that are UTF-8.
fn check(kind: Kind, bytes: &[u8]) -> Result<(), TopicError> {
    if fast::is_plain_topic(bytes) {
        return Ok(());
    }
    check_bytes(kind, bytes)
}

fn check_bytes(kind: Kind, bytes: &[u8]) -> Result<(), TopicError> {
    match bytes.len() {
        // [MQTT-4.7.3-1] A topic has at least one character.
        0 => return Err(TopicError::Empty),
        1..=utf8::MAX_LEN => {}
        // [MQTT-4.7.3-3] A topic has at most 65,535 bytes.
        len => return Err(TopicError::TooLong { len }),
    }
    for (at, &byte) in bytes.iter().enumerate() {
        // Letters, digits and `/` lie above the bytes that need a check.
        if byte > b'+' {
            continue;
        }
        // [MQTT-4.7.3-2] A topic does not contain U+0000.
        if byte == 0 {
            return Err(TopicError::Nul { at });
        }
        // [MQTT-3.3.2-2] [MQTT-4.7.1-1] Only filters contain wildcards.
        let is_wildcard = matches!(byte, b'#' | b'+');
        if is_wildcard && (kind == Kind::Name || !is_valid_wildcard(byte, at, bytes)) {
            return Err(TopicError::Wildcard { at });
        }
    }
    Ok(())
}

/// Returns `true` if `wildcard` may stand at `at` in `filter`.
fn is_valid_wildcard(wildcard: u8, at: usize, filter: &[u8]) -> bool {
    let before = at.checked_sub(1).and_then(|at| filter.get(at));
    let after = filter.get(at.saturating_add(1));
    // [MQTT-4.7.1-2] [MQTT-4.7.1-3] A wildcard fills its level; the level of a `#` is the last one.
    matches!(before, None | Some(b'/'))
        && match after {
            None => true,
            Some(after) => wildcard == b'+' && *after == b'/',
        }
}

fn levels(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&byte| byte == b'/')
}

/// Converts bytes that are known to be UTF-8. Without `unsafe`, they have to be checked again.
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
