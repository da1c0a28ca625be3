//! The calls of the blocking device one by one, and the texts of the errors of both devices.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    rc::Rc,
};

use embedded_io::{ErrorKind, ErrorType, Read};
use umqtt::{
    Backoff, DeviceError, Ended, Event, ImageError, ReadFn, RequestError, Storage, StreamedPublish,
    SubscriptionState,
    blocking::Device,
    client::Error,
    codec::{Connect, ConnectReturnCode, Packet, QoS},
};

use super::tasks::config;
use crate::common::{Fault, Network, Transport, connack, refused, server};

const QOS1: QoS = QoS::AtLeastOnce;

type Memory = Storage<256, 256, 4>;

#[test]
fn subscribe_and_unsubscribe_at_run_time_are_answered() {
    let network = Network::with_server();
    let mut storage = Memory::new();
    let mut device = Device::new(&mut storage, &network, &config(&[])).unwrap();
    assert_eq!(
        device.subscribe(&[("a", QOS1)]),
        Err(RequestError::NotConnected)
    );
    assert_eq!(device.unsubscribe(&["a"]), Err(RequestError::NotConnected));
    device.connect(network.transport()).unwrap();
    assert!(!device.is_connected());
    device.serve(10, |_, _| {}).unwrap();
    assert!(device.is_connected());
    let subscribed = device.subscribe(&[("a", QOS1)]).unwrap();
    let unsubscribed = device.unsubscribe(&["a"]).unwrap();
    let answers = RefCell::new(Vec::new());
    device
        .serve(10, |event, _| match event {
            Event::Suback(id, codes) => answers.borrow_mut().push((id, codes.all_granted())),
            Event::Unsuback(id) => answers.borrow_mut().push((id, true)),
            _ => {}
        })
        .unwrap();
    assert_eq!(
        answers.into_inner(),
        [(subscribed, true), (unsubscribed, true)]
    );
}

#[test]
fn subscriptions_answered_are_granted() {
    let network = Network::with_server();
    let mut storage = Memory::new();
    let config = config(&[("a", QOS1)]);
    let mut device = Device::new(&mut storage, &network, &config).unwrap();
    device.connect(network.transport()).unwrap();
    assert_ne!(device.subscriptions(), SubscriptionState::Granted);
    device.serve(10, |_, _| {}).unwrap();
    assert_eq!(device.subscriptions(), SubscriptionState::Granted);
}

#[test]
fn dial_failed_waits_for_set_delay() {
    let network = Network::new();
    let mut storage = Memory::new();
    let mut device = Device::<Transport, _>::new(&mut storage, &network, &config(&[])).unwrap();
    device.set_backoff(Backoff::new(100, 100));
    let failed = device.dial(|| Err(Fault(ErrorKind::ConnectionRefused)));
    assert_eq!(
        failed,
        Err(Error::Transport(Fault(ErrorKind::ConnectionRefused)))
    );
    assert!(!device.is_dial_due());
    let delay = device.deadline().unwrap().as_millis() - network.millis();
    assert!((50..=100).contains(&delay), "{delay}");
    // While no dial is due, the function is not called.
    let skipped = device.dial(|| -> Result<_, Fault> { panic!("dialed too early") });
    assert_eq!(skipped, Ok(()));
    device.serve(1_000, |_, _| {}).unwrap();
    assert!(device.is_dial_due());
}

#[test]
fn other_client_id_is_rejected_and_dialed_again_later() {
    let network = Network::with_server();
    let mut storage = Memory::new();
    let mut device = Device::new(&mut storage, &network, &config(&[])).unwrap();
    let other = Connect::new("another");
    assert_eq!(
        device.connect_with(&other, network.transport()),
        Err(RequestError::ClientIdMismatch)
    );
    assert!(!device.is_dial_due());
    assert!(network.take_sent().is_empty());
    device.serve(100_000, |_, _| {}).unwrap();
    assert!(device.is_dial_due());
    let mut dials = 0;
    device
        .dial(|| {
            dials += 1;
            Ok::<_, Fault>(network.transport())
        })
        .unwrap();
    device.serve(10, |_, _| {}).unwrap();
    assert_eq!((dials, device.is_connected()), (1, true));
}

#[test]
fn connect_again_replaces_connection() {
    let network = Network::new();
    let connects = Rc::new(Cell::new(0));
    let counted = Rc::clone(&connects);
    network.answer(move |packet| {
        counted.set(counted.get() + u32::from(matches!(packet, Packet::Connect(_))));
        server(packet)
    });
    let mut storage = Memory::new();
    let mut device = Device::new(&mut storage, &network, &config(&[])).unwrap();
    for _ in 0..2 {
        device.connect(network.transport()).unwrap();
        assert!(!device.is_connected());
        device.serve(10, |_, _| {}).unwrap();
        assert!(device.is_connected());
    }
    assert_eq!(connects.get(), 2);
    assert!(device.shut_down(|_, _| {}).is_ok());
    assert_eq!(
        device.connect(network.transport()),
        Err(RequestError::NotConnected)
    );
}

#[test]
fn take_transport_after_end_returns_it_once() {
    let network = Network::new();
    let mut storage = Memory::new();
    let mut device = Device::new(&mut storage, &network, &config(&[])).unwrap();
    assert!(device.take_transport().is_none());
    network.feed(&refused(ConnectReturnCode::ServerUnavailable));
    device.connect(network.transport()).unwrap();
    let error = device.serve(10, |_, _| {}).unwrap_err();
    assert!(!error.is_permanent(), "{error}");
    assert!(device.take_transport().is_some());
    assert!(device.take_transport().is_none());
}

