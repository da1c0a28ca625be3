//! The statements of MQTT 3.1.1 about connecting, session state and the end of a connection, one test each.
//!
//! The tests have the ids of the specification's Appendix B. Statements about the delivery of messages are in
//! `delivery.rs` and `order.rs`, those about packet ids and requests in `requests.rs`, those about time in `time.rs`.

use umqtt::{
    Event, ProtocolError, RequestError, Storage,
    codec::{
        Connect, ConnectReturnCode, DecodeError, PacketType, QoS,
        SubackReturnCode::{self, Granted},
    },
};

use crate::wire::*;

const FILTER: [(&str, QoS); 1] = [("a/#", QoS::AtMostOnce)];
const GRANTED: [SubackReturnCode; 1] = [Granted(QoS::AtMostOnce)];

/// [MQTT-3.1.0-1] The first packet on a network connection is CONNECT, even if other packets are pending in the
/// session.
#[test]
fn mqtt_3_1_0_1_connect_is_sent_first() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    assert_eq!(
        driven.session.publish(&message(0, b"")),
        Err(RequestError::NotConnected)
    );
    assert_eq!(driven.session.ping(), Err(RequestError::NotConnected));
    assert_eq!(driven.session.disconnect(), Err(RequestError::NotConnected));
    assert_eq!(driven.sent(), b"");

    driven.connect(&KEEP);
    assert_eq!(driven.session.ping(), Err(RequestError::NotConnected));
    assert_eq!(driven.sent(), connect(&KEEP));

    driven.open(&KEEP, false);
    driven.publish(1, b"one");
    driven.publish_and_send(2, b"two");
    driven.feed(&pubrec(2));
    driven.receive(&publish(1, 9, b""), &[Event::Message(message(1, b""))]);
    // A PUBACK and a PUBREL are pending, a PUBLISH waits for its PUBACK, and another was not sent.
    driven.publish(1, b"three");
    assert!(driven.session.has_pending());
    driven.connect(&KEEP);
    driven.session.publish(&message(0, b"four")).unwrap();
    assert_eq!(
        driven.sent(),
        connect(&KEEP),
        "and nothing else before CONNACK"
    );

    // The same is true if a connection is lost inside the CONNECT.
    driven.connect(&KEEP);
    driven.send_up_to(5);
    driven.connect(&KEEP);
    assert_eq!(driven.sent(), connect(&KEEP));
}

/// [MQTT-3.1.0-2] A second CONNECT is never sent on one network connection.
#[test]
fn mqtt_3_1_0_2_connect_is_sent_once() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    for _ in 0..3 {
        driven.publish(1, b"");
    }
    driven.sent();
    driven.feed(&wire(&[&puback(1), &puback(2), &puback(3)]));
    driven.events();
    driven.session.ping().unwrap();
    assert_eq!(driven.sent(), PINGREQ);
    // Another CONNECT begins another connection: the session expects a CONNACK again, and nothing else.
    driven.connect(&CLEAN);
    assert!(!driven.session.is_connected());
    assert_eq!(driven.sent(), connect(&CLEAN));
    driven.feed(&PINGRESP);
    assert_eq!(
        driven.close_reason(),
        ProtocolError::BeforeConnack(PacketType::Pingresp)
    );
}

/// [MQTT-3.1.2-4] With Clean Session 0, state is kept and used on the next connection. At Session Present 0, the
/// session forgets all received ids before it handles the next PUBLISH.
#[test]
fn mqtt_3_1_2_4_clean_session_0_keeps_state() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"mine");
    driven.receive(
        &publish(2, 5, b"theirs"),
        &[Event::Message(message(2, b"theirs"))],
    );
    driven.sent();

    driven.lose();
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), dup(publish(1, 1, b"mine")));
    driven.receive(&dup(publish(2, 5, b"theirs")), &[]);
    assert_eq!(driven.sent(), pubrec(5), "it had been delivered before");

    // The server has forgotten the session: a new message with the same id is received in the same read as CONNACK.
    driven.lose();
    driven.connect(&KEEP);
    driven.sent();
    driven.receive(
        &wire(&[&connack(false), &publish(2, 5, b"new")]),
        &[
            Event::Connected {
                session_present: false,
                unknown_session: false,
                connect_unanswered: false,
            },
            Event::Message(message(2, b"new")),
        ],
    );
    let sent = packets(&driven.sent());
    assert_eq!(sent, [pubrec(5), dup(publish(1, 1, b"mine"))]);
}

