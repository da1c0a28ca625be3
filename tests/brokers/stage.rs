//! The environment of a scenario.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use umqtt::{Event, Session, Storage, codec::Connect};

pub(crate) use crate::{
    clients::{Calls, Kind, Result},
    common::{Seen, message, record},
};
use crate::{start::Broker, swap};

/// Maximum time of each wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Time for which no message may be received where none is expected.
pub(crate) const SILENCE: Duration = Duration::from_millis(200);

/// A broker with one kind of client, in one scenario.
pub(crate) struct Stage<'a, K> {
    pub(crate) kind: &'a K,
    pub(crate) broker: &'a Broker,
    pub(crate) name: &'static str,
}

impl<K: Kind> Stage<'_, K> {
    /// Returns a client id that no other scenario uses.
    pub(crate) fn id(&self, name: &str) -> String {
        format!("{}-{}-{name}", K::NAME, self.name)
    }

    /// Returns a topic that no other scenario uses.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}-{}/{name}", K::NAME, self.name)
    }

    /// Connects a client with Clean Session 1.
    pub(crate) fn client<'s, 'b: 's>(
        &self,
        session: &'s mut Session<'b>,
        name: &str,
    ) -> Result<K::Client<'s, 'b>> {
        self.connect(session, &options(&self.id(name)))
    }

    pub(crate) fn connect<'s, 'b: 's>(
        &self,
        session: &'s mut Session<'b>,
        options: &Connect<'_>,
    ) -> Result<K::Client<'s, 'b>> {
        self.connect_to(self.broker.address, session, options)
    }

    pub(crate) fn connect_to<'s, 'b: 's>(
        &self,
        address: SocketAddr,
        session: &'s mut Session<'b>,
        options: &Connect<'_>,
    ) -> Result<K::Client<'s, 'b>> {
        session.set_response_timeout(PATIENCE.as_millis() as u32);
        thread::sleep(self.broker.rest);
        self.kind.connect(session, address, options)
    }

    /// Connects with these bytes instead of the CONNECT, which no client of this library would send.
    pub(crate) fn connect_by_hand<'s, 'b: 's>(
        &self,
        session: &'s mut Session<'b>,
        packet: &'static [u8],
    ) -> Result<K::Client<'s, 'b>> {
        let address = swap::connect(self.broker.address, packet);
        self.connect_to(address, session, &options("by-hand"))
    }
}

/// Returns options with Clean Session 1.
pub(crate) fn options(id: &str) -> Connect<'_> {
    Connect {
        keep_alive: 30,
        ..Connect::new(id)
    }
}

/// Returns options with Clean Session 0.
pub(crate) fn lasting(id: &str) -> Connect<'_> {
    Connect {
        clean_session: false,
        ..options(id)
    }
}

/// A session with a storage that is never freed, because the process runs each scenario a few times.
pub(crate) fn session() -> Session<'static> {
    Session::new(Box::leak(Box::new(Storage::<128, 1024, 8>::new())))
}

/// Receives this number of whole messages, and checks that no more are received. It ignores the DUP flag, which brokers
/// may set freely.
pub(crate) fn messages<'b>(client: &mut impl Calls<'b>, count: usize) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    collect(client, &mut seen, count)?;
    Ok(seen)
}

/// As [`messages`], with those that were received before.
pub(crate) fn collect<'b>(
    client: &mut impl Calls<'b>,
    seen: &mut Vec<Seen>,
    count: usize,
) -> Result<()> {
    let start = Instant::now();
    loop {
        let whole = seen.iter().filter(|event| is_message(event)).count();
        let time = if whole < count { PATIENCE } else { SILENCE };
        if !client.recv_for(time, |event| record(seen, event))? {
            break;
        }
        assert!(
            start.elapsed() < 2 * PATIENCE,
            "the messages do not end: {} of {count}",
            seen.len()
        );
    }
    seen.retain(is_message);
    for event in &mut *seen {
        if let Seen::Message { dup, .. } = event {
            *dup = false;
        }
    }
    assert_eq!(seen.len(), count, "received messages: {seen:.300?}");
    Ok(())
}

fn is_message(event: &Seen) -> bool {
    matches!(event, Seen::Message { .. })
}

/// Returns only topics and payloads, in order.
pub(crate) fn contents(seen: &[Seen]) -> Vec<(&str, &[u8])> {
    seen.iter()
        .filter_map(|event| match event {
            Seen::Message { topic, payload, .. } => Some((&**topic, &**payload)),
            _ => None,
        })
        .collect()
}

/// Receives until the connection is closed, and returns the reason.
pub(crate) fn ended<'b>(client: &mut impl Calls<'b>) -> String {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Err(error) = client.recv_for(SILENCE, |_| {}) {
            return error;
        }
    }
    panic!("the connection does not end");
}

/// Ignores an event.
pub(crate) fn ignore(_: Event<'_>) {}
