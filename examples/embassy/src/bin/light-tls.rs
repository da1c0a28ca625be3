//! The light over TLS, with Mbed TLS and a heap, in one task: it reports its state in the handler of events. The
//! broker's certificate must be for `broker.test`, and its chain must end at the root that is stored beside the
//! emulator.
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
use embassy_executor::{Spawner, main};
use embassy_net::tcp::TcpSocket;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use rand_core::{TryCryptoRng, TryRng};
use static_cell::StaticCell;
use tinyrlibc as _;
use tls_mbedtls::{Connector, Tls, X509};
use umqtt::codec::{Connect, QoS};
use umqtt::{Backoff, Config, EmbassyClock, Event, Message, Publisher, Storage, asynch::Device};

const BROKER: &str = "broker.test:8883";
const SERVER_NAME: &str = "broker.test";

/// Maximum time of a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

#[main]
async fn main(spawner: Spawner) {
    heap::start();
    let stack = board::start(spawner);
    let connector = connector();
    let mut config = Config::new(Connect::new("light-7"));
    config.subscriptions = &[("light-7/set", QoS::AtLeastOnce)];
    let mut storage = Storage::<512, 1536, 8>::new();
    let mut device: Device<'_, _> =
        Device::new(&mut storage, EmbassyClock, &config).expect("storage too small");
    let (_, mut runner) = device.split();
    let (mut rx, mut tx) = ([0; 2048], [0; 2048]);
    let mut socket = TcpSocket::new(stack, &mut rx, &mut tx);
    let mut backoff = Backoff::new(1_000, 60_000);
    let mut is_on = false;
    loop {
        dial(BROKER, stack, &mut socket).await;
        let start = Instant::now();
        let handshake = connector.connect(&mut socket, SERVER_NAME);
        let delay = match with_timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => {
                let time = start.elapsed().as_millis();
                let (used, peak) = heap::used();
                println!("handshake: {time} ms, heap {used} bytes, peak {peak} bytes");
                let ended = runner.run(stream, |event, publisher| {
                    println!("{event}");
                    match event {
                        Event::Connected { .. } => report(is_on, publisher),
                        Event::Message(message) => {
                            is_on = message.payload == b"on";
                            report(is_on, publisher);
                        }
                        _ => {}
                    }
                });
                let ended = ended.await;
                println!("connection ended: {ended}");
                backoff.after(&ended, board::random())
            }
            Ok(Err(error)) => {
                println!("no TLS: {error}");
                backoff.next(board::random())
            }
            Err(_) => {
                println!("no TLS: the server did not finish the handshake in time");
                backoff.next(board::random())
            }
        };
        socket.abort();
        Timer::after_millis(delay.into()).await;
    }
}

/// Publishes the state of the light.
fn report(is_on: bool, publisher: &mut Publisher<'_, '_>) {
    let payload: &[u8] = if is_on { b"on" } else { b"off" };
    let mut state = Message::new("light-7/state", payload);
    state.qos = QoS::AtLeastOnce;
    if let Err(error) = publisher.publish(&state) {
        println!("state not published: {error}");
    }
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
