//! The light over TLS: the broker's certificate must be signed by the authority in `CA_FILE`, and be for `TLS_NAME`.
#![no_std]
#![no_main]

use core::cell::RefCell;

use board::settings::{MQTT_HOST, MQTT_PORT, TLS_NAME, TOPIC_PREFIX};
use board::{Lamp, info, warning};
use embassy_executor::Spawner;
use embassy_futures::join::join;
use embassy_net::{Stack, tcp::TcpSocket};
use embassy_time::{Duration, Timer, with_timeout};
use esp_hal::rng::{Rng, Trng};
use esp32_parts::Identity;
use light::Light;
use static_cell::StaticCell;
use tinyrlibc as _;
use tls_mbedtls::{Connector, Tls, X509};
use umqtt::asynch::{Device, Mqtt, Runner};
use umqtt::codec::{Connect, QoS};
use umqtt::{Backoff, Config, EmbassyClock, Storage};

esp_bootloader_esp_idf::esp_app_desc!();

static AUTHORITY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/authority.der"));
/// Longest time of a handshake.
const PATIENCE: Duration = Duration::from_secs(20);

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    let board = board::start().await;
    let Ok(identity) = Identity::new(board.mac, TOPIC_PREFIX) else {
        board::stop("TOPIC_PREFIX is too long").await
    };
    let topic = identity.topic();
    info!("Device {}, topic {}", identity.device(), topic);
    let config = Config {
        connect: Connect {
            clean_session: false,
            credentials: board::credentials(),
            ..Connect::new(identity.device())
        },
        subscriptions: &[(topic, QoS::AtLeastOnce)],
    };
    let mut storage = Storage::<512, 1536, 8>::new();
    let mut device = match Device::new(&mut storage, EmbassyClock, &config) {
        Ok(device) => device,
        Err(error) => board::stop(error).await,
    };
    let stack = board::join(board.radio, spawner).await;
    let Some(tls) = start_tls() else {
        board::stop("there are no random numbers").await
    };
    let connector = match Connector::new(tls.reference(), X509::DER(AUTHORITY)) {
        Ok(connector) => connector,
        Err(error) => board::stop(error).await,
    };
    let (mqtt, runner) = device.split();
    let lamp = RefCell::new(Lamp::new(Light::new(topic, QoS::AtLeastOnce), board.led));
    let network = stay_connected(stack, connector, runner, &lamp);
    join(network, publish(mqtt, &lamp)).await.0
}

/// Starts Mbed TLS. There is entropy while the radio is on.
fn start_tls() -> Option<&'static Tls<'static>> {
    static RANDOM: StaticCell<Trng> = StaticCell::new();
    static TLS: StaticCell<Tls<'static>> = StaticCell::new();
    let random = RANDOM.init(Trng::try_new().ok()?);
    Some(TLS.init(Tls::new(random).ok()?))
}

async fn stay_connected(
    stack: Stack<'static>,
    connector: Connector<'_>,
    mut runner: Runner<'_, EmbassyClock>,
    lamp: &RefCell<Lamp<'_>>,
) -> ! {
    let (mut rx, mut tx) = ([0; 2048], [0; 2048]);
    let mut socket = TcpSocket::new(stack, &mut rx, &mut tx);
    let mut backoff = Backoff::new(1_000, 60_000);
    loop {
        let mut delay = None;
        match board::dial(stack, &mut socket, MQTT_HOST, MQTT_PORT.unwrap_or(8883)).await {
            Err(error) => warning!("Not connected: {}", error),
            Ok(()) => {
                let handshake = connector.connect(&mut socket, TLS_NAME);
                match with_timeout(PATIENCE, handshake).await {
                    Ok(Ok(stream)) => {
                        let ended = runner.run(stream, |event, _| lamp.borrow_mut().handle(&event));
                        let ended = ended.await;
                        warning!("The connection ended: {}", ended);
                        delay = Some(backoff.after(&ended, Rng::new().random()));
                    }
                    Ok(Err(error)) => warning!("No TLS: {}", error),
                    Err(_) => warning!("No TLS: no answer to the handshake"),
                }
            }
        }
        socket.abort();
        let delay = delay.unwrap_or_else(|| backoff.next(Rng::new().random()));
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
