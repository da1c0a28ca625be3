//! Every state of a request in flight with every packet that can be received, as one table.
//!
//! The request and the received packet have packet id 1. Some states begin with a word and a colon:
//!
//! - `present`: the request was made on an earlier connection, and the server has kept the session.
//! - `fresh`: the request was made on an earlier connection, and the server has no session.
//!
//! Other words of the states:
//!
//! - `half sent`, `half resent`: only the first bytes of the packet were sent on this connection.
//! - `unattempted`: no byte of it was sent on the earlier connection.
//! - `unseen`: the event that reports the lost request is taken only on the second connection.
//!
//! The cells:
//!
//! | cell | meaning |
//! | --- | --- |
//! | `.` | the packet has no effect |
//! | `done` | the event that ends the request (PUBACK, PUBCOMP, SUBACK, UNSUBACK); its unsent packets are not sent |
//! | `unknown` | the event `DeliveryUnknown` |
//! | `REL`, `COMP`, `ACK`, `REC` | PUBREL, PUBCOMP, PUBACK or PUBREC with the id is the answer |
//! | `REL-` | PUBREL is the answer, and the PUBLISH is not sent again |
//! | `msg+ACK` | the message is delivered, then answered |
//! | `wrong` | `ProtocolError::UnexpectedAck` with the type and the id |
//! | `never` | `ProtocolError::UnexpectedPacket` |

use umqtt::{
    Event, ProtocolError, Storage,
    codec::{Packet, QoS, Suback, SubackReturnCode},
};

use crate::wire::*;

/// The last column is for all packets that only a client may send.
const TABLE: &str = "
state                      | PUBACK | PUBREC | PUBREL | PUBCOMP | SUBACK | UNSUBACK | PUBLISH 1 | PUBLISH 2 | repeated 2 | CONNACK | PINGRESP | client's
nothing in flight          | .      | REL    | COMP   | .       | .      | .        | msg+ACK   | msg+REC   | REC        | never   | .        | never
qos 1 queued               | wrong  | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
qos 1 half sent            | wrong  | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
qos 1 sent                 | done   | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
qos 1 acknowledged         | .      | REL    | COMP   | .       | .      | .        | msg+ACK   | msg+REC   | REC        | never   | .        | never
qos 2 queued               | wrong  | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
qos 2 half sent            | wrong  | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
qos 2 sent                 | wrong  | REL    | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
pubrel waits, queue full   | wrong  | REL    | COMP   | done    | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
pubrel queued              | wrong  | REL    | COMP   | done    | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
pubrel sent                | wrong  | REL    | COMP   | done    | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
qos 2 complete             | .      | REL    | COMP   | .       | .      | .        | msg+ACK   | msg+REC   | REC        | never   | .        | never
subscribe queued           | wrong  | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
subscribe half sent        | wrong  | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
subscribe sent             | wrong  | wrong  | COMP   | wrong   | done   | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
unsubscribe queued         | wrong  | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
unsubscribe half sent      | wrong  | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
unsubscribe sent           | wrong  | wrong  | COMP   | wrong   | wrong  | done     | msg+ACK   | msg+REC   | REC        | never   | .        | never
present: qos 1 unattempted | wrong  | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
present: qos 1 to resend   | done   | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
present: qos 1 half resent | done   | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
present: qos 1 resent      | done   | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
present: qos 2 unattempted | wrong  | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
present: qos 2 to resend   | wrong  | REL-   | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
present: qos 2 half resent | wrong  | REL    | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
present: qos 2 resent      | wrong  | REL    | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
present: pubrel queued     | wrong  | REL    | COMP   | done    | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
present: pubrel resent     | wrong  | REL    | COMP   | done    | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
present: was subscribe     | .      | REL    | COMP   | .       | .      | .        | msg+ACK   | msg+REC   | REC        | never   | .        | never
present: was unsubscribe   | .      | REL    | COMP   | .       | .      | .        | msg+ACK   | msg+REC   | REC        | never   | .        | never
present: unsubscribe unseen| .      | REL    | COMP   | .       | .      | .        | msg+ACK   | msg+REC   | REC        | never   | .        | never
fresh: qos 1 unattempted   | wrong  | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
fresh: qos 1 to resend     | done   | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
fresh: qos 1 half resent   | done   | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
fresh: qos 1 resent        | done   | wrong  | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
fresh: qos 2 to resend     | wrong  | REL-   | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
fresh: qos 2 half resent   | wrong  | REL    | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
fresh: qos 2 resent        | wrong  | REL    | COMP   | wrong   | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
fresh: pubrel queued       | wrong  | REL    | COMP   | unknown | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
fresh: pubrel resent       | wrong  | REL    | COMP   | unknown | wrong  | wrong    | msg+ACK   | msg+REC   | REC        | never   | .        | never
fresh: was subscribe       | .      | REL    | COMP   | .       | .      | .        | msg+ACK   | msg+REC   | REC        | never   | .        | never
";

