//! Both devices with brokers that have the limits of cloud services: their actions and their messages.
//!
//! Each row is a scripted broker, a device with its filters and messages, and the lines that are printed for its user.
//! The services and the sources of their limits are in `docs/cloud.md`. The tests connect to none of them.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use embassy_futures::select::{Either, select};
use umqtt::{
    Config, Ended, Event, Message, ProtocolError, Publisher, RequestError, Storage, asynch,
    blocking,
    client::Error,
    codec::{
        Connect, ConnectReturnCode, Credentials, Packet, PacketType, QoS, SubackReturnCode,
        TopicFilter, TopicName,
    },
};

use super::tasks::pause;
use crate::common::{
    Fault, Network, Transport, connack, message, packets, publish, refused, server, suback,
    world::World,
};

const QOS0: QoS = QoS::AtMostOnce;
const QOS1: QoS = QoS::AtLeastOnce;
const QOS2: QoS = QoS::ExactlyOnce;

/// Virtual time of a row, in ms.
const TIME: u32 = 90_000;

/// The reaction of a broker to a request that violates its limits.
#[derive(Clone, Copy, PartialEq)]
enum Reaction {
    /// It closes the connection without an answer.
    Closes,
    /// It grants a lower QoS, or refuses the request.
    Answers,
    /// It does not answer.
    Ignores,
}

/// The rules of a broker.
#[derive(Clone, Copy)]
struct Rules {
    connect_limit: usize,
    packet_limit: usize,
    /// Maximum number of filters in one SUBSCRIBE. If there are more, the broker closes the connection.
    filter_limit: usize,
    /// The reaction to a message at QoS 2, unless it is allowed.
    publish_qos2: Option<Reaction>,
    /// The reaction to a filter at QoS 2, unless it is allowed.
    subscribe_qos2: Option<Reaction>,
    /// If this is `false`, the broker closes the connection after a message with the retain flag.
    has_retained: bool,
    /// Filters of the topics that the device may use. An empty list allows all topics. After a message on another
    /// topic, the broker closes the connection.
    policy: &'static [&'static str],
    /// The reaction to a filter that the policy does not allow.
    subscribe_policy: Reaction,
    /// The user name and the length of the password that the broker requires.
    login: Option<(&'static str, Option<usize>)>,
    /// Topic and payload of a message that the broker sends after SUBACK.
    sends: Option<(&'static str, &'static str)>,
}

const ANY: Rules = Rules {
    connect_limit: usize::MAX,
    packet_limit: usize::MAX,
    filter_limit: usize::MAX,
    publish_qos2: None,
    subscribe_qos2: None,
    has_retained: true,
    policy: &[],
    subscribe_policy: Reaction::Answers,
    login: None,
    sends: None,
};

/// A broker, a device, and its expected output.
struct Row {
    name: &'static str,
    rules: Rules,
    credentials: Option<Credentials<'static>>,
    filters: &'static [(&'static str, QoS)],
    /// Published on the first connection.
    messages: &'static [Message<'static>],
    /// The topic on which the device answers each received message.
    answer: Option<&'static str>,
    /// Parts of the output, in this order.
    sees: &'static [&'static str],
    /// Texts that must not be in the output.
    sees_not: &'static [&'static str],
    /// Parts of the packets that the broker accepts, in this order.
    accepts: &'static [&'static str],
}

const ROW: Row = Row {
    name: "",
    rules: ANY,
    credentials: None,
    filters: &[],
    messages: &[],
    answer: None,
    sees: &[],
    sees_not: &[],
    accepts: &[],
};

const fn retained(topic: &'static str, qos: QoS) -> Message<'static> {
    Message {
        qos,
        retain: true,
        ..Message::new(topic, b"21")
    }
}

const fn of(topic: &'static str, payload: &'static [u8], qos: QoS) -> Message<'static> {
    Message {
        qos,
        ..Message::new(topic, payload)
    }
}

/// A payload of 128 KiB.
static LARGE: [u8; 128 * 1024] = [b'x'; 128 * 1024];
/// A long password.
static TOKEN: [u8; 3000] = [b't'; 3000];

