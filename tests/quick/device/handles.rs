//! Handles of an async device: waiting calls, their order, and the ends of their waits.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use umqtt::{
    Config, DeviceError, Ended, Event, Message, RequestError, Storage,
    asynch::{Device, DeviceState},
    codec::{Connect, ConnectReturnCode, Packet, QoS, SubackReturnCode},
};

use super::tasks::{Tasks, config, device, pause, serve, serve_all, serve_quiet};
use crate::common::{connack, message, publish, refused, server, suback, world::World};

const QOS1: QoS = QoS::AtLeastOnce;
const QOS2: QoS = QoS::ExactlyOnce;

/// The topics of all PUBLISHes that a peer has received.
type Topics = Rc<RefCell<Vec<String>>>;

/// Starts a server that records the topics.
fn recording_server(world: &World) -> Topics {
    let topics = Topics::default();
    let noted = Rc::clone(&topics);
    world.answer(move |packet| {
        if let Packet::Publish(publish) = packet {
            noted.borrow_mut().push(publish.topic.as_str().to_owned());
        }
        server(packet)
    });
    topics
}

/// Starts a server that accepts connections, and answers nothing else.
fn accepting_server(world: &World) {
    world.answer(|packet| match packet {
        Packet::Connect(_) => connack(true),
        _ => Vec::new(),
    });
}

/// Every task that waits for the only slot is woken, and they are served in order.
#[test]
fn publish_slots_full_waits_in_call_order() {
    for qos in [QOS1, QOS2] {
        let world = World::new();
        let topics = recording_server(&world);
        let mut storage = Storage::<256, 512, 1>::new();
        let mut device = device(&mut storage, &world);
        let (mqtt, mut runner) = device.split();
        let published = Cell::new(0);
        let mut tasks = Tasks::new();
        for name in ["a", "b", "c", "d"] {
            let published = &published;
            tasks.spawn(async move {
                mqtt.publish(&message(name, b"", qos)).await.unwrap();
                published.set(published.get() + 1);
                if published.get() == 4 {
                    mqtt.publish_and_wait(&message("last", b"", qos))
                        .await
                        .unwrap();
                    mqtt.shut_down();
                }
            });
        }
        tasks.spawn(serve_all(&world, &mut runner));
        world.run(&mut tasks);
        assert_eq!(*topics.borrow(), ["a", "b", "c", "d", "last"]);
    }
}

/// A large message that waits for room is not overtaken by a small one.
#[test]
fn small_publish_after_blocked_large_one_waits() {
    let world = World::new();
    let topics = recording_server(&world);
    let mut storage = Storage::<256, 128, 8>::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    let mut tasks = Tasks::new();
    mqtt.try_publish(&message("first", &[0; 60], QOS1)).unwrap();
    for (name, len) in [("large", 50), ("small", 1)] {
        tasks.spawn(async move {
            mqtt.publish(&message(name, &[0; 60][..len], QOS1))
                .await
                .unwrap();
            if len == 1 {
                mqtt.shut_down();
            }
        });
    }
    tasks.spawn(serve_all(&world, &mut runner));
    world.run(&mut tasks);
    assert_eq!(*topics.borrow(), ["first", "large", "small"]);
}

