//! Ordinary deliveries.

use umqtt::{
    Session,
    codec::{QoS, SubackReturnCode},
};

use crate::stage::{
    Calls, Kind, Result, Seen, Stage, collect, contents, ignore, message, messages, record, session,
};

pub(super) const EACH_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

pub(super) fn each_qos_both_ways<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let (mut session_a, mut session_b) = (session(), session());
    let mut a = stage.client(&mut session_a, "a")?;
    let mut b = stage.client(&mut session_b, "b")?;
    for subscribed in EACH_QOS {
        let topic = stage.topic(&format!("{subscribed:?}"));
        for receiver in [&mut a, &mut b] {
            let codes = receiver.subscribe_and_wait(&[(&topic, subscribed)], ignore)?;
            assert_eq!(codes, [SubackReturnCode::Granted(subscribed)]);
        }
        let (mut seen_a, mut seen_b) = (Vec::new(), Vec::new());
        let mut expected = Vec::new();
        for published in EACH_QOS {
            for (sender, seen) in [(&mut a, &mut seen_a), (&mut b, &mut seen_b)] {
                let payload = expected.len().to_string();
                let request = message(&topic, payload.as_bytes(), published);
                sender.publish_and_wait(&request, |event| record(seen, event))?;
                expected.push(payload);
            }
        }
        for (receiver, mut seen) in [(&mut a, seen_a), (&mut b, seen_b)] {
            collect(receiver, &mut seen, expected.len())?;
            let seen = contents(&seen);
            // The order is guaranteed for each sender and QoS, not between them.
            for payload in &expected {
                let event = (&*topic, payload.as_bytes());
                assert!(
                    seen.contains(&event),
                    "{event:?} was not received: {seen:?}"
                );
            }
        }
    }
    a.disconnect()?;
    b.disconnect()
}

pub(super) fn lower_qos<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let mut session = session();
    let mut client = stage.client(&mut session, "a")?;
    for subscribed in EACH_QOS {
        let topic = stage.topic(&format!("{subscribed:?}"));
        client.subscribe_and_wait(&[(&topic, subscribed)], ignore)?;
        for published in EACH_QOS {
            client.publish(&message(&topic, b"x", published))?;
            let Seen::Message { qos, .. } = messages(&mut client, 1)?.remove(0) else {
                unreachable!("only messages are kept")
            };
            assert_eq!(
                qos,
                published.min(subscribed),
                "QoS, published at {published:?}, granted {subscribed:?}"
            );
        }
    }
    client.disconnect()
}

pub(super) fn order<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let (mut session_a, mut session_b) = (session(), session());
    let mut sender = stage.client(&mut session_a, "sender")?;
    let mut receiver = stage.client(&mut session_b, "receiver")?;
    for qos in EACH_QOS {
        let topic = stage.topic(&format!("{qos:?}"));
        receiver.subscribe_and_wait(&[(&topic, qos)], ignore)?;
        let payloads: Vec<[u8; 1]> = (0..30).map(|number| [number]).collect();
        for payload in &payloads {
            // As many messages at once as there are slots.
            while sender.session().in_flight() >= 8 {
                assert!(sender.recv_for(crate::stage::PATIENCE, ignore)?);
            }
            sender.publish(&message(&topic, payload, qos))?;
        }
        while sender.session().in_flight() > 0 {
            assert!(sender.recv_for(crate::stage::PATIENCE, ignore)?);
        }
        let seen = messages(&mut receiver, payloads.len())?;
        let expected: Vec<_> = payloads.iter().map(|byte| (&*topic, &byte[..])).collect();
        assert_eq!(contents(&seen), expected, "the order");
    }
    sender.disconnect()?;
    receiver.disconnect()
}

pub(super) fn any_payload<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("a");
    let mut storage = umqtt::Storage::<512, 1024, 8>::new();
    let mut session = Session::new(&mut storage);
    let mut client = stage.client(&mut session, "a")?;
    client.subscribe_and_wait(&[(&topic, QoS::ExactlyOnce)], ignore)?;
    let all: Vec<u8> = (0..=255).collect();
    for qos in EACH_QOS {
        for payload in [&b""[..], &all] {
            client.publish(&message(&topic, payload, qos))?;
            let seen = messages(&mut client, 1)?;
            assert_eq!(contents(&seen), [(&*topic, payload)]);
        }
    }
    client.disconnect()
}
