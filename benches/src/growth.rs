//! Growth of cost: the instructions of the same work with increasing sizes and counts.

use umqtt::codec::{Delivery, Packet, QoS, Subscribe, TopicFilter};
use umqtt::{Session, Storage};

use crate::measure::Jobs;
use crate::packets;
use crate::peer::{Log, Outcome, PAYLOAD, Peer};
use crate::session::{Ours, STREAMED, connected, incoming, stream, take};

/// Payload lengths, in bytes.
const PAYLOADS: [usize; 6] = [0, 100, 1_000, 10_000, 100_000, 1_000_000];
/// Sizes of a read, in bytes.
const READS: [usize; 6] = [64, 100, 200, 400, 800, 1460];
/// Numbers of slots in flight, and of filters.
const COUNTS: [usize; 7] = [1, 3, 10, 30, 100, 300, 1_000];

/// A claim about a series of costs.
pub struct Claim {
    pub series: &'static str,
    /// Meaning and unit of the numbers on the horizontal axis.
    pub of: &'static str,
    pub holds: fn(&[(f64, f64)]) -> bool,
    pub says: &'static str,
}

pub const CLAIMS: [Claim; 5] = [
    Claim {
        series: "decode a PUBLISH",
        of: "payload, B",
        // Only a longer Remaining Length may add cost.
        holds: |costs| most(costs) - least(costs) <= 40.0,
        says: "the cost does not depend on the payload",
    },
    Claim {
        series: "a byte of a stream",
        of: "read, B",
        holds: |costs| most(costs) <= 1.25 * least(costs),
        says: "the cost is the same in reads of any size of 64 B and more",
    },
    Claim {
        series: "send at QoS 1",
        of: "in flight",
        holds: linear,
        says: "the cost grows at most linearly with the slots in flight",
    },
    Claim {
        series: "decode a SUBSCRIBE",
        of: "filters",
        holds: linear,
        says: "the cost grows at most linearly with the filters",
    },
    Claim {
        series: "encode a SUBSCRIBE",
        of: "filters",
        holds: linear,
        says: "the cost grows at most linearly with the filters",
    },
];

fn most(costs: &[(f64, f64)]) -> f64 {
    costs.iter().map(|cost| cost.1).fold(f64::MIN, f64::max)
}

fn least(costs: &[(f64, f64)]) -> f64 {
    costs.iter().map(|cost| cost.1).fold(f64::MAX, f64::min)
}

/// Returns `true` if the slope between the last two costs exceeds the slope before by at most a tenth.
fn linear(costs: &[(f64, f64)]) -> bool {
    let slope = |from: (f64, f64), to: (f64, f64)| (to.1 - from.1) / (to.0 - from.0);
    match costs {
        [.., a, b, c] => slope(*b, *c) <= 1.1 * slope(*a, *b) + 0.1,
        _ => false,
    }
}

pub fn add(jobs: &mut Jobs) {
    for len in PAYLOADS {
        let payload = vec![b'x'; len];
        let publish = packets::publish(Delivery::AtMostOnce, &payload);
        let bytes: &'static [u8] = packets::encoded(&Packet::Publish(publish)).leak();
        let name = format!("growth/decode a PUBLISH/{len}");
        jobs.add(name, move || bytes, |bytes| Packet::decode(bytes));
    }
    let bytes: &'static [u8] = stream().leak();
    for read in READS {
        let mut ours = connected(2048);
        let name = format!("growth/a byte of a stream/{read}");
        jobs.add_checked(name, STREAMED, move || take(&mut ours.peer, bytes, read));
    }
    for count in COUNTS {
        in_flight(jobs, count);
        filters(jobs, count);
    }
}

/// Returns the number by which the cost of a series is divided.
pub fn unit(series: &str) -> f64 {
    match series {
        "a byte of a stream" => stream().len() as f64,
        _ => 1.0,
    }
}

fn in_flight(jobs: &mut Jobs, count: usize) {
    let storage = Box::leak(Box::new(Storage::<256, 65_536, 1_000>::new()));
    let mut ours = Ours::connected(Session::new(storage));
    // The message that completes `count` is the measured one.
    for _ in 1..count {
        ours.leave_open();
    }
    let name = format!("growth/send at QoS 1/{count}");
    let expected = Outcome {
        sent: incoming(QoS::AtLeastOnce as u8, 1, &PAYLOAD).len(),
        ..Outcome::default()
    };
    jobs.add_checked(name, expected, move || {
        ours.send(QoS::AtLeastOnce, &mut Log::default())
    });
}

fn filters(jobs: &mut Jobs, count: usize) {
    let filter = TopicFilter::new(packets::TOPIC).expect("it is valid");
    let filters: &'static _ = vec![(filter, QoS::AtLeastOnce); count].leak();
    let subscribe = Subscribe::new(packets::id(1), filters).expect("not empty");
    let bytes: &'static [u8] = packets::encoded(&Packet::Subscribe(subscribe)).leak();
    let name = format!("growth/decode a SUBSCRIBE/{count}");
    jobs.add(name, move || bytes, |bytes| Packet::decode(bytes));
    let name = format!("growth/encode a SUBSCRIBE/{count}");
    let mut out = vec![0; 1 << 16];
    jobs.add(
        name,
        || (),
        move |()| subscribe.encode(&mut out).map(<[u8]>::len),
    );
}