/// [MQTT-3.1.2-6] Clean Session 1: when a CONNECT is queued, older state is discarded, and its ids are reported.
/// Packets that are queued after it belong to the new connection.
#[test]
fn mqtt_3_1_2_6_clean_session_1_discards_older_state() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    let (one, two) = (driven.publish(1, b"one"), driven.publish(2, b"two"));
    let three = driven.publish(2, b"three");
    let subscribe_id = driven.subscribe(&FILTER);
    driven.sent();
    driven.feed(&pubrec(three));
    driven.receive(&publish(2, 5, b""), &[Event::Message(message(2, b""))]);
    driven.sent();

    driven.connect(&CLEAN);
    let new = driven.publish(1, b"new");
    assert!(![one, two, three, subscribe_id].contains(&new));
    assert_eq!(
        driven.sent(),
        wire(&[&connect(&CLEAN), &publish(1, new, b"new")])
    );
    driven.receive(
        &connack(false),
        &[
            Event::Connected {
                session_present: false,
                unknown_session: false,
                connect_unanswered: false,
            },
            Event::PublishDiscarded(id(one)),
            Event::PublishDiscarded(id(two)),
            Event::OutcomeUnknown(id(subscribe_id)),
            Event::DeliveryUnknown(id(three)),
        ],
    );
    assert_eq!(driven.sent(), b"", "no old packet is sent");
    driven.receive(
        &publish(2, 5, b"other"),
        &[Event::Message(message(2, b"other"))],
    );
    driven.receive(&puback(new), &[Event::Puback(id(new))]);
}

/// [MQTT-3.1.2-6] State of a connection with Clean Session 1 is not used on any later one.
#[test]
fn mqtt_3_1_2_6_clean_session_state_is_not_reused() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    let old = driven.publish_and_send(1, b"old");
    driven.receive(&publish(2, 5, b""), &[Event::Message(message(2, b""))]);
    driven.lose();
    driven.open(&KEEP, false);
    driven.expect(&[Event::PublishDiscarded(id(old))]);
    assert_eq!(driven.sent(), b"");
    driven.receive(
        &publish(2, 5, b"other"),
        &[Event::Message(message(2, b"other"))],
    );
}

/// [MQTT-3.1.2-6] A CONNECT that is not valid, or does not fit, discards nothing.
#[test]
fn mqtt_3_1_2_6_connect_not_queued_discards_nothing() {
    let mut storage = Storage::<64, 64, 4>::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"kept");
    driven.lose();
    let long = "x".repeat(70);
    let at = driven.at();
    assert!(matches!(
        driven.session.connect(&Connect::new(&long), at),
        Err(RequestError::PacketTooLarge { needed: 84, .. })
    ));
    assert!(driven.session.connect(&Connect::new("\0"), at).is_err());
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), dup(publish(1, 1, b"kept")));
}

/// [MQTT-3.1.3-2] A session, and its saved image, belong to one client id. A CONNECT with another one is refused.
#[test]
fn mqtt_3_1_3_2_session_other_client_id_is_refused() {
    let other = Connect {
        client_id: "other",
        ..KEEP
    };
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"x");
    let at = driven.at();
    assert_eq!(
        driven.session.connect(&other, at),
        Err(RequestError::ClientIdMismatch)
    );
    assert!(driven.session.is_connected(), "nothing has happened");
    let mut image = [0; TestStorage::IMAGE_LEN];
    let used = driven.session.save(&mut image).unwrap().len;

    let mut second = TestStorage::new();
    let mut restored = TestSession::new(&mut second);
    restored.session.restore(&image[..used]).unwrap();
    assert_eq!(
        restored.session.connect(&other, at),
        Err(RequestError::ClientIdMismatch)
    );
    restored.open(&KEEP, true);
    assert_eq!(restored.sent(), dup(publish(1, 1, b"x")));

    // Clean Session 1 begins a session under the other id, to which it belongs from then on.
    let other_clean = Connect {
        clean_session: true,
        ..other
    };
    driven.open(&other_clean, false);
    driven.expect(&[Event::PublishDiscarded(id(1))]);
    driven.open(&other, false);
    assert_eq!(
        driven.session.connect(&KEEP, at),
        Err(RequestError::ClientIdMismatch)
    );
}

