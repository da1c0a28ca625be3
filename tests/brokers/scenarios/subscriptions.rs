//! Filters, and their messages.

use umqtt::codec::{QoS, SubackReturnCode};

use crate::stage::{
    Calls, Kind, Result, Seen, Stage, collect, contents, ignore, message, messages, record, session,
};

/// Checks which topics match each of the filters, below a topic of the scenario.
fn matches<K: Kind>(
    stage: &Stage<'_, K>,
    topics: &[&str],
    filters: &[(&str, &[usize])],
) -> Result<()> {
    let root = stage.topic("");
    let topics: Vec<_> = topics
        .iter()
        .map(|topic| format!("{root}{topic}"))
        .collect();
    let (mut session_a, mut session_b) = (session(), session());
    let mut sender = stage.client(&mut session_a, "sender")?;
    let mut receiver = stage.client(&mut session_b, "receiver")?;
    for (filter, matches) in filters {
        let filter = format!("{root}{filter}");
        receiver.subscribe_and_wait(&[(&filter, QoS::AtMostOnce)], ignore)?;
        for topic in &topics {
            sender.publish_and_wait(&message(topic, b"x", QoS::AtLeastOnce), ignore)?;
        }
        let mut seen = Vec::new();
        while receiver.recv_for(crate::stage::SILENCE, |event| record(&mut seen, event))? {}
        let expected: Vec<_> = matches
            .iter()
            .map(|at| (&*topics[*at], &b"x"[..]))
            .collect();
        assert_eq!(contents(&seen), expected, "through {filter}");
        receiver.unsubscribe_and_wait(&[&filter], ignore)?;
    }
    sender.disconnect()?;
    receiver.disconnect()
}

pub(super) fn wildcards<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    matches(
        stage,
        &["a", "a/b", "a/b/c", "d/b", "A"],
        &[
            ("a/#", &[0, 1, 2]),
            ("+/b", &[1, 3]),
            ("a/+/c", &[2]),
            ("+", &[0, 4]),
            ("#", &[0, 1, 2, 3, 4]),
            ("a", &[0]),
        ],
    )
}

pub(super) fn empty_levels<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    matches(
        stage,
        &["a", "a/", "a//b", "/", "a//"],
        &[
            ("a/", &[1]),
            ("a/+", &[1]),
            ("a/+/b", &[2]),
            ("+/+", &[1, 3]),
            ("a//", &[4]),
            ("a/#", &[0, 1, 2, 4]),
        ],
    )
}

pub(super) fn dollar_topics<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = format!("$umqtt/{}", K::NAME);
    let mut session = session();
    let mut client = stage.client(&mut session, "a")?;
    let mut seen = Vec::new();
    for filter in ["#".to_owned(), format!("+/{}", K::NAME)] {
        client.subscribe_and_wait(&[(&filter, QoS::AtMostOnce)], |event| {
            record(&mut seen, event)
        })?;
    }
    client.publish_and_wait(&message(&topic, b"x", QoS::AtLeastOnce), |event| {
        record(&mut seen, event)
    })?;
    // The scenarios of the other client run at the same time, and their messages match `#`. There may be no silence.
    let start = std::time::Instant::now();
    while start.elapsed() < crate::stage::SILENCE {
        client.recv_for(crate::stage::SILENCE, |event| record(&mut seen, event))?;
    }
    let own: Vec<_> = contents(&seen)
        .into_iter()
        .filter(|(topic, _)| topic.starts_with('$'))
        .collect();
    assert_eq!(own, [], "through a wildcard");
    client.disconnect()
}

pub(super) fn overlapping<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("a/b");
    let mut session = session();
    let mut client = stage.client(&mut session, "a")?;
    let filters = [
        (&*stage.topic("a/#"), QoS::AtMostOnce),
        (&*stage.topic("+/b"), QoS::ExactlyOnce),
        (&*topic, QoS::AtLeastOnce),
    ];
    client.subscribe_and_wait(&filters, ignore)?;
    client.publish(&message(&topic, b"x", QoS::ExactlyOnce))?;
    // The broker may send one message for all subscriptions, or one for each.
    let mut highest = None;
    let mut copies = 0;
    let mut seen = Vec::new();
    while client.recv_for(2 * crate::stage::SILENCE, |event| record(&mut seen, event))? {}
    for event in seen {
        if let Seen::Message { qos, .. } = event {
            copies += 1;
            highest = highest.max(Some(qos));
        }
    }
    assert!(
        (1..=filters.len()).contains(&copies),
        "{copies} copies were received"
    );
    assert_eq!(
        highest,
        Some(QoS::ExactlyOnce),
        "the highest QoS of {copies}"
    );
    client.disconnect()
}

pub(super) fn replaced<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("a");
    let mut session = session();
    let mut client = stage.client(&mut session, "a")?;
    for granted in [QoS::ExactlyOnce, QoS::AtMostOnce, QoS::AtLeastOnce] {
        let codes = client.subscribe_and_wait(&[(&topic, granted)], ignore)?;
        assert_eq!(codes, [SubackReturnCode::Granted(granted)]);
        client.publish(&message(&topic, b"x", QoS::ExactlyOnce))?;
        let seen = messages(&mut client, 1)?;
        let [Seen::Message { qos, .. }] = seen[..] else {
            unreachable!("one message was received")
        };
        assert_eq!(qos, granted, "the QoS of the last subscription");
    }
    client.disconnect()
}

pub(super) fn unsubscribe<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topics = ["a", "b"].map(|topic| stage.topic(topic));
    let mut session = session();
    let mut client = stage.client(&mut session, "client")?;
    let filters = [
        (&*topics[0], QoS::AtMostOnce),
        (&*topics[1], QoS::AtMostOnce),
    ];
    client.subscribe_and_wait(&filters, ignore)?;
    client.unsubscribe_and_wait(&[&topics[0]], ignore)?;
    for topic in &topics {
        client.publish(&message(topic, b"x", QoS::AtMostOnce))?;
    }
    assert_eq!(messages(&mut client, 1)?, [Seen::message(&topics[1], b"x")]);
    client.disconnect()
}

pub(super) fn unsubscribe_unknown<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let mut session = session();
    let mut client = stage.client(&mut session, "client")?;
    let filters = [&*stage.topic("never"), &stage.topic("subscribed/+")];
    client.unsubscribe_and_wait(&filters, ignore)?;
    client.disconnect()
}

pub(super) fn thousand<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topics: Vec<_> = (0..1_000)
        .map(|number| stage.topic(&number.to_string()))
        .collect();
    let mut session = session();
    let mut client = stage.client(&mut session, "client")?;
    for some in topics.chunks(10) {
        let filters: Vec<_> = some
            .iter()
            .map(|topic| (&**topic, QoS::AtLeastOnce))
            .collect();
        let codes = client.subscribe_and_wait(&filters, ignore)?;
        assert_eq!(codes, [SubackReturnCode::Granted(QoS::AtLeastOnce); 10]);
    }
    let mut seen = Vec::new();
    for topic in &topics {
        let request = message(topic, topic.as_bytes(), QoS::AtLeastOnce);
        client.publish_and_wait(&request, |event| record(&mut seen, event))?;
    }
    collect(&mut client, &mut seen, topics.len())?;
    let expected: Vec<_> = topics
        .iter()
        .map(|topic| (&**topic, topic.as_bytes()))
        .collect();
    assert!(
        contents(&seen) == expected,
        "other messages were received, or in another order"
    );
    client.disconnect()
}
