//! rumqttc, on tokio.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, NetworkOptions};
use tokio::{runtime::Builder, time::timeout};
use umqtt::codec::QoS;

use super::{KEEP_ALIVE, Meter, Sample, Source, TOPIC, consume};
use crate::case::{Case, Direction};

pub(crate) fn run(case: &Case) -> Result<Sample> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match case.direction {
            Direction::Publish => publish(case).await,
            Direction::Receive => receive(case).await,
        }
    })
}

fn client(case: &Case) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(&case.client_id, "127.0.0.1", case.port);
    options.set_keep_alive(Duration::from_secs(KEEP_ALIVE.into()));
    options.set_clean_session(case.direction == Direction::Publish);
    options.set_max_packet_size(case.size + 1024, case.size + 1024);
    options.set_inflight(u16::try_from(case.window).unwrap_or(u16::MAX));
    let (client, mut connection) = AsyncClient::new(options, case.window);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    connection.set_network_options(network);
    (client, connection)
}

async fn publish(case: &Case) -> Result<Sample> {
    let (client, mut connection) = client(case);
    while !matches!(
        connection.poll().await?,
        Event::Incoming(Incoming::ConnAck(_))
    ) {}

    let meter = Meter::start(case)?;
    // Number of acknowledgements to wait for, when it is known. At QoS 0, only the last message has one, at QoS 1.
    let total = Arc::new(AtomicUsize::new(usize::MAX));
    let sender = tokio::spawn(send(client, case.clone(), meter, Arc::clone(&total)));
    let mut done = 0;
    while done < total.load(Ordering::Relaxed) {
        if let Event::Incoming(Incoming::PubAck(_) | Incoming::PubComp(_)) =
            connection.poll().await?
        {
            done += 1;
        }
    }
    let sent = sender.await??;
    meter.stop(sent)
}

async fn send(
    client: AsyncClient,
    case: Case,
    meter: Meter,
    total: Arc<AtomicUsize>,
) -> Result<usize> {
    let mut source = Source::new(&case);
    while let Some(message) = source.next(&meter) {
        let qos = rumqttc::qos(message.qos as u8)?;
        let payload = message.payload.to_vec();
        if source.has_ended() {
            let acknowledged = if case.qos == QoS::AtMostOnce {
                1
            } else {
                source.sent()
            };
            total.store(acknowledged, Ordering::Relaxed);
        }
        client.publish(TOPIC, qos, false, payload).await?;
    }
    Ok(source.sent())
}

async fn receive(case: &Case) -> Result<Sample> {
    let meter = Meter::start(case)?;
    let (_client, mut connection) = client(case);
    let mut messages = 0;
    let all = async {
        while messages < case.count {
            if let Event::Incoming(Incoming::Publish(publish)) = connection.poll().await? {
                consume(case, &publish.payload)?;
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
