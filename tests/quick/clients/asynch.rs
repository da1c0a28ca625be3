//! The async client has the guarantees of the blocking one: one packet in one write, and each deadline at its time. No
//! task waits without end, and none is woken without need.

use crate::common::{
    self, DISCONNECT, Fault, PINGREQ, PINGRESP, REFUSALS, Seen, connack, encode, message,
    packet_id, packets, puback, publish, record, refused, server,
    world::{AsyncClient, Flush, Outcome, World, connected},
};
use embassy_futures::select::{Either, select};
use embedded_io::{ErrorKind, ErrorType};
use embedded_io_async::{Read, Write};
use umqtt::{
    Event, Instant, ProtocolError, Publisher, RESPONSE_TIMEOUT, ReadFn, RequestError, Session,
    Storage, StreamedPublish,
    asynch::Sleep,
    client::Error,
    codec::{Connect, Packet, QoS},
};

/// A task that slept until an answer was due polls again after this time in ms, before an answer counts as late.
const LOOK_AGAIN: u32 = 20;

type Result<T> = core::result::Result<T, common::Error>;

fn storage() -> Storage<64, 256, 4> {
    Storage::new()
}

fn options() -> Connect<'static> {
    Connect {
        clean_session: false,
        keep_alive: Connect::NO_KEEP_ALIVE,
        ..Connect::new("me")
    }
}

/// Waits for the next event.
fn next(world: &World, client: &mut AsyncClient<'_, '_, '_>) -> Result<Seen> {
    let mut seen = Vec::new();
    while seen.is_empty() || matches!(seen.last(), Some(Seen::Part { .. })) {
        world.run(async { client.recv().await.map(|event| record(&mut seen, event)) })?;
    }
    Ok(seen.remove(0))
}

#[test]
fn each_packet_is_written_in_one_write() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    world.answer(server);
    let socket = world.dial();
    let mut client = world
        .run(AsyncClient::connect(
            &mut session,
            socket,
            &world,
            &options(),
        ))
        .unwrap();
    let nothing = |_: Event<'_>, _: &mut Publisher<'_, '_>| {};
    world.run(async {
        let codes = client
            .subscribe_and_wait(&[("a", QoS::AtMostOnce)], nothing)
            .await
            .unwrap();
        assert!(codes.all_granted());
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            client
                .publish_and_wait(&message("a", b"x", qos), nothing)
                .await
                .unwrap();
        }
        client.ping().await.unwrap();
        client.unsubscribe_and_wait(&["a"], nothing).await.unwrap();
    });
    world.run(client.disconnect()).unwrap();
    let writes = world.take_writes();
    for write in &writes {
        let (packets, rest) = packets(write);
        assert_eq!((packets.len(), rest), (1, &[][..]), "{write:?}");
    }
    // CONNECT, SUBSCRIBE, three PUBLISHes, PUBREL, PINGREQ, UNSUBSCRIBE, DISCONNECT.
    assert_eq!(writes.len(), 9);
}

#[test]
fn packets_queued_before_disconnect_are_one_write() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    world.answer(server);
    let socket = world.dial();
    let mut client = AsyncClient::open(&mut session, socket, &world, &options()).unwrap();
    client
        .session()
        .publish(&message("a", b"x", QoS::AtMostOnce))
        .unwrap();
    world.run(client.disconnect()).unwrap();
    let writes = world.take_writes();
    assert_eq!(writes.len(), 1);
    assert_eq!(packets(&writes[0]).0.len(), 3);
}

