//! The broker, packet by packet.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use umqtt::codec::{
    Connack, Connect, ConnectReturnCode, Delivery, Packet, PacketId, Puback, Pubcomp, Publish,
    Pubrec, Pubrel, QoS, Suback, SubackReturnCode, Subscribe, TopicFilter, TopicName, Unsuback,
    Unsubscribe, Will,
};

const ID: PacketId = PacketId::MIN;
const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A client whose every packet is written out.
struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Peer {
    fn dial(broker: SocketAddr) -> Self {
        let stream = TcpStream::connect(broker).unwrap();
        let limit = Duration::from_secs(60);
        stream.set_read_timeout(Some(limit)).unwrap();
        let received = Vec::new();
        Self { stream, received }
    }

    /// Connects, and expects this Session Present flag.
    fn connect(broker: SocketAddr, connect: Connect<'_>, session_present: bool) -> Self {
        let mut peer = Self::dial(broker);
        peer.send(Packet::Connect(connect));
        peer.expect(Packet::Connack(Connack::Accepted { session_present }));
        peer
    }

    fn subscribe(&mut self, filter: &str, qos: QoS) {
        let filters = [(TopicFilter::new(filter).unwrap(), qos)];
        self.send(Packet::Subscribe(Subscribe::new(ID, &filters).unwrap()));
        let codes = [SubackReturnCode::Granted(qos)];
        self.expect(Packet::Suback(Suback::new(ID, &codes).unwrap()));
    }

    fn send(&mut self, packet: Packet<'_>) {
        let mut buffer = [0; 256];
        let bytes = packet.encode(&mut buffer).unwrap();
        self.stream.write_all(bytes).unwrap();
    }

    #[track_caller]
    fn expect(&mut self, expected: Packet<'_>) {
        let mut piece = [0; 256];
        loop {
            if let Some((packet, len)) = Packet::decode(&self.received).unwrap() {
                assert_eq!(packet, expected);
                self.received.drain(..len);
                return;
            }
            let n = self.stream.read(&mut piece).unwrap();
            assert!(n > 0, "the broker closed the connection");
            self.received.extend(piece.iter().take(n));
        }
    }

    #[track_caller]
    fn expect_end(mut self) {
        assert!(self.received.is_empty(), "packets before the end");
        match self.stream.read(&mut [0; 256]) {
            Ok(n) => assert_eq!(n, 0, "bytes before the end"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

fn connect(client_id: &str) -> Connect<'_> {
    Connect::new(client_id)
}

fn with_session(client_id: &str) -> Connect<'_> {
    Connect {
        clean_session: false,
        ..connect(client_id)
    }
}

fn publish<'a>(topic: &'a str, payload: &'a str, qos: QoS) -> Publish<'a> {
    let (packet_id, dup) = (ID, false);
    Publish {
        delivery: match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
            QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
        },
        ..Publish::new(TopicName::new(topic).unwrap(), payload.as_bytes())
    }
}

#[test]
fn message_published_is_delivered_with_lower_qos() {
    let broker = small_broker::start().unwrap();
    for sent in ALL {
        for granted in ALL {
            let mut peer = Peer::connect(broker, connect("a"), false);
            peer.subscribe("a/+", granted);
            peer.send(Packet::Publish(publish("a/b", "1", sent)));
            match sent {
                QoS::AtMostOnce => {}
                QoS::AtLeastOnce => peer.expect(Packet::Puback(Puback::new(ID))),
                QoS::ExactlyOnce => peer.expect(Packet::Pubrec(Pubrec::new(ID))),
            }
            peer.expect(Packet::Publish(publish("a/b", "1", sent.min(granted))));
            match sent.min(granted) {
                QoS::AtMostOnce => {}
                QoS::AtLeastOnce => peer.send(Packet::Puback(Puback::new(ID))),
                QoS::ExactlyOnce => {
                    peer.send(Packet::Pubrec(Pubrec::new(ID)));
                    peer.expect(Packet::Pubrel(Pubrel::new(ID)));
                    peer.send(Packet::Pubcomp(Pubcomp::new(ID)));
                }
            }
            if sent == QoS::ExactlyOnce {
                peer.send(Packet::Pubrel(Pubrel::new(ID)));
                peer.expect(Packet::Pubcomp(Pubcomp::new(ID)));
            }
            peer.send(Packet::Disconnect);
            peer.expect_end();
        }
    }
}

#[test]
fn message_repeated_at_qos2_is_delivered_once() {
    let broker = small_broker::start().unwrap();
    let mut peer = Peer::connect(broker, connect("a"), false);
    peer.subscribe("a", QoS::AtMostOnce);
    for is_first in [true, false] {
        peer.send(Packet::Publish(publish("a", "1", QoS::ExactlyOnce)));
        peer.expect(Packet::Pubrec(Pubrec::new(ID)));
        if is_first {
            peer.expect(Packet::Publish(publish("a", "1", QoS::AtMostOnce)));
        }
    }
    peer.send(Packet::Pingreq);
    peer.expect(Packet::Pingresp);
}

#[test]
fn message_unacknowledged_is_sent_again_on_next_connection() {
    let broker = small_broker::start().unwrap();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let name = format!("{qos:?}");
        let mut peer = Peer::connect(broker, with_session(&name), false);
        peer.subscribe(&name, qos);
        let mut other = Peer::connect(broker, connect("other"), false);
        other.send(Packet::Publish(publish(&name, "2", qos)));
        let mut second = publish(&name, "2", qos);
        peer.expect(Packet::Publish(second));
        drop(peer);

        let mut peer = Peer::connect(broker, with_session(&name), true);
        if let Delivery::AtLeastOnce { dup, .. } | Delivery::ExactlyOnce { dup, .. } =
            &mut second.delivery
        {
            *dup = true;
        }
        peer.expect(Packet::Publish(second));
        if qos == QoS::ExactlyOnce {
            peer.send(Packet::Pubrec(Pubrec::new(ID)));
            peer.expect(Packet::Pubrel(Pubrel::new(ID)));
            drop(peer);
            peer = Peer::connect(broker, with_session(&name), true);
            peer.expect(Packet::Pubrel(Pubrel::new(ID)));
            peer.send(Packet::Pubcomp(Pubcomp::new(ID)));
        } else {
            peer.send(Packet::Puback(Puback::new(ID)));
        }
        peer.send(Packet::Pingreq);
        peer.expect(Packet::Pingresp);
        drop(peer);

        let mut peer = Peer::connect(broker, with_session(&name), true);
        peer.send(Packet::Pingreq);
        peer.expect(Packet::Pingresp);
        // Clean Session ends the session.
        drop(Peer::connect(broker, connect(&name), false));
        peer.expect_end();
        drop(Peer::connect(broker, with_session(&name), false));
    }
}

