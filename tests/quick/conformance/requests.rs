//! The statements of MQTT 3.1.1 about packet ids, and about requests and their answers, one test each.

use umqtt::{
    Event, ProtocolError, RequestError, Storage,
    codec::{
        PacketType, QoS, Suback,
        SubackReturnCode::{self, Failure, Granted},
    },
};

use crate::wire::*;

const FILTER: [(&str, QoS); 1] = [("a/#", QoS::AtMostOnce)];
const GRANTED: [SubackReturnCode; 1] = [Granted(QoS::AtMostOnce)];

fn suback_event(packet_id: u16, codes: &[SubackReturnCode]) -> String {
    let suback = Suback::new(id(packet_id), codes).unwrap();
    texts(&[Event::Suback(id(packet_id), suback.codes())]).remove(0)
}

fn unexpected(packet_type: PacketType, packet_id: u16) -> ProtocolError {
    ProtocolError::UnexpectedAck {
        packet_type,
        packet_id: id(packet_id),
    }
}

/// [MQTT-2.3.1-2] A new packet has an id that no packet in flight uses, including SUBSCRIBE and UNSUBSCRIBE.
#[test]
fn mqtt_2_3_1_2_ids_in_flight_are_not_reused() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    // One of each kind stays in flight. One at QoS 2 waits for PUBCOMP.
    let kept = [
        driven.publish(1, b""),
        driven.publish(2, b""),
        driven.subscribe(&FILTER),
        driven.unsubscribe(&["a/#"]),
        driven.publish(2, b""),
    ];
    driven.sent();
    driven.receive(&pubrec(kept[4]), &[]);
    driven.sent();
    // The client makes more requests than there are ids.
    let mut last = kept[4];
    for round in 0..66_000_u32 {
        let packet_id = match round % 3 {
            0 => driven.publish(1, b""),
            1 => driven.subscribe(&FILTER),
            _ => driven.unsubscribe(&["a/#"]),
        };
        assert_ne!(packet_id, 0);
        assert!(!kept.contains(&packet_id), "id {packet_id} is in flight");
        assert_ne!(packet_id, last, "an id is not used twice in a row");
        last = packet_id;
        let sent = driven.sent();
        driven.feed(&match sent[0] {
            0x32 => puback(packet_id),
            0x82 => suback(packet_id, &GRANTED),
            _ => unsuback(packet_id),
        });
        assert_eq!(driven.events().len(), 1);
    }
    assert_eq!(driven.session.in_flight(), kept.len());
}

/// [MQTT-2.3.1-3] A resend keeps its id, which is free again only after its final acknowledgement.
#[test]
fn mqtt_2_3_1_3_id_is_in_use_until_final_acknowledgement() {
    let mut storage = Storage::<64, 128, 1>::new();
    let mut driven = TestSession::connected(&mut storage);
    let full = Err(RequestError::InflightFull { capacity: 1 });
    let packet_id = driven.publish(2, b"x");
    assert_eq!(driven.sent(), publish(2, packet_id, b"x"));

    driven.lose();
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), dup(publish(2, packet_id, b"x")));
    assert_eq!(driven.session.publish(&message(1, b"y")), full);
    driven.receive(&pubrec(packet_id), &[]);
    assert_eq!(driven.sent(), pubrel(packet_id));
    assert_eq!(driven.session.publish(&message(1, b"y")), full);

    driven.lose();
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), pubrel(packet_id));
    assert_eq!(driven.session.publish(&message(1, b"y")), full);
    driven.receive(&pubcomp(packet_id), &[Event::Pubcomp(id(packet_id))]);
    assert_eq!(driven.publish(1, b"y"), packet_id + 1);
}

/// [MQTT-2.3.1-6] PUBACK, PUBREC and PUBREL carry the id of the PUBLISH that they answer.
#[test]
fn mqtt_2_3_1_6_answers_carry_the_id_of_the_publish() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    for packet_id in [1, 255, 256, 0x1234, u16::MAX] {
        driven.receive(
            &publish(1, packet_id, b""),
            &[Event::Message(message(1, b""))],
        );
        assert_eq!(driven.sent(), puback(packet_id));
        driven.receive(
            &publish(2, packet_id, b""),
            &[Event::Message(message(2, b""))],
        );
        assert_eq!(driven.sent(), pubrec(packet_id));
        driven.receive(&pubrel(packet_id), &[]);
        assert_eq!(driven.sent(), pubcomp(packet_id));
    }
    for _ in 0..300 {
        let packet_id = driven.publish(2, b"");
        assert_eq!(driven.sent(), publish(2, packet_id, b""));
        driven.receive(&pubrec(packet_id), &[]);
        assert_eq!(driven.sent(), pubrel(packet_id));
        driven.receive(&pubcomp(packet_id), &[Event::Pubcomp(id(packet_id))]);
    }
}

