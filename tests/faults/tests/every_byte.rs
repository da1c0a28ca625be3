//! A fixed exchange with both clients. The connection is cut once at every byte of either direction, and resumed.
//!
//! The device publishes to a topic to which it is subscribed, so that each message is sent and received. For every
//! byte, each message must be received exactly once at QoS 2, and at least once at QoS 1. In the end, neither side may
//! keep any state.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use faults::{
    Client, Cut, How, Kind, Mosquitto, Plan, Proxy, Record, Result, Way, remembers_nothing,
};
use umqtt::{
    Event, Message, Session, Storage,
    client::Error,
    codec::{Connect, QoS},
};

type Memory = Storage<128, 256, 4, 4>;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Maximum time of a resumed exchange.
const PATIENCE: Duration = Duration::from_secs(10);

/// The messages of a device over all its connections.
#[derive(Default)]
struct Log {
    /// Number of messages that the device has passed to its session.
    published: usize,
    acknowledged: usize,
    granted: bool,
    /// Number of receipts of each message.
    came: [u32; 3],
    order: Vec<u8>,
}

impl Log {
    fn is_complete(&self) -> bool {
        self.granted && self.acknowledged == 2 && self.came[1] > 0 && self.came[2] > 0
    }

    fn record(&mut self, event: Event<'_>) {
        match event {
            Event::Puback(_) | Event::Pubcomp(_) => self.acknowledged += 1,
            Event::Suback(..) => self.granted = true,
            Event::Message(message) => {
                let [number] = message.payload.try_into().unwrap();
                self.came[usize::from(number)] += 1;
                self.order.push(number);
            }
            _ => {}
        }
    }

    fn check(&self, what: &str) {
        let [zero, one, two] = self.came;
        assert!(zero <= 1, "{what}: QoS 0 was received {zero} times");
        assert!(one >= 1, "{what}: QoS 1 was not received");
        assert_eq!(two, 1, "{what}: QoS 2");
    }
}

fn options(name: &str) -> Connect<'_> {
    Connect {
        clean_session: false,
        ..Connect::new(name)
    }
}

/// Handles events until `done`. Panics after [`PATIENCE`].
fn listen(
    client: &mut (dyn Client<'_> + '_),
    log: &mut Log,
    mut done: impl FnMut(&Log) -> bool,
) -> Result<()> {
    let start = Instant::now();
    while !done(log) {
        assert!(start.elapsed() < PATIENCE, "the exchange does not end");
        client.recv_for(Duration::from_millis(50), &mut |event| log.record(event))?;
    }
    Ok(())
}

/// Does the rest of the exchange step by step, so that its bytes are always the same.
fn exchange(mut client: Box<dyn Client<'_> + '_>, name: &str, log: &mut Log) -> Result<()> {
    let topic = format!("{name}/t");
    if !log.granted {
        client.subscribe(&[(&topic, QoS::ExactlyOnce)])?;
        listen(&mut *client, log, |log| log.granted)?;
    }
    while log.published < QOS.len() {
        let payload = [log.published as u8];
        client.publish(&Message {
            qos: QOS[log.published],
            ..Message::new(&topic, &payload)
        })?;
        log.published += 1;
        let (number, acknowledged) = (usize::from(payload[0]), log.published - 1);
        listen(&mut *client, log, |log| {
            log.came[number] > 0 && log.acknowledged >= acknowledged
        })?;
    }
    listen(&mut *client, log, Log::is_complete)?;
    // No event reports that the PUBREL was received.
    let start = Instant::now();
    while !remembers_nothing(client.session(), name) {
        assert!(start.elapsed() < PATIENCE, "the PUBREL was not received");
        client.recv_for(Duration::from_millis(1), &mut |event| log.record(event))?;
    }
    client.disconnect()
}

/// Runs one exchange: first with this cut, if any, then without a cut until it is complete. Returns the bytes of the
/// first connection.
fn run(kind: Kind, broker: SocketAddr, name: &str, cut: Option<Cut>) -> Record {
    let mut plans = [cut].into_iter();
    let (proxy, _cuts) = Proxy::with(broker, move || Plan {
        cut: plans.next().flatten(),
        record: true,
        ..Plan::default()
    });
    let mut memory = Memory::new();
    let mut session = Session::new(&mut memory);
    session.set_response_timeout(1_000);
    let mut log = Log::default();
    let start = Instant::now();
    loop {
        let ended = kind
            .connect(&mut session, proxy.address, &options(name))
            .and_then(|client| exchange(client, name, &mut log));
        match ended {
            Ok(()) => break,
            Err(Error::Request(error)) => panic!("{name}: {error}"),
            Err(error) => assert!(start.elapsed() < PATIENCE, "{name}: {error}"),
        }
    }
    let what = format!("{kind:?}, {cut:?}, {:?}", log.order);
    log.check(&what);
    assert_nothing_left(&mut session, &proxy, name, &what);
    proxy.records().swap_remove(0)
}

/// Checks that neither side keeps state. The first connection completes the exchange that was cut. On the second
/// one, the broker sends only CONNACK, and the session only CONNECT and DISCONNECT.
fn assert_nothing_left(session: &mut Session<'_>, proxy: &Proxy, name: &str, what: &str) {
    for _ in 0..2 {
        assert!(remembers_nothing(session, name), "{what}");
        let mut client = Kind::Blocking
            .connect(session, proxy.address, &options(name))
            .unwrap();
        client
            .recv_for(Duration::from_millis(10), &mut |event| {
                assert!(
                    matches!(event, Event::Connected { .. }),
                    "{what}: {event:?}"
                );
            })
            .unwrap();
        client.disconnect().unwrap();
    }
    let last = proxy.records().pop().unwrap();
    let [up, down] = last.in_words();
    assert_eq!(down.len(), 1, "{what}: {down:?}");
    assert!(up.len() <= 2, "{what}: {up:?}");
}

/// Runs the exchange without a cut, then once with a cut at each byte of either direction.
fn every_byte(kind: Kind) {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    let whole = run(kind, broker.address, "whole", None);
    let [up, down] = whole.in_words();
    println!(
        "{kind:?}\n  up   {}\n  down {}",
        up.join(", "),
        down.join(", ")
    );
    let mut cuts = 0;
    for (way, len) in [(Way::Up, whole.up.len()), (Way::Down, whole.down.len())] {
        for after in 0..=len {
            let how = if after % 2 == 0 {
                How::Close
            } else {
                How::Reset
            };
            let name = format!("{way:?}{after:03}");
            run(kind, broker.address, &name, Some(Cut { way, after, how }));
            cuts += 1;
        }
    }
    println!("{kind:?}: {cuts} cuts, each resumed");
}

#[test]
fn blocking_client_cut_at_every_byte_loses_nothing() {
    every_byte(Kind::Blocking);
}

#[test]
fn async_client_cut_at_every_byte_loses_nothing() {
    every_byte(Kind::Async);
}
