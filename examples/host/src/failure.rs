//! The texts for the user if no connection was made, or if a connection was lost.

use std::fmt::Display;
use std::io::{self, ErrorKind};

use umqtt::{ProtocolError, client::Error, codec::ConnectReturnCode as Code};

use crate::{network::Broker, tls};

/// A problem, in words.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) text: String,
    /// Another attempt would fail for the same reason.
    pub(crate) is_permanent: bool,
}

impl Failure {
    /// Creates the failure of an attempt to open a connection.
    pub(crate) fn of_dial(Broker { host, port, tls }: &Broker, error: &io::Error) -> Self {
        let advice = match tls {
            Some(_) => "that its port is one for TLS; 8883 is usual",
            None => "that a broker runs there",
        };
        tls::failure(error).unwrap_or_else(|| Self {
            text: format!("No connection to {host}:{port}: {error}. Check --broker, and {advice}."),
            is_permanent: false,
        })
    }

    /// Creates the failure of a lost connection. `was_accepted`: the broker had sent a CONNACK that accepts it.
    pub(crate) fn of_connection<E: Display>(
        error: &Error<E>,
        was_accepted: bool,
        io_error: fn(&E) -> &io::Error,
    ) -> Self {
        let reason = match error {
            Error::Transport(error) if !is_closed(io_error(error)) => {
                if let Some(failure) = tls::failure(io_error(error)) {
                    return failure;
                }
                io_error(error).to_string()
            }
            Error::Transport(_) | Error::Closed => "the broker closed it".to_owned(),
            _ => error.to_string(),
        };
        let (problem, general) = match was_accepted {
            true => ("Connection lost", ""),
            false => ("No connection", NOT_ACCEPTED),
        };
        let advice = advice(error).unwrap_or(general);
        Self {
            text: format!("{problem}: {reason}.{advice}"),
            is_permanent: error.is_permanent(),
        }
    }
}

const NOT_ACCEPTED: &str = " Check --user, --password and --client-id, that a broker for MQTT 3.1.1 is at that port, and whether it needs --tls.";

/// Returns `true` if the broker closed the connection. A broker that is killed does not end TLS, so rustls reports
/// `UnexpectedEof`.
fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof
    )
}

const fn advice<E>(error: &Error<E>) -> Option<&'static str> {
    let Error::Protocol(error) = error else {
        return None;
    };
    Some(match error {
        ProtocolError::Refused(Code::ServerUnavailable) => " Try later.",
        ProtocolError::Refused(Code::UnacceptableProtocolVersion) => {
            " Use a broker for MQTT 3.1.1."
        }
        ProtocolError::Refused(Code::IdentifierRejected) => " Give another one with --client-id.",
        ProtocolError::Refused(_) => " Check --user and --password, or the variable MQTT_PASSWORD.",
        ProtocolError::ClosedAtPublish { .. } => " Try a lower --qos, or another --topic-prefix.",
        ProtocolError::ClosedAtSubscribe { .. } => " Try another --topic-prefix.",
        _ => return None,
    })
}
