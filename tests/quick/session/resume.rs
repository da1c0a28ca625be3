//! A session across its connections: kept and discarded messages, their events, and the errors of a full session.

use std::collections::VecDeque;

use umqtt::{
    Event, ProtocolError, RequestError, Storage, StreamedPublish,
    codec::{Connect, ConnectReturnCode, Credentials, EncodeError, Packet, QoS, TopicError},
};

use crate::wire::*;

const FILTER: [(&str, QoS); 1] = [("a/#", QoS::AtMostOnce)];

/// Connections that are lost before CONNACK, at any byte, do not change the session.
#[test]
fn connections_without_connack_keep_session() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish(1, b"left");
    driven.publish_and_send(2, b"released");
    driven.receive(&pubrec(2), &[]);
    driven.publish(1, b"queued");
    let connect = connect(&KEEP);
    for left in 0..=connect.len() {
        driven.connect(&KEEP);
        driven.send_up_to(left);
        assert_eq!(driven.lose(), Vec::<String>::new());
    }
    driven.connect(&KEEP);
    driven.sent();
    driven.feed(&refused(ConnectReturnCode::ServerUnavailable));
    driven.close_reason();
    driven.connect(&KEEP);
    driven.sent();
    driven.pass(TIMEOUT - 1);
    driven.expect(&[]);
    driven.pass(1);
    assert_eq!(driven.close_reason(), ProtocolError::ConnackTimeout);
    driven.open(&KEEP, true);
    assert_eq!(
        packets(&driven.sent()),
        [
            pubrel(2),
            dup(publish(1, 1, b"left")),
            publish(1, 3, b"queued")
        ]
    );
}

/// If a connection is lost inside a resend, all messages are sent again. Those of which a byte was sent before have
/// DUP.
#[test]
fn resend_cut_is_sent_again() {
    let packet = publish(1, 1, b"a").len();
    for sent_len in 0..3 * packet {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        for payload in [b"a", b"b", b"c"] {
            driven.publish(1, payload);
        }
        driven.send_up_to(packet + 1);
        driven.lose();
        driven.open(&KEEP, true);
        if sent_len > 0 {
            driven.send_up_to(sent_len);
        }
        driven.lose();
        driven.open(&KEEP, true);
        let third = publish(1, 3, b"c");
        let mut again = packets(&driven.sent());
        // After two connections without an acknowledgement, messages are sent one by one.
        assert_eq!(again.len(), if sent_len > 0 { 1 } else { 3 });
        while again.len() < 3 {
            driven.feed(&puback(again.len().try_into().unwrap()));
            assert_eq!(driven.events().len(), 1);
            again.extend(packets(&driven.sent()));
        }
        assert_eq!(
            again,
            [
                dup(publish(1, 1, b"a")),
                dup(publish(1, 2, b"b")),
                if sent_len > 2 * packet {
                    dup(third)
                } else {
                    third
                }
            ]
        );
    }
}

/// The end of a connection discards acknowledgements, PINGREQ, messages at QoS 0 and a partly received packet. Pending
/// requests are reported.
#[test]
fn connection_closed_discards_acks_pings_and_qos_0() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    let (subscribe_id, unsubscribe_id) = (driven.subscribe(&FILTER), driven.unsubscribe(&["a/#"]));
    driven.sent();
    let unsent = driven.subscribe(&FILTER);
    driven.publish(0, b"zero");
    driven.feed(&wire(&[
        &publish(1, 1, b"one"),
        &publish(2, 2, b"two"),
        &pubrel(3),
        &pubrec(4),
        &publish(1, 5, b"half")[..6],
    ]));
    assert_eq!(driven.events().len(), 2);
    driven.session.ping().unwrap();
    assert_eq!(
        driven.lose(),
        texts(&[
            Event::OutcomeUnknown(id(subscribe_id)),
            Event::OutcomeUnknown(id(unsubscribe_id)),
            Event::OutcomeUnknown(id(unsent)),
            Event::Qos0Dropped(1)
        ])
    );
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), b"");
    // The next connection begins with a whole packet.
    driven.feed(&dup(publish(1, 5, b"half")));
    assert_eq!(driven.events().len(), 1);
}

