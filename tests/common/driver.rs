//! The only place where the exhaustive tests use the API of a session. [`Driver`] has calls and events of its own.
//!
//! A change of the API changes only this file, and no model.
#![allow(
    dead_code,
    reason = "no test that compiles this module needs all of it"
)]

use umqtt::{
    Event, Instant, Message, ProtocolError, RequestError, Session, Storage, StreamedPublish,
    SubscriptionState,
    codec::{Connect, PacketId, QoS},
};

/// Topic of every message.
pub(crate) const TOPIC: &str = "t";

/// The client id of every CONNECT.
const CLIENT_ID: &str = "c";

/// A session under test.
pub(crate) struct Driver<'b> {
    session: Session<'b>,
}

/// The options of a CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Options {
    pub(crate) clean_session: bool,
    /// In seconds.
    pub(crate) keep_alive: u16,
}

/// The parts of an event that the tests need.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Seen {
    Connected {
        session_present: bool,
    },
    /// A message that was received whole.
    Message {
        qos: u8,
        payload: Vec<u8>,
    },
    /// Bytes of a long message.
    Chunk {
        qos: u8,
        id: u16,
        offset: usize,
        bytes: Vec<u8>,
        is_last: bool,
    },
    /// The rest of a long message will not be received.
    Aborted,
    /// The request with this id has ended.
    Ended(u16, Outcome),
    PayloadNeeded(u16),
    /// The session as bytes.
    Checkpoint(Vec<u8>),
    /// This number of messages at QoS 0 was not sent.
    Dropped(u16),
    /// The server has answered for standing subscriptions. The `bool` is `true` if it refused one.
    Subscribed {
        refused: bool,
    },
    /// Any other event.
    Other,
}

/// The end of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Outcome {
    /// The server has the message: PUBACK or PUBCOMP.
    Delivered,
    /// The message was discarded.
    GivenUp,
    /// The session ended between the two steps of a QoS 2 publish.
    DeliveryUnknown,
    /// SUBACK or UNSUBACK was received, or will never be.
    Request,
}

/// The reason why a connection was closed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Reason {
    Closed,
    /// No room for the id of a QoS 2 message.
    NoRoom,
    LateConnack,
    LatePingresp,
    LateAck,
    /// The transport accepts no byte.
    Blocked,
    /// The caller aborted a payload.
    PayloadAborted,
    /// The peer violated the protocol.
    Violation,
}

/// The reason why a call was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Refusal {
    NotConnected,
    /// There is no slot or no room in the send buffer until an acknowledgement is received.
    NoRoom,
    PayloadPending,
    /// A message that cannot be discarded: the server has it, or it is being sent.
    NotDiscarded,
    Other,
}

impl<'b> Driver<'b> {
    pub(crate) fn new<
        const RX: usize,
        const TX: usize,
        const INFLIGHT: usize,
        const INBOUND: usize,
    >(
        storage: &'b mut Storage<RX, TX, INFLIGHT, INBOUND>,
        checkpoints: bool,
    ) -> Self {
        let mut session = Session::new(storage);
        session.set_checkpoints(checkpoints);
        Self { session }
    }

