//! Sessions that outlive their connections.

use std::time::Instant;

use umqtt::{
    Session,
    codec::{Connect, QoS},
};

use super::wills::with_will;
use crate::stage::{
    Calls, Kind, PATIENCE, Result, Seen, Stage, contents, ended, ignore, lasting, message,
    messages, record, session,
};

/// Returns payloads, each with the QoS at which it is published.
fn queued() -> impl Iterator<Item = ([u8; 1], QoS)> {
    [QoS::AtLeastOnce, QoS::ExactlyOnce]
        .into_iter()
        .cycle()
        .zip(0..6)
        .map(|(qos, number)| ([number], qos))
}

/// Checks that these payloads are received, in order within each QoS, as [MQTT-4.6.0-6] guarantees.
fn assert_queued(seen: &[Seen], topic: &str) {
    let expected: Vec<_> = queued().map(|(payload, _)| payload).collect();
    let mut expected: Vec<_> = expected
        .iter()
        .map(|payload| (topic, &payload[..]))
        .collect();
    let mut seen = contents(seen);
    expected.sort_by_key(|(_, payload)| payload[0] % 2);
    seen.sort_by_key(|(_, payload)| payload[0] % 2);
    assert_eq!(seen, expected, "the queued messages");
}

pub(super) fn resume_inbound<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("queued");
    let (mut session_a, mut session_b) = (session(), session());
    let id = stage.id("receiver");
    let mut receiver = stage.connect(&mut session_b, &lasting(&id))?;
    assert!(!receiver.session().session_present());
    receiver.subscribe_and_wait(&[(&topic, QoS::ExactlyOnce)], ignore)?;
    receiver.disconnect()?;

    let mut sender = stage.client(&mut session_a, "sender")?;
    for (payload, qos) in queued() {
        sender.publish_and_wait(&message(&topic, &payload, qos), ignore)?;
    }
    sender.disconnect()?;

    let mut receiver = stage.connect(&mut session_b, &lasting(&id))?;
    assert!(receiver.session().session_present());
    assert_queued(&messages(&mut receiver, queued().count())?, &topic);
    receiver.disconnect()
}

/// Connects a client that receives the messages of a topic.
fn subscribed<'s, 'b: 's, K: Kind>(
    stage: &Stage<'_, K>,
    session: &'s mut Session<'b>,
    topic: &str,
) -> Result<K::Client<'s, 'b>> {
    let mut receiver = stage.client(session, "receiver")?;
    receiver.subscribe_and_wait(&[(topic, QoS::ExactlyOnce)], ignore)?;
    Ok(receiver)
}

pub(super) fn resume_outbound<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("queued");
    let (mut session_a, mut session_b) = (session(), session());
    let mut receiver = subscribed(stage, &mut session_b, &topic)?;

    let id = stage.id("sender");
    let mut sender = stage.connect(&mut session_a, &lasting(&id))?;
    for (payload, qos) in queued() {
        let published = sender.session().publish(&message(&topic, &payload, qos));
        assert!(published.is_ok());
    }
    drop(sender);
    drain(stage, &mut session_a, &lasting(&id))?;
    assert_queued(&messages(&mut receiver, queued().count())?, &topic);
    receiver.disconnect()
}

pub(super) fn resume_unread_acks<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("sent");
    let (mut session_a, mut session_b) = (session(), session());
    let mut receiver = subscribed(stage, &mut session_b, &topic)?;

    let id = stage.id("sender");
    let mut sender = stage.connect(&mut session_a, &lasting(&id))?;
    for (payload, qos) in queued() {
        sender.publish(&message(&topic, &payload, qos))?;
    }
    // The broker has time to acknowledge. The client does not read the acknowledgements.
    std::thread::sleep(crate::stage::SILENCE);
    drop(sender);
    drain(stage, &mut session_a, &lasting(&id))?;
    let mut seen = Vec::new();
    while receiver.recv_for(2 * crate::stage::SILENCE, |event| record(&mut seen, event))? {}
    // At QoS 1, a message may be received twice.
    let mut last = None;
    seen.retain(|event| {
        let Seen::Message { payload, .. } = event else {
            return false;
        };
        let again = payload[0] % 2 == 0 && last.is_some_and(|last| payload[0] <= last);
        if payload[0] % 2 == 0 && !again {
            last = Some(payload[0]);
        }
        !again
    });
    assert_queued(&seen, &topic);
    receiver.disconnect()
}