/// [MQTT-2.3.1-7] SUBACK and UNSUBACK are matched by id. One for an unknown id completes nothing.
#[test]
fn mqtt_2_3_1_7_suback_and_unsuback_are_matched_by_id() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    let (a, b) = (driven.subscribe(&FILTER), driven.unsubscribe(&["b"]));
    let (c, d) = (driven.subscribe(&FILTER), driven.unsubscribe(&["d"]));
    driven.sent();
    driven.receive(&wire(&[&suback(99, &GRANTED), &unsuback(98)]), &[]);
    assert_eq!(driven.session.in_flight(), 4);
    // Answers in any order find their requests.
    driven.feed(&wire(&[
        &unsuback(d),
        &suback(c, &[Failure]),
        &suback(a, &GRANTED),
        &unsuback(b),
    ]));
    assert_eq!(
        driven.events(),
        [
            texts(&[Event::Unsuback(id(d))]),
            vec![suback_event(c, &[Failure]), suback_event(a, &GRANTED)],
            texts(&[Event::Unsuback(id(b))]),
        ]
        .concat()
    );
    // A repeated answer has no effect.
    driven.receive(&wire(&[&suback(a, &GRANTED), &unsuback(b)]), &[]);
    assert_eq!(driven.sent(), b"");
}

/// [MQTT-3.8.4-2] A SUBACK is matched to its SUBSCRIBE by id. No other packet completes the SUBSCRIBE, and the SUBACK
/// completes no other request.
#[test]
fn mqtt_3_8_4_2_suback_is_matched_to_its_subscribe() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    let (first, second) = (driven.subscribe(&FILTER), driven.subscribe(&FILTER));
    driven.sent();
    driven.feed(&suback(second, &[Failure]));
    assert_eq!(driven.events(), [suback_event(second, &[Failure])]);
    driven.feed(&suback(first, &GRANTED));
    assert_eq!(driven.events(), [suback_event(first, &GRANTED)]);

    let published = driven.publish_and_send(1, b"");
    driven.feed(&suback(published, &GRANTED));
    assert_eq!(
        driven.close_reason(),
        unexpected(PacketType::Suback, published)
    );

    driven.open(&CLEAN, false);
    driven.events();
    let request_id = driven.subscribe(&FILTER);
    driven.sent();
    driven.feed(&unsuback(request_id));
    let (events, reason) = driven.events_and_reason();
    assert_eq!(reason, unexpected(PacketType::Unsuback, request_id));
    assert_eq!(events, texts(&[Event::OutcomeUnknown(id(request_id))]));
}

/// [MQTT-3.8.4-5] A SUBACK has one code for each requested filter. Otherwise, it is a protocol violation.
#[test]
fn mqtt_3_8_4_5_suback_wrong_code_count_closes_connection() {
    let filters = [
        ("a", QoS::AtMostOnce),
        ("b/+", QoS::AtLeastOnce),
        ("c/#", QoS::ExactlyOnce),
    ];
    for expected in 1..=3 {
        for got in 1..=4 {
            let mut storage = TestStorage::new();
            let mut driven = TestSession::connected(&mut storage);
            let request_id = driven.subscribe(&filters[..expected]);
            driven.sent();
            let codes = [Granted(QoS::AtMostOnce); 4];
            driven.feed(&suback(request_id, &codes[..got]));
            if got == expected {
                assert_eq!(driven.events(), [suback_event(request_id, &codes[..got])]);
                continue;
            }
            let (events, reason) = driven.events_and_reason();
            assert_eq!(reason, ProtocolError::SubackCount { expected, got });
            assert_eq!(events, texts(&[Event::OutcomeUnknown(id(request_id))]));
            driven.open(&KEEP, true);
        }
    }
}

/// [MQTT-3.9.3-1] The codes are reported in the order of the filters.
#[test]
fn mqtt_3_9_3_1_codes_are_reported_in_filter_order() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    let request_id = driven.subscribe(&[
        ("a", QoS::ExactlyOnce),
        ("b", QoS::ExactlyOnce),
        ("c", QoS::AtLeastOnce),
        ("d", QoS::AtMostOnce),
    ]);
    driven.sent();
    driven.feed(&[0x90, 6, 0, 1, 2, 0x80, 1, 0]);
    let ready = driven.session.poll(driven.at()).unwrap().unwrap();
    assert_eq!(ready.completed_request(), Some(id(request_id)));
    let Some(Event::Suback(_, codes)) = driven.session.event(ready).unwrap() else {
        panic!("no SUBACK");
    };
    assert_eq!(
        codes.iter().collect::<Vec<_>>(),
        [
            Granted(QoS::ExactlyOnce),
            Failure,
            Granted(QoS::AtLeastOnce),
            Granted(QoS::AtMostOnce)
        ]
    );
}

/// [MQTT-3.10.4-4] An UNSUBACK is matched to its UNSUBSCRIBE by id. No other packet completes the UNSUBSCRIBE, and the
/// UNSUBACK completes no other request.
#[test]
fn mqtt_3_10_4_4_unsuback_is_matched_to_its_unsubscribe() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected_with(&mut storage, &CLEAN);
    let (first, second) = (driven.unsubscribe(&["a"]), driven.unsubscribe(&["b", "c"]));
    driven.sent();
    driven.receive(
        &wire(&[&unsuback(second), &unsuback(first)]),
        &[Event::Unsuback(id(second)), Event::Unsuback(id(first))],
    );

    let published = driven.publish_and_send(2, b"");
    driven.feed(&unsuback(published));
    assert_eq!(
        driven.close_reason(),
        unexpected(PacketType::Unsuback, published)
    );

    driven.open(&CLEAN, false);
    driven.events();
    let request_id = driven.unsubscribe(&["a"]);
    driven.sent();
    driven.feed(&suback(request_id, &GRANTED));
    let (events, reason) = driven.events_and_reason();
    assert_eq!(reason, unexpected(PacketType::Suback, request_id));
    assert_eq!(events, texts(&[Event::OutcomeUnknown(id(request_id))]));
}
