//! What every broker and either client have to do, written once.
//!
//! [`run`] plays the list with one [`Kind`] of client against one [`Broker`]. Each scenario has its own client ids and
//! topics, so that brokers may keep what they know from one to the next.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use umqtt::{
    Event, Message, Outgoing, Session, Storage,
    codec::{Connect, Credentials, PacketId, QoS, SubackReturnCode, TopicName, Will},
};

use super::{Seen, message, record};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing may come where nothing should.
const SILENCE: Duration = Duration::from_millis(200);
const EACH_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

pub(crate) type Result<T> = core::result::Result<T, String>;

/// A broker, and what is special about it.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    /// Where it lets in only the user "user" with the password "password", and says so.
    pub(crate) login: Option<SocketAddr>,
    /// It delivers at the QoS of the subscription, even if the message was published at a lower one.
    pub(crate) raises_qos: bool,
    /// A client that comes back sooner may be cut: the broker takes the end of its old connection for that of the new.
    pub(crate) rest: Duration,
    /// Scenarios that it cannot play, each with the reason.
    pub(crate) cannot: &'static [(&'static str, &'static str)],
}

/// One kind of client.
pub(crate) trait Kind {
    /// It begins its client ids and topics with this.
    const NAME: &'static str;

    /// The client, connected.
    type Client<'s, 'b: 's>: Calls<'b>;

    /// Dials and connects.
    fn connect<'s, 'b: 's>(
        &self,
        session: &'s mut Session<'b>,
        address: SocketAddr,
        options: &Connect<'_>,
    ) -> Result<Self::Client<'s, 'b>>;
}

/// The calls of a client, as if all of them blocked.
pub(crate) trait Calls<'b> {
    fn session(&mut self) -> &mut Session<'b>;
    fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>>;
    fn publish_and_wait(
        &mut self,
        message: &Message<'_>,
        on_event: impl FnMut(Event<'_>),
    ) -> Result<()>;
    fn publish_slices(&mut self, message: Outgoing<'_>, payload: &[&[u8]]) -> Result<()>;
    fn subscribe_and_wait(
        &mut self,
        filters: &[(&str, QoS)],
        on_event: impl FnMut(Event<'_>),
    ) -> Result<Vec<SubackReturnCode>>;
    fn unsubscribe_and_wait(
        &mut self,
        filters: &[&str],
        on_event: impl FnMut(Event<'_>),
    ) -> Result<()>;
    /// Waits for an event; false if none came in time.
    fn recv_for(&mut self, time: Duration, on_event: impl FnMut(Event<'_>)) -> Result<bool>;
    fn disconnect(self) -> Result<()>;
}

/// Plays every scenario that this broker can play.
pub(crate) fn run<K: Kind>(kind: &K, broker: &Broker) {
    let scenarios: [(&str, Scenario<K>); 11] = [
        ("each_qos_both_ways", each_qos_both_ways),
        ("retained", retained),
        ("will", will),
        ("wildcards", wildcards),
        ("resume_inbound", resume_inbound),
        ("resume_outbound", resume_outbound),
        ("clean_session", clean_session),
        ("unsubscribe", unsubscribe),
        ("refused_login", refused_login),
        ("large_payload", large_payload),
        ("keep_alive", keep_alive),
    ];
    for (name, scenario) in scenarios {
        match broker.cannot.iter().find(|(scenario, _)| *scenario == name) {
            Some((_, reason)) => println!("{} {name}: left out, {reason}", K::NAME),
            None => {
                println!("{} {name}", K::NAME);
                scenario(&Stage { kind, broker, name }).unwrap();
            }
        }
    }
}

type Scenario<K> = fn(&Stage<'_, K>) -> Result<()>;

/// Where a scenario plays.
struct Stage<'a, K> {
    kind: &'a K,
    broker: &'a Broker,
    name: &'static str,
}

impl<K: Kind> Stage<'_, K> {
    /// A client id that no other scenario uses.
    fn id(&self, name: &str) -> String {
        format!("{}-{}-{name}", K::NAME, self.name)
    }

    /// A topic that no other scenario uses.
    fn topic(&self, name: &str) -> String {
        format!("{}-{}/{name}", K::NAME, self.name)
    }

    fn client<'s, 'b: 's>(
        &self,
        session: &'s mut Session<'b>,
        name: &str,
    ) -> Result<K::Client<'s, 'b>> {
        self.connect(session, &options(&self.id(name)))
    }

    fn connect<'s, 'b: 's>(
        &self,
        session: &'s mut Session<'b>,
        options: &Connect<'_>,
    ) -> Result<K::Client<'s, 'b>> {
        thread::sleep(self.broker.rest);
        self.kind.connect(session, self.broker.address, options)
    }

    /// A message as a subscriber sees it.
    fn seen(&self, topic: &str, payload: &[u8], published: QoS, subscribed: QoS) -> Seen {
        let qos = if self.broker.raises_qos {
            subscribed
        } else {
            published.min(subscribed)
        };
        Seen::Message {
            topic: topic.to_owned(),
            payload: payload.to_vec(),
            qos,
            retain: false,
            dup: false,
        }
    }
}

fn options(id: &str) -> Connect<'_> {
    Connect {
        keep_alive: 30,
        ..Connect::new(id)
    }
}

fn storage() -> Storage<128, 1024, 8> {
    Storage::new()
}

/// Receives until so many messages have come whole, and sees to it that no more come; without the DUP flag, which
/// brokers may set as they like.
fn messages<'b>(client: &mut impl Calls<'b>, count: usize) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    collect(client, &mut seen, count)?;
    Ok(seen)
}

