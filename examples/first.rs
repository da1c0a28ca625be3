//! The README's first program: a device that stays connected. `cargo run --example first -- HOST:PORT`
use umqtt::{
    Config, Event, Message, Storage,
    blocking::Device,
    codec::{Connect, QoS},
    std_io,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = std::env::args().nth(1).unwrap_or("localhost:1883".into());
    let mut storage = Storage::<1024, 1024, 8>::new();
    let subscriptions = &[("first/question", QoS::AtMostOnce)];
    let config = Config {
        connect: Connect::new("first"),
        subscriptions,
    };
    let mut device = Device::new(&mut storage, std_io::StdClock::new(), &config)?;
    loop {
        if let Err(error) = device.dial(|| std_io::connect(&*broker)) {
            println!("cannot connect: {error}");
        }
        let served = device.serve(1_000, |event, publisher| {
            println!("{event}");
            if let Event::Message(question) = event {
                let _ = publisher.publish(&Message::new("first/answer", question.payload));
            }
        });
        if let Err(error) = served {
            println!("connection lost: {error}");
        } else if let Err(error) = device.publish(&Message::new("first/alive", b"yes")) {
            println!("not published: {error}");
        }
    }
}
