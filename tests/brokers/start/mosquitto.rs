//! Eclipse mosquitto, as Debian packages it.

use std::{
    env, fs,
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::Duration,
};

use super::{
    Broker, Deviation, NO_CODE_3, OVERLAPPING_AT_ANOTHER_QOS, Process, Verdict::May, output,
    version_in,
};

pub(crate) const NAME: &str = "mosquitto";
pub(crate) const DEVIATIONS: &[Deviation] = &[
    OVERLAPPING_AT_ANOTHER_QOS,
    NO_CODE_3,
    Deviation {
        scenario: "noncharacters",
        verdict: May("1.5.3"),
        does: "it closes the connection",
        shows: "Closed",
    },
    Deviation {
        scenario: "control_characters",
        verdict: May("1.5.3"),
        does: "it closes the connection",
        shows: "Closed",
    },
];

/// The access rules for every client, in the form of mosquitto's plug-in.
const GUARD: &str = r#"{
    "defaultACLAccess": {
        "publishClientSend": false, "publishClientReceive": true, "subscribe": false, "unsubscribe": true
    },
    "anonymousGroup": "everybody",
    "groups": [{ "groupname": "everybody", "roles": [{ "rolename": "guest" }] }],
    "roles": [{ "rolename": "guest", "acls": [
        { "acltype": "publishClientSend", "topic": "open/#", "allow": true },
        { "acltype": "subscribePattern", "topic": "open/#", "allow": true },
        { "acltype": "subscribePattern", "topic": "closed/#", "allow": true }
    ] }]
}"#;

/// Starts it. Returns `None` if it is not installed, which fails in CI.
pub(crate) fn start() -> Option<Broker> {
    let Some(program) = find("mosquitto") else {
        assert!(
            env::var_os("CI").is_none(),
            "mosquitto has to be installed in CI"
        );
        // Written directly, because the test runner hides the output of a test that passes.
        let why = "mosquitto is not installed (apt-get install mosquitto)";
        drop(writeln!(io::stderr(), "left out: {why}"));
        return None;
    };
    let (open, address) = start_server(&program, "allow_anonymous true", &[]);
    let (login_process, login) = start_server(
        &program,
        "allow_anonymous false\npassword_file passwords",
        &[("passwords", "")],
    );
    let guard = format!(
        "allow_anonymous true\nplugin {}\nplugin_opt_config_file guard.json",
        plug_in().display()
    );
    let (guarded_process, guarded) = start_server(&program, &guard, &[("guard.json", GUARD)]);
    Some(Broker {
        name: NAME,
        version: version_in(&output(Command::new(&program).arg("-h"))),
        address,
        login,
        guarded,
        rest: Duration::ZERO,
        deviations: DEVIATIONS,
        processes: vec![open, login_process, guarded_process],
    })
}

/// Starts mosquitto with these lines of configuration and these files.
fn start_server(
    program: &PathBuf,
    config: &str,
    files: &[(&str, &str)],
) -> (Arc<Process>, SocketAddr) {
    Process::start(NAME, |folder, address| {
        for (name, content) in files {
            fs::write(folder.join(name), content).unwrap();
            if *name == "passwords" {
                let made = Command::new(find("mosquitto_passwd").unwrap())
                    .arg("-b")
                    .arg(folder.join(name))
                    .args(["user", "password"])
                    .status();
                assert!(made.unwrap().success());
            }
        }
        let file = folder.join("mosquitto.conf");
        let user = env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let listener = format!("user {user}\nlistener {} 127.0.0.1\n", address.port());
        fs::write(&file, format!("{listener}{config}\n")).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(file);
        command
    })
}

/// Returns the path of the plug-in. Debian installs it in the folder of the libraries of this architecture.
fn plug_in() -> PathBuf {
    let name = "mosquitto_dynamic_security.so";
    let folders = fs::read_dir("/usr/lib").unwrap();
    folders
        .map(|folder| folder.unwrap().path().join(name))
        .chain([PathBuf::from("/usr/lib").join(name)])
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{name} is not where Debian's package mosquitto puts it"))
}

/// Returns the path of a program. Debian installs mosquitto in a folder that is not in every user's PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
