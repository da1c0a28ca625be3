//! A clock for the dates of certificates.

use mbedtls_rs::sys::{
    hook::{
        timer::{MbedtlsTimer, hook_timer},
        wall_clock::{MbedtlsWallClock, hook_wall_clock},
    },
    mbedtls_ms_time_t, tm,
};
use time::UtcDateTime;

/// A clock: a function that returns the seconds since 1970 in UTC. While it does not know the time, it returns `None`,
/// and every certificate is refused.
///
/// ```
/// use tls_mbedtls::{Clock, check_dates_by};
///
/// fn now() -> Option<u64> {
///     Some(1_900_000_000) // of an RTC, or of SNTP
/// }
///
/// static CLOCK: Clock<fn() -> Option<u64>> = Clock(now);
/// check_dates_by(&CLOCK);
/// ```
#[derive(Debug)]
pub struct Clock<F>(pub F);

/// From now on, checks the dates of certificates by this clock. Before the first call, every certificate is refused.
pub fn check_dates_by<F>(clock: &'static Clock<F>)
where
    F: Fn() -> Option<u64> + Send + Sync,
{
    // SAFETY: the clock lives as long as the program. The hooks are set in a critical section. Mbed TLS reads the time
    // at each use, so a clock that is set later affects only later uses.
    #[expect(unsafe_code)]
    unsafe {
        hook_wall_clock(Some(clock));
        hook_timer(Some(clock));
    }
}

impl<F: Fn() -> Option<u64>> MbedtlsWallClock for Clock<F> {
    fn instant(&self) -> Option<tm> {
        calendar(self.0()?)
    }
}

impl<F: Fn() -> Option<u64>> MbedtlsTimer for Clock<F> {
    fn now(&self) -> mbedtls_ms_time_t {
        let seconds = self.0().unwrap_or_default();
        mbedtls_ms_time_t::try_from(seconds.saturating_mul(1000)).unwrap_or(mbedtls_ms_time_t::MAX)
    }
}

fn calendar(seconds: u64) -> Option<tm> {
    let now = UtcDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    Some(tm {
        tm_sec: now.second().into(),
        tm_min: now.minute().into(),
        tm_hour: now.hour().into(),
        tm_mday: now.day().into(),
        tm_mon: u8::from(now.month()).checked_sub(1)?.into(),
        tm_year: now.year().checked_sub(1900)?,
        tm_wday: now.weekday().number_days_from_sunday().into(),
        tm_yday: now.ordinal().checked_sub(1)?.into(),
        tm_isdst: 0,
    })
}