#[test]
fn recv_returns_after_event_or_timeout() {
    let network = Network::new();
    let mut storage = Memory::new();
    let mut device = Device::new(&mut storage, &network, &config(&[])).unwrap();
    device.connect(network.transport()).unwrap();
    let before = network.millis();
    assert!(!device.recv(100, |_, _| {}).unwrap());
    assert!((100..=102).contains(&(network.millis() - before)));
    network.feed(&connack(false));
    assert!(device.recv(1_000_000, |_, _| {}).unwrap());
    assert!(device.is_connected());
    assert!(network.millis() < 1_000);
}

/// A reader that returns these results, and then the end of the payload.
struct Reader(Vec<Result<u8, Fault>>);

impl ErrorType for Reader {
    type Error = Fault;
}

impl Read for Reader {
    fn read(&mut self, space: &mut [u8]) -> Result<usize, Fault> {
        if self.0.is_empty() {
            return Ok(0);
        }
        space[0] = self.0.remove(0)?;
        Ok(1)
    }
}

#[test]
fn publish_from_reader_short_or_failing_returns_error() {
    let interrupted = || Err(Fault(ErrorKind::Interrupted));
    for (reads, expected) in [
        (vec![Ok(1), interrupted(), Ok(2), Ok(3)], None),
        (vec![Ok(1)], Some(Error::SourceEnded { missing: 2 })),
        (
            vec![Ok(1), Err(Fault(ErrorKind::TimedOut)), Ok(2)],
            Some(Error::Source(ErrorKind::TimedOut)),
        ),
    ] {
        let network = Network::with_server();
        let mut storage = Memory::new();
        let mut device = Device::new(&mut storage, &network, &config(&[])).unwrap();
        device.connect(network.transport()).unwrap();
        device.serve(10, |_, _| {}).unwrap();
        network.take_sent();
        let message = StreamedPublish::new("a");
        let sent = device.publish_from(message, 3, Reader(reads), |_, _| {});
        assert_eq!(sent.as_ref().err(), expected.as_ref());
        if expected.is_none() {
            assert_eq!(network.take_sent(), [0x30, 6, 0, 1, b'a', 1, 2, 3]);
        }
    }
}

#[test]
fn payload_at_qos1_from_a_closure_is_acknowledged() {
    let network = Network::with_server();
    let mut storage = Memory::new();
    let mut device = Device::new(&mut storage, &network, &config(&[])).unwrap();
    device.connect(network.transport()).unwrap();
    device.serve(10, |_, _| {}).unwrap();
    let message = StreamedPublish::New {
        topic: "a",
        qos: QOS1,
        retain: false,
    };
    let reader = ReadFn(|space: &mut [u8]| Ok::<_, Infallible>(space.len().min(7)));
    let sent = device.publish_from(message, 1_000, reader, |_, _| {});
    assert!(sent.unwrap().is_some());
    device.serve(10, |_, _| {}).unwrap();
    assert_eq!(device.session().in_flight(), 0);
}

#[test]
fn device_errors_display_cause() {
    let too_small = ImageError::BufferTooSmall { needed: 99 };
    for (error, words) in [
        (RequestError::NotConnected.into(), "not connected"),
        (too_small.into(), "99"),
        (DeviceError::InHandler, "publisher"),
        (DeviceError::TooManyTasks { capacity: 8 }, "8"),
        (DeviceError::TooManyFilters { max: 4 }, "4"),
        (DeviceError::ShutDown, "shut down"),
        (DeviceError::RunnerGone, "runner"),
        (DeviceError::NotWritten, "publish it again"),
        (DeviceError::Discarded, "discarded"),
        (DeviceError::DeliveryUnknown, "unknown"),
        (DeviceError::OutcomeUnknown, "request again"),
        (DeviceError::RequestRejected, "refused the connection"),
        (DeviceError::SubscriptionRefused, "rights"),
        (DeviceError::PayloadInterrupted, "from its beginning"),
        (DeviceError::Source(ErrorKind::TimedOut), "timedout"),
        (DeviceError::SourceEnded { missing: 3 }, "3 bytes missing"),
    ] {
        let text = error.to_string();
        assert!(text.to_lowercase().contains(words), "{error:?}: {text}");
    }
    assert_eq!(Ended::<Fault>::Shutdown.to_string(), "shut down");
}

#[test]
fn backoff_permanent_error_returns_longest_delay() {
    let lost = |error: Error<Fault>, connected_for| Ended::Lost {
        error,
        connected_for,
    };
    let highest = u32::MAX;
    let mut backoff = Backoff::new(1_000, 60_000);
    let first = backoff.after(&lost(Error::Closed, 0), highest);
    let second = backoff.after(&lost(Error::Closed, 0), highest);
    assert!(first < second, "{first}, {second}");
    // A connection that lasted long enough resets the delays.
    let again = backoff.after(&lost(Error::Closed, 100_000), highest);
    assert_eq!(again, first);
    let permanent = Error::Request(RequestError::ClientIdMismatch);
    let longest = backoff.after(&lost(permanent, 0), highest);
    assert!((59_000..=60_000).contains(&longest), "{longest}");
    // The next delay is not shorter.
    let next = backoff.after(&Ended::<Fault>::Shutdown, highest);
    assert_eq!(next, longest);
}