const FILTER: [(&str, QoS); 1] = [("a", QoS::AtMostOnce)];
const GRANTED: [SubackReturnCode; 1] = [SubackReturnCode::Granted(QoS::AtMostOnce)];

type Memory = Storage<64, 128, 4, 4>;

#[test]
fn each_packet_in_each_state_behaves_as_in_table() {
    let mut rows = TABLE.trim().lines().map(cells);
    let columns = rows.next().unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for row in rows {
        assert_eq!(row.len(), columns.len(), "{row:?}");
        for (column, expected) in columns.iter().zip(&row).skip(1) {
            for incoming in incoming(column) {
                let found = outcome(row[0], column, &incoming);
                if found != *expected {
                    wrong.push(format!("{} + {column}: {found}, not {expected}", row[0]));
                }
                count += 1;
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(count > 500);
}

fn cells(line: &str) -> Vec<&str> {
    line.split('|').map(str::trim).collect()
}

/// Returns the packets of a column.
fn incoming(column: &str) -> Vec<Vec<u8>> {
    match column {
        "PUBACK" => vec![puback(1)],
        "PUBREC" => vec![pubrec(1)],
        "PUBREL" => vec![pubrel(1)],
        "PUBCOMP" => vec![pubcomp(1)],
        "SUBACK" => vec![suback(1, &GRANTED)],
        "UNSUBACK" => vec![unsuback(1)],
        "PUBLISH 1" => vec![publish(1, 1, b"in"), dup(publish(1, 1, b"in"))],
        "PUBLISH 2" => vec![publish(2, 1, b"in"), dup(publish(2, 1, b"in"))],
        "repeated 2" => vec![publish(2, 1, b"in"), dup(publish(2, 1, b"in"))],
        "CONNACK" => vec![connack(false), connack(true)],
        "PINGRESP" => vec![PINGRESP.to_vec()],
        "client's" => vec![
            connect(&KEEP),
            subscribe(1, "a"),
            unsubscribe(1, "a"),
            PINGREQ.to_vec(),
            DISCONNECT.to_vec(),
        ],
        other => panic!("no packet is called {other}"),
    }
}

/// Returns the result of a packet in a state, in the words of the table.
fn outcome(state: &str, column: &str, incoming: &[u8]) -> String {
    let mut storage = Memory::new();
    // The packets that the session sends in this state if nothing is received.
    let (mut reference, mut sent_otherwise) = in_state(&mut storage, state, column == "repeated 2");
    for _ in 0..3 {
        reference.expect(&[]);
        sent_otherwise.extend(reference.sent());
    }

    let mut storage = Memory::new();
    let (mut driven, mut sent) = in_state(&mut storage, state, column == "repeated 2");
    driven.feed(incoming);
    let mut events = Vec::new();
    // More than once, in case the acknowledgement queue must be sent first.
    for _ in 0..3 {
        loop {
            match driven.next() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(reason) => {
                    assert!(events.is_empty() && !driven.session.has_pending());
                    return end_in_words(reason, incoming);
                }
            }
        }
        sent.extend(driven.sent());
    }
    assert!(driven.session.is_connected());
    let mut sent = packets(&sent);
    let mut not_sent = Vec::new();
    for packet in packets(&sent_otherwise) {
        match sent.iter().position(|other| *other == packet) {
            Some(at) => drop(sent.remove(at)),
            None => not_sent.push(packet),
        }
    }
    in_words(&events, &sent, &not_sent)
}

/// Returns the cell for the end of the connection.
fn end_in_words(reason: ProtocolError, incoming: &[u8]) -> String {
    let (packet, _) = Packet::decode(incoming).unwrap().unwrap();
    let packet_type = packet.packet_type();
    let wrong = ProtocolError::UnexpectedAck {
        packet_type,
        packet_id: id(1),
    };
    match reason {
        _ if reason == wrong => "wrong".into(),
        _ if reason == ProtocolError::UnexpectedPacket(packet_type) => "never".into(),
        other => format!("{other:?}"),
    }
}

/// Returns the cell for these events and answers, and for the packets that would have been sent otherwise.
fn in_words(events: &[String], sent: &[Vec<u8>], not_sent: &[Vec<u8>]) -> String {
    let answer = match sent {
        [] => "",
        [one] if *one == puback(1) => "ACK",
        [one] if *one == pubrec(1) => "REC",
        [one] if *one == pubrel(1) => "REL",
        [one] if *one == pubcomp(1) => "COMP",
        other => return format!("sends {other:x?}"),
    };
    let suback = Suback::new(id(1), &GRANTED).unwrap();
    let done = texts(&[
        Event::Puback(id(1)),
        Event::Pubcomp(id(1)),
        Event::Suback(id(1), suback.codes()),
        Event::Unsuback(id(1)),
    ]);
    let unknown = texts(&[Event::DeliveryUnknown(id(1))]);
    let reported = match events {
        [] => "",
        [one] if done.contains(one) => "done",
        [one] if unknown.contains(one) => "unknown",
        [one] if one.starts_with("Message(") => "msg+",
        other => return format!("reports {other:?}"),
    };
    let discarded = match not_sent {
        [] => "",
        // A request that has ended is not sent any more, and neither is its unsent PUBREL.
        _ if reported == "done" || reported == "unknown" => "",
        [_] => "-",
        other => return format!("does not send {other:x?}"),
    };
    match format!("{reported}{answer}{discarded}").as_str() {
        "" => ".".into(),
        word => word.into(),
    }
}

/// Returns a session with request 1 in this state, and the sent part of a partly sent packet. If requested, a message
/// at QoS 2 with id 1 was also received.
fn in_state<'b>(
    storage: &'b mut Memory,
    state: &str,
    message_received: bool,
) -> (TestSession<'b>, Vec<u8>) {
    let mut driven = TestSession::connected(storage);
    if message_received {
        driven.receive(&publish(2, 1, b"in"), &[Event::Message(message(2, b"in"))]);
        driven.sent();
    }
    let (resumed, state) = match state.split_once(": ") {
        Some((how, state)) => (Some(how == "present"), state),
        None => (None, state),
    };
    let Some(session_present) = resumed else {
        let half = bring_into(&mut driven, state);
        return (driven, half);
    };
    before_resume(&mut driven, state);
    driven.session.connection_lost();
    if state != "unsubscribe unseen" {
        driven.events_and_reason();
    }
    driven.open(&KEEP, session_present);
    if message_received && !session_present {
        driven.feed(&publish(2, 1, b"in"));
        assert_eq!(driven.events().len(), 1);
    }
    let half = after_resume(&mut driven, state);
    (driven, half)
}

/// Brings the first request into this state, on its first connection. Returns the sent part of a partly sent packet.
fn bring_into(driven: &mut TestSession<'_>, state: &str) -> Vec<u8> {
    match state {
        "nothing in flight" => return vec![],
        _ if state.starts_with("qos 1") => driven.publish(1, b"out"),
        _ if state.starts_with("subscribe") => driven.subscribe(&FILTER),
        _ if state.starts_with("unsubscribe") => driven.unsubscribe(&["a"]),
        _ => driven.publish(2, b"out"),
    };
    if state.ends_with("half sent") {
        return driven.send_up_to(3);
    }
    if state.ends_with("queued") && !state.starts_with("pubrel") {
        return vec![];
    }
    driven.sent();
    match state {
        "qos 1 acknowledged" => driven.feed(&puback(1)),
        "pubrel waits, queue full" => {
            // Eight answers fill the acknowledgement queue, so that this PUBREC is handled later.
            driven.receive(&pubrel(77).repeat(8), &[]);
            driven.receive(&pubrec(1), &[]);
        }
        "pubrel queued" | "pubrel sent" | "qos 2 complete" => driven.feed(&pubrec(1)),
        _ => {}
    }
    driven.events();
    if state == "pubrel sent" || state == "qos 2 complete" {
        assert_eq!(driven.sent(), pubrel(1));
    }
    if state == "qos 2 complete" {
        driven.receive(&pubcomp(1), &[Event::Pubcomp(id(1))]);
    }
    vec![]
}

/// Does the steps of a state on the first connection.
fn before_resume(driven: &mut TestSession<'_>, state: &str) {
    match state {
        "was subscribe" => driven.subscribe(&FILTER),
        "was unsubscribe" | "unsubscribe unseen" => driven.unsubscribe(&["a"]),
        _ if state.starts_with("qos 1") => driven.publish(1, b"out"),
        _ => driven.publish(2, b"out"),
    };
    if !state.ends_with("unattempted") {
        driven.sent();
    }
    if state.starts_with("pubrel") {
        driven.receive(&pubrec(1), &[]);
        driven.sent();
    }
}

/// Does the steps of a state on the second connection. Returns the sent part of a partly sent packet.
fn after_resume(driven: &mut TestSession<'_>, state: &str) -> Vec<u8> {
    if state == "unsubscribe unseen" {
        driven.expect(&[Event::OutcomeUnknown(id(1))]);
    } else if state.ends_with("half resent") {
        // The PUBREC of a received message is sent before the message to resend.
        if driven.session.pending(driven.at()).starts_with(&pubrec(1)) {
            driven.send_up_to(4);
        }
        return driven.send_up_to(3);
    } else if state.ends_with("resent") {
        driven.sent();
    }
    vec![]
}
