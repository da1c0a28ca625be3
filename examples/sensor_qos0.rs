//! A sensor that wakes, reports and sleeps in one round trip: `cargo run --example sensor_qos0`.
//!
//! CONNECT, PUBLISH and DISCONNECT are sent in one write. `shut_down` then waits for the CONNACK and for the end of the
//! stream. If a connection is closed with unread bytes, it is reset, and the message may be lost.

mod pc;

use std::{cell::Cell, net::SocketAddr, process::ExitCode};

use umqtt::{
    Config, Event, Message, Storage, SubscriptionState,
    blocking::Device,
    codec::{Connect, QoS},
    std_io::{self, StdClock},
};

const TOPIC: &str = "umqtt/sensor0/celsius";

fn main() -> ExitCode {
    pc::report(watch())
}

/// Runs the sensor three times, and another device that receives its reports.
fn watch() -> pc::Result<()> {
    let broker = pc::broker()?;
    let mut storage = Storage::<256, 256, 1>::new();
    let config = Config {
        connect: Connect::new("umqtt-watcher0"),
        subscriptions: &[(TOPIC, QoS::AtMostOnce)],
    };
    let mut watcher = Device::new(&mut storage, StdClock::new(), &config)?;
    watcher.connect(std_io::connect(broker)?)?;
    while watcher.subscriptions() == SubscriptionState::Pending {
        watcher.recv(1_000, |event, _| println!("{event}"))?;
    }
    for reading in ["21.5", "21.4", "21.6"] {
        let writes = wake(broker, reading)?;
        println!("The sensor reported {reading} °C in {writes} write, and sleeps again.");
        assert_eq!(writes, 1, "the three packets fit into one write");
        let mut received = false;
        watcher.recv(5_000, |event, _| {
            println!("{event}");
            received = matches!(event, Event::Message(it) if it.payload == reading.as_bytes());
        })?;
        if !received {
            return Err("the message was not received".into());
        }
    }
    watcher.shut_down(|_, _| ())?;
    Ok(())
}

/// Runs the sensor while it is awake. Returns the number of its writes.
fn wake(broker: SocketAddr, reading: &str) -> pc::Result<u32> {
    let mut storage = Storage::<64, 128, 0>::new();
    let config = Config::new(Connect::new("umqtt-sensor0"));
    let mut device = Device::new(&mut storage, StdClock::new(), &config)?;
    let writes = Cell::new(0);
    device.connect(pc::Counting::new(std_io::connect(broker)?, &writes))?;
    // The session only queues it.
    let message = Message::new(TOPIC, reading.as_bytes());
    device.session().publish(&message)?;
    device.shut_down(|_, _| ())?;
    Ok(writes.get())
}
