//! Payloads of the handles of an async device: other tasks continue, and every end is reported.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use embedded_io::ErrorKind;
use embedded_io_async::Read;
use umqtt::{
    DeviceError, Ended, Event, Message, ProtocolError, RequestError, Storage, StreamedPublish,
    codec::{Packet, QoS},
};

use super::tasks::{Tasks, device, pause, serve, serve_all};
use crate::common::{
    Fault, connack, message, packet_id, publish, server,
    world::{NetworkFaults, World},
};

const QOS1: QoS = QoS::AtLeastOnce;
const ALL: [QoS; 3] = [QoS::AtMostOnce, QOS1, QoS::ExactlyOnce];

fn new(topic: &str, qos: QoS) -> StreamedPublish<'_> {
    StreamedPublish::New {
        topic,
        qos,
        retain: false,
    }
}

/// Topic and payload of the messages that a peer has received.
type Messages = Rc<RefCell<Vec<(String, Vec<u8>)>>>;

/// Starts a server that records messages and keeps the session.
fn recording_server(world: &World) -> Messages {
    let messages = Messages::default();
    let noted = Rc::clone(&messages);
    let mut connections = 0;
    world.answer(move |packet| match packet {
        Packet::Connect(_) => {
            connections += 1;
            connack(connections > 1)
        }
        Packet::Publish(publish) => {
            let topic = publish.topic.as_str().to_owned();
            noted.borrow_mut().push((topic, publish.payload.to_vec()));
            server(packet)
        }
        packet => server(packet),
    });
    messages
}

/// Closes the connection after this time in ms. The next one accepts all bytes.
async fn cut_after(world: &World, millis: u32) {
    pause(world, millis).await;
    world.cut();
    world.set_room(usize::MAX);
}

/// Returns a payload: `first`, and bytes that count up from it.
fn bytes(len: usize, first: u8) -> Vec<u8> {
    (0..len).map(|at| first.wrapping_add(at as u8)).collect()
}

/// A reader that yields at most `most` bytes at once.
struct Source<'b> {
    rest: &'b [u8],
    most: usize,
    end: End,
}

impl<'b> Source<'b> {
    fn new(rest: &'b [u8], end: End) -> Self {
        Self {
            rest,
            most: 64,
            end,
        }
    }
}

/// The behaviour of a [`Source`] at its end.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Eof,
    Fails,
    IsSilent,
}

impl embedded_io::ErrorType for Source<'_> {
    type Error = Fault;
}

impl Read for Source<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        let n = self.most.min(buf.len()).min(self.rest.len());
        if n == 0 {
            match self.end {
                End::Eof => return Ok(0),
                End::Fails => return Err(Fault(ErrorKind::InvalidData)),
                End::IsSilent => core::future::pending::<()>().await,
            }
        }
        let (read, rest) = self.rest.split_at(n);
        buf[..n].copy_from_slice(read);
        self.rest = rest;
        Ok(n)
    }
}

