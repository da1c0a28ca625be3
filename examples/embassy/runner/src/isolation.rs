//! A network namespace with only the broker and a name server.

use std::{
    env, fs,
    net::UdpSocket,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, ExitCode},
    thread,
};

use crate::Result;

/// Environment variable that marks the process inside the namespace.
const INSIDE: &str = "EMBASSY_RUNNER_IS_INSIDE";

/// Address of the emulating machine in the network of QEMU: 127.0.0.1 of the namespace.
const HOST: [u8; 4] = [10, 0, 2, 2];

/// Runs this program again inside a namespace, and returns its exit code. Inside, returns `None`.
pub(crate) fn enter() -> Result<Option<ExitCode>> {
    if env::var_os(INSIDE).is_some() {
        command("ip", &["link", "set", "lo", "up"])?;
        return Ok(None);
    }
    let is_root = fs::metadata("/proc/self")?.uid() == 0;
    let status = Command::new("unshare")
        .arg(if is_root { "-nm" } else { "-Urnm" })
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .map_err(|error| format!("unshare does not start: {error}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(Some(code.map_or(ExitCode::FAILURE, ExitCode::from)))
}

/// Answers each DNS query with the address of this machine.
pub(crate) fn start_name_server(scratch: &Path) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:53")?;
    let file = scratch.join("resolv.conf");
    fs::write(&file, "nameserver 127.0.0.1\n")?;
    let file = file
        .to_str()
        .ok_or("the path of the temporary folder is not UTF-8")?;
    command("mount", &["--bind", file, "/etc/resolv.conf"])?;
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut query) {
            if let Some(answer) = query.get(..len).and_then(answer) {
                drop(socket.send_to(&answer, from));
            }
        }
    });
    Ok(())
}

fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let (header, question) = query.split_at_checked(12)?;
    let name = question.iter().position(|&byte| byte == 0)?;
    let mut answer = header.get(..2)?.to_vec();
    // A response with one question and one answer.
    answer.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend(question.get(..name.checked_add(5)?)?);
    // The name of the question, type A, class IN, 60 s, 4 bytes.
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    answer.extend(HOST);
    Some(answer)
}

fn command(program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program).args(arguments).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{program} {}: {status}", arguments.join(" ")).into())
    }
}
