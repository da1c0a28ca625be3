//! What the programs need of the board: a console, an LED, the Wi-Fi network, and their settings.
#![no_std]

mod dial;
mod wifi;

use core::fmt::Display;
use embassy_time::Timer;
use esp_backtrace as _;
use esp_hal::{
    Blocking,
    clock::CpuClock,
    efuse,
    gpio::{AnyPin, Level, Output, OutputConfig},
    peripherals::{LPWR, RMT, WIFI},
    ram,
    rmt::{Channel, PulseCode, Rmt, Tx, TxChannelConfig, TxChannelCreator as _},
    time::Rate,
    timer::timg::TimerGroup,
};
#[cfg(feature = "defmt")]
use esp_println as _; // the transport of its frames

pub use self::dial::{credentials, dial};
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

/// As [`info!`], about something that failed.
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
}

/// Starts the chip. If a setting is missing, it says so and does not return.
pub async fn start() -> Board {
    #[cfg(feature = "log")]
    esp_println::logger::init_logger(log::LevelFilter::Info);
    let chip = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    // The radio needs it, and TLS; MQTT does not.
    esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 64 * 1024);
    esp_alloc::heap_allocator!(size: if cfg!(feature = "tls") { 64 } else { 36 } * 1024);
    esp_rtos::start(TimerGroup::new(chip.TIMG0).timer0, chip.FROM_CPU_INTR0);
    if let Some(problem) = settings::MISSING {
        stop(problem).await
    }
    let mac = efuse::base_mac_address();
    Board {
        mac: *mac.as_bytes().first_chunk().unwrap_or(&[0; 6]),
        led: Led::new(settings::led_pin!(chip), chip.RMT),
        radio: chip.WIFI,
        power: chip.LPWR,
    }
}

/// Shows a problem that only another build can solve, again and again: the console may be opened late.
pub async fn stop(problem: impl Display) -> ! {
    loop {
        warning!("{}", problem);
        Timer::after_secs(10).await;
    }
}

/// The LED of the board.
pub enum Led {
    /// None.
    Absent,
    /// A plain one, and the level at which it is lit.
    Plain(Output<'static>, Level),
    /// An RGB one with a WS2812. It has no channel while it cannot be written to.
    Rgb(Option<Channel<'static, Blocking, Tx>>),
}

impl Led {
    fn new(pin: Option<AnyPin<'static>>, rmt: RMT<'static>) -> Self {
        let Some(pin) = pin else {
            return Self::Absent;
        };
        let level = match settings::LED_LIT_BY {
            "low" => Level::Low,
            "high" => Level::High,
            _ => {
                let rmt = Rmt::new(rmt, Rate::from_mhz(80));
                let config = TxChannelConfig::default()
                    .with_clk_divider(1)
                    .with_idle_output(true);
                let channel = rmt
                    .ok()
                    .and_then(|rmt| rmt.channel0.configure_tx(&config).ok());
                return Self::Rgb(channel.map(|channel| channel.with_pin(pin)));
            }
        };
        Self::Plain(Output::new(pin, !level, OutputConfig::default()), level)
    }

    /// Switches the LED.
    pub fn set(&mut self, on: bool) {
        match self {
            Self::Absent => {}
            Self::Plain(pin, lit) => pin.set_level(if on { *lit } else { !*lit }),
            Self::Rgb(channel) => {
                // A bit is 1.2 us: 0.8 us or 0.4 us high. A colour is a byte; half is bright enough.
                let dark = PulseCode::new(Level::High, 32, Level::Low, 64);
                let mut pulses = [dark; 25];
                for color in pulses.chunks_exact_mut(8) {
                    if let (true, [_, bright, ..]) = (on, color) {
                        *bright = PulseCode::new(Level::High, 64, Level::Low, 32);
                    }
                }
                pulses[24] = PulseCode::end_marker();
                if let Some(Ok(sending)) = channel.take().map(|channel| channel.transmit(&pulses)) {
                    *channel = sending
                        .wait()
                        .map_or_else(|(_, channel)| Some(channel), Some);
                }
            }
        }
    }
}
