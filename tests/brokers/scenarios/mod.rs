//! What every broker and either client have to do, written once.
//!
//! Each scenario has its own client ids and topics, so that brokers may keep what they know from one to the next.

mod delivery;
mod keep_alive;
mod refusals;
mod retained;
mod sessions;
mod sizes;
mod subscriptions;
mod utf8;
mod wills;

use crate::stage::{Kind, Result, Stage};

/// A scenario: its name in the table, what holds where it passes, and how it is played.
pub(crate) struct Scenario<K> {
    pub(crate) name: &'static str,
    pub(crate) holds: &'static str,
    pub(crate) play: fn(&Stage<'_, K>) -> Result<()>,
}

macro_rules! scenarios {
    ($($module:ident::$name:ident: $holds:literal,)*) => {
        /// All of them, in the order of the table.
        pub(crate) fn all<K: Kind>() -> Vec<Scenario<K>> {
            vec![$(Scenario { name: stringify!($name), holds: $holds, play: $module::$name::<K> }),*]
        }
    };
}

scenarios! {
    delivery::each_qos_both_ways: "A message published at each QoS reaches a subscriber at each QoS, itself included.",
    delivery::lower_qos: "It comes at the lower of the QoS published and the QoS granted.",
    delivery::order: "Messages of one QoS come in the order in which they were published.",
    delivery::any_payload: "A payload may be empty, and hold any byte.",
    retained::retained: "The last retained message comes to who subscribes later, at each QoS, marked as such.",
    retained::retained_live: "Who was subscribed before gets it without the mark.",
    retained::retained_cleared: "An empty one clears it, and is kept by nobody.",
    retained::retained_untouched: "A message without the flag neither replaces nor clears it.",
    retained::retained_again: "A subscription that is repeated brings it again.",
    wills::will_on_cut: "A will is published when the connection is cut, at each QoS.",
    wills::no_will_on_disconnect: "It is not after a DISCONNECT.",
    wills::will_retained: "A will with the retain flag is kept; one without is not.",
    subscriptions::wildcards: "`+` and `#` match what they should.",
    subscriptions::empty_levels: "Empty levels count as levels.",
    subscriptions::dollar_topics: "A wildcard in front does not match a topic that begins with `$`.",
    subscriptions::overlapping: "A message that matches several subscriptions comes at the highest QoS of them.",
    subscriptions::replaced: "Subscribing again with the same filter replaces the QoS.",
    subscriptions::unsubscribe: "What was unsubscribed no longer comes.",
    subscriptions::unsubscribe_unknown: "Unsubscribing what was never subscribed is answered.",
    subscriptions::thousand: "A client holds 1,000 subscriptions, and a message comes through each.",
    sessions::resume_inbound: "What was published while the client was away comes when it is back, once.",
    sessions::resume_outbound: "What the client had queued when it was cut goes out on the next connection, once.",
    sessions::resume_unread_acks: "So does what was sent, but whose acknowledgement was lost: at QoS 2 it arrives once.",
    sessions::resume_unsent_acks: "A QoS 2 message that the client had not acknowledged when it was cut is seen once.",
    sessions::session_present: "A session in which nothing has happened is kept as well.",
    sessions::clean_session: "Clean Session 1 leaves nothing behind, on either side.",
    sessions::take_over: "A second client with the same id takes the session; the first is disconnected.",
    sessions::take_over_will: "The will of the first is published then.",
    refusals::wrong_password: "A wrong password is refused with code 4 or 5; the right one is accepted.",
    refusals::no_login: "So is a client without credentials, where they are asked for.",
    refusals::identifier_rejected: "An empty client id with Clean Session 0 is refused with code 2.",
    refusals::empty_client_id: "An empty client id with Clean Session 1 is accepted.",
    refusals::unacceptable_version: "An unknown protocol level is refused with code 1.",
    refusals::server_unavailable: "A client that is sent away with code 3 is told so.",
    refusals::subscription_denied: "A subscription that is not allowed is answered with 0x80, its neighbour granted.",
    refusals::publish_denied: "A publish that is not allowed is acknowledged or ends the connection; nobody gets it.",
    keep_alive::keep_alive: "A client that only waits stays connected: it pings.",
    keep_alive::keep_alive_expires: "One that falls silent is cut after one and a half keep alives, and its will published.",
    keep_alive::keep_alive_off: "Keep alive 0 turns it off.",
    sizes::large_payload: "256 KiB pass through buffers of 128 bytes at each QoS.",
    sizes::longest_topic: "A topic of 65,535 bytes comes back whole.",
    sizes::topic_too_long: "One that is larger than the client's buffer is skipped and reported, what follows comes.",
    utf8::four_bytes: "Characters beyond U+FFFF pass in topics, filters, client ids and wills.",
    utf8::byte_order_mark: "U+FEFF is kept.",
    utf8::noncharacters: "U+FFFF and its like pass.",
    utf8::control_characters: "Control characters pass.",
    utf8::byte_order_mark_in_front: "A topic may begin with U+FEFF, and is not the one without it.",
}
