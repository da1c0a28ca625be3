//! Redis, two brokers, and their load balancer, each as a separate process.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::Result;

/// Maximum time until a process accepts connections.
const START: Duration = Duration::from_secs(20);
const NAP: Duration = Duration::from_millis(20);

/// A process that is killed when this is dropped.
struct Server {
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a program, and waits until it accepts connections at this address.
    fn start(command: &mut Command, address: SocketAddr) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let name = command.get_program().to_string_lossy().into_owned();
        let mut server = Self {
            child: child.map_err(|error| format!("{name}: {error}"))?,
        };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("{name} has ended: {status}").into());
            }
            if start.elapsed() > START {
                return Err(format!("{name} does not accept connections").into());
            }
            thread::sleep(NAP);
        }
        Ok(server)
    }
}

/// All processes of a cluster.
pub(crate) struct Servers {
    /// Address of the load balancer.
    pub(crate) address: SocketAddr,
    brokers: Vec<Server>,
    _others: [Server; 2],
    _dir: TempDir,
}

impl Servers {
    /// Starts all processes. Brokers that are `apart` share nothing.
    pub(crate) fn start(apart: bool) -> Result<Self> {
        let dir = TempDir::new()?;
        let redis_at = free_port()?;
        let mut redis = Command::new("redis-server");
        redis
            .args([
                "--port",
                &redis_at.port().to_string(),
                "--bind",
                "127.0.0.1",
            ])
            .args(["--save", "", "--appendonly", "no"])
            .current_dir(dir.path());
        let redis = Server::start(&mut redis, redis_at)?;
        let addresses = [free_port()?, free_port()?];
        let mut brokers = Vec::new();
        for (name, at) in ["a", "b"].into_iter().zip(addresses) {
            let mut broker = Command::new("node");
            broker
                .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("broker.mjs"))
                .args([name, &at.port().to_string()]);
            if !apart {
                broker.arg(redis_at.port().to_string());
            }
            brokers.push(Server::start(&mut broker, at)?);
        }
        let address = free_port()?;
        let file = dir.path().join("haproxy.cfg");
        fs::write(&file, balancer(address, addresses))?;
        let mut haproxy = Command::new("haproxy");
        haproxy.arg("-f").arg(&file);
        let haproxy = Server::start(&mut haproxy, address)?;
        Ok(Self {
            address,
            brokers,
            _others: [redis, haproxy],
            _dir: dir,
        })
    }

    /// Kills the first broker, which is not started again.
    pub(crate) fn kill_one(&mut self) {
        drop(self.brokers.remove(0));
    }
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// The settings of haproxy: it tries each broker twice a second, and closes the connections to one that is down.
fn balancer(address: SocketAddr, [a, b]: [SocketAddr; 2]) -> String {
    format!(
        "defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    option redispatch
listen mqtt
    bind {address}
    balance leastconn
    default-server check inter 500 fall 2 on-marked-down shutdown-sessions
    server a {a}
    server b {b}
"
    )
}
