//! Single properties of both devices: text, granted QoS, deadlines, results of handlers, ends of connections.

use std::cell::{Cell, RefCell};

use embedded_io::ErrorKind;
use umqtt::{
    DeviceError, Event, Handled, Message, ProtocolError, RequestError, Storage, StreamedPublish,
    asynch::{self, DeviceState},
    blocking::Device,
    client::Error,
    codec::{ConnectReturnCode, Packet, QoS, SubackReturnCode},
};

use super::tasks::{Tasks, config, device, pause, serve, serve_all};
use crate::{
    common::{
        Fault, Network, Step, Transport, dup, message, packets, publish, refused, server,
        world::World,
    },
    wire::{TOPIC, TestSession, streamed},
};

const QOS1: QoS = QoS::AtLeastOnce;

type Memory = Storage<256, 256, 4>;

/// Creates a blocking device and connects it.
fn connected<'d, 'n>(
    storage: &'d mut Memory,
    network: &'n Network,
) -> Device<'d, Transport, &'n Network> {
    let mut device = Device::new(storage, network, &config(&[])).unwrap();
    device.connect(network.transport()).unwrap();
    device.serve(10, |_, _| {}).unwrap();
    device
}

#[test]
fn debug_output_has_names_and_state_only() {
    let world = World::new();
    world.answer(server);
    let mut storage = Memory::new();
    let mut device = device(&mut storage, &world);
    assert_eq!(format!("{device:?}"), "Device { .. }");
    let (mqtt, mut runner) = device.split();
    assert_eq!(format!("{runner:?}"), "Runner { .. }");
    assert_eq!(format!("{mqtt:?}"), "Mqtt { state: Offline }");
    #[expect(clippy::clone_on_copy, reason = "the clone is under test")]
    let same = mqtt.clone();
    let publisher = RefCell::new(String::new());
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        serve(&world, &mut runner, |_, own| {
            *publisher.borrow_mut() = format!("{own:?}");
            same.shut_down();
        })
        .await;
    });
    world.run(&mut tasks);
    assert_eq!(*publisher.borrow(), "Publisher { .. }");
    assert_eq!(mqtt.state(), DeviceState::ShutDown);
}

#[test]
fn subscribe_each_qos_is_granted() {
    let world = World::new();
    world.answer(server);
    let mut storage = Memory::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    let qos = [QoS::AtMostOnce, QOS1, QoS::ExactlyOnce];
    let mut tasks = Tasks::new();
    tasks.spawn(serve_all(&world, &mut runner));
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        let filters = qos.map(|qos| ("t", qos));
        let granted = mqtt.subscribe(&filters).await.unwrap();
        assert!(granted.iter().eq(qos.map(SubackReturnCode::Granted)));
        mqtt.shut_down();
    });
    world.run(&mut tasks);
}

/// Only messages, chunks and checkpoints can be postponed. For all other events, `NotNow` has the effect of `Done`.
#[test]
fn events_without_message_postponed_are_done() {
    let world = World::new();
    world.answer(server);
    let mut storage = Memory::new();
    let mut device: asynch::Device<'_, &World> =
        asynch::Device::new(&mut storage, &world, &config(&[("in", QOS1)])).unwrap();
    let (mqtt, mut runner) = device.split();
    let events = RefCell::new(Vec::new());
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        serve(&world, &mut runner, |event, _| {
            events.borrow_mut().push(event.to_string());
            Handled::NotNow
        })
        .await;
    });
    tasks.spawn(async {
        mqtt.subscribed().await.unwrap();
        mqtt.publish_and_wait(&message("out", b"", QOS1))
            .await
            .unwrap();
        mqtt.shut_down();
    });
    world.run(&mut tasks);
    let events = events.borrow();
    let [connected, subscribed] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(connected.starts_with("connected"), "{connected}");
    assert!(subscribed.starts_with("subscribed"), "{subscribed}");
}

