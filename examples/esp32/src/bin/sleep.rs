//! A sensor that publishes a reading at QoS 1, stays connected until all readings are acknowledged, and sleeps.
//!
//! The reading is queued before there is a network, and the session is stored in memory that stays powered. A reading
//! that is not delivered in time is delivered after a later sleep.
#![no_std]
#![no_main]

use core::cell::Cell;

use board::{
    info,
    settings::{MQTT_HOST, MQTT_PORT, SLEEP_SECONDS, TOPIC_PREFIX},
    warning,
};
use embassy_executor::Spawner;
use embassy_net::tcp::TcpSocket;
use embassy_time::{Duration, Timer, with_timeout};
use esp_hal::{
    peripherals::LPWR,
    ram,
    rtc_cntl::sleep::{LowPower, RtcSleepConfig},
    time,
};
use esp32_parts::{Identity, deliver, kept};
use portable_atomic::{AtomicU8, Ordering::Relaxed};
use umqtt::{
    Config, EmbassyClock, Ended, Message, Session, Storage,
    asynch::Device,
    codec::{Connect, QoS},
};

esp_bootloader_esp_idf::esp_app_desc!();

/// Room for about 16 readings that are not acknowledged.
type Memory = Storage<256, 2048, 16>;

const LEN: usize = kept::HEADER + Memory::IMAGE_LEN;

/// Maximum time for which the chip stays awake to deliver its readings, including the time to join Wi-Fi.
const PATIENCE: Duration = Duration::from_secs(40);

/// Time to send the last line through the UART.
const LAST_LINE: Duration = Duration::from_millis(50);

/// The light and its session during the sleep. All bytes are zero after power-on.
#[allow(unsafe_code, reason = "the attribute names a section of the linker's")]
#[ram(unstable(rtc_fast, persistent))]
static KEPT: [AtomicU8; LEN] = [const { AtomicU8::new(0) }; _];

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    let mut board = board::start().await;
    let Ok(identity) = Identity::new(board.mac, TOPIC_PREFIX) else {
        board::stop("TOPIC_PREFIX is too long").await
    };
    let config = Config::new(Connect {
        clean_session: false,
        keep_alive: 30,
        credentials: board::credentials(),
        ..Connect::new(identity.device())
    });
    let mut storage = Memory::new();
    let mut device: Device<'_, _> = match Device::new(&mut storage, EmbassyClock, &config) {
        Ok(device) => device,
        Err(error) => board::stop(error).await,
    };

    let on = !recall(device.session());
    board.led.set(on);
    let waiting = Cell::new(device.session().in_flight());
    let (mqtt, mut runner) = device.split();
    let mut reading = Message::new(identity.topic(), if on { b"on" } else { b"off" });
    reading.qos = QoS::AtLeastOnce;
    match mqtt.try_publish(&reading) {
        Ok(_) => waiting.update(|count| count.saturating_add(1)),
        Err(error) => warning!("The reading is lost: {}", error),
    }
    info!("Readings to be delivered: {}", waiting.get());

    let delivery = async {
        let stack = board::join(board.radio, spawner).await;
        let (mut rx, mut tx) = ([0; 1024], [0; 2048]);
        let mut socket = TcpSocket::new(stack, &mut rx, &mut tx);
        loop {
            let dialled =
                board::dial(stack, &mut socket, MQTT_HOST, MQTT_PORT.unwrap_or(1883)).await;
            match dialled {
                Ok(()) => match deliver(mqtt, &mut runner, &waiting, &mut socket).await {
                    Ended::Shutdown => break,
                    ended => warning!("The connection ended: {}", ended),
                },
                Err(error) => warning!("Not connected: {}", error),
            }
            Timer::after_secs(1).await;
        }
    };
    match with_timeout(PATIENCE, delivery).await {
        Ok(()) => info!("All readings are delivered"),
        Err(_) => warning!("Readings that wait for the next time: {}", waiting.get()),
    }
    // The connection has ended, so nothing is sent after the image is made.
    let mut memory = [0; LEN];
    if let Err(error) = kept::save(mqtt, on, &mut memory) {
        warning!("The session is not kept: {}", error);
    }
    for (kept, byte) in KEPT.iter().zip(memory) {
        kept.store(byte, Relaxed);
    }
    info!("Sleeping for {} s", SLEEP_SECONDS);
    Timer::after(LAST_LINE).await;
    sleep(board.power)
}

/// Restores the session of the last time, and returns whether the light was on.
fn recall(session: &mut Session<'_>) -> bool {
    let mut memory = [0; LEN];
    for (byte, kept) in memory.iter_mut().zip(&KEPT) {
        *byte = kept.load(Relaxed);
    }
    let restored = kept::restore(session, &memory);
    if let Err(error) = &restored {
        warning!("Starting with a new session: {}", error);
    }
    matches!(restored, Ok(Some(true)))
}

fn sleep(power: LPWR<'static>) -> ! {
    #[cfg_attr(
        feature = "esp32c6",
        allow(unused_mut, reason = "it always powers that memory")
    )]
    let mut config = RtcSleepConfig::deep();
    #[cfg(not(feature = "esp32c6"))]
    config.set_rtc_fastmem_pd_en(false);
    let mut power = LowPower::new(power);
    #[allow(clippy::arithmetic_side_effects, reason = "the clock has 64 bits")]
    power.set_wakeup_deadline(time::Instant::now() + time::Duration::from_secs(SLEEP_SECONDS));
    power.sleep_deep(config)
}
