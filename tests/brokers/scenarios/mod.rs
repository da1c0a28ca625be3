//! The scenarios for every broker and both clients.
//!
//! Each scenario has its own client ids and topics, so that brokers may keep their state between them.

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

/// A scenario: its name in the table, the condition that it checks, and its function.
pub(crate) struct Scenario<K> {
    pub(crate) name: &'static str,
    pub(crate) holds: &'static str,
    pub(crate) play: fn(&Stage<'_, K>) -> Result<()>,
}

macro_rules! scenarios {
    ($($module:ident::$name:ident: $holds:literal,)*) => {
        /// Returns all scenarios, in the order of the table.
        pub(crate) fn all<K: Kind>() -> Vec<Scenario<K>> {
            vec![$(Scenario { name: stringify!($name), holds: $holds, play: $module::$name::<K> }),*]
        }
    };
}

scenarios! {
    delivery::each_qos_both_ways: "A message published at each QoS is delivered to a subscriber at each QoS, also to the publisher.",
    delivery::lower_qos: "It is delivered at the lower of the published and the granted QoS.",
    delivery::order: "Messages of one QoS are delivered in the order in which they were published.",
    delivery::any_payload: "A payload may be empty, and may contain any byte.",
    retained::retained: "The last retained message is sent to later subscribers, at each QoS, with the retain flag.",
    retained::retained_live: "Earlier subscribers receive it without the flag.",
    retained::retained_cleared: "An empty one clears it, and is not stored.",
    retained::retained_untouched: "A message without the flag does not replace it, and does not clear it.",
    retained::retained_again: "A repeated subscription causes it to be sent again.",
    wills::will_on_cut: "A will is published when the connection is cut, at each QoS.",
    wills::no_will_on_disconnect: "A will is not published after a DISCONNECT.",
    wills::will_retained: "A will with the retain flag is stored; one without is not.",
    subscriptions::wildcards: "`+` and `#` match the right topics.",
    subscriptions::empty_levels: "Empty levels count as levels.",
    subscriptions::dollar_topics: "A wildcard in the first level does not match a topic that begins with `$`.",
    subscriptions::overlapping: "A message that matches several subscriptions is delivered at the highest QoS of them.",
    subscriptions::replaced: "Subscribing again with the same filter replaces the QoS.",
    subscriptions::unsubscribe: "After an unsubscribe, its messages are not delivered any more.",
    subscriptions::unsubscribe_unknown: "An unsubscribe from an unknown filter is answered.",
    subscriptions::thousand: "A client has 1,000 subscriptions, and receives a message through each.",
    sessions::resume_inbound: "Messages that were published while the client was disconnected are delivered once when it reconnects.",
    sessions::resume_outbound: "Messages that the client had queued at a cut are delivered once on the next connection.",
    sessions::resume_unread_acks: "Sent messages whose acknowledgement was lost are delivered on the next connection: once at QoS 2.",
    sessions::resume_unsent_acks: "A QoS 2 message that the client had not acknowledged at a cut is delivered once.",
    sessions::session_present: "A session without subscriptions and messages is also kept.",
    sessions::clean_session: "After Clean Session 1, neither side keeps any state.",
    sessions::take_over: "A second client with the same id takes over the session; the first is disconnected.",
    sessions::take_over_will: "When a second client with the same id takes over, the will of the first is published.",
    refusals::wrong_password: "A wrong password is refused with code 4 or 5; the right one is accepted.",
    refusals::no_login: "A client without credentials is refused with code 4 or 5 if they are required.",
    refusals::identifier_rejected: "An empty client id with Clean Session 0 is refused with code 2.",
    refusals::empty_client_id: "An empty client id with Clean Session 1 is accepted.",
    refusals::unacceptable_version: "An unknown protocol level is refused with code 1.",
    refusals::server_unavailable: "A refusal with code 3 is reported to the caller.",
    refusals::subscription_denied: "A filter that is not allowed is answered with 0x80; another one in the same packet is granted.",
    refusals::publish_denied: "A publish that is not allowed is acknowledged, or the connection is closed; no client receives it.",
    keep_alive::keep_alive: "A client that only waits stays connected, because it sends PINGREQ.",
    keep_alive::keep_alive_expires: "A silent client is disconnected after one and a half keep alives, and its will published.",
    keep_alive::keep_alive_off: "Keep alive 0 turns it off.",
    sizes::large_payload: "256 KiB are transferred through buffers of 128 bytes at each QoS.",
    sizes::longest_topic: "A topic of 65,535 bytes is received whole.",
    sizes::topic_too_long: "A topic that is larger than the buffer of the client is skipped and reported; the next messages are received.",
    utf8::four_bytes: "Characters beyond U+FFFF are accepted in topics, filters, client ids and wills.",
    utf8::byte_order_mark: "U+FEFF is kept.",
    utf8::noncharacters: "U+FFFF and other non-characters are accepted.",
    utf8::control_characters: "Control characters are accepted.",
    utf8::byte_order_mark_in_front: "A topic may begin with U+FEFF, and differs from the one without it.",
}