/// Permanent errors are returned at once: too large, or not connected.
#[test]
fn publish_permanent_error_returns_at_once() {
    let world = World::new();
    let mut storage = Storage::<256, 128, 1>::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, _runner) = device.split();
    mqtt.try_publish(&message("first", b"", QOS1)).unwrap();
    let ends = RefCell::new(Vec::new());
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        mqtt.publish(&message("waits", b"", QOS1)).await.unwrap();
    });
    tasks.spawn(async {
        let large = mqtt.publish(&message("large", &[0; 200], QOS1)).await;
        assert!(
            matches!(
                large,
                Err(DeviceError::Request(RequestError::PacketTooLarge { .. }))
            ),
            "{large:?}"
        );
        let at_qos0 = mqtt.publish(&Message::new("now", b"")).await;
        assert_eq!(
            at_qos0,
            Err(DeviceError::Request(RequestError::NotConnected))
        );
        let subscribed = mqtt.subscribe(&[("a", QOS1)]).await;
        assert_eq!(
            subscribed,
            Err(DeviceError::Request(RequestError::NotConnected))
        );
        ends.borrow_mut().push("reported");
    });
    assert_eq!(world.run_for(1_000, &mut tasks), None);
    assert_eq!(*ends.borrow(), ["reported"]);
    let second = mqtt.try_publish(&message("large", &[0; 200], QOS1));
    assert!(
        matches!(
            second,
            Err(DeviceError::Request(RequestError::PacketTooLarge { .. }))
        ),
        "{second:?}"
    );
    assert!(
        matches!(
            mqtt.try_publish(&message("small", b"", QOS1)),
            Err(DeviceError::Request(RequestError::SendBufferFull {
                free: 0,
                ..
            }))
        ),
        "others wait for room"
    );
}

#[test]
fn publish_offline_with_clean_session_1_is_rejected() {
    let world = World::new();
    let mut storage = Storage::<256, 128, 1>::new();
    let clean = Config {
        connect: Connect {
            clean_session: true,
            ..config(&[]).connect
        },
        subscriptions: &[],
    };
    let mut device: Device<'_, &World> = Device::new(&mut storage, &world, &clean).unwrap();
    let (mqtt, _runner) = device.split();
    for qos in [QoS::AtMostOnce, QOS1, QOS2] {
        let published = world.run(mqtt.publish(&message("a", b"", qos)));
        assert_eq!(
            published,
            Err(DeviceError::Request(RequestError::NotConnected))
        );
    }
}

/// A message that is discarded offline makes room for a task that waits.
#[test]
fn discard_offline_wakes_task_waiting_for_room() {
    let world = World::new();
    let mut storage = Storage::<256, 128, 8>::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, _runner) = device.split();
    let id = mqtt
        .try_publish(&message("first", &[0; 70], QOS1))
        .unwrap()
        .unwrap();
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        mqtt.publish(&message("second", &[0; 70], QOS1))
            .await
            .unwrap();
    });
    tasks.spawn(async {
        pause(&world, 10).await;
        mqtt.discard_publish(id).unwrap();
    });
    world.run(&mut tasks);
}

/// Readings that were published without a connection are received once, in order, without DUP.
#[test]
fn thousand_readings_published_offline_arrive_once_in_order() {
    for qos in [QOS1, QOS2] {
        let world = World::new();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let noted = Rc::clone(&seen);
        world.answer(move |packet| {
            if let Packet::Publish(publish) = packet {
                assert!(!publish.delivery.dup());
                noted.borrow_mut().push(publish.payload.to_vec());
            }
            server(packet)
        });
        let mut storage = Storage::<256, 20_000, 1_000>::new();
        let mut device: Device<'_, &World> =
            Device::new(&mut storage, &world, &config(&[("in", QOS1)])).unwrap();
        let (mqtt, mut runner) = device.split();
        for reading in 0..1_000_u32 {
            let published = world.run(mqtt.publish(&message("t", &reading.to_le_bytes(), qos)));
            assert!(published.unwrap().is_some());
        }
        let completed = Cell::new(0);
        let mut tasks = Tasks::new();
        tasks.spawn(async {
            serve(&world, &mut runner, |event, _| {
                if let Event::Puback(_) | Event::Pubcomp(_) = event {
                    completed.set(completed.get() + 1);
                    if completed.get() == 1_000 {
                        mqtt.shut_down();
                    }
                }
            })
            .await;
        });
        world.run(&mut tasks);
        let expected: Vec<_> = (0..1_000_u32).map(|n| n.to_le_bytes().to_vec()).collect();
        assert_eq!(*seen.borrow(), expected);
    }
}

