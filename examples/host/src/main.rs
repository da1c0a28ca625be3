//! The living room light on a PC. `host --help` shows its options.

mod console;
mod failure;
mod network;
mod on_blocking;
mod on_tokio;
mod options;
mod tls;
mod work;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use env_logger::Env;
use light::{Light, TOPIC_SUFFIX};
use shell_words::quote;
use tokio::runtime::Builder;
use umqtt::Config;
use umqtt::codec::{Connect, Credentials, Will};
use uuid::Uuid;

use crate::console::{END, complain, finish, listen_for_ctrl_c, say};
use crate::{network::Broker, options::Options, work::Work};

fn main() -> ExitCode {
    // The broker inside this program logs its own steps as errors.
    env_logger::init_from_env(Env::new().default_filter_or("off"));
    run(&Options::parse()).unwrap_or_else(|error| {
        complain(format_args!("{error:#}."));
        ExitCode::FAILURE
    })
}

fn run(options: &Options) -> anyhow::Result<ExitCode> {
    listen_for_ctrl_c().context("Ctrl-C cannot be caught")?;
    let broker = broker(options)?;
    let prefix = options.topic_prefix.clone();
    let topic = prefix.unwrap_or_else(|| Uuid::new_v4().to_string()) + TOPIC_SUFFIX;
    // 23 letters and digits, which every broker must allow [MQTT-3.1.3-5].
    let random_id = || format!("umqtt{:.18}", Uuid::new_v4().simple().to_string());
    let client_id = options.client_id.clone().unwrap_or_else(random_id);
    let password = options.password();
    let connect = Connect {
        clean_session: options.clean,
        keep_alive: options.keep_alive,
        credentials: options.user.as_deref().map(|user_name| Credentials {
            user_name,
            password: password.as_deref(),
        }),
        will: options.will.as_ref().map(|(other, message)| Will {
            qos: options.qos,
            ..Will::new(other.as_deref().unwrap_or(&topic), message.as_bytes())
        }),
        ..Connect::new(&client_id)
    };
    let work = Work {
        light: Light::new(&topic, options.qos),
        broker: &broker,
        config: Config {
            connect,
            subscriptions: &[(&topic, options.qos)],
        },
        options,
    };
    let device = if options.asynch { "async" } else { "blocking" };
    let Broker { host, port, .. } = &broker;
    say(format_args!(
        "Connecting to {host}:{port} as {client_id:?}, with the {device} device."
    ));
    let command = watch_command(options, &broker, &topic);
    say(format_args!("To watch: {command}"));
    let is_disconnected = if options.asynch {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let is_disconnected = runtime.block_on(on_tokio::run(work));
        // Another thread may still resolve a name. The program does not wait for it.
        runtime.shutdown_background();
        is_disconnected?
    } else {
        on_blocking::run(work)?
    };
    if is_disconnected && options.client_id.is_none() && !options.clean {
        // The broker forgets the session as soon as it accepts this connection.
        drop(on_blocking::forget(&broker, &connect));
    }
    let end = END.get().context("The light ended without a reason")?;
    Ok(finish(*end, is_disconnected).into())
}

/// Returns the broker of the options, or starts one in this program.
fn broker(options: &Options) -> anyhow::Result<Broker> {
    let (host, port) = match options.broker.clone() {
        Some((host, port)) => (host, port.unwrap_or(if options.tls { 8883 } else { 1883 })),
        None => {
            let address = embedded_broker::start()
                .context("The broker of this program does not start: name one with --broker")?;
            say(format_args!(
                "No --broker is named, so one was started inside this program, at {address}."
            ));
            (address.ip().to_string(), address.port())
        }
    };
    let tls = options.tls.then(|| tls::config(options)).transpose()?;
    Ok(Broker { host, port, tls })
}

/// Returns the command that shows the same messages in another terminal.
fn watch_command(options: &Options, Broker { host, port, .. }: &Broker, topic: &str) -> String {
    let (host, topic) = (quote(host), quote(topic));
    let mut command = format!("mosquitto_sub -h {host} -p {port} -t {topic}");
    if options.tls && options.ca.is_none() {
        command += " --tls-use-os-certs";
    }
    let (ca, cert, key) = (&options.ca, &options.client_cert, &options.client_key);
    for (option, file) in [("cafile", ca), ("cert", cert), ("key", key)] {
        if let Some(file) = file {
            command += &format!(" --{option} {}", quote(&file.to_string_lossy()));
        }
    }
    if let Some(user) = &options.user {
        command += &format!(" -u {} -P PASSWORD", quote(user));
    }
    command
}
