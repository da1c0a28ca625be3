//! The reasons why the broker was not reached, with a sentence for each.

use core::{fmt, net::Ipv4Addr};

/// The reason why there is no connection to the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DialError<'a> {
    /// The network was lost meanwhile.
    NetworkLost,
    /// The network has announced no name server.
    NoNameServer,
    /// This name server does not answer.
    NameServerSilent(Ipv4Addr),
    /// The name server has no address for this name.
    UnknownName(&'a str),
    /// The host with this name refuses connections to this port.
    Refused(&'a str, u16),
    /// The network has no route to this host.
    NoRoute(&'a str),
    /// This host does not answer.
    Silent(&'a str),
}

impl DialError<'_> {
    /// Returns `true` if no host has answered. The network itself may then be the cause.
    pub const fn is_silence(&self) -> bool {
        matches!(self, Self::NameServerSilent(_) | Self::Silent(_))
    }
}

impl fmt::Display for DialError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetworkLost => f.write_str("the network was lost"),
            Self::NoNameServer => f.write_str("the network has announced no name server"),
            Self::NameServerSilent(server) => {
                write!(f, "the network's name server {server} does not answer")
            }
            Self::UnknownName(host) => {
                write!(f, "the network's name server has no address for {host}")?;
                if host.ends_with(".local") {
                    f.write_str(", and no name server has one for .local: set its IPv4 address")?;
                }
                Ok(())
            }
            Self::Refused(host, port) => write!(f, "{host} refuses connections to port {port}"),
            Self::NoRoute(host) => write!(f, "the network has no route to {host}"),
            Self::Silent(host) => write!(f, "{host} does not answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    extern crate std;

    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

    #[test]
    fn silent_name_server_is_named() {
        let text = DialError::NameServerSilent(SERVER).to_string();
        assert!(text.contains("name server 192.168.1.1"), "{text}");
    }

    #[test]
    fn unknown_local_name_suggests_ipv4_address() {
        let text = DialError::UnknownName("broker.local").to_string();
        assert!(text.contains("IPv4"), "{text}");
        let text = DialError::UnknownName("broker.home").to_string();
        assert!(!text.contains("IPv4"), "{text}");
    }

    #[test]
    fn is_silence_is_true_for_errors_without_answer() {
        assert!(DialError::Silent("broker").is_silence());
        assert!(DialError::NameServerSilent(SERVER).is_silence());
        assert!(!DialError::Refused("broker", 1883).is_silence());
        assert!(!DialError::UnknownName("broker").is_silence());
    }
}
