//! Large payloads and topics.

use umqtt::{Session, Storage, StreamedPublish, codec::QoS};

use super::delivery::EACH_QOS;
use crate::{
    common::Seen,
    stage::{
        Calls, Kind, PATIENCE, Result, Stage, contents, ignore, message, messages, record, session,
    },
};

pub(super) fn large_payload<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let payload: Vec<u8> = (0..256 << 10).map(|byte| (byte % 251) as u8).collect();
    let (mut storage_a, mut storage_b) =
        (Storage::<128, 128, 8>::new(), Storage::<128, 128, 8>::new());
    let (mut session_a, mut session_b) =
        (Session::new(&mut storage_a), Session::new(&mut storage_b));
    let mut sender = stage.client(&mut session_a, "sender")?;
    let mut receiver = stage.client(&mut session_b, "receiver")?;
    let topic = stage.topic("image");
    receiver.subscribe_and_wait(&[(&topic, QoS::ExactlyOnce)], ignore)?;
    for qos in EACH_QOS {
        let outgoing = StreamedPublish::New {
            topic: &topic,
            qos,
            retain: false,
        };
        let (front, back) = payload.split_at(33_333);
        sender.publish_slices(outgoing, &[front, back])?;
        while sender.session().in_flight() > 0 {
            assert!(
                sender.recv_for(PATIENCE, ignore)?,
                "the broker does not answer"
            );
        }
        let seen = messages(&mut receiver, 1)?;
        assert!(
            contents(&seen) == [(&*topic, &*payload)],
            "another message was received"
        );
    }
    sender.disconnect()?;
    receiver.disconnect()
}

/// Returns a topic of this length.
fn long<K: Kind>(stage: &Stage<'_, K>, len: usize) -> String {
    let mut topic = stage.topic("");
    topic.extend(std::iter::repeat_n('x', len - topic.len()));
    topic
}

pub(super) fn longest_topic<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = long(stage, 65_535);
    let mut storage = Box::new(Storage::<70_000, 150_000, 8>::new());
    let mut session = Session::new(&mut storage);
    let mut client = stage.client(&mut session, "client")?;
    client.subscribe_and_wait(&[(&topic, QoS::ExactlyOnce)], ignore)?;
    for qos in EACH_QOS {
        client.publish(&message(&topic, b"x", qos))?;
        let seen = messages(&mut client, 1)?;
        assert!(
            contents(&seen) == [(&*topic, &b"x"[..])],
            "another message was received"
        );
    }
    client.disconnect()
}

pub(super) fn topic_too_long<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let (short, long) = (stage.topic("short"), long(stage, 1_000));
    let mut storage = Storage::<128, 2_048, 8>::new();
    let (mut session_a, mut session_b) = (Session::new(&mut storage), session());
    let mut sender = stage.client(&mut session_a, "sender")?;
    let mut receiver = stage.client(&mut session_b, "receiver")?;
    receiver.subscribe_and_wait(&[(&stage.topic("#"), QoS::ExactlyOnce)], ignore)?;
    for qos in EACH_QOS {
        sender.publish_and_wait(&message(&long, b"x", qos), ignore)?;
        sender.publish_and_wait(&message(&short, b"x", qos), ignore)?;
        let mut seen = Vec::new();
        while receiver.recv_for(crate::stage::SILENCE, |event| record(&mut seen, event))? {}
        assert_eq!(contents(&seen), [(&*short, &b"x"[..])]);
        assert_eq!(
            seen[0],
            Seen::other(umqtt::Event::TopicTooLong { len: long.len() })
        );
    }
    sender.disconnect()?;
    receiver.disconnect()
}
