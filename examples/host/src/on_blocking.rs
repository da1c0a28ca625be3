//! The light on the blocking device.

use umqtt::blocking::{Client, Device};
use umqtt::std_io::StdClock;
use umqtt::{Clock, Session, SubscriptionState, client::Error, codec::Connect};

use crate::console::{END, set_connected};
use crate::work::{Memory, Work, show};
use crate::{failure::Failure, network::Broker};

/// Maximum time in ms between two checks of the clock and of Ctrl-C.
const TICK_MS: u32 = 100;

/// Runs until the end. Returns `true` if the device has disconnected.
pub(crate) fn run(mut work: Work<'_>) -> anyhow::Result<bool> {
    let clock = StdClock::new();
    let mut storage = Memory::new();
    let mut device = Device::new(&mut storage, clock, &work.config)?;
    let interval = u32::try_from(work.options.interval.as_millis())?;
    let mut due = clock.now();
    while END.get().is_none() {
        let mut result = match device.dial(|| work.broker.dial()) {
            Err(Error::Transport(error)) => Err(Failure::of_dial(work.broker, &error)),
            other => Ok(other?),
        };
        let now = clock.now();
        if due.has_passed(now) && device.subscriptions() == SubscriptionState::Granted {
            work.publish(|message| device.publish(message));
            due = now.add_millis(interval);
        }
        let wait = due.millis_after(now).min(TICK_MS);
        if let Err(error) = device.recv(wait, |event, _| work.handle(&event)) {
            let was_accepted = set_connected(false);
            result = Err(Failure::of_connection(&error, was_accepted, |it| &it.0));
        }
        if let Err(failure) = result {
            let dial = device.deadline().unwrap_or(now);
            show(&failure, dial.millis_after(now));
        }
    }
    Ok(device.is_connected() && device.shut_down(|event, _| work.handle(&event)).is_ok())
}

/// Makes the broker forget the session, by a connection with Clean Session 1.
pub(crate) fn forget(broker: &Broker, connect: &Connect<'_>) -> anyhow::Result<()> {
    let mut clean = *connect;
    clean.clean_session = true;
    clean.will = None;
    let mut storage = Memory::new();
    let mut session = Session::new(&mut storage);
    let client = Client::connect(&mut session, broker.dial()?, StdClock::new(), &clean);
    client?.disconnect()?;
    Ok(())
}
