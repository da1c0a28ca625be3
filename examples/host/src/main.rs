//! The living room light on a PC. `host --help` tells its options.

mod address;
mod clients;
mod console;
mod network;
mod options;
mod runtime;
mod tls;
mod transport;

use std::{fmt, io, process::ExitCode};

use light::{End, Light, PrefixTooLong, Settings};
use tokio::runtime::Builder;
use umqtt::{
    Session, Storage,
    codec::{Connect, Credentials, TopicError, Will},
};
use uuid::Uuid;

use crate::{
    address::Target,
    clients::Work,
    console::{Console, complain, listen_for_ctrl_c},
    network::Tcp,
    options::Options,
    tls::{Tls, Unprepared},
};

/// Receive buffer, send buffer, messages in flight.
type Memory = Storage<16_384, 16_384, 32>;

fn main() -> ExitCode {
    env_logger::init();
    let options = Options::from_command_line();
    match start(&options) {
        Ok(End::Done | End::Stopped) => ExitCode::SUCCESS,
        Ok(End::GaveUp) => ExitCode::FAILURE,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<End, StartError> {
    listen_for_ctrl_c()?;
    let mut console = Console::default();
    let mut network = reach(options, &console)?;

    let prefix = options.topic_prefix.clone();
    let mut light = Light::new(&Settings {
        topic_prefix: &prefix.unwrap_or_else(|| Uuid::new_v4().to_string()),
        qos: options.qos,
        interval_ms: u32::try_from(options.interval.as_millis()).unwrap_or(u32::MAX),
        count: options.count,
    })?;
    let client_id = options.client_id.clone().unwrap_or_else(random_client_id);
    let password = options.password();
    let topic = light.topic().to_owned();
    let connect = Connect {
        clean_session: options.clean,
        keep_alive: options.keep_alive,
        credentials: options.user.as_deref().map(|user_name| Credentials {
            user_name,
            password: password.as_deref(),
        }),
        will: will(options, &topic),
        ..Connect::new(&client_id)
    };

    let client = if options.asynch { "async" } else { "blocking" };
    console.say(format_args!(
        "Connecting to {} as {client_id:?}, with the {client} client.",
        network.target
    ));
    console.say(format_args!(
        "To watch: {}",
        watch_command(options, &network.target, &topic)
    ));
    let mut storage = Memory::new();
    let mut session = Session::new(&mut storage);
    let work = Work {
        light: &mut light,
        session: &mut session,
        connect: &connect,
        network: &mut network,
        console: &mut console,
        forget: options.client_id.is_none() && !options.clean,
    };
    let end = if options.asynch {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StartError::Runtime)?;
        runtime.block_on(clients::asynch(work))
    } else {
        clients::blocking(work)
    };
    let goodbye = if network.said_goodbye {
        " Disconnected."
    } else {
        ""
    };
    match end {
        End::Done => console.say(format_args!(
            "Done: all messages asked for have come back.{goodbye}"
        )),
        End::Stopped => console.say(format_args!("Stopped.{goodbye}")),
        End::GaveUp => {}
    }
    Ok(end)
}

/// The way to the broker that the options name, or to one inside this program.
fn reach(options: &Options, console: &Console) -> Result<Tcp, StartError> {
    let target = match &options.broker {
        Some(broker) => Target {
            host: broker.host.clone(),
            port: broker.port.unwrap_or(if options.tls { 8883 } else { 1883 }),
        },
        None => {
            let address = embedded_broker::start().map_err(StartError::Broker)?;
            console.say(format_args!(
                "No --broker is named, so one was started inside this program, at {address}."
            ));
            Target {
                host: address.ip().to_string(),
                port: address.port(),
            }
        }
    };
    let tls = options.tls.then(|| Tls::new(options, &target.host));
    Ok(Tcp {
        tls: tls.transpose()?,
        target,
        said_goodbye: false,
    })
}

/// 23 letters and digits: what every broker has to allow \[MQTT-3.1.3-5\].
fn random_client_id() -> String {
    let id = format!("umqtt{}", Uuid::new_v4().simple());
    id.chars().take(23).collect()
}

fn will<'a>(options: &'a Options, topic: &'a str) -> Option<Will<'a>> {
    let will = options.will.as_ref()?;
    let topic = will.topic.as_deref().unwrap_or(topic);
    Some(Will {
        qos: options.qos,
        ..Will::new(topic, will.message.as_bytes())
    })
}

/// The command that shows the same messages in another terminal.
fn watch_command(options: &Options, target: &Target, topic: &str) -> String {
    let Target { host, port } = target;
    let mut command = format!("mosquitto_sub -h {host} -p {port} -t '{topic}'");
    if let Some(ca) = &options.ca {
        command.push_str(&format!(" --cafile '{}'", ca.display()));
    } else if options.tls {
        command.push_str(" --tls-use-os-certs");
    }
    if options.client_cert.is_some() {
        command.push_str(" --cert FILE --key FILE");
    }
    if let Some(user) = &options.user {
        command.push_str(&format!(" -u '{user}' -P PASSWORD"));
    }
    command
}

/// Why the program cannot start.
#[derive(Debug)]
enum StartError {
    CtrlC(ctrlc::Error),
    Broker(io::Error),
    Runtime(io::Error),
    Tls(Unprepared),
    Prefix(PrefixTooLong),
    Will(TopicError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CtrlC(error) => write!(f, "Ctrl-C cannot be caught: {error}."),
            Self::Broker(error) => write!(
                f,
                "The broker inside this program did not start: {error}. Name another one with --broker."
            ),
            Self::Runtime(error) => write!(f, "The async runtime did not start: {error}."),
            Self::Tls(error) => error.fmt(f),
            Self::Prefix(error) => write!(f, "Take a shorter --topic-prefix ({error})."),
            Self::Will(error) => write!(f, "The topic of --will is not valid: {error}."),
        }
    }
}

impl From<ctrlc::Error> for StartError {
    fn from(error: ctrlc::Error) -> Self {
        Self::CtrlC(error)
    }
}

impl From<Unprepared> for StartError {
    fn from(error: Unprepared) -> Self {
        Self::Tls(error)
    }
}

impl From<PrefixTooLong> for StartError {
    fn from(error: PrefixTooLong) -> Self {
        Self::Prefix(error)
    }
}

impl From<TopicError> for StartError {
    fn from(error: TopicError) -> Self {
        Self::Will(error)
    }
}
