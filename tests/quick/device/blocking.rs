//! The blocking device: the times of its dials, the ends of its calls, and events that its handler refuses.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use umqtt::{
    Event, Handled, Message, RequestError, Storage, StreamedPublish,
    blocking::Device,
    client::Error,
    codec::{ConnectReturnCode, Packet, QoS},
};

use super::tasks::config;
use crate::common::{DISCONNECT, Network, Step, connack, message, publish, refused, server};

const QOS1: QoS = QoS::AtLeastOnce;

/// A broker that accepts and closes at once is asked at most 10 times in 60 s. A connection that lasts long enough
/// resets the delays.
#[test]
fn server_closing_at_once_is_dialed_with_backoff() {
    let network = Network::new();
    network.set_step(10);
    let mut storage = Storage::<256, 256, 4>::new();
    let mut device = Device::new(&mut storage, &network, &config(&[])).unwrap();
    let mut connections = 0;
    let mut reasons = 0;
    while network.millis() < 60_000 {
        device
            .dial(|| {
                connections += 1;
                network.feed(&connack(false));
                network.end();
                Ok::<_, Error<()>>(network.transport())
            })
            .unwrap();
        reasons += usize::from(device.serve(1_000, |_, _| {}).is_err());
    }
    assert!((3..=10).contains(&connections), "{connections}");
    assert!(
        (connections - 1..=connections).contains(&reasons),
        "each is reported once"
    );
}

/// After bad credentials, the next dial follows after 30 to 60 s, at random. The delays of 100 devices differ, and use
/// the whole range. Those of eight devices with successive numbers use half of it.
#[test]
fn bad_credentials_delay_next_dial_by_30_to_60_seconds() {
    let mut delays = Vec::new();
    for number in 0..100 {
        let client_id = format!("device-{number:03}");
        let network = Network::new();
        network.set_step(10);
        let mut storage = Storage::<256, 256, 4>::new();
        let mut config = config(&[]);
        config.connect.client_id = &client_id;
        let mut device = Device::new(&mut storage, &network, &config).unwrap();
        assert!(device.is_dial_due());
        network.feed(&refused(ConnectReturnCode::BadUserNameOrPassword));
        device.connect(network.transport()).unwrap();
        assert!(!device.is_dial_due());
        let error = device.serve(1_000, |_, _| {}).unwrap_err();
        assert!(error.is_permanent(), "{error}");
        let delay = device.deadline().unwrap().as_millis() - network.millis();
        assert!((30_000..=60_000).contains(&delay), "{delay}");
        delays.push(delay);
        // It continues, and never fails permanently.
        device.serve(100_000, |_, _| {}).unwrap();
        assert!(device.is_dial_due());
    }
    for successive in delays.windows(8) {
        let range = successive.iter().max().unwrap() - successive.iter().min().unwrap();
        assert!(range > 15_000, "{successive:?}");
    }
    delays.sort_unstable();
    delays.dedup();
    assert_eq!(delays.len(), 100, "{delays:?}");
    assert!(delays[0] < 31_000 && delays[99] > 59_000, "{delays:?}");
}

/// Without a connection, each call ends within its time limit, and messages above QoS 0 are queued.
#[test]
fn calls_without_connection_end_in_time() {
    let network = Network::new();
    let mut storage = Storage::<256, 256, 4>::new();
    let mut device = Device::new(&mut storage, &network, &config(&[])).unwrap();
    assert!(!device.poll(|_, _| {}).unwrap());
    device.dial_failed();
    let before = network.millis();
    device.serve(100, |_, _| {}).unwrap();
    assert!((100..=102).contains(&(network.millis() - before)));
    assert!(!device.recv(100, |_, _| {}).unwrap());
    assert!(device.publish(&message("a", b"", QOS1)).unwrap().is_some());
    let at_qos0 = device.publish(&Message::new("a", b""));
    assert_eq!(at_qos0, Err(RequestError::NotConnected));
    // A dial that is due ends a wait.
    device.serve(1_000_000, |_, _| {}).unwrap();
    assert!(device.is_dial_due());
    assert!(network.millis() < 100_000);
    network.answer(server);
    device.connect(network.transport()).unwrap();
    let acknowledged = Cell::new(false);
    device
        .serve(100, |event, _| {
            acknowledged.set(matches!(event, Event::Puback(_)))
        })
        .unwrap();
    assert!(acknowledged.get());
    assert!(device.shut_down(|_, _| {}).is_ok());
    assert!(!device.is_dial_due());
    assert_eq!(device.deadline(), None);
}

