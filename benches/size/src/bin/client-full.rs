//! A program that uses all of the blocking client: QoS 2, resume with unacknowledged messages, keep alive, deadlines,
//! payloads larger than the buffers in both directions.
#![no_std]
#![no_main]

use size::{Line, Timer, show};
use umqtt::{
    Event, Message, Session, Storage, StreamedPublish, blocking::Client, client::Error,
    codec::Connect, codec::QoS,
};

const LOG: StreamedPublish<'_> = StreamedPublish::New {
    topic: "light/log",
    qos: QoS::AtLeastOnce,
    retain: false,
};

#[unsafe(no_mangle)]
fn run(storage: &mut Storage<256, 256, 4>, log: &[u8]) {
    let mut session = Session::new(storage);
    loop {
        // The session is the same, so it resends unacknowledged messages.
        let _ = connection(&mut session, log);
    }
}

fn connection(session: &mut Session<'_>, log: &[u8]) -> Result<(), Error<embedded_io::ErrorKind>> {
    let options = Connect {
        keep_alive: 60,
        clean_session: false,
        ..Connect::new("sensor-7")
    };
    let mut client = Client::connect(session, Line, Timer, &options)?;
    if !client.session_present() {
        client.subscribe(&[("light/set", QoS::ExactlyOnce)])?;
    }
    loop {
        let outgoing = match client.poll()? {
            Some(Event::Message(message)) => {
                show(message.payload);
                continue;
            }
            Some(Event::Chunk(chunk)) => {
                show(chunk.bytes);
                continue;
            }
            Some(Event::Pubcomp(_)) => LOG,
            Some(Event::PayloadNeeded(id)) => StreamedPublish::Resend(id),
            _ => {
                client.publish(&Message {
                    qos: QoS::ExactlyOnce,
                    ..Message::new("light/state", b"on")
                })?;
                continue;
            }
        };
        client.publish_slices(outgoing, &[log], |_, _| {})?;
    }
}