/// All pending reports are kept, even if the caller connects again at once without a poll.
#[test]
fn reports_pending_survive_immediate_reconnect() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    let published = driven.publish(1, b"x");
    let subscribe_id = driven.subscribe(&FILTER);
    driven.sent();
    driven.publish(0, b"zero");
    // The event of an acknowledgement was announced, and not taken.
    driven.feed(&puback(published));
    let ready = driven.session.poll(driven.at()).unwrap().unwrap();
    assert_eq!(ready.completed_request(), Some(id(published)));
    driven.connect(&KEEP);
    driven.sent();
    driven.expect(&[]);
    driven.receive(
        &connack(true),
        &[
            Event::Connected {
                session_present: true,
                unknown_session: false,
                connect_unanswered: false,
            },
            Event::Puback(id(published)),
            Event::OutcomeUnknown(id(subscribe_id)),
            Event::Qos0Dropped(1),
        ],
    );
}

/// A CONNACK that was received and not handled has no effect on the next connection.
#[test]
fn connack_of_old_connection_is_ignored() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.connect(&KEEP);
    driven.sent();
    driven.feed(&connack(false));
    assert!(driven.session.poll(driven.at()).unwrap().is_some());
    driven.connect(&KEEP);
    driven.sent();
    driven.expect(&[]);
    driven.accept(true);
}

/// A pending event is returned once, even if the connection is lost.
#[test]
fn event_pending_survives_connection_loss() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.feed(&publish(2, 5, b"x"));
    let ready = driven.session.poll(driven.at()).unwrap().unwrap();
    driven.session.connection_lost();
    let event = driven.session.event(ready).unwrap();
    assert_eq!(event, Some(Event::Message(message(2, b"x"))));
    assert_eq!(driven.close_reason(), ProtocolError::Closed);
    driven.open(&KEEP, true);
    assert_eq!(
        driven.sent(),
        b"",
        "the PUBREC was discarded with its connection"
    );
    driven.receive(&dup(publish(2, 5, b"x")), &[]);
    assert_eq!(driven.sent(), pubrec(5));
}

/// A token that was used, or whose event was discarded with its connection, returns no event.
#[test]
fn event_token_stale_returns_none() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.feed(&publish(1, 5, b"x"));
    let first = driven.session.poll(driven.at()).unwrap().unwrap();
    let second = driven.session.poll(driven.at()).unwrap().unwrap();
    assert!(driven.session.event(first).unwrap().is_some());
    assert_eq!(driven.session.event(second), Ok(None));
    driven.feed(&publish(1, 5, b"x"));
    let stale = driven.session.poll(driven.at()).unwrap().unwrap();
    driven.connect(&KEEP);
    assert_eq!(driven.session.event(stale), Ok(None));
}

/// CONNECT, SUBSCRIBE, PUBLISH and DISCONNECT that are queued at once are returned as one slice, and their answers are
/// reported.
#[test]
fn pipelined_packets_are_one_slice() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.connect(&KEEP);
    let subscribe_id = driven.subscribe(&[("a", QoS::AtMostOnce)]);
    driven.publish(0, b"zero");
    let published = driven.publish(1, b"one");
    driven.session.disconnect().unwrap();
    let all = wire(&[
        &connect(&KEEP),
        &subscribe(subscribe_id, "a"),
        &publish(0, 0, b"zero"),
        &publish(1, published, b"one"),
        &DISCONNECT,
    ]);
    let now = driven.at();
    assert_eq!(driven.session.pending(now), all);
    assert_eq!(driven.sent(), all);
    assert!(
        driven.session.is_connecting(),
        "the server may still refuse the connection"
    );
    driven.feed(&connack(false));
    driven.session.connection_lost();
    let (events, reason) = driven.events_and_reason();
    assert_eq!(reason, ProtocolError::Closed);
    assert_eq!(
        events,
        texts(&[
            Event::Connected {
                session_present: false,
                unknown_session: false,
                connect_unanswered: false,
            },
            Event::OutcomeUnknown(id(subscribe_id)),
        ])
    );
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), dup(publish(1, published, b"one")));
}

