//! One side of a conversation of numbered messages. It survives cuts and, with its [`Store`], a kill.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    thread,
    time::{Duration, Instant as StdInstant},
};

use umqtt::{
    Event, Message, RequestError, Session, Storage,
    client::Error,
    codec::{Connect, QoS},
};

use crate::{Client, Failure, Kind, remembers_nothing};

/// Capacities for more than ten messages in flight in each direction.
type Memory = Storage<256, 1_024, 10, 32>;

/// Response timeout in ms. The broker is on this machine, and each silent stall takes this time.
const ANSWER: u32 = 500;
/// Maximum time without progress of a conversation.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time for which a finished party waits for unexpected messages.
const QUIET: Duration = Duration::from_millis(100);
/// Maximum number of messages that a party publishes beyond those received. mosquitto 2.0.11 ignores
/// `max_inflight_messages` when a client reconnects, and sends all queued messages at once.
const AHEAD: u32 = 12;
/// Time between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(3);

/// The task of a party.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The client id.
    pub name: &'a str,
    /// Topic of its messages.
    pub to: &'a str,
    /// Topic of the messages of the other party.
    pub from: &'a str,
    /// The quality of service of the messages in both directions.
    pub qos: QoS,
    /// Number of messages that each party publishes.
    pub count: u32,
    /// It publishes first.
    pub begins: bool,
}

/// Progress of a party. It is stored together with the image of the session.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Number of published messages.
    pub published: u32,
    /// Number of received messages: all lower numbers were received.
    pub received: u32,
    /// Number of repeated messages.
    pub repeated: u32,
    /// The broker has granted the subscription.
    pub subscribed: bool,
    /// Number of connections that the broker accepted.
    pub connections: u32,
}

/// Storage of the progress and the image.
#[derive(Clone, Debug)]
pub enum Store {
    /// A file, which survives the process.
    File(PathBuf),
    /// None, because the process is not killed.
    None,
}

/// The error of a conversation.
pub type End = String;

/// One side of a conversation.
pub struct Party<'a> {
    task: Task<'a>,
    store: Store,
    progress: Progress,
    /// The number of the last message received on this connection.
    last: Option<u32>,
    /// The error that ends the conversation.
    wrong: Option<End>,
    /// Time of the last progress.
    moved: StdInstant,
}

impl<'a> Party<'a> {
    /// Creates a party. [`Self::run`] continues with the progress in its store.
    pub fn new(task: Task<'a>, store: Store) -> Self {
        Self {
            task,
            store,
            progress: Progress::default(),
            last: None,
            wrong: None,
            moved: StdInstant::now(),
        }
    }

    /// Runs until all messages were published and received, and the session is empty.
    ///
    /// Without a file, a repeated message at QoS 2 is an error. With a file, [`Store::repeated`] returns its number.
    ///
    /// # Errors
    ///
    /// A message was lost, repeated, or out of order; or nothing happened for a minute.
    pub fn run(mut self, kind: Kind, address: SocketAddr) -> Result<Progress, End> {
        let mut memory = Box::new(Memory::new());
        let mut session = Session::new(&mut memory);
        session.set_response_timeout(ANSWER);
        session.set_checkpoints(matches!(self.store, Store::File(_)));
        if let Some((progress, image)) = self.store.load() {
            self.progress = progress;
            session.restore(&image).map_err(|error| error.to_string())?;
        }
        let options = Connect {
            clean_session: false,
            keep_alive: 5,
            ..Connect::new(self.task.name)
        };
        self.moved = StdInstant::now();
        loop {
            self.last = None;
            let ended = match kind.connect(&mut session, address, &options) {
                Ok(client) => self.converse(client),
                Err(error) => Err(error),
            };
            match (self.wrong.take(), ended) {
                (Some(wrong), _) => return Err(wrong),
                (None, Ok(())) => return Ok(self.progress),
                (None, Err(error)) if self.moved.elapsed() > PATIENCE => {
                    return Err(format!("{self:?} goes nowhere: {error}"));
                }
                (None, Err(_)) => thread::sleep(PAUSE),
            }
        }
    }

    /// Runs one connection. Returns `Ok` when the conversation is complete.
    fn converse(&mut self, mut client: Box<dyn Client<'_> + '_>) -> Result<(), Failure> {
        self.progress.connections += 1;
        if self.progress.subscribed && !client.session().session_present() {
            self.wrong = Some("the broker has forgotten the session".to_owned());
        }
        if !self.progress.subscribed {
            client.subscribe(&[(self.task.from, self.task.qos)])?;
        }
        while self.wrong.is_none() && !self.is_done(client.session()) {
            if self.moved.elapsed() > PATIENCE {
                return Err(Error::Closed);
            }
            self.speak(&mut *client)?;
            self.listen(&mut *client, Duration::from_millis(200))?;
        }
        while self.wrong.is_none() && self.listen(&mut *client, QUIET)? {}
        client.disconnect()
    }

    fn is_done(&self, session: &Session<'_>) -> bool {
        self.progress.published == self.task.count
            && self.progress.received == self.task.count
            && remembers_nothing(session, self.task.name)
    }

