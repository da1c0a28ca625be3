//! rmqtt on a port of the loopback interface: `rmqtt-broker ACCESS PORT`. ACCESS selects the access rules: `open`,
//! `login` or `guarded`.

use std::env;

use rmqtt::{Result, context::ServerContext, net::Builder, server::MqttServer};

/// The access rules of each port.
const OPEN: &str = r#"rules = [["allow", "all"]]"#;
const LOGIN: &str =
    r#"rules = [["allow", { user = "user", password = "password" }], ["deny", "all"]]"#;
const GUARDED: &str = r#"
disconnect_if_pub_rejected = false
rules = [
    ["allow", "all", "connect"],
    ["allow", "all", "pubsub", ["open/#"]],
    ["allow", "all", "subscribe", ["closed/#"]],
    ["deny", "all"],
]"#;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let access = arguments.next().unwrap_or_default();
    let rules = match &*access {
        "login" => LOGIN,
        "guarded" => GUARDED,
        _ => OPEN,
    };
    let port = arguments.next().unwrap_or_default();
    // With this check, it would refuse clients with code 3 while the machine is busy.
    let context = ServerContext::new()
        .busy_check_enable(false)
        .plugins_config_map_add("rmqtt-acl", rules)
        .build()
        .await;
    rmqtt_acl::register(&context, true, false).await?;
    rmqtt_retainer::register(&context, true, false).await?;
    let listener = Builder::new()
        .name("tcp")
        .laddr(format!("127.0.0.1:{port}").parse()?)
        .allow_anonymous(access != "login")
        .bind()?
        .tcp()?;
    MqttServer::new(context)
        .listener(listener)
        .build()
        .run()
        .await
}
