//! The command line.

use std::{ffi::OsString, net::Ipv6Addr, num::NonZeroU16, path::PathBuf, time::Duration};

use clap::{Parser, builder::TypedValueParser as _, value_parser};
use light::TOPIC_SUFFIX;
use umqtt::codec::{QoS, TopicError, TopicName};

const EXAMPLES: &str = "\
Examples:
  host                                          with a broker of its own, until Ctrl-C
  host --count 3                                the same, until 3 messages have come back
  host --async                                  on the async device instead of the blocking one
  host --broker test.mosquitto.org              over a public broker
  host --broker 192.168.1.7:1884 --user ann     with a login; the password is in MQTT_PASSWORD
  host --broker my-broker --tls --ca ca.pem     over TLS, with a private certificate authority";

/// A living room light on this computer: publishes its state over MQTT, and prints each event.
///
/// Every second, the light switches and publishes its state to PREFIX/living_room/light. It is subscribed to the same
/// topic. To switch it, publish "on" or "off" to this topic.
#[derive(Parser, Clone, Debug)]
#[command(name = "host", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Options {
    /// The name or address of the broker. Write `[ADDRESS]:PORT` for an IPv6 address with a port. The port is 1883
    /// unless given, or 8883 with --tls. Without this option, the program starts its own broker
    #[arg(long, value_name = "HOST[:PORT]", value_parser = broker)]
    pub(crate) broker: Option<(String, Option<u16>)>,
    /// Encrypt the connection with TLS, and check the broker's certificate
    #[arg(long, requires = "broker")]
    pub(crate) tls: bool,
    /// Trust the certificate authorities in this PEM file, instead of those that web browsers trust
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub(crate) ca: Option<PathBuf>,
    /// The client certificate (a PEM file), for brokers that require one
    #[arg(long, value_name = "FILE", requires_all = ["tls", "client_key"])]
    pub(crate) client_cert: Option<PathBuf>,
    /// The private key (a PEM file) that belongs to --client-cert
    #[arg(long, value_name = "FILE", requires_all = ["tls", "client_cert"])]
    pub(crate) client_key: Option<PathBuf>,
    /// The user name for the broker
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// The password of --user. Other users of this computer can read the command line. The environment variable
    /// MQTT_PASSWORD is safer, and is used with --user if this option is not given
    #[arg(long, requires = "user")]
    pub(crate) password: Option<String>,
    /// The name under which the broker knows this client and keeps its session; random if not given.
    /// An empty one needs --clean
    #[arg(long, value_name = "ID", requires_if("", "clean"))]
    pub(crate) client_id: Option<String>,
    /// The first part of the topic, PREFIX/living_room/light; a random UUID if not given
    #[arg(long, value_name = "PREFIX", value_parser = topic_prefix)]
    pub(crate) topic_prefix: Option<String>,
    /// The quality of service: 0 may lose messages, 1 may repeat them, 2 delivers each once
    #[arg(long, value_name = "0|1|2", default_value = "0")]
    #[arg(value_parser = value_parser!(u8).try_map(QoS::try_from))]
    pub(crate) qos: QoS,
    /// The time from one message to the next; fractions are allowed, from 0.001 to 86400
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub(crate) interval: Duration,
    /// End with success when this many of its own messages have come back
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,
    /// The keep alive: if the client sends nothing for one and a half times as long, the broker closes the connection.
    /// 0 disables it, which the program's own broker does not allow. At most 65535
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(requires_if("0", "broker"))]
    pub(crate) keep_alive: u16,
    /// The will: a message that the broker publishes if the connection ends without a DISCONNECT. It has the QoS of
    /// --qos, and is not retained. Its topic is that of the light, or TOPIC, which ends at the first =
    #[arg(long, value_name = "[TOPIC=]MESSAGE", value_parser = will)]
    pub(crate) will: Option<(Option<String>, String)>,
    /// Begin every connection with a clean session: the broker forgets subscriptions and messages when it ends
    #[arg(long)]
    pub(crate) clean: bool,
    /// Use umqtt's async device, on one thread of tokio, instead of its blocking device. The output is the same
    #[arg(long = "async")]
    pub(crate) asynch: bool,
}

impl Options {
    /// Returns the password of the option or of the environment.
    pub(crate) fn password(&self) -> Option<Vec<u8>> {
        self.user.as_ref()?;
        let option = self.password.clone().map(String::into_bytes);
        option.or_else(|| std::env::var_os("MQTT_PASSWORD").map(OsString::into_encoded_bytes))
    }
}

/// Splits `HOST[:PORT]`.
fn broker(text: &str) -> Result<(String, Option<u16>), String> {
    if let Some((_, rest)) = text.split_once("://") {
        return Err(format!("write {rest}, and add --tls for mqtts"));
    }
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(split) => split.ok_or("the ] after the IPv6 address is missing")?,
        None if text.parse::<Ipv6Addr>().is_ok() => (text, ""),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/\0".contains(c)) {
        return Err("use a host name or an IP address".to_owned());
    }
    if port.is_empty() {
        return Ok((host.to_owned(), None));
    }
    let port: Option<NonZeroU16> = port.strip_prefix(':').and_then(|port| port.parse().ok());
    let port = port.ok_or("use HOST:PORT or [ADDRESS]:PORT, with a port from 1 to 65535")?;
    Ok((host.to_owned(), Some(port.get())))
}

