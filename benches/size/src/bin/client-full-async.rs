//! The program of `client-full` on the async client, with a minimal executor.
#![no_std]
#![no_main]

use core::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
};

use size::{Line, Timer, show};
use umqtt::{
    Event, Message, Session, Storage, StreamedPublish, asynch::Client, client::Error,
    codec::Connect, codec::QoS,
};

const LOG: StreamedPublish<'_> = StreamedPublish::New {
    topic: "light/log",
    qos: QoS::AtLeastOnce,
    retain: false,
};

#[unsafe(no_mangle)]
fn run(storage: &mut Storage<256, 256, 4>, log: &[u8]) {
    let mut device = pin!(device(storage, log));
    let mut context = Context::from_waker(Waker::noop());
    while device.as_mut().poll(&mut context).is_pending() {}
}

async fn device(storage: &mut Storage<256, 256, 4>, log: &[u8]) {
    let mut session = Session::new(storage);
    loop {
        // The session is the same, so it resends unacknowledged messages.
        let _ = connection(&mut session, log).await;
    }
}

async fn connection(
    session: &mut Session<'_>,
    log: &[u8],
) -> Result<(), Error<embedded_io::ErrorKind>> {
    let options = Connect {
        keep_alive: 60,
        clean_session: false,
        ..Connect::new("sensor-7")
    };
    let mut client = Client::connect(session, Line, Timer, &options).await?;
    if !client.session_present() {
        client.subscribe(&[("light/set", QoS::ExactlyOnce)]).await?;
    }
    loop {
        let outgoing = match client.recv().await? {
            Event::Message(message) => {
                show(message.payload);
                continue;
            }
            Event::Chunk(chunk) => {
                show(chunk.bytes);
                continue;
            }
            Event::Pubcomp(_) => LOG,
            Event::PayloadNeeded(id) => StreamedPublish::Resend(id),
            _ => {
                client
                    .publish(&Message {
                        qos: QoS::ExactlyOnce,
                        ..Message::new("light/state", b"on")
                    })
                    .await?;
                continue;
            }
        };
        client.publish_slices(outgoing, &[log], |_, _| {}).await?;
    }
}
