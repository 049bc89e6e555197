//! Showing one VM: from everything that is known of it to a report.
//!
//! Driven by the VM's task after every plan. A report goes out only when it says something new.

use std::path::PathBuf;
use std::sync::Arc;

use super::machine::Vm;
use super::plan::Next;
use super::probe::Probe;
use super::status;
use crate::assignment::Record;
use crate::handles::{LoopHandle, VmHandles};
use crate::host::{RootDiskKind, VmmKind};
use crate::report::phase::Phase;
use crate::report::{Devices, VmReport};

impl Vm {
    /// Shows the present state, if it differs from what was shown.
    pub fn publish(&mut self, record: &Record, probe: &Probe, next: &Next) {
        let handles = self.handles.get();
        let net = self.network_of(record);
        let wanted = self.wanted(record, net.as_ref());
        let recorded = self.recorded(record, &handles);
        let phase = status::phase_of(&wanted, &recorded, probe, next);
        self.follow_guest(phase, probe);
        let before = self.shown.as_ref();
        let under_way = matches!(next, Next::Do(_));
        if phase == Phase::Gone || under_way && before.is_some_and(|before| before.phase == phase) {
            // Nobody follows every single effect; what a phase ends in is shown.
            return;
        }
        let (clock, now) = (&self.shared.clock, self.shared.clock.now());
        let version = record.assignment.version;
        let awaits_server = !wanted.may_start && !wanted.must_end;
        let settled = match next {
            // Down because the host was rebooted and the server has not spoken since: that is no
            // outcome of the assignment, and the server sees by it that it is to send it again.
            Next::Settled(Phase::Stopped) if awaits_server => None,
            Next::Settled(_) | Next::Stuck(_) => Some(version),
            Next::Do(_) | Next::WaitUntil(..) => before.and_then(|before| before.settled),
        };
        let process = handles.process.as_ref().map(|process| &process.identity);
        let exit = self.memory.exit.clone().or_else(|| record.halt().map(|halt| halt.exit.clone()));
        // A crash is as old as the end of its process, whichever agent tells of it.
        let crashed_at = exit.as_ref().filter(|_| phase == Phase::Crashed).map(|exit| exit.at);
        let report = VmReport {
            vm: self.id,
            name: record.assignment.shape.as_ref().map_or_else(String::new, |s| s.name.clone()),
            guest_address: record.assignment.shape.as_ref().map(|shape| shape.network.address),
            accepted: version,
            settled,
            phase,
            phase_since: before
                .filter(|before| before.phase == phase)
                .map_or(crashed_at.unwrap_or(now), |before| before.phase_since),
            observed_at: now,
            fault: status::fault_of(&recorded, phase, next),
            process: process.cloned(),
            process_started_at: process
                .and_then(|process| status::started_at(process, self.shared.boot_time)),
            boot_id: self.shared.boot_id.clone(),
            exit,
            restart_count: handles.restart_count,
            adopted_at: self.adopted_at,
            next_attempt_at: status::next_attempt(next)
                .and_then(|at| now.checked_add(clock.monotonic().until(at)).ok()),
            guest: process.and_then(|_| self.guest.seen()),
            devices: self.devices(&handles),
            bounds: process.and(self.bounds_seen.clone()),
        };
        if before.is_some_and(|before| status::alike(before, &report)) {
            return;
        }
        let report = Arc::new(report);
        self.shown = Some(Arc::clone(&report));
        self.shared.reporter.publish(report);
    }

    /// Has the guest agent of a guest that runs looked for, and one that is gone forgotten. Between
    /// the two, as while it is stopped or cannot be told, everything stays as it is.
    fn follow_guest(&self, phase: Phase, probe: &Probe) {
        match probe {
            Probe::Dead(_) => self.guest.follow(None),
            Probe::Alive(alive) if matches!(phase, Phase::Running | Phase::Paused) => {
                self.guest.follow(Some(&alive.identity));
            }
            Probe::Alive(_) | Probe::Unclear(_) => {}
        }
    }

    fn devices(&self, handles: &VmHandles) -> Devices {
        let device = |handle: &Option<LoopHandle>| {
            handle
                .as_ref()
                .and_then(|handle| handle.attached)
                .map_or_else(String::new, |(device, _)| device.to_string())
        };
        let socket = |path: PathBuf| match handles.process {
            Some(_) => path.display().to_string(),
            None => String::new(),
        };
        let host = self.host();
        Devices {
            tap: handles.tap.as_ref().map_or_else(String::new, ToString::to_string),
            base_loop: device(&handles.base_loop),
            cow_loop: device(&handles.cow_loop),
            snapshot: handles.snapshot.as_ref().map_or_else(String::new, ToString::to_string),
            cow_sectors: handles.snapshot.as_ref().and_then(|_| self.fill.sectors()),
            api_socket: socket(host.jails.api_socket_path(&self.names.jail)),
            vsock_socket: socket(host.jails.vsock_path(&self.names.jail)),
            vmm: self.vmm.filter(|_| handles.process.is_some()).map_or("", VmmKind::as_str),
            root_disk: match (&handles.process, &handles.snapshot) {
                (None, _) => "",
                (Some(_), Some(_)) => RootDiskKind::Snapshot.as_str(),
                (Some(_), None) => RootDiskKind::Copy.as_str(),
            },
        }
    }
}
