//! The one thread that drives all sessions: it waits for sockets and for the earliest deadline, and turns whoever is
//! called.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, Instant as StdInstant},
};

use indicatif::{ProgressBar, ProgressStyle};
use mio::{Events, Interest, Poll, Token};

use crate::{
    Result,
    device::{Device, Watch},
    figures::Figures,
    is_stopped,
    options::Options,
};

/// Connections that are being made at the same time: a broker's queue for new ones is short.
const DIALLING: usize = 64;
/// The longest sleep, so that Ctrl-C and the progress display are not kept waiting.
const NAP: Duration = Duration::from_millis(100);
/// Messages that are published between two looks at the sockets.
const BATCH: u64 = 64;
/// How long all sessions may take to connect while none of them gets any further.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the last messages may take to come back.
const REST: Duration = Duration::from_secs(10);
/// How long goodbyes may take.
const GOODBYE: Duration = Duration::from_secs(2);

pub(crate) struct Fleet<'b, 'o> {
    devices: Vec<Device<'b>>,
    /// When each has to be turned though its socket is silent, the earliest first. Entries that are out of date are
    /// harmless.
    alarms: BinaryHeap<Reverse<(u64, usize)>>,
    /// The alarm that counts for each.
    alarm: Vec<Option<u64>>,
    poll: Poll,
    events: Events,
    broker: SocketAddr,
    options: &'o Options,
    figures: Figures,
    watch: Watch,
    ready: usize,
    /// Those that are not ready, the next to dial in front.
    waiting: VecDeque<usize>,
    dialling: usize,
}

impl<'b, 'o> Fleet<'b, 'o> {
    pub(crate) fn new(
        devices: Vec<Device<'b>>,
        broker: SocketAddr,
        options: &'o Options,
    ) -> Result<Self> {
        let sessions = devices.len();
        Ok(Self {
            alarms: BinaryHeap::new(),
            alarm: vec![None; sessions],
            waiting: (0..sessions).collect(),
            devices,
            poll: Poll::new()?,
            events: Events::with_capacity(1_024),
            broker,
            options,
            figures: Figures::new(sessions),
            watch: Watch(StdInstant::now()),
            ready: 0,
            dialling: 0,
        })
    }

    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Connects all sessions and subscribes each to its topic.
    ///
    /// # Errors
    ///
    /// The first connection fails, or the rest gets no further.
    pub(crate) fn connect(&mut self) -> Result<()> {
        let sessions = self.devices.len();
        let bar = bar(sessions, "{bar:40} {pos}/{len} sessions, {elapsed}");
        let begun = StdInstant::now();
        let mut moved = (begun, 0);
        while self.ready < sessions {
            if is_stopped() {
                return Err("stopped".into());
            }
            self.round(NAP)?;
            bar.set_position(wide(self.ready));
            if self.ready > moved.1 {
                moved = (StdInstant::now(), self.ready);
            }
            self.check_progress(moved.0.elapsed())?;
        }
        bar.finish_and_clear();
        self.figures.connecting = begun.elapsed();
        Ok(())
    }

    /// A broker that nobody reaches is not tried for ever.
    fn check_progress(&self, idle: Duration) -> Result<()> {
        let Some(why) = &self.figures.last_loss else {
            if idle > PATIENCE {
                return Err(format!("{} does not answer", self.broker).into());
            }
            return Ok(());
        };
        if self.ready == 0 {
            return Err(format!("{}: {why}", self.broker).into());
        }
        if idle > PATIENCE {
            let (ready, all) = (self.ready, self.devices.len());
            return Err(format!("only {ready} of {all} sessions could connect: {why}").into());
        }
        Ok(())
    }

