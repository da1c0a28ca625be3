//! The peer of the firmware `check`: a client that sends messages to it and waits for the answers.

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

/// Maximum time until an answer. A large message is slow in QEMU, and the program detects the loss of the broker only
/// by its timeouts.
const PATIENCE: Duration = Duration::from_secs(90);
/// Time in which a repeated answer would be received.
const GRACE: Duration = Duration::from_millis(500);
const LARGE: usize = 65_536;

/// Sends, restarts the broker, sends again, and waits for the end of the program.
pub(crate) fn run(broker: &mut Mosquitto, relay: &Relay, emulator: Emulator) -> Result<()> {
    let mut storage = Storage::<4096, 4096, 8>::new();
    let mut session = Session::new(&mut storage);
    let mut host = Host::connect(&mut session, broker, emulator)?;
    let codes = host
        .client
        .subscribe_and_wait(&[("check/from", QoS::ExactlyOnce)], |_, _| {})?;
    if !codes.all_granted() {
        return Err("the broker refused the subscription".into());
    }
    // The program has subscribed as soon as it answers.
    let start = Instant::now();
    while host.count(b"ready") == 0 && start.elapsed() < PATIENCE {
        host.send(b"ready", QoS::AtMostOnce)?;
        host.collect(Duration::from_millis(100))?;
    }
    for (payload, qos) in [
        (&b"qos-0"[..], QoS::AtMostOnce),
        (b"qos-1", QoS::AtLeastOnce),
        (b"qos-2", QoS::ExactlyOnce),
    ] {
        host.send(payload, qos)?;
        host.wait_for(payload)?;
    }
    let sum = host.large()?;

    // The program receives the message. Its answer is lost in the relay, and then the broker is restarted.
    relay.swallow(true);
    host.send(b"unheard", QoS::ExactlyOnce)?;
    host.wait_until("an answer that the relay discards", |_| {
        relay.has_swallowed(PacketType::Publish)
    })?;
    let (emulator, answers) = (host.emulator, host.answers);
    broker.restart()?;
    let mut host = Host::connect(&mut session, broker, emulator)?;
    host.answers = answers;
    if !host.client.session_present() {
        return Err("the broker forgot the session of the host".into());
    }
    // The broker keeps this message until the program has detected the loss and has connected again.
    host.send(b"away", QoS::AtLeastOnce)?;
    relay.swallow(false);
    host.wait_for(b"unheard")?;
    host.wait_for(b"away")?;

    host.send(b"last", QoS::AtLeastOnce)?;
    host.emulator.succeeds()?;
    host.collect_all(GRACE)?;
    for payload in [&b"qos-2"[..], b"unheard", &sum] {
        match host.count(payload) {
            1 => {}
            n => return Err(format!("{n} answers to {payload:?}, sent once at QoS 2").into()),
        }
    }
    host.client.disconnect()?;
    Ok(())
}

/// The client in this process, the emulated program, and its answers so far.
struct Host<'s, 'b> {
    client: Client<'s, 'b, NonBlocking<TcpStream>, StdClock>,
    emulator: Emulator,
    answers: Vec<Vec<u8>>,
}

impl<'s, 'b> Host<'s, 'b> {
    fn connect(
        session: &'s mut Session<'b>,
        broker: &Mosquitto,
        emulator: Emulator,
    ) -> Result<Self> {
        let socket = TcpStream::connect(broker.address)?;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let mut options = Connect::new("runner");
        options.clean_session = false;
        let transport = NonBlocking::new(socket);
        Ok(Self {
            client: Client::connect(session, transport, StdClock::new(), &options)?,
            emulator,
            answers: Vec::new(),
        })
    }

    fn send(&mut self, payload: &[u8], qos: QoS) -> Result<()> {
        let mut message = Message::new("check/to", payload);
        message.qos = qos;
        let answers = &mut self.answers;
        self.client
            .publish_and_wait(&message, |event, _| take(answers, &event))?;
        Ok(())
    }

    /// Sends 64 KiB, and waits for an answer with their checksum and length. Returns this answer.
    fn large(&mut self) -> Result<Vec<u8>> {
        let mut random: u32 = 1;
        let payload: Vec<u8> = (0..LARGE)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                random.to_be_bytes()[0]
            })
            .collect();
        let sum = payload.iter().fold(0x811C_9DC5_u32, |sum, &byte| {
            (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let expected = (u64::from(sum) << 32 | LARGE as u64).to_be_bytes();
        let mut message = StreamedPublish::new("check/to");
        if let StreamedPublish::New { qos, .. } = &mut message {
            *qos = QoS::ExactlyOnce;
        }
        let start = Instant::now();
        let answers = &mut self.answers;
        self.client
            .publish_slices(message, &[&payload], |event, _| take(answers, &event))?;
        self.wait_for(&expected)?;
        println!("64 KiB took {:.1} s", start.elapsed().as_secs_f32());
        Ok(expected.to_vec())
    }

    fn count(&self, payload: &[u8]) -> usize {
        self.answers
            .iter()
            .filter(|answer| *answer == payload)
            .count()
    }

    /// Receives answers for this time.
    fn collect_all(&mut self, time: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < time {
            match self.client.poll()? {
                Some(event) => take(&mut self.answers, &event),
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
        Ok(())
    }

    /// As [`Self::collect_all`] while the program runs.
    fn collect(&mut self, time: Duration) -> Result<()> {
        match self.emulator.ended()? {
            None => self.collect_all(time),
            Some(status) => Err(format!("the program ended with {status}").into()),
        }
    }

    fn wait_for(&mut self, payload: &[u8]) -> Result<()> {
        let name = payload.escape_ascii().to_string();
        self.wait_until(&name, |host| host.count(payload) > 0)
    }

    fn wait_until(&mut self, name: &str, done: impl Fn(&Self) -> bool) -> Result<()> {
        let start = Instant::now();
        while !done(self) {
            if start.elapsed() > PATIENCE {
                return Err(format!("not received: {name}; received: {:?}", self.answers).into());
            }
            self.collect(Duration::from_millis(10))?;
        }
        Ok(())
    }
}

fn take(answers: &mut Vec<Vec<u8>>, event: &Event<'_>) {
    if let Event::Message(message) = event {
        answers.push(message.payload.to_vec());
    }
}
