//! A lamp with a thermometer in Home Assistant, explained in `docs/home-assistant.md`: `cargo run --example
//! home_assistant -- --broker HOST:PORT`. Without `--broker`, it starts its own broker and ends after five readings.

mod pc;

use Value::{Map, Null, Text};
use serde::{Serialize, Serializer};
use umqtt::{
    Config, Event, Message, Publisher, RequestError, Storage,
    blocking::Device,
    codec::{Connect, QoS, Will},
    std_io::{self, StdClock},
};

const ID: &str = "umqtt-lamp-7";
const DISCOVERY: &str = "homeassistant/device/umqtt-lamp-7/config";
const STATUS: &str = "homeassistant/status";
const AVAILABILITY: &str = "umqtt-lamp-7/availability";
const SWITCH: &str = "umqtt-lamp-7/switch";
const SWITCH_SET: &str = "umqtt-lamp-7/switch/set";
const ON: &[u8] = b"ON";
const OFF: &[u8] = b"OFF";
const TEMPERATURE: &str = "umqtt-lamp-7/temperature";

/// The payload of the discovery topic. The abbreviated names are Home Assistant's.
const CONFIG: Value = Map(&[
    ("dev", Map(&[("ids", Text(ID)), ("name", Text("Lamp 7"))])),
    ("o", Map(&[("name", Text("umqtt"))])),
    ("availability_topic", Text(AVAILABILITY)),
    (
        "cmps",
        Map(&[
            ("switch", Map(SWITCH_CONFIG)),
            ("temperature", Map(TEMPERATURE_CONFIG)),
        ]),
    ),
]);
const SWITCH_CONFIG: Entries = &[
    ("p", Text("switch")),
    ("unique_id", Text("umqtt-lamp-7-switch")),
    ("name", Null), // that of the device
    ("command_topic", Text(SWITCH_SET)),
    ("state_topic", Text(SWITCH)),
];
const TEMPERATURE_CONFIG: Entries = &[
    ("p", Text("sensor")),
    ("unique_id", Text("umqtt-lamp-7-temperature")),
    ("device_class", Text("temperature")),
    ("state_class", Text("measurement")),
    ("unit_of_measurement", Text("°C")),
    ("state_topic", Text(TEMPERATURE)),
];

/// A JSON value in constant memory.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
enum Value {
    Null,
    Text(&'static str),
    Map(#[serde(serialize_with = "map")] Entries),
}

type Entries = &'static [(&'static str, Value)];

fn map<S: Serializer>(entries: &Entries, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().copied())
}

fn main() -> std::process::ExitCode {
    pc::report(lamp())
}

fn lamp() -> pc::Result<()> {
    let broker = pc::broker()?;
    let is_alone = std::env::args().len() == 1;
    let mut json = [0; 640];
    let len = serde_json_core::to_slice(&CONFIG, &mut json)?;
    let json = json.get(..len).unwrap_or_default();
    let mut switch = OFF;

    let mut storage = Storage::<256, 2048, 8>::new();
    let mut connect = Connect::new(ID);
    connect.will = Some(Will {
        qos: QoS::AtLeastOnce,
        retain: true,
        ..Will::new(AVAILABILITY, b"offline")
    });
    let subscriptions = &[(SWITCH_SET, QoS::AtLeastOnce), (STATUS, QoS::AtMostOnce)];
    let config = Config {
        connect,
        subscriptions,
    };
    let mut device = Device::new(&mut storage, StdClock::new(), &config)?;
    let mut readings = 0_u32;
    while !(is_alone && readings == 5) {
        if let Err(error) = device.dial(|| std_io::connect(broker)) {
            println!("cannot connect: {error}");
        }
        let served = device.serve(1_000, |event, publisher| {
            println!("{event}");
            let published = match event {
                Event::Connected { .. } => announce(publisher, json, switch),
                Event::Message(message) if message.topic == SWITCH_SET => {
                    switch = if message.payload == ON { ON } else { OFF };
                    publisher.publish(&retained(SWITCH, switch)).map(drop)
                }
                // Home Assistant has started.
                Event::Message(message) if message.payload == b"online" => {
                    announce(publisher, json, switch)
                }
                _ => Ok(()),
            };
            if let Err(error) = published {
                println!("not published: {error}");
            }
        });
        if let Err(error) = served {
            println!("connection lost: {error}");
        } else if device.is_connected() {
            readings = readings.wrapping_add(1);
            let celsius = format!("21.{}", readings % 10);
            if let Err(error) = device.publish(&Message::new(TEMPERATURE, celsius.as_bytes())) {
                println!("not published: {error}");
            }
        }
    }
    // The server discards the will at a DISCONNECT.
    device.publish(&retained(AVAILABILITY, b"offline"))?;
    device.shut_down(|event, _| println!("{event}"))?;
    Ok(())
}

/// Publishes what Home Assistant must know about the device, and its current state.
fn announce(
    publisher: &mut Publisher<'_, '_>,
    json: &[u8],
    switch: &[u8],
) -> Result<(), RequestError> {
    publisher.publish(&retained(DISCOVERY, json))?;
    publisher.publish(&retained(AVAILABILITY, b"online"))?;
    publisher.publish(&retained(SWITCH, switch)).map(drop)
}

/// Returns a retained message. The server sends the last one of a topic to each client that subscribes later.
const fn retained<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message {
        qos: QoS::AtLeastOnce,
        retain: true,
        ..Message::new(topic, payload)
    }
}