/// If the server refuses the connection, every failed request of the pipelined packets is reported.
#[test]
fn pipelined_packets_refused_are_all_reported() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.connect(&KEEP);
    let subscribe_id = driven.subscribe(&FILTER);
    driven.publish(0, b"zero");
    driven.publish(1, b"one");
    driven.session.disconnect().unwrap();
    driven.sent();
    driven.feed(&refused(ConnectReturnCode::BadUserNameOrPassword));
    let (events, reason) = driven.events_and_reason();
    assert_eq!(
        reason,
        ProtocolError::Refused(ConnectReturnCode::BadUserNameOrPassword)
    );
    assert_eq!(
        events,
        texts(&[
            Event::RequestRejected(id(subscribe_id)),
            Event::Qos0Dropped(1)
        ])
    );
}

/// If the in-flight table is full, requests return an error. The session and the connection do not change.
#[test]
fn in_flight_table_full_returns_error() {
    let mut storage = Storage::<64, 256, 2>::new();
    let mut driven = TestSession::connected(&mut storage);
    let (one, two) = (driven.publish(1, b"one"), driven.publish(2, b"two"));
    let full = RequestError::InflightFull { capacity: 2 };
    let before = |driven: &mut TestSession<'_>| {
        assert_eq!(driven.session.publish(&message(1, b"x")), Err(full));
        assert_eq!(driven.session.publish(&message(2, b"x")), Err(full));
        assert_eq!(driven.session.subscribe(&FILTER), Err(full));
        assert_eq!(driven.session.unsubscribe(&["a"]), Err(full));
    };
    before(&mut driven);
    assert_eq!(
        driven.sent(),
        wire(&[&publish(1, one, b"one"), &publish(2, two, b"two")])
    );
    before(&mut driven);
    driven.receive(&pubrec(two), &[]);
    before(&mut driven);
    // Messages at QoS 0 and received messages need no slot.
    driven.publish(0, b"zero");
    driven.feed(&publish(1, 9, b""));
    assert_eq!(driven.events().len(), 1);
    assert_eq!(
        driven.sent(),
        wire(&[&pubrel(two), &puback(9), &publish(0, 0, b"zero")])
    );
    driven.receive(&puback(one), &[Event::Puback(id(one))]);
    driven.publish(1, b"room again");
}

/// If the send buffer is full, requests return an error with the sizes. Acknowledgements are still sent, and the
/// session can connect again.
#[test]
fn send_buffer_full_returns_error_with_sizes() {
    let mut storage = Storage::<64, 64, 8>::new();
    let mut driven = TestSession::connected(&mut storage);
    let capacity = 64 - 2 - connect(&KEEP).len();
    let payload = [b'x'; 15];
    driven.publish(1, &payload);
    driven.publish_and_send(1, &payload[..10]);
    let (used, needed) = (
        publish(1, 1, &payload).len() + publish(1, 2, &payload[..10]).len(),
        publish(1, 3, b"123").len(),
    );
    let full = RequestError::SendBufferFull {
        needed,
        free: capacity - used,
    };
    assert!(needed > capacity - used);
    assert_eq!(driven.session.publish(&message(1, b"123")), Err(full));
    assert_eq!(driven.session.in_flight(), 2);
    assert!(!driven.session.has_pending());
    assert_eq!(
        driven.session.publish(&message(0, &[0; 60])),
        Err(RequestError::PacketTooLarge {
            needed: 65,
            capacity
        })
    );
    // A request that the specification forbids has that error, even if the session is full.
    assert_eq!(
        driven.session.subscribe(&[]),
        Err(RequestError::Encode(EncodeError::NoFilters))
    );
    let wildcard = umqtt::Message::new("a/#", b"");
    assert_eq!(
        driven.session.publish(&wildcard),
        Err(RequestError::Encode(EncodeError::Topic(
            TopicError::Wildcard { at: 2 }
        )))
    );
    driven.feed(&publish(2, 9, b""));
    assert_eq!(driven.events().len(), 1);
    assert_eq!(driven.sent(), pubrec(9));

    driven.lose();
    driven.open(&KEEP, true);
    assert_eq!(
        driven.sent(),
        wire(&[
            &dup(publish(1, 1, &payload)),
            &dup(publish(1, 2, &payload[..10]))
        ])
    );
    driven.receive(&puback(1), &[Event::Puback(id(1))]);
    assert_eq!(driven.publish(1, b"123"), 3);
    assert_eq!(driven.sent(), publish(1, 3, b"123"));
    driven.feed(&puback(3));
    driven.receive(&puback(2), &[Event::Puback(id(3)), Event::Puback(id(2))]);
}

