//! Hundreds of messages at QoS 2 are stored for a device that has room for 32 ids.
//!
//! When the device reconnects, mosquitto 2.0.11 first observes `max_inflight_messages`. When these messages are
//! complete, it sends all others at once. Each connection must deliver as many messages as there is room for, each
//! message once and in order.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use faults::{Kind, Mosquitto, remembers_nothing};
use umqtt::{
    Event, Message, ProtocolError, Session, Storage,
    client::Error,
    codec::{Connect, QoS},
};

const NAME: &str = "device";
const ROOM: usize = 32;
const WAITING: u16 = 300;
const OPTIONS: Connect<'static> = Connect {
    clean_session: false,
    ..Connect::new(NAME)
};
const WAIT: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(30);

/// Subscribes the device and disconnects. Then the messages are published.
fn fill(broker: SocketAddr, session: &mut Session<'_>) {
    let mut client = Kind::Blocking.connect(session, broker, &OPTIONS).unwrap();
    client.subscribe(&[("t", QoS::ExactlyOnce)]).unwrap();
    let mut granted = false;
    while !granted {
        let on_event = &mut |event: Event<'_>| granted |= matches!(event, Event::Suback(..));
        client.recv_for(WAIT, on_event).unwrap();
    }
    client.disconnect().unwrap();

    let mut storage = Storage::<64, 256, 8>::new();
    let mut publisher = Session::new(&mut storage);
    let mut client = Kind::Blocking
        .connect(&mut publisher, broker, &Connect::new("publisher"))
        .unwrap();
    for number in 0..WAITING {
        let payload = number.to_be_bytes();
        let message = Message {
            qos: QoS::ExactlyOnce,
            ..Message::new("t", &payload)
        };
        client.publish(&message).unwrap();
        let mut complete = false;
        while !complete {
            let on_event = &mut |event: Event<'_>| complete |= matches!(event, Event::Pubcomp(_));
            client.recv_for(WAIT, on_event).unwrap();
        }
    }
    client.disconnect().unwrap();
}

/// Receives all messages, and returns the number of connections that were needed.
fn receive(kind: Kind, broker: SocketAddr, session: &mut Session<'_>) -> usize {
    let mut received = 0;
    let start = Instant::now();
    for connection in 1.. {
        let mut client = kind.connect(session, broker, &OPTIONS).unwrap();
        loop {
            assert!(
                start.elapsed() < PATIENCE,
                "{received} messages were received"
            );
            let mut on_event = |event: Event<'_>| {
                if let Event::Message(message) = event {
                    assert_eq!(message.payload, u16::to_be_bytes(received));
                    received += 1;
                }
            };
            match client.recv_for(WAIT, &mut on_event) {
                Ok(_) if received == WAITING && remembers_nothing(client.session(), NAME) => {
                    client.disconnect().unwrap();
                    return connection;
                }
                Ok(_) => {}
                Err(Error::Protocol(ProtocolError::TooManyQos2Messages { capacity: ROOM })) => {
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    unreachable!("connections can be counted")
}

#[test]
fn each_connection_delivers_as_many_as_there_is_room_for() {
    for kind in Kind::BOTH {
        let Some(broker) = Mosquitto::start() else {
            return;
        };
        let mut storage = Storage::<128, 256, 4, ROOM>::new();
        let mut session = Session::new(&mut storage);
        fill(broker.address, &mut session);
        let connections = receive(kind, broker.address, &mut session);
        println!("{kind:?}: {WAITING} messages on {connections} connections");
        assert!(connections <= usize::from(WAITING).div_ceil(ROOM));
    }
}