/// [MQTT-3.1.3-2] An empty session belongs to no client id. Packets that were queued before CONNACK belong to their
/// client id.
#[test]
fn mqtt_3_1_3_2_empty_session_accepts_other_client_id() {
    let other = Connect {
        client_id: "other",
        ..KEEP
    };
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.connect(&KEEP);
    driven.sent();
    driven.connect(&other);
    driven.publish(1, b"x");
    let at = driven.at();
    assert_eq!(
        driven.session.connect(&KEEP, at),
        Err(RequestError::ClientIdMismatch)
    );
}

/// [MQTT-3.1.4-5] Packets may be queued before CONNACK. A refusal reports each failed request by its id. With
/// Clean Session 0, the session keeps publishes at QoS 1 and 2.
#[test]
fn mqtt_3_1_4_5_refusal_reports_failed_requests() {
    for all_sent in [true, false] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::new(&mut storage);
        driven.connect(&KEEP);
        driven.publish(0, b"zero");
        let one = driven.publish(1, b"one");
        let subscribe_id = driven.subscribe(&FILTER);
        let unsubscribe_id = driven.unsubscribe(&["a/#"]);
        driven.publish(0, b"another");
        let two = driven.publish(2, b"two");
        if all_sent {
            assert_eq!(
                packets(&driven.sent()),
                [
                    connect(&KEEP),
                    publish(0, 0, b"zero"),
                    publish(1, one, b"one"),
                    subscribe(subscribe_id, "a/#"),
                    unsubscribe(unsubscribe_id, "a/#"),
                    publish(0, 0, b"another"),
                    publish(2, two, b"two"),
                ]
            );
        } else {
            driven.send_up_to(connect(&KEEP).len());
        }
        driven.feed(&refused(ConnectReturnCode::NotAuthorized));
        let (events, reason) = driven.events_and_reason();
        assert_eq!(
            reason,
            ProtocolError::Refused(ConnectReturnCode::NotAuthorized)
        );
        assert_eq!(
            events,
            texts(&[
                Event::RequestRejected(id(subscribe_id)),
                Event::RequestRejected(id(unsubscribe_id)),
                Event::Qos0Dropped(2)
            ])
        );

        driven.open(&KEEP, false);
        let again = [publish(1, one, b"one"), publish(2, two, b"two")];
        let expected = if all_sent {
            again.map(dup).concat()
        } else {
            again.concat()
        };
        assert_eq!(driven.sent(), expected);
    }
}

/// [MQTT-3.1.4-5] After a refusal, the next CONNECT discards messages that were published with Clean Session 1.
#[test]
fn mqtt_3_1_4_5_clean_session_refused_discards_messages() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.connect(&CLEAN);
    let one = driven.publish_and_send(1, b"one");
    driven.feed(&refused(ConnectReturnCode::ServerUnavailable));
    assert!(driven.events_and_reason().0.is_empty());
    driven.open(&CLEAN, false);
    driven.expect(&[Event::PublishDiscarded(id(one))]);
    assert_eq!(driven.sent(), b"");
}