const ROWS: &[Row] = &[
    Row {
        name: "no QoS 2: it closes at such a message",
        rules: Rules {
            publish_qos2: Some(Reaction::Closes),
            ..ANY
        },
        messages: &[of("a", b"", QOS1), of("b", b"", QOS2), of("c", b"", QOS1)],
        sees: &[
            "message 1 delivered",
            "connection closed at message 2 at QoS 2, 3 times in a row: the server may not allow its topic, size or QoS",
            "message 2 discarded",
            "message 3 delivered",
        ],
        accepts: &["publish a", "publish c"],
        ..ROW
    },
    Row {
        name: "no QoS 2: it grants QoS 1",
        rules: Rules {
            subscribe_qos2: Some(Reaction::Answers),
            ..ANY
        },
        filters: &[("a", QOS2)],
        sees: &["subscribed \"a\" at QoS 1"],
        sees_not: &["closed"],
        ..ROW
    },
    Row {
        name: "no QoS 2: it closes at such a filter",
        rules: Rules {
            subscribe_qos2: Some(Reaction::Closes),
            ..ANY
        },
        filters: &[("a", QOS1), ("b", QOS2)],
        sees: &[
            "connection closed at filter 2 of the subscriptions, 2 times in a row: the server may not allow it",
        ],
        ..ROW
    },
    Row {
        name: "no QoS 2: it does not answer such a message",
        rules: Rules {
            publish_qos2: Some(Reaction::Ignores),
            ..ANY
        },
        messages: &[of("a", b"", QOS1), of("b", b"", QOS2)],
        sees: &[
            "message 1 delivered",
            "the server did not answer request 2 within the response timeout",
        ],
        accepts: &["publish a"],
        ..ROW
    },
    Row {
        name: "no QoS 2: it does not answer such a filter",
        rules: Rules {
            subscribe_qos2: Some(Reaction::Ignores),
            ..ANY
        },
        filters: &[("a", QOS1), ("b", QOS2)],
        sees: &["the server did not answer request 1 within the response timeout"],
        ..ROW
    },
    Row {
        name: "a policy: it closes at a message elsewhere",
        rules: Rules {
            policy: &["lamp/#"],
            ..ANY
        },
        messages: &[of("lamp/a", b"", QOS1), of("door/a", b"", QOS1)],
        sees: &[
            "message 1 delivered",
            "connection closed at message 2 at QoS 1",
        ],
        accepts: &["publish lamp/a"],
        ..ROW
    },
    Row {
        name: "a policy: it refuses a filter elsewhere",
        rules: Rules {
            policy: &["lamp/#"],
            ..ANY
        },
        filters: &[("lamp/set", QOS1), ("door/set", QOS1)],
        sees: &["subscribed \"lamp/set\" at QoS 1 \"door/set\" REFUSED by the server"],
        sees_not: &["closed"],
        ..ROW
    },
    Row {
        name: "a policy: it closes at a filter elsewhere",
        rules: Rules {
            policy: &["lamp/#"],
            subscribe_policy: Reaction::Closes,
            ..ANY
        },
        filters: &[("lamp/set", QOS1), ("door/set", QOS1)],
        sees: &["connection closed at filter 2 of the subscriptions"],
        ..ROW
    },
    Row {
        name: "messages of 128 KiB: it closes at a larger one",
        rules: Rules {
            packet_limit: 128 * 1024,
            ..ANY
        },
        messages: &[of("a", &LARGE, QOS1), of("a", b"", QOS1)],
        sees: &[
            "connection closed at message 1 at QoS 1",
            "message 2 delivered",
        ],
        ..ROW
    },
    Row {
        name: "messages of 2 KiB: it closes at a larger one at QoS 0",
        rules: Rules {
            packet_limit: 2048,
            ..ANY
        },
        messages: &[of("a", &TOKEN, QOS0)],
        sees: &["connected", "connection closed: by the peer", "connected"],
        accepts: &["connect", "connect"],
        ..ROW
    },
    Row {
        name: "a CONNECT of 2 KiB: it closes at a longer password",
        rules: Rules {
            connect_limit: 2048,
            ..ANY
        },
        credentials: Some(Credentials {
            user_name: "u",
            password: Some(&TOKEN),
        }),
        sees: &["connection closed: by the peer"],
        sees_not: &["connected: "],
        ..ROW
    },
    Row {
        name: "no retained messages: it closes at one",
        rules: Rules {
            has_retained: false,
            ..ANY
        },
        messages: &[retained("a", QOS1), of("a", b"", QOS1)],
        sees: &[
            "connection closed at message 1 at QoS 1",
            "message 2 delivered",
        ],
        accepts: &["publish a"],
        ..ROW
    },
    Row {
        name: "at most 8 filters in a SUBSCRIBE",
        rules: Rules {
            filter_limit: 8,
            ..ANY
        },
        filters: &[
            ("0", QOS1),
            ("1", QOS1),
            ("2", QOS1),
            ("3", QOS1),
            ("4", QOS1),
            ("5", QOS1),
            ("6", QOS1),
            ("7", QOS1),
            ("8", QOS1),
            ("9", QOS1),
            ("10", QOS1),
            ("11", QOS1),
            ("12", QOS1),
            ("13", QOS1),
            ("14", QOS1),
            ("15", QOS1),
            ("16", QOS1),
        ],
        sees: &[
            "subscribed \"0\" at QoS 1",
            "\"8\" at QoS 1",
            "\"16\" at QoS 1",
        ],
        sees_not: &["closed"],
        accepts: &["subscribe 0 1 2 3 4 5 6 7", "subscribe 8 9", "14 15 16"],
        ..ROW
    },
    Row {
        name: "AWS IoT: the shadow of a thing",
        rules: Rules {
            filter_limit: 8,
            publish_qos2: Some(Reaction::Ignores),
            subscribe_qos2: Some(Reaction::Ignores),
            policy: &["$aws/things/lamp/shadow/#"],
            subscribe_policy: Reaction::Closes,
            sends: Some(("$aws/things/lamp/shadow/update/delta", "{\"state\":{}}")),
            ..ANY
        },
        filters: &[("$aws/things/lamp/shadow/update/delta", QOS1)],
        answer: Some("$aws/things/lamp/shadow/update"),
        sees: &[
            "subscribed",
            "message on \"$aws/things/lamp/shadow/update/delta\"",
        ],
        sees_not: &["closed"],
        accepts: &["publish $aws/things/lamp/shadow/update"],
        ..ROW
    },
    Row {
        name: "Azure IoT Hub: user name, token, property bag and direct methods",
        rules: Rules {
            publish_qos2: Some(Reaction::Closes),
            subscribe_qos2: Some(Reaction::Answers),
            login: Some((
                "hub.azure-devices.net/lamp-7/?api-version=2021-04-12",
                Some(180),
            )),
            sends: Some(("$iothub/methods/POST/reboot/?$rid=1", "{}")),
            ..ANY
        },
        credentials: Some(Credentials {
            user_name: "hub.azure-devices.net/lamp-7/?api-version=2021-04-12",
            password: Some(TOKEN.split_at(180).0),
        }),
        filters: &[
            ("devices/lamp-7/messages/devicebound/#", QOS2),
            ("$iothub/methods/POST/#", QOS0),
        ],
        messages: &[of(
            "devices/lamp-7/messages/events/$.ct=application%2Fjson&$.ce=utf-8",
            b"{}",
            QOS1,
        )],
        answer: Some("$iothub/methods/res/200/?$rid=1"),
        sees: &[
            "subscribed \"devices/lamp-7/messages/devicebound/#\" at QoS 1 \"$iothub/methods/POST/#\" at QoS 0",
            "message on \"$iothub/methods/POST/reboot/?$rid=1\"",
        ],
        sees_not: &["closed"],
        accepts: &[
            "connect hub.azure-devices.net/lamp-7/?api-version=2021-04-12",
            "publish devices/lamp-7/messages/events/$.ct=application%2Fjson&$.ce=utf-8",
            "publish $iothub/methods/res/200/?$rid=1",
        ],
    },
    Row {
        name: "ThingsBoard: a token as user name, without a password",
        rules: Rules {
            publish_qos2: Some(Reaction::Closes),
            subscribe_qos2: Some(Reaction::Answers),
            login: Some(("A1_TEST_TOKEN", None)),
            ..ANY
        },
        credentials: Some(Credentials {
            user_name: "A1_TEST_TOKEN",
            password: None,
        }),
        filters: &[
            ("v1/devices/me/attributes", QOS1),
            ("v1/devices/me/rpc/request/+", QOS1),
        ],
        messages: &[of("v1/devices/me/telemetry", b"{\"t\":21}", QOS1)],
        sees: &["connected", "subscribed", "delivered"],
        sees_not: &["closed"],
        accepts: &["connect A1_TEST_TOKEN", "publish v1/devices/me/telemetry"],
        ..ROW
    },
    Row {
        name: "ThingsBoard: another token",
        rules: Rules {
            login: Some(("A1_TEST_TOKEN", None)),
            ..ANY
        },
        credentials: Some(Credentials {
            user_name: "A2",
            password: None,
        }),
        sees: &[
            "connection refused: this client is not authorized",
            "connection refused",
        ],
        sees_not: &["connected: "],
        ..ROW
    },
    Row {
        name: "Adafruit IO: a feed, and why a message was not taken",
        rules: Rules {
            publish_qos2: Some(Reaction::Closes),
            policy: &["ada/feeds/+", "ada/errors", "ada/throttle"],
            sends: Some((
                "ada/throttle",
                "ada data rate limit reached, 17 seconds until throttle released",
            )),
            ..ANY
        },
        filters: &[("ada/errors", QOS0), ("ada/throttle", QOS0)],
        messages: &[of("ada/feeds/lamp-7", b"21", QOS1)],
        sees: &["subscribed", "message on \"ada/throttle\": 63 bytes"],
        sees_not: &["closed"],
        accepts: &["publish ada/feeds/lamp-7"],
        ..ROW
    },
];

