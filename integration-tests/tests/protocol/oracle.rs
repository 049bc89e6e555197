//! What must hold of hosts and servers on the simulated network.

use std::collections::{BTreeMap, BTreeSet};

use banger_agent::naming::{Naming, file, part};
use banger_agent::vm::record;
use banger_proto::ids::{Version, VmId};
use banger_server::model::intent::Desired;
use banger_server::model::status::VmState;

use super::load::Acknowledged;
use super::net::{HostSeat, Net, Up};

/// Watches the records on the hosts: whatever comes in whatever order, none ever goes back, over
/// restarts and over the end of the VM.
#[derive(Debug, Default)]
pub(super) struct RecordWatch {
    highest: BTreeMap<(String, VmId), Version>,
    pub(super) broken: Vec<String>,
}

impl RecordWatch {
    /// Looks at everything now.
    pub(super) fn look(&mut self, net: &Net) {
        for host in &net.hosts {
            for violation in host.kernel.violations() {
                self.broken.push(format!("I2, I4 {}: {violation}", host.name));
            }
            for (vm, version) in versions(host) {
                let highest = self.highest.entry((host.name.clone(), vm)).or_insert(version);
                if version < *highest {
                    let was = *highest;
                    self.broken
                        .push(format!("{}: VM {vm} went from {was} to {version}", host.name));
                }
                *highest = version.max(*highest);
            }
        }
    }
}

/// The versions that are held on a host.
pub(super) fn versions(host: &HostSeat) -> BTreeMap<VmId, Version> {
    let dirs = host.kernel.objects();
    let dirs = dirs.iter().filter_map(|line| line.strip_prefix("dir "));
    dirs.filter_map(|dir| {
        let vm: VmId = dir.parse().ok()?;
        let names = Naming::default().vm(vm);
        let content = host.kernel.file(&names.dir, &part(file::RECORD))?;
        let record = record::decode(vm, &content).ok()?;
        Some((vm, record.assignment.version))
    })
    .collect()
}

/// The process of a VM: pid and start, if it has one, wherever it is.
pub(super) fn process(net: &Net, vm: VmId) -> Option<(u32, u64)> {
    let jail = Naming::default().vm(vm).jail;
    net.hosts.iter().find_map(|host| {
        let process = host.kernel.process_of(&jail)?;
        Some((process.pid.get(), process.start_ticks))
    })
}

/// I1 and I6: exactly what was acknowledged is there, and is reached.
pub(super) fn is_as_wanted<'a>(
    up: &Up,
    wanted: impl Iterator<Item = &'a Acknowledged>,
) -> Result<(), String> {
    let snapshot = up.view.snapshot();
    let mut expected = BTreeSet::new();
    for vm in wanted {
        expected.insert(vm.vm);
        let Some(shown) = snapshot.vms.get(&vm.vm) else {
            return Err(format!("I1 {vm:?} is lost"));
        };
        if shown.intent.desired != vm.desired || shown.intent.generation < vm.generation {
            return Err(format!("I1 acknowledged was {vm:?}, wanted is {:?}", shown.intent));
        }
        let state = match vm.desired {
            Desired::Running => VmState::Running,
            Desired::Paused => VmState::Paused,
            Desired::Stopped => VmState::Stopped,
            Desired::Absent => VmState::Deleting,
        };
        let version = Version { epoch: up.view.epoch(), generation: shown.intent.generation };
        let settled = shown.seen().map(|seen| seen.settled);
        if shown.state() != state || settled != Some(version) {
            return Err(format!(
                "I6 {vm:?} is {} with {settled:?}: {:?}, {:?}",
                shown.state(),
                shown.status.reason,
                shown.status.message
            ));
        }
    }
    let shown: BTreeSet<VmId> = snapshot.vms.keys().copied().collect();
    if shown == expected {
        Ok(())
    } else {
        Err(format!("I1 not wanted: {:?}", shown.difference(&expected).collect::<Vec<_>>()))
    }
}

/// I3: on each host there is nothing but what belongs to these VMs.
pub(super) fn nothing_else(net: &Net, living: &BTreeSet<VmId>) -> Result<(), String> {
    let mut named: BTreeSet<String> = living.iter().map(ToString::to_string).collect();
    named.extend(living.iter().map(|vm| Naming::default().vm(*vm).tap.to_string()));
    for host in &net.hosts {
        let now = host.kernel.objects();
        let base = "demo-root";
        let left: Vec<&String> = now
            .difference(&host.before)
            .filter(|line| !line.starts_with("bridge "))
            .filter(|line| !named.iter().any(|name| line.contains(name)))
            .filter(|line| living.is_empty() || !line.contains(base))
            .collect();
        if !left.is_empty() {
            return Err(format!("I3 {} has {left:#?}", host.name));
        }
    }
    Ok(())
}
