//! The API of VMMs on the fake machine: the seam of `host/vmm.rs`.
//!
//! It refuses what Firecracker refuses, with words like its own: configuring a started machine,
//! starting one without a kernel or twice, files that are not in the jail, a tap that is missing
//! or open. A guest boots at once and shuts down at once. What can go wrong besides: nobody
//! listens, or nobody answers ([`super::FakeKernel::hang_vmm`]).

use std::time::Duration;

use async_trait::async_trait;

use super::jails::root_entry;
use super::kernel::gate::{Repeat, Seam};
use super::kernel::process::{FakeVmm, SavedVmmState};
use super::kernel::state::{ApiLink, JailEntry, LinkKind, State, refuse};
use crate::host::{
    DmName, ExitStatus, GuestKey, HostError, HostErrorKind, HostResult, JailId, Pid, TapName, Vmm,
    VmmConfig, VmmState, in_jail,
};

mod guests;
mod launcher;
mod outputs;

const STARTED: &str = "The requested operation is not supported after starting the microVM.";
const NOT_STARTED: &str = "The requested operation is not supported before starting the microVM.";
/// `VcpuLimit` of Firecracker: docs/api_requests and its OpenAPI document, 1 to 32.
const MAX_VCPUS: u32 = 32;

fn no(id: &JailId, why: impl Into<String>) -> HostError {
    refuse(HostErrorKind::Refused, "ask the VMM of", id, why)
}

impl State {
    /// Who answers on a jail's API socket.
    fn listener(&self, id: &JailId) -> HostResult<Pid> {
        let verb = "reach the VMM of";
        let not_found = |why: &str| Err(refuse(HostErrorKind::NotFound, verb, id, why));
        let Some(jail) = self.jails.get(id).filter(|jail| jail.api_link == ApiLink::Ours) else {
            return not_found("there is no API socket");
        };
        let Some(pid) = jail.socket else { return not_found("there is no API socket") };
        let live = self
            .processes
            .get(&pid)
            .is_some_and(|p| p.vmm.is_some() && !p.zombie && p.jail.as_ref() == Some(id));
        if !live {
            return not_found("nobody listens on the API socket");
        }
        if self.hung_vmms.contains(id) {
            return Err(refuse(HostErrorKind::TimedOut, verb, id, "no answer came"));
        }
        Ok(pid)
    }

    fn machine(&mut self, id: &JailId) -> HostResult<&mut FakeVmm> {
        let pid = self.listener(id)?;
        let machine = self.processes.get_mut(&pid).and_then(|process| process.vmm.as_mut());
        machine.ok_or_else(|| no(id, "the process is no VMM"))
    }

    pub(super) fn configure(&mut self, id: &JailId, config: &VmmConfig) -> HostResult<()> {
        let pid = self.listener(id)?;
        if self.machine(id)?.state != SavedVmmState::NotStarted {
            return Err(no(id, STARTED));
        }
        let disks = self.check_config(id, config)?;
        if let Some(interface) = &config.interface {
            self.check_tap(id, pid, &interface.tap)?;
        }
        // Told a second time before the start it opens everything anew.
        let mut machine = std::mem::take(self.machine(id)?);
        self.close_devices(pid, &mut machine);
        for name in &disks {
            if let Some(snapshot) = self.snapshots.get_mut(name) {
                snapshot.open_count += 1;
            }
        }
        machine.tap = config.interface.as_ref().map(|interface| interface.tap.clone());
        if let Some(tap) = &machine.tap
            && let Some(link) = self.links.get_mut(tap.as_str())
            && let LinkKind::Tap { open, .. } = &mut link.kind
        {
            *open = Some(pid);
        }
        machine.disks = disks;
        machine.configured = true;
        machine.metadata = config.metadata_json.clone();
        machine.config = Some(config.clone());
        *self.machine(id)? = machine;
        if let Some(jail) = self.jails.get_mut(id).filter(|_| config.vsock_cid.is_some()) {
            jail.entries.insert(root_entry(in_jail::VSOCK), JailEntry::Theirs);
        }
        Ok(())
    }