/// A packet that fills the send buffer to the last byte is not too large, and fits when the buffer is empty.
#[test]
fn largest_packet_fits_into_empty_send_buffer() {
    let mut storage = Storage::<64, 64, 8>::new();
    let mut driven = TestSession::connected(&mut storage);
    let capacity = 64 - 2 - connect(&KEEP).len();
    let payload = vec![b'x'; capacity - 7];
    driven.publish(1, b"");
    let full = RequestError::SendBufferFull {
        needed: capacity,
        free: capacity - 7,
    };
    assert_eq!(driven.session.publish(&message(1, &payload)), Err(full));
    driven.sent();
    driven.receive(&puback(1), &[Event::Puback(id(1))]);
    assert_eq!(driven.publish(1, &payload), 2);
}

/// A message that is acknowledged late, before it was resent, is omitted. The others are sent.
#[test]
fn resend_acknowledged_before_it_begins_is_omitted() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    for payload in [b"one", b"two", b"six"] {
        driven.publish(1, payload);
    }
    driven.sent();
    driven.lose();
    driven.open(&KEEP, true);
    driven.receive(&puback(2), &[Event::Puback(id(2))]);
    assert_eq!(
        driven.sent(),
        wire(&[&dup(publish(1, 1, b"one")), &dup(publish(1, 3, b"six"))])
    );
}

/// A longer CONNECT uses the room of discarded messages, but not that of kept ones.
#[test]
fn longer_connect_keeps_unacknowledged_messages() {
    let mut storage = Storage::<64, 64, 8>::new();
    let mut driven = TestSession::connected(&mut storage);
    let capacity = 64 - 2 - connect(&KEEP).len();
    let payload = vec![b'x'; capacity - 7];
    driven.publish_and_send(1, &payload);
    let longer = Connect {
        credentials: Some(Credentials {
            user_name: "user",
            password: None,
        }),
        ..KEEP
    };
    let at = driven.at();
    let needed = longer.encoded_len().unwrap();
    let free = connect(&KEEP).len();
    assert_eq!(
        driven.session.connect(&longer, at),
        Err(RequestError::NoRoomForConnect { needed, free })
    );
    driven.lose();
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), dup(publish(1, 1, &payload)));
    driven.lose();
    let clean = Connect {
        clean_session: true,
        ..longer
    };
    driven.open(&clean, false);
    driven.expect(&[Event::PublishDiscarded(id(1))]);
}

/// If a message is acknowledged before it was resent, the payload after it is still requested from its caller.
#[test]
fn payload_after_late_acknowledgement_is_requested() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"one");
    driven.lose();
    driven.connect(&KEEP);
    driven.sent();
    driven
        .session
        .begin_payload(StreamedPublish::new("t"), 9)
        .unwrap();
    driven.accept(true);
    driven.receive(&puback(1), &[Event::Puback(id(1))]);
    assert_eq!(driven.sent(), [0x30, 12, 0, 1, b't']);
    assert_eq!(driven.session.payload_left(), 9);
}

