//! Conversions between codec types and numbers.

use umqtt::codec::{
    ConnectReturnCode, EncodeError, QoS, Suback, SubackReturnCode, TopicError, TopicFilter,
    TopicName,
};

use crate::common::{REFUSALS, packet_id};

#[test]
fn numbers_convert_to_values_and_back() {
    for (number, code) in (1..).zip(REFUSALS) {
        assert_eq!(ConnectReturnCode::try_from(number).unwrap(), code);
        assert_eq!(u8::from(code), number);
    }
    for (number, qos) in (0..).zip([QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]) {
        assert_eq!(QoS::try_from(number).unwrap(), qos);
        assert_eq!(u8::from(qos), number);
        let granted = SubackReturnCode::Granted(qos);
        assert_eq!(SubackReturnCode::try_from(number).unwrap(), granted);
        assert_eq!(u8::from(granted), number);
    }
    let failure = SubackReturnCode::Failure;
    assert_eq!(SubackReturnCode::try_from(0x80).unwrap(), failure);
    assert_eq!(u8::from(failure), 0x80);
}

#[test]
fn invalid_return_code_displays_its_number() {
    let error = ConnectReturnCode::try_from(6).unwrap_err();
    assert_eq!(error.to_string(), "6 is no return code");
    let error = SubackReturnCode::try_from(3).unwrap_err();
    assert_eq!(error.to_string(), "3 is no return code");
}

#[test]
fn suback_codes_in_for_loop_are_in_filter_order() {
    let sent = [
        SubackReturnCode::Granted(QoS::ExactlyOnce),
        SubackReturnCode::Failure,
    ];
    let suback = Suback::new(packet_id(1), &sent).unwrap();
    let codes = suback.codes();
    let mut read = Vec::new();
    for code in &codes {
        read.push(code);
    }
    for code in codes {
        read.push(code);
    }
    assert_eq!(read, [sent, sent].concat());
}

#[test]
fn topic_error_in_packet_is_encode_error() {
    let topic = |name| -> Result<TopicName<'_>, EncodeError> { Ok(TopicName::new(name)?) };
    assert!(topic("a").is_ok());
    assert_eq!(topic("").err(), Some(EncodeError::Topic(TopicError::Empty)));
}

#[test]
fn captures_of_both_wildcards_are_their_levels() {
    let filter = TopicFilter::new("home/+/light/+/#").unwrap();
    let topic = TopicName::new("home/kitchen/light//1/state").unwrap();
    let levels: Vec<_> = filter.captures(topic).unwrap().collect();
    assert_eq!(levels, ["kitchen", "", "1/state"]);
}
