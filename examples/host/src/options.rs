//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{CommandFactory, Parser, error::ErrorKind};
use light::PrefixTooLong;
use umqtt::codec::{QoS, TopicName};

use crate::address::BrokerAddress;

/// The environment variable that may hold the password.
pub(crate) const PASSWORD_VARIABLE: &str = "MQTT_PASSWORD";

const EXAMPLES: &str = "\
Examples:
  host                                          with a broker of its own, until Ctrl-C
  host --count 3                                the same, until 3 messages have come back
  host --async                                  on the async client instead of the blocking one
  host --broker test.mosquitto.org              over a public broker
  host --broker 192.168.1.7:1884 --user ann     with a login; the password is in MQTT_PASSWORD
  host --broker my-broker --tls --ca ca.pem     over TLS, with a private certificate authority";

/// A living room light on this computer: publishes over MQTT whether it is on, and shows what arrives.
///
/// Every second the light goes on or off and publishes that to PREFIX/living_room/light, a topic to which it is
/// subscribed itself. Publish "on" or "off" there from elsewhere to switch it.
#[derive(Parser, Clone, Debug)]
#[command(name = "host", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Options {
    /// The broker to use, by name or address; it goes `[ADDRESS]:PORT` for an IPv6 address with a port. The port is
    /// 1883, or 8883 with --tls. Without this option the program starts a broker inside itself
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) broker: Option<BrokerAddress>,

    /// Encrypt the connection with TLS, and check the broker's certificate
    #[arg(long, requires = "broker")]
    pub(crate) tls: bool,

    /// Trust the certificate authorities in this PEM file, instead of those that web browsers trust
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub(crate) ca: Option<PathBuf>,

    /// The certificate (a PEM file) with which this program proves who it is, to brokers that ask for one
    #[arg(long, value_name = "FILE", requires_all = ["tls", "client_key"])]
    pub(crate) client_cert: Option<PathBuf>,

    /// The private key (a PEM file) that belongs to --client-cert
    #[arg(long, value_name = "FILE", requires_all = ["tls", "client_cert"])]
    pub(crate) client_key: Option<PathBuf>,

    /// The user name for the broker
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,

    /// The password of --user. Others on this computer can read a command line: better put it into the environment
    /// variable MQTT_PASSWORD, which is used with --user if this option is not given
    #[arg(long, requires = "user")]
    pub(crate) password: Option<String>,

    /// The name under which the broker knows this client and keeps its session; random if not given
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,

    /// The first part of the topic, PREFIX/living_room/light; a random UUID if not given
    #[arg(long, value_name = "PREFIX", value_parser = topic_prefix)]
    pub(crate) topic_prefix: Option<String>,

    /// How hard messages are delivered: 0 may lose them, 1 may repeat them, 2 does neither
    #[arg(long, value_name = "0|1|2", default_value = "0", value_parser = qos)]
    pub(crate) qos: QoS,

    /// The time from one message to the next; fractions are allowed, from 0.001 to 86400
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub(crate) interval: Duration,

    /// End with success when this many of its own messages have come back
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: Option<u32>,

    /// The longest silence after which the broker takes this client for dead, up to 65535; 0 means never
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) keep_alive: u16,

    /// What the broker publishes if this program vanishes without a goodbye, with the QoS of --qos and not retained. It
    /// goes to the light's own topic, or to TOPIC: all that stands before the first = is the topic. MESSAGE may be
    /// empty
    #[arg(long, value_name = "[TOPIC=]MESSAGE", value_parser = will)]
    pub(crate) will: Option<Will>,

    /// Begin every connection with a clean session: the broker forgets subscriptions and messages when it ends
    #[arg(long)]
    pub(crate) clean: bool,

    /// Use umqtt's async client, on one thread of tokio, instead of its blocking client; all else stays the same
    #[arg(long = "async")]
    pub(crate) asynch: bool,
}

/// The last will.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Will {
    /// The light's own topic if `None`.
    pub(crate) topic: Option<String>,
    pub(crate) message: String,
}