fn topic_prefix(text: &str) -> Result<String, TopicError> {
    TopicName::new(text)?;
    TopicName::new(&format!("{text}{TOPIC_SUFFIX}"))?;
    Ok(text.to_owned())
}

fn interval(text: &str) -> Result<Duration, &'static str> {
    match text.parse() {
        Ok(seconds) if (0.001..=86_400.0).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err("use a number of seconds from 0.001 to 86400"),
    }
}

/// Splits `[TOPIC=]MESSAGE`.
fn will(text: &str) -> Result<(Option<String>, String), TopicError> {
    match text.split_once('=') {
        Some((topic, message)) => {
            TopicName::new(topic)?;
            Ok((Some(topic.to_owned()), message.to_owned()))
        }
        None => Ok((None, text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(format!("host {arguments}").split_whitespace())
    }

    #[test]
    fn option_definitions_are_valid() {
        <Options as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn options_omitted_have_defaults() {
        let options = parse("").unwrap();
        assert_eq!(options.interval, Duration::from_secs(1));
        assert_eq!((options.qos, options.keep_alive), (QoS::AtMostOnce, 30));
        assert!(!options.asynch && !options.clean && !options.tls && options.broker.is_none());
        assert_eq!(options.password(), None);
    }

    #[test]
    fn options_given_have_their_values() {
        let options =
            parse("--qos 2 --interval .25 --keep-alive 65535 --count 7 --user a --password b")
                .unwrap();
        assert_eq!(options.qos, QoS::ExactlyOnce);
        assert_eq!(options.interval, Duration::from_millis(250));
        assert_eq!((options.keep_alive, options.count), (65_535, Some(7)));
        assert_eq!(options.password(), Some(b"b".to_vec()));
    }

    #[test]
    fn will_option_is_split_into_topic_and_message() {
        for (text, topic, message) in [
            ("gone", None, "gone"),
            ("a/b=gone", Some("a/b"), "gone"),
            ("a=b=c", Some("a"), "b=c"),
            ("a=", Some("a"), ""),
        ] {
            let (topic, message) = (topic.map(str::to_owned), message.to_owned());
            assert_eq!(will(text), Ok((topic, message)), "{text}");
        }
    }

    #[test]
    fn options_invalid_are_refused() {
        for arguments in [
            "--ca a",
            "--tls",
            "--broker a --ca a",
            "--broker a --tls --client-cert a",
            "--broker a --tls --client-key a",
            "--broker a --client-cert a --client-key b",
            "--password a",
            "--qos 3",
            "--qos x",
            "--interval 0",
            "--interval -1",
            "--interval NaN",
            "--interval inf",
            "--interval 86401",
            "--count 0",
            "--count -1",
            "--keep-alive 65536",
            "--topic-prefix a/#",
            "--topic-prefix +",
            "--topic-prefix=",
            "--will a/+=b",
            "--will ==b",
            "--broker :1",
            "--nonsense",
            "stray",
        ] {
            assert!(parse(arguments).is_err(), "{arguments}");
        }
        let long = "x".repeat(usize::from(u16::MAX) - TOPIC_SUFFIX.len());
        assert!(parse(&format!("--topic-prefix {long}")).is_ok());
        assert!(parse(&format!("--topic-prefix {long}x")).is_err());
    }

    #[test]
    fn options_without_required_ones_are_refused() {
        for (arguments, right) in [
            ("--keep-alive 0", false),
            ("--keep-alive 0 --broker a", true),
            ("--client-id=", false),
            ("--client-id= --clean", true),
        ] {
            assert_eq!(parse(arguments).is_ok(), right, "{arguments}");
        }
    }

    #[test]
    fn broker_option_is_split_into_host_and_port() {
        for (text, host, port) in [
            ("localhost", "localhost", None),
            ("broker.example:1884", "broker.example", Some(1884)),
            ("10.0.0.1:1", "10.0.0.1", Some(1)),
            ("[::1]:1883", "::1", Some(1883)),
            ("[fe80::1%eth0]:1883", "fe80::1%eth0", Some(1883)),
            ("[::1]", "::1", None),
            ("::1", "::1", None),
        ] {
            let host = host.to_owned();
            assert_eq!(broker(text), Ok((host, port)), "{text}");
        }
    }

    #[test]
    fn broker_option_invalid_is_refused() {
        for text in [
            "",
            ":1883",
            "a:",
            "a:0",
            "a:65536",
            "a:b",
            "a b",
            "[::1",
            "[::1]1883",
            "[]:1",
            "1:2:3",
            "a/b",
            "mqtt://a",
            "mqtts://a:8883",
        ] {
            assert!(broker(text).is_err(), "{text}");
        }
    }
}
