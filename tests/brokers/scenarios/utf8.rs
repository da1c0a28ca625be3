//! Special characters of UTF-8.

use umqtt::codec::QoS;

use super::wills::with_will;
use crate::stage::{
    Calls, Kind, Result, Stage, collect, contents, ignore, message, messages, options, record,
    session,
};

/// Checks that each of these topics is received, with itself as the filter and with a wildcard.
fn round_trip<K: Kind>(stage: &Stage<'_, K>, characters: &[char]) -> Result<()> {
    for character in characters {
        let topic = stage.topic(&format!("{character}/a{character}b"));
        let mut session = session();
        let mut client = stage
            .client(&mut session, "client")
            .map_err(|error| format!("{character:?}: {error}"))?;
        for filter in [&topic, &stage.topic(&format!("{character}/+"))] {
            client
                .subscribe_and_wait(&[(filter, QoS::AtLeastOnce)], ignore)
                .and_then(|_| client.publish(&message(&topic, b"x", QoS::AtLeastOnce)))
                .and_then(|_| messages(&mut client, 1))
                .map(|seen| assert_eq!(contents(&seen), [(&*topic, &b"x"[..])]))
                .and_then(|()| client.unsubscribe_and_wait(&[filter], ignore))
                .map_err(|error| format!("{character:?}: {error}"))?;
        }
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn four_bytes<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    round_trip(stage, &['\u{a0}', '\u{7ff}', '\u{800}', '\u{fffd}'])?;
    round_trip(stage, &['\u{10000}', '\u{1f600}', '\u{10fffd}'])?;

    let topic = stage.topic("status/\u{1f600}");
    let mut session_a = session();
    let mut watcher = stage.connect(&mut session_a, &options(&stage.id("\u{10000}")))?;
    watcher.subscribe_and_wait(&[(&topic, QoS::AtLeastOnce)], ignore)?;
    let mut session_b = session();
    let id = stage.id("\u{10fffd}");
    drop(stage.connect(&mut session_b, &with_will(&id, &topic, QoS::AtLeastOnce))?);
    assert_eq!(
        contents(&messages(&mut watcher, 1)?),
        [(&*topic, &b"gone"[..])]
    );
    watcher.disconnect()
}

pub(super) fn byte_order_mark<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    round_trip(stage, &['\u{feff}'])
}

pub(super) fn byte_order_mark_in_front<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    in_front(stage).map_err(|error| format!("with the mark in front: {error}"))
}

fn in_front<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let without = stage.topic("a");
    let with = format!("\u{feff}{without}");
    let mut session = session();
    let mut client = stage.client(&mut session, "client")?;
    for topic in [&with, &without] {
        client.subscribe_and_wait(&[(topic, QoS::AtMostOnce)], ignore)?;
        let mut seen = Vec::new();
        for topic in [&with, &without] {
            let request = message(topic, b"x", QoS::AtLeastOnce);
            client.publish_and_wait(&request, |event| record(&mut seen, event))?;
        }
        collect(&mut client, &mut seen, 1)?;
        assert_eq!(contents(&seen), [(&**topic, &b"x"[..])], "the mark counts");
        client.unsubscribe_and_wait(&[topic], ignore)?;
    }
    client.disconnect()
}

pub(super) fn noncharacters<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    round_trip(stage, &['\u{ffff}', '\u{fffe}', '\u{fdd0}', '\u{10ffff}'])
}

pub(super) fn control_characters<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    round_trip(stage, &['\u{1}', '\n', '\u{1f}', '\u{7f}', '\u{9f}'])
}
