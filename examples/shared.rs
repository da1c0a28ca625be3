//! Two tasks that publish, each with a copy of the handle of one device: `cargo run --example shared`.
//!
//! With Clean Session 0, they can publish at any time: without a connection, messages wait in the send buffer.

mod pc;

use std::process::ExitCode;

use embassy_futures::join::join;
use embassy_time::Timer;
use umqtt::{
    Config, EmbassyClock, Handled, Message, Storage,
    asynch::{Device, Mqtt},
    codec::{Connect, QoS},
};

fn main() -> ExitCode {
    pc::run(device())
}

async fn device() -> pc::Result<()> {
    let broker = pc::broker()?;
    let mut storage = Storage::<256, 512, 4>::new();
    let config = Config::new(Connect {
        clean_session: false,
        ..Connect::new("umqtt-shared")
    });
    let mut device: Device<'_, _> = Device::new(&mut storage, EmbassyClock, &config)?;
    let (mqtt, runner) = device.split();
    let network = pc::network(runner, broker, |event, _| {
        println!("{event}");
        Handled::Done
    });
    let tasks = async {
        let light = sensor(mqtt, "umqtt/shared/light", 30);
        let noise = sensor(mqtt, "umqtt/shared/noise", 50);
        let (light, noise) = join(light, noise).await;
        light.and(noise)?;
        mqtt.shut_down();
        Ok(())
    };
    pc::both(network, tasks).await
}

/// A task that reports five readings.
async fn sensor(mqtt: Mqtt<'_>, topic: &str, millis: u64) -> pc::Result<()> {
    for value in 1..=5 {
        Timer::after_millis(millis).await;
        let reading = value.to_string();
        let message = Message {
            qos: QoS::AtLeastOnce,
            ..Message::new(topic, reading.as_bytes())
        };
        mqtt.publish_and_wait(&message).await?;
        println!("The broker has {topic} = {value}.");
    }
    Ok(())
}