    /// Everything but the tap; the snapshots it would open.
    fn check_config(&self, id: &JailId, config: &VmmConfig) -> HostResult<Vec<DmName>> {
        if !(1..=MAX_VCPUS).contains(&config.vcpus) || config.memory_mib == 0 {
            return Err(no(id, "The vCPU number or the memory size is invalid."));
        }
        let Some(jail) = self.jails.get(id) else { return Err(no(id, "There is no jail.")) };
        for name in std::iter::once(&config.kernel).chain(&config.initrd) {
            if !jail.entries.contains_key(name) {
                return Err(no(id, format!("The kernel file cannot be opened: /{name}")));
            }
        }
        if !config.drives.iter().any(|drive| drive.root) && config.initrd.is_none() {
            return Err(no(id, "There is no root device."));
        }
        let mut disks = Vec::new();
        for drive in &config.drives {
            match jail.entries.get(&drive.name) {
                Some(JailEntry::Device(number)) => match self.snapshot_of.get(number) {
                    Some(name) => disks.push(name.clone()),
                    None if number.major == 7
                        && self.loops.keys().any(|l| l.number() == *number) => {}
                    None => {
                        let why = format!("No such device or address: {} {number}", drive.name);
                        return Err(no(id, why));
                    }
                },
                Some(JailEntry::File { write: true, .. }) => {}
                Some(JailEntry::File { write: false, .. }) if drive.read_only => {}
                Some(JailEntry::File { .. }) => {
                    return Err(no(id, format!("Permission denied: /{}", drive.name)));
                }
                Some(JailEntry::Fifo | JailEntry::Theirs) | None => {
                    return Err(no(id, format!("No such file: /{}", drive.name)));
                }
            }
        }
        Ok(disks)
    }

    fn check_tap(&self, id: &JailId, pid: Pid, tap: &TapName) -> HostResult<()> {
        let uid = self.jails.get(id).map(|jail| jail.uid);
        match self.links.get(tap.as_str()).map(|link| &link.kind) {
            Some(LinkKind::Tap { open: Some(other), .. }) if *other != pid => {
                Err(no(id, format!("Open tap device failed: {tap}: Resource busy")))
            }
            Some(LinkKind::Tap { owner_uid, .. }) if Some(*owner_uid) != uid => {
                Err(no(id, format!("Open tap device failed: {tap}: Operation not permitted")))
            }
            Some(LinkKind::Tap { .. }) => Ok(()),
            Some(LinkKind::Bridge { .. } | LinkKind::Other) | None => {
                Err(no(id, format!("Open tap device failed: {tap}: No such device")))
            }
        }
    }

    fn start_guest(&mut self, id: &JailId) -> HostResult<()> {
        let machine = self.machine(id)?;
        if machine.state != SavedVmmState::NotStarted {
            return Err(no(id, STARTED));
        }
        if !machine.configured {
            return Err(no(id, "Cannot start microVM without kernel configuration."));
        }
        machine.state = SavedVmmState::Running;
        let tap = machine.tap.clone();
        let pin = GuestKey::new(id.as_str()).ok().and_then(|key| self.pins.get(&key));
        // What somebody flushed a moment ago is seen by the next look.
        let known = self.pin_memory.flushes == self.flushes;
        if let Some(tap) = tap.filter(|tap| known && pin.is_none_or(|pin| pin.tap != *tap)) {
            self.violations.push(format!("the guest of {id} was started on {tap} unpinned"));
        }
        self.console(id, "simulated guest: booted, Linux version 0.0.0\n");
        Ok(())
    }

    fn pause_guest(&mut self, id: &JailId) -> HostResult<()> {
        let machine = self.machine(id)?;
        if machine.state == SavedVmmState::NotStarted {
            return Err(no(id, NOT_STARTED));
        }
        machine.state = SavedVmmState::Paused;
        Ok(())
    }