/// A full send buffer has room for a DISCONNECT.
#[test]
fn disconnect_send_buffer_full_is_queued() {
    let mut storage = Storage::<64, 32, 8>::new();
    let mut driven = TestSession::connected(&mut storage);
    let mut expected = Vec::new();
    while driven.session.publish(&message(0, b"")).is_ok() {
        expected.extend(publish(0, 0, b""));
    }
    driven.session.disconnect().unwrap();
    expected.extend(DISCONNECT);
    assert_eq!(driven.sent(), expected);
}

/// Two peers with full buffers and more to send do not wait for each other forever.
#[test]
fn peers_with_full_buffers_do_not_deadlock() {
    for taken in [1, 2, 5, 64] {
        let mut storage = Storage::<32, 64, 3, 4>::new();
        let mut driven = TestSession::connected(&mut storage);
        let mut peer = Peer::default();
        let (mut published, mut done, mut received) = (0, 0, 0);
        for _ in 0..20_000 {
            while published < 200 {
                let level = 1 + published % 2;
                if driven.session.publish(&message(level, b"1234567")).is_err() {
                    break;
                }
                published += 1;
            }
            peer.publish();
            // The network holds few bytes in either direction.
            let room = 20_usize.saturating_sub(peer.unread.len());
            let sent = driven.send_up_to(taken.min(room));
            peer.unread.extend(sent);
            peer.read();
            let n = peer.out.len().min(taken).min(driven.session.space().len());
            let bytes: Vec<u8> = peer.out.drain(..n).collect();
            driven.feed(&bytes);
            for event in driven.events() {
                match &event {
                    e if e.starts_with("Message") => received += 1,
                    e if e.starts_with("Pub") => done += 1,
                    other => panic!("{other}"),
                }
            }
        }
        assert_eq!((published, done, received), (200, 200, 200), "{taken}");
        assert_eq!(peer.received, 200);
        assert!(peer.waiting.is_empty());
    }
}

/// A correct server with at most two of its own messages in flight. It reads only packets for whose answer it has room.
#[derive(Default)]
struct Peer {
    unread: VecDeque<u8>,
    out: VecDeque<u8>,
    waiting: VecDeque<u16>,
    published: u16,
    received: u32,
}

impl Peer {
    fn publish(&mut self) {
        if self.published < 200 && self.waiting.len() < 2 && self.out.len() < 16 {
            self.published += 1;
            self.waiting.push_back(self.published);
            let level = if self.published.is_multiple_of(2) {
                1
            } else {
                2
            };
            self.out.extend(publish(level, self.published, b"1234567"));
        }
    }

    fn read(&mut self) {
        while self.out.len() < 24 {
            let bytes = self.unread.make_contiguous();
            let Some((packet, used)) = Packet::decode(bytes).unwrap() else {
                return;
            };
            let answer = match packet {
                Packet::Publish(publish) => {
                    self.received += 1;
                    let packet_id = publish.delivery.packet_id().unwrap().get();
                    match publish.delivery.qos() {
                        QoS::ExactlyOnce => pubrec(packet_id),
                        _ => puback(packet_id),
                    }
                }
                Packet::Pubrel(ack) => pubcomp(ack.packet_id.get()),
                Packet::Pubrec(ack) => pubrel(ack.packet_id.get()),
                Packet::Puback(ack) => self.done(ack.packet_id.get()),
                Packet::Pubcomp(ack) => self.done(ack.packet_id.get()),
                other => panic!("{other:?}"),
            };
            self.out.extend(answer);
            self.unread.drain(..used);
        }
    }

    fn done(&mut self, packet_id: u16) -> Vec<u8> {
        self.waiting.retain(|waiting| *waiting != packet_id);
        vec![]
    }
}

