//! One measurement: a direction, QoS, size and window.

use std::{fmt, time::Duration};

use anyhow::{Context, Result, bail};
use umqtt::codec::QoS;

/// A measurement, which a worker reads from its command line.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) direction: Direction,
    pub(crate) port: u16,
    pub(crate) client_id: String,
    pub(crate) qos: QoS,
    /// Payload, in bytes.
    pub(crate) size: usize,
    /// Maximum number of messages that the client has accepted, but not completed. At QoS 1 and 2, they are in flight.
    pub(crate) window: usize,
    pub(crate) count: usize,
    /// Maximum time of a worker.
    pub(crate) limit: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Publish,
    Receive,
}

impl Case {
    /// Returns the arguments of the worker's command line.
    pub(crate) fn arguments(&self) -> [String; 8] {
        [
            self.direction.to_string(),
            self.port.to_string(),
            self.client_id.clone(),
            (self.qos as u8).to_string(),
            self.size.to_string(),
            self.window.to_string(),
            self.count.to_string(),
            self.limit.as_millis().to_string(),
        ]
    }

    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let [direction, port, client_id, qos, size, window, count, limit] = arguments else {
            bail!("a worker takes eight arguments");
        };
        Ok(Self {
            direction: match direction.as_str() {
                "publish" => Direction::Publish,
                "receive" => Direction::Receive,
                _ => bail!("publish or receive"),
            },
            port: port.parse()?,
            client_id: client_id.clone(),
            qos: QoS::try_from(qos.parse::<u8>()?)
                .ok()
                .context("0, 1 or 2")?,
            size: size.parse()?,
            window: window.parse()?,
            count: count.parse()?,
            limit: Duration::from_millis(limit.parse()?),
        })
    }

    /// Returns the QoS of a message. At QoS 0, the last one is sent at QoS 1. Its acknowledgement proves that the
    /// broker has all messages.
    pub(crate) fn qos_of(&self, last: bool) -> QoS {
        match self.qos {
            QoS::AtMostOnce if last => QoS::AtLeastOnce,
            qos => qos,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Receive => "receive",
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            direction,
            qos,
            window,
            ..
        } = self;
        write!(f, "{direction} QoS {}, ", *qos as u8)?;
        match self.size {
            size if size >= 1024 => write!(f, "{} KiB", size / 1024)?,
            size => write!(f, "{size} B")?,
        }
        if *direction == Direction::Publish || *qos > QoS::AtMostOnce {
            write!(f, ", window {window}")?;
        }
        Ok(())
    }
}
