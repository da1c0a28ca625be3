//! The light without MQTT: the same board, network and console, with raw TCP. Its image shows the size of
//! the light without MQTT.
#![no_std]
#![no_main]

use board::{
    info,
    settings::{MQTT_HOST, MQTT_PORT, TOPIC_PREFIX},
    warning,
};
use embassy_executor::Spawner;
use embassy_futures::select::{Either, select};
use embassy_net::tcp::TcpSocket;
use embassy_time::Timer;
use esp32_parts::Identity;

esp_bootloader_esp_idf::esp_app_desc!();

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    let mut board = board::start().await;
    let Ok(identity) = Identity::new(board.mac, TOPIC_PREFIX) else {
        board::stop("TOPIC_PREFIX is too long").await
    };
    info!("Device {}, topic {}", identity.device(), identity.topic());
    let stack = board::join(board.radio, spawner).await;
    let (mut rx, mut tx) = ([0; 2048], [0; 2048]);
    let mut socket = TcpSocket::new(stack, &mut rx, &mut tx);
    let mut on = false;
    loop {
        let port = MQTT_PORT.unwrap_or(1883);
        match board::dial(stack, &mut socket, MQTT_HOST, port).await {
            Err(error) => warning!("Not connected: {}", error),
            Ok(()) => loop {
                let mut bytes = [0; 64];
                match select(socket.read(&mut bytes), Timer::after_secs(1)).await {
                    Either::First(Ok(0)) => {
                        warning!("The connection ended");
                        break;
                    }
                    Either::First(Ok(n)) => {
                        info!(
                            "Received: {}",
                            bytes.get(..n).unwrap_or_default().escape_ascii()
                        );
                    }
                    Either::First(Err(error)) => {
                        warning!("The connection ended: {}", error);
                        break;
                    }
                    Either::Second(()) => {
                        on = !on;
                        board.led.set(on);
                        let state: &[u8] = if on { b"on" } else { b"off" };
                        if let Err(error) = socket.write(state).await {
                            warning!("The connection ended: {}", error);
                            break;
                        }
                    }
                }
            },
        }
        socket.abort();
        Timer::after_secs(1).await;
    }
}