    fn resume_guest(&mut self, id: &JailId) -> HostResult<()> {
        let machine = self.machine(id)?;
        if machine.state == SavedVmmState::NotStarted {
            return Err(no(id, NOT_STARTED));
        }
        machine.state = SavedVmmState::Running;
        if machine.asked_to_stop {
            self.guest_shuts_down(id);
        }
        Ok(())
    }

    fn ctrl_alt_del(&mut self, id: &JailId) -> HostResult<()> {
        let deaf = self.deaf_guests.contains(id);
        let machine = self.machine(id)?;
        match machine.state {
            SavedVmmState::NotStarted => return Err(no(id, NOT_STARTED)),
            // It will find the keys pressed when it runs again.
            SavedVmmState::Paused => machine.asked_to_stop = !deaf,
            SavedVmmState::Running if deaf => {}
            SavedVmmState::Running => self.guest_shuts_down(id),
        }
        Ok(())
    }

    /// Firecracker ends with code 0 when its guest shuts down or reboots.
    pub(super) fn guest_shuts_down(&mut self, id: &JailId) {
        self.console(id, "simulated guest: reboot: Restarting system\n");
        if let Some(pid) = self.pid_of(id) {
            self.end_process(pid, ExitStatus::Code(0));
        }
    }
}

impl Seam {
    async fn vmm_effect(
        &self,
        verb: &'static str,
        id: &JailId,
        repeat: Repeat,
        apply: impl Fn(&mut State) -> HostResult<()> + Send,
    ) -> HostResult<()> {
        self.effect(verb, id.to_string(), repeat, apply).await
    }
}

#[async_trait]
impl Vmm for Seam {
    async fn wait_ready(&self, id: &JailId, limit: Duration) -> HostResult<()> {
        let ready = async {
            loop {
                // Made before the look, so that no change is missed between the two.
                let changed = self.kernel.inner.changed.notified();
                if self.read("vmm.wait_ready", |s| Ok(s.listener(id).is_ok())).await? {
                    return Ok(());
                }
                changed.await;
            }
        };
        match tokio::time::timeout(limit, ready).await {
            Ok(result) => result,
            Err(_) => {
                let last = self.read("vmm.wait_ready", |s| s.listener(id).map(drop)).await;
                // Ready after all in the last moment.
                last.map_err(|error| match error.kind {
                    HostErrorKind::NotFound | HostErrorKind::TimedOut => error,
                    _ => refuse(HostErrorKind::TimedOut, "reach the VMM of", id, "no answer came"),
                })
            }
        }
    }

    async fn configure(&self, id: &JailId, config: &VmmConfig) -> HostResult<()> {
        self.vmm_effect("vmm.configure", id, Repeat::Allowed, |s| s.configure(id, config)).await
    }

    async fn start(&self, id: &JailId) -> HostResult<()> {
        self.vmm_effect("vmm.start", id, Repeat::Never, |s| s.start_guest(id)).await
    }

    async fn pause(&self, id: &JailId) -> HostResult<()> {
        self.vmm_effect("vmm.pause", id, Repeat::MustBeSo, |s| s.pause_guest(id)).await
    }

    async fn resume(&self, id: &JailId) -> HostResult<()> {
        self.vmm_effect("vmm.resume", id, Repeat::Allowed, |s| s.resume_guest(id)).await
    }

    async fn send_ctrl_alt_del(&self, id: &JailId) -> HostResult<()> {
        self.vmm_effect("vmm.send_ctrl_alt_del", id, Repeat::Never, |s| s.ctrl_alt_del(id)).await
    }

    async fn describe(&self, id: &JailId) -> HostResult<VmmState> {
        self.read("vmm.describe", |state| Ok(state.machine(id)?.state.into())).await
    }

    async fn put_metadata(&self, id: &JailId, json: &str) -> HostResult<()> {
        self.vmm_effect("vmm.put_metadata", id, Repeat::Allowed, |state| {
            if serde_json::from_str::<serde_json::Value>(json).is_err() {
                return Err(no(id, "The metadata is no JSON."));
            }
            state.machine(id)?.metadata = Some(json.to_owned());
            Ok(())
        })
        .await
    }
}
