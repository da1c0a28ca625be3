//! A session, a broker and the line between them; what may happen next; and what must hold whatever happens.

use std::collections::VecDeque;

use umqtt::Storage;

use crate::{
    broker::{Broker, index_of_down, index_of_up},
    client::{Client, Defect},
    driver::{Options, Outcome, Reason, Refusal, Seen},
    finding::{Finding, Kind, require},
    fingerprint::{self, Moment},
    setup::Setup,
    wire::{self, LONG, Packet, Publish},
};

/// How long an answer may take, in milliseconds.
const TIMEOUT: u32 = 10_000;

/// When a world begins: all instants in it are later than those of a new session.
const START: u32 = 1_000_000;

/// What may happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Action {
    Connect,
    /// The transport takes the next packet, or payload, and the server has it.
    Up,
    /// The same of a CONNECT; the server then sends PUBLISHes before PUBRELs.
    UpPublishesFirst,
    /// The next packet arrives.
    Down,
    Publish,
    /// Somebody publishes to the client.
    Offer,
    /// The payload that is needed is given again.
    Give,
    /// A step of the session and its event.
    Turn,
    /// The same, but its event is announced and not taken.
    Announce,
    Timeout,
    Decline,
    Abandon,
    /// The rest of a long message is not wanted.
    Skip,
    /// What is sent from now on does not arrive.
    BreakUp,
    Cut,
    /// The connection is lost when so much of the next packet has left.
    CutUpNothing,
    CutUpFirst,
    CutUpMiddle,
    CutUpLast,
    /// The connection is lost when so much of the next packet has arrived.
    CutDownFirst,
    CutDownMiddle,
    CutDownLast,
    Forget,
    PowerLoss,
}

pub(crate) const ACTIONS: [Action; 24] = [
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
];

/// What becomes of an action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Done,
    /// Nothing happened: the call was refused, or nothing could move.
    Nothing,
    /// The server forgot the session, and the client never heard of it: no client can know.
    NobodyCanKnow,
}

/// Everything but the session.
#[derive(Clone, Hash, Debug)]
struct Model {
    is_open: bool,
    /// What is sent does not arrive.
    is_broken: bool,
    down: VecDeque<Packet>,
    /// Bytes of the first of them that have arrived.
    down_at: usize,
    /// Bytes of a packet that has not left whole.
    up: Vec<u8>,
    payload: Option<Payload>,
    /// The payload that the session has asked for on this connection.
    asked: Option<u16>,
    broker: Broker,
    app: App,
    saved: Option<(Vec<u8>, App)>,
    line: Line,
    /// How far each of the client's messages has got, and whether it was lent to a transport.
    attempts: Vec<Attempt>,
    /// Messages of which the caller did not want to see the rest: they may come again.
    skipped: Vec<bool>,
    restored: bool,
    forgot: bool,
    offered: u8,
    faults: u8,
    forgets: u8,
    losses: u8,
    refusals: u8,
}

/// What the caller knows: restored with the session after a power loss.
#[derive(Clone, Hash, Debug)]
struct App {
    ups: Vec<Up>,
    downs: Vec<u8>,
    /// The last message that was new, at each QoS.
    last_new: [u8; 3],
    /// The long message that is arriving, and how much of it has come.
    partial: Option<(u8, usize)>,
    /// Ids for which PUBREC has come, in order, and whether PUBREL has left since.
    pubrecs: Vec<(u16, bool)>,
    /// The session of the server that the client knows.
    epoch: Option<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Up {
    New,
    Open {
        id: u16,
        declined: bool,
    },
    Ended,
    /// At QoS 0, or taken back.
    Gone,
}

/// A payload that is being handed over.
#[derive(Clone, Copy, Hash, Debug)]
struct Payload {
    message: u8,
    again: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Attempt {
    /// A byte has left on this connection, or on one before.
    now: bool,
    before: bool,
    /// It was lent to a transport, which may have taken it.
    lent: bool,
}

/// What has passed on this connection.
#[derive(Clone, Hash, Debug)]
struct Line {
    last_publish: u8,
    pubrels: usize,
    /// When each packet had left that is still to be answered.
    waits: Vec<(Wait, Moment)>,
    /// When the last packet had left, the last bytes had left, and the last bytes had come.
    sent: Moment,
    moved: Moment,
    came: Moment,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Wait {
    Connack,
    Puback(u16),
    Pubrec(u16),
    Pubcomp(u16),
    Pingresp,
}

impl Line {
    fn new(now: u32) -> Self {
        let now = Moment(now);
        Self {
            last_publish: 0,
            pubrels: 0,
            waits: vec![],
            sent: now,
            moved: now,
            came: now,
        }
    }
}

pub(crate) struct World<'b, const RX: usize, const TX: usize, const IF: usize, const IB: usize> {
    setup: Setup,
    client: Client<'b>,
    spare: std::slice::IterMut<'b, Storage<RX, TX, IF, IB>>,
    defect: Option<Defect>,
    now: u32,
    model: Model,
    /// Why the last connection ended.
    pub(crate) reason: Option<Reason>,
    /// Connections so far.
    pub(crate) connections: usize,
    /// The session has nothing to do or to tell until something happens.
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
        let mut client = Client::new(storage, setup.losses > 0, defect);
        client.driver.set_response_timeout(TIMEOUT);
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

