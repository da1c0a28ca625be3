//! The light on either client. What differs is only who waits.

use light::{
    End, Light,
    asynch::{self, Network as AsyncNetwork},
    blocking::{self, Network},
};
use umqtt::{Session, codec::Connect, std_io::StdClock, tokio_io::TokioClock};

use crate::{
    console::{Console, set_connected},
    network::Tcp,
};

/// All that a client needs.
pub(crate) struct Work<'w, 'b> {
    pub(crate) light: &'w mut Light,
    pub(crate) session: &'w mut Session<'b>,
    pub(crate) connect: &'w Connect<'w>,
    pub(crate) network: &'w mut Tcp,
    pub(crate) console: &'w mut Console,
    /// Nobody comes back under this client id: after the goodbye, a connection with a clean session makes the broker
    /// forget it.
    pub(crate) forget: bool,
}

/// Runs the light on the blocking client.
pub(crate) fn blocking(work: Work<'_, '_>) -> End {
    let clock = StdClock::new();
    let Work {
        light,
        session,
        connect,
        network,
        console,
        forget,
    } = work;
    let end = blocking::run(light, session, connect, &clock, network, console);
    if forget
        && network.said_goodbye
        && let Ok(transport) = Network::dial(network)
    {
        let client = umqtt::blocking::Client::connect(session, transport, clock, &clean(connect));
        if let Ok(mut client) = client
            && client.disconnect().is_ok()
        {
            Network::hang_up(network, client.into_transport());
        }
        set_connected(false);
    }
    end
}

/// Runs the light on the async client, inside a runtime of tokio.
pub(crate) async fn asynch(work: Work<'_, '_>) -> End {
    let clock = TokioClock::new();
    let Work {
        light,
        session,
        connect,
        network,
        console,
        forget,
    } = work;
    let end = asynch::run(light, session, connect, &clock, network, console).await;
    if forget
        && network.said_goodbye
        && let Ok(transport) = AsyncNetwork::dial(network).await
    {
        let options = clean(connect);
        let client = umqtt::asynch::Client::connect(session, transport, clock, &options).await;
        if let Ok(mut client) = client
            && client.disconnect().await.is_ok()
        {
            AsyncNetwork::hang_up(network, client.into_transport()).await;
        }
        set_connected(false);
    }
    end
}

fn clean<'a>(connect: &Connect<'a>) -> Connect<'a> {
    Connect {
        clean_session: true,
        will: None,
        ..*connect
    }
}
