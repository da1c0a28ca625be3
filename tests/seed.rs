//! Replays the recorded bytes of `umqttsimple.MQTTClient` with the blocking client, operation by operation.
//!
//! The bytes of each operation must be those of the original, in one write for each packet (the original needs up to
//! ten). If the recording marks the original as wrong, the test shows the behaviour of umqtt instead.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "helpers of a test"
)]

mod common;

use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use sha2::{Digest, Sha256};
use umqtt::{
    Event, Message, ProtocolError, RequestError, Session, Storage,
    codec::{
        Connect, ConnectReturnCode, Credentials, DecodeError, EncodeError, QoS, SubackReturnCode,
        TopicError, Will,
    },
};

use common::{Client, Error, Network, Seen, message, packets, record, server};

const RECORDING: &str = include_str!("data/umqttsimple-bytes.json");

/// One session after the other: the largest recorded PUBLISH has two megabytes, which is too much for a stack.
static STORAGE: Mutex<Storage<1024, 2_100_000, 4>> = Mutex::new(Storage::new());

#[test]
fn every_recorded_scenario_is_replayed() {
    let recording: Value = serde_json::from_str(RECORDING).unwrap();
    let scenarios = recording["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), 64);
    for scenario in scenarios {
        if scenario["seed_bug"].is_null() {
            Replay::new(scenario).all();
        } else {
            replay_bug(scenario);
        }
    }
}

/// Scenarios in which the behaviour of the original is wrong, with that of umqtt.
fn replay_bug(scenario: &Value) {
    match name(scenario) {
        // The original sends the PUBLISH and fails then. It works here. The answers are those of a server with QoS 2,
        // because the recorded server received no complete packet.
        "publish qos2 (asserts after sending)" => {
            Replay::new(scenario).up_to("publish", |client, network, op| {
                network.answer(server);
                let message = message("t", b"x", QoS::ExactlyOnce);
                assert_eq!(client.publish_and_wait(&message, |_, _| panic!()), Ok(()));
                let (publish, pubrel) = (unhex(text(&op["sent"])), unhex("62020001"));
                assert_eq!(network.take_writes(), [publish, pubrel]);
            })
        }
        // The original writes the Remaining Length of 305 as the one byte 0x31.
        "subscribe topic 300 bytes" => {
            Replay::new(scenario).up_to("subscribe", |client, network, op| {
                network.feed(&unhex(text(&op["reply"])));
                let topic = text(&op["args"][0]);
                let codes = client
                    .subscribe_and_wait(&[(topic, QoS::AtMostOnce)], |_, _| panic!())
                    .unwrap();
                assert!(codes.all_granted());
                let expected = [&unhex("82b1020001012c")[..], topic.as_bytes(), &[0]].concat();
                assert_eq!(network.take_writes(), [expected]);
            })
        }
        // The original returns 64 and takes the rest of the PUBACK for packets. Here it completes nothing, and the
        // message after it is received.
        "check_msg stray puback" => {
            Replay::new(scenario).up_to("check_msg", |client, network, op| {
                network.feed(&unhex(text(&op["reply"])));
                network.feed(&unhex("300400016168"));
                let event = client.poll().unwrap();
                assert_eq!(event, Some(Event::Message(Message::new("a", b"h"))));
                assert!(network.take_writes().is_empty());
            })
        }
        // The original counts four characters where five bytes follow.
        "publish non-ASCII str" => Replay::new(scenario).up_to("publish", |client, network, op| {
            client
                .publish(&Message::new("t", text(&op["args"][1]).as_bytes()))
                .unwrap();
            assert_eq!(network.take_writes(), [unhex("3008000174636166c3a9")]);
        }),
        "connect non-ASCII user" => {
            let mut replay = Replay::new(scenario);
            replay.expected = Some("101c00044d51545404c200000005756d7174740006c3a96d696c65000170");
            replay.all();
        }
        // The original sends topic names that the specification forbids. Nothing is sent here, and the connection is
        // as good as before.
        "publish wildcard topic (no check)" => {
            refused_topic(scenario, TopicError::Wildcard { at: 2 })
        }
        "publish empty topic (no check)" => refused_topic(scenario, TopicError::Empty),
        other => panic!(
            "no expectation for the scenario \"{other}\", which is marked as a bug of the original"
        ),
    }
}

fn refused_topic(scenario: &Value, reason: TopicError) {
    Replay::new(scenario).up_to("publish", |client, network, op| {
        let error = client.publish(&Message::new(text(&op["args"][0]), b"x"));
        let refused = RequestError::Encode(EncodeError::Topic(reason));
        assert_eq!(error, Err(Error::Request(refused)));
        assert!(network.take_writes().is_empty());
        client.publish(&Message::new("t", b"x")).unwrap();
        assert_eq!(network.take_sent(), unhex("300400017478"));
    });
}

/// A scenario that is being replayed.
struct Replay<'j> {
    scenario: &'j Value,
    network: Network,
    /// The bytes of the first operation that writes, where they are not the recorded ones.
    expected: Option<&'static str>,
}

