//! The light on the async device, on one thread of tokio.

use std::{cell::RefCell, future::pending, time::Duration};

use tokio::time::{MissedTickBehavior, interval, sleep};
use umqtt::asynch::{Device, DeviceState};
use umqtt::{Backoff, Ended, tokio_io::TokioClock};
use uuid::Uuid;

use crate::console::{END, set_connected};
use crate::failure::Failure;
use crate::work::{Memory, Work, show};

/// Runs until the end. Returns `true` if the device has disconnected.
pub(crate) async fn run(work: Work<'_>) -> anyhow::Result<bool> {
    let mut storage = Memory::new();
    let mut device = Device::<_>::new(&mut storage, TokioClock::new(), &work.config)?;
    let (mqtt, mut runner) = device.split();
    let broker = work.broker;
    let mut ticks = interval(work.options.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let work = RefCell::new(work);

    let network = async {
        let mut backoff = Backoff::new(1_000, 60_000);
        loop {
            let random = Uuid::new_v4().as_fields().0;
            let (failure, delay) = match broker.dial_async().await {
                Err(error) => (Failure::of_dial(broker, &error), backoff.next(random)),
                Ok(transport) => {
                    let ended = runner.run(transport, |event, _| work.borrow_mut().handle(&event));
                    let ended = ended.await;
                    let was_accepted = set_connected(false);
                    let delay = backoff.after(&ended, random);
                    let Ended::Lost { error, .. } = ended else {
                        return true;
                    };
                    let failure = Failure::of_connection(&error, was_accepted, |error| error);
                    (failure, delay)
                }
            };
            show(&failure, delay);
            sleep(Duration::from_millis(delay.into())).await;
        }
    };
    let publishing = async {
        loop {
            ticks.tick().await;
            if mqtt.subscribed().await.is_err() {
                // The handler has been given the refusal, and ends the program.
                return pending().await;
            }
            work.borrow_mut()
                .publish(|message| mqtt.try_publish(message));
        }
    };
    let ending = async {
        END.wait().await;
        if mqtt.state() == DeviceState::Connected {
            mqtt.shut_down();
            pending().await
        }
    };
    Ok(tokio::select! {
        is_disconnected = network => is_disconnected,
        never = publishing => never,
        () = ending => false,
    })
}