fn collect<'b>(client: &mut impl Calls<'b>, seen: &mut Vec<Seen>, count: usize) -> Result<()> {
    let start = Instant::now();
    loop {
        let mut events = core::mem::take(seen);
        let whole = |events: &[Seen]| events.iter().filter(|event| is_message(event)).count();
        let time = if whole(&events) < count {
            PATIENCE
        } else {
            SILENCE
        };
        let came = client.recv_for(time, |event| record(&mut events, event))?;
        *seen = events;
        if !came {
            break;
        }
        assert!(
            start.elapsed() < 2 * PATIENCE,
            "the messages do not end: {seen:?}"
        );
    }
    seen.retain(is_message);
    for event in &mut *seen {
        if let Seen::Message { dup, .. } = event {
            *dup = false;
        }
    }
    assert_eq!(seen.len(), count, "{seen:?}");
    Ok(())
}

fn is_message(event: &Seen) -> bool {
    matches!(event, Seen::Message { .. })
}

fn each_qos_both_ways<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let (mut storage_a, mut storage_b) = (storage(), storage());
    let (mut session_a, mut session_b) =
        (Session::new(&mut storage_a), Session::new(&mut storage_b));
    let mut a = stage.client(&mut session_a, "a")?;
    let mut b = stage.client(&mut session_b, "b")?;
    for subscribed in EACH_QOS {
        let topic = stage.topic(&format!("{subscribed:?}"));
        for receiver in [&mut a, &mut b] {
            let codes = receiver.subscribe_and_wait(&[(&topic, subscribed)], |_| {})?;
            assert_eq!(codes, [SubackReturnCode::Granted(subscribed)]);
        }
        let (mut seen_a, mut seen_b) = (Vec::new(), Vec::new());
        let mut expected = Vec::new();
        for (number, published) in EACH_QOS.into_iter().enumerate() {
            for (sender, seen) in [(&mut a, &mut seen_a), (&mut b, &mut seen_b)] {
                let payload = format!("{}", expected.len());
                let request = message(&topic, payload.as_bytes(), published);
                sender.publish_and_wait(&request, |event| record(seen, event))?;
                expected.push(stage.seen(&topic, payload.as_bytes(), published, subscribed));
            }
            assert_eq!(expected.len(), 2 * (number + 1));
        }
        for (receiver, mut seen) in [(&mut a, seen_a), (&mut b, seen_b)] {
            collect(receiver, &mut seen, expected.len())?;
            // The order holds for each sender, not between them.
            for event in &expected {
                assert!(seen.contains(event), "{event:?} did not come: {seen:?}");
            }
        }
    }
    a.disconnect()?;
    b.disconnect()
}

fn retained<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("state");
    let (mut storage_a, mut storage_b) = (storage(), storage());
    let mut session_a = Session::new(&mut storage_a);
    let mut a = stage.client(&mut session_a, "a")?;
    for payload in [&b"on"[..], b""] {
        let request = Message {
            retain: true,
            ..message(&topic, payload, QoS::AtLeastOnce)
        };
        a.publish_and_wait(&request, |_| {})?;
        let mut session_b = Session::new(&mut storage_b);
        let mut b = stage.client(&mut session_b, "b")?;
        let mut seen = Vec::new();
        b.subscribe_and_wait(&[(&topic, QoS::AtLeastOnce)], |event| {
            record(&mut seen, event)
        })?;
        collect(&mut b, &mut seen, usize::from(!payload.is_empty()))?;
        for event in seen {
            assert!(
                matches!(event, Seen::Message { retain: true, .. }),
                "{event:?}"
            );
        }
        b.disconnect()?;
    }
    a.disconnect()
}