/// A payload is provided again only if an event has asked for it.
#[test]
fn payload_not_needed_is_rejected() {
    let world = World::new();
    world.answer(server);
    let mut storage = Memory::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    let mut tasks = Tasks::new();
    tasks.spawn(serve_all(&world, &mut runner));
    tasks.spawn(async {
        mqtt.connected().await.unwrap();
        let id = mqtt.try_publish(&message("out", b"", QOS1)).unwrap();
        let resend = StreamedPublish::Resend(id.unwrap());
        let sent = mqtt.publish_slices(resend, &[b"x"]).await;
        assert_eq!(
            sent,
            Err(DeviceError::Request(RequestError::PayloadNotNeeded))
        );
        mqtt.shut_down();
    });
    world.run(&mut tasks);
}

#[test]
fn blocking_device_deadline_is_of_dial_or_connection() {
    let network = Network::with_server();
    let mut storage = Memory::new();
    let mut with_keep_alive = config(&[]);
    with_keep_alive.connect.keep_alive = 60;
    let mut device = Device::new(&mut storage, &network, &with_keep_alive).unwrap();
    let now = |network: &Network| umqtt::Instant::from_millis(network.millis());
    assert!(device.is_dial_due());
    assert!(device.deadline().unwrap().has_passed(now(&network)));
    device.connect(network.transport()).unwrap();
    device.serve(10, |_, _| {}).unwrap();
    let ping = device.deadline().unwrap().millis_after(now(&network));
    assert!((58_000 - 10..=58_000).contains(&ping), "{ping}");
    assert_eq!(device.shut_down(|_, _| {}), Ok(true));
    assert_eq!(device.deadline(), None);
    assert_eq!(device.shut_down(|_, _| {}), Ok(false), "nothing is open");
}

#[test]
fn blocking_device_recv_returns_when_dial_is_due() {
    let network = Network::new();
    let mut storage = Memory::new();
    let mut device: Device<'_, Transport, &Network> =
        Device::new(&mut storage, &network, &config(&[])).unwrap();
    device.dial_failed();
    let due = device.deadline().unwrap().as_millis();
    assert!(!device.recv(1_000_000, |_, _| {}).unwrap());
    assert!((due..due + 10).contains(&network.millis()));
}

#[test]
fn blocking_device_shut_down_server_violates_protocol_returns_error() {
    let network = Network::with_server();
    let mut storage = Memory::new();
    let mut device = connected(&mut storage, &network);
    network.answer(|packet| match packet {
        Packet::Disconnect => vec![0xF0, 0],
        packet => server(packet),
    });
    let error = device.shut_down(|_, _| {}).unwrap_err();
    assert!(
        matches!(error, Error::Protocol(ProtocolError::Decode(_))),
        "{error:?}"
    );
}

/// A message is postponed while a payload is sent, and the connection is lost.
#[test]
fn blocking_device_payload_event_postponed_connection_lost_returns_error() {
    let network = Network::with_server();
    let mut storage = Memory::new();
    let mut device = connected(&mut storage, &network);
    network.feed(&publish("in", b"x", QOS1, 7));
    network.writes(
        &[Step::Bytes(20), Step::NotReady, Step::NotReady],
        Step::Broken,
    );
    let postponed = Cell::new(0);
    let long = StreamedPublish::new("long");
    let sent = device.publish_slices(long, &[&[0; 1_000]], |event, _| {
        if matches!(event, Event::Message(_)) {
            postponed.set(postponed.get() + 1);
            return Handled::NotNow;
        }
        Handled::Done
    });
    assert_eq!(sent, Err(Error::Closed), "the reason follows the event");
    assert_eq!(postponed.get(), 1);
    // The message is still pending.
    device.resume();
    let received = device.recv(10, |event, _| {
        assert!(matches!(event, Event::Message(_)), "{event}");
    });
    assert_eq!(received, Ok(true));
    let dropped = device.recv(10, |event, _| assert_eq!(event, Event::Qos0Dropped(1)));
    assert_eq!(dropped, Ok(true), "the payload was at QoS 0");
    let reason = device.recv(10, |event, _| -> Handled { panic!("{event}") });
    assert_eq!(
        reason,
        Err(Error::Transport(Fault(ErrorKind::ConnectionReset)))
    );
}

