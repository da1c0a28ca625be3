//! One report, for a device that sleeps in between.

use umqtt::{
    Event, Message, Session,
    asynch::{Client, Sleep},
    codec::{Connect, QoS},
};

use super::{FailureOf, Network};
use crate::{Board, Failure, News, logic::unless_busy, news::state};

/// Connects, publishes the state of a light at QoS 1, disconnects when the broker has acknowledged it, and with it all
/// that it had not acknowledged before.
///
/// Nothing has to be published again after a failure: the session keeps it for the next connection, and its image
/// ([`crate::kept`]) over a sleep. If there is no room for this report, those before go first, and the board is told.
///
/// Dropping the future ends the connection without a goodbye.
///
/// # Errors
///
/// The broker was not reached, or the connection ended too early.
pub async fn report<N: Network, C: Sleep, B: Board>(
    (topic, on): (&str, bool),
    session: &mut Session<'_>,
    options: &Connect<'_>,
    clock: &C,
    network: &mut N,
    board: &mut B,
) -> Result<(), FailureOf<N>> {
    let transport = network.dial().await.map_err(Failure::Dial)?;
    let mut client = Client::open(session, transport, clock, options)?;
    let message = Message {
        qos: QoS::AtLeastOnce,
        ..Message::new(topic, state(on).as_bytes())
    };
    if unless_busy(client.session().publish(&message), board)?.is_some() {
        board.tell(&News::Published { topic, on });
    }
    while client.session().in_flight() > 0 || !client.session().is_connected() {
        if let Event::Message(message) = client.recv().await? {
            board.tell(&News::Received {
                topic: message.topic,
                payload: message.payload,
                own: false,
            });
        }
    }
    client.disconnect().await?;
    network.hang_up(client.into_transport()).await;
    Ok(())
}