/// Payloads of all sizes are sent while other tasks publish, and while messages are received and answered. Several tasks
/// with payloads take turns.
#[test]
fn payloads_of_all_sizes_arrive_while_others_publish() {
    for (seed, len) in [0, 1, 63, 64, 65, 300, 5_000].into_iter().enumerate() {
        for qos in ALL {
            let world = World::with(
                seed as u64,
                NetworkFaults {
                    pauses: 30,
                    most: 50,
                },
            );
            let messages = recording_server(&world);
            let mut storage = Storage::<256, 256, 4>::new();
            let mut device = device(&mut storage, &world);
            let (mqtt, mut runner) = device.split();
            let payload = bytes(len, 1);
            let (half, rest) = payload.split_at(len / 2);
            let slices = [half, &[], rest];
            let received = Cell::new(0);
            let received_inside = Cell::new(0);
            let answered = Cell::new(0);
            let payloads_left = Cell::new(2);
            let left = Cell::new(4);
            let feed = || world.feed(&publish("in", b"x", QoS::AtMostOnce, 0));
            let done = || {
                left.set(left.get() - 1);
                if left.get() == 0 {
                    mqtt.shut_down();
                }
            };
            let mut tasks = Tasks::with_seed(seed as u64);
            tasks.spawn(async {
                mqtt.connected().await.unwrap();
                mqtt.publish_slices(new("slices", qos), &slices)
                    .await
                    .unwrap();
                payloads_left.set(payloads_left.get() - 1);
                done();
            });
            tasks.spawn(async {
                mqtt.connected().await.unwrap();
                let most = if len > 300 { 64 } else { 7 };
                let source = Source {
                    rest: &payload,
                    most,
                    end: End::Eof,
                };
                mqtt.publish_from(new("reader", qos), len, source)
                    .await
                    .unwrap();
                payloads_left.set(payloads_left.get() - 1);
                done();
            });
            tasks.spawn(async {
                for _ in 0..10 {
                    mqtt.publish_and_wait(&message("small", b"s", QOS1))
                        .await
                        .unwrap();
                }
                done();
            });
            tasks.spawn(async {
                mqtt.connected().await.unwrap();
                feed();
                while received.get() < 5 {
                    pause(&world, 1).await;
                }
                done();
            });
            tasks.spawn(async {
                serve(&world, &mut runner, |event, publisher| {
                    if let Event::Message(_) = event {
                        received.set(received.get() + 1);
                        if received.get() < 5 {
                            feed();
                        }
                        if payloads_left.get() > 0 {
                            received_inside.set(received_inside.get() + 1);
                        }
                        let answer = publisher.publish(&Message::new("answer", b""));
                        answered.set(answered.get() + usize::from(answer.is_ok()));
                    }
                })
                .await;
            });
            world.run(&mut tasks);
            drop(tasks);
            let messages = messages.borrow();
            let of = |topic: &str| -> Vec<_> {
                messages
                    .iter()
                    .filter(|seen| seen.0 == topic)
                    .map(|seen| seen.1.clone())
                    .collect()
            };
            assert_eq!(
                of("slices"),
                std::slice::from_ref(&payload),
                "{len} {qos:?}"
            );
            assert_eq!(
                of("reader"),
                std::slice::from_ref(&payload),
                "{len} {qos:?}"
            );
            assert_eq!(of("small").len(), 10);
            if len >= 300 {
                assert_eq!(received_inside.get(), 5, "{qos:?}");
            }
            assert_eq!((received.get(), answered.get()), (5, 5));
            assert_eq!(of("answer").len(), 5);
        }
    }
}

/// A connection ends at each byte of a payload. Slices are sent again, a reader's message is discarded, and nothing
/// blocks the messages after it.
#[test]
fn payload_cut_at_any_byte_returns_reason() {
    for qos in ALL {
        for (room, from_reader) in (0..170).flat_map(|room| [(room, false), (room, true)]) {
            let world = World::new();
            let messages = recording_server(&world);
            let mut storage = Storage::<256, 256, 4>::new();
            let mut device = device(&mut storage, &world);
            let (mqtt, mut runner) = device.split();
            let payload = bytes(150, 3);
            let result = Cell::new(None);
            let mut tasks = Tasks::new();
            tasks.spawn(async {
                mqtt.connected().await.unwrap();
                world.set_room(room);
                let published = if from_reader {
                    let source = Source::new(&payload, End::Eof);
                    mqtt.publish_from(new("long", qos), 150, source).await
                } else {
                    mqtt.publish_slices(new("long", qos), &[&payload]).await
                };
                result.set(Some(published));
                mqtt.connected().await.unwrap();
                mqtt.publish_and_wait(&message("after", b"", QOS1))
                    .await
                    .unwrap();
                mqtt.shut_down();
            });
            tasks.spawn(cut_after(&world, 100));
            tasks.spawn(serve_all(&world, &mut runner));
            world.run(&mut tasks);
            drop(tasks);
            let messages = messages.borrow();
            let long = messages.iter().filter(|seen| seen.0 == "long").count();
            let context = format!("{qos:?} cut after {room}, reader: {from_reader}");
            match (result.get().unwrap(), qos) {
                (Ok(()), _) => assert_eq!(long, 1, "{context}"),
                (Err(DeviceError::NotWritten), QoS::AtMostOnce) => assert_eq!(long, 0, "{context}"),
                (Err(DeviceError::PayloadInterrupted), QOS1 | QoS::ExactlyOnce) if from_reader => {
                    assert_eq!(long, 0, "{context}");
                }
                (other, _) => panic!("{context}: {other:?}"),
            }
            assert_eq!(messages.last().unwrap().0, "after", "{context}");
        }
    }
}

