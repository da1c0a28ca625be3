//! Compares two decodings of the same bytes. Differences must be listed.

use std::{collections::BTreeMap, process::ExitCode};

use serde_json::Value;
use umqtt::codec::{DecodeError, Packet};

use crate::{
    checker::{Verdict, judge},
    fields,
};

/// The known disagreements: oracle, kind, the deciding rule, and the reason.
const LIST: &str = include_str!("../disagreements.tsv");

/// The statements of the specification.
const STATEMENTS: &str = include_str!("../../data/statements.tsv");

/// Number of examples that are printed of each unlisted kind.
const EXAMPLES: usize = 3;

/// A line of the list.
struct Known {
    oracle: &'static str,
    kind: &'static str,
    rule: &'static str,
}

fn list() -> Vec<Known> {
    let lines = LIST.lines().filter(|line| !line.starts_with('#')).skip(1);
    let known = lines.map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
        [oracle, kind, rule, _] => Known { oracle, kind, rule },
        _ => panic!("a line of disagreements.tsv has four columns: {line}"),
    });
    known.inspect(|known| known.check_rule()).collect()
}

impl Known {
    /// Checks that a rule is a known statement, or a section.
    fn check_rule(&self) {
        for rule in self.rule.split(", ") {
            let statement = STATEMENTS
                .lines()
                .any(|line| line.split('\t').next() == Some(rule));
            assert!(
                statement || rule.starts_with("section "),
                "there is no {rule}"
            );
        }
    }
}

/// Compares every line; fails if there is a disagreement that is not listed.
pub(crate) fn run(oracle: &str, lines: &str) -> ExitCode {
    let mut kinds = BTreeMap::<String, Vec<&str>>::new();
    let mut count = 0;
    for line in lines.lines() {
        let entry: Value = serde_json::from_str(line).expect("a line of JSON");
        if let Some(kind) = disagreement(&entry) {
            kinds.entry(kind).or_default().push(line);
        }
        count += 1;
    }
    assert!(count > 0, "nothing was compared");
    let list = list();
    let mut unexplained = 0;
    for (kind, lines) in &kinds {
        let mut known = list.iter().filter(|known| known.kind == kind);
        let known = known.find(|known| ["any", oracle].contains(&known.oracle));
        let rule = known.map_or("UNEXPLAINED", |known| known.rule);
        println!("{oracle}: {:>6} {kind}: {rule}", lines.len());
        if known.is_none() {
            unexplained += lines.len();
            let examples = lines.iter().take(EXAMPLES);
            examples.for_each(|line| println!("    {line}"));
        }
    }
    println!("{oracle}: {count} packets, {unexplained} unexplained disagreements");
    ExitCode::from(u8::from(unexplained > 0))
}

/// Returns the kind of disagreement between umqtt and an oracle.
fn disagreement(entry: &Value) -> Option<String> {
    let bytes = fields::bytes(entry["bytes"].as_str().expect("bytes"));
    let ours = ours(&bytes);
    let (sent, theirs) = (&entry["sent"], &entry["theirs"]);
    if !sent.is_null() {
        return match &ours {
            Err(why) => Some(format!("we refuse: {why}")),
            Ok(ours) if ours != sent => Some(format!("we misread {}", name(sent))),
            Ok(_) if theirs != sent => Some(match theirs.as_str() {
                Some(why) => format!("they refuse {}: {why}", name(sent)),
                None => format!("they misread {}", name(sent)),
            }),
            Ok(_) => None,
        };
    }
    match (&ours, theirs.as_str()) {
        (Ok(ours), None) if ours == theirs => None,
        (Ok(ours), None) => Some(format!("both accept, and read {} differently", name(ours))),
        (Ok(ours), Some(why)) => Some(format!("they refuse {}: {why}", name(ours))),
        (Err(why), None) => Some(format!("we refuse: {why}")),
        (Err(_), Some(_)) => None,
    }
}

/// Returns the fields that umqtt decodes, or the name of its error. The independent checker must agree.
fn ours(bytes: &[u8]) -> Result<Value, String> {
    let verdict = judge(bytes);
    match Packet::decode(bytes) {
        Ok(Some((packet, used))) => {
            assert_eq!(verdict, Verdict::Accepted(used), "{bytes:02x?}");
            Ok(fields::of(&packet))
        }
        Ok(None) => {
            assert_eq!(verdict, Verdict::Incomplete, "{bytes:02x?}");
            Err("Incomplete".into())
        }
        Err(error) => {
            assert_eq!(verdict, Verdict::Refused, "{bytes:02x?}");
            Err(match error {
                DecodeError::TopicName(why) => format!("TopicName {}", first_word(why)),
                DecodeError::TopicFilter(why) => format!("TopicFilter {}", first_word(why)),
                other => first_word(other),
            })
        }
    }
}

fn first_word(error: impl std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    text.split_whitespace().next().unwrap_or_default().into()
}

fn name(fields: &Value) -> &str {
    fields["type"].as_str().unwrap_or("nothing")
}
