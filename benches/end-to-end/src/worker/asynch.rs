//! The async client of umqtt, on tokio.

use anyhow::Result;
use tokio::{runtime::Builder, time::timeout};
use umqtt::{
    Clock, Event, Session,
    asynch::Client,
    codec::QoS,
    std_io::StdClock,
    tokio_io::{self, TcpTransport, TokioClock},
};

use super::{Memory, Meter, SLOTS, Sample, Source, consume, options};
use crate::case::{Case, Direction};

type Device<'s, 'b> = Client<'s, 'b, TcpTransport, TokioClock>;

pub(crate) fn run(case: &Case) -> Result<Sample> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut storage = Box::new(Memory::<SLOTS>::new());
    let mut session = Session::new(&mut storage);
    runtime.block_on(async {
        match case.direction {
            Direction::Publish => {
                let mut client = connect(case, &mut session).await?;
                publish(case, &mut client).await
            }
            Direction::Receive => {
                let meter = Meter::start(case)?;
                let mut client = connect(case, &mut session).await?;
                receive(case, meter, &mut client).await
            }
        }
    })
}

async fn connect<'s, 'b>(case: &Case, session: &'s mut Session<'b>) -> Result<Device<'s, 'b>> {
    let transport = tokio_io::connect(("127.0.0.1", case.port)).await?;
    Ok(Client::connect(session, transport, TokioClock::new(), &options(case)).await?)
}

async fn publish(case: &Case, client: &mut Device<'_, '_>) -> Result<Sample> {
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
            client.flush().await?;
            continue;
        }
        client.recv().await?;
        // Handles the events that were received with it.
        while let Some(ready) = client.session().poll(clock.now())? {
            client.session().event(ready)?;
        }
    }
    meter.stop(source.sent())
}

async fn receive(case: &Case, meter: Meter, client: &mut Device<'_, '_>) -> Result<Sample> {
    let mut messages = 0;
    let all = async {
        while messages < case.count {
            if let Event::Message(message) = client.recv().await? {
                consume(case, message.payload)?;
                messages += 1;
            }
        }
        anyhow::Ok(())
    };
    // After the time limit, the received messages are counted.
    if let Ok(result) = timeout(case.limit, all).await {
        result?;
    }
    meter.stop(messages)
}
