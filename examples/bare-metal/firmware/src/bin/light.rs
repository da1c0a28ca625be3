//! The living room light on a serial line that is connected directly to a broker.
#![no_std]
#![no_main]

use firmware::{Serial, machine};
use light::Light;
use semihosting::println;
use umqtt::{
    Config, Storage,
    blocking::Device,
    codec::{Connect, QoS},
};

/// The program ends after it has received this number of its own messages, so that it can be a test.
const COUNT: u32 = 5;

#[machine::entry]
fn main() -> ! {
    firmware::run(|timer| {
        let mut storage = Storage::<512, 512, 4>::new();
        let mut config = Config::new(Connect::new(machine::NAME));
        config.connect.clean_session = false;
        config.subscriptions = &[(machine::TOPIC, QoS::AtLeastOnce)];
        let Ok(mut device) = Device::new(&mut storage, &timer, &config) else {
            return false;
        };
        let mut light = Light::new(machine::TOPIC, QoS::AtLeastOnce);
        while light.count() < COUNT {
            // With a modem, dial here.
            let dialled = device.dial(|| Serial::open(&timer));
            // On a board with a lamp, set its pin to `light.is_on()` after this call.
            let served = device.serve(1_000, |event, _| println!("{}", light.handle(&event)));
            if let Err(error) = dialled.and(served) {
                println!("{error}");
            } else if device.is_connected() {
                match light.toggle(|message| device.publish(message)) {
                    Ok(news) => println!("{news}"),
                    Err(error) => println!("not published: {error}"),
                }
            }
        }
        true
    })
}
