//! The async device: a runner that reconnects, refuses events and is shut down.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use umqtt::{
    Config, DeviceError, Ended, Event, Handled, Message, RequestError, Storage,
    asynch::{Device, DeviceState},
    client::Error,
    codec::{Connect, Packet, QoS},
};

use super::tasks::{Tasks, config, device, pause, serve, serve_all};
use crate::common::{connack, message, packets, publish, server, world::World};

const QOS1: QoS = QoS::AtLeastOnce;

/// Starts a server that records each packet, and returns the records.
fn recording_server(world: &World) -> Rc<RefCell<Vec<String>>> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&seen);
    let mut connections = 0;
    world.answer(move |packet| {
        let name = match packet {
            Packet::Publish(publish) => format!("publish {}", publish.topic.as_str()),
            Packet::Subscribe(_) => "subscribe".to_owned(),
            packet => format!("{:?}", packet.packet_type()).to_lowercase(),
        };
        noted.borrow_mut().push(name);
        match packet {
            Packet::Connect(_) => {
                connections += 1;
                connack(connections > 1)
            }
            packet => server(packet),
        }
    });
    seen
}

#[test]
fn message_published_offline_is_sent_after_subscriptions() {
    let world = World::new();
    let seen = recording_server(&world);
    let mut storage = Storage::<256, 512, 4>::new();
    let mut device: Device<'_, &World> =
        Device::new(&mut storage, &world, &config(&[("in/#", QOS1)])).unwrap();
    let (mqtt, mut runner) = device.split();
    assert_eq!(mqtt.state(), DeviceState::Offline);
    let offline = mqtt.try_publish(&message("1", b"", QoS::ExactlyOnce));
    assert!(offline.unwrap().is_some());
    let mut tasks = Tasks::new();
    tasks.spawn(serve_all(&world, &mut runner));
    tasks.spawn(async {
        mqtt.subscribed().await.unwrap();
        assert_eq!(mqtt.state(), DeviceState::Connected);
        mqtt.publish_and_wait(&message("2", b"", QOS1))
            .await
            .unwrap();
        mqtt.publish_and_wait(&Message::new("3", b""))
            .await
            .unwrap();
        mqtt.shut_down();
    });
    world.run(&mut tasks);
    let expected = [
        "connect",
        "subscribe",
        "publish 1",
        "pubrel",
        "publish 2",
        "publish 3",
        "disconnect",
    ];
    assert_eq!(*seen.borrow(), expected);
}

/// A message that the handler postpones is not acknowledged, nothing more is read, and keep alive continues. After
/// resume, the handler is given the same message.
#[test]
fn refused_message_is_delivered_again_after_resume() {
    let world = World::new();
    let seen = recording_server(&world);
    let mut storage = Storage::<256, 512, 4>::new();
    let with_keep_alive = Config {
        connect: Connect {
            keep_alive: 10,
            ..config(&[]).connect
        },
        subscriptions: &[],
    };
    let mut device: Device<'_, &World> =
        Device::new(&mut storage, &world, &with_keep_alive).unwrap();
    let (mqtt, mut runner) = device.split();
    let has_room = Cell::new(false);
    let given = RefCell::new(Vec::new());
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        serve(&world, &mut runner, |event, _| {
            if let Event::Message(message) = event {
                given.borrow_mut().push(message.topic.to_owned());
                if !has_room.get() {
                    return Handled::NotNow;
                }
            }
            Handled::Done
        })
        .await;
    });
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        world.feed(&publish("a", b"", QOS1, 1));
        pause(&world, 1).await;
        world.feed(&publish("b", b"", QOS1, 2));
        pause(&world, 60_000).await;
        assert_eq!(*given.borrow(), ["a"]);
        assert!(world.unread() > 0, "nothing more is read");
        {
            let seen = seen.borrow();
            let pings = seen.iter().filter(|name| *name == "pingreq").count();
            assert!((5..20).contains(&pings), "{seen:?}");
            assert!(!seen.contains(&"puback".to_owned()));
        }
        // The event is refused once more.
        mqtt.resume();
        pause(&world, 1).await;
        assert_eq!(*given.borrow(), ["a", "a"]);
        has_room.set(true);
        mqtt.resume();
        pause(&world, 1).await;
        mqtt.shut_down();
    });
    let before = world.polls();
    world.run(&mut tasks);
    assert!(world.polls() - before < 100, "{} polls", world.polls());
    drop(tasks);
    assert_eq!(*given.borrow(), ["a", "a", "a", "b"]);
    let acknowledged = seen
        .borrow()
        .iter()
        .filter(|name| *name == "puback")
        .count();
    assert_eq!(acknowledged, 2);
}

