//! The living room light on an ESP32: joins Wi-Fi, connects to a broker, publishes its state every second, shows what
//! arrives, and reconnects after every failure with its session kept.
#![no_std]
#![no_main]

mod board;
mod console;
mod network;
#[cfg(feature = "deep-sleep")]
mod report;
mod settings;
#[cfg(not(feature = "deep-sleep"))]
mod shine;
#[cfg(feature = "tls")]
mod tls;
mod wifi;

use embassy_executor::{SpawnError, SpawnToken, Spawner};
use embassy_time::{Duration, Timer};
use esp_backtrace as _;
use esp_hal::{clock::CpuClock, efuse, ram, timer::timg::TimerGroup};
use light::Identity;
use umqtt::{
    Session, Storage,
    codec::{Connect, Credentials, TopicName, Will},
};

#[cfg(feature = "deep-sleep")]
use crate::report::work;
#[cfg(not(feature = "deep-sleep"))]
use crate::shine::work;
use crate::{
    board::Device,
    console::{complain, info},
    network::Broker,
};

esp_bootloader_esp_idf::esp_app_desc!();

/// Room for packets of 512 bytes in, for a CONNECT and 1 KiB of messages out, and for 8 that are not acknowledged.
type Memory = Storage<512, 1536, 8>;

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    console::start();
    let chip = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 64 * 1024);
    esp_alloc::heap_allocator!(size: 36 * 1024);
    esp_rtos::start(TimerGroup::new(chip.TIMG0).timer0, chip.FROM_CPU_INTR0);

    if settings::WIFI_SSID.is_empty() || settings::MQTT_HOST.is_empty() {
        stop("Not configured: set WIFI_SSID, WIFI_PASSWORD and MQTT_HOST, and build again").await;
    }
    let mac = efuse::base_mac_address();
    let Some(identity) = names(mac.as_bytes()) else {
        stop("TOPIC_PREFIX is too long").await
    };
    let Ok(topic) = TopicName::new(identity.topic()) else {
        stop("TOPIC_PREFIX is not fit for a topic").await
    };
    info!("Device {}, topic {}", identity.device(), topic);
    let Ok(stack) = wifi::start(chip.WIFI, spawner) else {
        stop("The radio does not start").await
    };
    #[cfg(feature = "tls")]
    let mut broker = Broker::new(stack, tls::start(spawner));
    #[cfg(not(feature = "tls"))]
    let mut broker = Broker::new(stack);

    let options = Connect {
        clean_session: false,
        keep_alive: 30,
        credentials: settings::MQTT_USER.map(|user_name| Credentials {
            user_name,
            password: settings::MQTT_PASSWORD.map(str::as_bytes),
        }),
        will: Some(Will::new(topic.as_str(), b"offline")),
        ..Connect::new(identity.device())
    };
    let mut memory = Memory::new();
    let mut session = Session::new(&mut memory);
    let mut device = Device::new(settings::led_pin!(chip));

    work(
        &identity,
        &options,
        &mut session,
        &mut broker,
        &mut device,
        chip.LPWR,
    )
    .await
}

fn names(mac: &[u8]) -> Option<Identity> {
    Identity::new(*mac.first_chunk()?, settings::TOPIC_PREFIX).ok()
}

/// Says why, again and again: the console may be opened late.
async fn stop(why: &str) -> ! {
    loop {
        complain!("{}", why);
        Timer::after(Duration::from_secs(10)).await;
    }
}

/// Starts a task of which there is one.
fn spawn<S>(spawner: Spawner, task: Result<SpawnToken<S>, SpawnError>) {
    match task {
        Ok(token) => spawner.spawn(token),
        Err(_) => complain!("A task has been started twice"),
    }
}
