//! A proxy that prints the MQTT packets between clients and a broker. `umqtt-dump --help` lists its options.

mod connection;

use std::{
    convert::Infallible,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs},
    process::{self, ExitCode},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, UNIX_EPOCH},
};

use clap::Parser;

use crate::connection::{Connection, Side};

/// Prints every MQTT 3.1.1 packet between clients and a broker. Each line also lists the packets that are unanswered.
///
/// Let the client connect to this program instead of the broker. Bytes are passed on unchanged. Passwords and user
/// names are not printed. TLS cannot be read. Ctrl-C ends the program.
#[derive(Parser)]
#[command(name = "umqtt-dump", version)]
struct Options {
    /// The broker, such as localhost:1883 or [::1]:1883
    #[arg(long, value_name = "HOST:PORT")]
    broker: String,
    /// The address for clients. With 0.0.0.0:1884, clients on other computers can connect
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:1884")]
    listen: String,
}

fn main() -> ExitCode {
    let Err(error) = run(&Options::parse());
    drop(writeln!(io::stderr(), "umqtt-dump: {error}"));
    ExitCode::FAILURE
}

fn run(Options { broker, listen }: &Options) -> Result<Infallible, String> {
    // A wrong address is reported now, not with the first client.
    dial(broker).map_err(|error| format!("cannot reach the broker {broker}: {error}"))?;
    let cannot_listen = |error| format!("cannot listen on {listen}: {error}");
    let listener = TcpListener::bind(listen).map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    println!("Listening on {address}, broker {broker}. The times are UTC.");
    for number in 1.. {
        let (client, from) = listener.accept().map_err(cannot_listen)?;
        print(number, &format!("Client connected from {from}"));
        let broker = broker.clone();
        thread::spawn(move || match dial(&broker) {
            Ok(broker) => serve(number, &client, &broker),
            Err(error) => print(number, &format!("Broker cannot be reached: {error}")),
        });
    }
    Err("no number is left for a connection".to_owned())
}

/// Connects to the first address of the broker that accepts.
fn dial(broker: &str) -> io::Result<TcpStream> {
    const TIMEOUT: Duration = Duration::from_secs(10);
    let mut result = Err(ErrorKind::AddrNotAvailable.into());
    for address in broker.to_socket_addrs()? {
        result = result.or_else(|_: io::Error| TcpStream::connect_timeout(&address, TIMEOUT));
    }
    result
}

fn serve(number: u64, client: &TcpStream, broker: &TcpStream) {
    let connection = &Mutex::new(Connection::new(number));
    thread::scope(|scope| {
        scope.spawn(|| relay(Side::Client, client, broker, connection));
        relay(Side::Broker, broker, client, connection);
    });
}

/// Prints and passes on the bytes of one side until a side closes.
fn relay(sender: Side, mut from: &TcpStream, mut to: &TcpStream, connection: &Mutex<Connection>) {
    let connection = || connection.lock().unwrap_or_else(PoisonError::into_inner);
    drop(to.set_nodelay(true));
    let mut buffer = [0; 16_384];
    let error = loop {
        match from.read(&mut buffer) {
            Ok(0) => break None,
            Ok(len) => {
                let bytes = buffer.get(..len).unwrap_or_default();
                // Printed before the bytes are passed on, so that no answer is printed before its request.
                connection().receive(sender, bytes);
                if to.write_all(bytes).is_err() {
                    // The thread that reads from `to` reports the end.
                    return;
                }
            }
            Err(error) => break Some(error),
        }
    };
    connection().close(sender, error.as_ref());
    // After a regular end, the other direction may still carry bytes.
    let how = error.map_or(Shutdown::Write, |_| Shutdown::Both);
    drop(to.shutdown(how));
}

/// Prints a line with the time and the number of the connection. If nobody reads the output any more, the program ends.
fn print(number: u64, line: &str) {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    let (seconds, millis) = (now.as_secs() % 86_400, now.subsec_millis());
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let time = format_args!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03}");
    if writeln!(io::stdout(), "{time} #{number} {line}").is_err() {
        process::exit(1);
    }
}
