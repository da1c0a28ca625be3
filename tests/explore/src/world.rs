//! A session, a broker and the connection between them, the possible next actions, and the conditions that must always
//! hold.

mod caller;
mod line;
mod model;
mod rest;

use std::collections::VecDeque;

use umqtt::Storage;

use self::model::{App, Attempt, Line, Model, Wait};
use crate::{
    broker::Broker,
    client::{Client, Defect},
    driver::{Driver, Options, Reason},
    finding::{Finding, Kind, require},
    fingerprint,
    setup::{LISTS, Setup},
    wire::Packet,
};

/// Response timeout in ms.
const TIMEOUT: u32 = 10_000;

/// Start time of a world in ms. It is later than every instant in a new session.
const START: u32 = 1_000_000;

/// A possible next action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Action {
    Connect,
    /// The transport accepts the next packet, or payload, and the server receives it.
    Up,
    /// The same for a CONNECT. The server then sends PUBLISHes before PUBRELs.
    UpPublishesFirst,
    /// The next packet is received.
    Down,
    Publish,
    /// Another client publishes to this one.
    Offer,
    /// The needed payload is provided again.
    Give,
    /// A step of the session and its event.
    Turn,
    /// The same, but the caller does not take the event.
    Announce,
    /// Time passes up to the deadline.
    Timeout,
    /// The message whose payload is needed again is discarded.
    Decline,
    /// The payload that is being sent is abandoned.
    Abandon,
    /// The rest of a long message is skipped.
    Skip,
    /// Packets that are sent from now on are lost.
    BreakUp,
    Cut,
    /// The connection is lost after this part of the next packet was sent.
    CutUpNothing,
    CutUpFirst,
    CutUpMiddle,
    CutUpLast,
    /// The connection is lost after this part of the next packet was received.
    CutDownFirst,
    CutDownMiddle,
    CutDownLast,
    Forget,
    PowerLoss,
    /// The server receives a SUBSCRIBE, and refuses its first filter.
    UpRefused,
    /// The list of standing subscriptions changes.
    ChangeList,
    /// The first message that can be discarded is discarded by its id.
    Discard,
    /// An image is saved, and will be written later.
    Save,
    /// The image is in permanent memory.
    Written,
}

pub(crate) const ACTIONS: [Action; 29] = [
    Action::Connect,
    Action::Up,
    Action::UpPublishesFirst,
    Action::Down,
    Action::Publish,
    Action::Offer,
    Action::Give,
    Action::Turn,
    Action::Announce,
    Action::Timeout,
    Action::Decline,
    Action::Abandon,
    Action::Skip,
    Action::BreakUp,
    Action::Cut,
    Action::CutUpNothing,
    Action::CutUpFirst,
    Action::CutUpMiddle,
    Action::CutUpLast,
    Action::CutDownFirst,
    Action::CutDownMiddle,
    Action::CutDownLast,
    Action::Forget,
    Action::PowerLoss,
    Action::UpRefused,
    Action::ChangeList,
    Action::Discard,
    Action::Save,
    Action::Written,
];

/// The result of an action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Done,
    /// Nothing happened: the call was refused, or no byte could be moved.
    Nothing,
    /// The server forgot the session, and the client was not informed. No client can detect this.
    NobodyCanKnow,
}

pub(crate) struct World<'b, const RX: usize, const TX: usize, const IF: usize, const IB: usize> {
    setup: Setup,
    client: Client<'b>,
    /// Storages for the time after each power loss.
    spare: std::slice::IterMut<'b, Storage<RX, TX, IF, IB>>,
    defect: Option<Defect>,
    now: u32,
    model: Model,
    /// Reason for the end of the last connection.
    pub(crate) reason: Option<Reason>,
    /// Number of connections.
    pub(crate) connections: usize,
    /// The session has no step and no event until the next action.
    quiet: bool,
    /// The last action announced an event.
    announced: bool,
    stop: Option<Step>,
}