/// [MQTT-3.2.0-1] A packet before CONNACK is a protocol violation. The connection is closed as soon as its first two
/// bytes are received.
#[test]
fn mqtt_3_2_0_1_packet_before_connack_closes_connection() {
    let early: [(PacketType, Vec<u8>); 9] = [
        (PacketType::Publish, publish(0, 0, b"x")),
        (PacketType::Publish, publish(2, 1, b"x")),
        (PacketType::Puback, puback(1)),
        (PacketType::Pubrec, pubrec(1)),
        (PacketType::Pubrel, pubrel(1)),
        (PacketType::Pubcomp, pubcomp(1)),
        (PacketType::Suback, suback(1, &GRANTED)),
        (PacketType::Unsuback, unsuback(1)),
        (PacketType::Pingresp, PINGRESP.to_vec()),
    ];
    for (packet_type, bytes) in early {
        for len in [bytes.len(), 2] {
            let mut storage = TestStorage::new();
            let mut driven = TestSession::new(&mut storage);
            driven.connect(&KEEP);
            driven.publish_and_send(1, b"kept");
            driven.feed(&bytes[..len]);
            assert_eq!(
                driven.close_reason(),
                ProtocolError::BeforeConnack(packet_type)
            );
            driven.open(&KEEP, true);
            assert_eq!(driven.sent(), dup(publish(1, 1, b"kept")));
        }
    }
}

/// [MQTT-3.2.0-1] The same holds for a message that is larger than the receive buffer, and for a CONNACK that is
/// received before the whole CONNECT was sent.
#[test]
fn mqtt_3_2_0_1_long_message_or_early_connack_closes() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.connect(&KEEP);
    driven.sent();
    driven.feed(&publish(1, 1, &[0; 500])[..20]);
    assert_eq!(
        driven.close_reason(),
        ProtocolError::BeforeConnack(PacketType::Publish)
    );

    driven.connect(&KEEP);
    driven.send_up_to(connect(&KEEP).len() - 1);
    driven.feed(&connack(false));
    assert_eq!(
        driven.close_reason(),
        ProtocolError::BeforeConnack(PacketType::Connack)
    );
}

/// [MQTT-3.2.2-1] Session Present 1 after Clean Session 1 is a protocol violation.
#[test]
fn mqtt_3_2_2_1_session_present_after_clean_session_closes() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.connect(&CLEAN);
    driven.sent();
    driven.feed(&connack(true));
    assert_eq!(
        driven.close_reason(),
        ProtocolError::SessionPresentAfterCleanSession
    );
    assert!(!driven.session.session_present());
    driven.open(&KEEP, true);
}

/// [MQTT-3.2.2-2] Session Present is reported to the caller. It decides whether the old session is resumed.
#[test]
fn mqtt_3_2_2_2_session_present_selects_resume_or_restart() {
    for session_present in [true, false] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        assert!(!driven.session.session_present());
        let released = driven.publish_and_send(2, b"x");
        driven.feed(&pubrec(released));
        driven.feed(&publish(2, 5, b"theirs"));
        driven.events();
        driven.lose();

        driven.connect(&KEEP);
        driven.sent();
        driven.receive(
            &connack(session_present),
            &[Event::Connected {
                session_present,
                unknown_session: false,
                connect_unanswered: false,
            }],
        );
        assert_eq!(driven.session.session_present(), session_present);
        assert_eq!(driven.sent(), pubrel(released));
        driven.feed(&dup(publish(2, 5, b"theirs")));
        driven.feed(&pubcomp(released));
        let (theirs, mine) = (
            Event::Message(umqtt::Message {
                dup: true,
                ..message(2, b"theirs")
            }),
            id(released),
        );
        if session_present {
            driven.expect(&[Event::Pubcomp(mine)]);
        } else {
            driven.expect(&[theirs, Event::DeliveryUnknown(mine)]);
        }
    }
}

/// [MQTT-3.2.2-2] If a server reports a session that this client does not know, the caller is informed.
#[test]
fn mqtt_3_2_2_2_unknown_session_is_reported() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    // After the first connection, client and server know the session.
    for unknown_session in [true, false] {
        session_is_present(&mut driven, unknown_session);
        assert_eq!(driven.session.unknown_session(), unknown_session);
    }
    // After Clean Session 1, the client knows no session of the server.
    driven.open(&CLEAN, false);
    session_is_present(&mut driven, true);
}

