//! Counts the instructions that a chip executes for each operation of the blocking client, and prints them.
//!
//! The peer is a script, the transport copies bytes in memory, and the clock does not move, so every run has the same
//! counts. `.ci/chip-instructions` runs it.
#![no_std]
#![no_main]

mod wire;

use core::{
    convert::Infallible,
    hint::black_box,
    sync::atomic::{Ordering, compiler_fence},
};

use firmware::machine::entry;
use riscv::register::minstret;
use semihosting::println;
use umqtt::{
    Clock, Event, Instant, Message, Publisher, Session, Storage,
    blocking::Client,
    client,
    codec::{
        Connect, Credentials, Delivery, EncodeError, PacketId, Puback, Pubcomp, Publish, Pubrec,
        Pubrel, QoS, Suback, SubackReturnCode, TopicError, TopicName,
    },
};

use self::wire::{LONGEST, Wire};

/// Number of runs of each operation, whose mean is printed. The count depends on the position of a packet in the
/// buffers.
const ROUNDS: u32 = 32;

const TOPIC: &str = "home/room/1/sensor/2";
const PAYLOAD: [u8; 64] = [b'x'; 64];
const OPTIONS: Connect<'_> = Connect {
    clean_session: false,
    keep_alive: 30,
    credentials: Some(Credentials {
        user_name: "sensor",
        password: Some(b"secret"),
    }),
    ..Connect::new("sensor-7")
};

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const CONNACK_PRESENT: [u8; 4] = [0x20, 2, 1, 0];
const PINGRESP: [u8; 2] = [0xD0, 0];
const AT_LEAST_ONCE: Delivery = Delivery::AtLeastOnce {
    packet_id: PacketId::MIN,
    dup: false,
};
const EXACTLY_ONCE: Delivery = Delivery::ExactlyOnce {
    packet_id: PacketId::MIN,
    dup: false,
};

type Device<'s, 'b, 'w> = Client<'s, 'b, &'w Wire, Still>;

/// The reason why a run ended early.
enum Failure {
    Client(client::Error<Infallible>),
    /// The script does not match the packets of the client.
    Script(&'static str),
}

impl From<client::Error<Infallible>> for Failure {
    fn from(error: client::Error<Infallible>) -> Self {
        Self::Client(error)
    }
}

impl From<EncodeError> for Failure {
    fn from(_: EncodeError) -> Self {
        Self::Script("a packet cannot be encoded")
    }
}

impl From<TopicError> for Failure {
    fn from(_: TopicError) -> Self {
        Self::Script("a topic is not valid")
    }
}

/// A clock that always shows the same time.
struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant::from_millis(0)
    }
}

#[entry]
fn main() -> ! {
    firmware::run(|_| match count_all() {
        Ok(()) => true,
        Err(Failure::Client(error)) => {
            println!("{error}");
            false
        }
        Err(Failure::Script(what)) => {
            println!("{what}");
            false
        }
    })
}

fn count_all() -> Result<(), Failure> {
    let wire = Wire::default();
    let mut storage = Storage::<256, 512, 4>::new();
    let mut session = Session::new(&mut storage);
    row("connect", || {
        wire.feed(&[&CONNACK])?;
        counted(|| Device::connect(&mut session, &wire, Still, &OPTIONS))
    })?;
    wire.feed(&[&CONNACK])?;
    let mut client = Device::connect(&mut session, &wire, Still, &OPTIONS)?;
    row("subscribe", || subscribe(&mut client, &wire))?;
    for (qos, name) in [
        (QoS::AtMostOnce, "publish QoS 0"),
        (QoS::AtLeastOnce, "publish QoS 1, acknowledged"),
        (QoS::ExactlyOnce, "publish QoS 2, acknowledged"),
    ] {
        row(name, || publish(&mut client, &wire, qos))?;
    }
    for (delivery, name) in [
        (Delivery::AtMostOnce, "receive QoS 0"),
        (AT_LEAST_ONCE, "receive QoS 1, acknowledge"),
        (EXACTLY_ONCE, "receive QoS 2, acknowledge"),
    ] {
        row(name, || receive(&mut client, &wire, delivery))?;
    }
    row("ping, answered", || ping(&mut client, &wire))?;
    row("poll with nothing to do", || {
        counted(|| client.poll().map(drop))
    })?;
    row("connect and send a message again", || {
        resume(&mut session, &wire)
    })
}

fn subscribe(client: &mut Device<'_, '_, '_>, wire: &Wire) -> Result<u32, Failure> {
    let id = next_id(client.session())?;
    let codes = [SubackReturnCode::Granted(QoS::ExactlyOnce)];
    let mut suback = [0; LONGEST];
    let suback = Suback::new(id, &codes)?.encode(&mut suback)?;
    wire.feed(&[suback])?;
    counted(|| {
        let answer = client.subscribe_and_wait(&[(TOPIC, QoS::ExactlyOnce)], ignore);
        answer.map(black_box).map(|_| ())
    })
}