/// A call without an answer returns its error exactly when the response timeout has passed and the task has polled
/// again.
fn ends_in_time(
    expected: ProtocolError,
    prepare: impl FnOnce(&World),
    call: impl AsyncFnOnce(&mut AsyncClient<'_, '_, '_>) -> Result<()>,
) {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    // The clock wraps during the wait.
    world.run_for(u32::MAX - 5_000, core::future::pending::<()>());
    let mut client = connected(&mut session, &world, &options());
    world.run_for(300, core::future::pending::<()>());
    let start = world.millis();
    prepare(&world);
    let result = world.run(call(&mut client));
    assert_eq!(result, Err(Error::Protocol(expected)));
    assert_eq!(
        world.millis().wrapping_sub(start),
        RESPONSE_TIMEOUT + LOOK_AGAIN,
        "{expected:?}"
    );
}

/// Sends a message without an answer.
async fn write_message(client: &mut AsyncClient<'_, '_, '_>) -> Result<()> {
    client
        .publish_and_wait(&message("a", b"x", QoS::AtMostOnce), |_, _| {})
        .await
}

#[test]
fn requests_unanswered_return_timeout_errors() {
    let packet_id = packet_id(1);
    let request = ProtocolError::RequestTimeout { packet_id };
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        ends_in_time(
            request,
            |_| {},
            async |client| {
                client
                    .publish_and_wait(&message("a", b"x", qos), |_, _| {})
                    .await
            },
        );
    }
    ends_in_time(
        request,
        |_| {},
        async |client| {
            let filters = [("a", QoS::AtMostOnce)];
            client
                .subscribe_and_wait(&filters, |_, _| {})
                .await
                .map(|_| ())
        },
    );
    ends_in_time(
        request,
        |_| {},
        async |client| client.unsubscribe_and_wait(&["a"], |_, _| {}).await,
    );
    ends_in_time(
        request,
        |_| {},
        async |client| {
            client
                .publish(&message("a", b"x", QoS::AtLeastOnce))
                .await?;
            client.recv().await.map(|_| ())
        },
    );
    ends_in_time(
        ProtocolError::PingrespTimeout,
        |_| {},
        async |client| {
            client.ping().await?;
            client.recv().await.map(|_| ())
        },
    );
}

#[test]
fn connect_unanswered_returns_connack_timeout() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    let socket = world.dial();
    let options = options();
    let connect = AsyncClient::connect(&mut session, socket, &world, &options);
    let error = world.run(connect).err();
    assert_eq!(error, Some(Error::Protocol(ProtocolError::ConnackTimeout)));
    assert_eq!(world.millis(), RESPONSE_TIMEOUT + LOOK_AGAIN);
    assert!(world.is_dropped());
}

#[test]
fn peer_never_reads_calls_return_write_timeout() {
    let stuck = |world: &World| world.set_room(3);
    let write = ProtocolError::WriteTimeout;
    ends_in_time(write, stuck, write_message);
    ends_in_time(write, stuck, async |client| {
        client
            .publish(&message("a", b"x", QoS::AtLeastOnce))
            .await?;
        client.recv().await.map(|_| ())
    });
    // A pending event and another late answer do not change that.
    ends_in_time(write, stuck, async |client| {
        client
            .session()
            .publish(&message("a", b"x", QoS::AtLeastOnce))?;
        client.flush().await
    });
    ends_in_time(
        write,
        |world| {
            world.set_room(9);
            world.feed(&publish("in", b"x", QoS::AtLeastOnce, 7));
        },
        async |client| {
            for _ in 0..2 {
                client
                    .session()
                    .publish(&message("a", b"x", QoS::AtLeastOnce))?;
            }
            client.flush().await
        },
    );
}

/// An acknowledgement that must be sent after a payload also has its deadline.
#[test]
fn acknowledgement_after_payload_blocked_is_write_timeout() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &world, &options());
    world.feed(&publish("in", b"x", QoS::AtLeastOnce, 7));
    world.set_room(10);
    let payload = [0; 20];
    let sent = world.run(
        client.publish_slices(StreamedPublish::new("a"), &[&payload], |_, _| {
            world.set_room(15); // the whole packet has 25 bytes
        }),
    );
    assert_eq!(sent, Err(Error::Protocol(ProtocolError::WriteTimeout)));
    assert_eq!(world.millis(), RESPONSE_TIMEOUT + LOOK_AGAIN);
}

/// While an event is pending that a flush cannot deliver, no answer is late, because it may be after the event.
#[test]
fn flush_event_pending_reports_no_late_answer() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &world, &options());
    let request = message("a", b"x", QoS::AtLeastOnce);
    world.run(client.publish(&request)).unwrap();
    world.run_for(4_000, core::future::pending::<()>());
    world.feed(&publish("in", b"x", QoS::AtLeastOnce, 7));
    world.set_room(0);
    client.session().publish(&request).unwrap();
    let before = world.polls();
    let until = RESPONSE_TIMEOUT + LOOK_AGAIN - 1;
    assert_eq!(world.run_for(until, client.flush()), None);
    assert!(world.polls() - before < 10);
    let late = Error::Protocol(ProtocolError::WriteTimeout);
    assert_eq!(world.run_for(1, client.flush()), Some(Err(late)));
}

