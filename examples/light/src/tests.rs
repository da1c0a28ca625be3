#![allow(clippy::unwrap_used, reason = "tests")]
use std::string::ToString as _;

use umqtt::{Chunk, codec::Delivery};

use super::*;

extern crate std;

const TOPIC: &str = "id/living_room/light";
const FULL: Result<(), &str> = Err("full");

fn light(qos: QoS) -> Light<'static> {
    Light::new(TOPIC, qos)
}

fn toggle(light: &mut Light<'_>, payload: &[u8]) {
    let news = light.toggle(|message| {
        assert_eq!((message.topic, message.payload), (TOPIC, payload));
        Ok::<_, ()>(())
    });
    let on = payload == b"on";
    assert_eq!(news, Ok(News::Published { on }));
    assert_eq!(light.is_on(), on);
}

const fn connected(session_present: bool) -> Event<'static> {
    Event::Connected {
        session_present,
        unknown_session: false,
        connect_unanswered: false,
    }
}

const fn message(payload: &[u8]) -> Message<'_> {
    Message::new(TOPIC, payload)
}

#[test]
fn toggle_publishes_the_other_state() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut light = light(qos);
        assert!(!light.is_on());
        toggle(&mut light, b"on");
        toggle(&mut light, b"off");
        let published = light.toggle(|message| match message.qos == qos {
            true => Ok(()),
            false => Err(()),
        });
        assert!(published.is_ok());
    }
}

#[test]
fn failed_toggle_changes_nothing() {
    let mut light = light(QoS::AtLeastOnce);
    assert_eq!(light.toggle(|_| FULL), Err("full"));
    assert!(!light.is_on());
    let event = Event::Message(message(b"on"));
    assert!(matches!(light.handle(&event), News::Received(_)));
}

#[test]
fn own_message_is_counted_once() {
    let mut light = light(QoS::AtLeastOnce);
    toggle(&mut light, b"on");
    toggle(&mut light, b"off");
    let event = Event::Message(message(b"on"));
    assert_eq!(light.handle(&event), News::CameBack { on: true });
    assert!(!light.is_on(), "an own message does not switch it back");
    assert_eq!(light.count(), 1);
    assert!(matches!(light.handle(&event), News::Received(_)));
    assert!(light.is_on(), "another one does");
    assert_eq!(light.count(), 1);
}

#[test]
fn other_message_switches_the_light() {
    let mut light = light(QoS::AtMostOnce);
    for (topic, payload, on) in [
        (TOPIC, "on", true),
        (TOPIC, "ON", true),
        (TOPIC, "", true),
        ("id/living_room/lamp", "off", true),
        (TOPIC, "off", false),
    ] {
        light.handle(&Event::Message(Message::new(topic, payload.as_bytes())));
        assert_eq!(light.is_on(), on, "{topic}: {payload}");
    }
}

#[test]
fn retained_message_is_not_counted_as_own() {
    let mut light = light(QoS::AtMostOnce);
    toggle(&mut light, b"on");
    let mut retained = message(b"on");
    retained.retain = true;
    assert!(matches!(
        light.handle(&Event::Message(retained)),
        News::Received(_)
    ));
    assert_eq!(light.count(), 0);
}

#[test]
fn messages_of_lost_session_are_not_expected() {
    for (qos, session_present, comes_back) in [
        (QoS::AtMostOnce, true, false),
        (QoS::AtLeastOnce, true, true),
        (QoS::AtLeastOnce, false, false),
    ] {
        let mut light = light(qos);
        toggle(&mut light, b"on");
        light.handle(&connected(session_present));
        light.handle(&Event::Message(message(b"on")));
        assert_eq!(light.count() == 1, comes_back, "{qos:?} {session_present}");
    }
}

#[test]
fn control_characters_in_messages_are_escaped() {
    let mut light = light(QoS::AtMostOnce);
    let mut show = |event: &Event<'_>| light.handle(event).to_string();
    let hostile = Message::new("a\u{1b}[2J", b"caf\xc3\xa9 \x1b[2J\n\xff");
    assert_eq!(
        show(&Event::Message(hostile)),
        r"Received on a\u{1b}[2J: caf\xc3\xa9 \x1b[2J\n\xff"
    );
    let chunk = Event::Chunk(Chunk {
        topic: "a\u{1b}[2J",
        delivery: Delivery::AtMostOnce,
        retain: false,
        offset: 0,
        total: 9,
        bytes: b"part",
    });
    for event in [chunk, connected(true), Event::TopicTooLong { len: 9 }] {
        let text = show(&event);
        assert!(!text.contains('\u{1b}') && !text.is_empty(), "{text}");
    }
}
