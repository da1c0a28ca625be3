//! Both clients with a correct server, over a connection that is slow, reports a wrong readiness and fails at any
//! byte. Futures are dropped at any point. No message is lost at QoS 1, none is lost or repeated at QoS 2, every
//! call ends, and the client sends a stream of valid packets.

pub(crate) mod ledger;
pub(crate) mod line;
pub(crate) mod server;

use arbitrary::Arbitrary;
use umqtt::{
    Event, Message, Publisher, RequestError, Session, Storage, StreamedPublish, asynch, blocking,
    client::Error,
    codec::{Connect, PacketId, QoS},
};

use self::{
    ledger::{byte, payload},
    line::{Fault, Shared, Source},
};

type Memory = Storage<48, 160, 3, 4>;
type Result<R> = core::result::Result<R, Error<Fault>>;

/// Maximum number of connections without faults until all deliveries are complete.
const ENOUGH: u32 = 20;

/// A call, and the faults during it.
#[derive(Arbitrary, Debug)]
pub struct Input<'a> {
    asynchronous: bool,
    checkpoints: bool,
    connections: Vec<Connection<'a>>,
    /// The result of each call of a transport.
    moods: &'a [u8],
}

#[derive(Arbitrary, Debug)]
struct Connection<'a> {
    /// The CONNECT is only queued.
    open: bool,
    refused: bool,
    keep_alive: u8,
    calls: Vec<(Call<'a>, DropAfter)>,
    disconnect: bool,
}

/// Number of polls after which a future is dropped.
type DropAfter = Option<u8>;

#[derive(Arbitrary, Debug)]
enum Call<'a> {
    Publish {
        qos: u8,
        len: u8,
    },
    PublishAndWait {
        qos: u8,
        len: u8,
    },
    Slices {
        qos: u8,
        len: u8,
        cut: u8,
    },
    From {
        qos: u8,
        len: u8,
        moods: &'a [u8],
    },
    Subscribe {
        wait: bool,
    },
    Unsubscribe {
        wait: bool,
    },
    Ping,
    Recv,
    Poll,
    /// The payload of the next event, in pieces of this size.
    Read {
        size: u8,
        pieces: u8,
    },
    Flush,
    /// Another client publishes to this one.
    Offer {
        qos: u8,
        len: u8,
    },
    Pass(u16),
    /// The server stops answering, or starts again.
    Mute(bool),
}

/// Connections, one after the other, then one without faults that completes all deliveries.
pub fn run(input: &Input<'_>) {
    let line = Shared::new(input.moods);
    let mut storage = Memory::new();
    let mut session = Session::new(&mut storage);
    session.set_checkpoints(input.checkpoints);
    for connection in &input.connections {
        match input.asynchronous {
            true => asynchronous::connection(&mut session, &line, connection),
            false => synchronous::connection(&mut session, &line, connection),
        }
    }
    line.calm_down();
    for connections in 0.. {
        assert!(connections < ENOUGH, "requests are still pending");
        let rested = match input.asynchronous {
            true => asynchronous::rest(&mut session, &line),
            false => synchronous::rest(&mut session, &line),
        };
        if rested {
            break;
        }
    }
    line.0.borrow().server.ledger.close();
}

fn options(keep_alive: u8) -> Connect<'static> {
    Connect {
        clean_session: false,
        keep_alive: keep_alive.into(),
        ..Connect::new("c")
    }
}

fn level(qos: u8) -> QoS {
    QoS::try_from(qos % 3).expect("0, 1 and 2 are levels")
}

/// Returns `true` if the connection continues after this.
fn goes_on<R>(result: &Option<Result<R>>) -> bool {
    match result {
        Some(Err(error)) => !error.is_fatal(),
        _ => true,
    }
}

/// A message that will be published.
pub(crate) struct Draft {
    pub(crate) number: usize,
    qos: u8,
    topic: String,
    pub(crate) payload: Vec<u8>,
}

impl Draft {
    pub(crate) fn new(line: &Shared, qos: u8, len: u8) -> Self {
        let len = usize::from(len);
        let number = line.0.borrow_mut().server.ledger.up(qos % 3, len);
        Self {
            number,
            qos: qos % 3,
            topic: format!("u/{number}"),
            payload: payload(number, len),
        }
    }

    /// Continues a message that was begun before.
    fn again(line: &Shared, id: PacketId) -> Self {
        let ledger = &line.0.borrow().server.ledger;
        let number = ledger.begun_as(id);
        Self {
            number,
            qos: ledger.ups[number].qos,
            topic: String::new(),
            payload: payload(number, ledger.ups[number].len),
        }
    }

