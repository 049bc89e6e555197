//! Processes the benchmark starts on loopback, each in a directory of its own, ended by pid.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// How long a process may take until its port answers.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A child with a scratch directory; both are gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    _scratch: tempfile::TempDir,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Our own child, not yet waited for, so its pid can't be another's.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port nobody listens on at the moment.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A program of this build, which lies beside this one.
pub(crate) fn beside_us(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.is_file() {
        bail!("{} is not there: build the whole workspace in the same profile", path.display());
    }
    Ok(path)
}

/// Starts a program that will listen on `port`, and waits until it does. All processes put their
/// data below `disk`, so that both sides of a comparison write to one file system.
pub(crate) fn start(
    program: &Path,
    disk: &Path,
    port: u16,
    arguments: impl FnOnce(&Path) -> Vec<String>,
) -> anyhow::Result<Process> {
    let scratch = tempfile::tempdir_in(disk)?;
    #[expect(clippy::disallowed_methods, reason = "a benchmark starts what it compares")]
    let mut child = Command::new(program)
        .args(arguments(scratch.path()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(scratch.path().join("stderr.log"))?)
        .spawn()
        .with_context(|| {
            format!("cannot start {}: .ci/tools.sh bench brings the peers", program.display())
        })?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        let log = || std::fs::read_to_string(scratch.path().join("stderr.log")).unwrap_or_default();
        if let Some(status) = child.try_wait()? {
            bail!("{} ended with {status}: {}", program.display(), log());
        }
        if begun.elapsed() > START_LIMIT {
            let _ = child.kill();
            bail!("{} does not listen on {address}: {}", program.display(), log());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Process { child, _scratch: scratch, address })
}

/// A server of the benchmark's own, without any host.
pub(crate) fn start_server(disk: &Path) -> anyhow::Result<Process> {
    let (port, metrics) = (free_port()?, free_port()?);
    start(&beside_us("banger-server")?, disk, port, |scratch| {
        vec![
            format!("--listen=127.0.0.1:{port}"),
            format!("--metrics-listen=127.0.0.1:{metrics}"),
            format!("--state-dir={}", scratch.display()),
        ]
    })
}

/// etcd as Debian ships it, one member, its own durable defaults.
pub(crate) fn start_etcd(disk: &Path) -> anyhow::Result<Process> {
    let (port, peer) = (free_port()?, free_port()?);
    start(Path::new("etcd"), disk, port, |scratch| {
        vec![
            format!("--data-dir={}", scratch.join("data").display()),
            format!("--listen-client-urls=http://127.0.0.1:{port}"),
            format!("--advertise-client-urls=http://127.0.0.1:{port}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
            "--log-level=error".to_owned(),
        ]
    })
}
