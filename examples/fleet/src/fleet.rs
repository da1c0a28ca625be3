//! The single thread that drives all sessions. It waits for sockets and for the earliest deadline, and calls the
//! sessions that are ready.

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

/// Maximum number of connections that are opened at the same time, because a broker's queue for new ones is short.
const DIALLING: usize = 64;
/// Maximum sleep, so that Ctrl-C and the progress display react in time.
const NAP: Duration = Duration::from_millis(100);
/// Maximum number of messages that are published between two polls of the sockets.
const BATCH: u64 = 64;
/// Maximum time without progress of any session while all connect.
const PATIENCE: Duration = Duration::from_secs(30);
/// Maximum time until the last messages are received.
const REST: Duration = Duration::from_secs(10);
/// Maximum time until all DISCONNECTs were sent.
const GOODBYE: Duration = Duration::from_secs(2);

pub(crate) struct Fleet<'b, 'o> {
    devices: Vec<Device<'b>>,
    /// Alarms of the sessions, the earliest first. Outdated entries are ignored.
    alarms: BinaryHeap<Reverse<(u64, usize)>>,
    /// The current alarm of each session.
    alarm: Vec<Option<u64>>,
    poll: Poll,
    events: Events,
    broker: SocketAddr,
    options: &'o Options,
    figures: Figures,
    watch: Watch,
    ready: usize,
    /// Sessions that are not connected. The first one connects next.
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
    /// The first connection fails, or the others make no progress.
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

    /// Returns an error if no session can reach the broker in time.
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

    /// Publishes at the requested rate, and waits until all messages were received.
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
            // At most one batch, so that the sessions can receive after it.
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

    /// Returns the number of messages that should have been published until now.
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
        // Only a few are tried: if these are full, the broker is too slow.
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

    /// Sends DISCONNECT on every connection.
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

    /// Connects, waits for sockets and alarms up to a limit, and calls the sessions that are ready.
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

    /// Drives a session until nothing can be done at once.
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
        // A later alarm is set when the present one passes, because most deadlines are only postponed.
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

    /// Returns the next session whose alarm has passed.
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