impl Options {
    /// The options of the command line; ends the program if they are wrong or ask for help.
    pub(crate) fn from_command_line() -> Self {
        let options = Self::parse();
        if let Err(wrong) = options.check() {
            Self::command()
                .error(ErrorKind::ValueValidation, wrong)
                .exit();
        }
        options
    }

    /// What clap cannot say.
    fn check(&self) -> Result<(), &'static str> {
        if self.keep_alive == 0 && self.broker.is_none() {
            return Err(
                "--keep-alive 0 needs --broker: the broker inside this program insists on a keep alive",
            );
        }
        if self.client_id.as_deref() == Some("") && !self.clean {
            return Err(
                "an empty --client-id needs --clean: a session can only be kept under a name",
            );
        }
        Ok(())
    }

    /// The password, from wherever it is given.
    pub(crate) fn password(&self) -> Option<Vec<u8>> {
        self.user.as_ref()?;
        match &self.password {
            Some(password) => Some(password.clone().into_bytes()),
            None => std::env::var_os(PASSWORD_VARIABLE).map(std::ffi::OsString::into_encoded_bytes),
        }
    }
}

fn topic_prefix(text: &str) -> Result<String, String> {
    TopicName::new(text).map_err(|error| error.to_string())?;
    match text.len() {
        len if len > PrefixTooLong::MAX => Err(PrefixTooLong { len }.to_string()),
        _ => Ok(text.to_owned()),
    }
}

fn qos(text: &str) -> Result<QoS, String> {
    let number = text.parse::<u8>().map_err(|_| "0, 1 or 2 is wanted")?;
    QoS::try_from(number).map_err(|error| error.to_string())
}

fn interval(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().map_err(|_| "a number of seconds is wanted")?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(interval) if (0.001..=86_400.0).contains(&seconds) => Ok(interval),
        _ => Err("from 0.001 to 86400 seconds are possible"),
    }
}

fn will(text: &str) -> Result<Will, String> {
    let (topic, message) = match text.split_once('=') {
        Some((topic, message)) => (Some(topic), message),
        None => (None, text),
    };
    if let Some(topic) = topic {
        TopicName::new(topic).map_err(|error| error.to_string())?;
    }
    Ok(Will {
        topic: topic.map(str::to_owned),
        message: message.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(format!("host {arguments}").split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn defaults() {
        let options = parse("").unwrap();
        assert_eq!(options.interval, Duration::from_secs(1));
        assert_eq!((options.qos, options.keep_alive), (QoS::AtMostOnce, 30));
        assert!(!options.asynch && !options.clean && !options.tls && options.broker.is_none());
        assert_eq!(options.password(), None);
    }

    #[test]
    fn values() {
        let options =
            parse("--qos 2 --interval .25 --keep-alive 65535 --count 7 --user a --password b")
                .unwrap();
        assert_eq!(options.qos, QoS::ExactlyOnce);
        assert_eq!(options.interval, Duration::from_millis(250));
        assert_eq!((options.keep_alive, options.count), (65_535, Some(7)));
        assert_eq!(options.password(), Some(b"b".to_vec()));
    }

    #[test]
    fn wills() {
        for (text, topic, message) in [
            ("gone", None, "gone"),
            ("a/b=gone", Some("a/b"), "gone"),
            ("a=b=c", Some("a"), "b=c"),
            ("a=", Some("a"), ""),
        ] {
            let (topic, message) = (topic.map(str::to_owned), message.to_owned());
            assert_eq!(will(text), Ok(Will { topic, message }), "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
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
        let long = "x".repeat(PrefixTooLong::MAX);
        assert!(parse(&format!("--topic-prefix {long}")).is_ok());
        assert!(parse(&format!("--topic-prefix {long}x")).is_err());
    }

    #[test]
    fn what_clap_cannot_say() {
        for (arguments, right) in [
            ("--keep-alive 0", false),
            ("--keep-alive 0 --broker a", true),
            ("--client-id=", false),
            ("--client-id= --clean", true),
        ] {
            assert_eq!(
                parse(arguments).unwrap().check().is_ok(),
                right,
                "{arguments}"
            );
        }
    }
}
