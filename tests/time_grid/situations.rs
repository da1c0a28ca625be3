//! The situations from which the grid starts.

use crate::{
    common::{connack, puback, publish, pubrec},
    rules::Time,
    subject::Request,
    world::Happening::{self, Flood, Nothing, Receive, RequestNoEvents, Room, Stream},
};
use umqtt::codec::QoS;

/// The state of a connection from which the grid starts, as the steps that lead to it.
pub(crate) struct Situation {
    pub(crate) name: &'static str,
    /// Bytes that the transport accepts at first.
    pub(crate) room: usize,
    /// The time before each step in ms, and the step.
    pub(crate) steps: Vec<(Time, Happening)>,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// For a session, with and without a client.
    Both,
    /// Only for a session without a client.
    Direct,
    /// Only for the client.
    Client,
    /// The session has an unacknowledged message of an earlier connection.
    Resumed,
    /// Checkpoints are on, and the caller handles no events from now on.
    Checkpoints,
}

/// Traffic that continues while the time passes.
pub(crate) struct Traffic {
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<(Time, Happening)>,
    /// Returns the step with this number. The other arguments are the time between two steps and the response timeout,
    /// in ms.
    pub(crate) each: fn(usize, Time, Time) -> Happening,
}

/// Room for all bytes.
pub(crate) const ALL: usize = usize::MAX;

fn message() -> Happening {
    Receive(publish("t", b"x", QoS::AtMostOnce, 0))
}

/// The first bytes of a message of 100,000 bytes.
fn long() -> Happening {
    Receive(vec![0x30, 0xA0, 0x8D, 0x06, 0, 1, b't', b'x'])
}

/// Messages that fill the acknowledgement queue and the receive buffer.
fn many() -> Happening {
    Receive(
        (1..60)
            .flat_map(|id| publish("t", b"x", QoS::AtLeastOnce, id))
            .collect(),
    )
}

/// Returns the situations for a keep alive and a response timeout in ms.
pub(crate) fn situations(keep_alive: Time, timeout: Time) -> Vec<Situation> {
    let pause = timeout / 8;
    let open = [(0, Nothing), (pause, Receive(connack(false)))];
    let silence = keep_alive - (keep_alive / 4).min(2_000);
    let request = |request| (pause, Happening::Request(request));
    let pauses = |n: usize| vec![(pause, Nothing); n];
    let mut all = Vec::new();
    let mut add = |name, kind, room, parts: &[&[(Time, Happening)]]| {
        let steps = parts.concat();
        all.push(Situation {
            name,
            room,
            steps,
            kind,
        });
    };
    let publish_1 = [request(Request::Publish(1))];
    let publish_2 = [request(Request::Publish(2))];
    let publish_0 = [request(Request::Publish(0))];
    let blocked = [(0, Room(0))];
    let free = [(pause, Room(ALL))];
    let pubrec_1 = [(pause, Receive(pubrec(1)))];
    let open = &open[..];
    use Kind::{Both, Checkpoints, Client, Direct, Resumed};

    add("CONNECT queued", Both, 0, &[&[(0, Nothing)]]);
    add("half of CONNECT sent", Both, 5, &[&[(0, Nothing)]]);
    add("CONNECT sent", Both, ALL, &[&[(0, Nothing)]]);
    add(
        "CONNECT sent late",
        Both,
        0,
        &[&[(0, Nothing)], &pauses(4), &free],
    );
    add(
        "half of CONNACK received",
        Both,
        ALL,
        &[&[(0, Nothing), (pause, Receive(vec![0x20, 2]))]],
    );
    add(
        "DISCONNECT waits for CONNACK",
        Resumed,
        ALL,
        &[&[
            (0, Nothing),
            (pause, Happening::Request(Request::Disconnect)),
        ]],
    );
    add("idle", Both, ALL, &[open]);
    add("QoS 0 publish", Both, ALL, &[open, &publish_0]);
    add("QoS 1 publish", Both, ALL, &[open, &publish_1]);
    add("QoS 2 publish", Both, ALL, &[open, &publish_2]);
    add(
        "subscribe",
        Both,
        ALL,
        &[open, &[request(Request::Subscribe)]],
    );
    add(
        "unsubscribe",
        Both,
        ALL,
        &[open, &[request(Request::Unsubscribe)]],
    );
    add(
        "ping of the caller",
        Both,
        ALL,
        &[open, &[request(Request::Ping)]],
    );
    add(
        "publish acknowledged",
        Both,
        ALL,
        &[open, &publish_1, &[(pause, Receive(puback(1)))]],
    );
    add(
        "publish sent late",
        Both,
        ALL,
        &[open, &blocked, &publish_1, &pauses(4), &free],
    );
    add(
        "publish sent in two parts",
        Both,
        ALL,
        &[open, &[(0, Room(4))], &publish_1, &pauses(4), &free],
    );
    add("PUBREL sent", Both, ALL, &[open, &publish_2, &pubrec_1]);
    add(
        "PUBREL sent late",
        Both,
        ALL,
        &[open, &publish_2, &blocked, &pubrec_1, &pauses(4), &free],
    );
    add(
        "message received",
        Both,
        ALL,
        &[open, &[(pause, message())]],
    );
    add(
        "message received after a publish",
        Both,
        ALL,
        &[open, &publish_1, &[(pause, message())]],
    );
    add(
        "part of a message received after a publish",
        Both,
        ALL,
        &[open, &publish_1, &[(pause, long())]],
    );
    add(
        "QoS 1 message acknowledged",
        Both,
        ALL,
        &[
            open,
            &[(pause, Receive(publish("t", b"x", QoS::AtLeastOnce, 9)))],
        ],
    );
    let two = |id| Receive(publish("t", b"x", QoS::ExactlyOnce, id));
    add(
        "QoS 2 message skipped",
        Direct,
        ALL,
        &[open, &[(pause, two(1)), (pause, two(2))]],
    );
    add(
        "message received after a skipped one",
        Direct,
        ALL,
        &[
            open,
            &[(pause, two(1)), (pause, two(2)), (pause, message())],
        ],
    );
    add(
        "transport blocked",
        Both,
        ALL,
        &[open, &blocked, &publish_0],
    );
    add(
        "transport blocked inside a packet",
        Both,
        ALL,
        &[open, &[(0, Room(4))], &publish_0, &pauses(2)],
    );
    add(
        "transport accepts a byte",
        Both,
        ALL,
        &[open, &blocked, &publish_0, &pauses(4), &[(pause, Room(1))]],
    );
    add(
        "transport blocked, messages received",
        Both,
        ALL,
        &[
            open,
            &blocked,
            &publish_0,
            &[(pause, message()), (pause, message())],
        ],
    );
    let stuck = [(0, Happening::Flush(false))];
    add("flush stuck", Client, ALL, &[open, &stuck, &publish_0]);
    add(
        "flush stuck, messages received",
        Client,
        ALL,
        &[
            open,
            &stuck,
            &publish_0,
            &[(pause, message()), (pause, message())],
        ],
    );
    add(
        "flush stuck for a while",
        Client,
        ALL,
        &[
            open,
            &stuck,
            &publish_1,
            &pauses(4),
            &[(pause, Happening::Flush(true))],
        ],
    );
    add(
        "acknowledgement queue full",
        Direct,
        ALL,
        &[open, &publish_1, &blocked, &[(pause, many())]],
    );
    let begin = |len, part| [request(Request::Stream(len)), (pause, Stream(part))];
    add(
        "payload in progress",
        Direct,
        ALL,
        &[open, &begin(1_000, 100)],
    );
    add(
        "payload in progress after a publish",
        Direct,
        ALL,
        &[open, &publish_1, &begin(1_000, 100)],
    );
    add(
        "PUBREL waits for a payload",
        Direct,
        ALL,
        &[open, &publish_2, &begin(1_000, 100), &pubrec_1],
    );
    add(
        "PUBREL waited for a payload",
        Direct,
        ALL,
        &[
            open,
            &publish_2,
            &begin(1_000, 100),
            &pubrec_1,
            &[(pause, Stream(900))],
        ],
    );
    let unseen = [(pause, RequestNoEvents(Request::Publish(1)))];
    add("checkpoint due", Checkpoints, ALL, &[open, &unseen]);
    add(
        "checkpoint due after a ping of the caller",
        Checkpoints,
        ALL,
        &[open, &[request(Request::Ping)], &unseen],
    );
    if keep_alive > 0 {
        let ping = [(silence, Nothing)];
        add("PINGREQ unanswered", Both, ALL, &[open, &ping]);
        add(
            "publish after an unanswered PINGREQ",
            Both,
            ALL,
            &[
                open,
                &ping,
                &[(keep_alive / 8, Happening::Request(Request::Publish(0)))],
            ],
        );
    }
    all
}