    /// Whether this may happen now; it may turn out to be nothing.
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
                let may = driver.is_connected() || setup.early;
                may && open && model.app.next_up().is_some()
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
        }
    }

    fn connect_sent(&self) -> bool {
        let mut waits = self.model.line.waits.iter();
        waits.any(|(wait, _)| *wait == Wait::Connack)
    }

    pub(crate) fn apply(&mut self, action: Action) -> Result<Step, Finding> {
        if action != Action::Turn {
            self.quiet = false;
        }
        self.announced = action == Action::Announce;
        let done = match action {
            Action::Connect => self.connect()?,
            Action::Up => self.up(false)?,
            Action::UpPublishesFirst => self.up(true)?,
            Action::Down => self.down()?,
            Action::Publish => self.publish()?,
            Action::Offer => {
                let message = 129 + self.model.offered;
                self.model.offered += 1;
                let packets = self.model.broker.offer(&self.setup, message);
                self.model.down.extend(packets);
                true
            }
            Action::Give => self.give()?,
            Action::Turn => {
                let is_quiet = self.turn()?;
                self.quiet = is_quiet;
                true
            }
            // The end of a connection is for a turn to see.
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
        Ok(if done { Step::Done } else { Step::Nothing })
    }

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

    /// A step of the session; says whether it had nothing to do.
    fn turn(&mut self) -> Result<bool, Finding> {
        match self.client.driver.turn(self.now) {
            Ok(None) => Ok(true),
            Ok(Some(seen)) => {
                for seen in self.client.memory.shows(seen) {
                    self.see(seen)?;
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

    /// The connection is over, and both sides know.
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

    fn cut(&mut self) -> bool {
        self.model.faults -= 1;
        self.client.driver.connection_lost();
        self.over(Reason::Closed);
        true
    }

    fn cut_up(&mut self, part: impl Fn(usize) -> usize) -> Result<bool, Finding> {
        let Some((len, is_payload)) = self.next_piece()? else {
            return Ok(false);
        };
        let n = part(len);
        if n > 0 {
            if is_payload {
                self.client.driver.payload_sent(n, self.now);
            } else {
                let bytes = self.client.driver.pending(self.now)[..n].to_vec();
                self.attempt(&bytes);
                self.client.driver.consume(n, self.now);
            }
        }
        Ok(self.cut())
    }

    fn cut_down(&mut self, part: impl Fn(usize) -> usize) -> Result<bool, Finding> {
        let Some(packet) = self.model.down.front() else {
            return Ok(false);
        };
        let bytes = packet.encode();
        let mut rest = &bytes[..part(bytes.len())];
        while !rest.is_empty() && self.model.is_open {
            let n = self.client.driver.receive(rest);
            if n == 0 {
                break;
            }
            rest = &rest[n..];
            if !self.setup.lazy {
                self.settle()?;
            }
        }
        if !self.model.is_open {
            return Ok(true);
        }
        Ok(self.cut())
    }

    fn lose_power(&mut self) -> bool {
        let Some(storage) = self.spare.next() else {
            return false;
        };
        if self.model.is_open {
            self.over(Reason::Closed);
        }
        let memory = self.client.memory.clone();
        self.client = Client::new(storage, true, self.defect);
        self.client.memory = memory;
        self.client.driver.set_response_timeout(TIMEOUT);
        let model = &mut self.model;
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

    /// Time passes up to the deadline.
    fn wait(&mut self) -> bool {
        let deadline = self.client.driver.deadline();
        let Some(deadline) = self.client.memory.deadline(deadline) else {
            return false;
        };
        if deadline.wrapping_sub(self.now).cast_signed() > 0 {
            self.now = deadline;
        }
        true
    }

    fn publish(&mut self) -> Result<bool, Finding> {
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
            Err(Refusal::NoRoom | Refusal::PayloadPending | Refusal::NotConnected) => {
                return Ok(false);
            }
            Err(Refusal::Other) => return Err(Finding::new(Kind::Refused, "publish")),
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

    fn give(&mut self) -> Result<bool, Finding> {
        let Some(id) = self.client.driver.payload_needed() else {
            return Ok(false);
        };
        let message = self.message_of(id, Kind::ReportedTwice)?;
        let given = self.client.driver.give_again(id, LONG);
        if given == Err(Refusal::PayloadPending) {
            return Ok(false);
        }
        require!(given.is_ok(), Kind::Refused, "give again: {given:?}");
        self.model.asked = None;
        self.model.payload = Some(Payload {
            message,
            again: true,
        });
        Ok(true)
    }

    fn decline(&mut self) -> Result<bool, Finding> {
        let Some(id) = self.client.driver.payload_needed() else {
            return Ok(false);
        };
        let message = self.message_of(id, Kind::ReportedTwice)?;
        let declined = self.client.driver.decline_payload(id);
        require!(declined.is_ok(), Kind::Refused, "decline: {declined:?}");
        self.model.refusals -= 1;
        self.model.app.ups[index_of_up(message)] = Up::Open { id, declined: true };
        Ok(true)
    }

    fn abandon(&mut self) -> bool {
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

    fn skip(&mut self) -> bool {
        let Some((message, _)) = self.model.app.partial.take() else {
            return false;
        };
        self.model.refusals -= 1;
        self.model.skipped[index_of_down(message)] = true;
        self.client.driver.skip_message();
        true
    }

    fn message_of(&self, id: u16, otherwise: Kind) -> Result<u8, Finding> {
        let mut ups = self.model.app.ups.iter();
        match ups.position(|up| up.is_open_as(id)) {
            Some(index) => Ok(index as u8 + 1),
            None => Err(Finding::new(
                otherwise,
                format!("id {id} belongs to no open message"),
            )),
        }
    }

    /// Length of what can leave next without a pause, and whether that is payload.
    fn next_piece(&mut self) -> Result<Option<(usize, bool)>, Finding> {
        let pending = self.client.driver.pending(self.now).to_vec();
        if pending.is_empty() {
            let left = self.client.driver.payload_left();
            return Ok((left > 0).then_some((left, true)));
        }
        // Of what is lent, only whole packets are looked at: the rest of one that has begun comes first.
        if self.model.up.is_empty() {
            let mut rest = &pending[..];
            while let Some(len) = wire::packet_len(rest) {
                let packet = &rest[..len.min(rest.len())];
                if let Some(message) = self.message_in(packet) {
                    self.model.attempts[index_of_up(message)].lent = true;
                }
                rest = &rest[packet.len()..];
            }
        }
        let begun = self.model.up.len();
        let mut packet = self.model.up.clone();
        packet.extend(&pending);
        let Some(len) = wire::packet_len(&packet) else {
            return Err(Finding::new(Kind::Unlawful, format!("{packet:x?}")));
        };
        Ok(Some((len.saturating_sub(begun).min(pending.len()), false)))
    }

    /// The message of a PUBLISH above QoS 0 of ours, of which the payload may be missing.
    fn message_in(&self, packet: &[u8]) -> Option<u8> {
        let first = *packet.first()?;
        if first & 0xF0 != 0x30 || first & 6 == 0 {
            return None;
        }
        let id = u16::from_be_bytes([*packet.get(5)?, *packet.get(6)?]);
        self.message_of(id, Kind::Unlawful).ok()
    }

    /// The first byte of a PUBLISH has left.
    fn attempt(&mut self, bytes: &[u8]) {
        if !self.model.up.is_empty() {
            return;
        }
        let pending = self.client.driver.pending(self.now).to_vec();
        if let Some(message) = self.message_in(&pending)
            && !bytes.is_empty()
        {
            self.model.attempts[index_of_up(message)].now = true;
        }
    }

    fn up(&mut self, publishes_first: bool) -> Result<bool, Finding> {
        let Some((len, is_payload)) = self.next_piece()? else {
            return Ok(false);
        };
        let driver = &mut self.client.driver;
        if is_payload {
            let Some(payload) = self.model.payload else {
                return Err(Finding::new(Kind::Unlawful, "a payload that nobody gives"));
            };
            let bytes = vec![payload.message; len];
            // The first half from the caller's memory, the rest through the send buffer.
            let half = len / 2;
            driver.payload_sent(half, self.now);
            let mut at = half;
            while at < len {
                let staged = driver.stage_payload(&bytes[at..]);
                require!(staged > 0, Kind::Asleep, "no room to stage a payload");
                let pending = driver.pending(self.now).to_vec();
                require!(
                    pending == bytes[at..at + staged],
                    Kind::Unlawful,
                    "payload changed"
                );
                driver.consume(pending.len(), self.now);
                at += staged;
            }
            self.model.up.extend(bytes);
        } else {
            let bytes = driver.pending(self.now)[..len].to_vec();
            self.attempt(&bytes);
            self.client.driver.consume(len, self.now);
            self.model.up.extend(bytes);
        }
        self.model.line.moved = Moment(self.now);
        if wire::packet_len(&self.model.up) != Some(self.model.up.len()) {
            return Ok(true);
        }
        let bytes = std::mem::take(&mut self.model.up);
        let Some(packet) = Packet::decode(&bytes) else {
            return Err(Finding::new(Kind::Unlawful, format!("{bytes:x?}")));
        };
        if let (Packet::Publish(publish), Some(payload)) = (packet, self.model.payload)
            && publish.message == payload.message
        {
            self.model.payload = None;
        }
        let is_last = !self.client.driver.has_pending();
        for packet in self.client.memory.sends(packet, is_last) {
            self.sent(packet, publishes_first)?;
        }
        Ok(true)
    }

    /// A packet has left, whole.
    fn sent(&mut self, packet: Packet, publishes_first: bool) -> Result<(), Finding> {
        let now = Moment(self.now);
        self.model.line.sent = now;
        match packet {
            Packet::Connect => self.model.line.waits.push((Wait::Connack, now)),
            Packet::Pingreq => {
                let is_first = self
                    .model
                    .line
                    .waits
                    .iter()
                    .all(|(wait, _)| *wait != Wait::Pingresp);
                if is_first {
                    self.model.line.waits.push((Wait::Pingresp, now));
                }
            }
            Packet::Publish(publish) => self.check_publish(publish)?,
            Packet::Pubrel(id) => {
                let pubrecs = &mut self.model.app.pubrecs;
                let Some(place) = pubrecs.iter().position(|(known, _)| *known == id) else {
                    return Err(Finding::new(Kind::EarlyPubrel, format!("PUBREL {id}")));
                };
                pubrecs[place].1 = true;
                let line = &mut self.model.line;
                require!(
                    line.pubrels <= place,
                    Kind::Order,
                    "PUBREL {id} after a later one"
                );
                line.pubrels = place;
                line.waits.push((Wait::Pubcomp(id), now));
            }
            _ => {}
        }
        if !self.model.is_broken {
            let answers = self
                .model
                .broker
                .handle(&self.setup, packet, publishes_first)?;
            self.model.down.extend(answers);
        }
        Ok(())
    }

    fn check_publish(&mut self, publish: Publish) -> Result<(), Finding> {
        let Publish {
            qos,
            dup,
            id,
            message,
            is_long,
        } = publish;
        let index = index_of_up(message);
        let expected = self.setup.ups.get(index);
        let is_known = expected.is_some_and(|up| up.qos == qos && up.is_long == is_long);
        require!(is_known, Kind::Unlawful, "{publish:?}");
        if qos == 0 {
            return Ok(());
        }
        let is_open = self.model.app.ups[index].is_open_as(id);
        require!(
            is_open,
            Kind::Twice,
            "message {message} goes when it is not in flight"
        );
        let attempt = self.model.attempts[index];
        require!(
            dup || !attempt.before,
            Kind::Dup,
            "message {message} goes again without DUP"
        );
        let may = attempt.before || attempt.lent || self.model.restored;
        require!(
            !dup || may,
            Kind::Dup,
            "message {message} goes for the first time with DUP"
        );
        require!(
            !self.model.app.pubrecs.contains(&(id, true)),
            Kind::Twice,
            "message {message} goes after its PUBREL [MQTT-4.3.3-1]"
        );
        let line = &mut self.model.line;
        require!(
            line.last_publish < message,
            Kind::Order,
            "message {message} after a later one"
        );
        line.last_publish = message;
        let wait = if qos == 1 {
            Wait::Puback(id)
        } else {
            Wait::Pubrec(id)
        };
        line.waits.push((wait, Moment(self.now)));
        Ok(())
    }

    /// The next packet arrives, or as much of it as the session takes.
    fn down(&mut self) -> Result<bool, Finding> {
        let Some(packet) = self.model.down.front().copied() else {
            return Ok(false);
        };
        let bytes = packet.encode();
        if self.model.down_at == 0 {
            let Some(shown) = self.client.memory.receives(packet, self.setup.inbound) else {
                self.client.driver.connection_lost();
                self.over(Reason::NoRoom);
                return Ok(true);
            };
            for seen in shown {
                self.see(seen)?;
            }
        }
        let mut moved = false;
        while self.model.down_at < bytes.len() {
            let n = self.client.driver.receive(&bytes[self.model.down_at..]);
            if n == 0 {
                break;
            }
            moved = true;
            self.model.down_at += n;
            self.model.line.came = Moment(self.now);
            if self.model.down_at == bytes.len() {
                self.model.down.pop_front();
                self.model.down_at = 0;
                self.arrived(packet);
                break;
            }
            if self.setup.lazy {
                break;
            }
            self.settle()?;
            if !self.model.is_open {
                break;
            }
        }
        Ok(moved)
    }

    /// A packet has arrived, whole, even if the session has not looked at it.
    fn arrived(&mut self, packet: Packet) {
        let line = &mut self.model.line;
        let answered = match packet {
            Packet::Connack { .. } => Wait::Connack,
            Packet::Puback(id) => Wait::Puback(id),
            Packet::Pubrec(id) => {
                let pubrecs = &mut self.model.app.pubrecs;
                if pubrecs.iter().all(|(known, _)| *known != id) {
                    pubrecs.push((id, false));
                }
                Wait::Pubrec(id)
            }
            Packet::Pubcomp(id) => Wait::Pubcomp(id),
            Packet::Pingresp => Wait::Pingresp,
            _ => return,
        };
        line.waits.retain(|(wait, _)| *wait != answered);
    }

    fn see(&mut self, seen: Seen) -> Result<(), Finding> {
        match seen {
            Seen::Connected { session_present } => {
                let epoch = self.model.broker.epoch;
                let known = self.model.app.epoch.replace(epoch);
                if session_present && known.is_some_and(|known| known != epoch) {
                    self.stop = Some(Step::NobodyCanKnow);
                }
            }
            Seen::Message { qos, payload } => {
                let Some((message, false)) = wire::message(&payload) else {
                    return Err(Finding::new(
                        Kind::Unlawful,
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
                    Kind::Unlawful,
                    "a chunk of {message} at {offset} instead of {expected}"
                );
                let end = offset + bytes.len();
                self.model.app.partial = Some((message, end));
                require!(is_last == (end == LONG), Kind::Unlawful, "the last chunk");
                if is_last {
                    self.model.app.partial = None;
                    self.delivered(message, qos)?;
                }
            }
            Seen::Aborted => {
                let partial = self.model.app.partial.take();
                require!(partial.is_some(), Kind::Unlawful, "the end of no chunks");
            }
            Seen::Ended(id, outcome) => self.ended(id, outcome)?,
            Seen::Checkpoint(image) => {
                self.model.saved = Some((image, self.model.app.clone()));
            }
            Seen::PayloadNeeded(id) => self.model.asked = Some(id),
            Seen::Dropped(_) => {}
            Seen::Other => return Err(Finding::new(Kind::Unlawful, "an event that cannot be")),
        }
        Ok(())
    }

    fn delivered(&mut self, message: u8, qos: u8) -> Result<(), Finding> {
        let index = index_of_down(message);
        let is_known =
            index < usize::from(self.model.offered) && self.setup.down(message).qos == qos;
        require!(
            is_known,
            Kind::Unlawful,
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

    fn ended(&mut self, id: u16, outcome: Outcome) -> Result<(), Finding> {
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

    /// The deadline is not later than any answer may be, nor than the next PINGREQ.
    fn check_deadline(&self) -> Result<(), Finding> {
        let driver = &self.client.driver;
        if !self.model.is_open || driver.has_pending() {
            return Ok(());
        }
        let deadline = self.client.memory.deadline(driver.deadline());
        let line = &self.model.line;
        let in_payload = driver.is_payload_open();
        let check = |latest: u32, what: &dyn std::fmt::Debug| {
            require!(
                deadline.is_some_and(|deadline| deadline <= latest),
                Kind::Deadline,
                "{what:?} until {latest}, deadline {deadline:?}"
            );
            Ok(())
        };
        for (wait, since) in &line.waits {
            let mut since = (*since).max(line.came);
            if in_payload {
                since = since.max(line.moved);
            }
            check(since.0.wrapping_add(TIMEOUT), wait)?;
        }
        if self.setup.keep_alive > 0 && driver.is_connected() && !in_payload {
            let keep_alive = u32::from(self.setup.keep_alive) * 1_000;
            check(line.sent.0.wrapping_add(keep_alive), &"keep alive")?;
        }
        Ok(())
    }

    /// What a client and a line without faults do next; `None` when all has come to rest.
    /// Actions that have just turned out to be nothing are passed over.
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

    fn is_at_rest(&self) -> bool {
        let model = &self.model;
        let is_open = |(index, up): (usize, &Up)| match up {
            Up::Open { declined, .. } => !(*declined && self.setup.ups[index].qos == 2),
            _ => false,
        };
        model.down.is_empty()
            && model.broker.is_idle()
            && !model.app.ups.iter().enumerate().any(is_open)
            && !self.client.driver.is_payload_open()
    }

    /// Time passes because nothing else can happen.
    pub(crate) fn wait_fairly(&mut self) -> Result<(), Finding> {
        if self.client.driver.deadline().is_none() && self.model.is_broken {
            // Without keep alive, it is the transport that notices.
            self.client.driver.connection_lost();
            self.over(Reason::Closed);
        } else if self.client.driver.deadline().is_none() {
            let is_reported = self.client.driver.in_flight() > 0;
            let kind = if self.model.broker.is_idle() && self.model.down.is_empty() && !is_reported
            {
                Kind::NeverReported
            } else {
                Kind::Asleep
            };
            return Err(Finding::new(kind, "nobody has anything to do"));
        }
        self.quiet = false;
        self.wait();
        if !self.setup.lazy {
            self.settle()?;
        }
        Ok(())
    }

    /// All has come to rest: nothing may be missing.
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

    /// Whether a long QoS 2 message stands in the way, after a lack of room.
    pub(crate) fn has_long_waiting(&self) -> bool {
        let is_long = |message| {
            let down = self.setup.down(message);
            down.is_long && down.qos == 2
        };
        self.model.broker.has_unsent(is_long)
    }

    /// Whether a broker's choice of order matters next.
    pub(crate) fn has_choice(&self) -> bool {
        self.may(Action::UpPublishesFirst)
    }
}

impl App {
    fn new(setup: &Setup) -> Self {
        Self {
            ups: vec![Up::New; setup.ups.len()],
            downs: vec![0; setup.downs.len()],
            last_new: [0; 3],
            partial: None,
            pubrecs: vec![],
            epoch: None,
        }
    }

    fn next_up(&self) -> Option<usize> {
        self.ups.iter().position(|up| *up == Up::New)
    }
}

impl Up {
    fn is_open_as(self, other: u16) -> bool {
        other > 0 && matches!(self, Self::Open { id, .. } if id == other)
    }
}
