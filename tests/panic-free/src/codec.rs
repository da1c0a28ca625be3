//! The codec: every packet, encoded and decoded.

use umqtt::codec::{
    Ack, Connack, Connect, FixedHeader, Packet, PacketId, Publish, PublishHeader, QoS, Suback,
    Subscribe, TopicFilter, TopicName, Unsubscribe,
};

use crate::opaque::{any, bytes, code, delivery, filter, hide, id, options, qos, text, topic};

/// `encode` and `encoded_len`, which every packet has.
macro_rules! encode {
    ($packet:expr) => {{
        let packet = core::hint::black_box($packet);
        let mut out = [0; 64];
        hide(packet.encoded_len());
        hide(packet.encode(space(&mut out)));
    }};
}

/// Returns a part of this buffer.
fn space(out: &mut [u8]) -> &mut [u8] {
    core::hint::black_box(out)
}

pub(crate) fn every_call() {
    values();
    topics();
    any_packet();
    connects();
    publishes();
    acks();
    lists();
}

#[inline(never)]
fn values() {
    hide(QoS::try_from(any::<u8>()));
    hide(PacketId::new(any()));
    hide(id().get());
    let delivery = delivery();
    hide((delivery.qos(), delivery.packet_id(), delivery.dup()));
    hide(id() == id());
    hide(id().cmp(&id()));
}

#[inline(never)]
fn topics() {
    if let (Ok(name), Ok(filter)) = (TopicName::new(text()), TopicFilter::new(text())) {
        hide(filter.matches(name));
        filter.captures(name).into_iter().flatten().for_each(hide);
        hide((name.as_str(), name.as_bytes()));
        hide((filter.as_str(), filter.as_bytes()));
        hide(name == name && filter == filter);
    }
}

#[inline(never)]
fn any_packet() {
    hide(FixedHeader::decode(bytes()));
    if let Ok(Some((packet, _))) = Packet::decode(bytes()) {
        hide(packet.packet_type());
        encode!(packet);
        if let Ok(Some((other, _))) = Packet::decode(bytes()) {
            hide(packet == other);
        }
    }
}

#[inline(never)]
fn connects() {
    hide(Connect::decode_body(bytes()));
    encode!(options());
    if let Ok(connack) = Connack::decode_body(bytes()) {
        encode!(connack);
    }
}

#[inline(never)]
fn publishes() {
    let header = FixedHeader {
        packet_type: umqtt::codec::PacketType::Publish,
        flags: any(),
        remaining_length: any(),
    };
    if let Ok(publish) = Publish::decode_body(&header, bytes()) {
        encode!(publish.header());
    }
    hide(PublishHeader::decode_body(&header, bytes()));
    if let Some(topic) = topic() {
        encode!(Publish {
            delivery: delivery(),
            retain: any(),
            ..Publish::new(topic, bytes())
        });
        encode!(PublishHeader {
            topic,
            delivery: delivery(),
            retain: any(),
            payload_len: any(),
        });
    }
}

#[inline(never)]
fn acks() {
    ack::<4>();
    ack::<5>();
    ack::<6>();
    ack::<7>();
    ack::<11>();
}

fn ack<const TYPE: u8>() {
    if let Ok(ack) = Ack::<TYPE>::decode_body(bytes()) {
        encode!(ack);
    }
    hide(Ack::<TYPE>::new(id()).to_bytes());
}

#[inline(never)]
fn lists() {
    if let Ok(subscribe) = Subscribe::decode_body(bytes()) {
        hide(subscribe.packet_id());
        subscribe.filters().for_each(hide);
        encode!(subscribe);
    }
    if let Ok(unsubscribe) = Unsubscribe::decode_body(bytes()) {
        hide(unsubscribe.packet_id());
        unsubscribe.filters().for_each(hide);
        encode!(unsubscribe);
    }
    if let Ok(suback) = Suback::decode_body(bytes()) {
        hide(suback.packet_id());
        let codes = suback.codes();
        hide((codes.len(), codes.is_empty(), codes.first()));
        codes.iter().for_each(hide);
        encode!(suback);
    }
    if let Some(filter) = filter() {
        let (pairs, filters, codes) = ([(filter, qos()); 3], [filter; 3], [code(); 3]);
        if let Ok(subscribe) = Subscribe::new(id(), core::hint::black_box(&pairs)) {
            encode!(subscribe);
        }
        if let Ok(unsubscribe) = Unsubscribe::new(id(), core::hint::black_box(&filters)) {
            encode!(unsubscribe);
        }
        if let Ok(suback) = Suback::new(id(), core::hint::black_box(&codes)) {
            encode!(suback);
        }
    }
}
