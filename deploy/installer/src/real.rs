//! This machine: the one place of `banger system` that starts processes and reads `/proc`.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use banger_client::v1::{HostState, Vm, VmFilter};
use banger_client::{Client, ClientError, Endpoint};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::guests::{Fleet, Guest, Known};
use super::machine::{Call, LOOK, Machine, Said};
use super::settings::Settings;
use banger_terminal::failure::Failure;
use banger_terminal::text::{host_state_name, state_name};

mod vmms;

/// A page is read for so long, and so much of it.
const PAGE_LIMIT: Duration = Duration::from_secs(5);
const PAGE_SIZE: u64 = 4 * 1024 * 1024;

/// A call of the API takes so long while services come and go.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Where root's programs are; `PATH` is whoever's called.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// This machine, and the server that is meant.
pub(super) struct RealMachine<S> {
    server: S,
}

impl<S: Fn() -> Result<Endpoint, Failure>> RealMachine<S> {
    /// `server` says which server is meant.
    pub(super) fn new(server: S) -> Self {
        Self { server }
    }
}

impl<S: Fn() -> Result<Endpoint, Failure>> Machine for RealMachine<S> {
    fn has_systemd(&self) -> bool {
        Path::new("/run/systemd/system").is_dir()
    }

    async fn run(&self, call: &Call) -> anyhow::Result<Said> {
        let Call { program, args } = call.clone();
        let run = move || {
            #[expect(clippy::disallowed_methods, reason = "the one place of `banger system`")]
            let mut command = Command::new(program);
            command.args(args).env("PATH", PATH).env("LC_ALL", "C").stdin(Stdio::null());
            command.output()
        };
        let output = tokio::task::spawn_blocking(run)
            .await?
            .with_context(|| format!("cannot run {}", call.program))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said {
            good: output.status.success(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        })
    }

    fn guests(&self, agent: &Settings) -> anyhow::Result<Vec<Guest>> {
        let vms = agent.state_dir.join("vms");
        // To whom it is closed, no process would be one of its VMs.
        let listed = match std::fs::read_dir(&vms) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot look into {}", vms.display()));
            }
        };
        let names = listed.flatten().filter(|entry| entry.path().is_dir());
        let names = names.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        let claims = Path::new(vmms::CLAIMS);
        let share = vmms::Share::read(names, &agent.jail_dir, claims, &agent.state_dir);
        let all = procfs::process::all_processes().context("/proc cannot be read")?;
        Ok(share.guests(all.flatten()))
    }

    fn runs(&self, pid: u32, program: &Path) -> Option<bool> {
        let running = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?;
        let there = std::fs::metadata(program).ok();
        Some(there.is_some_and(|file| (file.dev(), file.ino()) == (running.dev(), running.ino())))
    }

    async fn page(&self, address: SocketAddr, path: &str) -> Result<String, String> {
        let read = async {
            let mut stream = TcpStream::connect(address).await?;
            let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.take(PAGE_SIZE).read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = match tokio::time::timeout(PAGE_LIMIT, read).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(format!("{address}{path}: {error}")),
            Err(_) => return Err(format!("{address}{path} does not answer")),
        };
        body(&answer).map_err(|status| format!("{address}{path} answers {status:?}"))
    }

    async fn fleet(&self, host_id: &str) -> Result<Fleet, String> {
        let endpoint = match (self.server)() {
            Ok(endpoint) => endpoint.deadline(CALL_LIMIT),
            Err(failure) => return Err(failure.message()),
        };
        let ask = async {
            let client = Client::connect(&endpoint).await?;
            let host = client.hosts().get(host_id).await?;
            let filter = VmFilter { host: host.id.clone(), ..VmFilter::default() };
            let vms = client.vms().list_all(filter).await?.vms;
            Ok::<_, ClientError>((host, vms))
        };
        let (host, vms) = ask.await.map_err(|error| error.to_string())?;
        let status = host.status.unwrap_or_default();
        Ok(Fleet {
            online: status.state() == HostState::Online,
            state: host_state_name(status.state()).to_owned(),
            epoch: status.agent_epoch,
            vms: vms.into_iter().map(known).collect(),
        })
    }

    async fn pause(&self) {
        tokio::time::sleep(LOOK).await;
    }
}

/// The head is cut off; the status line is the error.
fn body(answer: &str) -> Result<String, String> {
    let status = answer.lines().next().unwrap_or_default();
    let good = status.split_whitespace().nth(1) == Some("200");
    match (good, answer.split_once("\r\n\r\n")) {
        (true, Some((_, body))) => Ok(body.to_owned()),
        _ => Err(status.to_owned()),
    }
}

fn known(vm: Vm) -> (String, Known) {
    let status = vm.status.unwrap_or_default();
    let known = Known {
        name: vm.name,
        generation: vm.generation,
        state: state_name(status.state()).to_owned(),
        process: status.process.as_ref().map(|process| (process.pid, process.start_ticks)),
        exit: status.exit.map(|exit| (exit.crashed, exit.message)),
    };
    (vm.id, known)
}

#[cfg(test)]
mod tests;
