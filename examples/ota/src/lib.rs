//! What `ota` and `log_upload` share: the way to a broker, and a progress bar.

use std::{
    error::Error,
    net::{SocketAddr, ToSocketAddrs},
};

use indicatif::{ProgressBar, ProgressStyle};
use umqtt::{
    Session, Storage,
    blocking::Client,
    codec::Connect,
    std_io::{StdClock, TcpTransport},
};

/// All the memory that a device needs here: 128 bytes to receive, 128 to send, four requests in flight.
pub type Memory = Storage<128, 128, 4>;

/// A client on a socket.
pub type Device<'s, 'b> = Client<'s, 'b, TcpTransport, StdClock>;

/// The result of a step of an example.
pub type Result<T> = core::result::Result<T, Box<dyn Error>>;

/// The address of the broker named HOST:PORT, or of one inside this program.
///
/// # Errors
///
/// There is no such host, or the broker does not start.
pub fn broker(named: Option<&str>) -> Result<SocketAddr> {
    let Some(name) = named else {
        let address = embedded_broker::start()?;
        println!("No --broker is named, so one was started inside this program, at {address}.");
        return Ok(address);
    };
    let mut addresses = name.to_socket_addrs()?;
    Ok(addresses.next().ok_or("the broker has no address")?)
}

/// An MQTT connection whose session the broker keeps when it is lost.
///
/// # Errors
///
/// The broker does not accept it.
pub fn connect<'s, 'b>(
    session: &'s mut Session<'b>,
    transport: TcpTransport,
    client_id: &str,
) -> Result<Device<'s, 'b>> {
    let options = Connect {
        clean_session: false,
        keep_alive: 30,
        ..Connect::new(client_id)
    };
    Ok(Client::connect(
        session,
        transport,
        StdClock::new(),
        &options,
    )?)
}

/// A bar that shows so many bytes as they pass.
pub fn progress(bytes: usize) -> ProgressBar {
    let style = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec}";
    let bar = ProgressBar::new(bytes as u64);
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