    /// Publishes as many messages as there is room for.
    fn speak(&mut self, client: &mut (dyn Client<'_> + '_)) -> Result<(), Failure> {
        let may_publish =
            self.progress.subscribed && (self.task.begins || self.progress.received > 0);
        let until = self.task.count.min(self.progress.received + AHEAD);
        while may_publish && self.progress.published < until {
            let payload = self.progress.published.to_be_bytes();
            let message = Message {
                qos: self.task.qos,
                ..Message::new(self.task.to, &payload)
            };
            match client.publish(&message) {
                Ok(_) => self.progress.published += 1,
                Err(Error::Request(
                    RequestError::InflightFull { .. } | RequestError::SendBufferFull { .. },
                )) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for an event and handles it. Returns `false` if there was none.
    fn listen(
        &mut self,
        client: &mut (dyn Client<'_> + '_),
        time: Duration,
    ) -> Result<bool, Failure> {
        let mut is_due = false;
        let received = client.recv_for(time, &mut |event| match event {
            Event::Message(message) => self.record(&message),
            Event::Suback(..) => self.progress.subscribed = true,
            Event::CheckpointDue => is_due = true,
            Event::Puback(_) | Event::Pubcomp(_) => self.moved = StdInstant::now(),
            Event::Connected { .. } | Event::OutcomeUnknown(_) | Event::RequestRejected(_) => {}
            other => self.wrong = Some(format!("unexpected: {other:?}")),
        });
        if is_due {
            let mut image = [0; Memory::IMAGE_LEN];
            let len = client.session().save(&mut image).unwrap().len;
            self.store.save(&self.progress, &image[..len]);
        }
        received
    }

    /// Handles a received message, and checks its number.
    fn record(&mut self, message: &Message<'_>) {
        let number = message.payload.try_into().map(u32::from_be_bytes).unwrap();
        let expected = self.progress.received;
        self.moved = StdInstant::now();
        // On one connection, each number is greater by 1 than the last one. The first one may be any number.
        let known = number < expected;
        let follows = self.last.is_none_or(|last| number == last + 1);
        let in_order = follows || (known && self.other_may_repeat());
        let name = self.task.name;
        if number > expected {
            self.wrong = Some(format!(
                "{name}: {number} was received, {expected} was lost"
            ));
        } else if known && self.task.qos == QoS::ExactlyOnce {
            // The order of repeated messages depends on the other party only.
            self.progress.repeated += 1;
            if !self.store.note_repeated(number) {
                self.wrong = Some(format!("{name}: {number} was received twice at QoS 2"));
            }
            return;
        } else if !in_order {
            self.wrong = Some(format!("{name}: {number} came after {:?}", self.last));
        }
        self.last = Some(number);
        self.progress.repeated += u32::from(known);
        self.progress.received = expected.max(number + 1);
    }

    /// Returns `true` if a message may have been repeated before the broker received it.
    fn other_may_repeat(&self) -> bool {
        self.task.qos == QoS::AtLeastOnce && !self.task.begins
    }
}

impl core::fmt::Debug for Party<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?} after {:?}", self.task, self.progress)
    }
}

impl Store {
    /// Writes a new file and renames it, so that an incomplete file is never read.
    fn save(&self, progress: &Progress, image: &[u8]) {
        let Self::File(path) = self else { return };
        let numbers = [
            progress.published,
            progress.received,
            progress.repeated,
            u32::from(progress.subscribed),
            progress.connections,
        ];
        let mut bytes: Vec<u8> = numbers.into_iter().flat_map(u32::to_be_bytes).collect();
        bytes.extend_from_slice(image);
        let new = path.with_extension("new");
        fs::write(&new, bytes).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// Appends the number of a repeated message to a second file, in which it stays after a kill. Returns `false`
    /// without a file.
    fn note_repeated(&self, number: u32) -> bool {
        let Self::File(path) = self else { return false };
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .append(true)
            .create(true)
            .open(path.with_extension("repeated"))
            .unwrap();
        file.write_all(&number.to_be_bytes()).unwrap();
        true
    }

    /// Returns the numbers of all messages at QoS 2 that were received more than once.
    pub fn repeated(&self) -> Vec<u32> {
        let Self::File(path) = self else {
            return Vec::new();
        };
        let bytes = fs::read(path.with_extension("repeated")).unwrap_or_default();
        bytes
            .chunks(4)
            .map(|number| u32::from_be_bytes(number.try_into().unwrap()))
            .collect()
    }

    fn load(&self) -> Option<(Progress, Vec<u8>)> {
        let Self::File(path) = self else { return None };
        let bytes = fs::read(path).ok()?;
        let (numbers, image) = bytes.split_at(20);
        let mut numbers = numbers
            .chunks(4)
            .map(|number| u32::from_be_bytes(number.try_into().unwrap()));
        let mut next = || numbers.next().unwrap();
        let progress = Progress {
            published: next(),
            received: next(),
            repeated: next(),
            subscribed: next() == 1,
            connections: next(),
        };
        Some((progress, image.to_vec()))
    }
}
