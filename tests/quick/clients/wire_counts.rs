//! The cost of each operation on the wire, with either client: writes, packets and bytes.
//!
//! `cargo test --test quick wire_counts -- --nocapture` prints the table, which is kept in `tests/data/wire-counts.md`.
//! With `WRITE_TABLES=1` in the environment, the table is written to that file. Only a streamed payload has a separate
//! write, because it is not copied after its header.

use std::{env, fmt::Write as _, fs, future::pending, path::Path};

use crate::common::{
    self, Network, connack, message, publish, server,
    world::{AsyncClient, World},
};
use umqtt::{
    Event, Message, Publisher, Session, Storage, StreamedPublish,
    codec::{Connect, FixedHeader, Packet, QoS},
};

const FILE: &str = "tests/data/wire-counts.md";
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
/// A topic of 20 bytes and a payload of 64.
const TOPIC: &str = "home/room/1/sensor/2";
const PAYLOAD: [u8; 64] = [b'x'; 64];
/// The payload of each packet in a burst.
const SMALL: &[u8] = b"21.5";
const KEEP_ALIVE: u16 = 30;

/// One kind of client, and the network that it runs on.
trait Kind {
    type Client<'s, 'b: 's>: Calls<'b>;

    fn open<'s, 'b: 's>(&self, session: &'s mut Session<'b>) -> Self::Client<'s, 'b>;
    fn answer(&self, peer: fn(&Packet<'_>) -> Vec<u8>);
    fn feed(&self, bytes: &[u8]);
    fn pass(&self, millis: u32);
    fn take_writes(&self) -> Vec<Vec<u8>>;
}

/// The calls of a client, as if all of them blocked. None may fail.
trait Calls<'b> {
    fn session(&mut self) -> &mut Session<'b>;
    fn publish(&mut self, message: &Message<'_>);
    fn publish_and_wait(&mut self, message: &Message<'_>);
    fn publish_slices(&mut self, message: StreamedPublish<'_>, payload: &[&[u8]]);
    fn subscribe_and_wait(&mut self, filters: &[(&str, QoS)]);
    fn unsubscribe_and_wait(&mut self, filters: &[&str]);
    fn ping(&mut self);
    /// Polls once. Returns `true` if there was an event.
    fn poll(&mut self) -> bool;
    fn disconnect(self);

    /// Polls until nothing more can be done.
    fn settle(&mut self) {
        for _ in 0..2 {
            while self.poll() {}
        }
    }
}

#[test]
fn each_operation_writes_as_often_as_table_states() {
    let blocking = measure(&&Network::new());
    let asynch = measure(&&World::new());
    let table = table(&blocking);
    println!("{table}");
    assert_eq!(blocking, asynch, "the clients differ");

    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(FILE);
    if env::var_os("WRITE_TABLES").is_some() {
        fs::write(&file, &table).unwrap();
    }
    assert_eq!(table, fs::read_to_string(file).unwrap(), "{FILE} differs");
}

/// Runs every operation.
fn measure<K: Kind>(kind: &K) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name: &str| rows.push(Row::new(name, &kind.take_writes()));
    let mut storage = Storage::<256, 1024, 16>::new();
    let mut session = Session::new(&mut storage);
    kind.answer(server);

    let mut client = kind.open(&mut session);
    client.settle();
    row("connect");
    client.subscribe_and_wait(&[(TOPIC, QoS::ExactlyOnce)]);
    row("subscribe");
    for qos in QOS {
        client.publish_and_wait(&message(TOPIC, &PAYLOAD, qos));
        row(&format!("publish, {qos:?}"));
    }
    for (qos, id) in QOS.into_iter().zip(1..) {
        kind.feed(&publish(TOPIC, &PAYLOAD, qos, id));
        client.settle();
        row(&format!("receive, {qos:?}"));
    }
    for (id, small) in (1..=10).zip([SMALL; 10]) {
        kind.feed(&publish(TOPIC, small, QoS::AtLeastOnce, id));
    }
    client.settle();
    row("receive ten at once, AtLeastOnce");
    client.ping();
    client.settle();
    row("ping");
    kind.pass(u32::from(KEEP_ALIVE) * 1_000);
    client.settle();
    row("keep alive");
    for qos in QOS {
        for small in [SMALL; 10] {
            client
                .session()
                .publish(&message(TOPIC, small, qos))
                .unwrap();
        }
        client.settle();
        row(&format!("publish ten queued at once, {qos:?}"));
    }
    let long = [0; 16_384];
    client.publish_slices(StreamedPublish::new(TOPIC), &[&long]);
    row("publish 16 KiB from outside the buffer");
    client.unsubscribe_and_wait(&[TOPIC]);
    row("unsubscribe");
    kind.answer(silent);
    for small in [SMALL; 3] {
        client.publish(&message(TOPIC, small, QoS::AtLeastOnce));
    }
    client.disconnect();
    row("publish three, AtLeastOnce, and disconnect");

    kind.answer(server);
    let mut client = kind.open(&mut session);
    client.settle();
    row("connect, and send those three again");
    client.disconnect();
    row("disconnect");

    for (qos, name) in [
        (
            QoS::AtMostOnce,
            "connect, publish and disconnect, pipelined",
        ),
        (QoS::AtLeastOnce, "connect and publish, pipelined"),
    ] {
        let mut client = kind.open(&mut session);
        client
            .session()
            .publish(&message(TOPIC, &PAYLOAD, qos))
            .unwrap();
        if qos == QoS::AtMostOnce {
            client.disconnect();
        } else {
            client.settle();
        }
        row(name);
    }
    rows
}

/// Accepts the connection, and answers no other packet.
fn silent(packet: &Packet<'_>) -> Vec<u8> {
    match packet {
        Packet::Connect(_) => connack(true),
        _ => Vec::new(),
    }
}

/// The output of one operation.
#[derive(PartialEq, Eq, Debug)]
struct Row {
    name: String,
    /// The packets of each write.
    writes: Vec<String>,
    bytes: usize,
}

impl Row {
    fn new(name: &str, writes: &[Vec<u8>]) -> Self {
        Self {
            name: name.to_owned(),
            writes: writes.iter().map(|write| words(write)).collect(),
            bytes: writes.iter().map(Vec::len).sum(),
        }
    }
}

/// Returns the packets of a write in words: "Connect + 2 Publish".
fn words(mut write: &[u8]) -> String {
    let mut names = Vec::new();
    while let Ok(Some((header, _))) = FixedHeader::decode(write)
        && let Ok(Some((_, used))) = Packet::decode(write)
    {
        names.push(format!("{:?}", header.packet_type));
        write = write.split_at(used).1;
    }
    if !write.is_empty() {
        names.push("part of a packet".to_owned());
    }
    counted(&names, " ", " + ")
}

/// Joins words. Equal words in a row are written once, with their number.
fn counted(words: &[String], times: &str, between: &str) -> String {
    let runs = words.chunk_by(|one, next| one == next);
    let counted: Vec<_> = runs
        .map(|run| match run {
            [one] => one.clone(),
            [one, ..] => format!("{}{times}{one}", run.len()),
            [] => String::new(),
        })
        .collect();
    counted.join(between)
}

fn table(rows: &[Row]) -> String {
    let mut table = String::from("| operation | writes | bytes | packets of each write |\n");
    table.push_str("| --- | ---: | ---: | --- |\n");
    for Row {
        name,
        writes,
        bytes,
    } in rows
    {
        let (count, words) = (writes.len(), counted(writes, " × ", ", "));
        writeln!(table, "| {name} | {count} | {bytes} | {words} |").unwrap();
    }
    table
}

fn options() -> Connect<'static> {
    Connect {
        clean_session: false,
        keep_alive: KEEP_ALIVE,
        ..Connect::new("sensor-7")
    }
}

impl<'n> Kind for &'n Network {
    type Client<'s, 'b: 's> = common::Client<'s, 'b, 'n>;

    fn open<'s, 'b: 's>(&self, session: &'s mut Session<'b>) -> Self::Client<'s, 'b> {
        common::Client::open(session, self.transport(), self, &options()).unwrap()
    }

    fn answer(&self, peer: fn(&Packet<'_>) -> Vec<u8>) {
        Network::answer(self, peer);
    }

    fn feed(&self, bytes: &[u8]) {
        Network::feed(self, bytes);
    }

    fn pass(&self, millis: u32) {
        Network::pass(self, millis);
    }

    fn take_writes(&self) -> Vec<Vec<u8>> {
        Network::take_writes(self)
    }
}

impl<'b> Calls<'b> for common::Client<'_, 'b, '_> {
    fn session(&mut self) -> &mut Session<'b> {
        self.session()
    }

