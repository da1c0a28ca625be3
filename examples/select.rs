//! One task that receives, watches a timer, and publishes in between: `cargo run --example select`.
//!
//! Any arm of the `select` may drop `recv` in the middle of a packet; nothing is lost by that.

mod pc;

use std::process::ExitCode;

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Ticker};
use umqtt::{
    EmbassyClock, Event, Message, Session, Storage, asynch::Client, codec::Connect, codec::QoS,
    tokio_io,
};

const READINGS: u32 = 5;

fn main() -> ExitCode {
    pc::run(device())
}

async fn device() -> pc::Result<()> {
    let socket = tokio_io::connect(pc::broker().await?).await?;
    let mut storage = Storage::<256, 512, 4>::new();
    let mut session = Session::new(&mut storage);
    let options = Connect {
        keep_alive: 30,
        ..Connect::new("umqtt-select")
    };
    let mut client = Client::connect(&mut session, socket, EmbassyClock, &options).await?;
    let filters = [("umqtt/select/#", QoS::AtMostOnce)];
    let codes = client.subscribe_and_wait(&filters, |_, _| {}).await?;
    if !codes.all_granted() {
        return Err("the broker refused the subscription".into());
    }
    println!("Connected and subscribed.");

    let mut ticker = Ticker::every(Duration::from_millis(100));
    let (mut published, mut acknowledged, mut received) = (0_u32, 0_u32, 0_u32);
    while acknowledged < READINGS || received < READINGS {
        match select(client.recv(), ticker.next()).await {
            Either::First(event) => match event? {
                Event::Message(message) => {
                    received = received.saturating_add(1);
                    let payload = String::from_utf8_lossy(message.payload);
                    println!("{}: {payload}", message.topic);
                }
                Event::Puback(id) => {
                    acknowledged = acknowledged.saturating_add(1);
                    println!("The broker has message {}.", id.get());
                }
                _ => {}
            },
            Either::Second(()) if published < READINGS => {
                published = published.saturating_add(1);
                let reading = format!("{published} ticks");
                let message = Message {
                    qos: QoS::AtLeastOnce,
                    ..Message::new("umqtt/select/uptime", reading.as_bytes())
                };
                client.publish(&message).await?;
            }
            Either::Second(()) => {}
        }
    }
    client.disconnect().await?;
    println!("Done.");
    Ok(())
}
