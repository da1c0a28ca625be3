//! What the light does, without I/O: a blocking and an async loop share it.

use heapless::String;
use umqtt::{
    Event, Instant, Message, RequestError, Session,
    codec::{PacketId, QoS, SubackReturnCode},
};

use crate::{
    Board, KeptSession, News, PrefixTooLong, Settings, SubscriptionRefused, TOPIC_CAPACITY,
    TOPIC_SUFFIX, news::state,
};

/// The light.
#[derive(Debug)]
pub struct Light {
    topic: String<TOPIC_CAPACITY>,
    qos: QoS,
    interval_ms: u32,
    /// Own messages that have still to come back.
    left: Option<u32>,
    on: bool,
    subscription: Subscription,
    /// When to publish next; `None` means at once.
    due: Option<Instant>,
    under_way: UnderWay,
}

/// What [`Light::act`] wants next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Next {
    /// To be called again after the next event, and at this moment if there is one.
    Wait(Option<Instant>),
    /// To disconnect: as many of its messages have come back as were asked for.
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Subscription {
    None,
    Asked(PacketId),
    Granted,
}

/// Own messages that have been published and have not come back, by their payload.
#[derive(Clone, Copy, Debug, Default)]
struct UnderWay {
    on: u32,
    off: u32,
}

impl UnderWay {
    const fn of(&mut self, on: bool) -> &mut u32 {
        if on { &mut self.on } else { &mut self.off }
    }

    fn add(&mut self, on: bool) {
        let count = self.of(on);
        *count = count.saturating_add(1);
    }

    /// Whether one was under way.
    fn take(&mut self, on: bool) -> bool {
        let count = self.of(on);
        let was_under_way = *count > 0;
        *count = count.saturating_sub(1);
        was_under_way
    }
}

impl Light {
    /// A light that is off.
    ///
    /// # Errors
    ///
    /// The topic would be too long.
    pub fn new(settings: &Settings<'_>) -> Result<Self, PrefixTooLong> {
        let prefix = settings.topic_prefix;
        let mut topic = String::new();
        for part in [prefix, TOPIC_SUFFIX] {
            topic
                .push_str(part)
                .map_err(|_| PrefixTooLong { len: prefix.len() })?;
        }
        Ok(Self {
            topic,
            qos: settings.qos,
            interval_ms: settings.interval_ms,
            left: settings.count,
            on: false,
            subscription: Subscription::None,
            due: None,
            under_way: UnderWay::default(),
        })
    }

    /// The topic to which the light publishes and subscribes.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Whether the light is on.
    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// Queues in the session what is due at `now`: the subscription, then every interval the other state of the light.
    ///
    /// # Errors
    ///
    /// The session cannot do that, now or later.
    pub fn act<B: Board>(
        &mut self,
        session: &mut Session<'_>,
        now: Instant,
        board: &mut B,
    ) -> Result<Next, RequestError> {
        if self.left == Some(0) {
            return Ok(Next::Done);
        }
        if !session.is_connected() {
            return Ok(Next::Wait(None));
        }
        match self.subscription {
            Subscription::None => {
                let asked = session.subscribe(&[(&self.topic, self.qos)]);
                if let Some(id) = unless_busy(asked, board)? {
                    self.subscription = Subscription::Asked(id);
                }
                // If the session is busy, the next event makes room.
                Ok(Next::Wait(None))
            }
            Subscription::Asked(_) => Ok(Next::Wait(None)),
            Subscription::Granted => {
                if self.due.is_none_or(|due| due.has_passed(now)) {
                    self.publish(session, board)?;
                    self.due = Some(self.due_after(now));
                }
                Ok(Next::Wait(self.due))
            }
        }
    }