/// Returns the kinds of continuous traffic.
pub(crate) fn traffic(timeout: Time) -> Vec<Traffic> {
    let pause = timeout / 8;
    let open = vec![(0, Nothing), (pause, Receive(connack(false)))];
    let publish_1 = vec![(pause, Happening::Request(Request::Publish(1)))];
    let published = [open.clone(), publish_1].concat();
    let inside = [published.clone(), vec![(pause, long())]].concat();
    let blocked = [
        open.clone(),
        vec![
            (0, Room(0)),
            (pause, Happening::Request(Request::Publish(1))),
        ],
    ]
    .concat();
    let traffic = |name, steps: &Vec<_>, each| Traffic {
        name,
        steps: steps.clone(),
        each,
    };
    vec![
        traffic("QoS 0 publishes", &open, |_, _, _| {
            Happening::Request(Request::Publish(0))
        }),
        traffic("messages", &open, |_, _, _| message()),
        traffic("messages after a publish", &published, |_, _, _| message()),
        traffic("a trickle of bytes after a publish", &inside, |_, _, _| {
            Receive(vec![b'x'])
        }),
        traffic(
            "a long message at a sufficient rate after a publish",
            &inside,
            fast,
        ),
        traffic(
            "a long message, then messages, after a publish",
            &inside,
            |n, gap, timeout| match n * gap as usize / timeout as usize {
                0..12 => fast(n, gap, timeout),
                _ => Nothing,
            },
        ),
        traffic("a byte sent", &blocked, |_, _, _| Room(1)),
        traffic(
            "a flood of messages after a publish",
            &published,
            |_, _, _| {
                let one = publish("t", &[b'x'; 100], QoS::AtMostOnce, 0);
                Flood(one.repeat((64 << 10) / one.len()))
            },
        ),
    ]
}

/// Receives bytes at twice the minimum rate.
fn fast(_: usize, gap: Time, timeout: Time) -> Happening {
    let bytes = (128 * gap / timeout).max(1);
    Receive(vec![b'x'; usize::try_from(bytes).unwrap_or(1)])
}
