//! The sensor of `device` on the async device: its runner, and one task that has a handle.
#![no_std]
#![no_main]

use core::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
};

use size::{Line, Timer, show};
use umqtt::{
    Backoff, Clock, Config, Event, Message, RequestError, Storage,
    asynch::{Device, Mqtt, Runner, Sleep},
    codec::{Connect, QoS},
};

#[unsafe(no_mangle)]
fn run(storage: &mut Storage<256, 256, 4>) -> bool {
    device(storage).is_ok()
}

fn device(storage: &mut Storage<256, 256, 4>) -> Result<(), RequestError> {
    let config = Config {
        connect: Connect {
            clean_session: false,
            ..Connect::new("sensor-7")
        },
        subscriptions: &[("light/set", QoS::AtLeastOnce)],
    };
    let mut device: Device<'_, _, 4> = Device::new(storage, Timer, &config)?;
    let (mqtt, runner) = device.split();
    let mut network = pin!(network(runner));
    let mut app = pin!(app(mqtt));
    let mut both = pin!(poll_fn(|cx| {
        let _ = network.as_mut().poll(cx);
        let _ = app.as_mut().poll(cx);
        Poll::<()>::Pending
    }));
    let mut context = Context::from_waker(Waker::noop());
    while both.as_mut().poll(&mut context).is_pending() {}
    Ok(())
}

async fn network(mut runner: Runner<'_, Timer, 4>) {
    let mut backoff = Backoff::new(1_000, 60_000);
    loop {
        let ended = runner
            .run(Line, |event, publisher| {
                if let Event::Message(message) = event {
                    show(message.payload);
                    let _ = publisher.publish(&Message::new("light/uptime", b"7"));
                }
            })
            .await;
        let now = Timer.now();
        let delay = backoff.after(&ended, now.as_millis());
        Timer.sleep_until(now.add_millis(delay)).await;
    }
}

async fn app(mqtt: Mqtt<'_, 4>) {
    loop {
        let _ = mqtt
            .publish(&Message {
                qos: QoS::AtLeastOnce,
                ..Message::new("light/state", b"on")
            })
            .await;
    }
}
