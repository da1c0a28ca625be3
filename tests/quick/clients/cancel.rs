//! Dropping the future of any call of the async client at any of its polls loses no event, repeats no QoS 2 message,
//! and leaves the byte stream intact. `long_cancel.rs` tests long payloads.
//!
//! A program with all calls runs against a scripted server, first without faults. In later runs, reads, writes and
//! deliveries have a few bytes, with pauses between them, and calls are dropped at some polls. The bytes that the
//! server receives and the events of the caller must stay the same. No step waits for a time. If a call is not woken,
//! the program fails or its events differ.

use std::cell::{Cell, RefCell};

use crate::common::{
    Error, Seen, message, packet_id, packets, publish, record, server,
    world::{AsyncClient, NetworkFaults, Outcome, World},
};
use umqtt::{
    Clock, Event, Session, Storage,
    codec::{Connect, Delivery, Packet, QoS},
};

const EACH_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
/// Longer than the receive buffer.
const LONG: [u8; 40] = [b'x'; 40];
const RX: usize = 32;

/// When calls are dropped.
#[derive(Clone, Copy, Debug)]
enum Drops {
    Never,
    /// The call with this number is dropped after this number of polls.
    Once {
        call: u32,
        polls: u32,
    },
    /// Calls are dropped at this percentage of all polls.
    Often(u8),
}

/// One run of the program.
struct Run {
    world: World,
    drops: Drops,
    chance: RefCell<fastrand::Rng>,
    /// No call is dropped at present.
    spared: Cell<bool>,
    /// Number of calls so far.
    calls: Cell<u32>,
    /// Number of dropped calls so far.
    dropped: Cell<u32>,
    seen: RefCell<Vec<Seen>>,
}

/// The results that must be the same in every run.
struct Trace {
    sent: Vec<u8>,
    seen: Vec<Seen>,
}

impl Run {
    fn new(seed: u64, network_faults: NetworkFaults, drops: Drops) -> Self {
        let world = World::with(seed, network_faults);
        world.answer(publishing_server);
        Self {
            world,
            drops,
            chance: RefCell::new(fastrand::Rng::with_seed(seed)),
            spared: Cell::new(false),
            calls: Cell::new(0),
            dropped: Cell::new(0),
            seen: RefCell::default(),
        }
    }

    fn record(&self, event: Event<'_>) {
        record(&mut self.seen.borrow_mut(), event);
    }

    /// Makes a call, and may drop it at one of its polls, as `drops` requires.
    fn drive<T>(&self, call: impl Future<Output = T>) -> Outcome<T> {
        let number = self.calls.get();
        self.calls.set(number + 1);
        self.world.drive(call, |polls| {
            let drop = match self.drops {
                _ if self.spared.get() => false,
                Drops::Never => false,
                Drops::Once { call, polls: at } => call == number && polls == at,
                Drops::Often(percent) => self.chance.borrow_mut().u8(..100) < percent,
            };
            self.dropped.set(self.dropped.get() + u32::from(drop));
            drop
        })
    }

    /// Makes a call that is ready when it is first polled. If it was not polled, it is made again.
    fn at_once<'s, 'b, 'w, T>(
        &self,
        client: &mut AsyncClient<'s, 'b, 'w>,
        call: impl AsyncFn(&mut AsyncClient<'s, 'b, 'w>) -> Result<T, Error>,
    ) -> T {
        loop {
            match self.drive(call(client)) {
                Outcome::Done(result) => return result.unwrap(),
                Outcome::Unpolled => {}
                Outcome::Dropped | Outcome::Idle => panic!("this call must not wait"),
            }
        }
    }

    /// Makes a waiting call, which may be dropped. Its outcome is then reported as an event. If it was not polled, it
    /// is made again.
    fn waiting<'s, 'b, 'w>(
        &self,
        client: &mut AsyncClient<'s, 'b, 'w>,
        call: impl AsyncFn(&mut AsyncClient<'s, 'b, 'w>) -> Result<(), Error>,
    ) {
        loop {
            match self.drive(call(client)) {
                Outcome::Done(result) => return result.unwrap(),
                Outcome::Dropped => return,
                Outcome::Unpolled => {}
                Outcome::Idle => panic!("this call was not woken"),
            }
        }
    }