/// A message without slices has an empty payload. At QoS 0, the call returns when it was written.
#[test]
fn blocking_device_slices_empty_are_sent() {
    let network = Network::with_server();
    let mut storage = Memory::new();
    let mut device = connected(&mut storage, &network);
    network.take_writes();
    device
        .publish_slices(StreamedPublish::new("t"), &[], |_, _| {})
        .unwrap();
    device.publish(&Message::new("u", b"")).unwrap();
    device.serve(10, |_, _| {}).unwrap();
    assert_eq!(
        network.take_sent(),
        [
            publish("t", b"", QoS::AtMostOnce, 0),
            publish("u", b"", QoS::AtMostOnce, 0)
        ]
        .concat()
    );
}

/// If the server refuses the connection, a SUBSCRIBE that was queued before CONNACK fails. The task receives the error
/// on the next connection.
#[test]
fn subscribe_connection_refused_is_rejected() {
    let world = World::new();
    let connections = Cell::new(0);
    // The server does not answer on the first connection. The test feeds its CONNACK.
    world.answer(move |packet| {
        let is_connect = matches!(packet, Packet::Connect(_));
        connections.set(connections.get() + u32::from(is_connect));
        if connections.get() == 1 {
            Vec::new()
        } else {
            server(packet)
        }
    });
    let mut storage = Memory::new();
    let mut device = device(&mut storage, &world);
    let (mqtt, mut runner) = device.split();
    let mut tasks = Tasks::new();
    tasks.spawn(serve_all(&world, &mut runner));
    tasks.spawn(async {
        pause(&world, 10).await;
        assert_eq!(mqtt.state(), DeviceState::Connecting);
        let granted = mqtt.subscribe(&[("t", QOS1)]).await;
        assert_eq!(granted.err(), Some(DeviceError::RequestRejected));
        mqtt.shut_down();
    });
    tasks.spawn(async {
        pause(&world, 20).await;
        world.feed(&refused(ConnectReturnCode::NotAuthorized));
    });
    world.run(&mut tasks);
}

/// A payload that was not sent before a reboot is requested from the handler, and any task can provide it.
#[test]
fn payload_of_restored_message_is_requested_from_handler() {
    let mut first = Memory::new();
    let mut driven = TestSession::new(&mut first);
    driven.open(&config(&[]).connect, false);
    driven.session.begin_payload(streamed(1), 5).unwrap();
    let mut image = [0; Memory::IMAGE_LEN];
    let len = driven.session.save(&mut image).unwrap().len;

    let world = World::new();
    world.answer(server);
    let mut second = Memory::new();
    let mut device = device(&mut second, &world);
    device.session().restore(&image[..len]).unwrap();
    let (mqtt, mut runner) = device.split();
    let needed = Cell::new(None);
    let mut tasks = Tasks::new();
    tasks.spawn(async {
        serve(&world, &mut runner, |event, _| {
            if let Event::PayloadNeeded(id) = event {
                needed.set(Some(id));
            }
        })
        .await;
    });
    tasks.spawn(async {
        let id = loop {
            if let Some(id) = needed.get() {
                break id;
            }
            pause(&world, 10).await;
        };
        let resend = StreamedPublish::Resend(id);
        mqtt.publish_slices(resend, &[b"he", b"llo"]).await.unwrap();
        mqtt.shut_down();
    });
    world.run(&mut tasks);
    let resent = dup(publish(TOPIC, b"hello", QOS1, 1));
    assert!(packets(&world.take_sent()).0.contains(&&resent[..]));
}