    pub(crate) fn message(&self) -> Message<'_> {
        Message {
            qos: level(self.qos),
            ..Message::new(&self.topic, &self.payload)
        }
    }

    pub(crate) fn outgoing(&self) -> StreamedPublish<'_> {
        StreamedPublish::New {
            topic: &self.topic,
            qos: level(self.qos),
            retain: false,
        }
    }

    /// The client has reported that it received the message, or that the server received it.
    fn accepted(&self, line: &Shared, arrived: bool) {
        let up = &mut line.0.borrow_mut().server.ledger.ups[self.number];
        up.accepted = true;
        assert!(
            !arrived || self.qos == 0 || up.arrived > 0,
            "acknowledged, but not there"
        );
    }
}

/// Drives one client through its calls, which have the same names in both clients. `$run` makes a call and returns its
/// result; `None` if it was dropped.
macro_rules! client {
    ($module:ident, $client:ident, $read:path, $run:ident) => {
        mod $module {
            use super::*;
            use $read as _;

            type Client<'s, 'b> = $client::Client<'s, 'b, Shared, Shared>;

            pub(super) fn connection(
                session: &mut Session<'_>,
                line: &Shared,
                connection: &Connection<'_>,
            ) {
                let options = options(connection.keep_alive);
                let socket = line.dial(connection.refused);
                let client = if connection.open {
                    Client::open(session, socket, line.clone(), &options)
                } else {
                    let connected = $run!(
                        line,
                        None,
                        Client::connect(session, socket, line.clone(), &options)
                    );
                    connected.expect("it was not dropped")
                };
                let Ok(mut client) = client else { return };
                for (call, drop) in &connection.calls {
                    if !perform(&mut client, line, call, *drop) || !again(&mut client, line, *drop)
                    {
                        return;
                    }
                }
                if connection.disconnect {
                    let _ = $run!(line, None, client.disconnect());
                }
            }

            /// A connection without faults. Returns `true` if all deliveries are complete.
            pub(super) fn rest(session: &mut Session<'_>, line: &Shared) -> bool {
                let socket = line.dial(false);
                let options = options(0);
                let connected = $run!(
                    line,
                    None,
                    Client::connect(session, socket, line.clone(), &options)
                );
                let mut client = connected.expect("it was not dropped").expect("all is well");
                for calls in 0.. {
                    assert!(calls < 1_000, "requests are still pending");
                    let goes_on = perform(&mut client, line, &Call::Poll, None)
                        && again(&mut client, line, None);
                    assert!(goes_on, "all is well");
                    let at_rest =
                        client.session().in_flight() == 0 && line.0.borrow().server.is_at_rest();
                    if at_rest && !client.session().has_pending() {
                        break;
                    }
                    line.pass(1);
                }
                $run!(line, None, client.disconnect())
                    .expect("it was not dropped")
                    .is_ok()
            }

            /// Provides the requested payload, if any.
            fn again(client: &mut Client<'_, '_>, line: &Shared, drop: DropAfter) -> bool {
                let Some(id) = line.0.borrow_mut().server.ledger.needed.take() else {
                    return true;
                };
                let draft = Draft::again(line, id);
                let on_event = |event: Event<'_>, _: &mut Publisher<'_, '_>| {
                    line.0.borrow_mut().server.ledger.event(&event);
                };
                let sent = $run!(
                    line,
                    drop,
                    client.publish_slices(StreamedPublish::Resend(id), &[&draft.payload], on_event)
                );
                goes_on(&sent)
            }

            fn perform(
                client: &mut Client<'_, '_>,
                line: &Shared,
                call: &Call<'_>,
                drop: DropAfter,
            ) -> bool {
                let see = |event: Event<'_>| line.0.borrow_mut().server.ledger.event(&event);
                let on_event = |event: Event<'_>, _: &mut Publisher<'_, '_>| see(event);
                match call {
                    Call::Publish { qos, len } => {
                        let draft = Draft::new(line, *qos, *len);
                        let result = $run!(line, drop, client.publish(&draft.message()));
                        if let Some(Ok(_)) = result {
                            draft.accepted(line, false);
                        }
                        line.0.borrow_mut().server.ledger.note_id(client.session());
                        goes_on(&result)
                    }
                    Call::PublishAndWait { qos, len } => {
                        let draft = Draft::new(line, *qos, *len);
                        let result = $run!(
                            line,
                            drop,
                            client.publish_and_wait(&draft.message(), on_event)
                        );
                        if let Some(Ok(())) = result {
                            draft.accepted(line, true);
                        }
                        line.0.borrow_mut().server.ledger.note_id(client.session());
                        goes_on(&result)
                    }
                    Call::Slices { qos, len, cut } => {
                        let draft = Draft::new(line, *qos, *len);
                        let (front, back) = draft
                            .payload
                            .split_at(usize::from(*cut).min(draft.payload.len()));
                        let result = $run!(
                            line,
                            drop,
                            client.publish_slices(draft.outgoing(), &[front, &[], back], on_event)
                        );
                        if let Some(Ok(_)) = result {
                            draft.accepted(line, false);
                        }
                        line.0
                            .borrow_mut()
                            .server
                            .ledger
                            .begun(draft.number, client.session());
                        goes_on(&result)
                    }
                    Call::From { qos, len, moods } => {
                        let draft = Draft::new(line, *qos, *len);
                        let source = Source {
                            rest: &draft.payload,
                            moods,
                        };
                        let result = $run!(
                            line,
                            drop,
                            client.publish_from(
                                draft.outgoing(),
                                draft.payload.len(),
                                source,
                                on_event
                            )
                        );
                        if let Some(Ok(_)) = result {
                            draft.accepted(line, false);
                        }
                        line.0
                            .borrow_mut()
                            .server
                            .ledger
                            .begun(draft.number, client.session());
                        goes_on(&result)
                    }
                    Call::Subscribe { wait: false } => goes_on(&$run!(
                        line,
                        drop,
                        client.subscribe(&[("d/#", QoS::ExactlyOnce)])
                    )),
                    Call::Subscribe { wait: true } => goes_on(&$run!(
                        line,
                        drop,
                        client.subscribe_and_wait(&[("d/#", QoS::ExactlyOnce)], on_event)
                    )),
                    Call::Unsubscribe { wait: false } => {
                        goes_on(&$run!(line, drop, client.unsubscribe(&["d/#"])))
                    }
                    Call::Unsubscribe { wait: true } => goes_on(&$run!(
                        line,
                        drop,
                        client.unsubscribe_and_wait(&["d/#"], on_event)
                    )),
                    Call::Ping => goes_on(&$run!(line, drop, client.ping())),
                    Call::Recv => {
                        let result = $run!(line, drop, client.recv());
                        if let Some(Ok(event)) = &result {
                            see(*event);
                        }
                        goes_on(&result)
                    }
                    Call::Poll => {
                        let result = $run!(line, drop, client.poll());
                        if let Some(Ok(Some(event))) = &result {
                            see(*event);
                        }
                        goes_on(&result)
                    }
                    Call::Read { size, pieces } => {
                        let result = $run!(line, None, client.recv());
                        let Some(Ok(event)) = &result else {
                            return goes_on(&result);
                        };
                        see(*event);
                        let shown = line.0.borrow_mut().server.ledger.skip(event);
                        let Some((number, mut at)) = shown else {
                            return true;
                        };
                        let mut payload = client.payload();
                        for _ in 0..*pieces {
                            let mut buf = vec![0; usize::from(*size)];
                            let result = $run!(line, drop, payload.read(&mut buf));
                            match result {
                                Some(Ok(0)) => break,
                                Some(Ok(n)) => {
                                    for read in &buf[..n] {
                                        assert_eq!(*read, byte(number, at), "at {at}");
                                        at += 1;
                                    }
                                }
                                Some(Err(Error::Request(RequestError::CheckpointDue))) => {
                                    // The rest is reported as the next chunk.
                                    line.0.borrow_mut().server.ledger.resume(number, at);
                                    return true;
                                }
                                result if goes_on(&result) => {}
                                _ => return false,
                            }
                        }
                        true
                    }
                    Call::Flush => goes_on(&$run!(line, drop, client.flush())),
                    Call::Offer { qos, len } => {
                        let server = &mut line.0.borrow_mut().server;
                        let number = server.ledger.down(qos % 3, usize::from(*len));
                        server.offer(number);
                        true
                    }
                    Call::Pass(millis) => {
                        line.pass(u32::from(*millis));
                        true
                    }
                    Call::Mute(mute) => {
                        line.0.borrow_mut().mute = *mute;
                        true
                    }
                }
            }
        }
    };
}

macro_rules! block {
    ($line:ident, $drop:expr, $call:expr) => {{
        $line.begin();
        let _: DropAfter = $drop;
        Some($call)
    }};
}

macro_rules! drive {
    ($line:ident, $drop:expr, $call:expr) => {
        $line.drive($call, $drop)
    };
}

client!(synchronous, blocking, embedded_io::Read, block);
client!(asynchronous, asynch, embedded_io_async::Read, drive);
