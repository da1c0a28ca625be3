//! The command line.

use std::time::Duration;

use clap::Parser;
use umqtt::codec::QoS;

const EXAMPLES: &str = "\
Examples:
  fleet                                       100 sessions on the program's own broker
  fleet --broker localhost --sessions 5000    5,000 sessions on another broker
  fleet --broker localhost --qos 2 --rate 20000 --seconds 60";

/// Drives many MQTT sessions from one thread, and measures the speed of the broker.
///
/// Each session subscribes to its own topic and publishes to it. A message is counted when it was received again.
/// All sessions have Clean Session 1, so the broker keeps nothing.
#[derive(Parser, Clone, Debug)]
#[command(name = "fleet", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Options {
    /// The broker, by name or address; the port is 1883 unless given. Without this option, the program starts its own
    /// broker
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) broker: Option<String>,

    /// The user name for the broker
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,

    /// The password of --user
    #[arg(long, requires = "user", env = "MQTT_PASSWORD", hide_env_values = true)]
    pub(crate) password: Option<String>,

    /// Number of sessions, each with its own connection
    #[arg(long, value_name = "N", default_value = "100", value_parser = sessions)]
    pub(crate) sessions: usize,

    /// Number of messages that all sessions together publish each second
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) rate: u32,

    /// Time for which messages are published; fractions are allowed
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) seconds: Duration,

    /// Quality of service: 0 may lose messages, 1 may repeat them, 2 does neither
    #[arg(long, value_name = "0|1|2", default_value = "1", value_parser = qos)]
    pub(crate) qos: QoS,

    /// Bytes in a message: at least 8, for the time at which it was sent
    #[arg(long, value_name = "BYTES", default_value_t = 32, value_parser = clap::value_parser!(u16).range(8..=MOST))]
    pub(crate) size: u16,

    /// The first part of the topics, PREFIX/RUN/NUMBER
    #[arg(long, value_name = "PREFIX", default_value = "fleet", value_parser = topic_prefix)]
    pub(crate) topic_prefix: String,

    /// Keep alive interval in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) keep_alive: u16,
}

/// Maximum size of a message in the memory of a session: topic and payload, in bytes.
const MOST: i64 = 400;

fn sessions(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(number @ 1..=1_000_000) => Ok(number),
        _ => Err("expected a number from 1 to 1000000"),
    }
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().map_err(|_| "expected a number of seconds")?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if (0.1..=86_400.0).contains(&seconds) => Ok(time),
        _ => Err("expected 0.1 to 86400 seconds"),
    }
}

fn qos(text: &str) -> Result<QoS, String> {
    let number = text.parse::<u8>().map_err(|_| "expected 0, 1 or 2")?;
    QoS::try_from(number).map_err(|error| error.to_string())
}

fn topic_prefix(text: &str) -> Result<String, String> {
    umqtt::codec::TopicName::new(text).map_err(|error| error.to_string())?;
    if text.len() > 64 {
        return Err("at most 64 bytes".to_owned());
    }
    Ok(text.to_owned())
}