/// If the transport fails while an event is postponed, the runner does not poll without end. The message is reported
/// before the end of the connection.
#[test]
fn failure_while_message_is_refused_is_reported_after_resume() {
    let world = World::new();
    recording_server(&world);
    let mut storage = Storage::<256, 512, 4>::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    let given = Cell::new(0);
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        let ended = runner
            .run(world.dial(), |event, _| {
                if let Event::Message(_) = event {
                    given.set(given.get() + 1);
                    if given.get() == 1 {
                        return Handled::NotNow;
                    }
                }
                Handled::Done
            })
            .await;
        assert!(
            matches!(
                ended,
                Ended::Lost {
                    error: Error::Transport(_),
                    ..
                }
            ),
            "{ended:?}"
        );
    });
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        world.feed(&publish("a", b"", QOS1, 1));
        pause(&world, 1).await;
        world.cut();
        mqtt.publish(&message("b", b"", QOS1)).await.unwrap();
        pause(&world, 60_000).await;
        assert_eq!(given.get(), 1);
        mqtt.resume();
    });
    world.run(&mut tasks);
    assert!(world.polls() < 100, "{} polls", world.polls());
    drop(tasks);
    assert_eq!(given.get(), 2);
}

/// The handler postpones a chunk of a message, or skips the rest of the message.
#[test]
fn refused_chunk_is_repeated_and_skipped_rest_acknowledged() {
    for answer in [Handled::NotNow, Handled::SkipRest] {
        let world = World::new();
        let seen = recording_server(&world);
        let mut storage = Storage::<64, 256, 4>::new();
        let mut device = device(&mut storage, &world);
        let (mqtt, mut runner) = device.split();
        let offsets = RefCell::new(Vec::new());
        let has_refused = Cell::new(false);
        let mut tasks = Tasks::new();
        tasks.spawn(async {
            serve(&world, &mut runner, |event, _| match event {
                Event::Chunk(chunk) => {
                    offsets.borrow_mut().push(chunk.offset);
                    if chunk.offset > 0 && !has_refused.replace(true) {
                        return answer;
                    }
                    Handled::Done
                }
                _ => Handled::Done,
            })
            .await;
        });
        tasks.spawn(async {
            mqtt.connected().await.unwrap();
            world.feed(&publish("a", &[7; 200], QOS1, 1));
            pause(&world, 1).await;
            if answer == Handled::NotNow {
                assert_eq!(offsets.borrow().len(), 2);
                assert!(!seen.borrow().contains(&"puback".to_owned()));
                mqtt.resume();
            }
            pause(&world, 1).await;
            mqtt.shut_down();
        });
        world.run(&mut tasks);
        drop(tasks);
        assert!(seen.borrow().contains(&"puback".to_owned()), "{answer:?}");
        let offsets = offsets.borrow();
        if answer == Handled::NotNow {
            assert_eq!(offsets[1], offsets[2], "the same chunk again");
        } else {
            assert_eq!(offsets.len(), 2);
        }
    }
}

/// A postponed message is not a change of the session, so it makes no checkpoint due.
#[test]
fn postponed_message_is_repeated_without_checkpoint() {
    let world = World::new();
    let mut storage = Storage::<256, 512, 2>::new();
    world.answer(server);
    let mut device = device(&mut storage, &world);
    device.session().set_checkpoints(true);
    let (mqtt, mut runner) = device.split();
    let seen = RefCell::new(Vec::new());
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        serve(&world, &mut runner, |event, _| {
            match event {
                Event::CheckpointDue => seen.borrow_mut().push("checkpoint"),
                Event::Message(_) => {
                    seen.borrow_mut().push("message");
                    return Handled::NotNow;
                }
                _ => {}
            }
            Handled::Done
        })
        .await;
    });
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        pause(&world, 1).await;
        seen.borrow_mut().clear();
        world.feed(&publish("a", b"", QoS::AtMostOnce, 0));
        pause(&world, 1).await;
        mqtt.resume();
        pause(&world, 1).await;
        mqtt.shut_down();
    });
    world.run(&mut tasks);
    drop(tasks);
    let seen = seen.borrow();
    assert!(seen.len() > 1 && !seen.contains(&"checkpoint"), "{seen:?}");
}