fn will<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("status");
    let (mut storage_a, mut storage_b) = (storage(), storage());
    let mut session_a = Session::new(&mut storage_a);
    let mut watcher = stage.client(&mut session_a, "watcher")?;
    watcher.subscribe_and_wait(&[(&topic, QoS::AtLeastOnce)], |_| {})?;
    let id = stage.id("mortal");
    let options = Connect {
        will: Some(Will {
            qos: QoS::AtLeastOnce,
            ..Will::new(TopicName::new(&topic).unwrap(), b"gone")
        }),
        ..options(&id)
    };
    let mut session_b = Session::new(&mut storage_b);
    stage.connect(&mut session_b, &options)?.disconnect()?;
    messages(&mut watcher, 0)?;
    drop(stage.connect(&mut session_b, &options)?);
    let expected = stage.seen(&topic, b"gone", QoS::AtLeastOnce, QoS::AtLeastOnce);
    assert_eq!(messages(&mut watcher, 1)?, [expected]);
    watcher.disconnect()
}

fn wildcards<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let root = stage.topic("");
    let topics = ["a", "a/b", "a/b/c", "d/b", "/"].map(|topic| format!("{root}{topic}"));
    let (mut storage_a, mut storage_b) = (storage(), storage());
    let (mut session_a, mut session_b) =
        (Session::new(&mut storage_a), Session::new(&mut storage_b));
    let mut sender = stage.client(&mut session_a, "sender")?;
    let mut receiver = stage.client(&mut session_b, "receiver")?;
    let filters: [(&str, &[usize]); 5] = [
        ("a/#", &[0, 1, 2]),
        ("+/b", &[1, 3]),
        ("a/+/c", &[2]),
        ("+", &[0]),
        ("#", &[0, 1, 2, 3, 4]),
    ];
    for (filter, matches) in filters {
        let filter = format!("{root}{filter}");
        receiver.subscribe_and_wait(&[(&filter, QoS::AtMostOnce)], |_| {})?;
        for topic in &topics {
            sender.publish_and_wait(&message(topic, b"x", QoS::AtLeastOnce), |_| {})?;
        }
        let expected: Vec<_> = matches
            .iter()
            .map(|topic| Seen::message(&topics[*topic], b"x"))
            .collect();
        assert_eq!(
            messages(&mut receiver, matches.len())?,
            expected,
            "{filter}"
        );
        receiver.unsubscribe_and_wait(&[&filter], |_| {})?;
    }
    sender.disconnect()?;
    receiver.disconnect()
}

/// What was published while the receiver was away comes when it is back, once.
fn resume_inbound<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("queued");
    let (mut storage_a, mut storage_b) = (storage(), storage());
    let (mut session_a, mut session_b) =
        (Session::new(&mut storage_a), Session::new(&mut storage_b));
    let id = stage.id("receiver");
    let options = Connect {
        clean_session: false,
        ..options(&id)
    };
    let mut receiver = stage.connect(&mut session_b, &options)?;
    assert!(!receiver.session().session_present());
    receiver.subscribe_and_wait(&[(&topic, QoS::ExactlyOnce)], |_| {})?;
    receiver.disconnect()?;

    let mut sender = stage.client(&mut session_a, "sender")?;
    let mut expected = Vec::new();
    for number in 0..6_u8 {
        let qos = if number % 2 == 0 {
            QoS::AtLeastOnce
        } else {
            QoS::ExactlyOnce
        };
        sender.publish_and_wait(&message(&topic, &[number], qos), |_| {})?;
        expected.push(stage.seen(&topic, &[number], qos, QoS::ExactlyOnce));
    }
    sender.disconnect()?;

    let mut receiver = stage.connect(&mut session_b, &options)?;
    assert!(receiver.session().session_present());
    assert_eq!(messages(&mut receiver, expected.len())?, expected);
    receiver.disconnect()
}

/// What was published on a connection that is cut goes out again on the next.
fn resume_outbound<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("queued");
    let (mut storage_a, mut storage_b) = (storage(), storage());
    let (mut session_a, mut session_b) =
        (Session::new(&mut storage_a), Session::new(&mut storage_b));
    let mut receiver = stage.client(&mut session_b, "receiver")?;
    receiver.subscribe_and_wait(&[(&topic, QoS::ExactlyOnce)], |_| {})?;

    let id = stage.id("sender");
    let options = Connect {
        clean_session: false,
        ..options(&id)
    };
    let mut sender = stage.connect(&mut session_a, &options)?;
    let mut expected = Vec::new();
    for number in 0..6_u8 {
        let qos = if number % 2 == 0 {
            QoS::AtLeastOnce
        } else {
            QoS::ExactlyOnce
        };
        let published = sender.session().publish(&message(&topic, &[number], qos));
        assert!(published.is_ok());
        expected.push(stage.seen(&topic, &[number], qos, QoS::ExactlyOnce));
    }
    drop(sender);
    drain(stage, &mut session_a, &options)?;
    let mut seen = messages(&mut receiver, expected.len())?;
    // The order holds within a QoS: brokers hand a message at QoS 2 on when PUBREL has come.
    let qos_2_last =
        |event: &Seen| matches!(event, Seen::Message { payload, .. } if payload[0] % 2 == 1);
    expected.sort_by_key(qos_2_last);
    seen.sort_by_key(qos_2_last);
    assert_eq!(seen, expected);
    receiver.disconnect()
}

