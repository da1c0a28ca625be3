//! The light, and the LED that shows it.

use core::fmt::Display;

use light::Light;
use umqtt::{Event, Message};

use crate::{Led, info, warning};

/// The light, and the LED that shows it.
pub struct Lamp<'a> {
    light: Light<'a>,
    led: Led,
    /// The last message was not published, and that was shown.
    failed: bool,
}

impl<'a> Lamp<'a> {
    /// Creates a lamp, and leaves the LED as it is.
    pub const fn new(light: Light<'a>, led: Led) -> Self {
        Self {
            light,
            led,
            failed: false,
        }
    }

    /// Passes an event to the light, and shows the news.
    pub fn handle(&mut self, event: &Event<'_>) {
        info!("{}", self.light.handle(event));
        self.led.set(self.light.is_on());
    }

    /// Publishes the other state by this function, then switches. Of several failures in a row, it shows the first.
    pub fn toggle<R, E: Display>(&mut self, publish: impl FnOnce(&Message<'_>) -> Result<R, E>) {
        match self.light.toggle(publish) {
            Ok(news) => {
                info!("{}", news);
                self.led.set(self.light.is_on());
                self.failed = false;
            }
            Err(error) if !self.failed => {
                warning!("Not published: {}", error);
                self.failed = true;
            }
            Err(_) => {}
        }
    }
}
