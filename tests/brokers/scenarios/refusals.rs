//! All refusals of a broker.

use umqtt::codec::{Connect, Credentials, QoS, SubackReturnCode};

use crate::stage::{
    Calls, Kind, Result, Stage, ignore, message, messages, options, record, session,
};

/// A CONNECT with an empty client id and Clean Session 0.
const NOBODY: &[u8] = b"\x10\x0c\0\x04MQTT\x04\0\0\x1e\0\0";
/// A CONNECT with protocol level 9.
const FUTURE: &[u8] = b"\x10\x0d\0\x04MQTT\x09\x02\0\x1e\0\x01a";

fn with_password<'a>(id: &'a str, user_name: &'a str, password: &'a [u8]) -> Connect<'a> {
    Connect {
        credentials: Some(Credentials {
            user_name,
            password: Some(password),
        }),
        ..options(id)
    }
}

/// Returns the error of a connect that must fail.
fn refused<T>(connected: Result<T>) -> String {
    match connected {
        Ok(_) => panic!("the connection was accepted"),
        Err(error) => error,
    }
}

fn assert_unauthorised(error: &str) {
    let codes = ["BadUserNameOrPassword", "NotAuthorized"];
    assert!(
        codes
            .map(|code| format!("Protocol(Refused({code}))"))
            .contains(&error.to_owned()),
        "refused by {error}"
    );
}

pub(super) fn wrong_password<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let address = stage.broker.login;
    let mut session = session();
    let id = stage.id("client");
    for (user, password) in [("user", &b"wrong"[..]), ("nobody", b"password")] {
        let options = with_password(&id, user, password);
        assert_unauthorised(&refused(stage.connect_to(address, &mut session, &options)));
    }
    let options = with_password(&id, "user", b"password");
    stage
        .connect_to(address, &mut session, &options)?
        .disconnect()
}

pub(super) fn no_login<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let mut session = session();
    let id = stage.id("client");
    let connected = stage.connect_to(stage.broker.login, &mut session, &options(&id));
    assert_unauthorised(&refused(connected));
    Ok(())
}

pub(super) fn identifier_rejected<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let mut session = session();
    let error = refused(stage.connect_by_hand(&mut session, NOBODY));
    assert_eq!(error, "Protocol(Refused(IdentifierRejected))");
    Ok(())
}

pub(super) fn empty_client_id<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = stage.topic("a");
    let mut session = session();
    let mut client = stage.connect(&mut session, &options(""))?;
    client.subscribe_and_wait(&[(&topic, QoS::AtMostOnce)], ignore)?;
    client.publish(&message(&topic, b"x", QoS::AtMostOnce))?;
    messages(&mut client, 1)?;
    client.disconnect()
}

pub(super) fn unacceptable_version<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let mut session = session();
    let error = refused(stage.connect_by_hand(&mut session, FUTURE));
    assert_eq!(error, "Protocol(Refused(UnacceptableProtocolVersion))");
    Ok(())
}

pub(super) fn server_unavailable<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let mut session = session();
    let id = stage.id("client");
    let options = with_password(&id, "unavailable", b"password");
    let error = refused(stage.connect_to(stage.broker.login, &mut session, &options));
    assert_eq!(error, "Protocol(Refused(ServerUnavailable))");
    Ok(())
}

pub(super) fn subscription_denied<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let (denied, allowed) = (stage.topic("a"), format!("open/{}", stage.topic("a")));
    let mut session = session();
    let id = stage.id("client");
    let mut client = stage.connect_to(stage.broker.guarded, &mut session, &options(&id))?;
    let filters = [(&*denied, QoS::AtMostOnce), (&*allowed, QoS::AtLeastOnce)];
    let codes = client.subscribe_and_wait(&filters, ignore)?;
    let granted = SubackReturnCode::Granted(QoS::AtLeastOnce);
    assert_eq!(codes, [SubackReturnCode::Failure, granted]);
    client.publish(&message(&allowed, b"x", QoS::AtLeastOnce))?;
    messages(&mut client, 1)?;
    client.disconnect()
}

pub(super) fn publish_denied<K: Kind>(stage: &Stage<'_, K>) -> Result<()> {
    let topic = format!("closed/{}", stage.topic("a"));
    let mut session_a = session();
    let id = stage.id("watcher");
    let mut watcher = stage.connect_to(stage.broker.guarded, &mut session_a, &options(&id))?;
    let codes = watcher.subscribe_and_wait(&[(&topic, QoS::ExactlyOnce)], ignore)?;
    assert_eq!(codes, [SubackReturnCode::Granted(QoS::ExactlyOnce)]);
    let id = stage.id("sender");
    for qos in super::delivery::EACH_QOS {
        let mut session_b = session();
        let mut sender = stage.connect_to(stage.broker.guarded, &mut session_b, &options(&id))?;
        let mut seen = Vec::new();
        let sent = sender.publish_and_wait(&message(&topic, b"x", qos), |event| {
            record(&mut seen, event)
        });
        // The broker may acknowledge the message or close the connection. It must not ignore the message.
        if let Err(error) = sent {
            assert!(!error.contains("Timeout"), "{qos:?}: {error}");
        }
        messages(&mut watcher, 0)?;
    }
    watcher.disconnect()
}
