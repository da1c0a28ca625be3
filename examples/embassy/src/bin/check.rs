//! The program that CI runs, with `runner` at the other side. It answers messages, receives and sends large ones, and
//! keeps its session over killed brokers, silent links and resets.
#![no_std]
#![no_main]

#[path = "../dial.rs"]
mod dial;
#[path = "../firmware.rs"]
mod firmware;

use core::{
    fmt::Write as _,
    future::poll_fn,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    task::Poll,
};

use board::{println, storage};
use embassy_executor::{Spawner, main, task};
use embassy_net::{Stack, tcp::TcpSocket};
use embassy_sync::{blocking_mutex::raw::CriticalSectionRawMutex, signal::Signal};
use embassy_time::Timer;
use embedded_io::ErrorKind;
use firmware::Firmware;
use heapless::String;
use static_cell::StaticCell;
use umqtt::{
    Backoff, Chunk, Config, EmbassyClock, Ended, Event, Handled, Message, Publisher, ReadFn,
    Storage, StreamedPublish,
    asynch::{Device, DeviceState, Mqtt, Runner},
    codec::{Connect, QoS},
};

const BROKER: &str = "broker.test";

/// Messages on `check/to/NAME` are answered on `check/from/NAME`.
const TO: &str = "check/to/";
const FROM: &str = "check/from/";
const FILTER: &str = "check/to/#";
const FIRMWARE: &str = "check/to/firmware";

/// Size of the message that is sent in pieces, in bytes.
const LARGE: usize = 1 << 20;

/// Number of messages of each counting task.
const COUNT: u32 = 200;

/// A silent link must be noticed within the sum of both.
const KEEP_ALIVE_S: u16 = 3;
const RESPONSE_TIMEOUT_MS: u32 = 4_000;

/// mosquitto sends all stored messages at QoS 2 at once. Each needs an id until it is released.
type Memory = Storage<512, 1024, 8, 128>;
type Order = Signal<CriticalSectionRawMutex, ()>;

static COUNT_A: Order = Signal::new();
static COUNT_B: Order = Signal::new();
static UPLOAD: Order = Signal::new();
static REMEMBER: Order = Signal::new();
static SPIN: Order = Signal::new();
static END: Order = Signal::new();

/// Turns of the task that keeps the chip awake.
static TURNS: AtomicU32 = AtomicU32::new(0);

#[main]
async fn main(spawner: Spawner) {
    static MEMORY: StaticCell<Memory> = StaticCell::new();
    static DEVICE: StaticCell<Device<'_, EmbassyClock>> = StaticCell::new();
    static IMAGE: StaticCell<[u8; Memory::IMAGE_LEN]> = StaticCell::new();
    let stack = board::start(spawner);
    let config = Config {
        connect: Connect {
            clean_session: false,
            keep_alive: KEEP_ALIVE_S,
            ..Connect::new("check")
        },
        subscriptions: &[(FILTER, QoS::ExactlyOnce)],
    };
    let device = Device::new(MEMORY.init(Storage::new()), EmbassyClock, &config);
    let device = DEVICE.init(device.expect("storage too small"));
    let session = device.session();
    session.set_response_timeout(RESPONSE_TIMEOUT_MS);
    session.set_checkpoints(true);
    let image = IMAGE.init([0; Memory::IMAGE_LEN]);
    let stored = storage::read(image);
    let firmware = Firmware::new(stored.is_empty());
    if !stored.is_empty() {
        session.restore(stored).expect("the image is damaged");
        println!("restored: {} bytes", stored.len());
    }
    let (mqtt, runner) = device.split();
    let network = Network {
        stack,
        runner,
        mqtt,
        image,
        firmware,
    };
    spawner.spawn(run(network).expect("spawned once"));
    spawner.spawn(count(mqtt, "count-a", QoS::AtLeastOnce, &COUNT_A).expect("spawned twice"));
    spawner.spawn(count(mqtt, "count-b", QoS::ExactlyOnce, &COUNT_B).expect("spawned twice"));
    spawner.spawn(upload(mqtt).expect("spawned once"));
    spawner.spawn(remember(mqtt).expect("spawned once"));
    spawner.spawn(spin().expect("spawned once"));
    END.wait().await;
    mqtt.shut_down();
}

struct Network {
    stack: Stack<'static>,
    runner: Runner<'static, EmbassyClock>,
    mqtt: Mqtt<'static>,
    image: &'static mut [u8],
    firmware: Firmware,
}

#[task]
async fn run(network: Network) {
    let Network {
        stack,
        mut runner,
        mqtt,
        image,
        mut firmware,
    } = network;
    let (mut rx, mut tx) = ([0; 2048], [0; 2048]);
    let mut socket = TcpSocket::new(stack, &mut rx, &mut tx);
    let mut backoff = Backoff::new(200, 1_000);
    let mut large = Large::new();
    let mut ticks: u32 = 0;
    loop {
        dial::dial(BROKER, stack, &mut socket).await;
        let ended = runner.run(&mut socket, |event, publisher| {
            match event {
                Event::Message(message) => answer(&message, &mut ticks, publisher),
                Event::Chunk(chunk) if chunk.topic == FIRMWARE => return firmware.take(&chunk),
                Event::Chunk(chunk) => large.add(&chunk, publisher),
                Event::CheckpointDue => save(publisher, image),
                Event::Puback(_) | Event::Pubcomp(_) => {}
                event => println!("{event}"),
            }
            Handled::Done
        });
        match ended.await {
            Ended::Shutdown => {
                println!("shut down");
                board::exit(0)
            }
            ended => {
                println!("connection ended: {ended}");
                // Without a connection, the message is queued.
                let lost = Message {
                    qos: QoS::AtLeastOnce,
                    retain: true,
                    ..Message::new("check/from/lost", b"!")
                };
                if let Err(error) = mqtt.try_publish(&lost) {
                    println!("not queued: {error}");
                }
                Timer::after_millis(backoff.after(&ended, board::random()).into()).await;
            }
        }
    }
}