    fn publish(&mut self, message: &Message<'_>) {
        self.publish(message).unwrap();
    }

    fn publish_and_wait(&mut self, message: &Message<'_>) {
        self.publish_and_wait(message, ignore).unwrap();
    }

    fn publish_slices(&mut self, message: StreamedPublish<'_>, payload: &[&[u8]]) {
        self.publish_slices(message, payload, ignore).unwrap();
    }

    fn subscribe_and_wait(&mut self, filters: &[(&str, QoS)]) {
        let codes = self.subscribe_and_wait(filters, ignore).unwrap();
        assert!(codes.all_granted());
    }

    fn unsubscribe_and_wait(&mut self, filters: &[&str]) {
        self.unsubscribe_and_wait(filters, ignore).unwrap();
    }

    fn ping(&mut self) {
        self.ping().unwrap();
    }

    fn poll(&mut self) -> bool {
        self.poll().unwrap().is_some()
    }

    fn disconnect(mut self) {
        Self::disconnect(&mut self).unwrap();
    }
}

fn ignore(_: Event<'_>, _: &mut Publisher<'_, '_>) {}

/// The async client, and the executor of its calls.
struct Running<'s, 'b, 'w> {
    client: AsyncClient<'s, 'b, 'w>,
    world: &'w World,
}

