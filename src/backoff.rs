//! Delays between attempts to connect.

/// Delays between attempts to connect. They double up to a limit and are random, so that many devices do not reconnect to
/// a server at the same time.
///
/// ```
/// use umqtt::Backoff;
///
/// let mut backoff = Backoff::new(1_000, 60_000);
/// let random = || 0x8000_0000; // on a device, from its random number generator
/// assert_eq!(backoff.next(random()), 750); // 500 to 1,000 ms
/// assert_eq!(backoff.next(random()), 1_500);
/// backoff.reset(); // after a stable connection
/// assert_eq!(backoff.next(random()), 750);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[doc(alias = "reconnect_delay_set")] // Paho
pub struct Backoff {
    first: u32,
    limit: u32,
    ceiling: u32,
}

impl Backoff {
    /// Creates delays with a ceiling of `first` milliseconds at first, and of `limit` milliseconds at most.
    pub const fn new(first: u32, limit: u32) -> Self {
        let ceiling = if first < limit { first } else { limit };
        Self {
            first: ceiling,
            limit,
            ceiling,
        }
    }

    /// Returns the next delay, in milliseconds, and doubles the ceiling, up to the limit.
    ///
    /// The delay is between half of the ceiling and the ceiling. `random` is a uniformly distributed number.
    pub const fn next(&mut self, random: u32) -> u32 {
        let half = self.ceiling / 2;
        let span = self.ceiling.wrapping_sub(half);
        let doubled = self.ceiling.saturating_mul(2);
        self.ceiling = if doubled < self.limit {
            doubled
        } else {
            self.limit
        };
        half.wrapping_add(scale(span, random))
    }

    /// Returns the ceiling of the next delay, in milliseconds.
    pub(crate) const fn ceiling(&self) -> u32 {
        self.ceiling
    }

    /// Raises the ceiling to the limit.
    pub(crate) const fn set_longest(&mut self) {
        self.ceiling = self.limit;
    }

    /// Resets the ceiling to its first value. Call it after a connection that was stable. [`Self::after`] does so itself.
    pub const fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

/// Returns `span * random / 2^32`, which is at most `span`.
const fn scale(span: u32, random: u32) -> u32 {
    let [a, b, c, d, ..] = (span as u64).wrapping_mul(random as u64).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_limit() {
        for random in [0, 1, 0x7FFF_FFFF, u32::MAX] {
            let mut backoff = Backoff::new(100, 1_000);
            for ceiling in [100, 200, 400, 800, 1_000, 1_000] {
                let wait = backoff.next(random);
                assert!(
                    (ceiling / 2..=ceiling).contains(&wait),
                    "{wait} of {ceiling}"
                );
            }
        }
    }

    #[test]
    fn extreme_limits_do_not_overflow() {
        let mut backoff = Backoff::new(u32::MAX, u32::MAX);
        assert!(backoff.next(u32::MAX) >= u32::MAX / 2);
        assert!(backoff.next(u32::MAX) >= u32::MAX / 2);
        assert_eq!(Backoff::new(0, 0).next(u32::MAX), 0);
        assert!(Backoff::new(500, 100).next(u32::MAX) <= 100);
    }
}