impl<'b, const RX: usize, const TX: usize, const IF: usize, const IB: usize>
    World<'b, RX, TX, IF, IB>
{
    pub(crate) fn new(
        setup: &Setup,
        defect: Option<Defect>,
        storages: &'b mut [Storage<RX, TX, IF, IB>],
    ) -> Self {
        let mut spare = storages.iter_mut();
        let storage = spare.next().expect("a storage for each life");
        let mut client = Client::new(Driver::new(storage, setup.losses > 0), defect);
        client.driver.set_response_timeout(TIMEOUT);
        configure(setup, 0, &mut client.driver);
        Self {
            setup: *setup,
            client,
            spare,
            defect,
            now: START,
            model: Model {
                is_open: false,
                is_broken: false,
                down: VecDeque::new(),
                down_at: 0,
                up: vec![],
                payload: None,
                asked: None,
                broker: Broker::new(setup),
                app: App::new(setup),
                saved: None,
                line: Line::new(START),
                attempts: vec![Attempt::default(); setup.ups.len()],
                skipped: vec![false; setup.downs.len()],
                restored: false,
                forgot: false,
                offered: 0,
                faults: setup.faults,
                forgets: setup.forgets,
                losses: setup.losses,
                refusals: setup.refusals,
                list: 0,
                refused: setup.refused,
                changes: setup.changes,
                discards: setup.discards,
                writing: None,
            },
            reason: None,
            connections: 0,
            quiet: true,
            announced: false,
            stop: None,
        }
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        let Client { driver, memory } = &self.client;
        fingerprint::of(&(driver.session(), memory, &self.model), self.now)
    }

    /// Returns `true` if this may happen now. It may have no effect.
    pub(crate) fn may(&self, action: Action) -> bool {
        let Self {
            setup,
            client,
            model,
            ..
        } = self;
        let driver = &client.driver;
        let open = model.is_open;
        let has_up = || open && (driver.has_pending() || driver.payload_left() > 0);
        let has_down = || open && !model.down.is_empty();
        let cut_up = || has_up() && setup.inside && model.faults > 0;
        let cut_down = || {
            let is_long = |packet: &Packet| packet.encode().len() > 2;
            has_down()
                && setup.inside
                && model.faults > 0
                && model.down_at == 0
                && model.down.front().is_some_and(is_long)
        };
        let has_choice = || {
            let is_connect = driver.is_open() && !driver.is_connected() && !self.connect_sent();
            is_connect && model.broker.has_choice() && !model.is_broken
        };
        let is_asked = || {
            let needed = driver.payload_needed();
            open && needed.is_some() && needed == model.asked
        };
        match action {
            Action::Connect => !open,
            Action::Up => has_up(),
            Action::UpPublishesFirst => has_up() && has_choice(),
            Action::Down => has_down(),
            Action::Publish => {
                let may = open && (driver.is_connected() || setup.early);
                (may || setup.offline) && model.app.next_up().is_some()
            }
            Action::Offer => {
                usize::from(model.offered) < setup.downs.len() && model.broker.has_session()
            }
            Action::Give => is_asked(),
            Action::Turn => !self.quiet,
            Action::Announce => setup.lazy && !self.quiet && !self.announced,
            Action::Timeout => {
                open && setup.timeouts && model.faults > 0 && driver.deadline().is_some()
            }
            Action::Decline => model.refusals > 0 && is_asked(),
            Action::Abandon => open && model.refusals > 0 && driver.is_payload_open(),
            Action::Skip => open && model.refusals > 0 && driver.is_message_open(),
            Action::BreakUp => has_up() && model.faults > 0 && !model.is_broken,
            Action::Cut => open && model.faults > 0,
            Action::CutUpNothing | Action::CutUpFirst | Action::CutUpMiddle | Action::CutUpLast => {
                cut_up()
            }
            Action::CutDownFirst | Action::CutDownMiddle | Action::CutDownLast => cut_down(),
            Action::Forget => !open && model.forgets > 0 && model.broker.has_session(),
            Action::PowerLoss => model.losses > 0 && model.broker.has_session(),
            Action::UpRefused => has_up() && model.refused > 0 && !model.is_broken,
            Action::ChangeList => !open && model.changes > 0,
            Action::Discard => model.discards > 0 && model.app.may_discard(),
            Action::Save => {
                setup.late_saves && model.broker.has_session() && model.writing.is_none()
            }
            Action::Written => model.writing.is_some(),
        }
    }

    fn connect_sent(&self) -> bool {
        let mut waits = self.model.line.waits.iter();
        waits.any(|(wait, _)| *wait == Wait::Connack)
    }

    /// Does an action, and checks the conditions that must always hold.
    pub(crate) fn apply(&mut self, action: Action) -> Result<Step, Finding> {
        if action != Action::Turn {
            self.quiet = false;
        }
        self.announced = action == Action::Announce;
        let done = match action {
            Action::Connect => self.connect()?,
            Action::Up => self.up(false, false)?,
            Action::UpPublishesFirst => self.up(true, false)?,
            Action::UpRefused => self.up(false, true)?,
            Action::ChangeList => self.change_list(),
            Action::Discard => self.discard()?,
            Action::Save => {
                let (image, generation) = self.client.driver.save_numbered();
                self.model.writing = Some((image, self.model.app.clone(), generation));
                true
            }
            Action::Written => self.written(),
            Action::Down => self.down()?,
            Action::Publish => self.publish()?,
            Action::Offer => {
                let message = 129 + self.model.offered;
                self.model.offered += 1;
                let packets = self.model.broker.offer(&self.setup, message);
                self.model.down.extend(packets);
                true
            }
            Action::Give => self.provide_again()?,
            Action::Turn => {
                let is_quiet = self.turn()?;
                self.quiet = is_quiet;
                true
            }
            // An error is the end of the connection, which the next turn handles.
            Action::Announce => self.client.driver.announce(self.now).unwrap_or(false),
            Action::Timeout => {
                self.model.faults -= 1;
                self.wait()
            }
            Action::Decline => self.decline()?,
            Action::Abandon => self.abandon(),
            Action::Skip => self.skip(),
            Action::BreakUp => {
                self.model.faults -= 1;
                self.model.is_broken = true;
                true
            }
            Action::Cut => self.cut(),
            Action::CutUpNothing => self.cut_up(|_| 0)?,
            Action::CutUpFirst => self.cut_up(|_| 1)?,
            Action::CutUpMiddle => self.cut_up(|len| len / 2)?,
            Action::CutUpLast => self.cut_up(|len| len - 1)?,
            Action::CutDownFirst => self.cut_down(|_| 1)?,
            Action::CutDownMiddle => self.cut_down(|len| len / 2)?,
            Action::CutDownLast => self.cut_down(|len| len - 1)?,
            Action::Forget => {
                self.model.forgets -= 1;
                self.model.forgot = true;
                self.model.broker.forget();
                true
            }
            Action::PowerLoss => self.lose_power(),
        };
        if !self.setup.lazy {
            self.settle()?;
        }
        if let Some(stop) = self.stop {
            return Ok(stop);
        }
        self.check_subscriptions()?;
        Ok(if done { Step::Done } else { Step::Nothing })
    }

    fn change_list(&mut self) -> bool {
        let other = 1 - self.model.list;
        let set = self.client.driver.set_subscriptions(LISTS[other]);
        if set.is_ok() {
            self.model.list = other;
            self.model.changes -= 1;
        }
        set.is_ok()
    }

    /// Completes the writing of an image, and reports it to the session.
    fn written(&mut self) -> bool {
        let Some((image, app, generation)) = self.model.writing.take() else {
            return false;
        };
        let generation = self.client.memory.generation(generation, || {
            let (_, last) = self.client.driver.save_numbered();
            last
        });
        self.model.saved = Some((image, app));
        self.client.driver.saved(generation);
        true
    }

    /// Checks that the server has all standing subscriptions that the session reports as granted.
    fn check_subscriptions(&self) -> Result<(), Finding> {
        let driver = &self.client.driver;
        if self.setup.subscribes
            && driver.is_connected()
            && driver.subscriptions_granted() == Some(true)
        {
            for (filter, qos) in LISTS[self.model.list] {
                let filter = (filter.as_bytes()[0], *qos as u8);
                require!(
                    self.model.broker.is_subscribed(filter),
                    Kind::NotSubscribed,
                    "filter {filter:?}"
                );
            }
        }
        Ok(())
    }

    /// Does steps of the session until it has nothing to do.
    fn settle(&mut self) -> Result<(), Finding> {
        for _ in 0..100 {
            if self.turn()? {
                self.quiet = true;
                return self.check_deadline();
            }
        }
        Err(Finding::new(
            Kind::NoProgress {
                reason: Reason::Closed,
                long: false,
            },
            "turns without end",
        ))
    }

    /// Does a step of the session. Returns `true` if it had nothing to do.
    fn turn(&mut self) -> Result<bool, Finding> {
        match self.client.driver.turn(self.now) {
            Ok(None) => Ok(true),
            Ok(Some(seen)) => {
                for seen in self.client.memory.shows(seen) {
                    self.handle_event(seen)?;
                }
                Ok(false)
            }
            Err(reason) => {
                let was_open = self.model.is_open;
                if was_open {
                    self.over(reason);
                    require!(
                        !matches!(reason, Reason::Violation | Reason::Closed),
                        Kind::Accused(reason),
                        "the connection ends: {reason:?}"
                    );
                }
                Ok(!was_open)
            }
        }
    }

    /// Closes the connection for both sides.
    fn over(&mut self, reason: Reason) {
        self.reason = Some(reason);
        self.client.memory.disconnected();
        let model = &mut self.model;
        model.is_open = false;
        model.is_broken = false;
        model.down.clear();
        model.down_at = 0;
        model.up.clear();
        model.payload = None;
        model.asked = None;
        model.broker.disconnected();
        model.line = Line::new(self.now);
        for attempt in &mut model.attempts {
            attempt.before |= attempt.now;
            attempt.now = false;
        }
    }

    fn connect(&mut self) -> Result<bool, Finding> {
        let options = Options {
            clean_session: false,
            keep_alive: self.setup.keep_alive,
        };
        let connected = self.client.driver.connect(options, self.now);
        require!(connected.is_ok(), Kind::Refused, "connect: {connected:?}");
        self.connections += 1;
        self.model.is_open = true;
        self.model.line = Line::new(self.now);
        Ok(true)
    }

    fn lose_power(&mut self) -> bool {
        let Some(storage) = self.spare.next() else {
            return false;
        };
        if self.model.is_open {
            self.over(Reason::Closed);
        }
        let memory = self.client.memory.clone();
        self.client = Client::new(Driver::new(storage, true), self.defect);
        self.client.memory = memory;
        self.client.driver.set_response_timeout(TIMEOUT);
        let model = &mut self.model;
        configure(&self.setup, model.list, &mut self.client.driver);
        model.writing = None;
        model.losses -= 1;
        model.restored = true;
        if let Some((image, app)) = &model.saved {
            self.client.driver.restore(image);
            model.app = app.clone();
        } else {
            model.app = App::new(&self.setup);
        }
        model.app.partial = None;
        true
    }

    /// Lets time pass up to the deadline. The caller also polls 1 ms before it. Without that poll, the session would
    /// count no answer as late.
    fn wait(&mut self) -> bool {
        self.find_nothing();
        let deadline = self.client.driver.deadline();
        let Some(deadline) = self.client.memory.deadline(deadline) else {
            return false;
        };
        if deadline.wrapping_sub(self.now).cast_signed() > 0 {
            self.now = deadline.wrapping_sub(1);
            // If this closes the connection, a turn handles it.
            let _ = self.client.driver.announce(self.now);
            self.find_nothing();
            self.now = deadline;
        }
        true
    }

    /// The transport refuses the pending bytes, and a read finds nothing.
    fn find_nothing(&mut self) {
        self.client.driver.pending(self.now);
        self.client.driver.receive(&[]);
    }
}

/// Makes the calls of a program at its start.
fn configure(setup: &Setup, list: usize, driver: &mut Driver<'_>) {
    if setup.subscribes {
        let set = driver.set_subscriptions(LISTS[list]);
        set.expect("there is room for the list");
    }
    if setup.offline {
        driver.prepare();
    }
}
