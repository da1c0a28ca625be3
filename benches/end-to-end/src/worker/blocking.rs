//! The blocking client of umqtt.

use anyhow::Result;
use umqtt::{
    Clock, Event, Session,
    blocking::Client,
    codec::{Connect, QoS},
    std_io::{self, StdClock, TcpTransport},
};

use super::{Memory, Meter, SLOTS, Sample, Source, consume, options};
use crate::case::{Case, Direction};

pub(crate) fn run(case: &Case) -> Result<Sample> {
    let mut storage = Box::new(Memory::<SLOTS>::new());
    let mut session = Session::new(&mut storage);
    match case.direction {
        Direction::Publish => {
            let mut client = connect(case.port, &mut session, &options(case))?;
            publish(case, &mut client)
        }
        Direction::Receive => {
            let meter = Meter::start(case)?;
            let mut client = connect(case.port, &mut session, &options(case))?;
            receive(case, meter, &mut client)
        }
    }
}

pub(crate) fn connect<'s, 'b>(
    port: u16,
    session: &'s mut Session<'b>,
    options: &Connect<'_>,
) -> Result<Client<'s, 'b, TcpTransport, StdClock>> {
    let transport = std_io::connect(("127.0.0.1", port))?;
    Ok(Client::connect(
        session,
        transport,
        StdClock::new(),
        options,
    )?)
}

fn publish(case: &Case, client: &mut Client<'_, '_, TcpTransport, StdClock>) -> Result<Sample> {
    let clock = StdClock::new();
    let meter = Meter::start(case)?;
    let mut source = Source::new(case);
    while !source.has_ended() || client.session().in_flight() > 0 {
        let mut queued = 0;
        while queued + client.session().in_flight() < case.window
            && let Some(message) = source.next(&meter)
        {
            client.session().publish(&message)?;
            queued += usize::from(message.qos == QoS::AtMostOnce);
        }
        if client.session().in_flight() == 0 {
            client.flush()?;
            continue;
        }
        client.recv()?;
        // Handles the events that were received with it.
        while let Some(ready) = client.session().poll(clock.now())? {
            client.session().event(ready)?;
        }
    }
    meter.stop(source.sent())
}

fn receive(
    case: &Case,
    meter: Meter,
    client: &mut Client<'_, '_, TcpTransport, StdClock>,
) -> Result<Sample> {
    let mut messages = 0;
    while messages < case.count && !meter.is_over() {
        if let Some(Event::Message(message)) = client.poll()? {
            consume(case, message.payload)?;
            messages += 1;
        }
    }
    meter.stop(messages)
}