    /// Receives all pending events.
    fn drain(&self, client: &mut AsyncClient<'_, '_, '_>) {
        loop {
            let event = async { client.recv().await.map(|event| self.record(event)) };
            match self.drive(event) {
                Outcome::Done(result) => result.unwrap(),
                Outcome::Dropped | Outcome::Unpolled => {}
                Outcome::Idle => break,
            }
        }
        assert_eq!(
            self.world.unread(),
            0,
            "bytes were received, and recv was not woken"
        );
    }

    fn trace(&self) -> Trace {
        Trace {
            sent: self.world.take_sent(),
            seen: self.seen.take(),
        }
    }
}

/// Answers every packet. After each message on the topic "go", publishes short and long messages at every QoS.
fn publishing_server(packet: &Packet<'_>) -> Vec<u8> {
    let answer = server(packet);
    match packet {
        Packet::Publish(request) if request.topic.as_str() == "go" => {
            match request.delivery {
                Delivery::AtMostOnce => [messages(100, b"short"), messages(105, &LONG)].concat(),
                Delivery::AtLeastOnce { .. } => {
                    [messages(110, b"short"), messages(115, &LONG), answer].concat()
                }
                // The PUBREC is first. After the messages, the position of the PUBREL would depend on the schedule.
                Delivery::ExactlyOnce { .. } => {
                    [answer, messages(120, b"short"), messages(125, &LONG)].concat()
                }
            }
        }
        _ => answer,
    }
}

/// Messages at each QoS. The one at QoS 2 is sent twice, as is allowed until it is acknowledged.
fn messages(first: u16, payload: &[u8]) -> Vec<u8> {
    let twice = publish("in", payload, QoS::ExactlyOnce, first + 2);
    let mut again = twice.clone();
    again[0] |= 8;
    [
        publish("in", payload, QoS::AtMostOnce, first),
        publish("in", payload, QoS::AtLeastOnce, first + 1),
        twice,
        again,
    ]
    .concat()
}

fn options() -> Connect<'static> {
    Connect {
        clean_session: false,
        ..Connect::new("me")
    }
}

/// Makes every call, and handles its events before the next one.
fn program(run: &Run) -> Trace {
    let mut storage = Storage::<RX, 256, 4>::new();
    let mut session = Session::new(&mut storage);
    connect(run, &mut session);
    let mut client = reopened(run, &mut session);

    let id = run.at_once(&mut client, async |client| {
        client.subscribe(&[("in", QoS::ExactlyOnce)]).await
    });
    assert_eq!(id, packet_id(1));
    run.drain(&mut client);
    run.waiting(&mut client, async |client| {
        let codes = client
            .subscribe_and_wait(
                &[("a/#", QoS::AtMostOnce), ("b", QoS::AtLeastOnce)],
                |event, _| run.record(event),
            )
            .await?;
        run.record(Event::Suback(packet_id(2), codes));
        Ok(())
    });
    run.drain(&mut client);

    for (qos, id) in EACH_QOS.into_iter().zip([0, 3, 4]) {
        let sent = run.at_once(&mut client, async |client| {
            client.publish(&message("out", b"one", qos)).await
        });
        assert_eq!(sent.map_or(0, |id| id.get()), id);
        run.drain(&mut client);
    }
    for (qos, id) in EACH_QOS.into_iter().zip([0, 5, 6]) {
        run.waiting(&mut client, async |client| {
            client
                .publish_and_wait(&message("go", b"two", qos), |event, _| run.record(event))
                .await?;
            match qos {
                QoS::AtMostOnce => {}
                QoS::AtLeastOnce => run.record(Event::Puback(packet_id(id))),
                QoS::ExactlyOnce => run.record(Event::Pubcomp(packet_id(id))),
            }
            Ok(())
        });
        run.drain(&mut client);
    }

    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::AtLeastOnce] {
        client
            .session()
            .publish(&message("out", b"three", qos))
            .unwrap();
    }
    run.waiting(&mut client, async |client| client.flush().await);
    run.drain(&mut client);

    run.at_once(&mut client, async |client| client.ping().await);
    run.drain(&mut client);

    run.at_once(&mut client, async |client| {
        client
            .publish(&message("go", b"four", QoS::AtMostOnce))
            .await
    });
    poll_all(run, &mut client);

    run.at_once(&mut client, async |client| {
        client.unsubscribe(&["in"]).await
    });
    run.drain(&mut client);
    run.waiting(&mut client, async |client| {
        client
            .unsubscribe_and_wait(&["a/#", "b"], |event, _| run.record(event))
            .await?;
        run.record(Event::Unsuback(packet_id(10)));
        Ok(())
    });
    run.drain(&mut client);

    // Queued packets must be sent before the DISCONNECT.
    client
        .session()
        .publish(&message("out", b"bye", QoS::AtMostOnce))
        .unwrap();
    // If the call is dropped, the next one continues.
    loop {
        match run.drive(client.disconnect()) {
            Outcome::Done(ended) => {
                assert_eq!(ended, Ok(true), "the server has closed the connection");
                break;
            }
            Outcome::Dropped | Outcome::Unpolled => {}
            Outcome::Idle => panic!("disconnect was not woken"),
        }
    }
    run.trace()
}