/// Connects with Session Present 1, which is reported.
#[track_caller]
fn session_is_present(driven: &mut TestSession<'_>, unknown_session: bool) {
    driven.connect(&KEEP);
    driven.sent();
    driven.receive(
        &connack(true),
        &[Event::Connected {
            session_present: true,
            unknown_session,
            connect_unanswered: false,
        }],
    );
}

/// [MQTT-3.2.2-3] Session Present 0 is reported to the caller. Unacknowledged PUBLISHes are still resent.
#[test]
fn mqtt_3_2_2_3_session_present_0_resends_publishes() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    let (one, two) = (
        driven.publish(1, b"one"),
        driven.publish_and_send(2, b"two"),
    );
    driven.lose();
    driven.connect(&KEEP);
    driven.sent();
    driven.receive(
        &connack(false),
        &[Event::Connected {
            session_present: false,
            unknown_session: false,
            connect_unanswered: false,
        }],
    );
    assert_eq!(
        packets(&driven.sent()),
        [dup(publish(1, one, b"one")), dup(publish(2, two, b"two"))]
    );
    driven.receive(
        &wire(&[&puback(one), &pubrec(two)]),
        &[Event::Puback(id(one))],
    );
    assert_eq!(driven.sent(), pubrel(two));
    driven.receive(&pubcomp(two), &[Event::Pubcomp(id(two))]);
}

/// [MQTT-3.2.2-5] Each refusal code reaches the caller by name; reserved codes are errors.
#[test]
fn mqtt_3_2_2_5_refusal_codes_are_reported_by_name() {
    use ConnectReturnCode::{
        BadUserNameOrPassword, IdentifierRejected, NotAuthorized, ServerUnavailable,
        UnacceptableProtocolVersion,
    };
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    let mut reason = |bytes: &[u8]| {
        driven.connect(&KEEP);
        driven.sent();
        driven.feed(bytes);
        driven.close_reason()
    };
    for (byte, code) in [
        (1, UnacceptableProtocolVersion),
        (2, IdentifierRejected),
        (3, ServerUnavailable),
        (4, BadUserNameOrPassword),
        (5, NotAuthorized),
    ] {
        assert_eq!(reason(&[0x20, 2, 0, byte]), ProtocolError::Refused(code));
    }
    for code in 6..=u8::MAX {
        assert_eq!(
            reason(&[0x20, 2, 0, code]),
            ProtocolError::Decode(DecodeError::UnknownConnectReturnCode { code })
        );
    }
    assert_eq!(
        reason(&[0x20, 2, 1, 5]),
        ProtocolError::Decode(DecodeError::SessionPresentWithRefusal { code: 5 })
    );
}

/// [MQTT-3.14.4-2] Nothing is sent after DISCONNECT on that connection.
#[test]
fn mqtt_3_14_4_2_nothing_is_sent_after_disconnect() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    let options = Connect {
        keep_alive: 1,
        ..KEEP
    };
    driven.open(&options, false);
    driven.publish(0, b"before");
    driven.receive(&publish(1, 3, b""), &[Event::Message(message(1, b""))]);
    driven.session.disconnect().unwrap();
    let refused = Err(RequestError::NotConnected);
    assert_eq!(driven.session.publish(&message(0, b"after")), refused);
    assert_eq!(driven.session.publish(&message(1, b"after")), refused);
    assert_eq!(
        driven.session.subscribe(&FILTER),
        Err(RequestError::NotConnected)
    );
    assert_eq!(
        driven.session.unsubscribe(&["a"]),
        Err(RequestError::NotConnected)
    );
    assert_eq!(driven.session.ping(), Err(RequestError::NotConnected));
    assert_eq!(driven.session.disconnect(), Err(RequestError::NotConnected));
    // Packets that are received while DISCONNECT is partly sent are not answered, and no PINGREQ is sent.
    let mut sent = driven.send_up_to(4);
    let before = wire(&[&puback(3), &publish(0, 0, b"before"), &DISCONNECT]);
    sent.extend(driven.send_up_to(before.len() - 5));
    driven.receive(&publish(1, 4, b""), &[Event::Message(message(1, b""))]);
    driven.receive(&publish(2, 5, b""), &[Event::Message(message(2, b""))]);
    driven.pass(5_000);
    driven.expect(&[]);
    sent.extend(driven.sent());
    assert_eq!(sent, before);
    driven.pass(999);
    driven.receive(&publish(1, 6, b""), &[]);
    driven.session.connection_lost();
    assert_eq!(driven.close_reason(), ProtocolError::Closed);
}