/// A transport that accepts all bytes, and never flushes them.
#[test]
fn transport_never_flushes_is_write_timeout() {
    let stuck = |world: &World| world.set_flush(Flush::Never);
    let write = ProtocolError::WriteTimeout;
    ends_in_time(write, stuck, write_message);
    ends_in_time(write, stuck, async |client| {
        client.publish(&message("a", b"x", QoS::AtMostOnce)).await?;
        client.recv().await.map(|_| ())
    });

    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &world, &options());
    stuck(&world);
    let error = world.run(client.disconnect()).err();
    assert_eq!(error, Some(Error::Protocol(write)));
    assert_eq!(world.millis(), RESPONSE_TIMEOUT + LOOK_AGAIN);
}

/// [MQTT-3.14.4-1] The async client returns the transport only after DISCONNECT was flushed.
#[test]
fn mqtt_3_14_4_1_disconnect_flush_slow_is_completed() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &world, &options());
    world.set_flush(Flush::Slow);
    client
        .session()
        .publish(&message("a", b"x", QoS::AtMostOnce))
        .unwrap();
    assert_eq!(world.run(client.disconnect()), Ok(false));
    let socket = client.into_transport();
    assert_eq!(
        world.take_sent(),
        [publish("a", b"x", QoS::AtMostOnce, 0), DISCONNECT.to_vec()].concat()
    );
    assert!(!world.is_dropped());
    drop(socket);
    assert_eq!(world.take_sent(), b"");
    // The server does not close the connection. The client does not wait longer.
    assert_eq!(world.millis(), 1_000);
}

#[test]
fn peers_with_full_buffers_do_not_deadlock() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    world.answer(server);
    let mut client = connected(&mut session, &world, &options());

    // Packets without an event are read while a flush waits.
    world.take_nothing_until_read();
    world.feed(&puback(99).repeat(200));
    client
        .session()
        .publish(&message("a", b"x", QoS::AtMostOnce))
        .unwrap();
    world.run(client.flush()).unwrap();

    // Messages are delivered. Their acknowledgements wait in the queue until the peer accepts them.
    world.take_nothing_until_read();
    for id in 1..=8 {
        world.feed(&publish("in", &[b'x'; 50], QoS::AtLeastOnce, id));
    }
    let mut messages = 0;
    let publish = message("a", b"x", QoS::AtLeastOnce);
    let count = |event: Event<'_>, _: &mut Publisher<'_, '_>| {
        messages += u32::from(matches!(event, Event::Message(_)))
    };
    world.run(client.publish_and_wait(&publish, count)).unwrap();
    assert_eq!(messages, 8);
    assert_eq!(world.millis(), 0);
}

#[test]
fn queueing_calls_transport_busy_return_at_once() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &world, &options());
    world.set_room(0);
    for _ in 0..4 {
        let message = message("a", b"x", QoS::AtLeastOnce);
        assert!(at_once(&world, client.publish(&message)).is_ok());
    }
    let full = Error::Request(RequestError::InflightFull { capacity: 4 });
    let filters = [("a", QoS::AtMostOnce)];
    assert_eq!(at_once(&world, client.subscribe(&filters)), Err(full));
    assert_eq!(at_once(&world, client.unsubscribe(&["a"])), Err(full));
    assert_eq!(at_once(&world, client.ping()), Ok(()));
    assert_eq!(at_once(&world, client.poll()), Ok(None));

    // Refused requests can be repeated: all are sent when there is room.
    world.set_room(usize::MAX);
    world.run(client.flush()).unwrap();
    assert_eq!(packets(&world.take_sent()).0.len(), 5);
}

/// Returns the result of a call that must not wait.
fn at_once<T>(world: &World, call: impl Future<Output = T>) -> T {
    match world.drive(call, |_| false) {
        Outcome::Done(output) => output,
        _ => panic!("it waits"),
    }
}

#[test]
fn keep_alive_idle_wakes_task_only_for_pings() {
    for (keep_alive, every) in [(1, 750), (60, 58_000), (65_535, 65_533_000)] {
        let (mut storage, world) = (storage(), World::new());
        let mut session = Session::new(&mut storage);
        world.answer(server);
        let options = Connect {
            keep_alive,
            ..options()
        };
        let mut client = connected(&mut session, &world, &options);
        let before = world.polls();
        for pings in 1..=5 {
            assert!(world.run_for(every - 1, client.recv()).is_none());
            assert_eq!(world.take_sent(), [], "{keep_alive} s");
            assert!(world.run_for(1, client.recv()).is_none());
            assert_eq!(world.take_sent(), PINGREQ, "{keep_alive} s, ping {pings}");
        }
        // There are two calls for each ping. A call may be polled at its beginning, for PINGREQ and for PINGRESP.
        assert!(
            world.polls() - before < 50,
            "{} polls",
            world.polls() - before
        );
    }
}