/// The future is dropped after each of its polls. Later requests are not blocked, and no byte of another payload is
/// changed.
#[test]
fn payload_dropped_at_any_poll_keeps_others_whole() {
    for qos in ALL {
        for polls in 0..40 {
            let world = World::with(
                polls,
                NetworkFaults {
                    pauses: 30,
                    most: 40,
                },
            );
            let messages = recording_server(&world);
            let mut storage = Storage::<256, 256, 4>::new();
            let mut device = device(&mut storage, &world);
            let (mqtt, mut runner) = device.split();
            let payload = bytes(150, 3);
            let slices = [&payload[..]];
            let mut tasks = Tasks::with_seed(polls);
            tasks.spawn(async {
                mqtt.connected().await.unwrap();
                let mut dropped = Box::pin(mqtt.publish_slices(new("dropped", qos), &slices));
                let mut left = polls;
                core::future::poll_fn(|cx| {
                    if left == 0 {
                        return core::task::Poll::Ready(());
                    }
                    left -= 1;
                    dropped.as_mut().poll(cx).map(drop)
                })
                .await;
                drop(dropped);
                let kept = mqtt.publish_slices(new("kept", QOS1), &[&payload]).await;
                if kept == Err(DeviceError::Request(RequestError::NotConnected)) {
                    mqtt.connected().await.unwrap();
                    mqtt.publish_slices(new("kept", QOS1), &[&payload])
                        .await
                        .unwrap();
                }
                mqtt.shut_down();
            });
            tasks.spawn(async {
                serve(&world, &mut runner, |event, _| {
                    assert!(!matches!(event, Event::PayloadNeeded(_)), "{event}");
                })
                .await;
            });
            world.run(&mut tasks);
            drop(tasks);
            for (topic, seen) in &*messages.borrow() {
                assert_eq!(*seen, payload, "{topic} dropped after {polls}");
            }
            assert!(messages.borrow().iter().any(|seen| seen.0 == "kept"));
        }
    }
}

/// The call is dropped when its whole payload was sent, and the connection ends before the acknowledgement. The payload
/// cannot be provided again, so others do not wait for it.
#[test]
fn payload_dropped_after_last_byte_is_discarded_on_resend() {
    for qos in [QOS1, QoS::ExactlyOnce] {
        // The connection ends when the call waits, or after it.
        for cut_at in [10, 30] {
            let world = World::new();
            let mut connections = 0;
            world.answer(move |packet| match packet {
                Packet::Connect(_) => {
                    connections += 1;
                    connack(connections > 1)
                }
                Packet::Publish(publish) if publish.topic.as_str() == "dropped" => Vec::new(),
                packet => server(packet),
            });
            let mut storage = Storage::<256, 256, 1>::new();
            let mut device = device(&mut storage, &world);
            let (mqtt, mut runner) = device.split();
            let seen = RefCell::new(Vec::new());
            let mut tasks = Tasks::new();
            tasks.spawn(async {
                mqtt.connected().await.unwrap();
                let payload = bytes(100, 3);
                let slices = [&payload[..]];
                let call = mqtt.publish_slices(new("dropped", qos), &slices);
                embassy_futures::select::select(call, pause(&world, 20)).await;
                mqtt.publish_and_wait(&message("after", b"", qos))
                    .await
                    .unwrap();
                mqtt.shut_down();
            });
            tasks.spawn(async {
                pause(&world, cut_at).await;
                world.cut();
            });
            tasks.spawn(async {
                serve(&world, &mut runner, |event, _| {
                    seen.borrow_mut().push(event.to_string());
                })
                .await;
            });
            world.run(&mut tasks);
            drop(tasks);
            let count = |event: Event<'_>| {
                let event = event.to_string();
                seen.borrow().iter().filter(|seen| **seen == event).count()
            };
            let id = packet_id(1);
            assert_eq!(count(Event::PayloadNeeded(id)), 0);
            // At QoS 2, the id is reserved until the server has forgotten the session.
            let discarded = usize::from(qos == QOS1);
            assert_eq!(count(Event::PublishDiscarded(id)), discarded, "{seen:?}");
        }
    }
}