    fn publish<B: Board>(
        &mut self,
        session: &mut Session<'_>,
        board: &mut B,
    ) -> Result<(), RequestError> {
        let on = !self.on;
        let message = Message {
            qos: self.qos,
            ..Message::new(&self.topic, state(on).as_bytes())
        };
        if unless_busy(session.publish(&message), board)?.is_some() {
            self.on = on;
            self.under_way.add(on);
            board.set_light(on);
            board.tell(&News::Published {
                topic: &self.topic,
                on,
            });
        }
        Ok(())
    }

    /// In step with the clock, unless that has been missed by a whole interval.
    fn due_after(&self, now: Instant) -> Instant {
        let next = self.due.unwrap_or(now).add_millis(self.interval_ms);
        if next.has_passed(now) {
            now.add_millis(self.interval_ms)
        } else {
            next
        }
    }

    /// Takes in an event of the session.
    ///
    /// # Errors
    ///
    /// The broker does not allow the subscription.
    pub fn handle<B: Board>(
        &mut self,
        event: &Event<'_>,
        board: &mut B,
    ) -> Result<(), SubscriptionRefused> {
        match *event {
            Event::Connected {
                session_present,
                unknown_session,
                connect_unanswered,
            } => {
                if connect_unanswered {
                    // The broker may have begun a new session, without our subscription.
                    self.subscription = Subscription::None;
                }
                self.connected(session_present, unknown_session, board);
            }
            Event::Suback(id, codes) if self.subscription == Subscription::Asked(id) => {
                let Some(SubackReturnCode::Granted(qos)) = codes.first() else {
                    self.subscription = Subscription::None;
                    return Err(SubscriptionRefused);
                };
                self.subscription = Subscription::Granted;
                board.tell(&News::Subscribed {
                    topic: &self.topic,
                    qos,
                });
            }
            Event::OutcomeUnknown(id) | Event::RequestRejected(id)
                if self.subscription == Subscription::Asked(id) =>
            {
                self.subscription = Subscription::None;
            }
            Event::Message(message) => self.received(&message, board),
            Event::Chunk(chunk) if chunk.offset == 0 => {
                board.tell(&News::Skipped { len: chunk.total });
            }
            Event::TopicTooLong { len } => board.tell(&News::Skipped { len }),
            _ => {}
        }
        Ok(())
    }

    fn connected<B: Board>(&mut self, session_present: bool, unknown_session: bool, board: &mut B) {
        if !session_present || self.subscription != Subscription::Granted {
            // A session of an earlier run may have had another prefix.
            self.subscription = Subscription::None;
        }
        if !session_present || self.qos == QoS::AtMostOnce {
            // What was under way was lost, or reaches the broker before we are subscribed again.
            self.under_way = UnderWay::default();
        }
        board.tell(&News::Connected(if !session_present {
            KeptSession::None
        } else if unknown_session {
            KeptSession::Earlier
        } else {
            KeptSession::Ours
        }));
    }

    fn received<B: Board>(&mut self, message: &Message<'_>, board: &mut B) {
        let on = match message.payload {
            b"on" => Some(true),
            b"off" => Some(false),
            _ => None,
        }
        .filter(|_| message.topic == self.topic);
        let own = !message.retain && on.is_some_and(|on| self.under_way.take(on));
        board.tell(&News::Received {
            topic: message.topic,
            payload: message.payload,
            own,
        });
        if own {
            self.left = self.left.map(|left| left.saturating_sub(1));
        } else if let Some(on) = on {
            self.on = on;
            board.set_light(on);
        }
    }
}

