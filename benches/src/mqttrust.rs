//! Rows of mqttrust. Its codec is not public, so it has rows of the session alone.

use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embedded_nal_async::TcpConnect;
use mqttrust::transport::embedded_nal::NalTransport;
use mqttrust::{Config, IpBroker, MqttClient, Publish, State, Subscribe, Subscription};
use umqtt::codec::QoS;

use crate::line::{Client, Line, OnLine, once};
use crate::packets::TOPIC;
use crate::peer::{Connected, Log, Outcome, PAYLOAD};

/// A network whose only connection is the line.
struct Network(Line);

impl TcpConnect for Network {
    type Error = Infallible;
    type Connection<'a> = Line;

    async fn connect(&self, _remote: SocketAddr) -> Result<Line, Infallible> {
        Ok(self.0.clone())
    }
}

/// The task of mqttrust for the network.
type Stack = Pin<Box<dyn Future<Output = ()>>>;

/// A client of mqttrust, its task for the network, and a subscription. Their state exists until the program ends.
pub struct Mqttrust {
    client: &'static MqttClient<'static, NoopRawMutex>,
    stack: Stack,
    subscription: Subscription<'static, 'static, NoopRawMutex, 1>,
}

impl Mqttrust {
    /// Connects with buffers of 256 bytes to receive and 4,096 bytes to send.
    pub fn connected(message: fn(u8, u16, &[u8]) -> Vec<u8>) -> Connected<OnLine<Self>> {
        let state = Box::leak(Box::new(State::<NoopRawMutex, 4096, 256>::new()));
        let config = Config::builder().client_id("bench".try_into().expect("it is short"));
        let (mut stack, client) = mqttrust::new(state, config.build());
        let client: &'static _ = Box::leak(Box::new(client));
        let line = Line::default();
        let network: &'static _ = Box::leak(Box::new(Network(line.clone())));
        let mut transport = NalTransport::new(network, IpBroker::new(Ipv4Addr::LOCALHOST, 1883));
        let mut stack: Stack = Box::pin(async move { stack.run(&mut transport).await });
        line.receive(&[0x20, 2, 0, 0]);
        run(&mut stack);
        line.take_sent(&mut Log::default());

        let subscribing = async {
            let topics = [TOPIC.into()];
            let subscribe = Subscribe::builder().topics(&topics).build();
            client.subscribe::<1>(subscribe).await
        };
        let mut subscribing = pin!(subscribing);
        assert!(once(subscribing.as_mut()).is_none(), "it waits for SUBACK");
        run(&mut stack);
        let id = line.subscribe_id();
        line.take_sent(&mut Log::default());
        line.receive(&[0x90, 3, id[0], id[1], 2]);
        run(&mut stack);
        let subscription = once(subscribing).expect("SUBACK is received");
        let subscription = subscription.expect("it is granted");
        let client = Self {
            client,
            stack,
            subscription,
        };
        Connected::new(OnLine { client, line }, message)
    }
}

impl Client for Mqttrust {
    /// MQTT 3.1.1 demands 0x62.
    const PUBREL: u8 = 0x60;

    fn handle(&mut self, outcome: &mut Outcome) {
        run(&mut self.stack);
        while let Some(message) = once(self.subscription.next_message()) {
            let message = message.expect("it is connected");
            outcome.deliver(std::hint::black_box(message.payload()));
        }
    }

    fn send(&mut self, line: &Line, qos: QoS, log: &mut Log) -> Outcome {
        let level = match qos {
            QoS::AtMostOnce => mqttrust::QoS::AtMostOnce,
            QoS::AtLeastOnce => mqttrust::QoS::AtLeastOnce,
            QoS::ExactlyOnce => mqttrust::QoS::ExactlyOnce,
        };
        let publish = Publish::builder().topic_name(TOPIC).payload(&PAYLOAD);
        let mut publishing = pin!(self.client.publish(publish.qos(level).build()));
        assert!(once(publishing.as_mut()).is_none(), "it waits");
        run(&mut self.stack);
        let outcome = line.acknowledge(qos, log, |_| run(&mut self.stack));
        let published = once(publishing).expect("all acknowledgements are received");
        published.expect("nothing is wrong");
        outcome
    }
}

fn run(stack: &mut Stack) {
    assert!(once(stack.as_mut()).is_none(), "it runs without an end");
}
