//! What must hold of a fleet, whatever happened to it: I1 to I6 of the promise, over the API and
//! over the saved machines of its hosts.
//!
//! Driven by the soak, partly while faults strike and wholly when all is quiet. Every claim that
//! does not hold is a line; an empty list is the proof.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use banger_proto::v1;
use banger_proto::v1::vm_service_client::VmServiceClient;
use tonic::Status;
use tonic::transport::Channel;

use super::slot::{Acknowledged, Book, label};
use crate::fleet::{process, status};
use crate::machine::Machine;
use crate::watching::{Table, list};

/// I2: at most one process for a VM, over all hosts.
#[must_use]
pub fn one_process_each(machines: &[Machine]) -> Vec<String> {
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut broken = Vec::new();
    for machine in machines {
        match machine.objects() {
            Ok(objects) => {
                for line in objects.iter().filter(|line| line.starts_with("process ")) {
                    if let Some((_, vm)) = line.split_once(" of ") {
                        let place = format!("{}: {line}", machine.host);
                        seen.entry(vm.to_owned()).or_default().push(place);
                    }
                }
            }
            Err(error) => broken.push(format!("{} can't be read: {error}", machine.host)),
        }
    }
    let twice = seen.into_iter().filter(|(_, places)| places.len() > 1);
    broken.extend(twice.map(|(vm, places)| format!("I2 VM {vm} has {places:#?}")));
    broken
}

/// VMs nobody asks anything of: their processes must stay what they are.
#[derive(Debug)]
pub struct Canaries(Vec<v1::Vm>);

impl Canaries {
    /// These, which run.
    #[must_use]
    pub fn new(running: Vec<v1::Vm>) -> Self {
        Self(running)
    }

    /// Their ids.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|vm| vm.id.as_str())
    }

    /// I4, as far as the API shows them now.
    #[must_use]
    pub fn changed(&self, table: &Table) -> Vec<String> {
        let mut broken = Vec::new();
        for before in &self.0 {
            match table.get(&before.id) {
                None => broken.push(format!("I1 VM {} is lost", before.name)),
                Some(now) => {
                    let seen = process(now);
                    let restarts = status(now).restart_count;
                    if seen.is_some() && seen != process(before) || restarts > 0 {
                        broken.push(format!(
                            "I4 of VM {} was {before:#?} and is {now:#?}",
                            before.name
                        ));
                    }
                }
            }
        }
        broken
    }
}

/// I1 while wishes are under way: what was acknowledged before the list was asked for is in it.
///
/// # Errors
/// As the API answers.
pub async fn acknowledged_is_listed(
    vms: &VmServiceClient<Channel>,
    book: &parking_lot::Mutex<Book>,
) -> Result<(Table, Vec<String>), Status> {
    let (before, deleted) = {
        let book = book.lock();
        (book.living.clone(), book.deleted.clone())
    };
    let (table, _) = list(vms).await?;
    let book = book.lock();
    let mut broken = Vec::new();
    for (slot, vm) in before {
        // A wish that was under way, or came after, may have changed it.
        let moved = book.asking.contains_key(&slot) || book.living.get(&slot) != Some(&vm);
        match table.get(&vm.id) {
            None if !moved => broken.push(format!("I1 {vm:?} of slot {slot} is lost")),
            Some(shown) if shown.generation < vm.generation => {
                broken.push(format!("I1 {vm:?} of slot {slot} went back to {shown:#?}"));
            }
            Some(shown) if !moved => broken.extend(differs(&vm, shown)),
            None | Some(_) => {}
        }
    }
    for id in deleted {
        if let Some(shown) = table.get(&id)
            && shown.desired_state() != v1::DesiredState::Absent
        {
            broken.push(format!("I1 VM {id} was deleted and is back: {shown:#?}"));
        }
    }
    Ok((table, broken))
}

fn differs(wanted: &Acknowledged, shown: &v1::Vm) -> Option<String> {
    let same = shown.desired_state() == wanted.desired
        && shown.generation == wanted.generation
        && label(shown) == wanted.told;
    (!same).then(|| format!("I1 acknowledged was {wanted:?}, shown is {shown:#?}"))
}

/// I1 and I6 when all is quiet: exactly what was acknowledged is there, and is reached.
///
/// # Errors
/// What is not so yet, or never will be.
pub fn is_as_wanted(table: &Table, book: &Book, canaries: &Canaries) -> Result<(), String> {
    let mut wanted: BTreeSet<&str> = book.living.values().map(|vm| vm.id.as_str()).collect();
    wanted.extend(canaries.ids());
    let shown: BTreeSet<&str> = table.keys().map(String::as_str).collect();
    if wanted != shown {
        let lost: Vec<_> = wanted.difference(&shown).collect();
        let more: Vec<_> = shown.difference(&wanted).map(|id| &table[*id]).collect();
        return Err(format!("I1 lost: {lost:?}; not wanted: {more:#?}"));
    }
    for vm in book.living.values() {
        let shown = &table[&vm.id];
        if let Some(differs) = differs(vm, shown) {
            return Err(differs);
        }
        let state = match vm.desired {
            v1::DesiredState::Paused => v1::VmState::Paused,
            v1::DesiredState::Stopped => v1::VmState::Stopped,
            _ => v1::VmState::Running,
        };
        let status = status(shown);
        if status.state() != state || status.observed_generation != shown.generation {
            return Err(format!("I6 {vm:?} is {shown:#?}"));
        }
    }
    Ok(())
}

/// No program of banger panicked.
#[must_use]
pub fn panics(dir: &Path) -> Vec<String> {
    let logs = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .filter_map(|path| {
            let text = std::fs::read_to_string(&path).ok()?;
            let line = text.lines().find(|line| line.contains("panicked at"))?;
            Some(format!("{}: {line}", path.display()))
        })
        .collect()
}