/// Connects until nothing is in flight. A broker may cut a new connection when it sees that the old one is gone.
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
        assert!(client.session().session_present());
        while client.session().in_flight() > 0 && client.recv_for(PATIENCE, |_| {}).is_ok() {}
    }
    Ok(())
}

/// A connection with Clean Session 1 leaves nothing behind, on either side.
fn clean_session<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let mut storage = storage();
    let mut session = Session::new(&mut storage);
    let id = stage.id("client");
    for (clean_session, present) in [(false, false), (false, true), (true, false), (false, false)] {
        let options = Connect {
            clean_session,
            ..options(&id)
        };
        let mut client = stage.connect(&mut session, &options)?;
        assert_eq!(client.session().session_present(), present);
        client.disconnect()?;
    }
    Ok(())
}

fn unsubscribe<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topics = ["a", "b"].map(|topic| stage.topic(topic));
    let mut storage = storage();
    let mut session = Session::new(&mut storage);
    let mut client = stage.client(&mut session, "client")?;
    let filters = [
        (&*topics[0], QoS::AtMostOnce),
        (&*topics[1], QoS::AtMostOnce),
    ];
    client.subscribe_and_wait(&filters, |_| {})?;
    client.unsubscribe_and_wait(&[&topics[0]], |_| {})?;
    for topic in &topics {
        client.publish(&message(topic, b"x", QoS::AtMostOnce))?;
    }
    assert_eq!(messages(&mut client, 1)?, [Seen::message(&topics[1], b"x")]);
    client.disconnect()
}

fn refused_login<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let address = stage.broker.login.unwrap();
    let mut storage = storage();
    let mut session = Session::new(&mut storage);
    let id = stage.id("client");
    for (password, accepted) in [(&b"wrong"[..], false), (b"password", true)] {
        let options = Connect {
            credentials: Some(Credentials {
                user_name: "user",
                password: Some(password),
            }),
            ..options(&id)
        };
        match stage.kind.connect(&mut session, address, &options) {
            Ok(client) => {
                assert!(accepted);
                client.disconnect()?;
            }
            Err(error) => {
                assert!(!accepted, "{error}");
                assert_eq!(error, "Protocol(Refused(NotAuthorized))");
            }
        }
    }
    Ok(())
}

/// Larger than either side's buffers, both ways.
fn large_payload<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let payload: Vec<u8> = (0..100_000_u32).map(|byte| (byte % 251) as u8).collect();
    let (mut storage_a, mut storage_b) = (storage(), storage());
    let (mut session_a, mut session_b) =
        (Session::new(&mut storage_a), Session::new(&mut storage_b));
    let mut sender = stage.client(&mut session_a, "sender")?;
    let mut receiver = stage.client(&mut session_b, "receiver")?;
    let topic = stage.topic("image");
    receiver.subscribe_and_wait(&[(&topic, QoS::ExactlyOnce)], |_| {})?;
    for qos in EACH_QOS {
        let outgoing = Outgoing::New {
            topic: &topic,
            qos,
            retain: false,
        };
        let (front, back) = payload.split_at(33_333);
        sender.publish_slices(outgoing, &[front, back])?;
        while sender.session().in_flight() > 0 {
            assert!(
                sender.recv_for(PATIENCE, |_| {})?,
                "the broker does not answer"
            );
        }
        let expected = stage.seen(&topic, &payload, qos, QoS::ExactlyOnce);
        assert_eq!(messages(&mut receiver, 1)?, [expected]);
    }
    sender.disconnect()?;
    receiver.disconnect()
}

/// A client that only waits is not disconnected, though the broker would do so after one and a half keep alives.
fn keep_alive<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let mut storage = storage();
    let mut session = Session::new(&mut storage);
    let id = stage.id("client");
    let options = Connect {
        keep_alive: 1,
        ..options(&id)
    };
    let mut client = stage.connect(&mut session, &options)?;
    assert!(!client.recv_for(Duration::from_secs(3), |_| {})?);
    client.publish_and_wait(&message(&stage.topic("a"), b"x", QoS::AtLeastOnce), |_| {})?;
    client.disconnect()
}
