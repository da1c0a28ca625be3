//! The largest message of MQTT, 256 MB, and a million small ones, through buffers of a few hundred bytes. The process
//! does not grow.
//!
//! The packet ids wrap, at QoS 1 and 2. `cargo test` runs a sample.

use std::{
    net::{SocketAddr, TcpStream},
    sync::Mutex,
    thread,
    time::{Duration, Instant as StdInstant},
};

use embedded_io::ErrorKind;
use faults::{Mosquitto, Scale, peak_kib};
use umqtt::{
    Clock, Event, Instant, Message, ReadFn, RequestError, Session, Storage, StreamedPublish,
    blocking::Client,
    client::Error,
    codec::{Connect, QoS},
    std_io::{NonBlocking, StdClock},
};

/// Maximum growth of the process in KiB: enough for an allocator, and much less than a message.
const GROWTH: u64 = 2_048;
/// The largest Remaining Length (section 2.2.3).
const LARGEST: usize = 268_435_455;
const TOPIC: &str = "large";
/// Maximum time until the broker answers.
const PATIENCE: u32 = 60_000;

/// Only one run at a time, because the memory of the process is measured.
static ALONE: Mutex<()> = Mutex::new(());

/// A clock that waits only for a short time when there is nothing to do.
struct Brisk(StdClock);

impl Clock for Brisk {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn idle(&self) {
        thread::sleep(Duration::from_micros(50));
    }
}

type Device<'s, 'b> = Client<'s, 'b, NonBlocking<TcpStream>, Brisk>;

fn connect<'s, 'b>(session: &'s mut Session<'b>, address: SocketAddr) -> Device<'s, 'b> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    session.set_response_timeout(PATIENCE);
    let options = Connect {
        keep_alive: 60,
        ..Connect::new("large")
    };
    let mut client = Client::connect(
        session,
        NonBlocking::new(stream),
        Brisk(StdClock::new()),
        &options,
    )
    .unwrap();
    let codes = client
        .subscribe_and_wait(&[(TOPIC, QoS::ExactlyOnce)], |_, _| {})
        .unwrap();
    assert!(codes.all_granted());
    client
}

/// Calls `run`, prints its time and memory, and checks that the process does not grow.
fn run_with_constant_memory(what: &str, run: impl FnOnce()) {
    let before = peak_kib();
    let start = StdInstant::now();
    run();
    let took = start.elapsed();
    match (before, peak_kib()) {
        (Some(before), Some(after)) => {
            println!("{what}: {took:.1?}, peak memory {before} KiB before, {after} KiB after");
            assert!(after.saturating_sub(before) < GROWTH, "the process grew");
        }
        _ => println!("{what}: {took:.1?}; the memory was not measured: this is not Linux"),
    }
}

/// Returns `true` if these bytes are those of the payload at this offset.
fn is_right(offset: usize, bytes: &[u8]) -> bool {
    let expected = (offset..).map(pattern);
    bytes.iter().copied().eq(expected.take(bytes.len()))
}

/// Returns a byte of the payload. Its period is not a divisor of any buffer size.
fn pattern(at: usize) -> u8 {
    (at % 251).to_be_bytes()[size_of::<usize>() - 1]
}

