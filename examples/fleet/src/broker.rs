//! The choice of the broker.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::{Result, options::Options};

/// Returns the address of the broker in the options, or starts one in this process.
pub(crate) fn reach(options: &Options) -> Result<SocketAddr> {
    let Some(name) = &options.broker else {
        let address = embedded_broker::start()?;
        println!("No --broker is named, so one was started inside this program, at {address}.");
        return Ok(address);
    };
    let addresses = name
        .to_socket_addrs()
        .or_else(|_| (name.as_str(), 1883).to_socket_addrs());
    let mut addresses = addresses.map_err(|error| format!("{name:?}: {error}"))?;
    let address = addresses.next();
    address.ok_or_else(|| format!("{name:?} has no address").into())
}
