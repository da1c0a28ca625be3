//! Slow parties: callers that are late, transports that accept nothing, peers that send slowly or without end.

use std::{
    cell::Cell,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use crate::common::{self, *};
use embedded_io::ErrorType;
use umqtt::{
    Clock, Event, Instant, Message, Session, Storage, StreamedPublish, asynch, blocking,
    codec::{Connect, QoS},
};

type Memory = Storage<64, 256, 4>;

fn keep() -> Connect<'static> {
    Connect {
        clean_session: false,
        ..Connect::new("me")
    }
}

/// Returns a client that has read nothing for 20 s. These bytes and the acknowledgement of its message wait to be read.
fn late<'s, 'b, 'n>(
    session: &'s mut Session<'b>,
    network: &'n Network,
    before: &[u8],
) -> blocking::Client<'s, 'b, Transport, &'n Network> {
    let mut client = connected(session, network, &keep());
    network.feed(before);
    let message = message("t", b"x", QoS::AtLeastOnce);
    client.publish(&message).unwrap();
    network.pass(20_000);
    client
}

/// If all bytes of the peer wait to be read, a slow caller causes no timeout.
#[test]
fn caller_late_all_bytes_received_is_no_timeout() {
    let (network, mut storage) = (Network::new(), Memory::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &keep());
    network.reads(&[], Step::Bytes(16));
    for _ in 0..10 {
        network.feed(&publish("t", &[0; 35], QoS::AtMostOnce, 0));
    }
    for message in 0..10 {
        let has_event = client
            .recv()
            .map(|event| matches!(event, Event::Message(_)));
        assert_eq!(has_event, Ok(true), "message {message}");
        network.pass(15_000); // the caller erases a sector of its flash
    }
}

/// An unread answer is in time, for reads of any size.
#[test]
fn caller_late_any_read_size_receives_answer() {
    for most in [4, 3, 1] {
        let (network, mut storage) = (Network::with_server(), Memory::new());
        let mut session = Session::new(&mut storage);
        let mut client = late(&mut session, &network, b"");
        network.reads(&[], Step::Bytes(most));
        let seen = client.recv().map(|event| format!("{event:?}"));
        assert_eq!(
            seen,
            Ok("Puback(PacketId(1))".into()),
            "{most} bytes a read"
        );
    }
}

/// Two packets are received. The first read returns only a part of the first one, as that of a UART with a FIFO of 16
/// bytes.
#[test]
fn caller_late_message_before_answer_is_no_timeout() {
    let (network, mut storage) = (Network::with_server(), Memory::new());
    let mut session = Session::new(&mut storage);
    let before = publish("topic", &[1; 40], QoS::AtMostOnce, 0);
    let mut client = late(&mut session, &network, &before);
    network.reads(&[], Step::Bytes(16));
    let seen = client
        .recv()
        .map(|event| matches!(event, Event::Message(_)));
    assert_eq!(seen, Ok(true));
}

/// An unread answer is also in time if the next call is a flush that must wait for the transport.
#[test]
fn flush_late_answer_received_returns_ok() {
    let (network, mut storage) = (Network::with_server(), Memory::new());
    let mut session = Session::new(&mut storage);
    let mut client = late(&mut session, &network, b"");
    network.writes(&[Step::NotReady; 2], Step::Bytes(usize::MAX));
    client.publish(&Message::new("t", b"x")).unwrap();
    assert_eq!(client.flush(), Ok(()));
}

/// As `flush_late_answer_received_returns_ok`, while a payload is sent.
#[test]
fn payload_late_answer_received_returns_ok() {
    let (network, mut storage) = (Network::with_server(), Memory::new());
    let mut session = Session::new(&mut storage);
    let mut client = late(&mut session, &network, b"");
    network.reads(&[], Step::Bytes(1));
    network.writes(&[Step::Bytes(5), Step::NotReady], Step::Bytes(usize::MAX));
    assert_eq!(
        client.publish_slices(StreamedPublish::new("t"), &[b"payload"], |_, _| {}),
        Ok(None)
    );
}

/// An event that a flush has found is due at once.
#[test]
fn deadline_event_pending_is_now() {
    let (network, mut storage) = (Network::new(), Memory::new());
    let mut session = Session::new(&mut storage);
    let options = Connect {
        keep_alive: 30,
        ..keep()
    };
    let mut client = connected(&mut session, &network, &options);
    let is_due = |client: &Client<'_, '_, '_>| client.deadline().unwrap().has_passed(network.now());
    assert!(!is_due(&client), "only keep alive waits for a call");
    network.feed(&publish("t", b"x", QoS::AtMostOnce, 0));
    network.writes(&[Step::NotReady; 3], Step::Bytes(usize::MAX));
    client.publish(&Message::new("t", b"x")).unwrap();
    client.flush().unwrap();
    assert!(is_due(&client));
    assert!(matches!(client.recv(), Ok(Event::Message(_))));
    client.flush().unwrap();
    assert!(!is_due(&client));
}