fn publish(client: &mut Device<'_, '_, '_>, wire: &Wire, qos: QoS) -> Result<u32, Failure> {
    let id = next_id(client.session())?;
    match qos {
        QoS::AtMostOnce => wire.feed(&[])?,
        QoS::AtLeastOnce => wire.feed(&[&Puback::new(id).to_bytes()])?,
        QoS::ExactlyOnce => {
            wire.feed(&[&Pubrec::new(id).to_bytes(), &Pubcomp::new(id).to_bytes()])?
        }
    }
    let message = black_box(message(qos));
    counted(|| client.publish_and_wait(&message, ignore))
}

/// Handles a message until its acknowledgement was sent.
fn receive(
    client: &mut Device<'_, '_, '_>,
    wire: &Wire,
    delivery: Delivery,
) -> Result<u32, Failure> {
    let mut packet = [0; LONGEST];
    let publish = Publish {
        delivery,
        ..Publish::new(TopicName::new(TOPIC)?, &PAYLOAD)
    };
    wire.feed(&[
        publish.encode(&mut packet)?,
        &Pubrel::new(PacketId::MIN).to_bytes(),
    ])?;
    let mut seen = false;
    let count = counted(|| {
        let event = client.recv()?;
        seen = matches!(event, Event::Message(message) if message.payload == PAYLOAD);
        match delivery {
            Delivery::AtMostOnce => Ok(()),
            Delivery::AtLeastOnce { .. } => client.flush(),
            // Sends PUBREC, reads PUBREL and sends PUBCOMP.
            Delivery::ExactlyOnce { .. } => client.poll().map(drop),
        }
    })?;
    if !seen || client.session().has_pending() {
        return Err(Failure::Script(
            "a message was not received, or its acknowledgement not sent",
        ));
    }
    Ok(count)
}

fn ping(client: &mut Device<'_, '_, '_>, wire: &Wire) -> Result<u32, Failure> {
    wire.feed(&[&PINGRESP])?;
    counted(|| {
        client.ping()?;
        client.poll().map(drop)
    })
}

/// Resends a message after a lost connection: from CONNECT to its PUBACK.
fn resume(session: &mut Session<'_>, wire: &Wire) -> Result<u32, Failure> {
    wire.feed(&[&CONNACK])?;
    let mut client = Device::connect(session, wire, Still, &OPTIONS)?;
    let Some(id) = client.publish(&message(QoS::AtLeastOnce))? else {
        return Err(Failure::Script("no id"));
    };
    wire.feed(&[&CONNACK_PRESENT, &Puback::new(id).to_bytes()])?;
    let mut acknowledged = false;
    let count = counted(|| {
        let mut client = Device::connect(session, wire, Still, &OPTIONS)?;
        acknowledged = client.recv()? == Event::Puback(id);
        Ok(())
    })?;
    if !acknowledged {
        return Err(Failure::Script("no PUBACK"));
    }
    Ok(count)
}

fn message(qos: QoS) -> Message<'static> {
    Message {
        qos,
        ..Message::new(TOPIC, &PAYLOAD)
    }
}

/// Returns the id that the session will use next.
fn next_id(session: &Session<'_>) -> Result<PacketId, Failure> {
    let last = session.last_packet_id().map_or(0, PacketId::get);
    PacketId::new(last.wrapping_add(1)).ok_or(Failure::Script("the ids have wrapped"))
}

fn ignore(_: Event<'_>, _: &mut Publisher<'_, '_>) {}

/// Prints the mean of an operation.
fn row(name: &str, mut operation: impl FnMut() -> Result<u32, Failure>) -> Result<(), Failure> {
    let mut total: u32 = 0;
    for _ in 0..ROUNDS {
        total = total.saturating_add(operation()?);
    }
    println!("{name}\t{}", total / ROUNDS);
    Ok(())
}

/// Returns the instructions of a call.
fn counted<R>(call: impl FnOnce() -> Result<R, client::Error<Infallible>>) -> Result<u32, Failure> {
    let own = instructions(|| {}).1;
    let (result, count) = instructions(call);
    black_box(result?);
    Ok(count.saturating_sub(own))
}

/// Makes a call, and returns how far the instruction counter has advanced.
#[inline(never)]
fn instructions<R>(call: impl FnOnce() -> R) -> (R, u32) {
    let begin = minstret::read();
    compiler_fence(Ordering::SeqCst);
    let result = black_box(call());
    compiler_fence(Ordering::SeqCst);
    let end = minstret::read();
    // No operation takes 2^32 instructions.
    (
        result,
        u32::try_from(end.wrapping_sub(begin)).unwrap_or(u32::MAX),
    )
}
