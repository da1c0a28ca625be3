//! Slow sockets: refused writes with a timeout, a runtime that waits for the task to yield, a slow flush.

use std::cell::Cell;

use embassy_futures::join::join;
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use umqtt::{
    Event, Message, RequestError, Session, Storage, StreamedPublish,
    blocking::Client,
    client::Error,
    codec::{Connect, QoS},
};

use crate::common::{
    Fault, Network, PINGRESP, Step, Transport, connack, publish,
    world::{self, Flush, World},
};

fn options() -> Connect<'static> {
    Connect {
        clean_session: false,
        keep_alive: Connect::NO_KEEP_ALIVE,
        ..Connect::new("me")
    }
}

/// A socket whose write waits for 10 ms if nothing is accepted, as one with a timeout does.
struct Slow<'n> {
    network: &'n Network,
    inner: Transport,
    accepts: &'n Cell<bool>,
    refused: &'n Cell<u32>,
}

impl ErrorType for Slow<'_> {
    type Error = Fault;
}

impl Read for Slow<'_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        self.inner.read(buf)
    }
}

impl ReadReady for Slow<'_> {
    fn read_ready(&mut self) -> Result<bool, Fault> {
        self.inner.read_ready()
    }
}

impl Write for Slow<'_> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Fault> {
        if self.accepts.get() {
            return self.inner.write(buf);
        }
        self.refused.set(self.refused.get() + 1);
        self.network.pass(10);
        Err(Fault(ErrorKind::TimedOut))
    }

    fn flush(&mut self) -> Result<(), Fault> {
        self.inner.flush()
    }
}

impl WriteReady for Slow<'_> {
    fn write_ready(&mut self) -> Result<bool, Fault> {
        self.inner.write_ready()
    }
}

/// If each attempt to write takes time, received messages do not wait for it.
#[test]
fn write_refused_slowly_messages_are_received_first() {
    const MESSAGES: u32 = 40;
    let network = Network::new();
    let (accepts, refused) = (Cell::new(true), Cell::new(0));
    let mut storage = Storage::<64, 256, 4>::new();
    let mut session = Session::new(&mut storage);
    network.feed(&connack(false));
    let socket = Slow {
        network: &network,
        inner: network.transport(),
        accepts: &accepts,
        refused: &refused,
    };
    let mut client = Client::connect(&mut session, socket, &network, &options()).unwrap();
    network.take_writes();
    accepts.set(false);
    client.publish(&Message::new("out", b"x")).unwrap();
    for _ in 0..MESSAGES {
        network.feed(&publish("t", b"x", QoS::AtMostOnce, 0));
        // Bytes without an event are received, too.
        network.feed(&PINGRESP.repeat(20));
    }
    for _ in 0..MESSAGES {
        assert!(matches!(client.recv(), Ok(Event::Message(_))));
    }
    assert!(
        (1..4).contains(&refused.get()),
        "{} attempts",
        refused.get()
    );
    while network.unread() > 0 {
        assert_eq!(client.poll(), Ok(None));
    }
    assert_eq!(client.poll(), Ok(None));
    accepts.set(true);
    client.flush().unwrap();
    assert_eq!(
        network.take_sent(),
        publish("out", b"x", QoS::AtMostOnce, 0)
    );
}

/// Tokio refuses all writes of a task that has used its budget, until the task has yielded.
#[test]
fn publish_buffer_full_socket_accepts_after_yield_returns_ok() {
    let world = World::new();
    let mut storage = Storage::<64, 256, 4>::new();
    let mut session = Session::new(&mut storage);
    let mut client = world::connected(&mut session, &world, &options());
    let large = Message::new("t", &[0; 150]);
    world.set_room(0);
    world.run(client.publish(&large)).unwrap();
    let refused = world.run(client.publish(&large));
    assert!(
        matches!(
            refused,
            Err(Error::Request(RequestError::SendBufferFull { .. }))
        ),
        "{refused:?}"
    );
    let other_task = async { world.set_room(usize::MAX) };
    let (published, ()) = world.run(join(client.publish(&large), other_task));
    assert_eq!(published, Ok(None));
    world.run(client.flush()).unwrap();
    let sent = publish("t", &[0; 150], QoS::AtMostOnce, 0);
    assert_eq!(world.take_sent(), sent.repeat(2));
}

/// The next piece of a payload is requested while the transport flushes the last one.
#[test]
fn payload_flush_slow_is_sent_whole() {
    let world = World::new();
    let mut storage = Storage::<64, 64, 4>::new();
    let mut session = Session::new(&mut storage);
    let mut client = world::connected(&mut session, &world, &options());
    let mut rest = &[7; 1_000][..];
    world
        .run(async {
            let source = umqtt::ReadFn(|space: &mut [u8]| {
                world.set_flush(Flush::Slow);
                let n = Read::read(&mut rest, space).unwrap();
                Ok::<_, core::convert::Infallible>(n)
            });
            let long = StreamedPublish::new("t");
            client.publish_from(long, 1_000, source, |_, _| {}).await
        })
        .unwrap();
    assert_eq!(
        world.take_sent(),
        publish("t", &[7; 1_000], QoS::AtMostOnce, 0)
    );
}

/// Packets without an event do not end the call.
#[test]
fn publish_and_wait_at_qos0_write_late_is_sent() {
    let network = Network::new();
    let mut storage = Storage::<64, 256, 4>::new();
    let mut session = Session::new(&mut storage);
    let mut client = crate::common::connected(&mut session, &network, &options());
    network.writes(&[Step::NotReady; 5], Step::Bytes(usize::MAX));
    network.feed(&PINGRESP.repeat(100));
    client
        .publish_and_wait(&Message::new("t", b"x"), |event, _| panic!("{event}"))
        .unwrap();
    assert_eq!(network.take_sent(), publish("t", b"x", QoS::AtMostOnce, 0));
}
