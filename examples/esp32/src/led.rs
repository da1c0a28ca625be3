//! The LED of the board.

use esp_hal::{
    Blocking,
    gpio::{AnyPin, Level, Output, OutputConfig},
    peripherals::RMT,
    rmt::{Channel, PulseCode, Rmt, Tx, TxChannelConfig, TxChannelCreator as _, TxTransaction},
    time::Rate,
};

use crate::{settings, warning};

/// The LED of the board.
pub enum Led {
    /// There is no LED.
    Absent,
    /// A plain LED, and the level at which it is lit.
    Plain(Output<'static>, Level),
    /// An RGB LED with a WS2812. [`Led::set`] takes the channel, and puts it back.
    Rgb(Option<Channel<'static, Blocking, Tx>>),
}

impl Led {
    pub(crate) fn new(pin: Option<AnyPin<'static>>, rmt: RMT<'static>) -> Self {
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
                return match rmt.and_then(|rmt| rmt.channel0.configure_tx(&config)) {
                    Ok(channel) => Self::Rgb(Some(channel.with_pin(pin))),
                    Err(error) => {
                        warning!("The LED cannot be used: {}", error);
                        Self::Absent
                    }
                };
            }
        };
        Self::Plain(Output::new(pin, !level, OutputConfig::default()), level)
    }

    /// Switches the LED. If a transmission to an RGB LED fails, the LED is unchanged until the next call.
    pub fn set(&mut self, on: bool) {
        match self {
            Self::Absent => {}
            Self::Plain(pin, lit) => pin.set_level(if on { *lit } else { !*lit }),
            Self::Rgb(channel) => {
                // A bit takes 1.2 us. It is high for 0.8 us (1) or 0.4 us (0).
                // A colour is a byte. A quarter of its maximum is bright enough.
                let dark = PulseCode::new(Level::High, 32, Level::Low, 64);
                let mut pulses = [dark; 25];
                for color in pulses.chunks_exact_mut(8) {
                    if let (true, [_, bright, ..]) = (on, color) {
                        *bright = PulseCode::new(Level::High, 64, Level::Low, 32);
                    }
                }
                pulses[24] = PulseCode::end_marker();
                if let Some(idle) = channel.take() {
                    let sent = idle.transmit(&pulses).and_then(TxTransaction::wait);
                    *channel = Some(sent.unwrap_or_else(|(_, idle)| idle));
                }
            }
        }
    }
}
