//! Instants and clocks, in milliseconds that wrap.

/// An instant, in milliseconds of a clock that wraps at 2^32 (every 49.7 days).
///
/// Instants have no order. Two instants are compared by their signed distance, which is correct if they are less than
/// 24.8 days apart. The longest wait of the protocol is 98,302,500 ms: one and a half times the longest keep alive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Instant(u32);

impl Instant {
    /// Creates the instant at which the clock shows `millis`.
    pub const fn from_millis(millis: u32) -> Self {
        Self(millis)
    }

    /// Creates the instant that a clock shows `elapsed` after it started at 0.
    #[cfg(feature = "std")]
    pub(crate) fn from_elapsed(elapsed: core::time::Duration) -> Self {
        let millis = elapsed.as_millis() & u128::from(u32::MAX);
        Self(u32::try_from(millis).unwrap_or_default())
    }

    /// Returns the time that the clock shows at this instant, in milliseconds.
    pub const fn as_millis(self) -> u32 {
        self.0
    }

    /// Returns the instant `millis` milliseconds later.
    pub const fn add_millis(self, millis: u32) -> Self {
        Self(self.0.wrapping_add(millis))
    }

    /// Returns `true` if this instant is `now` or earlier.
    pub const fn has_passed(self, now: Self) -> bool {
        self.millis_after(now) == 0
    }

    /// Returns the milliseconds from `now` to this instant, or 0 if it has passed.
    pub const fn millis_after(self, now: Self) -> u32 {
        let distance = self.0.wrapping_sub(now.0);
        if distance.cast_signed() > 0 {
            distance
        } else {
            0
        }
    }

    /// Returns the earlier of two instants.
    pub const fn min(self, other: Self) -> Self {
        if other.has_passed(self) { other } else { self }
    }
}

/// The hasher of a fingerprint takes an `i32` for an instant, and hashes its distance to the current time.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for Instant {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        state.write_i32(self.0.cast_signed());
    }
}

/// A source of time. A client needs one beside its transport.
///
/// ```
/// use core::sync::atomic::{AtomicU32, Ordering};
/// use umqtt::{Clock, Instant};
///
/// static MILLIS: AtomicU32 = AtomicU32::new(0); // incremented each millisecond by a timer interrupt
///
/// struct Ticks;
///
/// impl Clock for Ticks {
///     fn now(&self) -> Instant {
///         Instant::from_millis(MILLIS.load(Ordering::Relaxed))
///     }
/// }
/// ```
pub trait Clock {
    /// Returns the current time. It must not go back, except where the counter wraps.
    ///
    /// If the clock is set back or forward nevertheless, a session may lose its connection, but no message.
    fn now(&self) -> Instant;

    /// Waits for a short time. A blocking client calls it while the transport is ready for neither reading nor writing.
    ///
    /// The default is a spin loop hint. A chip may sleep until an interrupt, a host for a fraction of a millisecond.
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
    fn instants_compare_across_wrap() {
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
    fn longest_wait_does_not_overflow() {
        let start = Instant::from_millis(4_000_000_000);
        let end = start.add_millis(98_302_500);
        assert_eq!(end.millis_after(start), 98_302_500);
        assert!(end.has_passed(end));
        assert!(!end.has_passed(end.add_millis(u32::MAX)));
    }
}