/// Sends and receives one message. The device reads it, or skips it.
fn send_and_receive(client: &mut Device<'_, '_>, len: usize, reads: bool) {
    let mut written = 0;
    let source = ReadFn(|space: &mut [u8]| {
        for byte in space.iter_mut() {
            *byte = pattern(written);
            written += 1;
        }
        Ok::<_, ErrorKind>(space.len())
    });
    let message = StreamedPublish::New {
        topic: TOPIC,
        qos: QoS::AtLeastOnce,
        retain: false,
    };
    client
        .publish_from(message, len, source, |_, _| {})
        .unwrap();
    let mut read = 0;
    loop {
        match client.recv().unwrap() {
            Event::Chunk(chunk) => {
                assert_eq!((chunk.total, chunk.offset), (len, read));
                assert!(is_right(read, chunk.bytes), "another byte at {read}");
                read += chunk.bytes.len();
            }
            Event::Puback(_) => continue,
            other => panic!("{other:?}"),
        }
        if read == len {
            return;
        }
        if !reads {
            // The rest is skipped. The next message shows that it was complete.
            drop(client.payload());
            let end = Message {
                qos: QoS::AtLeastOnce,
                ..Message::new(TOPIC, b"end")
            };
            client.publish(&end).unwrap();
            loop {
                match client.recv().unwrap() {
                    Event::Message(message) => return assert_eq!(message.payload, b"end"),
                    Event::Puback(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

#[test]
fn largest_message_is_sent_and_received() {
    let _alone = ALONE.lock().unwrap();
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    let len = Scale::pick(16 << 20, LARGEST, LARGEST) - TOPIC.len() - 4;
    let mut memory = Storage::<1_024, 1_024, 4>::new();
    let mut session = Session::new(&mut memory);
    let mut client = connect(&mut session, broker.address);
    // The first message has a cost of its own.
    send_and_receive(&mut client, 4_096, true);
    for (how, reads) in [("streamed", true), ("skipped", false)] {
        let what = format!("{len} bytes sent and {how}");
        run_with_constant_memory(&what, || send_and_receive(&mut client, len, reads));
    }
    client.disconnect().unwrap();
}

/// Number of messages whose ids follow until the ids wrap.
const BEFORE_WRAP: u16 = 500;

/// Uses up ids until [`BEFORE_WRAP`] more follow. Nothing is sent.
fn use_up_ids(client: &mut Device<'_, '_>) {
    let unsent = Message {
        qos: QoS::AtLeastOnce,
        ..Message::new(TOPIC, b"")
    };
    loop {
        let session = client.session();
        let id = session.publish(&unsent).unwrap().unwrap();
        session.discard_publish(id).unwrap();
        assert_eq!(client.recv().unwrap(), Event::PublishDiscarded(id));
        if id.get() == u16::MAX - BEFORE_WRAP {
            return;
        }
    }
}

/// Sends and receives this number of messages, with up to 64 in flight. Returns how often the ids wrapped.
fn many(client: &mut Device<'_, '_>, qos: QoS, count: u32) -> u32 {
    let (mut published, mut acknowledged, mut received) = (0_u32, 0, 0_u32);
    let (mut last, mut wraps) = (None, 0);
    while acknowledged < count || received < count {
        while published < count && published - received < 64 {
            let payload = published.to_be_bytes();
            let message = Message {
                qos,
                ..Message::new(TOPIC, &payload)
            };
            match client.publish(&message) {
                Ok(id) => {
                    published += 1;
                    wraps += u32::from(id < last);
                    last = id;
                }
                Err(Error::Request(
                    RequestError::InflightFull { .. } | RequestError::SendBufferFull { .. },
                )) => break,
                Err(error) => panic!("{error}"),
            }
        }
        match client.recv().unwrap() {
            Event::Message(message) => {
                assert_eq!(
                    message.payload,
                    received.to_be_bytes(),
                    "in order, and once"
                );
                received += 1;
            }
            Event::Puback(_) | Event::Pubcomp(_) => acknowledged += 1,
            other => panic!("{other:?}"),
        }
    }
    wraps
}

#[test]
fn million_messages_with_wrapped_ids_arrive() {
    let _alone = ALONE.lock().unwrap();
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    // mosquitto closes the connection of a client with more than its `max_inflight_messages` at QoS 2.
    let mut memory = Box::new(Storage::<1_024, 4_096, 20>::new());
    let mut session = Session::new(&mut memory);
    let mut client = connect(&mut session, broker.address);
    many(&mut client, QoS::ExactlyOnce, 100);
    for (qos, count) in [
        (QoS::ExactlyOnce, Scale::pick(1_000, 70_000, 200_000)),
        (QoS::AtLeastOnce, Scale::pick(1_000, 70_000, 1_000_000)),
    ] {
        let what = format!("{count} messages each way at QoS {}", qos as u8);
        use_up_ids(&mut client);
        let mut wraps = 0;
        run_with_constant_memory(&what, || wraps = many(&mut client, qos, count));
        let after_wrap = count - u32::from(BEFORE_WRAP);
        assert_eq!(wraps, after_wrap.div_ceil(u32::from(u16::MAX)));
    }
    client.disconnect().unwrap();
}