/// The handler postpones a checkpoint until a task saves. A save without the latest change does not count.
#[test]
fn checkpoint_postponed_ends_with_save_of_all_changes() {
    let world = World::new();
    let seen = recording_server(&world);
    let mut storage = Storage::<256, 512, 2>::new();
    let mut device = device(&mut storage, &world);
    device.session().set_checkpoints(true);
    let (mqtt, mut runner) = device.split();
    let asked = Cell::new(0);
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        serve(&world, &mut runner, |event, _| {
            if let Event::CheckpointDue = event {
                asked.set(asked.get() + 1);
                return Handled::NotNow;
            }
            Handled::Done
        })
        .await;
    });
    tasks.spawn(async {
        let mut image = [0; 2_000];
        let mut save = || mqtt.save(&mut image).unwrap().generation;
        mqtt.connected().await.unwrap();
        pause(&world, 1).await;
        mqtt.saved(save()).unwrap();
        pause(&world, 1).await;
        let before = asked.get();
        mqtt.publish(&message("1", b"", QOS1)).await.unwrap();
        pause(&world, 1).await;
        assert_eq!(asked.get(), before + 1);
        assert!(!seen.borrow().contains(&"publish 1".to_owned()));
        let old = save();
        mqtt.publish(&message("2", b"", QOS1)).await.unwrap();
        // Only a save can make room.
        let full = mqtt.publish(&message("3", b"", QOS1)).await;
        assert_eq!(full, Err(DeviceError::Request(RequestError::CheckpointDue)));
        mqtt.saved(old).unwrap();
        pause(&world, 1).await;
        assert!(
            !seen.borrow().contains(&"publish 1".to_owned()),
            "the save is too old"
        );
        while !seen.borrow().contains(&"publish 2".to_owned()) {
            mqtt.saved(save()).unwrap();
            pause(&world, 1).await;
        }
        mqtt.shut_down();
    });
    world.run(&mut tasks);
}

/// If a checkpoint is postponed, a task that waits for room receives an error, because only a save can make room.
#[test]
fn task_waiting_for_room_checkpoint_refused_returns_error() {
    let world = World::new();
    recording_server(&world);
    let mut storage = Storage::<256, 512, 1>::new();
    let mut device = device(&mut storage, &world);
    device.session().set_checkpoints(true);
    let (mqtt, mut runner) = device.split();
    let mut tasks = Tasks::new();
    mqtt.try_publish(&message("0", b"", QOS1)).unwrap();
    for _ in 0..3 {
        tasks.spawn(async {
            let full = mqtt.publish(&message("1", b"", QOS1)).await;
            assert_eq!(full, Err(DeviceError::Request(RequestError::CheckpointDue)));
        });
    }
    tasks.spawn(async {
        pause(&world, 10).await;
        mqtt.shut_down();
    });
    tasks.spawn(async {
        let refuse = |event: Event<'_>, _: &mut umqtt::Publisher<'_, '_>| match event {
            Event::CheckpointDue => Handled::NotNow,
            _ => Handled::Done,
        };
        serve(&world, &mut runner, refuse).await;
    });
    world.run(&mut tasks);
}

/// The device is shut down at each point: `run` ends, and so does every call that waits.
#[test]
fn shut_down_at_any_point_ends_all_calls() {
    for at in [
        "offline",
        "connecting",
        "connected",
        "refused",
        "refused chunk at QoS 1",
        "refused chunk at QoS 2",
        "payload",
        "waiting",
    ] {
        let world = World::new();
        let seen = recording_server(&world);
        if at == "connecting" || at == "waiting" {
            let mut is_first = true;
            let connecting = at == "connecting";
            world.answer(move |_| {
                if core::mem::take(&mut is_first) && !connecting {
                    connack(false)
                } else {
                    Vec::new()
                }
            });
        }
        let mut storage = Storage::<256, 256, 1>::new();
        let mut device = device(&mut storage, &world);
        let (mqtt, mut runner) = device.split();
        let payload = [5; 150];
        let mut tasks = Tasks::new();
        tasks.spawn(async {
            if at == "offline" {
                pause(&world, 100).await;
            }
            let ended = runner
                .run(world.dial(), |event, _| match event {
                    Event::Message(_) | Event::Chunk(_) => Handled::NotNow,
                    _ => Handled::Done,
                })
                .await;
            let is_expected = match at {
                // The server did not accept the connection before it saw DISCONNECT.
                "connecting" => matches!(
                    ended,
                    Ended::Lost {
                        connected_for: 0,
                        ..
                    }
                ),
                _ => ended == Ended::Shutdown,
            };
            assert!(is_expected, "{at}: {ended:?}");
            let again = runner.run(world.dial(), |_, _| {}).await;
            assert_eq!(again, Ended::Shutdown, "{at}");
        });
        tasks.spawn(async {
            if at == "payload" || at.starts_with("refused") {
                mqtt.connected().await.unwrap();
            }
            if at == "refused" {
                world.feed(&publish("in", b"", QOS1, 1));
            }
            if at.starts_with("refused chunk") {
                let qos = if at.ends_with('1') {
                    QOS1
                } else {
                    QoS::ExactlyOnce
                };
                world.feed(&publish("in", &[0; 300], qos, 1));
                pause(&world, 10).await;
                // The rest is skipped before DISCONNECT is written.
                world.set_room(0);
            }
            if at == "payload" {
                world.set_room(50);
            }
            pause(&world, 10).await;
            mqtt.shut_down();
            mqtt.shut_down();
            assert_eq!(mqtt.state(), DeviceState::ShutDown);
            pause(&world, 10).await;
            world.set_room(usize::MAX);
            assert_eq!(mqtt.connected().await, Err(DeviceError::ShutDown));
            let late = mqtt.publish(&message("late", b"", QOS1)).await;
            assert_eq!(late, Err(DeviceError::ShutDown));
        });
        if at == "payload" {
            tasks.spawn(async {
                mqtt.connected().await.unwrap();
                let long = umqtt::StreamedPublish::new("long");
                mqtt.publish_slices(long, &[&payload]).await.unwrap();
            });
        }
        if at == "waiting" || at == "offline" {
            for _ in 0..2 {
                tasks.spawn(async {
                    let published = mqtt.publish_and_wait(&message("a", b"", QOS1)).await;
                    assert_eq!(published, Err(DeviceError::ShutDown), "{at}");
                });
            }
        }
        world.run(&mut tasks);
        drop(tasks);
        let is_answer = |name: &String| name == "puback" || name == "pubrec";
        let answered = seen.borrow().iter().any(is_answer);
        assert!(!answered, "a message that was refused is not acknowledged");
    }
}

