//! The blocking device of umqtt.

use anyhow::Result;
use umqtt::{
    Config, Event, RequestError,
    blocking::Device,
    codec::QoS,
    std_io::{self, StdClock, TcpTransport},
};

use super::{Memory, Meter, SLOTS, Sample, Source, consume, options};
use crate::case::{Case, Direction};

/// Longest time of a call in ms.
const WAIT: u32 = 100;

type Blocking<'d> = Device<'d, TcpTransport, StdClock>;

pub(crate) fn run(case: &Case) -> Result<Sample> {
    let mut storage = Box::new(Memory::<SLOTS>::new());
    let config = Config::new(options(case));
    let mut device = Device::new(&mut storage, StdClock::new(), &config)?;
    match case.direction {
        Direction::Publish => {
            device.dial(|| std_io::connect(("127.0.0.1", case.port)))?;
            while !device.is_connected() {
                device.recv(WAIT, |_, _| {})?;
            }
            publish(case, &mut device)
        }
        Direction::Receive => {
            let meter = Meter::start(case)?;
            device.dial(|| std_io::connect(("127.0.0.1", case.port)))?;
            receive(case, meter, &mut device)
        }
    }
}

fn publish(case: &Case, device: &mut Blocking<'_>) -> Result<Sample> {
    let meter = Meter::start(case)?;
    let mut source = Source::new(case);
    let mut open = 0;
    while !source.has_ended() || open > 0 {
        while open < case.window
            && let Some(message) = source.next(&meter)
        {
            while let Err(error) = device.publish(&message) {
                let RequestError::SendBufferFull { .. } = error else {
                    return Err(error.into());
                };
                device.recv(1, |event, _| open -= completed(&event))?;
            }
            open += usize::from(message.qos > QoS::AtMostOnce);
        }
        device.recv(WAIT, |event, _| open -= completed(&event))?;
    }
    meter.stop(source.sent())
}

/// Returns the number of messages that an event completes.
fn completed(event: &Event<'_>) -> usize {
    usize::from(matches!(event, Event::Puback(_) | Event::Pubcomp(_)))
}

fn receive(case: &Case, meter: Meter, device: &mut Blocking<'_>) -> Result<Sample> {
    let (mut messages, mut result) = (0, Ok(()));
    while messages < case.count && !meter.is_over() {
        device.recv(WAIT, |event, _| {
            if let Event::Message(message) = event {
                messages += 1;
                if let Err(error) = consume(case, message.payload) {
                    result = Err(error);
                }
            }
        })?;
    }
    result?;
    meter.stop(messages)
}
