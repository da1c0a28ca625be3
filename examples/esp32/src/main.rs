//! A light on an ESP32: it joins a Wi-Fi network, connects to a broker, publishes its state each second, and is
//! switched by messages on the same topic.
#![no_std]
#![no_main]

use core::cell::RefCell;

use board::{
    Lamp, info,
    settings::{MQTT_HOST, MQTT_PORT, TOPIC_PREFIX},
    warning,
};
use embassy_executor::Spawner;
use embassy_futures::join::join;
use embassy_net::{Stack, tcp::TcpSocket};
use embassy_time::Timer;
use esp_hal::rng::Rng;
use esp32_parts::{Identity, hint};
use light::Light;
use umqtt::{
    Backoff, Config, EmbassyClock, Storage,
    asynch::{Device, Mqtt, Runner},
    codec::{Connect, QoS, Will},
};

esp_bootloader_esp_idf::esp_app_desc!();

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    let board = board::start().await;
    let Ok(identity) = Identity::new(board.mac, TOPIC_PREFIX) else {
        board::stop("TOPIC_PREFIX is too long").await
    };
    let (device, topic) = (identity.device(), identity.topic());
    info!("Device {}, topic {}", device, topic);
    let stack = board::join(board.radio, spawner).await;

    let config = Config {
        connect: Connect {
            clean_session: false,
            keep_alive: 30,
            credentials: board::credentials(),
            will: Some(Will::new(topic, b"offline")),
            ..Connect::new(device)
        },
        subscriptions: &[(topic, QoS::AtLeastOnce)],
    };
    // Room for received packets of 512 bytes, for a CONNECT and 1 KiB of sent messages, and for 8 unacknowledged ones.
    let mut storage = Storage::<512, 1536, 8>::new();
    let mut device = match Device::new(&mut storage, EmbassyClock, &config) {
        Ok(device) => device,
        Err(error) => board::stop(error).await,
    };
    let (mqtt, runner) = device.split();
    let light = Light::new(topic, QoS::AtLeastOnce);
    let lamp = RefCell::new(Lamp::new(light, board.led));
    join(stay_connected(stack, runner, &lamp), publish(mqtt, &lamp))
        .await
        .0
}

/// Stays connected, and passes received messages to the light.
async fn stay_connected(
    stack: Stack<'static>,
    mut runner: Runner<'_, EmbassyClock>,
    lamp: &RefCell<Lamp<'_>>,
) -> ! {
    let (mut rx, mut tx) = ([0; 2048], [0; 2048]);
    let mut socket = TcpSocket::new(stack, &mut rx, &mut tx);
    let mut backoff = Backoff::new(1_000, 60_000);
    loop {
        let dialled = board::dial(stack, &mut socket, MQTT_HOST, MQTT_PORT.unwrap_or(1883)).await;
        let delay = match dialled {
            Ok(()) => {
                let ended = runner.run(&mut socket, |event, _| lamp.borrow_mut().handle(&event));
                let ended = ended.await;
                warning!("The connection ended: {}{}", ended, hint(&ended));
                backoff.after(&ended, Rng::new().random())
            }
            Err(error) => {
                warning!("Not connected: {}", error);
                backoff.next(Rng::new().random())
            }
        };
        socket.abort(); // the broker publishes the will at once
        info!("Connecting again in {} ms", delay);
        Timer::after_millis(delay.into()).await;
    }
}

/// Switches the light each second, and publishes its state, while there is a connection.
async fn publish(mqtt: Mqtt<'_>, lamp: &RefCell<Lamp<'_>>) -> ! {
    loop {
        // If the device was shut down, the next line reports that.
        let _ = mqtt.connected().await;
        lamp.borrow_mut()
            .toggle(|message| mqtt.try_publish(message));
        Timer::after_secs(1).await;
    }
}
