//! Time as the session sees it: wrapping milliseconds, handed in by whoever has a clock.

/// A moment, in milliseconds of any clock that wraps at 2^32 (every 49.7 days).
///
/// There is no order on it: two moments are compared by their signed distance, which is right as long as they lie
/// less than 24.8 days apart. The longest wait of the protocol is 98,302,500 ms: one and a half keep alives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(u32);

impl Instant {
    /// The moment at which the clock shows `millis`.
    pub const fn from_millis(millis: u32) -> Self {
        Self(millis)
    }

    /// What the clock shows at this moment, in milliseconds.
    pub const fn as_millis(self) -> u32 {
        self.0
    }

    /// The moment `millis` milliseconds later.
    pub const fn add_millis(self, millis: u32) -> Self {
        Self(self.0.wrapping_add(millis))
    }

    /// Whether the clock has come to this moment when it shows `now`.
    pub const fn has_passed(self, now: Self) -> bool {
        self.millis_after(now) == 0
    }

    /// Milliseconds from `now` to this moment; 0 when it has passed.
    pub const fn millis_after(self, now: Self) -> u32 {
        let distance = self.0.wrapping_sub(now.0);
        if distance.cast_signed() > 0 {
            distance
        } else {
            0
        }
    }

    /// The earlier of two moments.
    pub const fn min(self, other: Self) -> Self {
        if other.has_passed(self) { other } else { self }
    }
}

/// The hasher of a fingerprint knows the present moment: what it takes for an `i32` is an instant.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for Instant {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        state.write_i32(self.0.cast_signed());
    }
}

/// Something that tells the time; the only thing besides a transport that a client needs.
pub trait Clock {
    /// The present moment.
    fn now(&self) -> Instant;

    /// Lets a little time pass: a blocking client calls it when neither side of the transport is ready.
    ///
    /// The default spins. On a chip it may sleep until an interrupt, on a host for a fraction of a millisecond.
    fn idle(&self) {
        core::hint::spin_loop();
    }
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Instant {
        (**self).now()
    }

    fn idle(&self) {
        (**self).idle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_wrap() {
        let before = Instant::from_millis(u32::MAX - 5);
        let after = before.add_millis(10);
        assert_eq!(after.as_millis(), 4);
        assert!(!after.has_passed(before));
        assert!(before.has_passed(after));
        assert_eq!(after.millis_after(before), 10);
        assert_eq!(before.millis_after(after), 0);
        assert_eq!(before.min(after), before);
        assert_eq!(after.min(before), before);
    }

    #[test]
    fn the_longest_wait_fits() {
        let start = Instant::from_millis(4_000_000_000);
        let end = start.add_millis(98_302_500);
        assert_eq!(end.millis_after(start), 98_302_500);
        assert!(end.has_passed(end));
        assert!(!end.has_passed(end.add_millis(u32::MAX)));
    }
}
