//! The dates of certificates. They are checked only with a clock.

use crate::{
    fixture::{NAME, connector, exchange, run},
    mosquitto::Mosquitto,
    pki::{Kind, Pki},
};

#[cfg(feature = "clock")]
pub(crate) use with_clock::start_clock;

#[cfg(feature = "clock")]
mod with_clock {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        time::SystemTime,
    };

    use tls_mbedtls::{Clock, check_dates_by};

    use super::*;

    const TODAY: u64 = 0;
    const UNKNOWN: u64 = u64::MAX;
    const JULY_2000: u64 = 962_409_600;
    const JULY_2001: u64 = 993_945_600;

    /// Seconds since 1970, or one of the constants.
    static NOW: AtomicU64 = AtomicU64::new(TODAY);

    fn now() -> Option<u64> {
        match NOW.load(Ordering::SeqCst) {
            TODAY => Some(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()),
            UNKNOWN => None,
            seconds => Some(seconds),
        }
    }

    pub(crate) fn start_clock() {
        static CLOCK: Clock<fn() -> Option<u64>> = Clock(now);
        NOW.store(TODAY, Ordering::SeqCst);
        check_dates_by(&CLOCK);
    }

    #[test]
    fn certificate_outside_its_dates_is_refused() {
        let pki = Pki::new(Kind::P256);
        let broker = Mosquitto::new(&pki, &pki.issue_expired(NAME), "");
        run(async {
            let connector = connector(&pki);
            for (at, words) in [
                (JULY_2000, None),
                (
                    JULY_2001,
                    Some("certificate is refused: it has expired (0x1)"),
                ),
                (TODAY, Some("certificate is refused: it has expired (0x1)")),
                (
                    JULY_2000 - 366 * 86_400,
                    Some("certificate is refused: it is not valid yet (0x200)"),
                ),
                (UNKNOWN, Some("the clock may not know the time (0x3000)")),
            ] {
                NOW.store(at, Ordering::SeqCst);
                let outcome = exchange(&connector, broker.address).await;
                match (outcome, words) {
                    (Ok(()), None) => {}
                    (Err(error), Some(words)) if error.ends_with(words) => {}
                    (outcome, _) => panic!("at {at}: {outcome:?}"),
                }
            }
        });
    }
}

#[cfg(all(feature = "log", not(feature = "clock")))]
mod without_clock {
    use std::sync::Mutex;

    use log::{LevelFilter, Log, Metadata, Record};

    use super::*;

    struct Lines(Mutex<Vec<String>>);

    static LINES: Lines = Lines(Mutex::new(Vec::new()));

    impl Log for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            self.0.lock().unwrap().push(record.args().to_string());
        }

        fn flush(&self) {}
    }

    #[test]
    fn expired_certificate_is_accepted_and_the_log_warns() {
        log::set_logger(&LINES).unwrap();
        log::set_max_level(LevelFilter::Warn);
        let pki = Pki::new(Kind::P256);
        let broker = Mosquitto::new(&pki, &pki.issue_expired(NAME), "");
        run(async { exchange(&connector(&pki), broker.address).await.unwrap() });
        let lines = LINES.0.lock().unwrap();
        let warning = "TLS: the dates of certificates are not checked (feature clock)";
        assert!(lines.iter().any(|line| line == warning), "{lines:?}");
    }
}