/// [MQTT-3.14.4-2] Nothing follows a DISCONNECT that was sent before CONNACK: no PINGREQ and no answer.
#[test]
fn mqtt_3_14_4_2_disconnect_before_connack_is_last_packet() {
    let options = Connect {
        keep_alive: 1,
        ..KEEP
    };
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    driven.connect(&options);
    driven.session.disconnect().unwrap();
    assert_eq!(driven.sent(), wire(&[&connect(&options), &DISCONNECT]));
    driven.pass(5_000);
    driven.expect(&[]);
    assert_eq!(driven.sent(), b"");
    driven.receive(
        &wire(&[&connack(false), &publish(1, 1, b"")]),
        &[Event::Connected {
            session_present: false,
            unknown_session: false,
            connect_unanswered: false,
        }],
    );
    // The session waits for the end of the stream, for 1 s.
    assert_eq!(driven.time_to_deadline(), Some(1_000));
    driven.pass(1_000);
    assert_eq!(driven.close_reason(), ProtocolError::Closed);
}

/// [MQTT-4.1.0-1] Session state lives as long as the session: across connections, and reboots if it is saved.
#[test]
fn mqtt_4_1_0_1_state_survives_reconnects_and_reboots() {
    let mut image = [0; TestStorage::IMAGE_LEN];
    let mut used = 0;
    for round in 0..3 {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::new(&mut storage);
        if round == 0 {
            driven.open(&KEEP, false);
            driven.publish(1, b"one");
            let two = driven.publish(2, b"two");
            driven.publish_and_send(2, b"three");
            driven.feed(&pubrec(two));
            driven.receive(
                &publish(2, 5, b"theirs"),
                &[Event::Message(message(2, b"theirs"))],
            );
            driven.sent();
        } else {
            driven.session.restore(&image[..used]).unwrap();
        }
        for _ in 0..3 {
            driven.session.connection_lost();
            driven.open(&KEEP, true);
            assert_eq!(
                packets(&driven.sent()),
                [
                    pubrel(2),
                    dup(publish(1, 1, b"one")),
                    dup(publish(2, 3, b"three"))
                ]
            );
            driven.receive(&dup(publish(2, 5, b"theirs")), &[]);
            assert_eq!(driven.sent(), pubrec(5));
            driven.publish_acknowledged();
        }
        used = driven.session.save(&mut image).unwrap().len;
    }
}

/// [MQTT-4.1.0-2] A session lasts at least as long as its connection: even one with Clean Session 1 is whole until its
/// connection has ended.
#[test]
fn mqtt_4_1_0_2_clean_session_state_lasts_until_close() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    let (one, two) = (
        driven.publish(1, b"one"),
        driven.publish_and_send(2, b"two"),
    );
    driven.receive(
        &publish(2, 5, b"theirs"),
        &[Event::Message(message(2, b"theirs"))],
    );
    driven.sent();
    // Other messages are exchanged for a day. The response timeout is longer than that.
    driven.session.set_response_timeout(90_000_000);
    for _ in 0..1_000 {
        driven.pass(86_400);
        let packet_id = driven.publish_and_send(1, b"");
        driven.receive(&puback(packet_id), &[Event::Puback(id(packet_id))]);
    }
    driven.receive(&dup(publish(2, 5, b"theirs")), &[]);
    assert_eq!(driven.sent(), pubrec(5));
    driven.receive(
        &wire(&[&puback(one), &pubrec(two)]),
        &[Event::Puback(id(one))],
    );
    assert_eq!(driven.sent(), pubrel(two));
}
