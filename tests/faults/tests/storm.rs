//! Thousands of messages in each direction over a network that cuts connections, with a device that is killed
//! repeatedly.
//!
//! The device is a separate process. At each checkpoint, it saves its session together with its progress. When it is
//! killed, the next process continues from there. Each message must be received exactly once at QoS 2, at least once at
//! QoS 1, and in order. In the end, neither side may keep any state.

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc::Receiver,
    },
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use faults::{
    Cut, How, Kind, Mosquitto, Party, Plan, Proxy, Record, Scale, Store, Task, Way, seed,
};
use tempfile::TempDir;
use umqtt::{
    Event, Session, Storage,
    codec::{Connect, Packet, QoS},
};

/// The other party, which is neither killed nor cut off.
const PEER: Task<'static> = Task {
    name: "peer",
    to: "down",
    from: "up",
    qos: QoS::ExactlyOnce,
    count: 0,
    begins: false,
};

/// Minimum number of kills, of the device or of the broker, in a storm.
const KILLS: u32 = 3;
/// Maximum number of bytes before each of these kills. Not all messages of a storm fit into so few.
const KILL_REACH: usize = 60;

/// Returns the plan of a connection that is cut after fewer than `reach` bytes. If there were too few kills, it is cut
/// by `kill`, otherwise half of the time.
fn plan(rng: &mut Rng, kill: How, kills: &AtomicU32, reach: usize) -> Plan {
    let is_kill = kills.load(Ordering::SeqCst) < KILLS;
    let reach = if is_kill { KILL_REACH } else { reach };
    let how = match rng.u8(..20) {
        number if is_kill || number < 10 => kill,
        10 => How::Stall,
        11..15 => How::Reset,
        _ => How::Close,
    };
    let cut = Cut {
        way: if rng.bool() { Way::Up } else { Way::Down },
        after: rng.usize(..reach),
        how,
    };
    Plan {
        cut: Some(cut),
        record: true,
        ..Plan::default()
    }
}

/// Maximum time without a checkpoint of the device.
const PATIENCE: Duration = Duration::from_secs(10);

struct Device {
    folder: TempDir,
    qos: QoS,
    count: u32,
    proxy: SocketAddr,
    process: Child,
    rng: Rng,
}

impl Device {
    fn start(qos: QoS, count: u32, proxy: SocketAddr, mut rng: Rng) -> Self {
        let folder = TempDir::new().unwrap();
        let process = launch(&folder, qos, count, proxy, rng.bool());
        Self {
            folder,
            qos,
            count,
            proxy,
            process,
            rng,
        }
    }

