//! The other end of `check`: a client that sends messages and wants the answers.

use std::{
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use umqtt::{
    Event, Message, Session, Storage, StreamedPublish,
    blocking::Client,
    codec::{Connect, PacketType, QoS},
    std_io::{NonBlocking, StdClock},
};

use crate::{Result, emulator::Emulator, mosquitto::Mosquitto, relay::Relay};

/// Nothing takes that long: a large message is slow on the way into QEMU, and the loss of the broker is only noticed
/// by the clock.
const PATIENCE: Duration = Duration::from_secs(90);
/// Time for an answer that is one too many.
const GRACE: Duration = Duration::from_millis(500);

const TO: &str = "check/to/";
const FROM: &str = "check/from/";

type Host<'s, 'b> = Client<'s, 'b, NonBlocking<TcpStream>, StdClock>;

/// Sends, restarts the broker, sends again, and waits for the end of the program.
pub(crate) fn run(broker: &mut Mosquitto, relay: &Relay, emulator: Emulator) -> Result<()> {
    let mut storage = Storage::<4096, 4096, 8>::new();
    let mut session = Session::new(&mut storage);
    let mut program = Program {
        emulator,
        answers: Vec::new(),
    };

    let mut host = connect(&mut session, broker)?;
    let codes = host.subscribe_and_wait(&[("check/from/#", QoS::ExactlyOnce)], |_, _| {})?;
    if !codes.all_granted() {
        return Err("the broker refused the subscription".into());
    }
    wait_until_it_hears(&mut host, &mut program)?;
    for (name, qos) in [
        ("qos-0", QoS::AtMostOnce),
        ("qos-1", QoS::AtLeastOnce),
        ("qos-2", QoS::ExactlyOnce),
    ] {
        send(&mut host, name, name.as_bytes(), qos, &mut program)?;
        program.wait_for(&mut host, name, name.as_bytes())?;
    }
    large(&mut host, &mut program)?;

    // The program has the message and answers; nobody hears it, and then the broker is gone.
    relay.stop_listening();
    send(
        &mut host,
        "unheard",
        b"once",
        QoS::ExactlyOnce,
        &mut program,
    )?;
    program.wait_until(&mut host, "an answer that nobody hears", |_| {
        relay.has_swallowed(PacketType::Publish)
    })?;
    drop(host);
    broker.stop()?;
    broker.start_again()?;
    let mut host = connect(&mut session, broker)?;
    if !host.session_present() {
        return Err("the broker forgot the session of the host".into());
    }
    // It waits in the broker for a program that does not know yet what happened.
    send(&mut host, "away", b"kept", QoS::AtLeastOnce, &mut program)?;
    relay.listen();
    program.wait_for(&mut host, "unheard", b"once")?;
    program.wait_for(&mut host, "away", b"kept")?;

    send(&mut host, "last", b"", QoS::AtLeastOnce, &mut program)?;
    program.emulator.succeeds()?;
    program.collect(&mut host, GRACE)?;
    for name in ["qos-2", "unheard", "large"] {
        match program.count(name) {
            1 => {}
            n => return Err(format!("{n} answers to {name:?}, sent once at QoS 2").into()),
        }
    }
    host.disconnect()?;
    Ok(())
}

fn connect<'s, 'b>(session: &'s mut Session<'b>, broker: &Mosquitto) -> Result<Host<'s, 'b>> {
    let socket = TcpStream::connect(broker.address)?;
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    let options = Connect {
        clean_session: false,
        keep_alive: 30,
        ..Connect::new("runner")
    };
    let transport = NonBlocking::new(socket);
    Ok(Client::connect(
        session,
        transport,
        StdClock::new(),
        &options,
    )?)
}

fn send(
    host: &mut Host<'_, '_>,
    name: &str,
    payload: &[u8],
    qos: QoS,
    program: &mut Program,
) -> Result<()> {
    let topic = format!("{TO}{name}");
    let message = Message {
        qos,
        ..Message::new(&topic, payload)
    };
    host.publish_and_wait(&message, |event, _| program.take(&event))?;
    Ok(())
}

/// The program has subscribed as soon as it answers.
fn wait_until_it_hears(host: &mut Host<'_, '_>, program: &mut Program) -> Result<()> {
    let start = Instant::now();
    while program.count("ready") == 0 && start.elapsed() < PATIENCE {
        send(host, "ready", b"?", QoS::AtMostOnce, program)?;
        program.collect(host, Duration::from_millis(100))?;
        program.is_running()?;
    }
    program.wait_for(host, "ready", b"?")
}

/// A message of 64 KiB; the answer is its length and checksum.
fn large(host: &mut Host<'_, '_>, program: &mut Program) -> Result<()> {
    let mut random: u32 = 1;
    let payload: Vec<u8> = (0..65_536)
        .map(|_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_be_bytes()[0]
        })
        .collect();
    let sum = payload.iter().fold(0x811c_9dc5_u32, |sum, &byte| {
        (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let message = StreamedPublish::New {
        topic: "check/to/large",
        qos: QoS::ExactlyOnce,
        retain: false,
    };
    let start = Instant::now();
    host.publish_slices(message, &[&payload], |event, _| program.take(&event))?;
    let expected = format!("{} {sum:08x}", payload.len());
    program.wait_for(host, "large", expected.as_bytes())?;
    println!("64 KiB took {:.1} s", start.elapsed().as_secs_f32());
    Ok(())
}

/// The program at the other end, and its answers so far, by name.
struct Program {
    emulator: Emulator,
    answers: Vec<(String, Vec<u8>)>,
}

impl Program {
    fn take(&mut self, event: &Event<'_>) {
        if let Event::Message(message) = event
            && let Some(name) = message.topic.strip_prefix(FROM)
        {
            self.answers
                .push((name.to_owned(), message.payload.to_vec()));
        }
    }

    fn count(&self, name: &str) -> usize {
        self.answers.iter().filter(|(from, _)| from == name).count()
    }

    /// Takes what comes within this time.
    fn collect(&mut self, host: &mut Host<'_, '_>, time: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < time {
            match host.poll()? {
                Some(event) => self.take(&event),
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
        Ok(())
    }

    fn wait_for(&mut self, host: &mut Host<'_, '_>, name: &str, payload: &[u8]) -> Result<()> {
        self.wait_until(host, name, |program| program.count(name) > 0)?;
        match self.answers.iter().find(|(from, _)| from == name) {
            Some((_, answer)) if answer == payload => Ok(()),
            _ => Err(format!("a wrong answer to {name:?}: {:?}", self.answers).into()),
        }
    }

    fn wait_until(
        &mut self,
        host: &mut Host<'_, '_>,
        what: &str,
        done: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let start = Instant::now();
        while !done(self) {
            self.is_running()?;
            if start.elapsed() > PATIENCE {
                return Err(format!("in vain waited for: {what}").into());
            }
            self.collect(host, Duration::from_millis(10))?;
        }
        Ok(())
    }

    fn is_running(&mut self) -> Result<()> {
        match self.emulator.ended()? {
            None => Ok(()),
            Some(status) => Err(format!("the program ended with {status}").into()),
        }
    }
}
