//! MQTT 3.1.1 for firmware.
#![no_std]

pub mod codec;
