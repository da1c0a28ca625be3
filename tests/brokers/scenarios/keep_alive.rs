//! Keep alive, and silent clients.

use std::{
    thread,
    time::{Duration, Instant},
};

use umqtt::codec::{Connect, QoS};

use super::wills::with_will;
use crate::stage::{
    Calls, Kind, PATIENCE, Result, Stage, contents, ended, ignore, message, options, record,
    session,
};

/// A client that only waits is not disconnected, although the broker would disconnect a silent one after one and a half
/// keep alives.
pub(super) fn keep_alive<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let mut session = session();
    let id = stage.id("client");
    let options = Connect {
        keep_alive: 1,
        ..options(&id)
    };
    let mut client = stage.connect(&mut session, &options)?;
    assert!(!client.recv_for(Duration::from_secs(3), ignore)?);
    client.publish_and_wait(&message(&stage.topic("a"), b"x", QoS::AtLeastOnce), ignore)?;
    client.disconnect()
}

pub(super) fn keep_alive_expires<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let keep_alive = Duration::from_secs(2);
    let topic = stage.topic("status");
    let mut session_a = session();
    let mut watcher = stage.client(&mut session_a, "watcher")?;
    watcher.subscribe_and_wait(&[(&topic, QoS::AtLeastOnce)], ignore)?;
    let mut session_b = session();
    let id = stage.id("silent");
    let options = Connect {
        keep_alive: 2,
        ..with_will(&id, &topic, QoS::AtLeastOnce)
    };
    let mut silent = stage.connect(&mut session_b, &options)?;
    let start = Instant::now();
    let mut seen = Vec::new();
    let has_event = watcher.recv_for(3 * keep_alive / 2 + 2 * PATIENCE, |event| {
        record(&mut seen, event)
    })?;
    assert!(has_event, "the broker did not close a silent connection");
    assert!(
        start.elapsed() >= keep_alive,
        "the broker closed it after only {:?}",
        start.elapsed()
    );
    assert_eq!(contents(&seen), [(&*topic, &b"gone"[..])]);
    ended(&mut silent);
    watcher.disconnect()
}

pub(super) fn keep_alive_off<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let mut session = session();
    let id = stage.id("client");
    let options = Connect {
        keep_alive: 0,
        ..options(&id)
    };
    let mut client = stage.connect(&mut session, &options)?;
    thread::sleep(Duration::from_secs(2));
    client.publish_and_wait(&message(&stage.topic("a"), b"x", QoS::AtLeastOnce), ignore)?;
    client.disconnect()
}
