//! Two tasks that share one client: `cargo run --example shared`.
//!
//! The client belongs to an owner task, and the others send it what they want published through a channel. (A mutex
//! around the client would be held by whoever waits in `recv`, and nobody else would ever get to publish.)

mod pc;

use core::{convert::Infallible, future::pending};
use std::process::ExitCode;

use embassy_futures::{
    join::join,
    select::{Either, select},
};
use embassy_sync::{
    blocking_mutex::raw::NoopRawMutex,
    channel::{Channel, Receiver, Sender},
};
use embassy_time::{Duration, Timer};
use umqtt::{
    EmbassyClock, Event, Message, Session, Storage, asynch::Client, codec::Connect, codec::QoS,
    tokio_io,
};

const INFLIGHT: usize = 4;
const READINGS: u32 = 5;

/// What a task wants from the owner.
enum Request {
    Publish {
        topic: &'static str,
        value: u32,
    },
    /// The task has ended.
    Done,
}

type Requests = Channel<NoopRawMutex, Request, 2>;

fn main() -> ExitCode {
    pc::run(device())
}

async fn device() -> pc::Result<()> {
    let requests = Requests::new();
    let light = sensor("umqtt/shared/light", 30, requests.sender());
    let noise = sensor("umqtt/shared/noise", 50, requests.sender());
    // If the owner fails, nobody receives what the sensors send.
    let sensors = async {
        join(light, noise).await;
        pending::<Infallible>().await
    };
    match select(owner(requests.receiver()), sensors).await {
        Either::First(owned) => owned,
        Either::Second(never) => match never {},
    }
}

/// A task that knows nothing of MQTT.
async fn sensor(topic: &'static str, millis: u64, requests: Sender<'_, NoopRawMutex, Request, 2>) {
    for value in 1..=READINGS {
        Timer::after(Duration::from_millis(millis)).await;
        requests.send(Request::Publish { topic, value }).await;
    }
    requests.send(Request::Done).await;
}

/// The task that has the client.
async fn owner(requests: Receiver<'_, NoopRawMutex, Request, 2>) -> pc::Result<()> {
    let socket = tokio_io::connect(pc::broker().await?).await?;
    let mut storage = Storage::<256, 512, INFLIGHT>::new();
    let mut session = Session::new(&mut storage);
    let options = Connect {
        keep_alive: 30,
        ..Connect::new("umqtt-shared")
    };
    let mut client = Client::connect(&mut session, socket, EmbassyClock, &options).await?;
    println!("Connected.");

    let mut ended = 0_u32;
    while ended < 2 || client.session().in_flight() > 0 {
        // While every slot is taken, the tasks wait at their channel.
        let has_room = client.session().in_flight() < INFLIGHT;
        let request = async {
            match has_room {
                true => requests.receive().await,
                false => pending().await,
            }
        };
        match select(client.recv(), request).await {
            Either::First(event) => {
                if let Event::Puback(id) = event? {
                    println!("The broker has message {}.", id.get());
                }
            }
            Either::Second(Request::Publish { topic, value }) => {
                let reading = value.to_string();
                let message = Message {
                    qos: QoS::AtLeastOnce,
                    ..Message::new(topic, reading.as_bytes())
                };
                let id = client.publish(&message).await?;
                println!(
                    "{topic} = {value} is message {}.",
                    id.map_or(0, |id| id.get())
                );
            }
            Either::Second(Request::Done) => ended = ended.saturating_add(1),
        }
    }
    client.disconnect().await?;
    println!("Done.");
    Ok(())
}