/// Connects until a call succeeds. Each dropped call closes its connection.
fn connect(run: &Run, session: &mut Session<'_>) {
    for attempt in 0.. {
        let socket = run.world.dial();
        // Each call starts from the beginning. After ten attempts, no more calls are dropped, so that one succeeds.
        run.spared.set(attempt > 9);
        match run.drive(AsyncClient::connect(
            session,
            socket,
            &run.world,
            &options(),
        )) {
            Outcome::Done(client) => {
                drop(client.unwrap());
                break;
            }
            Outcome::Dropped | Outcome::Unpolled => assert!(run.world.is_dropped()),
            Outcome::Idle => panic!("connect was not woken"),
        }
    }
    run.spared.set(false);
}

/// Opens a connection without waiting for CONNACK, so that CONNECT and all later packets are in one stream.
fn reopened<'s, 'b, 'w>(run: &'w Run, session: &'s mut Session<'b>) -> AsyncClient<'s, 'b, 'w> {
    let socket = run.world.dial();
    let mut client = AsyncClient::open(session, socket, &run.world, &options()).unwrap();
    run.drain(&mut client);
    client
}

/// As [`Run::drain`], with a `poll` after each event of the network.
fn poll_all(run: &Run, client: &mut AsyncClient<'_, '_, '_>) {
    loop {
        let event = run.at_once(client, async |client| {
            Ok(client.poll().await?.map(|event| run.record(event)))
        });
        let is_due = client
            .deadline()
            .is_some_and(|at| at.has_passed(run.world.now()));
        if event.is_none() && !run.world.happen() && run.world.unread() == 0 && !is_due {
            break;
        }
    }
}

/// Runs the program without faults, and drops no call.
fn undisturbed() -> Trace {
    program(&Run::new(0, NetworkFaults::NONE, Drops::Never))
}

/// Runs the program with these faults and drops, and checks that the results are the expected ones.
fn check(expected: &Trace, seed: u64, network_faults: NetworkFaults, drops: Drops) -> Run {
    let run = Run::new(seed, network_faults, drops);
    let trace = program(&run);
    let context = format!("seed {seed}, {network_faults:?}, {drops:?}");
    same(&packets(&trace.sent), &packets(&expected.sent), &context);
    for (seen, expected) in trace.seen.iter().zip(&expected.seen) {
        assert_eq!(seen, expected, "{context}");
    }
    assert_eq!(trace.seen.len(), expected.seen.len(), "{context}");
    run
}

/// Checks that two streams are equal, and shows the first packet that differs.
fn same(sent: &(Vec<&[u8]>, &[u8]), expected: &(Vec<&[u8]>, &[u8]), context: &str) {
    for (sent, expected) in sent.0.iter().zip(&expected.0) {
        assert_eq!(sent, expected, "{context}");
    }
    assert_eq!(sent.0.len(), expected.0.len(), "{context}");
    assert_eq!(sent.1, expected.1, "{context}");
}