/// Dropping the runner ends every waiting call.
#[test]
fn runner_dropped_ends_waiting_calls() {
    let world = World::new();
    let mut storage = Storage::<256, 256, 1>::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    let gone = DeviceError::RunnerGone;
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        assert_eq!(
            mqtt.publish_and_wait(&message("a", b"", QOS1)).await,
            Err(gone)
        );
    });
    tasks.spawn(async {
        assert_eq!(mqtt.publish(&message("a", b"", QOS1)).await, Err(gone));
    });
    tasks.spawn(async {
        assert_eq!(mqtt.connected().await, Err(gone));
        assert_eq!(mqtt.subscribed().await, Err(gone));
    });
    tasks.spawn(async {
        let running = runner.run(world.dial(), |_, _| {});
        let waited = embassy_futures::select::select(running, pause(&world, 10)).await;
        assert!(matches!(
            waited,
            embassy_futures::select::Either::Second(())
        ));
        pause(&world, 10).await;
        drop(runner);
    });
    world.run(&mut tasks);
    assert_eq!(mqtt.state(), DeviceState::RunnerGone);
}

/// If the runner is dropped after its device was shut down, the state remains `ShutDown`.
#[test]
fn runner_dropped_after_shut_down_keeps_state() {
    let world = World::new();
    let mut storage = Storage::<256, 256, 1>::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    world.feed(&connack(false));
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        assert_eq!(
            mqtt.publish_and_wait(&message("a", b"", QOS1)).await,
            Err(DeviceError::ShutDown)
        );
    });
    tasks.spawn(async {
        mqtt.shut_down();
        // The server does not acknowledge, and does not close.
        let running = runner.run(world.dial(), |_, _| {});
        embassy_futures::select::select(running, pause(&world, 10)).await;
        drop(runner);
    });
    world.run(&mut tasks);
    drop(tasks);
    assert_eq!(mqtt.state(), DeviceState::ShutDown);
    assert_eq!(world.run(mqtt.connected()), Err(DeviceError::ShutDown));
}

/// `run` is dropped at each of its polls and begun again. A queued message is still delivered.
#[test]
fn run_dropped_at_any_poll_loses_nothing() {
    for qos in [QOS1, QoS::ExactlyOnce] {
        for polls in 1..12 {
            let world = World::new();
            let seen = recording_server(&world);
            let mut storage = Storage::<256, 256, 2>::new();
            let mut device: Device<'_, &World> =
                Device::new(&mut storage, &world, &config(&[("in", QOS1)])).unwrap();
            let (mqtt, mut runner) = device.split();
            let mut tasks = Tasks::new();
            tasks.spawn(async {
                mqtt.publish_and_wait(&message("a", b"", qos))
                    .await
                    .unwrap();
                mqtt.shut_down();
            });
            tasks.spawn(async {
                {
                    let mut running = Box::pin(runner.run(world.dial(), |_, _| {}));
                    let mut left = polls;
                    core::future::poll_fn(|cx| {
                        left -= 1;
                        let ended = running.as_mut().poll(cx).is_ready();
                        if left == 0 || ended {
                            return core::task::Poll::Ready(());
                        }
                        core::task::Poll::Pending
                    })
                    .await;
                }
                serve(&world, &mut runner, |_, _| {}).await;
            });
            world.run(&mut tasks);
            drop(tasks);
            let published = seen
                .borrow()
                .iter()
                .filter(|name| *name == "publish a")
                .count();
            assert!((1..=2).contains(&published), "{polls}: {published}");
        }
    }
}

