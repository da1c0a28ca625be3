//! rumqttd, inside this process.

use std::time::Duration;

use super::{
    Broker, Deviation, NO_CODE_3, QOS_OF_FIRST_SUBSCRIPTION, QOS_OF_SUBSCRIPTION,
    VERSION_WITHOUT_CONNACK,
    Verdict::{Breaks, May, NotOffered},
    locked_version,
};

pub(crate) const NAME: &str = "rumqttd";
pub(crate) const DEVIATIONS: &[Deviation] = &[
    QOS_OF_SUBSCRIPTION,
    Deviation {
        scenario: "retained_untouched",
        verdict: Breaks("[MQTT-3.3.1-12]"),
        does: "an empty message without the flag clears the retained one",
        shows: "after 0 bytes",
    },
    Deviation {
        scenario: "retained_again",
        verdict: Breaks("[MQTT-3.8.4-3]"),
        does: "it sends the retained message only the first time",
        shows: "the second time",
    },
    QOS_OF_FIRST_SUBSCRIPTION,
    Deviation {
        scenario: "unsubscribe_unknown",
        verdict: Breaks("[MQTT-3.10.4-5]"),
        does: "it does not answer",
        shows: "RequestTimeout",
    },
    Deviation {
        scenario: "wrong_password",
        verdict: May("3.1.4"),
        does: "it closes the connection without a CONNACK",
        shows: "refused by Closed",
    },
    Deviation {
        scenario: "no_login",
        verdict: May("3.1.4"),
        does: "it closes the connection without a CONNACK",
        shows: "refused by Closed",
    },
    VERSION_WITHOUT_CONNACK,
    NO_CODE_3,
    Deviation {
        scenario: "subscription_denied",
        verdict: NotOffered,
        does: "it has no access lists",
        shows: "",
    },
    Deviation {
        scenario: "publish_denied",
        verdict: NotOffered,
        does: "it has no access lists",
        shows: "",
    },
    Deviation {
        scenario: "keep_alive_off",
        verdict: Breaks("section 3.1.2.10"),
        does: "it closes the connection",
        shows: "Closed",
    },
    Deviation {
        scenario: "byte_order_mark_in_front",
        verdict: Breaks("[MQTT-1.5.3-3]"),
        does: "it panics at a topic that begins with a character of several bytes",
        shows: "with the mark in front",
    },
];

pub(crate) fn start() -> Broker {
    let address = embedded_broker::start().unwrap();
    Broker {
        name: NAME,
        version: locked_version(".", NAME),
        address,
        login: embedded_broker::start_with_users(&[("user", "password")]).unwrap(),
        guarded: address,
        rest: Duration::from_millis(100),
        deviations: DEVIATIONS,
        processes: Vec::new(),
    }
}