/// A message that the handler refuses is not acknowledged, and sets no deadline. It is given again after `resume`.
#[test]
fn refused_message_is_delivered_again_after_resume() {
    let network = Network::with_server();
    let mut storage = Storage::<256, 256, 4>::new();
    let mut device = Device::new(&mut storage, &network, &config(&[])).unwrap();
    device.connect(network.transport()).unwrap();
    device.serve(10, |_, _| {}).unwrap();
    network.take_sent();
    network.feed(&publish("in", b"", QOS1, 7));
    let given = Cell::new(0);
    let mut refuse = |event: Event<'_>, _: &mut umqtt::Publisher<'_, '_>| {
        if let Event::Message(_) = event {
            given.set(given.get() + 1);
            return Handled::NotNow;
        }
        Handled::Done
    };
    device.serve(1_000, &mut refuse).unwrap();
    assert_eq!(given.get(), 1);
    assert!(network.take_sent().is_empty());
    assert_eq!(
        device.deadline(),
        None,
        "a loop that sleeps until then must not spin"
    );
    device.resume();
    device.serve(10, &mut refuse).unwrap();
    assert_eq!(given.get(), 2);
    // A message that is postponed at the end is not acknowledged either.
    assert!(device.shut_down(&mut refuse).unwrap());
    assert_eq!(network.take_sent(), DISCONNECT);
}

/// The call returns whether the server has closed the connection after DISCONNECT.
#[test]
fn shut_down_returns_whether_server_closed() {
    for closes in [false, true] {
        let network = if closes {
            Network::with_server()
        } else {
            Network::new()
        };
        if !closes {
            network.feed(&connack(false));
        }
        let mut storage = Storage::<256, 256, 4>::new();
        let mut device = Device::new(&mut storage, &network, &config(&[])).unwrap();
        device.connect(network.transport()).unwrap();
        device.serve(10, |_, _| {}).unwrap();
        assert_eq!(device.shut_down(|_, _| {}).unwrap(), closes);
        let again = device.connect(network.transport());
        assert_eq!(again, Err(RequestError::NotConnected));
    }
}

/// A payload at QoS 0 whose connection ends inside it is an error, although an event is reported before.
#[test]
fn payload_at_qos0_cut_short_is_an_error() {
    for room in 0..3 {
        let network = Network::with_server();
        let mut storage = Storage::<256, 256, 4>::new();
        let mut device = Device::new(&mut storage, &network, &config(&[])).unwrap();
        device.connect(network.transport()).unwrap();
        device.serve(10, |_, _| {}).unwrap();
        let seen = RefCell::new(Vec::new());
        let reads = Cell::new(0);
        let reader = umqtt::ReadFn(|space: &mut [u8]| {
            reads.set(reads.get() + 1);
            if reads.get() > room {
                network.end();
            }
            Ok::<_, core::convert::Infallible>(space.len().min(10))
        });
        let sent = device.publish_from(StreamedPublish::new("long"), 1_000, reader, |event, _| {
            seen.borrow_mut().push(format!("{event:?}"));
        });
        assert!(sent.is_err(), "{sent:?} after {:?}", seen.borrow());
    }
}

/// The same for slices: the transport accepts a part of them.
#[test]
fn slices_at_qos0_cut_short_are_an_error() {
    for accepted in [0, 1, 20] {
        let network = Network::with_server();
        let mut storage = Storage::<256, 256, 4>::new();
        let mut device = Device::new(&mut storage, &network, &config(&[])).unwrap();
        device.connect(network.transport()).unwrap();
        device.serve(10, |_, _| {}).unwrap();
        let steps = if accepted > 0 {
            vec![Step::Bytes(accepted)]
        } else {
            Vec::new()
        };
        network.writes(&steps, Step::NotReady);
        network.end();
        let long = StreamedPublish::new("long");
        let sent = device.publish_slices(long, &[&[0; 1_000]], |_, _| {});
        assert!(sent.is_err(), "{sent:?}");
    }
}

/// A checkpoint that the handler refuses ends a payload with a reason, because nothing can be sent before it.
#[test]
fn checkpoint_refused_aborts_payload() {
    let network = Network::with_server();
    let mut storage = Storage::<256, 256, 4>::new();
    let mut device = Device::new(&mut storage, &network, &config(&[])).unwrap();
    device.session().set_checkpoints(true);
    device.connect(network.transport()).unwrap();
    device.serve(10, |_, _| {}).unwrap();
    let long = StreamedPublish::New {
        topic: "long",
        qos: QOS1,
        retain: false,
    };
    let sent = device.publish_slices(long, &[&[0; 1_000]], |_, _| Handled::NotNow);
    assert!(
        matches!(sent, Err(Error::Request(RequestError::CheckpointDue))),
        "{sent:?}"
    );
    let seen = Rc::new(Cell::new(0));
    let counted = Rc::clone(&seen);
    network.answer(move |packet| {
        counted.set(counted.get() + u32::from(matches!(packet, Packet::Publish(_))));
        server(packet)
    });
    let mut image = [0; 2_000];
    let saved = device.save(&mut image).unwrap();
    device.saved(saved.generation);
    device
        .publish_slices(long, &[&[0; 1_000]], |_, _| {})
        .unwrap();
    assert_eq!(seen.get(), 1);
}