#[test]
fn keep_alive_zero_idle_client_is_never_woken() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    world.answer(server);
    let mut client = connected(&mut session, &world, &options());
    world
        .run(client.publish_and_wait(&message("a", b"x", QoS::ExactlyOnce), |_, _| {}))
        .unwrap();
    world.take_sent();
    let before = world.polls();
    assert!(world.run_for(2_000_000_000, client.recv()).is_none());
    assert_eq!(world.take_sent(), []);
    assert!(world.polls() - before < 3);
    assert_eq!(client.deadline(), None);
}

#[test]
fn publish_and_wait_passes_other_events_to_handler() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    world.answer(|packet| {
        let extra = match packet {
            Packet::Publish(_) => [
                publish("in", b"1", QoS::AtMostOnce, 0),
                publish("in", &[b'x'; 100], QoS::ExactlyOnce, 5),
            ]
            .concat(),
            _ => Vec::new(),
        };
        [extra, server(packet)].concat()
    });
    let mut client = connected(&mut session, &world, &options());
    let mut seen = Vec::new();
    let call = message("a", b"x", QoS::AtLeastOnce);
    world
        .run(client.publish_and_wait(&call, |event, _| record(&mut seen, event)))
        .unwrap();
    let long = Seen::Message {
        topic: "in".to_owned(),
        payload: vec![b'x'; 100],
        qos: QoS::ExactlyOnce,
        retain: false,
        dup: false,
    };
    assert_eq!(seen, [Seen::message("in", b"1"), long]);
}

#[test]
fn connect_refused_returns_code_and_drops_transport() {
    for code in REFUSALS {
        let (mut storage, world) = (storage(), World::new());
        let mut session = Session::new(&mut storage);
        let socket = world.dial();
        world.feed(&refused(code));
        let options = options();
        let call = AsyncClient::connect(&mut session, socket, &world, &options);
        let error = world.run(call).err();
        assert_eq!(error, Some(Error::Protocol(ProtocolError::Refused(code))));
        assert!(world.is_dropped());
    }
}

#[test]
fn lost_connection_is_reported_at_once() {
    let reset = Error::Transport(Fault(ErrorKind::ConnectionReset));
    for (cut, expected) in [(false, Error::Closed), (true, reset)] {
        let (mut storage, world) = (storage(), World::new());
        let mut session = Session::new(&mut storage);
        let mut client = connected(&mut session, &world, &options());
        assert!(matches!(
            world.drive(client.recv(), |_| false),
            Outcome::Idle
        ));
        if cut {
            world.cut()
        } else {
            world.end()
        }
        assert_eq!(next(&world, &mut client), Err(expected));
        assert_eq!(next(&world, &mut client), Err(Error::Closed));
        assert_eq!(world.run(client.flush()), Err(Error::Closed));
        assert_eq!(world.millis(), 0);
    }
}

/// One task receives, waits for another future, and publishes in between.
#[test]
fn recv_in_select_loses_no_event_between_publishes() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    world.answer(|packet| match packet {
        // Published messages are received again.
        Packet::Publish(came) => [encode(&Packet::Publish(*came)), server(packet)].concat(),
        _ => server(packet),
    });
    let mut client = connected(&mut session, &world, &options());
    let (mut ticks, mut messages, mut acknowledged) = (0, 0, 0);
    while acknowledged < 20 {
        let tick = world.sleep_until(Instant::from_millis((ticks + 1) * 500));
        let event = world.run(async {
            match select(client.recv(), tick).await {
                Either::First(event) => Some(Seen::other(event.unwrap())),
                Either::Second(()) => None,
            }
        });
        match event {
            Some(Seen::Other(text)) if text.starts_with("Message") => messages += 1,
            Some(Seen::Other(text)) if text.starts_with("Puback") => acknowledged += 1,
            Some(other) => panic!("{other:?}"),
            None => {
                ticks += 1;
                let reading = message("a", b"21.5", QoS::AtLeastOnce);
                world.run(client.publish(&reading)).unwrap();
            }
        }
    }
    assert_eq!((ticks, messages), (20, 20));
    assert_eq!(world.millis(), 10_000);
}

