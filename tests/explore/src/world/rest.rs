//! Checks of deadlines, and the continuation without faults.

use super::{
    Action, TIMEOUT, World,
    model::{Up, Wait},
};
use crate::{
    driver::Reason,
    finding::{Finding, Kind, require},
};

/// Maximum time in ms until the deadline if an answer is late already.
const SOON: u32 = TIMEOUT / 4;

impl<const RX: usize, const TX: usize, const IF: usize, const IB: usize> World<'_, RX, TX, IF, IB> {
    /// Returns the next action if no more faults occur, or `None` if all deliveries are complete. Skips the actions in
    /// `nothing`, which had no effect.
    pub(crate) fn fair(&self, publishes_first: bool, nothing: &[Action]) -> Option<Action> {
        let may = |action: &Action| !nothing.contains(action) && self.may(*action);
        let mut moves = [
            Action::Turn,
            Action::Connect,
            Action::UpPublishesFirst,
            Action::Up,
            Action::Give,
            Action::Down,
        ]
        .into_iter()
        .filter(|action| publishes_first || *action != Action::UpPublishesFirst);
        if let Some(action) = moves.find(may) {
            return Some(action);
        }
        (!self.is_at_rest()).then_some(Action::Timeout)
    }

    /// Returns `true` if all deliveries are complete, and the standing subscriptions are answered.
    pub(super) fn is_at_rest(&self) -> bool {
        let model = &self.model;
        let is_open = |(index, up): (usize, &Up)| match up {
            Up::Open { declined, .. } => !(*declined && self.setup.ups[index].qos == 2),
            _ => false,
        };
        model.down.is_empty()
            && model.broker.is_idle()
            && !model.app.ups.iter().enumerate().any(is_open)
            && !self.client.driver.is_payload_open()
            && (!self.setup.subscribes || self.client.driver.subscriptions_granted().is_some())
    }

    /// Lets time pass, because nothing else can happen.
    pub(crate) fn wait_fairly(&mut self) -> Result<(), Finding> {
        if self.client.driver.deadline().is_none() && self.model.is_broken {
            // Without keep alive, only the transport notices the broken connection.
            self.client.driver.connection_lost();
            self.over(Reason::Closed);
        } else if self.client.driver.deadline().is_none() {
            let in_flight = self.client.driver.in_flight() > 0;
            let kind = if self.model.broker.is_idle() && self.model.down.is_empty() && !in_flight {
                Kind::NeverReported
            } else {
                Kind::Asleep
            };
            return Err(Finding::new(kind, "no step is possible"));
        }
        self.quiet = false;
        self.wait();
        if !self.setup.lazy {
            self.settle()?;
        }
        Ok(())
    }

    /// Checks that no message is missing after all deliveries are complete.
    pub(crate) fn check_rest(&self) -> Result<(), Finding> {
        let model = &self.model;
        for index in 0..usize::from(model.offered) {
            let is_due = self.setup.downs[index].qos > 0 && !model.broker.lost[index];
            let came = model.app.downs[index] > 0 || model.skipped[index];
            require!(
                came || !is_due,
                Kind::NeverDelivered,
                "message {}",
                129 + index
            );
        }
        Ok(())
    }

    /// Returns `true` if a long QoS 2 message is in flight to the client. It may lack room for its id.
    pub(crate) fn has_long_waiting(&self) -> bool {
        let is_long = |message| {
            let down = self.setup.down(message);
            down.is_long && down.qos == 2
        };
        self.model.broker.has_unsent(is_long)
    }

    /// Returns `true` if the broker can choose an order in the next step.
    pub(crate) fn has_choice(&self) -> bool {
        self.may(Action::UpPublishesFirst)
    }

    /// Checks that the deadline is not later than the time limit of any answer or of the next PINGREQ. If a limit has
    /// passed already, the deadline must be within [`SOON`].
    pub(super) fn check_deadline(&self) -> Result<(), Finding> {
        let driver = &self.client.driver;
        if !self.model.is_open {
            return Ok(());
        }
        let deadline = self.client.memory.deadline(driver.deadline());
        let line = &self.model.line;
        let soon = self.now.wrapping_add(SOON);
        let check = |latest: u32, what: &dyn std::fmt::Debug| {
            let latest = if latest <= self.now { soon } else { latest };
            require!(
                deadline.is_some_and(|deadline| deadline <= latest),
                Kind::Deadline,
                "{what:?} until {latest}, deadline {deadline:?}"
            );
            Ok(())
        };
        if driver.has_pending() {
            return check(self.now.wrapping_add(TIMEOUT), &"bytes to send");
        }
        for (wait, since) in &line.waits {
            let since = (*since).max(line.came);
            check(since.0.wrapping_add(TIMEOUT), wait)?;
        }
        let may_ping = driver.is_connected() || self.connect_sent();
        if self.setup.keep_alive > 0 && may_ping && !driver.is_payload_open() {
            let keep_alive = u32::from(self.setup.keep_alive) * 1_000;
            check(line.sent.0.wrapping_add(keep_alive), &"keep alive")?;
            if line.waits.iter().all(|(wait, _)| *wait != Wait::Pingresp) {
                let since = line.came.max(line.connected);
                check(since.0.wrapping_add(keep_alive), &"silence")?;
            }
        }
        Ok(())
    }
}
