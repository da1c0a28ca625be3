//! The light, on either device.

use std::fmt;

use light::Light;
use umqtt::{Config, Event, Message, Storage, codec::SubackReturnCode};

use crate::console::{DONE, END, GAVE_UP, complain, end, say, set_connected};
use crate::{failure::Failure, network::Broker, options::Options};

/// Capacities: receive buffer, send buffer, messages in flight.
pub(crate) type Memory = Storage<16_384, 16_384, 32>;

/// The light, and the settings of its device.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) light: Light<'a>,
    pub(crate) broker: &'a Broker,
    pub(crate) config: Config<'a>,
    pub(crate) options: &'a Options,
}

impl Work<'_> {
    /// Handles and prints an event, unless the program is ending.
    pub(crate) fn handle(&mut self, event: &Event<'_>) {
        if END.get().is_some() {
            return;
        }
        let news = self.light.handle(event);
        match *event {
            Event::Puback(_) | Event::Pubcomp(_) => {}
            Event::Chunk(chunk) if chunk.offset > 0 => {}
            _ => say(news),
        }
        let requested = SubackReturnCode::Granted(self.options.qos);
        match *event {
            Event::Connected {
                unknown_session, ..
            } => {
                set_connected(true);
                if unknown_session {
                    say("It is the session of an earlier run. Use --clean to begin a new one.");
                }
            }
            Event::Subscribed { codes, .. } if !codes.all_granted() => {
                complain("Check the rights of this user, or give another --topic-prefix.");
                end(GAVE_UP);
            }
            Event::Subscribed { codes, .. } if codes.first() != Some(requested) => {
                say("The broker grants a lower QoS than --qos.");
            }
            _ => {}
        }
        let count = self.light.count();
        if self.options.count.is_some_and(|wanted| count >= wanted) {
            end(DONE);
        }
    }

    /// Switches the light and publishes its state.
    pub(crate) fn publish<R, E: fmt::Display>(
        &mut self,
        publish: impl FnOnce(&Message<'_>) -> Result<R, E>,
    ) {
        match self.light.toggle(publish) {
            Ok(news) => say(news),
            Err(error) => say(format_args!("Not published: {error}")),
        }
    }
}

/// Shows a problem. The next attempt is due after `delay` in ms.
pub(crate) fn show(failure: &Failure, delay: u32) {
    let Failure { text, is_permanent } = failure;
    if *is_permanent {
        complain(text);
        end(GAVE_UP);
    } else if END.get().is_none() {
        let seconds = delay.div_ceil(1_000);
        complain(format_args!("{text} Trying again in {seconds} s."));
    }
}