/// The wait continues over connections that end before the acknowledgement.
#[test]
fn publish_and_wait_continues_over_reconnects() {
    for qos in [QOS1, QOS2] {
        let world = World::new();
        let connections = Rc::new(Cell::new(0));
        let counted = Rc::clone(&connections);
        world.answer(move |packet| match packet {
            Packet::Connect(_) => {
                counted.set(counted.get() + 1);
                connack(counted.get() > 1)
            }
            _ if counted.get() < 3 => Vec::new(),
            packet => server(packet),
        });
        let mut storage = Storage::<256, 512, 4>::new();
        let mut device = device(&mut storage, &world);
        let (mqtt, mut runner) = device.split();
        let ends = RefCell::new(Vec::new());
        let mut tasks = Tasks::new();
        tasks.spawn(async {
            mqtt.publish_and_wait(&message("a", b"1", qos))
                .await
                .unwrap();
            mqtt.shut_down();
        });
        tasks.spawn(async {
            *ends.borrow_mut() = serve_quiet(&world, &mut runner).await;
        });
        world.run(&mut tasks);
        assert_eq!(connections.get(), 3);
        assert_eq!(ends.borrow().len(), 3);
    }
}

/// A message at QoS 0 on a connection that is refused was not written.
#[test]
fn qos0_on_refused_connection_is_not_written() {
    let world = World::new();
    world.answer(|packet| match packet {
        Packet::Connect(_) => refused(ConnectReturnCode::BadUserNameOrPassword),
        _ => Vec::new(),
    });
    let mut storage = Storage::<256, 512, 4>::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        let ended = runner.run(world.dial(), |_, _| {}).await;
        let Ended::Lost {
            error,
            connected_for: 0,
        } = ended
        else {
            panic!("{ended:?}");
        };
        assert!(error.is_permanent(), "{error}");
        assert_eq!(mqtt.state(), DeviceState::Offline);
    });
    tasks.spawn(async {
        while mqtt.state() != DeviceState::Connecting {
            pause(&world, 1).await;
        }
        let published = mqtt.publish_and_wait(&Message::new("a", b"")).await;
        assert_eq!(published, Err(DeviceError::NotWritten));
    });
    world.set_room(0);
    let open = async {
        pause(&world, 5).await;
        world.set_room(usize::MAX);
    };
    tasks.spawn(open);
    world.run(&mut tasks);
}

#[test]
fn more_tasks_than_places_return_error() {
    let world = World::new();
    let mut storage = Storage::<256, 512, 1>::new();
    let mut device: Device<'_, &World, 2> =
        Device::new(&mut storage, &world, &config(&[])).unwrap();
    let (mqtt, runner) = device.split();
    let full = DeviceError::TooManyTasks { capacity: 2 };
    {
        let mut tasks = Tasks::new();
        for _ in 0..2 {
            tasks.spawn(async {
                mqtt.connected().await.unwrap();
            });
        }
        assert_eq!(world.run_for(10, &mut tasks), None);
        assert_eq!(world.run(mqtt.connected()), Err(full));
        assert_eq!(world.run(mqtt.subscribe(&[("a", QOS1)])), Err(full));
        assert_eq!(
            world.run(mqtt.publish_and_wait(&message("a", b"", QOS1))),
            Err(full)
        );
        // This call needs no place.
        world.run(mqtt.publish(&message("a", b"", QOS1))).unwrap();
        tasks.drop_task(1);
        assert_eq!(world.run_for(10, mqtt.connected()), None);
    }
    assert_eq!(
        world.run_for(10, mqtt.connected()),
        None,
        "every place is free again"
    );
    drop(runner);
    assert_eq!(world.run(mqtt.connected()), Err(DeviceError::RunnerGone));
}