/// A session that is full has room again later: the board is told, and nothing has happened.
pub(crate) fn unless_busy<R, B: Board>(
    result: Result<R, RequestError>,
    board: &mut B,
) -> Result<Option<R>, RequestError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error @ (RequestError::InflightFull { .. } | RequestError::SendBufferFull { .. })) => {
            board.tell(&News::Busy(error));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::{
        string::{String, ToString},
        vec::Vec,
    };

    use umqtt::{
        Storage,
        codec::{Connack, Connect, Packet, Publish, Suback, TopicName},
    };

    use super::*;

    /// A board that remembers.
    #[derive(Default)]
    struct Notes {
        told: Vec<String>,
        light: Option<bool>,
    }

    impl Board for Notes {
        fn tell(&mut self, news: &News<'_>) {
            self.told.push(news.to_string());
        }

        fn set_light(&mut self, on: bool) {
            self.light = Some(on);
        }
    }

    const TOPIC: &str = "id/living_room/light";

    fn settings() -> Settings<'static> {
        Settings {
            topic_prefix: "id",
            qos: QoS::AtLeastOnce,
            interval_ms: 1_000,
            count: None,
        }
    }

    fn at(millis: u32) -> Instant {
        Instant::from_millis(millis)
    }

    /// What the session has to send, packet by packet, in words.
    fn sent(session: &mut Session<'_>) -> Vec<String> {
        let mut words = Vec::new();
        loop {
            let bytes = session.pending(at(0));
            let Some((packet, used)) = Packet::decode(bytes).unwrap() else {
                return words;
            };
            words.push(match packet {
                Packet::Publish(p) => std::format!(
                    "{} {}",
                    p.topic.as_str(),
                    str::from_utf8(p.payload).unwrap()
                ),
                other => std::format!("{:?}", other.packet_type()),
            });
            session.consume(used, at(0));
        }
    }

    /// Hands bytes of the broker to the session, and its events to the light.
    fn arrive(
        bytes: &[u8],
        session: &mut Session<'_>,
        light: &mut Light,
        notes: &mut Notes,
    ) -> Result<(), SubscriptionRefused> {
        session.space()[..bytes.len()].copy_from_slice(bytes);
        session.commit(bytes.len());
        while let Some(ready) = session.poll(at(0)).unwrap() {
            if let Some(event) = session.event(ready).unwrap() {
                light.handle(&event, notes)?;
            }
        }
        Ok(())
    }

    fn connect(
        session: &mut Session<'_>,
        light: &mut Light,
        notes: &mut Notes,
        session_present: bool,
    ) {
        let options = Connect {
            clean_session: false,
            ..Connect::new("a")
        };
        session.connect(&options, at(0)).unwrap();
        assert_eq!(sent(session), ["Connect"]);
        let mut buffer = [0; 4];
        let connack = Connack::Accepted { session_present };
        let bytes = connack.encode(&mut buffer).unwrap();
        arrive(bytes, session, light, notes).unwrap();
    }

    fn suback(light: &Light, code: SubackReturnCode) -> Vec<u8> {
        let Subscription::Asked(id) = light.subscription else {
            panic!("{light:?} has not asked");
        };
        let mut buffer = [0; 8];
        let codes = [code];
        let suback = Suback::new(id, &codes).unwrap();
        suback.encode(&mut buffer).unwrap().to_vec()
    }

    /// A light that is connected and subscribed.
    fn ready(session: &mut Session<'_>, settings: &Settings<'_>) -> (Light, Notes) {
        let (mut light, mut notes) = (Light::new(settings).unwrap(), Notes::default());
        connect(session, &mut light, &mut notes, false);
        light.act(session, at(0), &mut notes).unwrap();
        assert_eq!(sent(session), ["Subscribe"]);
        let granted = suback(&light, SubackReturnCode::Granted(settings.qos));
        arrive(&granted, session, &mut light, &mut notes).unwrap();
        notes.told.clear();
        (light, notes)
    }

    fn message(payload: &[u8]) -> Vec<u8> {
        let mut buffer = [0; 64];
        let publish = Publish::new(TopicName::new(TOPIC).unwrap(), payload);
        publish.encode(&mut buffer).unwrap().to_vec()
    }

    #[test]
    fn the_topic_begins_with_the_prefix_and_has_an_end() {
        assert_eq!(Light::new(&settings()).unwrap().topic(), TOPIC);
        let longest = "x".repeat(PrefixTooLong::MAX);
        let with = |topic_prefix| {
            Light::new(&Settings {
                topic_prefix,
                ..settings()
            })
        };
        assert_eq!(with(&longest).unwrap().topic().len(), TOPIC_CAPACITY);
        let len = PrefixTooLong::MAX + 1;
        assert_eq!(with(&"x".repeat(len)).unwrap_err(), PrefixTooLong { len });
    }

    #[test]
    fn it_subscribes_before_it_publishes() {
        let mut storage = Storage::<256, 256, 4>::new();
        let mut session = Session::new(&mut storage);
        let (mut light, mut notes) = (Light::new(&settings()).unwrap(), Notes::default());
        let act = |light: &mut Light, session: &mut Session<'_>, notes: &mut Notes| {
            light.act(session, at(0), notes).unwrap()
        };
        assert_eq!(act(&mut light, &mut session, &mut notes), Next::Wait(None));
        connect(&mut session, &mut light, &mut notes, false);
        for _ in 0..2 {
            assert_eq!(act(&mut light, &mut session, &mut notes), Next::Wait(None));
        }
        assert_eq!(sent(&mut session), ["Subscribe"]);
        let granted = suback(&light, SubackReturnCode::Granted(QoS::AtMostOnce));
        arrive(&granted, &mut session, &mut light, &mut notes).unwrap();
        assert_eq!(
            act(&mut light, &mut session, &mut notes),
            Next::Wait(Some(at(1_000)))
        );
        assert_eq!(sent(&mut session), ["id/living_room/light on"]);
        assert_eq!(
            notes.told,
            [
                "Connected",
                "Subscribed to id/living_room/light with QoS 0",
                "Published: on"
            ]
        );
    }

    #[test]
    fn a_refused_subscription_is_an_error() {
        let mut storage = Storage::<256, 256, 4>::new();
        let mut session = Session::new(&mut storage);
        let (mut light, mut notes) = (Light::new(&settings()).unwrap(), Notes::default());
        connect(&mut session, &mut light, &mut notes, false);
        light.act(&mut session, at(0), &mut notes).unwrap();
        sent(&mut session);
        let refused = suback(&light, SubackReturnCode::Failure);
        let result = arrive(&refused, &mut session, &mut light, &mut notes);
        assert_eq!(result, Err(SubscriptionRefused));
    }

    #[test]
    fn it_publishes_in_step_with_the_clock() {
        let mut storage = Storage::<256, 512, 8>::new();
        let mut session = Session::new(&mut storage);
        let (mut light, mut notes) = ready(&mut session, &settings());
        for (now, next, published) in [
            (500, 1_500, true),
            (1_499, 1_500, false),
            (1_510, 2_500, true),
            (4_000, 5_000, true),
        ] {
            let wait = light.act(&mut session, at(now), &mut notes).unwrap();
            assert_eq!(wait, Next::Wait(Some(at(next))), "at {now}");
            assert_eq!(!sent(&mut session).is_empty(), published, "at {now}");
        }
        assert_eq!(
            notes.told,
            ["Published: on", "Published: off", "Published: on"]
        );
        assert_eq!(notes.light, Some(true));
    }

    #[test]
    fn its_own_messages_count_and_do_not_switch() {
        let mut storage = Storage::<256, 256, 4>::new();
        let mut session = Session::new(&mut storage);
        let settings = Settings {
            count: Some(1),
            ..settings()
        };
        let (mut light, mut notes) = ready(&mut session, &settings);
        arrive(&message(b"on"), &mut session, &mut light, &mut notes).unwrap();
        assert!(light.is_on(), "a message from elsewhere switches the light");
        light.act(&mut session, at(0), &mut notes).unwrap();
        assert_eq!(notes.light, Some(false));
        arrive(&message(b"on"), &mut session, &mut light, &mut notes).unwrap();
        arrive(&message(b"\x1b"), &mut session, &mut light, &mut notes).unwrap();
        let next = light.act(&mut session, at(0), &mut notes).unwrap();
        assert_ne!(next, Next::Done);
        arrive(&message(b"off"), &mut session, &mut light, &mut notes).unwrap();
        assert_eq!(notes.light, Some(true), "its own message switches nothing");
        let next = light.act(&mut session, at(0), &mut notes).unwrap();
        assert_eq!(next, Next::Done);
        assert_eq!(
            notes.told,
            [
                "Received on id/living_room/light: on",
                "Published: off",
                "Received on id/living_room/light: on",
                "Received on id/living_room/light: \\u{1b}",
                "Came back: off"
            ]
        );
    }

    #[test]
    fn it_subscribes_again_only_if_the_broker_forgot() {
        let mut storage = Storage::<256, 256, 4>::new();
        let mut session = Session::new(&mut storage);
        let (mut light, mut notes) = ready(&mut session, &settings());
        for (session_present, expected) in [
            (true, TOPIC.to_string() + " on"),
            (false, "Subscribe".to_string()),
        ] {
            session.connection_lost();
            connect(&mut session, &mut light, &mut notes, session_present);
            light.act(&mut session, at(0), &mut notes).unwrap();
            let sent = sent(&mut session);
            assert_eq!(sent.last(), Some(&expected));
        }
    }

    #[test]
    fn an_earlier_run_may_have_subscribed_to_something_else() {
        let mut storage = Storage::<256, 256, 4>::new();
        let mut session = Session::new(&mut storage);
        let (mut light, mut notes) = (Light::new(&settings()).unwrap(), Notes::default());
        connect(&mut session, &mut light, &mut notes, true);
        light.act(&mut session, at(0), &mut notes).unwrap();
        assert_eq!(sent(&mut session), ["Subscribe"]);
        assert_eq!(
            notes.told,
            ["Connected; the broker kept the session of an earlier run"]
        );
    }

    #[test]
    fn a_subscription_cut_off_is_asked_for_again() {
        let mut storage = Storage::<256, 256, 4>::new();
        let mut session = Session::new(&mut storage);
        let (mut light, mut notes) = (Light::new(&settings()).unwrap(), Notes::default());
        connect(&mut session, &mut light, &mut notes, false);
        light.act(&mut session, at(0), &mut notes).unwrap();
        session.connection_lost();
        connect(&mut session, &mut light, &mut notes, true);
        light.act(&mut session, at(0), &mut notes).unwrap();
        assert_eq!(sent(&mut session), ["Subscribe"]);
    }

    #[test]
    fn a_full_session_is_said_and_tried_again() {
        let mut storage = Storage::<256, 256, 1>::new();
        let mut session = Session::new(&mut storage);
        let (mut light, mut notes) = ready(&mut session, &settings());
        light.act(&mut session, at(0), &mut notes).unwrap();
        let next = light.act(&mut session, at(1_000), &mut notes).unwrap();
        assert_eq!(next, Next::Wait(Some(at(2_000))));
        assert!(light.is_on());
        assert_eq!(notes.told.len(), 2);
        assert!(notes.told[1].starts_with("Busy, and going on soon"));
    }

    #[test]
    fn a_subscription_waits_for_room() {
        let mut storage = Storage::<256, 256, 1>::new();
        let mut session = Session::new(&mut storage);
        let (mut light, mut notes) = ready(&mut session, &settings());
        light.act(&mut session, at(0), &mut notes).unwrap();
        sent(&mut session);
        session.connection_lost();
        // The broker forgot the session, and the only slot is taken by what goes out again.
        connect(&mut session, &mut light, &mut notes, false);
        let next = light.act(&mut session, at(0), &mut notes).unwrap();
        assert_eq!(next, Next::Wait(None));
        sent(&mut session);
        arrive(&[0x40, 2, 0, 2], &mut session, &mut light, &mut notes).unwrap();
        light.act(&mut session, at(0), &mut notes).unwrap();
        assert_eq!(sent(&mut session), ["Subscribe"]);
    }
}