/// The CONNECT of one connection may have other credentials, but not another client id.
#[test]
fn run_other_credentials_connect_other_client_id_is_refused() {
    let world = World::new();
    let users = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&users);
    world.answer(move |packet| {
        if let Packet::Connect(connect) = packet {
            let user = connect
                .credentials
                .map(|credentials| credentials.user_name.to_owned());
            noted.borrow_mut().push(user);
        }
        server(packet)
    });
    let mut storage = Storage::<256, 256, 2>::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        let own = config(&[]).connect;
        let other = Connect {
            client_id: "other",
            ..own
        };
        let ended = runner.run_with(&other, world.dial(), |_, _| {}).await;
        let mismatch = Error::Request(RequestError::ClientIdMismatch);
        assert_eq!(
            ended,
            Ended::Lost {
                error: mismatch,
                connected_for: 0
            }
        );
        let renewed = Connect {
            credentials: Some(umqtt::codec::Credentials {
                user_name: "new",
                password: None,
            }),
            ..own
        };
        let ended = runner.run_with(&renewed, world.dial(), |_, _| {}).await;
        assert_eq!(ended, Ended::Shutdown);
    });
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        mqtt.shut_down();
    });
    world.run(&mut tasks);
    assert_eq!(*users.borrow(), [Some("new".to_owned())]);
}

/// If a publish is dropped at any of its polls, its message is sent at most once. The place that the call took among
/// the waiting calls is free again.
#[test]
fn publish_dropped_at_any_poll_frees_its_place() {
    for polls in 0..6 {
        let world = World::new();
        let seen = recording_server(&world);
        let mut storage = Storage::<256, 256, 1>::new();
        let mut device: Device<'_, &World, 1> =
            Device::new(&mut storage, &world, &config(&[])).unwrap();
        let (mqtt, mut runner) = device.split();
        let completed = Cell::new(0);
        let mut tasks = Tasks::new();
        tasks.spawn(async {
            mqtt.publish(&message("first", b"", QOS1)).await.unwrap();
            let dropped = message("dropped", b"", QOS1);
            let mut call = Box::pin(mqtt.publish_and_wait(&dropped));
            let mut left = polls;
            core::future::poll_fn(|cx| {
                if left == 0 {
                    return core::task::Poll::Ready(());
                }
                left -= 1;
                call.as_mut().poll(cx).map(drop)
            })
            .await;
            drop(call);
            mqtt.publish_and_wait(&message("last", b"", QOS1))
                .await
                .unwrap();
            mqtt.shut_down();
        });
        tasks.spawn(async {
            serve(&world, &mut runner, |event, _| {
                if let Event::Puback(_) = event {
                    completed.set(completed.get() + 1);
                }
            })
            .await;
        });
        world.run(&mut tasks);
        drop(tasks);
        let count = |topic: &str| seen.borrow().iter().filter(|name| *name == topic).count();
        let dropped = count("publish dropped");
        assert!(dropped <= 1);
        assert_eq!((count("publish first"), count("publish last")), (1, 1));
        // If no call waits for a request, the handler receives its end. The dropped call may have received that of its
        // own request before.
        assert!((1..=1 + dropped).contains(&completed.get()), "{polls}");
    }
}

#[test]
fn handler_answer_with_received_payload_is_sent() {
    let world = World::new();
    world.answer(server);
    let mut storage = Storage::<256, 512, 4>::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        serve(&world, &mut runner, |event, publisher| {
            if let Event::Message(received) = event {
                publisher
                    .publish(&Message::new("answer", received.payload))
                    .unwrap();
            }
        })
        .await;
    });
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        world.take_sent();
        world.feed(&publish("in", b"payload", QOS1, 7));
        pause(&world, 1).await;
        let sent = world.take_sent();
        let expected = publish("answer", b"payload", QoS::AtMostOnce, 0);
        assert!(sent.windows(expected.len()).any(|bytes| bytes == expected));
        assert_eq!(packets(&sent).0.len(), 2, "and the acknowledgement");
        mqtt.shut_down();
    });
    world.run(&mut tasks);
}
