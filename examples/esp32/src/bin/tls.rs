//! The light over TLS 1.3: the broker's certificate must be signed by the authority in `CA_FILE`, and be for `TLS_NAME`.
#![no_std]
#![no_main]

use core::cell::RefCell;

use board::settings::{MQTT_HOST, MQTT_PORT, TLS_NAME, TOPIC_PREFIX};
use board::{Led, info, warning};
use embassy_executor::Spawner;
use embassy_futures::{join::join, select::select};
use embassy_net::{Stack, tcp::TcpSocket};
use embassy_time::{Duration, Timer, with_timeout};
use embedded_tls::{
    Aes128GcmSha256, CryptoProvider, CryptoRngCore, NoClock, TlsError, TlsVerifier,
};
use esp_hal::rng::{Rng, Trng};
use esp32_parts::Identity;
use light::Light;
use static_cell::ConstStaticCell;
use tls_pump::{LONGEST_RECORD, Pump, Verifier};
use umqtt::asynch::{Device, Mqtt, Runner};
use umqtt::codec::{Connect, QoS};
use umqtt::{Backoff, Config, EmbassyClock, Storage};

esp_bootloader_esp_idf::esp_app_desc!();

static AUTHORITY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/authority.der"));
/// Longest time of a handshake.
const PATIENCE: Duration = Duration::from_secs(20);

/// The light, and the LED that shows it.
type Lamp<'a> = RefCell<(Light<'a>, Led)>;

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
    let (mqtt, runner) = device.split();
    let lamp = RefCell::new((Light::new(topic, QoS::AtLeastOnce), board.led));
    join(stay_connected(stack, runner, &lamp), publish(mqtt, &lamp))
        .await
        .0
}

async fn stay_connected(
    stack: Stack<'static>,
    mut runner: Runner<'_, EmbassyClock>,
    lamp: &Lamp<'_>,
) -> ! {
    static INCOMING: ConstStaticCell<[u8; LONGEST_RECORD]> = ConstStaticCell::new([0; _]);
    static OUTGOING: ConstStaticCell<[u8; 1024]> = ConstStaticCell::new([0; _]);
    let (incoming, outgoing) = (INCOMING.take(), OUTGOING.take());
    let (mut rx, mut tx) = ([0; 2048], [0; 2048]);
    let mut socket = TcpSocket::new(stack, &mut rx, &mut tx);
    let mut backoff = Backoff::new(1_000, 60_000);
    loop {
        let mut delay = None;
        match board::dial(stack, &mut socket, MQTT_HOST, MQTT_PORT.unwrap_or(8883)).await {
            Err(error) => warning!("Not connected: {}", error),
            Ok(()) => {
                // It does the records, beside the client, whose reads and writes may be given up.
                let pump = Pump::new();
                let records = pump.run(incoming, outgoing, TLS_NAME, Checks::new);
                let connection = async {
                    let line = pump.line().await;
                    match with_timeout(PATIENCE, line.secure(&mut socket)).await {
                        Ok(Ok(stream)) => {
                            let ended = runner.run(stream, |event, _| {
                                let (light, led) = &mut *lamp.borrow_mut();
                                info!("{}", light.handle(&event));
                                led.set(light.is_on());
                            });
                            let ended = ended.await;
                            warning!("The connection ended: {}", ended);
                            delay = Some(backoff.after(&ended, Rng::new().random()));
                        }
                        Ok(Err(error)) => warning!("No TLS: {}", error),
                        Err(_) => warning!("No TLS: no answer to the handshake"),
                    }
                };
                select(connection, records).await;
            }
        }
        socket.abort();
        let delay = delay.unwrap_or_else(|| backoff.next(Rng::new().random()));
        info!("Connecting again in {} ms", delay);
        Timer::after_millis(delay.into()).await;
    }
}

/// Switches the light each second, and publishes its state, while there is a connection.
async fn publish(mqtt: Mqtt<'_>, lamp: &Lamp<'_>) -> ! {
    loop {
        if mqtt.connected().await.is_ok() {
            let (light, led) = &mut *lamp.borrow_mut();
            if let Ok(news) = light.toggle(|message| mqtt.try_publish(message)) {
                info!("{}", news);
            }
            led.set(light.is_on());
        }
        Timer::after_secs(1).await;
    }
}

/// Random numbers, and the check of the broker's certificate.
struct Checks {
    rng: Trng,
    verifier: Verifier<'static, NoClock, 4096>,
}

impl Checks {
    /// There is entropy while the radio is on.
    fn new() -> Result<Self, TlsError> {
        Ok(Self {
            rng: Trng::try_new().map_err(|_| TlsError::UnableToInitializeCryptoEngine)?,
            verifier: Verifier::new(AUTHORITY),
        })
    }
}

impl CryptoProvider for Checks {
    type CipherSuite = Aes128GcmSha256;
    type Signature = [u8; 0];

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut self.rng
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Aes128GcmSha256>, TlsError> {
        Ok(&mut self.verifier)
    }
}
