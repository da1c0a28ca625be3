//! Shared code of `ota` and `log_upload`: a broker, a device with 128 bytes, a flash, and a progress bar.

use std::{
    error::Error,
    net::{SocketAddr, ToSocketAddrs},
};

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use indicatif::{ProgressBar, ProgressStyle};
use umqtt::{
    Config, Storage, StreamedPublish, blocking,
    codec::{Connect, QoS},
    std_io::{self, StdClock, TcpTransport},
};

/// The memory of a device: 128 bytes to receive, 128 to send, four requests in flight.
pub type Memory = Storage<128, 128, 4>;

/// A device on TCP connections.
pub type Device<'d> = blocking::Device<'d, TcpTransport, StdClock>;

/// The result of a step of an example.
pub type Result<T> = core::result::Result<T, Box<dyn Error>>;

/// Returns the address of the broker HOST:PORT, or starts one in this process.
///
/// # Errors
///
/// The name cannot be resolved, or the broker does not start.
pub fn broker(named: Option<&str>) -> Result<SocketAddr> {
    let Some(name) = named else {
        let address = embedded_broker::start()?;
        println!("No --broker is named, so one was started inside this program, at {address}.");
        return Ok(address);
    };
    let mut addresses = name.to_socket_addrs()?;
    Ok(addresses.next().ok_or("the broker has no address")?)
}

/// Creates a device with Clean Session 0: the broker keeps its session without a connection.
///
/// # Errors
///
/// A topic is too long for its memory.
pub fn device<'d>(
    memory: &'d mut Memory,
    client_id: &'d str,
    subscriptions: &'d [(&'d str, QoS)],
) -> Result<Device<'d>> {
    let connect = Connect {
        clean_session: false,
        ..Connect::new(client_id)
    };
    let config = Config {
        connect,
        subscriptions,
    };
    Ok(Device::new(memory, StdClock::new(), &config)?)
}

/// Publishes an image in several slices as a retained message, for every device that subscribes later.
///
/// # Errors
///
/// The connection failed before the broker had acknowledged the image.
pub fn publish_image(broker: SocketAddr, topic: &str, parts: &[&[u8]]) -> Result<()> {
    let mut memory = Memory::new();
    let mut server = device(&mut memory, "ota-server", &[])?;
    server.connect(std_io::connect(broker)?)?;
    let message = StreamedPublish::New {
        topic,
        qos: QoS::AtLeastOnce,
        retain: true,
    };
    server.publish_slices(message, parts, |_, _| ())?;
    while server.session().in_flight() > 0 {
        server.recv(1_000, |_, _| ())?;
    }
    server.shut_down(|_, _| ())?;
    Ok(())
}

/// Memory that behaves like flash: only erased bytes can be written.
#[derive(Debug)]
pub struct RamFlash(Vec<u8>);

impl RamFlash {
    /// Creates flash of this size in bytes, which is not erased.
    pub fn new(size: usize) -> Self {
        Self(vec![0; size])
    }

    fn bytes(
        &mut self,
        from: u32,
        len: usize,
    ) -> core::result::Result<&mut [u8], NorFlashErrorKind> {
        let from = from as usize;
        let bytes = self.0.get_mut(from..from.saturating_add(len));
        bytes.ok_or(NorFlashErrorKind::OutOfBounds)
    }
}

impl ErrorType for RamFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for RamFlash {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, to: &mut [u8]) -> core::result::Result<(), NorFlashErrorKind> {
        to.copy_from_slice(self.bytes(offset, to.len())?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for RamFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4_096;

    fn erase(&mut self, from: u32, to: u32) -> core::result::Result<(), NorFlashErrorKind> {
        let len = to.saturating_sub(from) as usize;
        self.bytes(from, len)?.fill(0xFF);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> core::result::Result<(), NorFlashErrorKind> {
        let cells = self.bytes(offset, bytes.len())?;
        if cells.iter().any(|&cell| cell != 0xFF) {
            return Err(NorFlashErrorKind::Other);
        }
        cells.copy_from_slice(bytes);
        Ok(())
    }
}

/// Creates a progress bar for this number of bytes.
pub fn progress(bytes: usize) -> ProgressBar {
    let style = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec}";
    let bar = ProgressBar::new(bytes as u64);
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
