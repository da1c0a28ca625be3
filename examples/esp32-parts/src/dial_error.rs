//! The sentences for a broker that was not reached.

use core::{fmt, net::Ipv4Addr};

/// The reason why there is no connection to the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DialError<'a> {
    /// The network was lost meanwhile.
    NetworkLost,
    /// The network has not said which name server to ask.
    NoNameServer,
    /// This name server does not answer.
    NameServerSilent(Ipv4Addr),
    /// The name server has no address for this name.
    UnknownName(&'a str),
    /// The host with this name refuses connections to this port.
    Refused(&'a str, u16),
    /// No host of the network leads to this one.
    NoRoute(&'a str),
    /// This host does not answer.
    Silent(&'a str),
}

impl DialError<'_> {
    /// Returns `true` if no answer came from anywhere, so that the network may be at fault.
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
            Self::NoRoute(host) => write!(f, "there is no way to {host}"),
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
        let said = DialError::NameServerSilent(SERVER).to_string();
        assert!(said.contains("name server 192.168.1.1"), "{said}");
    }

    #[test]
    fn unknown_local_name_suggests_ipv4_address() {
        let said = DialError::UnknownName("broker.local").to_string();
        assert!(said.contains("IPv4"), "{said}");
        let said = DialError::UnknownName("broker.home").to_string();
        assert!(!said.contains("IPv4"), "{said}");
    }

    #[test]
    fn is_silence_is_true_for_errors_without_answer() {
        assert!(DialError::Silent("broker").is_silence());
        assert!(DialError::NameServerSilent(SERVER).is_silence());
        assert!(!DialError::Refused("broker", 1883).is_silence());
        assert!(!DialError::UnknownName("broker").is_silence());
    }
}
