//! The light over TLS, with Mbed TLS and a heap. The broker's certificate must be for `broker.test`, and its chain must end
//! at the root that is stored beside the emulator.
#![no_std]
#![no_main]

#[path = "../dial.rs"]
mod dial;
#[expect(unsafe_code, reason = "Mbed TLS is C")]
#[path = "../heap.rs"]
mod heap;

use core::convert::Infallible;

use board::{println, storage};
use dial::dial;
use embassy_executor::{Spawner, main, task};
use embassy_net::{Stack, tcp::TcpSocket};
use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, signal::Signal};
use embassy_time::{Instant, Timer};
use rand_core::{TryCryptoRng, TryRng};
use static_cell::StaticCell;
use tinyrlibc as _;
use tls_mbedtls::{Connector, Tls, X509};
use umqtt::asynch::{Device, Mqtt, Runner};
use umqtt::codec::{Connect, QoS};
use umqtt::{Backoff, Config, EmbassyClock, Event, Message, Storage};

const BROKER: &str = "broker.test:8883";
const SERVER_NAME: &str = "broker.test";
static SWITCH: Signal<CriticalSectionRawMutex, bool> = Signal::new();

#[main]
async fn main(spawner: Spawner) {
    static STORAGE: StaticCell<Storage<512, 1536, 8>> = StaticCell::new();
    static DEVICE: StaticCell<Device<'_, EmbassyClock>> = StaticCell::new();
    heap::start();
    let stack = board::start(spawner);
    let connector = connector();
    let mut config = Config::new(Connect::new("light-7"));
    config.subscriptions = &[("light-7/set", QoS::AtLeastOnce)];
    let device = Device::new(STORAGE.init(Storage::new()), EmbassyClock, &config);
    let (mqtt, runner) = DEVICE.init(device.expect("storage too small")).split();
    spawner.spawn(network(stack, connector, runner).expect("spawned once"));
    spawner.spawn(light(mqtt).expect("spawned once"));
}

/// Starts Mbed TLS, which trusts the stored root.
fn connector() -> Connector<'static> {
    static RANDOM: StaticCell<Random> = StaticCell::new();
    static TLS: StaticCell<Tls<'static>> = StaticCell::new();
    static ROOT: StaticCell<[u8; 2_048]> = StaticCell::new();
    let tls = TLS.init(Tls::new(RANDOM.init(Random)).expect("started once"));
    let root = storage::read_file(c"root.der", ROOT.init([0; 2_048]));
    Connector::new(tls.reference(), X509::DER(root)).expect("no root")
}

/// Stays connected, and receives.
#[task]
async fn network(
    stack: Stack<'static>,
    connector: Connector<'static>,
    mut runner: Runner<'static, EmbassyClock>,
) {
    let (mut rx, mut tx) = ([0; 2048], [0; 2048]);
    let mut socket = TcpSocket::new(stack, &mut rx, &mut tx);
    let mut backoff = Backoff::new(1_000, 60_000);
    loop {
        dial(BROKER, stack, &mut socket).await;
        let start = Instant::now();
        let delay = match connector.connect(&mut socket, SERVER_NAME).await {
            Ok(stream) => {
                let time = start.elapsed().as_millis();
                let (used, peak) = heap::used();
                println!("handshake: {time} ms, heap {used} bytes, peak {peak} bytes");
                let ended = runner.run(stream, |event, _| match event {
                    Event::Message(message) => SWITCH.signal(message.payload == b"on"),
                    event => println!("{event}"),
                });
                let ended = ended.await;
                println!("connection ended: {ended}");
                backoff.after(&ended, board::random())
            }
            Err(error) => {
                println!("no TLS: {error}");
                backoff.next(board::random())
            }
        };
        Timer::after_millis(delay.into()).await;
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

/// Numbers that can be guessed: only for an emulator. A real chip has a hardware generator.
struct Random;

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(board::random())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from(board::random()) << 32 | u64::from(board::random()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill_with(|| board::random().to_be_bytes()[0]);
        Ok(())
    }
}

impl TryCryptoRng for Random {}
