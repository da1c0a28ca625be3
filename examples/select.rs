//! A task that waits for messages and for a timer, and publishes: `cargo run --example select`.
//!
//! The event handler passes messages to the task through a channel. While the channel is full, nothing more is
//! received: the handler returns `NotNow`, and is given the same message again when the task calls `resume`.

mod pc;

use std::process::ExitCode;

use embassy_futures::select::{Either, select};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, channel::Channel};
use embassy_time::{Duration, Ticker};
use umqtt::{
    Config, EmbassyClock, Event, Handled, Message, Storage,
    asynch::Device,
    codec::{Connect, QoS},
};

const READINGS: u32 = 5;

fn main() -> ExitCode {
    pc::run(device())
}

async fn device() -> pc::Result<()> {
    let broker = pc::broker()?;
    let mut storage = Storage::<256, 512, 4>::new();
    let config = Config {
        connect: Connect::new("umqtt-select"),
        subscriptions: &[("umqtt/select/#", QoS::AtMostOnce)],
    };
    let mut device: Device<'_, _> = Device::new(&mut storage, EmbassyClock, &config)?;
    let (mqtt, runner) = device.split();

    let messages = Channel::<NoopRawMutex, String, 2>::new();
    let network = pc::network(runner, broker, |event, _| {
        let Event::Message(message) = event else {
            println!("{event}");
            return Handled::Done;
        };
        let payload = String::from_utf8_lossy(message.payload);
        let sent = messages.try_send(format!("{}: {payload}", message.topic));
        sent.map_or(Handled::NotNow, |()| Handled::Done)
    });
    let task = async {
        mqtt.subscribed().await?;
        let mut ticker = Ticker::every(Duration::from_millis(100));
        let (mut published, mut received) = (0_u32, 0_u32);
        while received < READINGS {
            match select(messages.receive(), ticker.next()).await {
                Either::First(text) => {
                    mqtt.resume();
                    received = received.saturating_add(1);
                    println!("{text}");
                }
                Either::Second(()) if published < READINGS => {
                    published = published.saturating_add(1);
                    let reading = format!("{published} ticks");
                    let message = Message {
                        qos: QoS::AtLeastOnce,
                        ..Message::new("umqtt/select/uptime", reading.as_bytes())
                    };
                    mqtt.publish(&message).await?;
                }
                Either::Second(()) => {}
            }
        }
        mqtt.shut_down();
        Ok(())
    };
    pc::both(network, task).await
}