impl<'j> Replay<'j> {
    fn new(scenario: &'j Value) -> Self {
        assert_eq!(scenario["ops_not_reached"], Value::Array(Vec::new()));
        Self {
            scenario,
            network: Network::new(),
            expected: None,
        }
    }

    fn all(self) {
        self.replay("", |_, _, _| {});
    }

    /// Replays up to the operation with this name, which `instead` replaces.
    fn up_to(self, stop: &str, instead: impl FnOnce(&mut Client<'_, '_, '_>, &Network, &Value)) {
        self.replay(stop, instead);
    }

    fn replay(&self, stop: &str, instead: impl FnOnce(&mut Client<'_, '_, '_>, &Network, &Value)) {
        // A failed scenario was reported. The next one starts with a new session.
        let mut storage = STORAGE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut session = Session::new(&mut storage);
        let mut ops = self.scenario["ops"].as_array().unwrap().iter();
        let Some(mut client) = self.connect(&mut session, &mut ops) else {
            assert!(ops.next().is_none(), "{}", name(self.scenario));
            return;
        };
        for op in &mut ops {
            match text(&op["op"]) {
                "disconnect" => {
                    client.disconnect().unwrap();
                    self.check_sent(op);
                    assert!(ops.next().is_none());
                    return;
                }
                this if this == stop => return instead(&mut client, &self.network, op),
                _ => self.one(&mut client, op),
            }
        }
        assert!(stop.is_empty(), "{}: no {stop}", name(self.scenario));
    }

    /// The operations up to `connect`. If the original raises an exception, there is no client.
    fn connect<'s, 'b>(
        &self,
        session: &'s mut Session<'b>,
        ops: &mut impl Iterator<Item = &'j Value>,
    ) -> Option<Client<'s, 'b, '_>> {
        let ctor = &self.scenario["ctor"];
        let mut options = Connect::new(text(&ctor["client_id"]));
        options.keep_alive = ctor["keepalive"].as_u64().unwrap_or(0) as u16;
        if !ctor["user"].is_null() {
            options.credentials = Some(Credentials {
                user_name: text(&ctor["user"]),
                password: Some(text(&ctor["password"]).as_bytes()),
            });
        }
        let mut op = ops.next().unwrap();
        if op["op"] == "set_last_will" {
            let topic = text(&op["args"][0]);
            options.will = Some(Will {
                retain: op["args"][2].as_bool().unwrap(),
                qos: qos(&op["args"][3]),
                ..Will::new(topic, text(&op["args"][1]).as_bytes())
            });
            op = ops.next().unwrap();
        }
        assert_eq!(op["op"], "connect");
        options.clean_session = op["args"][0].as_bool().unwrap();
        self.reply(op);
        let transport = self.network.transport();
        let client = Client::connect(session, transport, &self.network, &options);
        self.check_sent(op);
        match client {
            Ok(client) => {
                assert!(op["exception"].is_null(), "{}", name(self.scenario));
                assert_eq!(op["result"], u8::from(client.session_present()));
                Some(client)
            }
            Err(error) => {
                assert_eq!(error, connect_error(op), "{}", name(self.scenario));
                assert!(self.network.is_dropped());
                None
            }
        }
    }

    /// An operation on a connection.
    fn one(&self, client: &mut Client<'_, '_, '_>, op: &Value) {
        self.reply(op);
        let mut seen = Vec::new();
        let mut on_event = |event: Event<'_>| record(&mut seen, event);
        let args = &op["args"];
        let outcome = match text(&op["op"]) {
            "publish" => {
                let payload = payload(&args[1]);
                let message = Message {
                    retain: args[2].as_bool().unwrap(),
                    ..message(text(&args[0]), &payload, qos(&args[3]))
                };
                match message.qos {
                    QoS::AtMostOnce => client.publish(&message).map(|id| assert_eq!(id, None)),
                    _ => client.publish_and_wait(&message, |event, _| on_event(event)),
                }
            }
            "subscribe" => {
                // The reply ends with the one code of the SUBACK. A refused filter is an answer here, not an exception:
                // there may be several.
                let code = match unhex(text(&op["reply"])).last().copied().unwrap() {
                    0x80 => SubackReturnCode::Failure,
                    granted => SubackReturnCode::Granted(QoS::try_from(granted).unwrap()),
                };
                client
                    .subscribe_and_wait(&[(text(&args[0]), qos(&args[1]))], |event, _| {
                        on_event(event)
                    })
                    .map(|codes| assert_eq!(codes.iter().collect::<Vec<_>>(), [code]))
            }
            "ping" => client.ping(),
            "wait_msg" => client.recv().map(on_event),
            "check_msg" => client.poll().map(|event| event.map_or((), on_event)),
            other => panic!("unknown operation {other}"),
        };
        assert_eq!(outcome, self.outcome(op), "{}", name(self.scenario));
        // A message is acknowledged by the next call after its event, of any kind.
        if outcome.is_ok() {
            client.flush().unwrap();
        }
        self.check_sent(op);
        self.check_messages(op, &seen);
    }

    /// The expected result of an operation on a connection.
    fn outcome(&self, op: &Value) -> Result<(), Error> {
        match op["exception"].as_str() {
            None | Some("MQTTException(128)") => Ok(()),
            Some("OSError") => Err(Error::Closed),
            // The original asserts that the SUBACK has its id. Here one with another id completes nothing, and the
            // right one is waited for as long as a server may take.
            Some("AssertionError") if name(self.scenario) == "subscribe wrong packet id" => {
                let packet_id = common::packet_id(1);
                Err(Error::Protocol(ProtocolError::RequestTimeout { packet_id }))
            }
            other => panic!("unknown exception {other:?}"),
        }
    }

    fn reply(&self, op: &Value) {
        self.network.feed(&unhex(text(&op["reply"])));
        if op["eof"].as_bool().unwrap() {
            self.network.end();
        }
    }

    /// The recorded bytes have been sent, in one write for each packet.
    fn check_sent(&self, op: &Value) {
        let context = format!("{}: {}", name(self.scenario), op["op"]);
        let writes = self.network.take_writes();
        let sent = writes.concat();
        let (packets, rest) = packets(&sent);
        assert_eq!(writes, packets, "{context}");
        assert!(rest.is_empty(), "{context}");
        match (&op["sent"], self.expected) {
            (Value::String(_), Some(expected)) => assert_eq!(hex(&sent), expected, "{context}"),
            (Value::String(recorded), None) => assert_eq!(hex(&sent), *recorded, "{context}"),
            (long, _) => {
                assert_eq!(long["len"], sent.len(), "{context}");
                let head = text(&long["head"]);
                assert_eq!(hex(&sent[..head.len() / 2]), head, "{context}");
                assert_eq!(long["sha256"], hex(&Sha256::digest(&sent)), "{context}");
            }
        }
    }

    /// Checks that topic and payload are those that the original passed to its callback.
    fn check_messages(&self, op: &Value, seen: &[Seen]) {
        let seen: Vec<Value> = seen
            .iter()
            .map(|event| match event {
                Seen::Message { topic, payload, .. } => {
                    Value::from(vec![hex(topic.as_bytes()), hex(payload)])
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            op["callbacks"],
            Value::Array(seen),
            "{}",
            name(self.scenario)
        );
    }
}

fn connect_error(op: &Value) -> Error {
    Error::Protocol(match op["exception"].as_str().unwrap() {
        "MQTTException(1)" => {
            ProtocolError::Refused(ConnectReturnCode::UnacceptableProtocolVersion)
        }
        "MQTTException(3)" => ProtocolError::Refused(ConnectReturnCode::ServerUnavailable),
        "MQTTException(4)" => ProtocolError::Refused(ConnectReturnCode::BadUserNameOrPassword),
        "MQTTException(5)" => ProtocolError::Refused(ConnectReturnCode::NotAuthorized),
        // The specification knows no such refusal: the server is at fault.
        "MQTTException(6)" => {
            ProtocolError::Decode(DecodeError::UnknownConnectReturnCode { code: 6 })
        }
        // A PUBLISH with a Remaining Length of 2 has no room for its topic.
        "AssertionError" => ProtocolError::Decode(DecodeError::Truncated),
        other => panic!("unknown exception {other}"),
    })
}

fn name(scenario: &Value) -> &str {
    text(&scenario["name"])
}

/// A string, or `{"u": string}` where it was a str with characters beyond ASCII.
fn text(value: &Value) -> &str {
    value["u"].as_str().or(value.as_str()).unwrap()
}

/// A string, or `{"fill": n}` for n times "x".
fn payload(value: &Value) -> Vec<u8> {
    match value["fill"].as_u64() {
        Some(len) => vec![b'x'; len as usize],
        None => text(value).as_bytes().to_vec(),
    }
}

fn qos(value: &Value) -> QoS {
    QoS::try_from(value.as_u64().unwrap() as u8).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}
