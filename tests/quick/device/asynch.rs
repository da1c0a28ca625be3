//! The async device: a runner that reconnects, and handles that wait.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use crate::common::{message, packets, server, world::World};
use embassy_futures::{
    join::join,
    select::{Either, select},
};
use umqtt::{
    Config, Ended, Event, Message, Storage,
    asynch::{Device, DeviceState},
    codec::{Connect, QoS},
};

fn config(subscriptions: &'static [(&'static str, QoS)]) -> Config<'static> {
    Config {
        connect: Connect {
            clean_session: false,
            ..Connect::new("device")
        },
        subscriptions,
    }
}

#[test]
fn message_published_offline_is_sent_after_subscriptions() {
    let world = World::new();
    world.answer(server);
    let mut storage = Storage::<256, 512, 4>::new();
    let mut device: Device<'_, &World> =
        Device::new(&mut storage, &world, &config(&[("in/#", QoS::AtLeastOnce)])).unwrap();
    let (mqtt, mut runner) = device.split();
    let id = mqtt
        .try_publish(&message("out", b"1", QoS::ExactlyOnce))
        .unwrap();
    assert!(id.is_some());
    let mut seen = Vec::new();
    let app = async {
        mqtt.subscribed().await.unwrap();
        mqtt.publish_and_wait(&message("out", b"2", QoS::AtLeastOnce))
            .await
            .unwrap();
        mqtt.publish_and_wait(&Message::new("out", b"3"))
            .await
            .unwrap();
        assert_eq!(mqtt.state(), DeviceState::Connected);
        mqtt.shut_down();
    };
    let network = runner.run(world.dial(), |event, _| seen.push(format!("{event:?}")));
    let (ended, ()) = world.run(join(network, app));
    assert!(matches!(ended, Ended::Shutdown), "{ended:?}");
    let sent = world.take_sent();
    let (sent, _) = packets(&sent);
    println!(
        "{seen:#?}\n{:#?}",
        sent.iter()
            .map(|p| umqtt::codec::Packet::decode(p))
            .collect::<Vec<_>>()
    );
}

#[test]
fn handler_answers_with_payload_of_message() {
    let world = World::new();
    world.answer(server);
    let mut storage = Storage::<256, 512, 4>::new();
    let mut device: Device<'_, &World> = Device::new(&mut storage, &world, &config(&[])).unwrap();
    let (mqtt, mut runner) = device.split();
    let network = runner.run(world.dial(), |event, publisher| {
        if let Event::Message(received) = event {
            publisher
                .publish(&Message::new("answer", received.payload))
                .unwrap();
        }
    });
    let app = async {
        mqtt.connected().await.unwrap();
    };
    match world.run(select(network, app)) {
        Either::First(ended) => panic!("{ended:?}"),
        Either::Second(()) => {}
    }
}
