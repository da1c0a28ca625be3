//! A sensor on the blocking client: QoS 0 and 1, keep alive, deadlines.
#![no_std]
#![no_main]

use size::{Line, Timer, show};
use umqtt::{
    Event, Message, Session, Storage, blocking::Client, client::Error, codec::Connect, codec::QoS,
};

#[unsafe(no_mangle)]
fn run(storage: &mut Storage<256, 256, 4>) -> bool {
    device(&mut Session::new(storage)).is_ok()
}

fn device(session: &mut Session<'_>) -> Result<(), Error<embedded_io::ErrorKind>> {
    let options = Connect {
        keep_alive: 60,
        ..Connect::new("sensor-7")
    };
    let mut client = Client::connect(session, Line, Timer, &options)?;
    client.subscribe(&[("light/set", QoS::AtLeastOnce)])?;
    loop {
        if let Some(Event::Message(message)) = client.poll()? {
            show(message.payload);
            client.publish(&Message {
                qos: QoS::AtLeastOnce,
                ..Message::new("light/state", b"on")
            })?;
            client.publish(&Message::new("light/uptime", b"7"))?;
        }
    }
}