/// A source that ends early, fails or is silent ends the call and the connection, each with a reason.
#[test]
fn source_too_short_ends_call_with_its_error() {
    for (end, expected) in [
        (End::Eof, DeviceError::SourceEnded { missing: 80 }),
        (End::Fails, DeviceError::Source(ErrorKind::InvalidData)),
        (End::IsSilent, DeviceError::PayloadInterrupted),
    ] {
        let world = World::new();
        let messages = recording_server(&world);
        let mut storage = Storage::<256, 256, 4>::new();
        let mut device = device(&mut storage, &world);
        let (mqtt, mut runner) = device.split();
        let payload = bytes(20, 3);
        let ends = RefCell::new(Vec::new());
        let mut tasks = Tasks::new();
        tasks.spawn(async {
            mqtt.connected().await.unwrap();
            let source = Source::new(&payload, end);
            let published = mqtt.publish_from(new("long", QOS1), 100, source).await;
            assert_eq!(published, Err(expected));
            mqtt.publish_and_wait(&message("after", b"", QOS1))
                .await
                .unwrap();
            mqtt.shut_down();
        });
        tasks.spawn(async {
            *ends.borrow_mut() = serve(&world, &mut runner, |_, _| {}).await;
        });
        world.run(&mut tasks);
        drop(tasks);
        let reason = match ends.borrow()[0] {
            Ended::Lost { error, .. } => error,
            ended => panic!("{ended:?}"),
        };
        let expected = if end == End::IsSilent {
            ProtocolError::WriteTimeout
        } else {
            ProtocolError::PayloadAborted
        };
        assert_eq!(reason, umqtt::client::Error::Protocol(expected));
        assert_eq!(messages.borrow().len(), 1);
    }
}

/// A message at QoS 0 that is queued after an open payload waits for it. If the connection ends first, both calls
/// return `NotWritten`.
#[test]
fn qos0_after_open_payload_waits_for_it() {
    let world = World::new();
    recording_server(&world);
    let mut storage = Storage::<256, 256, 4>::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    let payload = bytes(20, 3);
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        let source = Source::new(&payload, End::IsSilent);
        let published = mqtt
            .publish_from(new("long", QoS::AtMostOnce), 100, source)
            .await;
        assert_eq!(published, Err(DeviceError::NotWritten));
        mqtt.shut_down();
    });
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        pause(&world, 10).await;
        let published = mqtt.publish_and_wait(&Message::new("small", b"")).await;
        assert_eq!(published, Err(DeviceError::NotWritten));
    });
    tasks.spawn(serve_all(&world, &mut runner));
    world.run(&mut tasks);
}

/// A payload that is needed again has priority over a task that waits for room, because nothing is sent before it.
#[test]
fn payload_resend_precedes_task_waiting_for_room() {
    let world = World::new();
    let messages = recording_server(&world);
    let mut storage = Storage::<256, 200, 2>::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    let payload = bytes(150, 3);
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        world.set_room(60);
        mqtt.publish_slices(new("first", QOS1), &[&payload])
            .await
            .unwrap();
    });
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        pause(&world, 5).await;
        let waited = mqtt.publish_slices(new("second", QOS1), &[&payload]).await;
        // A payload cannot be queued without a connection.
        assert_eq!(
            waited,
            Err(DeviceError::Request(RequestError::NotConnected))
        );
        mqtt.connected().await.unwrap();
        mqtt.publish_slices(new("second", QOS1), &[&payload])
            .await
            .unwrap();
        mqtt.shut_down();
    });
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        pause(&world, 10).await;
        for _ in 0..3 {
            mqtt.publish(&message("small", &[0; 60], QOS1))
                .await
                .unwrap();
        }
    });
    tasks.spawn(cut_after(&world, 100));
    tasks.spawn(serve_all(&world, &mut runner));
    world.run(&mut tasks);
    drop(tasks);
    assert_eq!(
        messages
            .borrow()
            .iter()
            .filter(|seen| seen.1 == payload)
            .count(),
        2
    );
}

/// Payloads are sent in the order of their calls, not in the order in which their tasks are polled.
#[test]
fn payloads_are_sent_in_call_order() {
    let world = World::new();
    let messages = recording_server(&world);
    let mut storage = Storage::<256, 256, 8>::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    let payload = bytes(150, 3);
    let mut tasks = Tasks::new();
    for (topic, begins_at) in [("third", 3), ("second", 2), ("first", 1)] {
        let (world, payload) = (&world, &payload);
        tasks.spawn(async move {
            mqtt.connected().await.unwrap();
            pause(world, begins_at).await;
            let slices: [&[u8]; 1] = [payload];
            mqtt.publish_slices(new(topic, QOS1), &slices)
                .await
                .unwrap();
            if topic == "third" {
                mqtt.shut_down();
            }
        });
    }
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        world.set_room(60);
        pause(&world, 100).await;
        world.set_room(usize::MAX);
    });
    tasks.spawn(serve_all(&world, &mut runner));
    world.run(&mut tasks);
    drop(tasks);
    let topics: Vec<_> = messages
        .borrow()
        .iter()
        .map(|seen| seen.0.clone())
        .collect();
    assert_eq!(topics, ["first", "second", "third"]);
}

