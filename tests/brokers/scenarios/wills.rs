//! The will of a client.

use umqtt::codec::{Connect, QoS, Will};

use super::{delivery::EACH_QOS, retained::kept};
use crate::stage::{Calls, Kind, Result, Stage, contents, ignore, messages, options, session};

/// Returns the options of a client with a will.
pub(super) fn with_will<'a>(id: &'a str, topic: &'a str, qos: QoS) -> Connect<'a> {
    Connect {
        will: Some(Will {
            qos,
            ..Will::new(topic, b"gone")
        }),
        ..options(id)
    }
}

pub(super) fn will_on_cut<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let mut session_a = session();
    let mut watcher = stage.client(&mut session_a, "watcher")?;
    for qos in EACH_QOS {
        let topic = stage.topic(&format!("{qos:?}"));
        watcher.subscribe_and_wait(&[(&topic, qos)], ignore)?;
        let mut session_b = session();
        drop(stage.connect(&mut session_b, &with_will(&stage.id("mortal"), &topic, qos))?);
        let seen = messages(&mut watcher, 1)?;
        assert_eq!(contents(&seen), [(&*topic, &b"gone"[..])]);
    }
    watcher.disconnect()
}

pub(super) fn no_will_on_disconnect<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("status");
    let mut session_a = session();
    let mut watcher = stage.client(&mut session_a, "watcher")?;
    watcher.subscribe_and_wait(&[(&topic, QoS::AtLeastOnce)], ignore)?;
    let mut session_b = session();
    let id = stage.id("mortal");
    let options = with_will(&id, &topic, QoS::AtLeastOnce);
    stage.connect(&mut session_b, &options)?.disconnect()?;
    messages(&mut watcher, 0)?;
    watcher.disconnect()
}

pub(super) fn will_retained<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let mut session_a = session();
    let mut watcher = stage.client(&mut session_a, "watcher")?;
    for retain in [true, false] {
        let topic = stage.topic(&format!("{retain}"));
        watcher.subscribe_and_wait(&[(&topic, QoS::AtLeastOnce)], ignore)?;
        let id = stage.id("mortal");
        let mut options = with_will(&id, &topic, QoS::AtLeastOnce);
        options.will = options.will.map(|will| Will { retain, ..will });
        let mut session_b = session();
        drop(stage.connect(&mut session_b, &options)?);
        messages(&mut watcher, 1)?;
        let expected = if retain {
            vec![(b"gone".to_vec(), true)]
        } else {
            vec![]
        };
        assert_eq!(kept(stage, &topic)?, expected, "the retained message");
    }
    watcher.disconnect()
}
