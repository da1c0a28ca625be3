//! The living room light on a serial line that leads straight to a broker.
#![no_std]
#![no_main]

use core::convert::Infallible;

use firmware::{
    End, Serial,
    machine::{self, Timer, Uart, entry},
};
use light::{
    Board, Light, News, Settings,
    blocking::{self, FailureOf, Network},
};
use semihosting::println;
use umqtt::{
    Session, Storage,
    codec::{Connect, QoS},
};

/// Ends after so many messages have come back, so that it can be run as a test; `None` goes on.
const COUNT: Option<u32> = Some(5);

#[entry]
fn main() -> ! {
    firmware::run(|serial, timer| {
        let mut storage = Storage::<512, 512, 4>::new();
        let mut session = Session::new(&mut storage);
        let settings = Settings {
            topic_prefix: machine::NAME,
            qos: QoS::AtLeastOnce,
            interval_ms: 1_000,
            count: COUNT,
        };
        let Ok(mut light) = Light::new(&settings) else {
            return End::Failure;
        };
        let options = Connect {
            clean_session: false,
            keep_alive: 30,
            ..Connect::new(machine::NAME)
        };
        let mut line = Line { serial, timer };
        let end = blocking::run(
            &mut light,
            &mut session,
            &options,
            timer,
            &mut line,
            &mut Console,
        );
        match end {
            light::End::Done => End::Success,
            light::End::Stopped | light::End::GaveUp => End::Failure,
        }
    })
}

/// The way to the broker: there is nothing to dial, but what an earlier connection left has to go.
struct Line<'a> {
    serial: &'a Serial<Uart>,
    timer: &'a Timer,
}

impl<'a> Network for Line<'a> {
    type Transport = &'a Serial<Uart>;
    type Error = Infallible;

    fn dial(&mut self) -> Result<Self::Transport, Infallible> {
        // A modem would be told here whom to call.
        self.serial.drain(&self.timer);
        Ok(self.serial)
    }

    fn failed(&mut self, failure: &FailureOf<Self>) -> bool {
        println!("{failure}");
        true
    }
}

struct Console;

impl Board for Console {
    fn tell(&mut self, news: &News<'_>) {
        println!("{news}");
    }

    /// A board with a lamp switches its pin here.
    fn set_light(&mut self, _on: bool) {}
}
