//! The delivery of messages that were published without a connection.

use core::cell::Cell;

use embedded_io_async::{Read, Write};
use umqtt::{
    Ended, Event,
    asynch::{Mqtt, Runner, Sleep},
};

/// Connects on this transport, and disconnects when `waiting` messages at QoS 1 are acknowledged.
///
/// If the connection ends or this future is dropped, unacknowledged messages stay in the session.
pub async fn deliver<T: Read + Write, C: Sleep>(
    mqtt: Mqtt<'_>,
    runner: &mut Runner<'_, C>,
    waiting: &Cell<usize>,
    transport: T,
) -> Ended<T::Error> {
    runner
        .run(transport, |event, _| {
            if let Event::Puback(_) = event {
                waiting.set(waiting.get().saturating_sub(1));
            }
            if waiting.get() == 0 {
                mqtt.shut_down();
            }
        })
        .await
}
