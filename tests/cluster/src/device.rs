//! A device that publishes to one neighbour at QoS 1 and 2, and receives from the other.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_local},
    time::{Instant, sleep},
};
use umqtt::{
    Backoff, Config, DeviceError, Ended, Event, Message, Storage,
    asynch::{Device, Mqtt, Runner},
    codec::{Connect, QoS},
    tokio_io::{self, TokioClock},
};

use crate::{
    Options, Result,
    ledger::Ledger,
    wire::{OpenIds, Recording},
};

type Shared = Rc<RefCell<Ledger>>;

/// The progress of the scenario.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub(crate) enum Phase {
    /// The devices subscribe.
    Subscribe,
    Publish,
    /// Each device connects once more, to receive the messages that the brokers keep for it.
    ConnectAgain,
}

/// Starts a device. Returns its publishing tasks, which end after the last message.
pub(crate) fn start(
    number: usize,
    options: Options,
    broker: SocketAddr,
    ledger: &Shared,
    phase: &watch::Receiver<Phase>,
) -> Result<Vec<JoinHandle<()>>> {
    // It exists until the program ends, as on a chip.
    let storage: &mut Storage<512, 2048, 16> = Box::leak(Box::default());
    let id: &str = format!("device-{number}").leak();
    let topic: &str = format!("cluster/{number}").leak();
    let config = Config {
        connect: Connect {
            clean_session: false,
            keep_alive: 15,
            ..Connect::new(id)
        },
        subscriptions: vec![(topic, QoS::ExactlyOnce)].leak(),
    };
    let device = Device::new(storage, TokioClock::new(), &config)?;
    let device: &'static mut Device<'static, TokioClock> = Box::leak(Box::new(device));
    let (mqtt, runner) = device.split();
    spawn_local(network(runner, broker, Rc::clone(ledger), phase.clone()));
    let publish = |qos| {
        let (ledger, phase) = (Rc::clone(ledger), phase.clone());
        spawn_local(publish(mqtt, number, qos, options, ledger, phase))
    };
    Ok(vec![publish(QoS::AtLeastOnce), publish(QoS::ExactlyOnce)])
}

/// Keeps the device connected, and records the received messages.
async fn network(
    mut runner: Runner<'static, TokioClock>,
    broker: SocketAddr,
    ledger: Shared,
    mut phase: watch::Receiver<Phase>,
) {
    let mut backoff = Backoff::new(500, 10_000);
    let mut away_since = Instant::now();
    let mut is_again = false;
    let open = OpenIds::default();
    loop {
        let delay = match tokio_io::connect(broker).await {
            Ok(transport) => {
                let transport = Recording::new(transport, Rc::clone(&ledger), Rc::clone(&open));
                let run = runner.run(transport, |event, _| {
                    let ledger = &mut *ledger.borrow_mut();
                    match event {
                        Event::Connected {
                            session_present, ..
                        } => {
                            ledger.connected(session_present, away_since.elapsed());
                        }
                        Event::Subscribed { .. } => ledger.subscribed(),
                        Event::Message(message) => ledger.received(message.payload),
                        _ => {}
                    }
                });
                let ended = tokio::select! {
                    ended = run => ended,
                    _ = phase.wait_for(|phase| *phase == Phase::ConnectAgain), if !is_again => {
                        // This drops the transport, which closes the connection.
                        is_again = true;
                        away_since = Instant::now();
                        continue;
                    }
                };
                away_since = Instant::now();
                if let Ended::Lost { error, .. } = &ended {
                    ledger.borrow_mut().ended(&error.to_string());
                }
                backoff.after(&ended, fastrand::u32(..))
            }
            Err(_) => backoff.next(fastrand::u32(..)),
        };
        sleep(Duration::from_millis(delay.into())).await;
    }
}

/// Publishes one message after the other, and records the outcomes.
async fn publish(
    mqtt: Mqtt<'static>,
    number: usize,
    qos: QoS,
    options: Options,
    ledger: Shared,
    mut phase: watch::Receiver<Phase>,
) {
    if phase
        .wait_for(|phase| *phase == Phase::Publish)
        .await
        .is_err()
    {
        return;
    }
    let neighbour = number
        .saturating_add(1)
        .checked_rem(options.devices)
        .unwrap_or(0);
    let receiver = if options.apart { number } else { neighbour };
    let topic = format!("cluster/{receiver}");
    // The devices do not begin at the same moment.
    sleep(options.pace.mul_f32(fastrand::f32())).await;
    for count in 0..options.messages {
        let payload = ledger.borrow_mut().publish(number, qos, count);
        let message = Message {
            qos,
            ..Message::new(&topic, payload.as_bytes())
        };
        let start = Instant::now();
        let result = mqtt.publish_and_wait(&message).await;
        ledger
            .borrow_mut()
            .answered(&payload, result, start.elapsed());
        sleep(options.pace).await;
    }
}

/// The outcome of a message for its publisher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Pending,
    Acknowledged,
    /// It cannot be known whether the server has it.
    Unknown,
    Failed,
}

impl From<core::result::Result<(), DeviceError>> for Outcome {
    fn from(result: core::result::Result<(), DeviceError>) -> Self {
        match result {
            Ok(()) => Self::Acknowledged,
            Err(DeviceError::DeliveryUnknown) => Self::Unknown,
            Err(_) => Self::Failed,
        }
    }
}