#[test]
fn messages_beyond_window_follow_acknowledgements_in_order() {
    let broker = small_broker::start().unwrap();
    let mut peer = Peer::connect(broker, connect("a"), false);
    peer.subscribe("a", QoS::AtLeastOnce);
    let mut other = Peer::connect(broker, connect("other"), false);
    let texts: Vec<String> = (1..=50_u16).map(|n| n.to_string()).collect();
    for text in &texts {
        other.send(Packet::Publish(publish("a", text, QoS::AtLeastOnce)));
        other.expect(Packet::Puback(Puback::new(ID)));
    }
    for (n, text) in (1..).zip(&texts) {
        let packet_id = PacketId::new(n).unwrap();
        let delivery = Delivery::AtLeastOnce {
            packet_id,
            dup: false,
        };
        peer.expect(Packet::Publish(Publish {
            delivery,
            ..publish("a", text, QoS::AtLeastOnce)
        }));
        if n == 20 {
            peer.send(Packet::Pingreq);
            peer.expect(Packet::Pingresp);
            for n in 1..=20 {
                peer.send(Packet::Puback(Puback::new(PacketId::new(n).unwrap())));
            }
        } else if n > 20 {
            peer.send(Packet::Puback(Puback::new(packet_id)));
        }
    }
}

#[test]
fn message_retained_is_sent_to_later_subscribers_until_removed() {
    let broker = small_broker::start().unwrap();
    let mut peer = Peer::connect(broker, connect("a"), false);
    for payload in ["1", ""] {
        let mut retained = publish("a", payload, QoS::AtMostOnce);
        retained.retain = true;
        peer.send(Packet::Publish(retained));
        peer.subscribe("#", QoS::AtMostOnce);
        if !payload.is_empty() {
            peer.expect(Packet::Publish(retained));
        }
        let filters = [TopicFilter::new("#").unwrap()];
        let unsubscribe = Unsubscribe::new(ID, &filters).unwrap();
        peer.send(Packet::Unsubscribe(unsubscribe));
        peer.expect(Packet::Unsuback(Unsuback::new(ID)));
    }
    peer.send(Packet::Publish(publish(
        "a",
        "unsubscribed",
        QoS::AtMostOnce,
    )));
    peer.send(Packet::Pingreq);
    peer.expect(Packet::Pingresp);
}

#[test]
fn will_is_published_unless_client_disconnects() {
    let broker = small_broker::start().unwrap();
    let mut watcher = Peer::connect(broker, connect("watcher"), false);
    watcher.subscribe("will/#", QoS::AtMostOnce);
    let dying = |topic| Connect {
        will: Some(Will::new(topic, b"gone")),
        ..connect("dying")
    };
    let mut peer = Peer::connect(broker, dying("will/1"), false);
    peer.send(Packet::Disconnect);
    peer.expect_end();
    drop(Peer::connect(broker, dying("will/2"), false));
    watcher.expect(Packet::Publish(publish("will/2", "gone", QoS::AtMostOnce)));
    // A second connection with this client id takes the place of the first [MQTT-3.1.4-2].
    let first = Peer::connect(broker, dying("will/3"), false);
    let _second = Peer::connect(broker, dying("will/4"), false);
    first.expect_end();
    watcher.expect(Packet::Publish(publish("will/3", "gone", QoS::AtMostOnce)));
}

#[test]
fn client_silent_beyond_keep_alive_loses_its_connection() {
    let broker = small_broker::start().unwrap();
    let mut silent = connect("silent");
    silent.keep_alive = 1;
    Peer::connect(broker, silent, false).expect_end();
}

#[test]
fn connection_invalid_is_refused() {
    let broker = small_broker::start().unwrap();
    for (bytes, refusal) in [
        (
            &b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0"[..],
            ConnectReturnCode::UnacceptableProtocolVersion,
        ),
        (
            b"\x10\x0c\0\x04MQTT\x04\0\0\x3c\0\0",
            ConnectReturnCode::IdentifierRejected,
        ),
    ] {
        let mut peer = Peer::dial(broker);
        peer.stream.write_all(bytes).unwrap();
        peer.expect(Packet::Connack(Connack::Refused(refusal)));
        peer.expect_end();
    }
    let mut peer = Peer::dial(broker);
    peer.send(Packet::Pingreq);
    peer.expect_end();
    let mut peer = Peer::connect(broker, connect(""), false);
    peer.send(Packet::Connect(connect("")));
    peer.expect_end();
}