fn save(publisher: &mut Publisher<'_, '_>, image: &mut [u8]) {
    match publisher.save(image) {
        Ok(saved) => {
            let image = image.get(..saved.len).unwrap_or_default();
            storage::write(image).expect("not stored");
            publisher.saved(saved.generation);
        }
        Err(error) => println!("not saved: {error}"),
    }
}

fn answer(message: &Message<'_>, ticks: &mut u32, publisher: &mut Publisher<'_, '_>) {
    let Some(name) = message.topic.strip_prefix(TO) else {
        return;
    };
    match name {
        "count" => {
            COUNT_A.signal(());
            COUNT_B.signal(());
        }
        "count-a" => COUNT_A.signal(()),
        "count-b" => COUNT_B.signal(()),
        "upload" => UPLOAD.signal(()),
        "spin" => SPIN.signal(()),
        "instructions" => {
            let mut counts = [0; 12];
            let (instructions, turns) = counts.split_at_mut(8);
            instructions.copy_from_slice(&board::instructions().to_be_bytes());
            turns.copy_from_slice(&TURNS.load(Relaxed).to_be_bytes());
            publish(name, &counts, QoS::ExactlyOnce, publisher);
        }
        "remember" => REMEMBER.signal(()),
        "end" => END.signal(()),
        "tick" => *ticks = ticks.saturating_add(1),
        "ticks" => publish(name, &ticks.to_be_bytes(), QoS::ExactlyOnce, publisher),
        name => publish(name, message.payload, message.qos, publisher),
    }
}

fn publish(name: &str, payload: &[u8], qos: QoS, publisher: &mut Publisher<'_, '_>) {
    let topic = topic(name);
    let message = Message {
        qos,
        ..Message::new(&topic, payload)
    };
    if let Err(error) = publisher.publish(&message) {
        println!("not published on {topic}: {error}");
    }
}

fn topic(name: &str) -> String<64> {
    let mut topic = String::new();
    write!(topic, "{FROM}{name}").expect("a short name");
    topic
}

/// Publishes numbers while messages are received.
#[task(pool_size = 2)]
async fn count(mqtt: Mqtt<'static>, name: &'static str, qos: QoS, start: &'static Order) {
    let topic = topic(name);
    loop {
        start.wait().await;
        for number in 0..COUNT {
            let number = number.to_be_bytes();
            let message = Message {
                qos,
                ..Message::new(&topic, &number)
            };
            // One task waits for room, the other for the acknowledgement.
            let published = if qos == QoS::ExactlyOnce {
                mqtt.publish_and_wait(&message).await
            } else {
                mqtt.publish(&message).await.map(drop)
            };
            if let Err(error) = published {
                println!("{name} not published: {error}");
            }
        }
    }
}

/// Publishes a message that is larger than the memory.
#[task]
async fn upload(mqtt: Mqtt<'static>) {
    loop {
        UPLOAD.wait().await;
        let message = StreamedPublish::New {
            topic: "check/from/upload",
            qos: QoS::ExactlyOnce,
            retain: false,
        };
        let mut random = Random(1);
        let payload = ReadFn(|space: &mut [u8]| {
            space.fill_with(|| random.byte());
            Ok::<_, ErrorKind>(space.len())
        });
        if let Err(error) = mqtt.publish_from(message, LARGE, payload).await {
            println!("not uploaded: {error}");
        }
    }
}

/// Publishes a message while there is no connection, and stores the session.
#[task]
async fn remember(mqtt: Mqtt<'static>) {
    REMEMBER.wait().await;
    while mqtt.state() == DeviceState::Connected {
        Timer::after_millis(1).await;
    }
    let message = Message {
        qos: QoS::ExactlyOnce,
        ..Message::new("check/from/remembered", b"!")
    };
    mqtt.publish(&message).await.expect("not queued");
    let mut image = [0; Memory::IMAGE_LEN];
    let saved = mqtt.save(&mut image).expect("not saved");
    storage::write(image.get(..saved.len).unwrap_or_default()).expect("not stored");
    mqtt.saved(saved.generation).expect("not in a handler");
    println!("remembered");
}

/// Keeps the chip awake, and counts its turns. During a sleep, the emulator would count time instead of instructions.
#[task]
async fn spin() {
    SPIN.wait().await;
    poll_fn(|context| {
        TURNS.store(TURNS.load(Relaxed).wrapping_add(1), Relaxed);
        context.waker().wake_by_ref();
        Poll::<()>::Pending
    })
    .await;
}

/// A generator of the bytes of large messages. `runner` has the same one.
struct Random(u32);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0.to_be_bytes()[0]
    }
}

/// A message that is received in chunks.
struct Large {
    expected: Random,
    is_right: bool,
}

impl Large {
    const fn new() -> Self {
        Self {
            expected: Random(1),
            is_right: true,
        }
    }

    fn add(&mut self, chunk: &Chunk<'_>, publisher: &mut Publisher<'_, '_>) {
        if chunk.offset == 0 {
            *self = Self::new();
        }
        self.is_right &= chunk.bytes.iter().all(|&b| b == self.expected.byte());
        if chunk.is_last() {
            let answer: &[u8] = if self.is_right { b"right" } else { b"wrong" };
            publish("large", answer, QoS::ExactlyOnce, publisher);
        }
    }
}