/// Pending reports of a connection are returned on the next one.
#[test]
fn acknowledgement_not_taken_is_reported_after_reconnect() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    world.answer(server);
    let mut client = connected(&mut session, &world, &options());
    let first = publish("a", b"x", QoS::AtLeastOnce, 1).len();
    world.set_room(first);
    for _ in 0..2 {
        client
            .session()
            .publish(&message("a", b"x", QoS::AtLeastOnce))
            .unwrap();
    }
    // The flush reads the first PUBACK, and cannot send the second PUBLISH.
    assert!(matches!(
        world.drive(client.flush(), |_| false),
        Outcome::Idle
    ));
    world.cut();
    assert!(world.run(client.flush()).is_err());
    drop(client);

    world.set_room(usize::MAX);
    let mut client = connected(&mut session, &world, &options());
    let acknowledged = [1, 2].map(|id| Seen::other(Event::Puback(packet_id(id))));
    for expected in acknowledged {
        assert_eq!(next(&world, &mut client), Ok(expected));
    }
}

/// A received answer waits after an event only until that event is taken.
#[test]
fn answer_received_after_pending_event_is_in_time() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &world, &options());
    world.run(client.ping()).unwrap();
    world.feed(&[publish("in", b"1", QoS::AtMostOnce, 0), PINGRESP.to_vec()].concat());
    world.run(client.flush()).unwrap();
    world.run_for(RESPONSE_TIMEOUT + 1, core::future::pending::<()>());
    assert_eq!(next(&world, &mut client), Ok(Seen::message("in", b"1")));
    assert!(world.run_for(1, client.recv()).is_none());
}

#[test]
fn open_connack_received_returns_connected_event() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    let socket = world.dial();
    world.feed(&connack(true));
    let mut client = AsyncClient::open(&mut session, socket, &world, &options()).unwrap();
    let connected = Event::Connected {
        session_present: true,
        unknown_session: true,
        connect_unanswered: false,
    };
    assert_eq!(next(&world, &mut client), Ok(Seen::other(connected)));
    assert!(client.session_present());
}

/// A checkpoint is due before the rest of a message that is being read.
#[test]
fn reader_checkpoint_due_returns_error_and_keeps_message() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    session.set_checkpoints(true);
    let mut client = connected(&mut session, &world, &options());
    world.run(async {
        assert!(matches!(client.recv().await, Ok(Event::CheckpointDue)));
        let mut bytes = publish("a", &[9; 300], QoS::AtMostOnce, 0);
        let rest = bytes.split_off(bytes.len() - 100);
        world.feed(&bytes);
        assert!(matches!(client.recv().await, Ok(Event::Chunk(_))));
        let kept = message("t", b"x", QoS::AtLeastOnce);
        client.publish(&kept).await.unwrap();

        let mut reader = client.payload();
        let mut buf = [0; 500];
        assert_eq!(reader.read(&mut []).await, Ok(0));
        let mut read = 0;
        while read < 200 {
            read += reader.read(&mut buf).await.unwrap();
        }
        assert_eq!(reader.read(&mut []).await, Ok(0));
        let due = Error::Request(RequestError::CheckpointDue);
        assert_eq!(reader.read(&mut buf).await, Err(due));
        drop(reader);
        assert!(matches!(client.recv().await, Ok(Event::CheckpointDue)));
        // The rest of the message was not skipped.
        world.feed(&rest);
        assert!(matches!(client.recv().await, Ok(Event::Chunk(chunk)) if chunk.offset == 200));
    });
}

/// The next call is due at once if something is queued, but not if the transport has refused it.
#[test]
fn deadline_bytes_queued_is_now_unless_transport_is_busy() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &world, &options());
    world.set_room(0);
    let zero = message("t", b"x", QoS::AtMostOnce);
    client.session().publish(&zero).unwrap();
    let now = Instant::from_millis(world.millis());
    assert_eq!(client.deadline(), Some(now));
    world.run(client.publish(&zero)).unwrap();
    let blocked_at = now.add_millis(RESPONSE_TIMEOUT);
    assert_eq!(client.deadline(), Some(blocked_at));
}