#[test]
fn undisturbed_program_covers_packets_and_events() {
    let trace = undisturbed();
    let count =
        |wanted: &dyn Fn(&Seen) -> bool| trace.seen.iter().filter(|seen| wanted(seen)).count();
    for expected in EACH_QOS {
        let messages = count(&|seen| matches!(seen, Seen::Message { qos, .. } if *qos == expected));
        assert_eq!(messages, 8, "{expected:?}");
    }
    let long = count(&|seen| matches!(seen, Seen::Message { payload, .. } if *payload == LONG));
    assert_eq!(long, 12);
    for (name, times) in [
        ("Connected", 1),
        ("Suback", 2),
        ("Puback", 4),
        ("Pubcomp", 2),
        ("Unsuback", 2),
    ] {
        let events = count(&|seen| matches!(seen, Seen::Other(text) if text.starts_with(name)));
        assert_eq!(events, times, "{name}");
    }
    assert_eq!(trace.seen.len(), 24 + 11);

    let (sent, rest) = packets(&trace.sent);
    assert_eq!(rest, []);
    let counted = |packet_type: u8| {
        sent.iter()
            .filter(|packet| packet[0] >> 4 == packet_type)
            .count()
    };
    // Each message at QoS 1 is acknowledged once. Each one at QoS 2 was received twice, and each PUBLISH and PUBREL is
    // answered.
    assert_eq!((counted(4), counted(5), counted(7)), (8, 16, 16));
    // The client published eleven messages, two of them at QoS 2.
    assert_eq!((counted(3), counted(6)), (11, 2));
}

#[test]
fn any_schedule_yields_same_stream_and_events() {
    let expected = undisturbed();
    for most in [1, 2, 3, 8, usize::MAX] {
        for pauses in [5, 30, 80] {
            for seed in 0..8 {
                check(
                    &expected,
                    seed,
                    NetworkFaults { pauses, most },
                    Drops::Never,
                );
            }
        }
    }
}

#[test]
fn calls_dropped_at_random_lose_nothing() {
    let expected = undisturbed();
    for most in [1, 2, 3, 8, usize::MAX] {
        for pauses in [5, 30, 80] {
            for seed in 0..8 {
                let percent = 1 + (seed as u8 * 7) % 60;
                let drops = Drops::Often(percent);
                let run = check(&expected, seed, NetworkFaults { pauses, most }, drops);
                assert!(run.dropped.get() > 0);
            }
        }
    }
}

#[test]
fn call_dropped_at_any_poll_loses_nothing() {
    let expected = undisturbed();
    // Byte by byte, there are thousands of polls. Only some of them are tested, and different ones for each call.
    for (seed, most, stride) in [(1, 1, 29), (2, 3, 11), (3, 8, 3), (4, usize::MAX, 1)] {
        let network_faults = NetworkFaults { pauses: 30, most };
        let calls = check(&expected, seed, network_faults, Drops::Never)
            .calls
            .get();
        for call in 0..calls {
            for polls in (call % stride..).step_by(stride as usize) {
                let run = check(&expected, seed, network_faults, Drops::Once { call, polls });
                if run.dropped.get() == 0 {
                    break;
                }
            }
        }
    }
}

/// A dropped connect closes its connection. The next connection sends all pending messages, in order.
#[test]
fn connect_dropped_at_any_poll_resumes_on_next_connection() {
    for most in [1, 5, usize::MAX] {
        for polls in 0.. {
            let run = Run::new(
                polls.into(),
                NetworkFaults { pauses: 30, most },
                Drops::Once { call: 0, polls },
            );
            let mut storage = Storage::<RX, 256, 4>::new();
            let mut session = Session::new(&mut storage);
            session.connect(&options(), run.world.now()).unwrap();
            for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce] {
                session.publish(&message("out", b"x", qos)).unwrap();
            }
            connect(&run, &mut session);
            let mut client = reopened(&run, &mut session);
            run.drain(&mut client);
            let acknowledged = [
                Event::Puback(packet_id(1)),
                Event::Pubcomp(packet_id(2)),
                Event::Puback(packet_id(3)),
            ];
            for event in acknowledged {
                let event = Seen::other(event);
                let times = run
                    .seen
                    .borrow()
                    .iter()
                    .filter(|seen| **seen == event)
                    .count();
                assert_eq!(times, 1, "{event:?}, dropped after {polls} polls");
            }
            assert_eq!(client.session().in_flight(), 0);
            if run.dropped.get() == 0 {
                break;
            }
        }
    }
}
