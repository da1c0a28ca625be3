//! Each event is a sentence for a log, and foreign bytes cannot drive a terminal.

use umqtt::{
    Chunk, Event, Message, RequestError,
    codec::{Delivery, Packet, PacketId, QoS, SubackCodes},
};

const ID: PacketId = PacketId::MIN;
const HOSTILE: &str = "a\u{1b}[2J";

/// The codes of a SUBACK: QoS 2, and a refusal.
fn codes() -> SubackCodes<'static> {
    match Packet::decode(&[0x90, 4, 0, 1, 2, 0x80]) {
        Ok(Some((Packet::Suback(suback), _))) => suback.codes(),
        other => panic!("{other:?}"),
    }
}

const fn connected(
    session_present: bool,
    unknown_session: bool,
    connect_unanswered: bool,
) -> Event<'static> {
    Event::Connected {
        session_present,
        unknown_session,
        connect_unanswered,
    }
}

#[test]
fn events_display_sentences() {
    let chunk = Chunk {
        topic: HOSTILE,
        delivery: Delivery::AtMostOnce,
        retain: false,
        offset: 10,
        total: 90,
        bytes: b"12345",
    };
    let filters = [("a/#", QoS::ExactlyOnce), ("b", QoS::AtMostOnce)];
    let filters = &filters[..];
    let codes = codes();
    for (event, words) in [
        (connected(false, false, false), "begun a new session"),
        (connected(true, false, false), "kept the session"),
        (connected(true, true, false), "Clean Session 1"),
        (connected(true, false, true), "CONNECT was not answered"),
        (Event::Message(Message::new(HOSTILE, b"12")), "2 bytes"),
        (Event::Chunk(chunk), "bytes 10 to 15 of 90"),
        (Event::ChunksAborted, "incomplete"),
        (Event::TopicTooLong { len: 300 }, "300 bytes"),
        (Event::Puback(ID), "message 1 delivered"),
        (Event::Pubcomp(ID), "message 1 delivered"),
        (Event::Suback(ID, codes), "at QoS 2 REFUSED"),
        (Event::Subscribed { filters, codes }, "\"b\" REFUSED"),
        (Event::Unsuback(ID), "unsubscribe 1"),
        (Event::OutcomeUnknown(ID), "request 1 not answered"),
        (Event::RequestRejected(ID), "request 1 rejected"),
        (Event::PublishDiscarded(ID), "message 1 discarded"),
        (Event::DeliveryUnknown(ID), "message 1 unknown"),
        (Event::PayloadNeeded(ID), "message 1 needed again"),
        (Event::CheckpointDue, "save the session"),
        (Event::Qos0Dropped(3), "3 messages at QoS 0"),
    ] {
        let text = event.to_string();
        assert!(text.contains(words), "{event:?}: {text}");
        assert!(!text.contains(char::is_control), "{event:?}: {text:?}");
    }
}

#[test]
fn discard_rejected_displays_remedy() {
    for (error, words) in [
        (RequestError::NotKept, "id is unknown"),
        (RequestError::PartlySent, "when it was written"),
    ] {
        let text = error.to_string();
        assert!(text.contains(words), "{text}");
    }
}
