//! Counts and deletes the VMs of a set-up, for `banger dev down`.
//!
//! A VM is gone when its host has said so. What can go wrong: the host says nothing any more. A
//! simulated one held nothing, and is not waited for. For another the command says whom it waits
//! for, and in the end fails with the VM's name, and stops nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use banger_client::v1::{DeleteVmRequest, Host, HostState, Vm, VmFilter, WaitOutcome};
use banger_client::{Client, Endpoint, WaitFor};
use banger_terminal::failure::Failure;
use banger_terminal::progress::Progress;
use banger_terminal::text::{counted, standing};
use tokio::time::Instant;

use super::record::Record;
use super::unclaimed;

/// How long the VMs may take to be gone.
const GONE: Duration = Duration::from_secs(120);
/// How long one is waited for in silence.
const SILENT: Duration = Duration::from_secs(5);

/// How many VMs there are, unclaimed ones too, if the server can say.
pub(super) async fn count(record: &Record) -> Option<usize> {
    let endpoint = Endpoint::new(&record.url()).ok()?.deadline(Duration::from_secs(3));
    let client = Client::connect(&endpoint).await.ok()?;
    let known = client.vms().list_all(VmFilter::default()).await.ok()?.vms.len();
    Some(known + unclaimed::count(record, &client).await.ok()?)
}

/// Deletes all VMs and waits until they are gone. Answers how many there were.
pub(super) async fn delete(record: &Record, progress: &Progress) -> Result<usize, Failure> {
    let client = Client::connect(&Endpoint::new(&record.url())?).await?;
    if !record.simulated {
        unclaimed::claim(record, &client).await?;
    }
    let all = client.vms().list_all(VmFilter::default()).await?.vms;
    progress.say(&format!("deleting {}", counted(all.len() as u64, "VM")));
    for vm in &all {
        let request =
            DeleteVmRequest { vm: vm.id.clone(), allow_missing: true, ..Default::default() };
        client.vms().delete(request).await?;
    }
    let hosts = client.hosts().list_all("").await?;
    let until = Instant::now() + GONE;
    let mut said = false;
    for vm in awaited(record.simulated, &all, &hosts) {
        let wait = async |long: Duration| {
            let wanted = WaitFor::gone(&vm.id, long).every(progress.step());
            client.vms().wait(wanted, |vm| progress.heard(vm)).await
        };
        let left = || until.saturating_duration_since(Instant::now());
        let mut waited = wait(left().min(SILENT)).await?;
        if waited.outcome != WaitOutcome::Reached && !left().is_zero() {
            if !said {
                progress.note(&waiting(waited.vm.as_ref().unwrap_or(vm), left()));
                said = true;
            }
            waited = wait(left()).await?;
        }
        if waited.outcome != WaitOutcome::Reached {
            let stands = standing(waited.vm.as_ref().unwrap_or(vm));
            return Err(Failure::NotReached(format!(
                "{} is not gone yet: {stands}; nothing was stopped. Try again, or give --force",
                vm.name
            )));
        }
    }
    Ok(all.len())
}

/// The VMs whose end is worth waiting for: all, but those of a simulated host that is away, where
/// no guest is.
fn awaited<'v>(simulated: bool, all: &'v [Vm], hosts: &[Host]) -> Vec<&'v Vm> {
    let here: BTreeSet<&str> = hosts
        .iter()
        .filter(|host| host.status.clone().unwrap_or_default().state() == HostState::Online)
        .map(|host| host.id.as_str())
        .collect();
    let is_here =
        |vm: &Vm| vm.status.as_ref().is_some_and(|status| here.contains(status.host_id.as_str()));
    all.iter().filter(|vm| !simulated || is_here(vm)).collect()
}

fn waiting(vm: &Vm, left: Duration) -> String {
    format!("waiting up to {} s until it is gone: {}", left.as_secs(), standing(vm))
}

#[cfg(test)]
mod tests {
    use banger_client::v1::{HostStatus, VmState, VmStatus};

    use super::*;

    fn vm(id: &str, host: &str) -> Vm {
        let status = VmStatus {
            state: VmState::Deleting.into(),
            host_id: host.to_owned(),
            host_name: format!("{host}-name"),
            ..VmStatus::default()
        };
        Vm { id: id.to_owned(), name: id.to_owned(), status: Some(status), ..Vm::default() }
    }

    fn host(id: &str, state: HostState) -> Host {
        let status = HostStatus { state: state.into(), ..HostStatus::default() };
        Host { id: id.to_owned(), status: Some(status), ..Host::default() }
    }

    #[test]
    fn a_vm_of_a_simulated_host_that_is_away_is_not_waited_for_and_a_real_one_is() {
        let hosts = [host("here", HostState::Online), host("away", HostState::Offline)];
        let all = [vm("a", "here"), vm("b", "away"), vm("c", "removed"), vm("d", "")];
        let ids = |simulated| {
            awaited(simulated, &all, &hosts).iter().map(|vm| vm.id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids(true), ["a"]);
        assert_eq!(ids(false), ["a", "b", "c", "d"]);
    }

    #[test]
    fn whom_a_long_wait_is_for_is_said_with_its_host_and_the_time() {
        let said = waiting(&vm("web", "b1"), Duration::from_secs(115));
        assert_eq!(said, "waiting up to 115 s until it is gone: web is DELETING on b1-name");
    }
}
