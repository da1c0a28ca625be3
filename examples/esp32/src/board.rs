//! The board, as far as the light is concerned: a console, and an LED if a pin is named.

use esp_hal::gpio::{AnyPin, Level, Output, OutputConfig};
use light::{Board, News, asynch::Stop};

use crate::{console::info, settings::LED_LIT_BY};

/// The board that the light runs on.
pub(crate) struct Device {
    led: Option<Output<'static>>,
}

impl Device {
    pub(crate) fn new(led: Option<AnyPin<'static>>) -> Self {
        let led = led.map(|pin| Output::new(pin, level(false), OutputConfig::default()));
        Self { led }
    }
}

impl Board for Device {
    fn tell(&mut self, news: &News<'_>) {
        info!("{}", news);
    }

    fn set_light(&mut self, on: bool) {
        if let Some(led) = &mut self.led {
            led.set_level(level(on));
        }
    }
}

/// Nothing stops it but the power switch.
impl Stop for Device {}

fn level(on: bool) -> Level {
    if on { LED_LIT_BY } else { !LED_LIT_BY }
}