    /// Publishes at the rate asked for, and waits until what is on its way has come back.
    pub(crate) fn publish(&mut self) -> Result<()> {
        let bar = bar(
            usize::try_from(self.options.seconds.as_secs())?,
            "{bar:40} {pos}/{len} s, {msg}",
        );
        let begun = StdInstant::now();
        let (mut offered, mut turn) = (0_u64, 0);
        let pause = Duration::from_secs(1)
            .checked_div(self.options.rate)
            .unwrap_or(NAP);
        while begun.elapsed() < self.options.seconds && !is_stopped() {
            // Whoever is behind goes on listening meanwhile.
            let due = self.due(begun.elapsed()).min(offered.saturating_add(BATCH));
            while offered < due {
                offered = offered.saturating_add(1);
                self.publish_one(&mut turn)?;
            }
            self.round(pause.min(NAP))?;
            bar.set_position(begun.elapsed().as_secs());
            bar.set_message(self.progress(begun.elapsed()));
        }
        self.figures.publishing = begun.elapsed();
        let end = StdInstant::now();
        while !self.figures.is_complete(self.options.qos) && end.elapsed() < REST {
            self.round(NAP)?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// How many messages should have been published by now.
    fn due(&self, elapsed: Duration) -> u64 {
        let micros = elapsed.as_micros().saturating_mul(self.options.rate.into());
        u64::try_from(micros / 1_000_000).unwrap_or(u64::MAX)
    }

    fn progress(&self, elapsed: Duration) -> String {
        let sent = self.figures.sent;
        let rate = u128::from(sent)
            .saturating_mul(1_000)
            .checked_div(elapsed.as_millis())
            .unwrap_or_default();
        let (half, most) = (self.figures.latency_ms(50.0), self.figures.latency_ms(99.0));
        format!(
            "{sent} messages, {rate} a second, 50 % within {half:.1} ms, 99 % within {most:.1} ms"
        )
    }

    /// Publishes one message on the next session that has room.
    fn publish_one(&mut self, turn: &mut usize) -> Result<()> {
        let watch = self.watch;
        // A handful is tried: where those are full, so is the broker.
        for _ in 0..8 {
            let number = *turn;
            let next = number.saturating_add(1).checked_rem(self.devices.len());
            *turn = next.unwrap_or_default();
            let Some(device) = self
                .devices
                .get_mut(number)
                .filter(|device| device.is_ready())
            else {
                continue;
            };
            if device.publish(watch, self.options)? {
                self.figures.sent = self.figures.sent.saturating_add(1);
                self.turn(number)?;
                return Ok(());
            }
        }
        self.figures.held_back = self.figures.held_back.saturating_add(1);
        Ok(())
    }

    /// Says goodbye on every connection.
    pub(crate) fn leave(&mut self) -> Result<()> {
        let begun = StdInstant::now();
        for device in &mut self.devices {
            device.leave();
        }
        loop {
            let watch = self.watch;
            for device in self.devices.iter_mut().filter(|device| !device.is_over()) {
                device.close_if_left(watch);
            }
            let all_left = self.devices.iter().all(Device::is_over);
            if all_left || begun.elapsed() > GOODBYE {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Dials, waits for sockets and alarms, at most so long, and turns whoever is called.
    fn round(&mut self, most: Duration) -> Result<()> {
        self.dial()?;
        let wait = self.next_alarm().map_or(most, |alarm| alarm.min(most));
        match self.poll.poll(&mut self.events, Some(wait)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut called: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
        called.extend(core::iter::from_fn(|| self.take_alarm()));
        for number in called {
            self.turn(number)?;
        }
        Ok(())
    }

    fn dial(&mut self) -> Result<()> {
        let watch = self.watch;
        let mut untried = self.waiting.len();
        while self.dialling < DIALLING && untried > 0 {
            untried = untried.saturating_sub(1);
            let Some(number) = self.waiting.pop_front() else {
                break;
            };
            let Some(device) = self.devices.get_mut(number) else {
                continue;
            };
            if !device.wants_to_dial(watch) {
                self.waiting.push_back(number);
                continue;
            }
            let interest = Interest::READABLE | Interest::WRITABLE;
            let stream = device.dial(self.broker, watch)?;
            self.poll
                .registry()
                .register(stream, Token(number), interest)?;
            self.dialling = self.dialling.saturating_add(1);
            self.set_alarm(number);
        }
        Ok(())
    }

    /// Lets a session do what there is to do.
    fn turn(&mut self, number: usize) -> Result<()> {
        let watch = self.watch;
        let Some(device) = self.devices.get_mut(number) else {
            return Ok(());
        };
        let (was_down, was_ready) = (device.is_down(), device.is_ready());
        if let Err(why) = device.turn(watch, self.options, &mut self.figures) {
            self.figures.lost = self.figures.lost.saturating_add(1);
            self.figures.last_loss = Some(why.to_string());
        }
        let (is_down, is_ready) = (device.is_down(), device.is_ready());
        if was_ready && !is_ready {
            self.ready = self.ready.saturating_sub(1);
        } else if !was_ready && (is_ready || is_down) && !was_down {
            self.dialling = self.dialling.saturating_sub(1);
            self.ready = self.ready.saturating_add(usize::from(is_ready));
        }
        if is_down && !was_down {
            self.waiting.push_back(number);
        }
        self.set_alarm(number);
        Ok(())
    }

    fn set_alarm(&mut self, number: usize) {
        let deadline = self.devices.get(number).and_then(Device::deadline);
        let (now, millis) = (self.watch.now(), self.watch.micros() / 1_000);
        let at = deadline.map(|deadline| millis.saturating_add(deadline.millis_after(now).into()));
        let Some(alarm) = self.alarm.get_mut(number) else {
            return;
        };
        // A later alarm than the one that is set is set when that one rings: most deadlines only ever move away.
        if let Some(at) = at.filter(|at| alarm.is_none_or(|alarm| *at < alarm)) {
            *alarm = Some(at);
            self.alarms.push(Reverse((at, number)));
        }
    }

    fn next_alarm(&self) -> Option<Duration> {
        let Reverse((at, _)) = self.alarms.peek()?;
        let now = self.watch.micros();
        Some(Duration::from_micros(
            at.saturating_mul(1_000).saturating_sub(now),
        ))
    }

    /// The next session whose alarm has rung.
    fn take_alarm(&mut self) -> Option<usize> {
        let now = self.watch.micros() / 1_000;
        while let Some(Reverse((at, number))) = self
            .alarms
            .peek()
            .copied()
            .filter(|Reverse((at, _))| *at <= now)
        {
            self.alarms.pop();
            let alarm = self.alarm.get_mut(number)?;
            if *alarm == Some(at) {
                *alarm = None;
                return Some(number);
            }
        }
        None
    }
}

fn bar(len: usize, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(wide(len));
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