type Lines = Rc<RefCell<Vec<String>>>;

/// Returns a broker with these rules, which records the accepted packets.
fn broker(
    rules: Rules,
    accepted: Lines,
    closing: Rc<Cell<bool>>,
) -> impl FnMut(&Packet<'_>) -> Vec<u8> {
    let may_use = move |topic: &str| {
        let matches = |filter: &&str| {
            TopicFilter::new(filter)
                .unwrap()
                .matches(TopicName::new(topic).unwrap())
        };
        rules.policy.is_empty() || rules.policy.iter().any(matches)
    };
    move |packet| {
        let note = |text: String| accepted.borrow_mut().push(text);
        let len = packet.encoded_len().unwrap();
        let is_against = match packet {
            Packet::Connect(_) => len > rules.connect_limit,
            Packet::Publish(message) => {
                len > rules.packet_limit
                    || message.delivery.qos() == QOS2
                        && rules.publish_qos2 == Some(Reaction::Closes)
                    || message.retain && !rules.has_retained
                    || !may_use(message.topic.as_str())
            }
            Packet::Subscribe(subscribe) => {
                let against = |(filter, qos): (TopicFilter<'_>, QoS)| {
                    qos == QOS2 && rules.subscribe_qos2 == Some(Reaction::Closes)
                        || rules.subscribe_policy == Reaction::Closes
                            && !rules.policy.is_empty()
                            && !rules.policy.contains(&filter.as_str())
                            && !may_use(filter.as_str())
                };
                subscribe.filters().count() > rules.filter_limit || subscribe.filters().any(against)
            }
            _ => false,
        };
        if is_against {
            closing.set(true);
            return Vec::new();
        }
        let is_ignored = match packet {
            Packet::Publish(message) => {
                message.delivery.qos() == QOS2 && rules.publish_qos2 == Some(Reaction::Ignores)
            }
            Packet::Subscribe(subscribe) => {
                rules.subscribe_qos2 == Some(Reaction::Ignores)
                    && subscribe.filters().any(|(_, qos)| qos == QOS2)
            }
            _ => false,
        };
        if is_ignored {
            return Vec::new();
        }
        match packet {
            Packet::Connect(connect) => {
                let login = connect
                    .credentials
                    .map(|it| (it.user_name, it.password.map(<[u8]>::len)));
                if rules.login.is_some() && rules.login != login {
                    closing.set(true);
                    return refused(ConnectReturnCode::NotAuthorized);
                }
                note(format!("connect {}", login.unwrap_or_default().0));
            }
            Packet::Publish(message) => note(format!("publish {}", message.topic.as_str())),
            Packet::Subscribe(subscribe) => {
                let names: Vec<_> = subscribe
                    .filters()
                    .map(|(filter, _)| filter.as_str())
                    .collect();
                note(format!("subscribe {}", names.join(" ")));
                let code = |(filter, qos): (TopicFilter<'_>, QoS)| {
                    if !may_use(filter.as_str()) {
                        SubackReturnCode::Failure
                    } else if rules.subscribe_qos2.is_some() {
                        SubackReturnCode::Granted(qos.min(QOS1))
                    } else {
                        SubackReturnCode::Granted(qos)
                    }
                };
                let codes: Vec<_> = subscribe.filters().map(code).collect();
                let mut answer = suback(subscribe.packet_id().get(), &codes);
                if let Some((topic, payload)) = rules.sends {
                    answer.extend(publish(topic, payload.as_bytes(), QOS0, 0));
                }
                return answer;
            }
            _ => {}
        }
        server(packet)
    }
}

