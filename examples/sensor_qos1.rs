//! A sensor that reports at QoS 1 and keeps its session through deep sleep: `cargo run --example sensor_qos1`.
//!
//! CONNECT and PUBLISH are sent in one write, DISCONNECT after the PUBACK. Before it sleeps, the sensor saves an image
//! of the session with all unacknowledged messages. They are sent again when it wakes.

mod pc;

use std::{cell::Cell, net::SocketAddr, process::ExitCode, thread::sleep, time::Duration};

use umqtt::{
    Config, Message, Storage,
    blocking::Device,
    codec::{Connect, QoS},
    std_io::{self, StdClock},
};

const ID: &str = "umqtt-sensor1";

type Memory = Storage<64, 256, 4, 4>;

/// Memory that survives the sleep: RAM that stays powered, or flash.
struct Image {
    bytes: [u8; Memory::IMAGE_LEN],
    used: usize,
}

fn main() -> ExitCode {
    pc::report(days())
}

/// Wakes the sensor four times. The network fails once.
fn days() -> pc::Result<()> {
    let broker = pc::broker()?;
    let mut image = Image {
        bytes: [0; Memory::IMAGE_LEN],
        used: 0,
    };
    forget(broker)?;
    let readings = ["21.5", "21.4", "21.6", "21.7"];
    for (reading, network_fails) in readings.into_iter().zip([false, true, false, false]) {
        println!("The sensor wakes and measures {reading} °C.");
        wake(broker, &mut image, reading, network_fails)?;
        println!("It sleeps, with a session of {} bytes.", image.used);
        sleep(Duration::from_millis(200));
    }
    forget(broker)
}

/// Runs the sensor while it is awake. Its RAM is lost when it sleeps.
fn wake(
    broker: SocketAddr,
    image: &mut Image,
    reading: &str,
    network_fails: bool,
) -> pc::Result<()> {
    let mut memory = Memory::new();
    let config = Config::new(Connect {
        clean_session: false,
        ..Connect::new(ID)
    });
    let mut device = Device::new(&mut memory, StdClock::new(), &config)?;
    if image.used > 0 {
        let saved = image.bytes.get(..image.used).unwrap_or_default();
        device.session().restore(saved)?;
    }
    let left_over = device.session().in_flight();
    let writes = Cell::new(0);
    device.connect(pc::Counting::new(std_io::connect(broker)?, &writes))?;
    device.publish(&Message {
        qos: QoS::AtLeastOnce,
        ..Message::new("umqtt/sensor1/celsius", reading.as_bytes())
    })?;
    if left_over == 0 {
        println!("CONNECT and PUBLISH were sent in {} write.", writes.get());
        assert_eq!(writes.get(), 1);
    } else {
        println!(
            "{left_over} older message is sent first, after the broker has accepted the connection."
        );
    }
    if network_fails {
        println!("The network fails before the broker has answered.");
    } else {
        while device.session().in_flight() > 0 {
            device.recv(1_000, |event, _| println!("{event}"))?;
        }
        device.shut_down(|_, _| ())?;
    }
    image.used = device.save(&mut image.bytes)?.len;
    Ok(())
}

/// Removes the session from the broker, so that the example begins and ends without one.
fn forget(broker: SocketAddr) -> pc::Result<()> {
    let mut memory = Memory::new();
    let mut device = Device::new(&mut memory, StdClock::new(), &Config::new(Connect::new(ID)))?;
    device.connect(std_io::connect(broker)?)?;
    device.shut_down(|_, _| ())?;
    Ok(())
}
