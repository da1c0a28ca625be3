//! Retained messages, and their removal.

use umqtt::{Message, codec::QoS};

use super::delivery::EACH_QOS;
use crate::stage::{
    Calls, Kind, Result, Seen, Stage, collect, contents, ignore, message, messages, record, session,
};

/// Returns the messages that a new subscriber receives, each with its retain flag.
pub(super) fn kept<K: Kind>(stage: &Stage<'_, K>, topic: &str) -> Result<Vec<(Vec<u8>, bool)>> {
    let mut session = session();
    let mut client = stage.client(&mut session, "late")?;
    let mut seen = Vec::new();
    client.subscribe_and_wait(&[(topic, QoS::ExactlyOnce)], |event| {
        record(&mut seen, event)
    })?;
    while client.recv_for(crate::stage::SILENCE, |event| record(&mut seen, event))? {}
    client.disconnect()?;
    Ok(flags(seen))
}

/// Returns the payload and the retain flag of each message.
fn flags(seen: Vec<Seen>) -> Vec<(Vec<u8>, bool)> {
    let flags = |event| match event {
        Seen::Message {
            payload, retain, ..
        } => Some((payload, retain)),
        _ => None,
    };
    seen.into_iter().filter_map(flags).collect()
}

/// Creates a message with the retain flag.
fn to_keep<'a>(topic: &'a str, payload: &'a [u8], qos: QoS) -> Message<'a> {
    Message {
        retain: true,
        ..message(topic, payload, qos)
    }
}

pub(super) fn retained<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let mut session = session();
    let mut client = stage.client(&mut session, "sender")?;
    for qos in EACH_QOS {
        let topic = stage.topic(&format!("{qos:?}"));
        client.publish_and_wait(&to_keep(&topic, b"off", qos), ignore)?;
        client.publish_and_wait(&to_keep(&topic, b"on", qos), ignore)?;
        messages(&mut client, 0)?;
        assert_eq!(kept(stage, &topic)?, [(b"on".to_vec(), true)], "{qos:?}");
    }
    client.disconnect()
}

pub(super) fn retained_live<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("state");
    let mut session = session();
    let mut client = stage.client(&mut session, "a")?;
    client.subscribe_and_wait(&[(&topic, QoS::AtLeastOnce)], ignore)?;
    messages(&mut client, 0)?; // A broker may still search its retained messages.
    client.publish(&to_keep(&topic, b"on", QoS::AtLeastOnce))?;
    let seen = messages(&mut client, 1)?;
    assert_eq!(flags(seen), [(b"on".to_vec(), false)]);
    client.disconnect()
}

pub(super) fn retained_cleared<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("state");
    let mut session = session();
    let mut client = stage.client(&mut session, "a")?;
    client.publish_and_wait(&to_keep(&topic, b"on", QoS::AtLeastOnce), ignore)?;
    let mut seen = Vec::new();
    client.subscribe_and_wait(&[(&topic, QoS::AtLeastOnce)], |event| {
        record(&mut seen, event)
    })?;
    collect(&mut client, &mut seen, 1)?;
    client.publish(&to_keep(&topic, b"", QoS::AtLeastOnce))?;
    assert_eq!(
        contents(&messages(&mut client, 1)?),
        [(&*topic, &b""[..])],
        "subscribers receive it"
    );
    assert_eq!(kept(stage, &topic)?, [], "it is still kept");
    client.disconnect()
}

pub(super) fn retained_untouched<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("state");
    let mut session = session();
    let mut client = stage.client(&mut session, "a")?;
    client.publish_and_wait(&to_keep(&topic, b"on", QoS::AtLeastOnce), ignore)?;
    for payload in [&b"passing"[..], b""] {
        client.publish_and_wait(&message(&topic, payload, QoS::AtLeastOnce), ignore)?;
        let len = payload.len();
        let expected = [(b"on".to_vec(), true)];
        assert_eq!(kept(stage, &topic)?, expected, "after {len} bytes");
    }
    client.disconnect()
}

pub(super) fn retained_again<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("state");
    let mut session = session();
    let mut client = stage.client(&mut session, "a")?;
    client.publish_and_wait(&to_keep(&topic, b"on", QoS::AtLeastOnce), ignore)?;
    for time in ["first", "second"] {
        let mut seen = Vec::new();
        client.subscribe_and_wait(&[(&topic, QoS::AtLeastOnce)], |event| {
            record(&mut seen, event)
        })?;
        while client.recv_for(crate::stage::SILENCE, |event| record(&mut seen, event))? {}
        assert_eq!(flags(seen), [(b"on".to_vec(), true)], "the {time} time");
    }
    client.disconnect()
}
