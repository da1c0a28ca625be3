//! The async device of umqtt, on tokio. Runner and application share one task.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::Poll,
};

use anyhow::{Result, bail};
use tokio::{runtime::Builder, select, task::yield_now, time::sleep};
use umqtt::{
    Config, Event,
    asynch::Device,
    codec::QoS,
    tokio_io::{self, TokioClock},
};

use super::{Memory, Meter, SLOTS, Sample, Source, consume, options};
use crate::case::{Case, Direction};

/// Runs a case, with as many slots in the session as the window of the case.
pub(crate) fn run(case: &Case) -> Result<Sample> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    match case.window {
        1 => runtime.block_on(with_slots::<1>(case)),
        _ => runtime.block_on(with_slots::<SLOTS>(case)),
    }
}

async fn with_slots<const N: usize>(case: &Case) -> Result<Sample> {
    let mut storage = Box::new(Memory::<N>::new());
    let config = Config::new(options(case));
    match case.direction {
        Direction::Publish => {
            let mut device = Device::new(&mut storage, TokioClock::new(), &config)?;
            publish(case, &mut device).await
        }
        Direction::Receive => {
            let meter = Meter::start(case)?;
            let mut device = Device::new(&mut storage, TokioClock::new(), &config)?;
            receive(case, meter, &mut device).await
        }
    }
}

async fn publish<'d>(case: &Case, device: &'d mut Device<'d, TokioClock>) -> Result<Sample> {
    let (mqtt, mut runner) = device.split();
    let transport = tokio_io::connect(("127.0.0.1", case.port)).await?;
    let acknowledged = Cell::new(0);
    let running = runner.run(transport, |event, _| {
        if let Event::Puback(_) | Event::Pubcomp(_) = event {
            acknowledged.set(acknowledged.get() + 1);
        }
    });
    let publishing = async {
        mqtt.connected().await?;
        let meter = Meter::start(case)?;
        let mut source = Source::new(case);
        let mut queued = 0;
        while let Some(message) = source.next(&meter) {
            mqtt.publish(&message).await?;
            queued += 1;
            // At QoS 0, `publish` does not wait for the server, so this lets the runner send.
            if case.qos == QoS::AtMostOnce && queued % case.window == 0 {
                yield_now().await;
            }
        }
        let total = match case.qos {
            QoS::AtMostOnce => 1,
            _ => source.sent(),
        };
        until(|| acknowledged.get() == total).await;
        meter.stop(source.sent())
    };
    // The runner is first, so that the conditions are checked after it.
    select! {
        biased;
        ended = running => bail!("{ended}"),
        sample = publishing => sample,
    }
}

async fn receive<'d>(
    case: &Case,
    meter: Meter,
    device: &'d mut Device<'d, TokioClock>,
) -> Result<Sample> {
    let (_mqtt, mut runner) = device.split();
    let transport = tokio_io::connect(("127.0.0.1", case.port)).await?;
    let (messages, result) = (Cell::new(0), RefCell::new(Ok(())));
    let running = runner.run(transport, |event, _| {
        if let Event::Message(message) = event {
            messages.set(messages.get() + 1);
            if let Err(error) = consume(case, message.payload) {
                *result.borrow_mut() = Err(error);
            }
        }
    });
    // The runner is first, so that the conditions are checked after it.
    select! {
        biased;
        ended = running => bail!("{ended}"),
        () = until(|| messages.get() == case.count) => {}
        // After the time limit, the received messages are counted.
        () = sleep(case.limit) => {}
    }
    result.into_inner()?;
    meter.stop(messages.get())
}

/// Waits for a condition, which an earlier branch of the same `select` changes.
async fn until(holds: impl Fn() -> bool) {
    poll_fn(|_| match holds() {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}