impl Row {
    fn config(&self) -> Config<'static> {
        Config {
            connect: Connect {
                clean_session: false,
                credentials: self.credentials,
                ..Connect::new("lamp-7")
            },
            subscriptions: self.filters,
        }
    }

    /// Handles an event as the program of a device would.
    fn handle(&self, lines: &Lines, event: Event<'_>, publisher: &mut Publisher<'_, '_>) {
        lines.borrow_mut().push(event.to_string());
        match event {
            Event::Connected { .. } if lines.borrow().len() == 1 => {
                for message in self.messages {
                    publisher.publish(message).unwrap();
                }
            }
            Event::Message(request) => {
                if let Some(topic) = self.answer {
                    publisher
                        .publish(&message(topic, request.payload, QOS1))
                        .unwrap();
                }
            }
            _ => {}
        }
    }

    /// Returns the differences from the row.
    fn check(&self, device: &str, seen: &[String], accepted: &[String]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (lines, expected) in [(seen, self.sees), (accepted, self.accepts)] {
            let mut rest = lines.iter();
            for part in expected {
                if !rest.any(|line| line.contains(part)) {
                    wrong.push(format!("{part:?} is missing in {lines:#?}"));
                }
            }
        }
        for part in self.sees_not {
            if seen.iter().any(|line| line.contains(part)) {
                wrong.push(format!("there is {part:?} in {seen:#?}"));
            }
        }
        wrong
            .iter()
            .map(|it| format!("{device}, {}: {it}", self.name))
            .collect()
    }
}

