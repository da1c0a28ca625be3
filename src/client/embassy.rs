//! The clock of embassy-time, for the async client and device (feature `embassy-time`).

use core::future::Future;

use embassy_time::{Duration, Instant as EmbassyInstant, Timer};

use super::asynch::Sleep;
use crate::time::{Clock, Instant};

/// The clock of embassy-time, which needs a time driver of the HAL.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmbassyClock;

impl Clock for EmbassyClock {
    fn now(&self) -> Instant {
        let millis = EmbassyInstant::now().as_millis() & u64::from(u32::MAX);
        Instant::from_millis(u32::try_from(millis).unwrap_or_default())
    }
}

impl Sleep for EmbassyClock {
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        let left = at.millis_after(self.now());
        Timer::after(Duration::from_millis(u64::from(left)))
    }
}
