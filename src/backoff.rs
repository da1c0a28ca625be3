//! How long to wait before dialling again.

/// Waiting times between attempts to connect: they double up to a limit, and are spread at random, so that a thousand
/// devices that lost one server do not all come back in the same second.
///
/// ```
/// use umqtt::Backoff;
///
/// let mut backoff = Backoff::new(1_000, 60_000);
/// let random = || 0x8000_0000; // a device asks its random number generator
/// assert_eq!(backoff.next(random()), 750); // 500 to 1,000 ms
/// assert_eq!(backoff.next(random()), 1_500);
/// backoff.reset(); // connected
/// assert_eq!(backoff.next(random()), 750);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Backoff {
    first: u32,
    limit: u32,
    ceiling: u32,
}

impl Backoff {
    /// The first wait is at most `first` milliseconds, no wait is more than `limit`.
    pub const fn new(first: u32, limit: u32) -> Self {
        let ceiling = if first < limit { first } else { limit };
        Self {
            first: ceiling,
            limit,
            ceiling,
        }
    }

    /// The next wait, in milliseconds: between half of the current ceiling and the whole of it, as the evenly
    /// distributed number `random` decides. The ceiling then doubles, up to the limit.
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

    /// Begins again with the first wait; call it once a connection has been accepted.
    pub const fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

/// `span * random / 2^32`, which is at most `span`.
const fn scale(span: u32, random: u32) -> u32 {
    let [a, b, c, d, ..] = (span as u64).wrapping_mul(random as u64).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_stay_in_their_bounds() {
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