    /// Returns the session itself, for single tests.
    pub(crate) fn session(&self) -> &Session<'b> {
        &self.session
    }

    pub(crate) fn set_response_timeout(&mut self, millis: u32) {
        self.session.set_response_timeout(millis);
    }

    pub(crate) fn connect(&mut self, options: Options, now: u32) -> Result<(), Refusal> {
        let options = Connect {
            clean_session: options.clean_session,
            keep_alive: options.keep_alive,
            ..Connect::new(CLIENT_ID)
        };
        self.session.connect(&options, at(now)).map_err(refusal)
    }

    /// Writes the CONNECT, so that messages can be published before the first connection.
    pub(crate) fn prepare(&mut self) {
        let options = Connect {
            clean_session: false,
            ..Connect::new(CLIENT_ID)
        };
        let prepared = self.session.prepare(&options);
        prepared.expect("there is room for the CONNECT");
    }

    /// Sets the standing subscriptions. There is no connection.
    pub(crate) fn set_subscriptions(
        &mut self,
        list: &'static [(&'static str, QoS)],
    ) -> Result<(), Refusal> {
        self.session.set_subscriptions(list).map_err(refusal)
    }

    /// Returns `true` if the server has granted all standing subscriptions; `None` if it has not answered for all of
    /// them.
    pub(crate) fn subscriptions_granted(&self) -> Option<bool> {
        match self.session.subscriptions() {
            SubscriptionState::Pending => None,
            state => Some(state == SubscriptionState::Granted),
        }
    }

    pub(crate) fn connection_lost(&mut self) {
        self.session.connection_lost();
    }

    pub(crate) fn disconnect(&mut self) -> Result<(), Refusal> {
        self.session.disconnect().map_err(refusal)
    }

    pub(crate) fn ping(&mut self) -> Result<(), Refusal> {
        self.session.ping().map_err(refusal)
    }

    /// Publishes a message, and returns its id, or 0 at QoS 0.
    pub(crate) fn publish(&mut self, qos: u8, payload: &[u8]) -> Result<u16, Refusal> {
        let message = Message {
            qos: quality(qos),
            ..Message::new(TOPIC, payload)
        };
        self.session.publish(&message).map(number).map_err(refusal)
    }

    pub(crate) fn subscribe(&mut self) -> Result<u16, Refusal> {
        let subscribed = self.session.subscribe(&[(TOPIC, QoS::AtMostOnce)]);
        subscribed.map(PacketId::get).map_err(refusal)
    }

    pub(crate) fn unsubscribe(&mut self) -> Result<u16, Refusal> {
        let unsubscribed = self.session.unsubscribe(&[TOPIC]);
        unsubscribed.map(PacketId::get).map_err(refusal)
    }

    /// Begins a message whose payload of `len` bytes is streamed.
    pub(crate) fn begin_payload(&mut self, qos: u8, len: usize) -> Result<u16, Refusal> {
        let message = StreamedPublish::New {
            topic: TOPIC,
            qos: quality(qos),
            retain: false,
        };
        let begun = self.session.begin_payload(message, len);
        begun.map(number).map_err(refusal)
    }

    /// Provides the payload of [`Self::payload_needed`] again.
    pub(crate) fn give_again(&mut self, id: u16, len: usize) -> Result<(), Refusal> {
        let message = StreamedPublish::Resend(packet_id(id));
        let begun = self.session.begin_payload(message, len);
        begun.map(drop).map_err(refusal)
    }

    pub(crate) fn payload_needed(&self) -> Option<u16> {
        self.session.payload_needed().map(PacketId::get)
    }

    pub(crate) fn discard_publish(&mut self, id: u16) -> Result<(), Refusal> {
        let discarded = self.session.discard_publish(packet_id(id));
        discarded.map_err(refusal)
    }

    pub(crate) fn abandon_payload(&mut self) {
        self.session.abandon_payload();
    }

    /// Returns the number of payload bytes to be sent next.
    pub(crate) fn payload_left(&self) -> usize {
        self.session.payload_left()
    }

    /// Returns `true` if a payload is being provided.
    pub(crate) fn is_payload_open(&self) -> bool {
        self.session.is_payload_open()
    }

    pub(crate) fn payload_sent(&mut self, n: usize, now: u32) {
        self.session.payload_sent(n, at(now));
    }

    /// Copies payload bytes to the send buffer and returns their number.
    pub(crate) fn stage_payload(&mut self, bytes: &[u8]) -> usize {
        let space = self.session.payload_space();
        let n = space.len().min(bytes.len());
        space[..n].copy_from_slice(&bytes[..n]);
        self.session.payload_commit(n);
        n
    }

    /// Returns `true` if more parts of the current long message follow.
    pub(crate) fn is_message_open(&self) -> bool {
        self.session.is_message_open()
    }

    /// Skips the rest of the current long message.
    pub(crate) fn skip_message(&mut self) {
        self.session.skip_message();
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.session.has_pending()
    }

    pub(crate) fn pending(&mut self, now: u32) -> &[u8] {
        self.session.pending(at(now))
    }

    pub(crate) fn consume(&mut self, n: usize, now: u32) {
        self.session.consume(n, at(now));
    }

    /// Receives as many of the bytes as there is space for, and returns their number.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> usize {
        let space = self.session.space();
        let n = space.len().min(bytes.len());
        space[..n].copy_from_slice(&bytes[..n]);
        self.session.commit(n);
        n
    }

    /// Polls the session at this time, and returns the next event.
    pub(crate) fn turn(&mut self, now: u32) -> Result<Option<Seen>, Reason> {
        match self.session.poll(at(now)) {
            Err(error) => Err(reason(error)),
            Ok(None) => Ok(None),
            Ok(Some(ready)) => match self.session.event(ready) {
                Err(error) => Err(reason(error)),
                Ok(Some(Event::CheckpointDue)) => Ok(Some(Seen::Checkpoint(self.save()))),
                Ok(event) => Ok(event.map(|event| seen(&event))),
            },
        }
    }

    /// Polls the session, and returns `true` if an event is pending. The event stays pending.
    pub(crate) fn announce(&mut self, now: u32) -> Result<bool, Reason> {
        let announced = self.session.poll(at(now)).map_err(reason)?;
        Ok(announced.is_some())
    }

    /// Returns the deadline of the session in ms.
    pub(crate) fn deadline(&self) -> Option<u32> {
        self.session.deadline().map(Instant::as_millis)
    }

    /// Returns `true` if CONNACK was received.
    pub(crate) fn is_connected(&self) -> bool {
        self.session.is_connected()
    }

    /// Returns `true` if a connection has begun and is not closed.
    pub(crate) fn is_open(&self) -> bool {
        self.session.is_connected() || self.session.is_connecting()
    }

    /// Returns the number of slots in use.
    pub(crate) fn in_flight(&self) -> usize {
        self.session.in_flight()
    }

    pub(crate) fn save(&self) -> Vec<u8> {
        let mut image = vec![0; 512];
        let len = self.session.save(&mut image);
        image.truncate(len.expect("the buffer is large enough").len);
        image
    }

    /// Returns an image of the session, and the number of the last change in it.
    pub(crate) fn save_numbered(&self) -> (Vec<u8>, u16) {
        let mut image = vec![0; 512];
        let saved = self.session.save(&mut image);
        let saved = saved.expect("the buffer is large enough");
        image.truncate(saved.len);
        (image, saved.generation)
    }

    /// Reports that an image is in permanent memory.
    pub(crate) fn saved(&mut self, generation: u16) {
        self.session.saved(generation);
    }

    pub(crate) fn restore(&mut self, image: &[u8]) {
        let restored = self.session.restore(image);
        restored.expect("the image fits its storage");
    }
}

