//! The living room light without its I/O: its state, its messages, and the sentences for its user.
//!
//! Each program that uses it adds a board and a device of `umqtt`.
#![no_std]

mod news;
#[cfg(test)]
mod tests;

use umqtt::{Event, Message, codec::QoS};

pub use self::news::News;

/// The part of the light's topic after the prefix of its device.
pub const TOPIC_SUFFIX: &str = "/living_room/light";

/// A light that publishes its state and that messages on the same topic switch.
#[derive(Debug)]
pub struct Light<'a> {
    topic: &'a str,
    qos: QoS,
    on: bool,
    /// Number of own messages with each state that were published and not received yet.
    under_way: UnderWay,
    /// Number of own messages that were received.
    count: u32,
}

#[derive(Debug, Default)]
struct UnderWay {
    on: u32,
    off: u32,
}

impl UnderWay {
    const fn count(&mut self, on: bool) -> &mut u32 {
        if on { &mut self.on } else { &mut self.off }
    }
}

impl<'a> Light<'a> {
    /// Creates a light that is off. It publishes to this topic with this QoS.
    pub fn new(topic: &'a str, qos: QoS) -> Self {
        Self {
            topic,
            qos,
            on: false,
            under_way: UnderWay::default(),
            count: 0,
        }
    }

    /// Returns `true` if the light is on.
    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// Returns the number of its own messages that were received.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Publishes the other state by this function, then switches. If the function fails, the light does not switch.
    ///
    /// # Errors
    ///
    /// The error of the function.
    pub fn toggle<R, E>(
        &mut self,
        publish: impl FnOnce(&Message<'_>) -> Result<R, E>,
    ) -> Result<News<'static>, E> {
        let on = !self.on;
        let mut message = Message::new(self.topic, news::state(on).as_bytes());
        message.qos = self.qos;
        publish(&message)?;
        self.on = on;
        let under_way = self.under_way.count(on);
        *under_way = under_way.saturating_add(1);
        Ok(News::Published { on })
    }

    /// Handles an event of the device, and returns the text for the user.
    pub fn handle<'e>(&mut self, event: &Event<'e>) -> News<'e> {
        match *event {
            Event::Connected {
                session_present, ..
            } if !session_present || self.qos == QoS::AtMostOnce => {
                // These messages are lost, or reach the server before it has the subscription again.
                self.under_way = UnderWay::default();
            }
            Event::Message(message) => return self.received(message),
            _ => {}
        }
        News::Event(*event)
    }

    fn received<'e>(&mut self, message: Message<'e>) -> News<'e> {
        let state = match message.payload {
            b"on" => Some(true),
            b"off" => Some(false),
            _ => None,
        };
        if let Some(on) = state.filter(|_| message.topic == self.topic) {
            let under_way = self.under_way.count(on);
            if !message.retain && *under_way > 0 {
                *under_way = under_way.saturating_sub(1);
                self.count = self.count.saturating_add(1);
                return News::CameBack { on };
            }
            self.on = on;
        }
        News::Received(message)
    }
}
