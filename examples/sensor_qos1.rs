//! A sensor that reports at QoS 1 and keeps its session through deep sleep: `cargo run --example sensor_qos1`.
//!
//! CONNECT and PUBLISH leave in one write, DISCONNECT after the PUBACK. What was not acknowledged is in the image that
//! the sensor saves before it sleeps, and goes out again when it wakes.

mod pc;

use std::{cell::Cell, net::SocketAddr, process::ExitCode};

use embassy_time::{Duration, Timer};
use umqtt::{
    EmbassyClock, Event, Message, Session, Storage, asynch::Client, codec::Connect, codec::QoS,
    tokio_io,
};

const TOPIC: &str = "umqtt/sensor1/celsius";

type Memory = Storage<64, 256, 4, 4>;

/// What survives the sleep: memory that stays powered, or flash.
struct Image {
    bytes: [u8; Memory::IMAGE_LEN],
    used: usize,
}

fn main() -> ExitCode {
    pc::run(days())
}

async fn days() -> pc::Result<()> {
    let broker = pc::broker().await?;
    let mut image = Image {
        bytes: [0; Memory::IMAGE_LEN],
        used: 0,
    };
    forget(broker).await?;
    for (reading, network_fails) in [
        ("21.5", false),
        ("21.4", true),
        ("21.6", false),
        ("21.7", false),
    ] {
        println!("The sensor wakes and measures {reading} °C.");
        wake(broker, &mut image, reading, network_fails).await?;
        println!("It sleeps, with a session of {} bytes.", image.used);
        Timer::after(Duration::from_millis(200)).await;
    }
    forget(broker).await
}

/// All that the sensor does while it is awake. Its RAM is lost when it sleeps.
async fn wake(
    broker: SocketAddr,
    image: &mut Image,
    reading: &str,
    network_fails: bool,
) -> pc::Result<()> {
    let mut memory = Memory::new();
    let mut session = Session::new(&mut memory);
    if let Some(saved) = image
        .bytes
        .get(..image.used)
        .filter(|saved| !saved.is_empty())
    {
        session.restore(saved)?;
    }
    let left_over = session.in_flight();
    let writes = Cell::new(0);
    let socket = pc::Counting::new(tokio_io::connect(broker).await?, &writes);
    let options = Connect {
        clean_session: false,
        ..options()
    };
    let mut client = Client::open(&mut session, socket, EmbassyClock, &options)?;
    let message = Message {
        qos: QoS::AtLeastOnce,
        ..Message::new(TOPIC, reading.as_bytes())
    };
    client.publish(&message).await?;
    if left_over == 0 {
        println!("CONNECT and PUBLISH left in {} write.", writes.get());
        assert_eq!(writes.get(), 1);
    } else {
        println!("{left_over} older message goes out first, once the broker has accepted.");
    }
    if network_fails {
        println!("The network fails before the broker has answered.");
        drop(client);
    } else {
        while client.session().in_flight() > 0 {
            if let Event::Puback(id) = client.recv().await? {
                println!("The broker has message {}.", id.get());
            }
        }
        client.disconnect().await?;
    }
    image.used = session.save(&mut image.bytes)?.len;
    Ok(())
}

/// Makes the broker forget the session, for the example to begin and end with nothing.
async fn forget(broker: SocketAddr) -> pc::Result<()> {
    let mut memory = Memory::new();
    let mut session = Session::new(&mut memory);
    let socket = tokio_io::connect(broker).await?;
    let mut client = Client::connect(&mut session, socket, EmbassyClock, &options()).await?;
    client.disconnect().await?;
    Timer::after(Duration::from_millis(200)).await;
    Ok(())
}

fn options() -> Connect<'static> {
    Connect {
        keep_alive: 30,
        ..Connect::new("umqtt-sensor1")
    }
}
