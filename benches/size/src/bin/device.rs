//! The sensor of `client-qos1` on the blocking device, which reconnects, subscribes again, and queues without a
//! connection.
#![no_std]
#![no_main]

use size::{Line, Timer, show};
use umqtt::{
    Config, Event, Message, RequestError, Storage, blocking::Device, codec::Connect, codec::QoS,
};

#[unsafe(no_mangle)]
fn run(storage: &mut Storage<256, 256, 4>) -> bool {
    device(storage).is_ok()
}

fn device(storage: &mut Storage<256, 256, 4>) -> Result<(), RequestError> {
    let config = Config {
        connect: Connect {
            clean_session: false,
            ..Connect::new("sensor-7")
        },
        subscriptions: &[("light/set", QoS::AtLeastOnce)],
    };
    let mut device = Device::new(storage, Timer, &config)?;
    loop {
        if device.is_dial_due() {
            device.connect(Line)?;
        }
        // After the end of a connection, the device plans the next dial.
        let _ = device.poll(|event, publisher| {
            if let Event::Message(message) = event {
                show(message.payload);
                let _ = publisher.publish(&Message {
                    qos: QoS::AtLeastOnce,
                    ..Message::new("light/state", b"on")
                });
                let _ = publisher.publish(&Message::new("light/uptime", b"7"));
            }
        });
    }
}
