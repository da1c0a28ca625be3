//! The parts of the board that the programs need: console, LED, flash and Wi-Fi network. Also their settings.
#![no_std]

mod dial;
pub mod flash;
mod lamp;
mod led;
mod wifi;

use core::fmt::Display;
use embassy_time::Timer;
use esp_backtrace as _;
use esp_hal::{
    clock::CpuClock,
    efuse,
    peripherals::{FLASH, LPWR, WIFI},
    ram,
    rtc_cntl::{Rtc, Rwdt},
    timer::timg::TimerGroup,
};
#[cfg(feature = "defmt")]
use esp_println as _; // the transport of its frames

pub use self::dial::{credentials, dial};
pub use self::lamp::Lamp;
pub use self::led::Led;
pub use self::wifi::join;

/// The settings that `build.rs` takes from the environment; the README explains them.
pub mod settings {
    include!(concat!(env!("OUT_DIR"), "/settings.rs"));
}

/// Shows a line on the console.
#[macro_export]
macro_rules! info {
    ($text:literal $(, $value:expr)* $(,)?) => {{
        #[cfg(feature = "defmt")]
        defmt::info!($text $(, defmt::Display2Format(&($value)))*);
        #[cfg(feature = "log")]
        log::info!($text $(, $value)*);
    }};
}

/// Shows a line about a failure on the console.
#[macro_export]
macro_rules! warning {
    ($text:literal $(, $value:expr)* $(,)?) => {{
        #[cfg(feature = "defmt")]
        defmt::warn!($text $(, defmt::Display2Format(&($value)))*);
        #[cfg(feature = "log")]
        log::warn!($text $(, $value)*);
    }};
}

/// The parts of the board that a program uses.
pub struct Board {
    /// The address of the chip.
    pub mac: [u8; 6],
    /// The LED, if a pin is set.
    pub led: Led,
    /// The radio.
    pub radio: WIFI<'static>,
    /// The control of the power.
    pub power: LPWR<'static>,
    /// The flash.
    pub flash: FLASH<'static>,
    /// The watchdog, which is off.
    pub watchdog: Rwdt,
}

/// Starts the chip. If a setting is missing, shows that on the console and does not return.
pub async fn start() -> Board {
    let board = init();
    check().await;
    board
}

/// Checks the settings. If one is missing, shows that on the console and does not return.
pub async fn check() {
    if let Some(problem) = settings::MISSING {
        stop(problem).await
    }
}

/// Starts the chip, even if a setting is missing.
pub fn init() -> Board {
    #[cfg(feature = "log")]
    esp_println::logger::init_logger(log::LevelFilter::Info);
    let chip = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    // The radio and TLS need a heap. MQTT does not.
    esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 64 * 1024);
    esp_alloc::heap_allocator!(size: if cfg!(feature = "tls") { 64 } else { 36 } * 1024);
    esp_rtos::start(TimerGroup::new(chip.TIMG0).timer0, chip.FROM_CPU_INTR0);
    let mac = efuse::base_mac_address();
    Board {
        mac: *mac.as_bytes().first_chunk().unwrap_or(&[0; 6]),
        led: Led::new(settings::led_pin!(chip), chip.RMT),
        radio: chip.WIFI,
        power: chip.LPWR,
        flash: chip.FLASH,
        watchdog: Rtc::new(chip.RTC_TIMER).rwdt,
    }
}

/// Shows a problem that only another build can solve, again and again: the console may be opened late.
pub async fn stop(problem: impl Display) -> ! {
    loop {
        warning!("{}", problem);
        Timer::after_secs(10).await;
    }
}
