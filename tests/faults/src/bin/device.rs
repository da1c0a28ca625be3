//! A party as a separate process, which can be killed: `device ADDRESS FILE QOS COUNT blocking|async`.
//!
//! At the end, it prints its progress, or its error.

use std::{env, process::ExitCode};

use faults::{Kind, Party, Store, Task};
use umqtt::codec::QoS;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let number = |at: usize| arguments[at].parse::<u32>().expect("a number");
    let task = Task {
        name: "device",
        to: "up",
        from: "down",
        qos: match number(3) {
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        },
        count: number(4),
        begins: true,
    };
    let kind = match arguments[5].as_str() {
        "async" => Kind::Async,
        _ => Kind::Blocking,
    };
    let address = arguments[1].parse().expect("an address");
    match Party::new(task, Store::File((&arguments[2]).into())).run(kind, address) {
        Ok(progress) => {
            println!("{progress:?}");
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            println!("{wrong}");
            ExitCode::FAILURE
        }
    }
}
