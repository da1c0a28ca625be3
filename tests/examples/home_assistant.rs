//! The device of the example appears in Home Assistant, which the test simulates by the rules of its MQTT integration.

use std::{
    collections::HashMap,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Map, Value};
use umqtt::{
    Config, Event, Message, Storage,
    blocking::Device,
    codec::{Connect, QoS},
    std_io::{self, StdClock, TcpTransport},
};

use super::{count, program, run};

const DISCOVERY: &str = "homeassistant/device/umqtt-lamp-7/config";
/// Maximum time until an expected message.
const PATIENCE: Duration = Duration::from_secs(10);

/// The lamp, which is killed when the test ends.
struct Lamp(Child);

impl Lamp {
    fn start(broker: SocketAddr) -> Self {
        let broker = broker.to_string();
        let mut command = Command::new(program("home_assistant"));
        command.args(["--broker", &broker]).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Lamp {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last message on a topic.
#[derive(Clone, PartialEq, Debug)]
struct Received {
    text: String,
    /// It was published before the subscription.
    is_retained: bool,
}

/// Home Assistant's client.
struct HomeAssistant<'d> {
    device: Device<'d, TcpTransport, StdClock>,
    received: HashMap<String, Received>,
}

impl<'d> HomeAssistant<'d> {
    fn new(broker: SocketAddr, storage: &'d mut Storage<2048, 512, 8>, id: &'d str) -> Self {
        let config = Config {
            connect: Connect::new(id),
            subscriptions: &[("homeassistant/device/+/config", QoS::AtMostOnce)],
        };
        let mut device = Device::new(storage, StdClock::new(), &config).unwrap();
        device.connect(std_io::connect(broker).unwrap()).unwrap();
        let received = HashMap::new();
        Self { device, received }
    }

    /// Waits for a message on this topic that passes the check.
    fn wait_for(&mut self, topic: &str, mut expected: impl FnMut(&Received) -> bool) -> String {
        let start = Instant::now();
        loop {
            let received = &mut self.received;
            let served = self.device.recv(100, |event, _| {
                if let Event::Message(message) = event {
                    let text = String::from_utf8(message.payload.to_vec()).unwrap();
                    let is_retained = message.retain;
                    received.insert(message.topic.to_owned(), Received { text, is_retained });
                }
            });
            served.unwrap();
            if let Some(it) = self.received.get(topic).filter(|it| expected(it)) {
                return it.text.clone();
            }
            assert!(start.elapsed() < PATIENCE, "{topic}: {:#?}", self.received);
        }
    }

    fn publish(&mut self, topic: &str, payload: &str) {
        let message = Message::new(topic, payload.as_bytes());
        self.device.publish(&message).unwrap();
    }

    fn subscribe(&mut self, topic: &str) {
        self.device.subscribe(&[(topic, QoS::AtMostOnce)]).unwrap();
    }
}

/// The required text at this key.
fn text<'v>(map: &'v Map<String, Value>, key: &str) -> &'v str {
    let value = map.get(key).and_then(Value::as_str);
    value.unwrap_or_else(|| panic!("no text {key:?} in {map:?}"))
}

fn object<'v>(map: &'v Map<String, Value>, key: &str) -> &'v Map<String, Value> {
    let value = map.get(key).and_then(Value::as_object);
    value.unwrap_or_else(|| panic!("no object {key:?} in {map:?}"))
}

/// A component with the options that it shares with the others.
fn component(root: &Map<String, Value>, key: &str, platform: &str) -> Map<String, Value> {
    let mut component = object(object(root, "cmps"), key).clone();
    assert_eq!(text(&component, "p"), platform);
    assert!(text(&component, "unique_id").starts_with("umqtt-lamp-7-"));
    let available = text(root, "availability_topic").into();
    component.insert("availability_topic".to_owned(), available);
    component
}

/// From discovery to the end of the device, twice: the second time, the retained messages contain all information.
#[test]
fn home_assistant_finds_and_switches_lamp() {
    let broker = embedded_broker::start().unwrap();
    let mut storage = Storage::new();
    let mut home = HomeAssistant::new(broker, &mut storage, "homeassistant");
    let mut lamp = Lamp::start(broker);

    let json = home.wait_for(DISCOVERY, |_| true);
    let root: Map<String, Value> = serde_json::from_str(&json).unwrap();
    text(object(&root, "o"), "name");
    assert_eq!(text(object(&root, "dev"), "ids"), "umqtt-lamp-7");
    let switch = component(&root, "switch", "switch");
    let sensor = component(&root, "temperature", "sensor");
    assert_ne!(text(&switch, "unique_id"), text(&sensor, "unique_id"));
    assert_eq!(text(&sensor, "state_class"), "measurement");
    assert_eq!(text(&sensor, "device_class"), "temperature");
    assert_eq!(text(&sensor, "unit_of_measurement"), "°C");
    let (state, set) = (text(&switch, "state_topic"), text(&switch, "command_topic"));
    let celsius = text(&sensor, "state_topic");
    let available = text(&switch, "availability_topic");
    for topic in [available, state, celsius] {
        home.subscribe(topic);
    }
    home.wait_for(available, |it| it.text == "online");
    home.wait_for(state, |it| it.text == "OFF");
    home.wait_for(celsius, |it| it.text.parse::<f32>().is_ok());

    home.publish(set, "ON");
    home.wait_for(state, |it| it.text == "ON");

    // Home Assistant has started again: the device publishes all that it needs, with the present state.
    home.received.clear();
    home.publish("homeassistant/status", "online");
    home.wait_for(DISCOVERY, |it| it.text == json);
    home.wait_for(available, |it| it.text == "online");
    home.wait_for(state, |it| it.text == "ON");

    lamp.kill();
    home.wait_for(available, |it| it.text == "offline");
    // A second Home Assistant, without earlier subscriptions, finds the device and sees that it is offline.
    let mut storage = Storage::new();
    let mut other = HomeAssistant::new(broker, &mut storage, "other");
    other.wait_for(DISCOVERY, |it| it.text == json && it.is_retained);
    other.subscribe(available);
    other.wait_for(available, |it| it.text == "offline" && it.is_retained);
    let _again = Lamp::start(broker);
    other.wait_for(available, |it| it.text == "online");
}

#[test]
fn home_assistant_without_broker_ends_in_order() {
    let output = run("home_assistant");
    assert_eq!(count(&output, "a broker starts in this process"), 1);
    assert_eq!(
        count(&output, "subscribed \"umqtt-lamp-7/switch/set\" at QoS 1"),
        1
    );
    // The discovery, `online` and the switch. The DISCONNECT follows `offline` at once, so a broker need not answer it.
    assert!(count(&output, " delivered") >= 3, "{output}");
    assert_eq!(count(&output, "not published"), 0, "{output}");
}
