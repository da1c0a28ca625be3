//! Without feature `deep-sleep`: the light of `examples/light`, for as long as there is power.

use esp_hal::peripherals::LPWR;
use light::{Identity, Light, Settings, asynch::run};
use umqtt::{
    EmbassyClock, Session,
    codec::{Connect, QoS},
};

use crate::{board::Device, network::Broker, stop};

/// Connects, publishes and listens, and begins again after every failure.
pub(crate) async fn work(
    identity: &Identity,
    options: &Connect<'_>,
    session: &mut Session<'_>,
    broker: &mut Broker,
    device: &mut Device,
    _: LPWR<'static>,
) -> ! {
    let settings = Settings {
        topic_prefix: identity.prefix(),
        qos: QoS::AtLeastOnce,
        interval_ms: 1_000,
        count: None,
    };
    let Ok(mut light) = Light::new(&settings) else {
        stop("TOPIC_PREFIX is too long").await
    };
    run(&mut light, session, options, &EmbassyClock, broker, device).await;
    stop("The light has ended").await
}
