//! Values that the compiler cannot know.

use core::hint::black_box;

use umqtt::{
    Config, Handled, Message, StreamedPublish,
    codec::{
        Connect, Credentials, Delivery, PacketId, QoS, SubackReturnCode, TopicFilter, TopicName,
        Will,
    },
};

/// Returns any value of this type.
pub(crate) fn any<T: Default>() -> T {
    black_box(T::default())
}

/// Prevents the compiler from removing an unused value.
pub(crate) fn hide<T>(value: T) {
    black_box(value);
}

pub(crate) fn bytes() -> &'static [u8] {
    black_box(&[0; 64])
}

pub(crate) fn text() -> &'static str {
    black_box("text")
}

pub(crate) fn id() -> PacketId {
    black_box(PacketId::MIN)
}

pub(crate) fn qos() -> QoS {
    black_box(QoS::AtMostOnce)
}

pub(crate) fn code() -> SubackReturnCode {
    black_box(SubackReturnCode::Failure)
}

pub(crate) fn delivery() -> Delivery {
    black_box(Delivery::AtMostOnce)
}

pub(crate) fn topic() -> Option<TopicName<'static>> {
    TopicName::new(text()).ok()
}

pub(crate) fn filter() -> Option<TopicFilter<'static>> {
    TopicFilter::new(text()).ok()
}

pub(crate) fn message() -> Message<'static> {
    Message {
        qos: qos(),
        retain: any(),
        dup: any(),
        ..Message::new(text(), bytes())
    }
}

pub(crate) fn outgoing() -> StreamedPublish<'static> {
    let new = StreamedPublish::New {
        topic: text(),
        qos: qos(),
        retain: any(),
    };
    black_box([
        StreamedPublish::new(text()),
        new,
        StreamedPublish::Resend(id()),
    ])
    .into_iter()
    .nth(any())
    .unwrap_or(new)
}

pub(crate) fn options() -> Connect<'static> {
    let will = black_box(Some(Will {
        qos: qos(),
        retain: any(),
        ..Will::new(text(), bytes())
    }));
    black_box(Connect {
        clean_session: any(),
        keep_alive: any(),
        will,
        credentials: black_box(Some(Credentials {
            user_name: text(),
            password: black_box(Some(bytes())),
        })),
        ..Connect::new(text())
    })
}

pub(crate) fn subscriptions() -> &'static [(&'static str, QoS)] {
    black_box(&[("text", QoS::AtMostOnce); 3])
}

pub(crate) fn config() -> Config<'static> {
    Config {
        subscriptions: subscriptions(),
        ..Config::new(options())
    }
}

pub(crate) fn handled() -> Handled {
    black_box(Handled::Done)
}