/// Each wait of a payload has an end, if the transport blocks at any byte of the packet. The payload is from slices or
/// a reader, with and without keep alive.
#[test]
fn payload_blocked_at_any_byte_ends_in_time() {
    for keep_alive in [0, 5] {
        for stuck_at in 1..=16 {
            for slices in [true, false] {
                let (network, mut storage) = (Network::new(), Memory::new());
                let mut session = Session::new(&mut storage);
                let options = Connect {
                    keep_alive,
                    ..keep()
                };
                let mut client = connected(&mut session, &network, &options);
                let mut steps = vec![Step::Bytes(1); stuck_at];
                steps.push(Step::NotReady);
                network.writes(&steps, Step::NotReady);
                let long = StreamedPublish::New {
                    topic: "t",
                    qos: QoS::AtLeastOnce,
                    retain: false,
                };
                let sent = if slices {
                    client.publish_slices(long, &[b"pay", b"", b"load-load"], |_, _| {})
                } else {
                    client.publish_from(long, 12, &b"payload-load"[..], |_, _| {})
                };
                assert!(sent.is_err(), "{stuck_at}");
                // The accepted bytes of the payload are flushed a millisecond later, which is progress.
                let flushed_at = u32::from(slices && stuck_at > 7);
                let end = flushed_at + umqtt::RESPONSE_TIMEOUT;
                assert_eq!(network.millis(), end, "{stuck_at}");
            }
        }
    }
}

/// The wait of a payload of the async client also has an end, if the transport never wakes the task.
#[test]
fn async_payload_blocked_ends_in_time() {
    let (mut storage, world) = (Memory::new(), common::world::World::new());
    let mut session = Session::new(&mut storage);
    let mut client = common::world::connected(&mut session, &world, &keep());
    world.set_room(10);
    let payload = [0; 20];
    let sent = world.run_for(
        60_000,
        client.publish_slices(StreamedPublish::new("a"), &[&payload], |_, _| {}),
    );
    assert!(
        sent.is_some_and(|sent| sent.is_err()),
        "a minute without a byte"
    );
}

/// A clock that advances by one millisecond at each call, as on a slow chip.
struct Slow(Cell<u32>);

impl Clock for Slow {
    fn now(&self) -> Instant {
        self.0.set(self.0.get() + 1);
        Instant::from_millis(self.0.get())
    }
}

impl asynch::Sleep for Slow {
    async fn sleep_until(&self, _: Instant) {
        core::future::pending().await
    }
}

/// A transport that accepts all bytes and always has more: PUBRELs, or the bytes of a payload.
struct Endless<'c> {
    begin: Vec<u8>,
    more: Vec<u8>,
    reads: &'c Cell<u32>,
}

impl ErrorType for Endless<'_> {
    type Error = Fault;
}

impl embedded_io_async::Read for Endless<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> core::result::Result<usize, Fault> {
        self.reads.set(self.reads.get() + 1);
        assert!(self.reads.get() < 10_000, "one poll has read 10,000 times");
        let from = if self.begin.is_empty() {
            &mut self.more.clone()
        } else {
            &mut self.begin
        };
        let n = buf.len().min(from.len());
        for (to, byte) in buf.iter_mut().zip(from.drain(..n)) {
            *to = byte;
        }
        Ok(n)
    }
}

impl embedded_io_async::Write for Endless<'_> {
    async fn write(&mut self, buf: &[u8]) -> core::result::Result<usize, Fault> {
        Ok(buf.len())
    }

    async fn flush(&mut self) -> core::result::Result<(), Fault> {
        Ok(())
    }
}

/// A poll reads a limited number of bytes, so that a peer that sends endlessly does not block other tasks.
#[test]
fn future_peer_sends_endlessly_returns_from_each_poll() {
    let mut storage = Memory::new();
    let mut session = Session::new(&mut storage);
    let reads = Cell::new(0);
    let transport = Endless {
        begin: connack(false),
        more: pubrel(7),
        reads: &reads,
    };
    let options = Connect {
        keep_alive: 60,
        ..keep()
    };
    let clock = Slow(Cell::new(0));
    let mut cx = Context::from_waker(Waker::noop());
    let mut client = {
        let mut connect = pin!(asynch::Client::connect(
            &mut session,
            transport,
            &clock,
            &options
        ));
        loop {
            if let Poll::Ready(client) = connect.as_mut().poll(&mut cx) {
                break client.unwrap();
            }
        }
    };
    let mut recv = pin!(client.recv());
    for _ in 0..10 {
        reads.set(0);
        assert!(recv.as_mut().poll(&mut cx).is_pending());
        assert!(reads.get() < 10);
    }
}
