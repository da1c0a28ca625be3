//! A broker that is killed, and started again without its sessions.
//!
//! The device notices that its session was lost. It resends unacknowledged messages. For a message at QoS 2 between
//! PUBREC and PUBCOMP, it reports that the delivery is unknown.

use std::time::{Duration, Instant};

use faults::{Cut, How, Kind, Mosquitto, Plan, Proxy, Way, remembers_nothing};
use umqtt::{
    Event, Message, Session, Storage,
    codec::{Connect, QoS},
};

const NAME: &str = "device";
const OPTIONS: Connect<'static> = Connect {
    clean_session: false,
    ..Connect::new(NAME)
};
const WAIT: Duration = Duration::from_millis(20);
/// Maximum time of a second connection to complete all deliveries.
const PATIENCE: Duration = Duration::from_secs(10);

/// Numbers of bytes from the broker: up to CONNACK, and up to PUBACK and PUBREC.
const ACCEPTED: usize = 4;
const RECEIVED: usize = ACCEPTED + 4 + 4;

/// Publishes at QoS 1 and 2, receives only the first bytes of the broker, kills it, and returns the events of the next
/// connection.
fn events_after_kill(kind: Kind, arrive: usize) -> Option<Vec<String>> {
    let mut broker = Mosquitto::start()?;
    let cut = Cut {
        way: Way::Down,
        after: arrive,
        how: How::KillBroker,
    };
    let (proxy, killed) = Proxy::with(broker.address, move || Plan {
        cut: Some(cut),
        ..Plan::default()
    });
    let mut storage = Storage::<128, 256, 4, 4>::new();
    let mut session = Session::new(&mut storage);
    session.set_response_timeout(500);
    let mut client = kind.connect(&mut session, proxy.address, &OPTIONS).unwrap();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let message = Message {
            qos,
            ..Message::new("t", b"x")
        };
        client.publish(&message).unwrap();
    }
    // Until the response timeout.
    while client.recv_for(WAIT, &mut |_| {}).is_ok() {}
    drop(client);
    assert_eq!(killed.try_recv(), Ok(How::KillBroker));
    broker.kill();

    let mut client = kind
        .connect(&mut session, broker.address, &OPTIONS)
        .unwrap();
    assert!(!client.session().session_present());
    let mut recorded = Vec::new();
    let start = Instant::now();
    while !remembers_nothing(client.session(), NAME) {
        assert!(start.elapsed() < PATIENCE, "{recorded:?}");
        let on_event = &mut |event: Event<'_>| recorded.push(format!("{event:?}"));
        client.recv_for(WAIT, on_event).unwrap();
    }
    client.disconnect().unwrap();
    Some(recorded)
}

#[test]
fn unacknowledged_messages_are_resent() {
    for kind in Kind::BOTH {
        if let Some(recorded) = events_after_kill(kind, ACCEPTED) {
            let expected = ["Puback(PacketId(1))", "Pubcomp(PacketId(2))"];
            assert_eq!(recorded, expected, "{kind:?}");
        }
    }
}

#[test]
fn qos_2_message_received_then_forgotten_is_unknown() {
    for kind in Kind::BOTH {
        if let Some(recorded) = events_after_kill(kind, RECEIVED) {
            assert_eq!(recorded, ["DeliveryUnknown(PacketId(2))"], "{kind:?}");
        }
    }
}