/// The task of a payload is polled only after its connection has ended and another task has begun a payload on the
/// next. It does not change that one.
#[test]
fn payload_task_polled_late_keeps_next_payload_unchanged() {
    for (qos, is_dropped) in [
        (QOS1, false),
        (QOS1, true),
        (QoS::AtMostOnce, false),
        (QoS::AtMostOnce, true),
    ] {
        let world = World::new();
        let messages = recording_server(&world);
        let mut storage = Storage::<256, 256, 8>::new();
        let mut device = device(&mut storage, &world);
        let (mqtt, mut runner) = device.split();
        let (late_payload, payload) = (bytes(150, 3), bytes(150, 90));
        let source = Source::new(&late_payload, End::Eof);
        let mut late = Box::pin(mqtt.publish_from(new("late", qos), 150, source));
        let mut tasks = Tasks::new();
        tasks.spawn(async {
            serve(&world, &mut runner, |event, publisher| {
                if let Event::PayloadNeeded(id) = event {
                    publisher.discard_publish(id).unwrap();
                }
            })
            .await;
        });
        world.run_for(10, select_first(mqtt.connected(), &mut tasks));
        world.set_room(50);
        // It has provided a part of its payload.
        for _ in 0..3 {
            poll_once(late.as_mut());
            world.run_for(1, &mut tasks);
        }
        world.cut();
        world.run_for(500, &mut tasks);
        // The payload of its message at QoS 1 is needed again. Only this task can provide or abort it.
        if qos == QOS1 && !is_dropped {
            world.run_for(1_000, &mut tasks);
            world.set_room(usize::MAX);
            assert!(poll_once(late.as_mut()).is_some());
        }
        world.set_room(usize::MAX);
        world.run_for(1_000, &mut tasks);
        let slices: [&[u8]; 1] = [&payload];
        let mut next = Box::pin(mqtt.publish_slices(new("next", QOS1), &slices));
        world.set_room(60);
        let mut has_ended = false;
        for _ in 0..3 {
            has_ended |= poll_once(next.as_mut()).is_some();
            world.run_for(1, &mut tasks);
        }
        assert!(!has_ended);
        if is_dropped {
            drop(late);
        } else if qos == QoS::AtMostOnce {
            assert_eq!(poll_once(late.as_mut()), Some(Err(DeviceError::NotWritten)));
        }
        world.set_room(usize::MAX);
        world.run(select_first(next, &mut tasks)).unwrap();
        assert_eq!(*messages.borrow(), [("next".to_owned(), payload)]);
    }
}

fn poll_once<F: Future>(future: core::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
    match future.poll(&mut cx) {
        core::task::Poll::Ready(output) => Some(output),
        core::task::Poll::Pending => None,
    }
}

/// Runs tasks until a call of one more task returns.
async fn select_first<R>(call: impl Future<Output = R>, tasks: &mut Tasks<'_>) -> R {
    use embassy_futures::select::{Either, select};
    match select(call, tasks).await {
        Either::First(result) => result,
        Either::Second(()) => panic!("the tasks have ended"),
    }
}

/// The retain flag of a payload is that of the call.
#[test]
fn payload_retained_has_flag() {
    for retain in [false, true] {
        let world = World::new();
        let retained = Rc::new(Cell::new(None));
        let noted = Rc::clone(&retained);
        world.answer(move |packet| {
            if let Packet::Publish(publish) = packet {
                noted.set(Some(publish.retain));
            }
            server(packet)
        });
        let mut storage = Storage::<256, 512, 4>::new();
        let mut device = device(&mut storage, &world);
        let (mqtt, mut runner) = device.split();
        let mut tasks = Tasks::new();
        tasks.spawn(serve_all(&world, &mut runner));
        tasks.spawn(async {
            mqtt.connected().await.unwrap();
            let (topic, qos) = ("t", QOS1);
            let message = StreamedPublish::New { topic, qos, retain };
            mqtt.publish_slices(message, &[b"on"]).await.unwrap();
            pause(&world, 1).await;
            mqtt.shut_down();
        });
        world.run(&mut tasks);
        assert_eq!(retained.get(), Some(retain));
    }
}