fn seen(event: &Event<'_>) -> Seen {
    match event {
        Event::Connected {
            session_present, ..
        } => Seen::Connected {
            session_present: *session_present,
        },
        Event::Message(message) => Seen::Message {
            qos: message.qos as u8,
            payload: message.payload.to_vec(),
        },
        Event::Chunk(chunk) => Seen::Chunk {
            qos: chunk.delivery.qos() as u8,
            id: number(chunk.delivery.packet_id()),
            offset: chunk.offset,
            bytes: chunk.bytes.to_vec(),
            is_last: chunk.is_last(),
        },
        Event::ChunksAborted => Seen::Aborted,
        Event::Puback(id) | Event::Pubcomp(id) => Seen::Ended(id.get(), Outcome::Delivered),
        Event::PublishDiscarded(id) => Seen::Ended(id.get(), Outcome::GivenUp),
        Event::DeliveryUnknown(id) => Seen::Ended(id.get(), Outcome::DeliveryUnknown),
        Event::Suback(id, _)
        | Event::Unsuback(id)
        | Event::OutcomeUnknown(id)
        | Event::RequestRejected(id) => Seen::Ended(id.get(), Outcome::Request),
        Event::PayloadNeeded(id) => Seen::PayloadNeeded(id.get()),
        Event::Qos0Dropped(count) => Seen::Dropped(*count),
        Event::Subscribed { codes, .. } => Seen::Subscribed {
            refused: !codes.all_granted(),
        },
        _ => Seen::Other,
    }
}

pub(crate) fn reason(error: ProtocolError) -> Reason {
    match error {
        ProtocolError::Closed
        | ProtocolError::ClosedAtPublish { .. }
        | ProtocolError::ClosedAtSubscribe { .. } => Reason::Closed,
        ProtocolError::TooManyQos2Messages { .. } => Reason::NoRoom,
        ProtocolError::ConnackTimeout => Reason::LateConnack,
        ProtocolError::PingrespTimeout => Reason::LatePingresp,
        ProtocolError::RequestTimeout { .. } => Reason::LateAck,
        ProtocolError::WriteTimeout => Reason::Blocked,
        ProtocolError::PayloadAborted => Reason::PayloadAborted,
        _ => Reason::Violation,
    }
}

fn refusal(error: RequestError) -> Refusal {
    match error {
        RequestError::NotConnected => Refusal::NotConnected,
        RequestError::InflightFull { .. } | RequestError::SendBufferFull { .. } => Refusal::NoRoom,
        RequestError::PayloadPending => Refusal::PayloadPending,
        RequestError::NotKept | RequestError::PartlySent => Refusal::NotDiscarded,
        _ => Refusal::Other,
    }
}

fn at(millis: u32) -> Instant {
    Instant::from_millis(millis)
}

fn quality(qos: u8) -> QoS {
    QoS::try_from(qos).expect("a quality of service")
}

fn number(id: Option<PacketId>) -> u16 {
    id.map_or(0, PacketId::get)
}

fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).expect("a packet id")
}