pub(super) fn resume_unsent_acks<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("received");
    let (mut session_a, mut session_b) = (session(), session());
    let mut sender = stage.client(&mut session_a, "sender")?;
    let id = stage.id("receiver");
    let mut receiver = stage.connect(&mut session_b, &lasting(&id))?;
    receiver.subscribe_and_wait(&[(&topic, QoS::ExactlyOnce)], ignore)?;
    sender.publish_and_wait(&message(&topic, b"once", QoS::ExactlyOnce), ignore)?;
    let mut seen = Vec::new();
    assert!(receiver.recv_for(PATIENCE, |event| record(&mut seen, event))?);
    assert_eq!(contents(&seen), [(&*topic, &b"once"[..])]);
    drop(receiver); // PUBREC was not sent
    let mut receiver = stage.connect(&mut session_b, &lasting(&id))?;
    assert!(receiver.session().session_present());
    messages(&mut receiver, 0)?;
    sender.publish_and_wait(&message(&topic, b"another", QoS::ExactlyOnce), ignore)?;
    let seen = messages(&mut receiver, 1)?;
    assert_eq!(contents(&seen), [(&*topic, &b"another"[..])]);
    sender.disconnect()?;
    receiver.disconnect()
}

/// Connects until nothing is in flight. A broker may close a new connection when it notices the end of the old one.
fn drain<K: Kind>(
    stage: &Stage<'_, K>,
    session: &mut Session<'_>,
    options: &Connect<'_>,
) -> Result<()> {
    let start = Instant::now();
    while session.in_flight() > 0 {
        assert!(start.elapsed() < PATIENCE, "not all was acknowledged");
        let Ok(mut client) = stage.connect(session, options) else {
            continue;
        };
        while client.session().in_flight() > 0 && client.recv_for(PATIENCE, ignore).is_ok() {}
    }
    Ok(())
}

pub(super) fn session_present<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let mut session = session();
    let id = stage.id("client");
    for present in [false, true] {
        let mut client = stage.connect(&mut session, &lasting(&id))?;
        assert_eq!(
            client.session().session_present(),
            present,
            "Session Present"
        );
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn clean_session<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("a");
    let (mut session_a, mut session_b) = (session(), session());
    let mut sender = stage.client(&mut session_b, "sender")?;
    let id = stage.id("client");
    for (clean_session, present) in [(false, false), (false, true), (true, false), (false, false)] {
        let options = Connect {
            clean_session,
            ..lasting(&id)
        };
        let mut client = stage.connect(&mut session_a, &options)?;
        assert_eq!(client.session().session_present(), present);
        // Stored messages and subscriptions are lost with the session.
        messages(&mut client, usize::from(present))?;
        let first = !clean_session && !present;
        if first {
            client.subscribe_and_wait(&[(&topic, QoS::AtLeastOnce)], ignore)?;
        }
        client.disconnect()?;
        sender.publish_and_wait(&message(&topic, b"x", QoS::AtLeastOnce), ignore)?;
    }
    sender.disconnect()
}

pub(super) fn take_over<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("a");
    let (mut session_a, mut session_b) = (session(), session());
    let id = stage.id("client");
    let mut first = stage.connect(&mut session_a, &lasting(&id))?;
    first.subscribe_and_wait(&[(&topic, QoS::AtLeastOnce)], ignore)?;
    let mut second = stage.connect(&mut session_b, &lasting(&id))?;
    ended(&mut first);
    assert!(second.session().session_present(), "the session is there");
    assert!(second.session().unknown_session());
    second.publish(&message(&topic, b"x", QoS::AtLeastOnce))?;
    let seen = messages(&mut second, 1)?;
    assert_eq!(contents(&seen), [(&*topic, &b"x"[..])]);
    second.disconnect()
}

pub(super) fn take_over_will<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("status");
    let mut session_c = session();
    let mut watcher = stage.client(&mut session_c, "watcher")?;
    watcher.subscribe_and_wait(&[(&topic, QoS::AtLeastOnce)], ignore)?;
    let (mut session_a, mut session_b) = (session(), session());
    let id = stage.id("client");
    let options = with_will(&id, &topic, QoS::AtLeastOnce);
    let mut first = stage.connect(&mut session_a, &options)?;
    let second = stage.connect(&mut session_b, &options)?;
    ended(&mut first);
    let seen = messages(&mut watcher, 1)?;
    assert_eq!(contents(&seen), [(&*topic, &b"gone"[..])]);
    second.disconnect()?;
    watcher.disconnect()
}
