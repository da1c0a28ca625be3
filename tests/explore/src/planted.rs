//! The thirteen planted defects, each with a world in which the search must find it.

use crate::{
    client::Defect,
    driver::Reason,
    finding::Kind,
    search::explore,
    setup::{Message, Setup, short},
};

/// Maximum number of states until a planted defect is found, and of the worlds in which they are planted.
const STATES: usize = 20_000;

/// Returns a world for this defect, and the expected finding.
fn case(defect: Defect) -> (Setup, Kind) {
    const TWO: &[Message] = &[short(2)];
    const BOTH: &[Message] = &[short(2), short(2)];
    let out = Setup {
        faults: 1,
        ..Setup::new("out", (2, 1), BOTH, &[])
    };
    let back = Setup {
        faults: 1,
        ..Setup::new("in", (1, 1), &[], BOTH)
    };
    let power = Setup {
        faults: 0,
        losses: 1,
        lazy: true,
        ..Setup::new("power", (1, 1), TWO, TWO)
    };
    let subscribing = Setup {
        faults: 1,
        subscribes: true,
        refused: 1,
        ..Setup::new("subscribing", (1, 1), &[], &[])
    };
    let discarding = Setup {
        faults: 1,
        discards: 1,
        ..Setup::new("discarding", (2, 1), BOTH, &[])
    };
    let late = Setup {
        faults: 0,
        losses: 1,
        lazy: true,
        late_saves: true,
        ..Setup::new("late", (1, 1), &[], TWO)
    };
    match defect {
        Defect::EarlyPubrel => (out, Kind::EarlyPubrel),
        Defect::ForgottenId => (back, Kind::Twice),
        Defect::LostAck => (back, Kind::Asleep),
        Defect::ClosedForLackOfRoom => {
            let reason = Reason::NoRoom;
            (
                back,
                Kind::NoProgress {
                    reason,
                    long: false,
                },
            )
        }
        Defect::WrongOrder => (out, Kind::Order),
        Defect::DupMissing => (out, Kind::Dup),
        Defect::ReportedTwice => (out, Kind::ReportedTwice),
        Defect::NeverReported => (out, Kind::NeverReported),
        Defect::LateDeadline => (out, Kind::Deadline),
        Defect::SkippedCheckpoint => (power, Kind::NeverDelivered),
        Defect::RefusalIgnored => (subscribing, Kind::NotSubscribed),
        Defect::DiscardIgnored => (discarding, Kind::Discarded),
        Defect::SavedTooMuch => (late, Kind::NeverDelivered),
    }
}

/// Returns the number of states until this defect was found, or the reason why it was not found.
pub(crate) fn find(defect: Defect) -> Result<usize, String> {
    let (setup, kind) = case(defect);
    let report = explore(&setup, Some(defect));
    match report.findings.first() {
        Some((finding, ..)) if finding.kind == kind && report.states < STATES => Ok(report.states),
        Some((finding, _, path)) => Err(format!(
            "{:?} instead of {kind:?}: {}: {path:?}",
            finding.kind, finding.text
        )),
        None => Err(format!("nothing in {} states", report.states)),
    }
}

#[test]
fn each_planted_defect_is_found() {
    for defect in Defect::ALL {
        find(defect).unwrap_or_else(|why| panic!("{defect:?}: {why}"));
    }
}

#[test]
fn no_defect_planted_reports_nothing() {
    for defect in Defect::ALL {
        let (setup, _) = case(defect);
        let report = explore(&setup, None);
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        assert_eq!(report.left_over, 0, "everything was explored");
        assert!(report.states < STATES, "{} states", report.states);
    }
}