/// A source or a transport that returns `Interrupted` is tried again, although it does not wake the task.
#[test]
fn interrupted_source_and_transport_are_retried() {
    struct Interrupted<T>(T, u8);
    impl<T> Interrupted<T> {
        fn now(&mut self) -> core::result::Result<(), Fault> {
            if self.1 == 0 {
                return Ok(());
            }
            self.1 -= 1;
            Err(Fault(ErrorKind::Interrupted))
        }
    }
    impl<T> ErrorType for Interrupted<T> {
        type Error = Fault;
    }
    impl<T: Read<Error = Fault>> Read for Interrupted<T> {
        async fn read(&mut self, buf: &mut [u8]) -> core::result::Result<usize, Fault> {
            self.now()?;
            self.0.read(buf).await
        }
    }
    impl<T: Write<Error = Fault>> Write for Interrupted<T> {
        async fn write(&mut self, buf: &[u8]) -> core::result::Result<usize, Fault> {
            self.now()?;
            self.0.write(buf).await
        }
        async fn flush(&mut self) -> core::result::Result<(), Fault> {
            self.0.flush().await
        }
    }
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    world.answer(server);
    let socket = Interrupted(world.dial(), 5);
    let options = options();
    let connect = umqtt::asynch::Client::connect(&mut session, socket, &world, &options);
    let mut client = world.run(connect).unwrap();
    world.take_writes();
    let mut interrupted = false;
    let source = ReadFn(|buf: &mut [u8]| {
        interrupted = !interrupted;
        if interrupted {
            return Err(ErrorKind::Interrupted);
        }
        buf[0] = b'x';
        Ok(1)
    });
    let sent = client.publish_from(StreamedPublish::new("t"), 9, source, |_, _| {});
    assert_eq!(world.run(sent), Ok(None));
    assert_eq!(
        world.take_sent(),
        publish("t", &[b'x'; 9], QoS::AtMostOnce, 0)
    );
}

/// If a connection ends inside a payload, that is an error and not the end of the payload, in either direction.
#[test]
fn connection_closed_inside_payload_is_an_error() {
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &world, &options());
    world.run(async {
        world.feed(&publish("a", &[9; 300], QoS::AtMostOnce, 0)[..100]);
        assert!(matches!(client.recv().await, Ok(Event::Chunk(_))));
        world.end();
        let mut reader = client.payload();
        let mut buf = [0; 500];
        let ended = loop {
            match reader.read(&mut buf).await {
                Ok(n) => assert!(n > 0, "that is no end of a payload"),
                Err(error) => break error,
            }
        };
        assert_eq!(ended, Error::Closed);
    });
    drop(client);

    let mut client = connected(&mut session, &world, &options());
    world.cut();
    let source = ReadFn(|buf: &mut [u8]| Ok::<_, ErrorKind>(buf.len()));
    let sent = world.run(client.publish_from(StreamedPublish::new("t"), 9, source, |_, _| {}));
    assert!(sent.is_err_and(|error| error.is_fatal()));
}

/// The end of the stream is noticed, even if a packet without an event was handled just before.
#[test]
fn stream_end_after_eventless_packet_is_reported_at_once() {
    for end in [World::end, World::cut] {
        let (mut storage, world) = (storage(), World::new());
        let mut session = Session::new(&mut storage);
        let mut client = connected(&mut session, &world, &options());
        let mut bytes = publish("t", b"", QoS::AtMostOnce, 0);
        bytes.extend(PINGRESP);
        world.feed(&bytes);
        world.run(client.recv()).unwrap();
        end(&world);
        assert!(world.run(client.recv()).unwrap_err().is_fatal());
        assert_eq!(world.millis(), 0);
    }
}

/// As with the blocking client, each read of a message that was cut returns an error.
#[test]
fn async_reader_message_cut_returns_error() {
    let message = publish("t", &[7; 42], QoS::AtLeastOnce, 5);
    for at in 10..message.len() {
        let world = World::new();
        let mut storage = Storage::<16, 64, 4>::new();
        let mut session = Session::new(&mut storage);
        let mut client = connected(&mut session, &world, &options());
        world.feed(&message[..at]);
        world.end();
        world.run(async {
            assert!(matches!(client.recv().await, Ok(Event::Chunk(_))));
            let mut reader = client.payload();
            let mut read = 0;
            let error = loop {
                match reader.read(&mut [0; 5]).await {
                    Ok(0) => panic!("cut at {at}, and complete"),
                    Ok(n) => read += n,
                    Err(error) => break error,
                }
            };
            assert_eq!(read, at - 7);
            assert!(error.is_fatal());
            let again = reader.read(&mut [0; 5]).await;
            assert_eq!(again, Err(Error::Closed));
        });
        assert!(world.take_sent().is_empty(), "no answer");
    }
}