/// If the server forgot the session and closes the connection at each unknown PUBREL, the PUBREL is not repeated
/// forever, and all other messages are delivered.
#[test]
fn pubrel_refused_by_server_causes_no_livelock() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    let released = [driven.publish(2, b"a"), driven.publish(2, b"b")];
    let waiting = driven.publish_and_send(1, b"c");
    driven.receive(
        &wire(&released.map(pubrec).each_ref().map(Vec::as_slice)),
        &[],
    );
    driven.sent();
    driven.lose();

    driven.open(&KEEP, false);
    assert_eq!(driven.send_up_to(8), released.map(pubrel).concat());
    assert_eq!(
        driven.lose(),
        texts(&released.map(|packet_id| Event::DeliveryUnknown(id(packet_id))))
    );
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), dup(publish(1, waiting, b"c")));
    driven.receive(&puback(waiting), &[Event::Puback(id(waiting))]);
}

/// A PUBREL that was not sent because the connection was lost before CONNACK is not discarded.
#[test]
fn pubrel_never_sent_is_not_discarded() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(2, b"a");
    driven.receive(&pubrec(1), &[]);
    driven.lose();
    driven.connect(&KEEP);
    driven.sent();
    assert_eq!(driven.lose(), Vec::<String>::new());
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), pubrel(1));
    driven.receive(&pubcomp(1), &[Event::Pubcomp(id(1))]);
}

/// A message that was published after Session Present 0 is not reported as forgotten.
#[test]
fn publish_after_session_lost_is_reported_delivered() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(2, b"resent");
    driven.lose();
    driven.open(&KEEP, false);
    driven.publish_and_send(2, b"new");
    driven.receive(&wire(&[&pubrec(1), &pubrec(2)]), &[]);
    driven.sent();
    driven.receive(
        &wire(&[&pubcomp(1), &pubcomp(2)]),
        &[Event::Pubcomp(id(1)), Event::Pubcomp(id(2))],
    );
}

/// New messages are sent after a pending PUBREL, which waits for CONNACK. A pending report blocks nothing.
#[test]
fn publish_pubrel_pending_is_sent_after_it() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(2, b"first");
    driven.feed(&pubrec(1));
    assert_eq!(driven.next(), Ok(None));
    driven.connect(&KEEP);
    driven.publish(1, b"second");
    assert_eq!(driven.sent(), connect(&KEEP));
    driven.accept(true);
    driven.receive(&pubcomp(1), &[Event::Pubcomp(id(1))]);
    assert_eq!(
        driven.sent(),
        wire(&[&pubrel(1), &publish(1, 2, b"second")])
    );
    driven.receive(&puback(2), &[Event::Puback(id(2))]);

    driven.subscribe(&[("a/#", QoS::AtMostOnce)]);
    driven.connect(&KEEP);
    driven.publish(1, b"third");
    assert_eq!(
        driven.sent(),
        wire(&[&connect(&KEEP), &publish(1, 4, b"third")])
    );
}

/// A report that was announced and not taken is announced again on the next connection.
#[test]
fn dropped_messages_announced_and_not_taken_are_reported_again() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish(0, b"lost");
    driven.session.connection_lost();
    let token = driven.session.poll(driven.at()).unwrap();
    assert!(token.is_some(), "an event is pending");
    driven.connect(&KEEP);
    driven.sent();
    driven.accept(false);
    driven.expect(&[Event::Qos0Dropped(1)]);
}

/// A caller may ask for the deadline after each event.
#[test]
fn deadline_report_pending_has_passed() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    driven.publish(1, b"x");
    driven.sent();
    driven.lose();
    driven.connect(&CLEAN);
    driven.sent();
    driven.accept(false);
    assert_eq!(driven.time_to_deadline(), Some(0));
    driven.expect(&[Event::PublishDiscarded(id(1))]);
    assert_ne!(driven.time_to_deadline(), Some(0));
}
