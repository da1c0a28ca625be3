//! A light that is switched by MQTT and reports its state at QoS 1.
#![no_std]
#![no_main]

mod dial;

use board::println;
use dial::dial;
use embassy_executor::{Spawner, main, task};
use embassy_net::{Stack, tcp::TcpSocket};
use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, signal::Signal};
use embassy_time::Timer;
use static_cell::StaticCell;
use umqtt::asynch::{Device, Mqtt, Runner};
use umqtt::codec::{Connect, QoS};
use umqtt::{Backoff, Config, EmbassyClock, Event, Message, Storage};

const BROKER: &str = "10.0.2.2"; // name or address; this one is the machine that emulates the light
static SWITCH: Signal<CriticalSectionRawMutex, bool> = Signal::new();

#[main]
async fn main(spawner: Spawner) {
    static STORAGE: StaticCell<Storage<512, 1536, 8>> = StaticCell::new();
    static DEVICE: StaticCell<Device<'_, EmbassyClock>> = StaticCell::new();
    let stack = board::start(spawner);
    let mut config = Config::new(Connect::new("light-7"));
    config.subscriptions = &[("light-7/set", QoS::AtLeastOnce)];
    let device = Device::new(STORAGE.init(Storage::new()), EmbassyClock, &config);
    let (mqtt, runner) = DEVICE.init(device.expect("storage too small")).split();
    spawner.spawn(network(stack, runner).expect("spawned once"));
    spawner.spawn(light(mqtt).expect("spawned once"));
}

/// Stays connected, and receives.
#[task]
async fn network(stack: Stack<'static>, mut runner: Runner<'static, EmbassyClock>) {
    let (mut rx, mut tx) = ([0; 2048], [0; 2048]);
    let mut socket = TcpSocket::new(stack, &mut rx, &mut tx);
    let mut backoff = Backoff::new(1_000, 60_000);
    loop {
        dial(BROKER, stack, &mut socket).await;
        let ended = runner.run(&mut socket, |event, _| match event {
            Event::Message(message) => SWITCH.signal(message.payload == b"on"),
            event => println!("{event}"),
        });
        let ended = ended.await;
        println!("connection ended: {ended}");
        Timer::after_millis(backoff.after(&ended, board::random()).into()).await;
    }
}

/// Reports the state of the light, at first and after each switching.
#[task]
async fn light(mqtt: Mqtt<'static>) {
    let mut payload = "off";
    while mqtt.connected().await.is_ok() {
        let mut state = Message::new("light-7/state", payload.as_bytes());
        state.qos = QoS::AtLeastOnce;
        if let Err(error) = mqtt.publish(&state).await {
            println!("state not published: {error}");
        }
        payload = if SWITCH.wait().await { "on" } else { "off" };
    }
}
