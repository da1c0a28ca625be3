//! The calls and events of the caller. A call returns `false` if it was not possible and changed nothing.

use super::{
    Step, World,
    model::{Payload, Up, Wait},
};
use crate::{
    broker::{index_of_down, index_of_up},
    driver::{Outcome, Refusal, Seen},
    finding::{Finding, Kind, require},
    wire::{self, LONG},
};

impl<const RX: usize, const TX: usize, const IF: usize, const IB: usize> World<'_, RX, TX, IF, IB> {
    /// Publishes the next message. If it is long, its payload is provided later.
    pub(super) fn publish(&mut self) -> Result<bool, Finding> {
        let Some(index) = self.model.app.next_up() else {
            return Ok(false);
        };
        let up = self.setup.ups[index];
        let message = index as u8 + 1;
        let driver = &mut self.client.driver;
        let published = if up.is_long {
            driver.begin_payload(up.qos, LONG)
        } else {
            driver.publish(up.qos, &wire::payload(message, false))
        };
        let id = match published {
            Ok(id) => id,
            Err(Refusal::NotConnected) => {
                let is_offline = self.setup.offline && up.qos > 0 && !up.is_long;
                require!(!is_offline, Kind::Refused, "publish offline");
                return Ok(false);
            }
            Err(Refusal::NoRoom | Refusal::PayloadPending) => return Ok(false),
            Err(Refusal::NotDiscarded | Refusal::Other) => {
                return Err(Finding::new(Kind::Refused, "publish"));
            }
        };
        if up.is_long {
            self.model.payload = Some(Payload {
                message,
                again: false,
            });
        }
        let app = &mut self.model.app;
        let in_use = app.ups.iter().any(|up| up.is_open_as(id));
        require!(!in_use, Kind::IdInUse, "id {id} was given twice");
        app.ups[index] = if up.qos == 0 {
            Up::Gone
        } else {
            Up::Open {
                id,
                declined: false,
            }
        };
        Ok(true)
    }

    /// Begins to provide again the payload that the session needs.
    pub(super) fn provide_again(&mut self) -> Result<bool, Finding> {
        let Some(id) = self.client.driver.payload_needed() else {
            return Ok(false);
        };
        let message = self.message_of(id, Kind::ReportedTwice)?;
        let given = self.client.driver.give_again(id, LONG);
        if given == Err(Refusal::PayloadPending) {
            return Ok(false);
        }
        require!(given.is_ok(), Kind::Refused, "provide again: {given:?}");
        self.model.asked = None;
        self.model.payload = Some(Payload {
            message,
            again: true,
        });
        Ok(true)
    }

    /// Discards the message whose payload the session needs again.
    pub(super) fn decline(&mut self) -> Result<bool, Finding> {
        let Some(id) = self.client.driver.payload_needed() else {
            return Ok(false);
        };
        let message = self.message_of(id, Kind::ReportedTwice)?;
        let declined = self.client.driver.discard_publish(id);
        require!(declined.is_ok(), Kind::Refused, "decline: {declined:?}");
        self.model.refusals -= 1;
        self.model.app.ups[index_of_up(message)] = Up::Open { id, declined: true };
        Ok(true)
    }

    /// Discards the first message that can be discarded.
    pub(super) fn discard(&mut self) -> Result<bool, Finding> {
        for index in 0..self.model.app.ups.len() {
            let Up::Open {
                id,
                declined: false,
            } = self.model.app.ups[index]
            else {
                continue;
            };
            let discarded = match self.client.memory.discards() {
                true => Ok(()),
                false => self.client.driver.discard_publish(id),
            };
            match discarded {
                Ok(()) => {
                    self.model.discards -= 1;
                    // The answer to a discarded message may be late.
                    let waits = &mut self.model.line.waits;
                    waits.retain(|(wait, _)| *wait != Wait::Pubrec(id));
                    self.model.app.ups[index] = Up::Open { id, declined: true };
                    return Ok(true);
                }
                Err(Refusal::NotDiscarded) => {}
                Err(error) => {
                    return Err(Finding::new(Kind::Refused, format!("discard: {error:?}")));
                }
            }
        }
        Ok(false)
    }

    /// Abandons the payload that is being sent.
    pub(super) fn abandon(&mut self) -> bool {
        let Some(payload) = self.model.payload.take() else {
            return false;
        };
        self.model.refusals -= 1;
        let begun = self.model.attempts[index_of_up(payload.message)].now;
        self.client.driver.abandon_payload();
        if !begun && !payload.again {
            self.model.app.ups[index_of_up(payload.message)] = Up::Gone;
        }
        true
    }

    /// Skips the rest of the message that is being received in chunks.
    pub(super) fn skip(&mut self) -> bool {
        let Some((message, _)) = self.model.app.partial.take() else {
            return false;
        };
        self.model.refusals -= 1;
        self.model.skipped[index_of_down(message)] = true;
        self.client.driver.skip_message();
        true
    }

    /// Returns the open message with this id. If there is none, returns a finding of the kind `otherwise`.
    pub(super) fn message_of(&self, id: u16, otherwise: Kind) -> Result<u8, Finding> {
        let mut ups = self.model.app.ups.iter();
        match ups.position(|up| up.is_open_as(id)) {
            Some(index) => Ok(index as u8 + 1),
            None => Err(Finding::new(
                otherwise,
                format!("id {id} belongs to no open message"),
            )),
        }
    }

    /// Handles an event, and checks that it may occur now.
    pub(super) fn handle_event(&mut self, seen: Seen) -> Result<(), Finding> {
        match seen {
            Seen::Connected { session_present } => {
                let epoch = self.model.broker.epoch;
                let known = self.model.app.epoch.replace(epoch);
                // Without messages, only subscriptions can be lost, and the session sends them again.
                let has_messages = !self.setup.ups.is_empty() || !self.setup.downs.is_empty();
                let may_know = !has_messages && !self.model.restored;
                if session_present && known.is_some_and(|known| known != epoch) && !may_know {
                    self.stop = Some(Step::NobodyCanKnow);
                }
            }
            Seen::Message { qos, payload } => {
                let Some((message, false)) = wire::message(&payload) else {
                    return Err(Finding::new(
                        Kind::Forbidden,
                        format!("payload {payload:x?}"),
                    ));
                };
                self.delivered(message, qos)?;
            }
            Seen::Chunk {
                qos,
                offset,
                bytes,
                is_last,
                ..
            } => {
                let message = bytes[0];
                let expected = match self.model.app.partial {
                    Some((partial, at)) if partial == message => at,
                    _ => 0,
                };
                let is_pure = bytes.iter().all(|byte| *byte == message);
                require!(
                    offset == expected && is_pure,
                    Kind::Forbidden,
                    "a chunk of {message} at {offset} instead of {expected}"
                );
                let end = offset + bytes.len();
                self.model.app.partial = Some((message, end));
                require!(is_last == (end == LONG), Kind::Forbidden, "the last chunk");
                if is_last {
                    self.model.app.partial = None;
                    self.delivered(message, qos)?;
                }
            }
            Seen::Aborted => {
                let partial = self.model.app.partial.take();
                require!(partial.is_some(), Kind::Forbidden, "the end of no chunks");
            }
            Seen::Ended(id, outcome) => self.ended(id, outcome)?,
            Seen::Checkpoint(image) => {
                // This image replaces an older one that is still being written.
                self.model.writing = None;
                self.model.saved = Some((image, self.model.app.clone()));
            }
            Seen::PayloadNeeded(id) => self.model.asked = Some(id),
            Seen::Dropped(_) | Seen::Subscribed { .. } => {}
            Seen::Other => return Err(Finding::new(Kind::Forbidden, "an event that cannot be")),
        }
        Ok(())
    }

    /// Records that a message of the broker was delivered, and checks its QoS, its order and that it is not repeated.
    pub(super) fn delivered(&mut self, message: u8, qos: u8) -> Result<(), Finding> {
        let index = index_of_down(message);
        let is_known =
            index < usize::from(self.model.offered) && self.setup.down(message).qos == qos;
        require!(
            is_known,
            Kind::Forbidden,
            "message {message} at QoS {qos} from nowhere"
        );
        let app = &mut self.model.app;
        if app.downs[index] == 0 {
            let last = std::mem::replace(&mut app.last_new[usize::from(qos)], message);
            require!(
                last < message,
                Kind::Order,
                "message {message} after {last}"
            );
        }
        app.downs[index] = app.downs[index].saturating_add(1).min(2);
        require!(
            qos == 1 || app.downs[index] == 1 || qos == 0 && self.model.restored,
            Kind::Twice,
            "message {message} is delivered twice"
        );
        Ok(())
    }

    /// Records the outcome of a published message, and checks that it may have this outcome.
    pub(super) fn ended(&mut self, id: u16, outcome: Outcome) -> Result<(), Finding> {
        let message = self.message_of(id, Kind::ReportedTwice)?;
        let index = index_of_up(message);
        let declined = self.model.app.ups[index] == Up::Open { id, declined: true };
        let may = match outcome {
            Outcome::Delivered => self.model.broker.ever[index],
            Outcome::GivenUp => declined,
            Outcome::DeliveryUnknown => self.model.forgot,
            Outcome::Request => false,
        };
        require!(may, Kind::Lost, "message {message}: {outcome:?}");
        let app = &mut self.model.app;
        app.ups[index] = Up::Ended;
        if let Some(place) = app.pubrecs.iter().position(|(known, _)| *known == id) {
            app.pubrecs.remove(place);
            let line = &mut self.model.line;
            line.pubrels -= usize::from(line.pubrels > place);
        }
        Ok(())
    }
}
