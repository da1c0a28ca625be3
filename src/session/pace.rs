//! The slowest peer that the caller puts up with.

use crate::time::Instant;

/// Counts the bytes that come inside packets, window by window.
#[derive(Default)]
pub(super) struct Pace {
    /// Bytes a second; 0 when any pace will do.
    minimum: u32,
    /// When the present window began; `None` between packets.
    since: Option<Instant>,
    bytes: u32,
}

impl Pace {
    pub(super) fn set_minimum(&mut self, bytes_per_second: u32) {
        self.minimum = bytes_per_second;
        self.restart();
    }

    /// A connection begins, between packets.
    pub(super) fn restart(&mut self) {
        self.since = None;
    }

    pub(super) fn count(&mut self, n: usize) {
        self.bytes = self
            .bytes
            .saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
    }

    /// When the present window began.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether a window of this many milliseconds has ended with too few bytes; `inside` says whether the peer owes the
    /// rest of a packet.
    pub(super) fn is_too_slow(&mut self, inside: bool, window: u32, now: Instant) -> bool {
        if self.minimum == 0 || !inside {
            self.since = None;
            return false;
        }
        let ended = match self.since {
            Some(since) => since.add_millis(window).has_passed(now),
            None => false,
        };
        if self.since.is_some() && !ended {
            return false;
        }
        // Without a division, which would cost a chip 600 bytes: fewer bytes than the whole ones that were due.
        let enough = u64::from(self.minimum).wrapping_mul(u64::from(window));
        let came = u64::from(self.bytes).wrapping_add(1).wrapping_mul(1_000);
        let too_slow = ended && came <= enough;
        self.since = Some(now);
        self.bytes = 0;
        too_slow
    }
}

/// Outside a window nobody looks at the count.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for Pace {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        let Self {
            minimum,
            since,
            bytes,
        } = self;
        (minimum, since, since.map(|_| bytes)).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u32 = 10_000;

    fn at(millis: u32) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn a_dribbler_is_noticed_at_the_end_of_a_window() {
        let mut pace = Pace::default();
        pace.set_minimum(10);
        assert!(!pace.is_too_slow(true, WINDOW, at(0)));
        pace.count(99);
        assert_eq!(pace.since(), Some(at(0)));
        assert!(!pace.is_too_slow(true, WINDOW, at(WINDOW - 1)));
        assert!(pace.is_too_slow(true, WINDOW, at(WINDOW)));
    }

    #[test]
    fn who_keeps_the_pace_may_go_on_and_each_window_counts_anew() {
        let mut pace = Pace::default();
        pace.set_minimum(10);
        assert!(!pace.is_too_slow(true, WINDOW, at(0)));
        pace.count(100);
        assert!(!pace.is_too_slow(true, WINDOW, at(WINDOW)));
        pace.count(50);
        assert!(pace.is_too_slow(true, WINDOW, at(2 * WINDOW)));
    }

    #[test]
    fn silence_between_packets_is_no_slowness_and_without_a_minimum_nothing_is() {
        let mut pace = Pace::default();
        assert!(!pace.is_too_slow(true, WINDOW, at(0)));
        assert!(!pace.is_too_slow(true, WINDOW, at(5 * WINDOW)));
        pace.set_minimum(10);
        assert!(!pace.is_too_slow(true, WINDOW, at(5 * WINDOW)));
        assert!(!pace.is_too_slow(false, WINDOW, at(7 * WINDOW)));
        assert_eq!(pace.since(), None);
        assert!(!pace.is_too_slow(true, WINDOW, at(9 * WINDOW)));
    }
}