impl<'w> Kind for &'w World {
    type Client<'s, 'b: 's> = Running<'s, 'b, 'w>;

    fn open<'s, 'b: 's>(&self, session: &'s mut Session<'b>) -> Self::Client<'s, 'b> {
        let client = AsyncClient::open(session, self.dial(), self, &options()).unwrap();
        Running {
            client,
            world: self,
        }
    }

    fn answer(&self, peer: fn(&Packet<'_>) -> Vec<u8>) {
        World::answer(self, peer);
    }

    fn feed(&self, bytes: &[u8]) {
        World::feed(self, bytes);
    }

    fn pass(&self, millis: u32) {
        self.run_for(millis, pending::<()>());
    }

    fn take_writes(&self) -> Vec<Vec<u8>> {
        World::take_writes(self)
    }
}

impl<'b> Calls<'b> for Running<'_, 'b, '_> {
    fn session(&mut self) -> &mut Session<'b> {
        self.client.session()
    }

    fn publish(&mut self, message: &Message<'_>) {
        self.world.run(self.client.publish(message)).unwrap();
    }

    fn publish_and_wait(&mut self, message: &Message<'_>) {
        let call = self.client.publish_and_wait(message, ignore);
        self.world.run(call).unwrap();
    }

    fn publish_slices(&mut self, message: StreamedPublish<'_>, payload: &[&[u8]]) {
        let call = self.client.publish_slices(message, payload, ignore);
        self.world.run(call).unwrap();
    }

    fn subscribe_and_wait(&mut self, filters: &[(&str, QoS)]) {
        let call = self.client.subscribe_and_wait(filters, ignore);
        assert!(self.world.run(call).unwrap().all_granted());
    }

    fn unsubscribe_and_wait(&mut self, filters: &[&str]) {
        let call = self.client.unsubscribe_and_wait(filters, ignore);
        self.world.run(call).unwrap();
    }

    fn ping(&mut self) {
        self.world.run(self.client.ping()).unwrap();
    }

    fn poll(&mut self) -> bool {
        self.world.run(self.client.poll()).unwrap().is_some()
    }

    fn disconnect(mut self) {
        self.world.run(self.client.disconnect()).unwrap();
    }
}
