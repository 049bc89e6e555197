//! The jailer of the fake machine: the seam of `host/launcher.rs`.
//!
//! What can go wrong: no jail, a pidfile or devices of an earlier run. A leftover API socket lets
//! the process start and end at once, as Firecracker does when it cannot bind.

use async_trait::async_trait;

use super::gate::{Repeat, Seam};
use super::jails::{LEFTOVERS, root_entry};
use super::kernel::unix_seconds;
use super::machine::{Birth, Machine};
use super::state::{Entry, State, refuse};
use crate::host::{ExitStatus, HostErrorKind, HostResult, LaunchSpec, Launched, Launcher};

/// Where the jailer puts the program.
const PROGRAM: &str = "/firecracker";

impl State {
    fn launch(&mut self, spec: &LaunchSpec, now: u64) -> HostResult<Launched> {
        let verb = "start jailer for";
        let no = |kind, why: &str| Err(refuse(kind, verb, &spec.id, why));
        let Some(root) = self.root_of(&spec.id) else {
            return no(HostErrorKind::NotFound, "there is no jail");
        };
        let pid = self.free_pid();
        let Some(jail) = self.jails.get_mut(&spec.id) else {
            return no(HostErrorKind::NotFound, "there is no jail");
        };
        if jail.uid != spec.uid {
            return no(HostErrorKind::Refused, "the jail belongs to another user");
        }
        if jail.pidfile.is_some() {
            return no(HostErrorKind::Refused, "there is a pidfile of an earlier run");
        }
        if jail.entries.contains_key(&root_entry("/dev")) {
            return no(HostErrorKind::Refused, "there are devices of an earlier run");
        }
        let leftover_socket = jail.socket.is_some();
        jail.pidfile = Some(pid.to_string().into_bytes());
        for path in [PROGRAM].iter().chain(&LEFTOVERS[..3]) {
            jail.entries.insert(root_entry(path), Entry::Theirs);
        }
        if !leftover_socket {
            jail.socket = Some(pid);
        }
        let mut arguments = vec![PROGRAM.to_owned(), "--id".to_owned(), spec.id.to_string()];
        let started = now.saturating_sub(self.boot_unix_seconds) * 1_000_000;
        for (name, value) in [
            ("--start-time-us", started),
            ("--start-time-cpu-us", 1200),
            ("--parent-cpu-time-us", 800),
        ] {
            arguments.extend([name.to_owned(), value.to_string()]);
        }
        let birth = Birth {
            comm: "firecracker".to_owned(),
            arguments,
            root: Some(root),
            jail: Some(spec.id.clone()),
            vmm: Some(Machine::default()),
            ours: true,
        };
        let launched = self.spawn(pid, birth, now);
        if leftover_socket {
            self.log(&spec.id, "Failed to open the API socket: Address in use (os error 98)\n");
            self.end_process(pid, ExitStatus::Code(1));
        }
        Ok(launched)
    }
}

#[async_trait]
impl Launcher for Seam {
    async fn launch(&self, spec: &LaunchSpec) -> HostResult<Launched> {
        let now = unix_seconds(&self.kernel.inner.clock);
        self.effect("launcher.launch", spec.id.to_string(), Repeat::Never, |state| {
            state.launch(spec, now)
        })
        .await
    }
}