/// Handles the end of a connection: prints the reason, and discards a message that the server does not accept.
fn end(lines: &Lines, error: &Error<Fault>, discard: impl FnOnce(umqtt::codec::PacketId)) {
    lines.borrow_mut().push(error.to_string());
    if let Error::Protocol(ProtocolError::ClosedAtPublish { packet_id, .. }) = error {
        discard(*packet_id);
    }
}

type Memory = Storage<512, 140_000, 8>;

#[test]
fn blocking_device_with_cloud_limits_behaves_as_in_table() {
    let mut wrong = Vec::new();
    for row in ROWS {
        let (seen, accepted) = (Lines::default(), Lines::default());
        let network = Network::new();
        network.set_step(50);
        network.answer(broker(row.rules, Rc::clone(&accepted), network.closing()));
        let mut memory = Box::new(Memory::new());
        let mut device = blocking::Device::new(&mut memory, &network, &row.config()).unwrap();
        while network.millis() < TIME {
            device
                .dial(|| Ok::<_, Error<Fault>>(network.transport()))
                .unwrap();
            let served = device.serve(1_000, |event, publisher| {
                row.handle(&seen, event, publisher)
            });
            if let Err(error) = served {
                end(&seen, &error, |id| device.discard_publish(id).unwrap());
            }
        }
        wrong.extend(row.check("blocking", &seen.borrow(), &accepted.borrow()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn async_device_with_cloud_limits_behaves_as_in_table() {
    let mut wrong = Vec::new();
    for row in ROWS {
        let (seen, accepted) = (Lines::default(), Lines::default());
        let world = World::new();
        world.answer(broker(row.rules, Rc::clone(&accepted), world.closing()));
        let mut memory = Box::new(Memory::new());
        let mut device: asynch::Device<'_, _> =
            asynch::Device::new(&mut memory, &world, &row.config()).unwrap();
        let (mqtt, mut runner) = device.split();
        let network = async {
            loop {
                let handler = |event: Event<'_>, publisher: &mut Publisher<'_, '_>| {
                    row.handle(&seen, event, publisher)
                };
                if let Ended::Lost { error, .. } = runner.run(world.dial(), handler).await {
                    end(&seen, &error, |id| mqtt.discard_publish(id).unwrap());
                }
                pause(&world, 10_000).await;
            }
        };
        let ended: Option<()> = world.run_for(TIME, network);
        assert!(ended.is_none());
        wrong.extend(row.check("async", &seen.borrow(), &accepted.borrow()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// Messages that are published before CONNACK: with subscriptions, they wait for it.

const EARLY: [(&str, QoS); 3] = [("early/0", QOS0), ("early/1", QOS1), ("early/2", QOS2)];

/// The filters of a device, and the types of the packets that it sends.
struct Order {
    filters: &'static [(&'static str, QoS)],
    before_connack: &'static [PacketType],
    after_connack: &'static [PacketType],
}

const ORDERS: [Order; 2] = [
    Order {
        filters: &[("early/#", QOS0)],
        before_connack: &[PacketType::Connect],
        after_connack: &[
            PacketType::Subscribe,
            PacketType::Publish,
            PacketType::Publish,
            PacketType::Publish,
        ],
    },
    Order {
        filters: &[],
        before_connack: &[
            PacketType::Connect,
            PacketType::Publish,
            PacketType::Publish,
            PacketType::Publish,
        ],
        after_connack: &[],
    },
];

/// Returns the types of these packets, in their order.
fn types(stream: &[u8]) -> Vec<PacketType> {
    let (all, rest) = packets(stream);
    assert!(rest.is_empty());
    let decode = |packet| Packet::decode(packet).unwrap().unwrap().0.packet_type();
    all.into_iter().map(decode).collect()
}

fn with_filters(filters: &'static [(&'static str, QoS)]) -> Config<'static> {
    Config {
        connect: Connect::new("lamp-7"),
        subscriptions: filters,
    }
}

#[test]
fn blocking_device_publishes_before_connack_order_is_as_in_table() {
    for order in ORDERS {
        let network = Network::new();
        let mut memory = Storage::<256, 512, 4>::new();
        let config = with_filters(order.filters);
        let mut device = blocking::Device::new(&mut memory, &network, &config).unwrap();
        device.connect(network.transport()).unwrap();
        for (topic, qos) in EARLY {
            device.publish(&message(topic, b"", qos)).unwrap();
            device.serve(100, |_, _| {}).unwrap();
        }
        assert_eq!(types(&network.take_sent()), order.before_connack);
        network.feed(&connack(false));
        device.serve(100, |_, _| {}).unwrap();
        assert_eq!(types(&network.take_sent()), order.after_connack);
    }
}

#[test]
fn async_device_publishes_before_connack_order_is_as_in_table() {
    for order in ORDERS {
        let world = World::new();
        let mut memory = Storage::<256, 512, 4>::new();
        let config = with_filters(order.filters);
        let mut device: asynch::Device<'_, _> =
            asynch::Device::new(&mut memory, &world, &config).unwrap();
        let (mqtt, mut runner) = device.split();
        let calls = async {
            for (topic, qos) in EARLY {
                pause(&world, 100).await;
                mqtt.publish(&message(topic, b"", qos)).await.unwrap();
            }
            pause(&world, 100).await;
            assert_eq!(types(&world.take_sent()), order.before_connack);
            world.feed(&connack(false));
            pause(&world, 100).await;
            types(&world.take_sent())
        };
        let running = runner.run(world.dial(), |_, _: &mut Publisher<'_, '_>| {});
        let Either::Second(sent) = world.run(select(running, calls)) else {
            panic!("the connection ended");
        };
        assert_eq!(sent, order.after_connack);
    }
}

/// If a password does not fit into the send buffer, the device returns the error before it connects.
#[test]
fn token_larger_than_send_buffer_reports_bytes_needed() {
    let credentials = Some(Credentials {
        user_name: "u",
        password: Some(&TOKEN),
    });
    let config = Config::new(Connect {
        credentials,
        ..Connect::new("lamp-7")
    });
    let network = Network::new();
    let mut memory = Storage::<256, 1024, 4>::new();
    let device = blocking::Device::<'_, Transport, _>::new(&mut memory, &network, &config);
    let Err(refused) = device else {
        panic!("it has no room for the CONNECT");
    };
    assert!(
        matches!(refused, RequestError::PacketTooLarge { .. }),
        "{refused:?}"
    );
    let text = refused.to_string();
    assert!(text.contains("3026"), "{text}");
}
