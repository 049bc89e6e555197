//! The jailers of the fake machine: the seam of `host/launcher.rs`.
//!
//! What can go wrong: no jail, a pidfile or devices of an earlier run. A leftover API socket lets
//! the process start and end at once, as Firecracker does when it cannot bind.

use async_trait::async_trait;

use crate::host::fakes::jails::{leftovers, root_entry};
use crate::host::fakes::kernel::gate::{Repeat, Seam};
use crate::host::fakes::kernel::machine::Birth;
use crate::host::fakes::kernel::process::FakeVmm;
use crate::host::fakes::kernel::state::{JailEntry, State, refuse};
use crate::host::fakes::kernel::unix_seconds;
use crate::host::kind::qemu_name;
use crate::host::{ExitStatus, HostErrorKind, HostResult, LaunchSpec, Launched, Launcher, VmmKind};

/// Where the jailer puts the program.
const PROGRAM: &str = "/firecracker";

impl State {
    fn arguments(&self, spec: &LaunchSpec, now: u64) -> Vec<String> {
        let words = match spec.vmm {
            VmmKind::Firecracker => {
                let started = now.saturating_sub(self.boot_unix_seconds) * 1_000_000;
                let times = ["--start-time-cpu-us", "1200", "--parent-cpu-time-us", "800"];
                let started = ["--start-time-us".to_owned(), started.to_string()];
                let id = [PROGRAM.to_owned(), "--id".to_owned(), spec.id.to_string()];
                return id.into_iter().chain(started).chain(times.map(str::to_owned)).collect();
            }
            VmmKind::Qemu => ["/usr/bin/qemu-system-x86_64", "-name", &qemu_name(&spec.id)],
        };
        words.map(str::to_owned).to_vec()
    }

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
        if jail.vmm != spec.vmm {
            return no(HostErrorKind::Refused, "the jail was built for another VMM");
        }
        if jail.pidfile.is_some() {
            return no(HostErrorKind::Refused, "there is a pidfile of an earlier run");
        }
        if jail.entries.contains_key(&root_entry("/dev")) {
            return no(HostErrorKind::Refused, "there are devices of an earlier run");
        }
        let leftover_socket = jail.socket.is_some();
        jail.pidfile = Some(pid.to_string().into_bytes());
        let program = match spec.vmm {
            VmmKind::Firecracker => Some(PROGRAM),
            // Its program is not copied, it is seen in the jail by its process alone.
            VmmKind::Qemu => None,
        };
        for path in leftovers(spec.vmm).into_iter().chain(program) {
            jail.entries.insert(root_entry(path), JailEntry::Theirs);
        }
        if !leftover_socket {
            jail.socket = Some(pid);
        }
        let birth = Birth {
            comm: spec.vmm.comm().to_owned(),
            arguments: self.arguments(spec, now),
            root: Some(root),
            user: spec.uid,
            jail: Some(spec.id.clone()),
            vmm: Some(FakeVmm::default()),
            ours: true,
        };
        let launched = self.spawn(pid, birth, now);
        // One that takes its machine from its command line ends when it can't make it.
        if spec.vmm == VmmKind::Qemu
            && !leftover_socket
            && let Err(error) = self.configure(&spec.id, &spec.machine)
        {
            self.log(&spec.id, &format!("qemu-system-x86_64: {}\n", error.detail));
            self.end_process(pid, ExitStatus::Code(1));
        }
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
