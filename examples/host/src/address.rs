//! `HOST[:PORT]`.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// A broker as the user names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BrokerAddress {
    /// A name or an IP address, without brackets.
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl FromStr for BrokerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((scheme, rest)) = text.split_once("://") {
            let tls = if scheme == "mqtts" { " --tls" } else { "" };
            return Err(format!("write {rest}{tls}, without {scheme}://"));
        }
        let (host, port) = split(text)?;
        if host.is_empty() || host.contains(char::is_whitespace) || host.contains(['/', '\0']) {
            return Err("a host name or an IP address is wanted".to_owned());
        }
        let port = match port.map(str::parse) {
            None => None,
            Some(Ok(0) | Err(_)) => return Err("a port is a number from 1 to 65535".to_owned()),
            Some(Ok(port)) => Some(port),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

fn split(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            return Err("the ] after the IPv6 address is missing".to_owned());
        };
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("after [ADDRESS] only :PORT may follow".to_owned()),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((_, port)) if port.contains(':') => match text.parse::<Ipv6Addr>() {
            Ok(_) => Ok((text, None)),
            Err(_) => Err("write an IPv6 address with a port as [ADDRESS]:PORT".to_owned()),
        },
        Some((host, port)) => Ok((host, Some(port))),
    }
}

/// A host and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
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
            assert_eq!(text.parse(), Ok(BrokerAddress { host, port }), "{text}");
        }
    }

    #[test]
    fn what_is_none() {
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
            assert!(text.parse::<BrokerAddress>().is_err(), "{text}");
        }
    }
}