#[test]
fn subscribe_returns_codes_and_unsubscribe_returns() {
    let world = World::new();
    world.answer(|packet| match packet {
        Packet::Subscribe(subscribe) => suback(
            subscribe.packet_id().get(),
            &[
                SubackReturnCode::Granted(QoS::AtMostOnce),
                SubackReturnCode::Failure,
            ],
        ),
        packet => server(packet),
    });
    let mut storage = Storage::<256, 512, 4>::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        serve_quiet(&world, &mut runner).await;
    });
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        let granted = mqtt.subscribe(&[("a", QOS1), ("b", QOS2)]).await.unwrap();
        assert!(!granted.all_granted());
        let codes: Vec<_> = granted.iter().collect();
        assert_eq!(
            codes,
            [
                SubackReturnCode::Granted(QoS::AtMostOnce),
                SubackReturnCode::Failure
            ]
        );
        mqtt.unsubscribe(&["a"]).await.unwrap();
        let many = [("a", QOS1); 17];
        assert_eq!(
            mqtt.subscribe(&many).await,
            Err(DeviceError::TooManyFilters { max: 16 })
        );
        mqtt.shut_down();
    });
    world.run(&mut tasks);
}

#[test]
fn subscribe_connection_closed_has_unknown_outcome() {
    let world = World::new();
    accepting_server(&world);
    let mut storage = Storage::<256, 512, 4>::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        serve_quiet(&world, &mut runner).await;
    });
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        let subscribed = mqtt.subscribe(&[("a", QOS1)]).await;
        assert_eq!(subscribed, Err(DeviceError::OutcomeUnknown));
        mqtt.connected().await.unwrap();
        let unsubscribed = mqtt.unsubscribe(&["a"]).await;
        assert_eq!(unsubscribed, Err(DeviceError::OutcomeUnknown));
        mqtt.shut_down();
    });
    tasks.spawn(async {
        for _ in 0..2 {
            pause(&world, 500).await;
            world.cut();
            pause(&world, 1_000).await;
        }
    });
    world.run(&mut tasks);
}

#[test]
fn standing_subscription_refused_ends_wait() {
    let world = World::new();
    world.answer(|packet| match packet {
        Packet::Subscribe(subscribe) => {
            suback(subscribe.packet_id().get(), &[SubackReturnCode::Failure])
        }
        packet => server(packet),
    });
    let mut storage = Storage::<256, 512, 4>::new();
    let mut device: Device<'_, &World> =
        Device::new(&mut storage, &world, &config(&[("secret", QOS1)])).unwrap();
    let (mqtt, mut runner) = device.split();
    let was_reported = Cell::new(false);
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        serve(&world, &mut runner, |event, _| {
            if let Event::Subscribed { codes, .. } = event {
                assert!(!codes.all_granted());
                was_reported.set(true);
            }
        })
        .await;
    });
    tasks.spawn(async {
        assert_eq!(
            mqtt.subscribed().await,
            Err(DeviceError::SubscriptionRefused)
        );
        mqtt.shut_down();
        assert_eq!(
            mqtt.subscribed().await,
            Err(DeviceError::SubscriptionRefused)
        );
    });
    world.run(&mut tasks);
    assert!(was_reported.get());
}

/// Calls inside a handler return an error. The publisher of the handler has the same functions.
#[test]
fn call_inside_handler_is_rejected() {
    let world = World::new();
    let topics = recording_server(&world);
    let mut storage = Storage::<256, 512, 4>::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        serve(&world, &mut runner, |event, publisher| {
            if let Event::Message(received) = event {
                let within = mqtt.try_publish(&Message::new("a", b""));
                assert_eq!(within, Err(DeviceError::InHandler));
                assert_eq!(mqtt.save(&mut []).err(), Some(DeviceError::InHandler));
                publisher
                    .publish(&Message::new("answer", received.payload))
                    .unwrap();
                mqtt.shut_down();
            }
        })
        .await;
    });
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        world.feed(&publish("in", b"payload", QoS::AtMostOnce, 0));
    });
    world.run(&mut tasks);
    assert_eq!(*topics.borrow(), ["answer"]);
}