    fn store(&self) -> Store {
        Store::File(self.folder.path().join("session"))
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let asynch = self.rng.bool();
        self.process = launch(&self.folder, self.qos, self.count, self.proxy, asynch);
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn launch(folder: &TempDir, qos: QoS, count: u32, proxy: SocketAddr, asynch: bool) -> Child {
    let output = fs::File::create(folder.path().join("output")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_device"))
        .arg(proxy.to_string())
        .arg(folder.path().join("session"))
        .arg((qos as u8).to_string())
        .arg(count.to_string())
        .arg(if asynch { "async" } else { "blocking" })
        .stdin(Stdio::null())
        .stdout(output)
        .spawn()
        .unwrap()
}

/// Kills the process that each cut names, until the device has finished. Counts the kills.
fn run_faults(
    device: &mut Device,
    broker: &mut Mosquitto,
    cuts: &Receiver<How>,
    kills: &AtomicU32,
) -> Result<(), String> {
    let state = device.folder.path().join("session");
    loop {
        let idle = fs::metadata(&state).map(|state| state.modified().unwrap().elapsed());
        if let Ok(Ok(idle)) = idle
            && idle > PATIENCE
        {
            return Err("nothing happens any more".to_owned());
        }
        match cuts.recv_timeout(Duration::from_millis(20)) {
            Ok(How::KillClient) => {
                device.kill();
                kills.fetch_add(1, Ordering::SeqCst);
            }
            Ok(How::KillBroker) => {
                broker.restart();
                kills.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
        if let Some(status) = device.process.try_wait().unwrap() {
            let said = fs::read_to_string(device.folder.path().join("output")).unwrap();
            println!("the device: {}", said.trim());
            return if status.success() { Ok(()) } else { Err(said) };
        }
    }
}

/// Prints the packets of the last connections.
fn print_last_connections(records: &[Record]) {
    for record in &records[records.len().saturating_sub(8)..] {
        let [up, down] = record.in_words();
        println!(
            "a connection\n  up   {}\n  down {}",
            up.join(", "),
            down.join(", ")
        );
    }
}

/// Checks that the broker sends only CONNACK to a client that reconnects after the end. At QoS 1, the broker may have
/// queued a message more than once. These repetitions are received first.
fn assert_nothing_left(broker: &Mosquitto, name: &str, qos: QoS) {
    let (proxy, _cuts) = Proxy::with(broker.address, || Plan {
        record: true,
        ..Plan::default()
    });
    let options = Connect {
        clean_session: false,
        ..Connect::new(name)
    };
    let mut memory = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut memory);
    for repeats in [qos == QoS::AtLeastOnce, false] {
        let mut client = Kind::Blocking
            .connect(&mut session, proxy.address, &options)
            .unwrap();
        let mut on_event = |event: Event<'_>| match event {
            Event::Connected { .. } => {}
            Event::Message(message) if repeats => assert_eq!(message.qos, qos),
            other => panic!("{name}: {other:?}"),
        };
        while client
            .recv_for(Duration::from_millis(300), &mut on_event)
            .unwrap()
        {}
        client.disconnect().unwrap();
    }
    let last = proxy.records().pop().unwrap();
    assert_eq!(last.down, [0x20, 2, 1, 0], "{name}");
}

/// Returns how often the broker published each message after its PUBREL, in violation of \[MQTT-4.3.3-1\]. A receiver
/// that has handled the PUBREL cannot distinguish these messages from new ones.
///
/// mosquitto 2.0.11 does this if a connection breaks while it re-sends PUBRELs on it.
fn published_after_pubrel(records: &[Record]) -> HashMap<u32, u32> {
    let mut sent = HashMap::new();
    let mut released: HashSet<u32> = HashSet::new();
    let mut again: HashMap<u32, u32> = HashMap::new();
    for packet in records.iter().flat_map(Record::packets_down) {
        match packet {
            Packet::Publish(publish) => {
                let number = u32::from_be_bytes(publish.payload.try_into().unwrap());
                if released.contains(&number) {
                    *again.entry(number).or_default() += 1;
                }
                sent.insert(publish.delivery.packet_id(), number);
            }
            Packet::Pubrel(pubrel) => {
                released.extend(sent.get(&Some(pubrel.packet_id)));
            }
            _ => {}
        }
    }
    again
}

/// Exchanges `count` messages in each direction while connections are cut, and checks the result. Returns the number of
/// cuts; `None` if mosquitto is missing.
fn storm(name: &str, qos: QoS, count: u32, kill: How) -> Option<u64> {
    let mut broker = Mosquitto::start()?;
    let mut rng = Rng::with_seed(seed(name));
    let start = Instant::now();
    // The bytes of a dozen messages in both directions.
    let reach = if qos == QoS::ExactlyOnce { 450 } else { 300 };
    let device_rng = rng.fork();
    let kills = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&kills);
    let (proxy, cuts) = Proxy::with(broker.address, move || {
        plan(&mut rng, kill, &counted, reach)
    });
    let task = Task { qos, count, ..PEER };
    let address = broker.address;
    let peer = thread::spawn(move || Party::new(task, Store::None).run(Kind::Blocking, address));
    // The peer subscribes before the device publishes. Otherwise, it would miss messages.
    thread::sleep(Duration::from_millis(200));
    let mut device = Device::start(qos, count, proxy.address, device_rng);
    if let Err(why) = run_faults(&mut device, &mut broker, &cuts, &kills) {
        print_last_connections(&proxy.records());
        panic!("{why}");
    }
    let progress = peer.join().unwrap().unwrap();
    println!("the peer: {progress:?}");
    let cuts = proxy.cuts();
    println!(
        "{count} messages each way at QoS {}, {} cuts ({} closed, {} reset, {} silent, {} with the device killed, \
         {} with the broker restarted), {:.1?}",
        qos as u8,
        cuts.all(),
        cuts.of(How::Close),
        cuts.of(How::Reset),
        cuts.of(How::Stall),
        cuts.of(How::KillClient),
        cuts.of(How::KillBroker),
        start.elapsed()
    );
    let kills = kills.load(Ordering::SeqCst);
    assert!(kills >= KILLS, "{kills} kills");
    let mut excused = published_after_pubrel(&proxy.records());
    let repeated = device.store().repeated();
    for number in &repeated {
        let left = excused.entry(*number).or_default();
        assert!(*left > 0, "{number} was received twice at QoS 2");
        *left -= 1;
    }
    println!("{} repeated by the broker at QoS 2", repeated.len());
    assert_nothing_left(&broker, "device", qos);
    assert_nothing_left(&broker, "peer", qos);
    Some(cuts.all())
}

#[test]
fn qos_2_is_delivered_exactly_once() {
    let count = Scale::pick(200, 1_000, 10_000);
    if let Some(cuts) = storm("storm at QoS 2", QoS::ExactlyOnce, count, How::KillClient) {
        assert!(cuts >= u64::from(count) / 10);
    }
}

#[test]
fn qos_1_is_delivered_at_least_once_in_order() {
    let count = Scale::pick(200, 1_000, 10_000);
    if let Some(cuts) = storm("storm at QoS 1", QoS::AtLeastOnce, count, How::KillClient) {
        assert!(cuts >= u64::from(count) / 10);
    }
}

#[test]
fn broker_restarted_repeatedly_loses_nothing() {
    let count = Scale::pick(50, 200, 1_000);
    for (name, qos) in [
        ("restarts at QoS 1", QoS::AtLeastOnce),
        ("restarts at QoS 2", QoS::ExactlyOnce),
    ] {
        storm(name, qos, count, How::KillBroker);
    }
}
