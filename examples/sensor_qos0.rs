//! A sensor that wakes, reports and sleeps in one round trip: `cargo run --example sensor_qos0`.
//!
//! CONNECT, PUBLISH and DISCONNECT leave in one write. `disconnect` then waits for the CONNACK, because a connection
//! closed with bytes unread is reset, and that may destroy the message on its way.

mod pc;

use std::{cell::Cell, net::SocketAddr, process::ExitCode};

use embassy_time::{Duration, with_timeout};
use umqtt::{
    EmbassyClock, Event, Message, Session, Storage, asynch::Client, codec::Connect, codec::QoS,
    tokio_io,
};

const TOPIC: &str = "umqtt/sensor0/celsius";

fn main() -> ExitCode {
    pc::run(watch())
}

/// Somebody else, who sees what the sensor reports.
async fn watch() -> pc::Result<()> {
    let broker = pc::broker().await?;
    let mut storage = Storage::<256, 256, 1>::new();
    let mut session = Session::new(&mut storage);
    let options = Connect {
        keep_alive: 30,
        ..Connect::new("umqtt-watcher0")
    };
    let socket = tokio_io::connect(broker).await?;
    let mut client = Client::connect(&mut session, socket, EmbassyClock, &options).await?;
    let filters = [(TOPIC, QoS::AtMostOnce)];
    let codes = client.subscribe_and_wait(&filters, |_, _| {}).await?;
    if !codes.all_granted() {
        return Err("the broker refused the subscription".into());
    }

    for reading in ["21.5", "21.4", "21.6"] {
        let writes = wake(broker, reading).await?;
        println!("The sensor reported {reading} °C in {writes} write, and sleeps again.");
        assert_eq!(
            writes, 1,
            "CONNECT, PUBLISH and DISCONNECT fit into one write"
        );
        let event = with_timeout(Duration::from_secs(5), client.recv()).await;
        match event.map_err(|_| "the message did not arrive")?? {
            Event::Message(message) => {
                assert_eq!(message.payload, reading.as_bytes());
                println!("The watcher got it.");
            }
            other => println!("The watcher got {other:?}."),
        }
    }
    client.disconnect().await?;
    Ok(())
}

/// All that the sensor does while it is awake; returns how many writes that took.
async fn wake(broker: SocketAddr, reading: &str) -> pc::Result<u32> {
    let mut storage = Storage::<64, 128, 0>::new();
    let mut session = Session::new(&mut storage);
    let writes = Cell::new(0);
    let socket = pc::Counting::new(tokio_io::connect(broker).await?, &writes);
    let options = Connect {
        keep_alive: 30,
        ..Connect::new("umqtt-sensor0")
    };
    let mut client = Client::open(&mut session, socket, EmbassyClock, &options)?;
    client
        .session()
        .publish(&Message::new(TOPIC, reading.as_bytes()))?;
    client.disconnect().await?;
    Ok(writes.get())
}
