//! A running mosquitto.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Maximum time until mosquitto accepts a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// A broker with its own folder. When this is dropped, the broker is killed and the folder is removed.
#[derive(Debug)]
pub struct Mosquitto {
    /// The address of the broker.
    pub address: SocketAddr,
    program: PathBuf,
    folder: TempDir,
    process: Child,
}

impl Mosquitto {
    /// Starts a broker that accepts every client and queues without a limit. If mosquitto is not installed, panics in
    /// CI, and otherwise returns `None`.
    pub fn start() -> Option<Self> {
        let Some(program) = find() else {
            assert!(
                env::var_os("CI").is_none(),
                "mosquitto must be installed in CI"
            );
            println!("left out: there is no mosquitto here; `apt-get install mosquitto` brings it");
            return None;
        };
        let address = free_address();
        let folder = TempDir::new().unwrap();
        let (port, ip) = (address.port(), address.ip());
        let config = format!(
            "user root\nlistener {port} {ip}\nallow_anonymous true\nset_tcp_nodelay true\n\
             max_queued_messages 0\nmax_inflight_messages 20\n\
             persistence true\npersistence_location {}/\n",
            folder.path().display()
        );
        fs::write(folder.path().join("conf"), config).unwrap();
        let process = launch(&program, &folder, address);
        Some(Self {
            address,
            program,
            folder,
            process,
        })
    }

    /// Ends mosquitto with SIGTERM, so that it stores its sessions, and starts it again.
    pub fn restart(&mut self) {
        let id = self.process.id().to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status();
        assert!(status.unwrap().success(), "mosquitto had ended");
        self.process.wait().unwrap();
        self.process = launch(&self.program, &self.folder, self.address);
    }

    /// Kills mosquitto, and starts it without stored state.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        drop(fs::remove_file(self.folder.path().join("mosquitto.db")));
        self.process = launch(&self.program, &self.folder, self.address);
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Returns the path of mosquitto. Debian installs it in a folder that is not in every user's PATH.
fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join("mosquitto"))
        .find(|file| file.is_file())
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn launch(program: &PathBuf, folder: &TempDir, address: SocketAddr) -> Child {
    let mut process = Command::new(program)
        .arg("-c")
        .arg(folder.path().join("conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert_eq!(process.try_wait().unwrap(), None, "mosquitto ended");
        assert!(
            start.elapsed() < PATIENCE,
            "mosquitto does not accept connections"
        );
        thread::sleep(Duration::from_millis(2));
    }
    process
}
