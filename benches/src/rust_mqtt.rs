//! Rows of rust-mqtt, which supports only MQTT 5. Its codec is not public, so it has rows of the session alone.

use rust_mqtt::Bytes;
use rust_mqtt::buffer::AllocBuffer;
use rust_mqtt::client;
use rust_mqtt::client::event::Event;
use rust_mqtt::client::options::{ConnectOptions, PublicationOptions, TopicReference};
use rust_mqtt::config::KeepAlive;
use rust_mqtt::types::{self, MqttString, TopicName};
use umqtt::codec::QoS;

use crate::line::{CONNACK_5, Client, Line, OnLine, once, publish_5};
use crate::packets::TOPIC;
use crate::peer::{Connected, Log, Outcome, PAYLOAD};

/// A client of rust-mqtt, with up to eight messages in flight in both directions.
pub struct RustMqtt(client::Client<'static, 'static, Line, AllocBuffer, 1, 8, 8, 1, 0, 0, 0>);

impl RustMqtt {
    pub fn connected() -> Connected<OnLine<Self>> {
        let mut client = client::Client::new(Box::leak(Box::new(AllocBuffer)));
        let line = Line::default();
        line.receive(&CONNACK_5);
        let options = ConnectOptions::new()
            .clean_start()
            .keep_alive(KeepAlive::Infinite);
        let id = MqttString::from_str("bench").expect("it is short");
        let connected = once(client.connect(line.clone(), &options, Some(id)));
        connected
            .expect("all bytes are in memory")
            .expect("it is accepted");
        line.take_sent(&mut Log::default());
        let client = Self(client);
        Connected::new(OnLine { client, line }, publish_5)
    }
}

impl Client for RustMqtt {
    fn handle(&mut self, outcome: &mut Outcome) {
        while let Some(event) = once(self.0.poll()) {
            let event = std::hint::black_box(event.expect("nothing is wrong"));
            if let Event::Publish(message) = event {
                outcome.deliver(&message.message);
            }
        }
    }

    fn send(&mut self, line: &Line, qos: QoS, log: &mut Log) -> Outcome {
        let level = match qos {
            QoS::AtMostOnce => types::QoS::AtMostOnce,
            QoS::AtLeastOnce => types::QoS::AtLeastOnce,
            QoS::ExactlyOnce => types::QoS::ExactlyOnce,
        };
        let topic = MqttString::from_str(TOPIC).ok().and_then(TopicName::new);
        let topic = TopicReference::Name(topic.expect("it is valid"));
        let options = PublicationOptions::new(topic).qos(level);
        let published = once(self.0.publish(&options, Bytes::from(&PAYLOAD[..])));
        published
            .expect("the transport accepts all bytes")
            .expect("there is room");
        line.acknowledge(qos, log, |outcome| self.handle(outcome))
    }
}
