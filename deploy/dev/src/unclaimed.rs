//! VMs that an agent holds and the server does not know, as after a restore of an older database.
//!
//! Driven by `banger dev down`, before it deletes all VMs. The server removes what it has an intent
//! for and nothing else, so that each is made the server's again, stopped, by its id and host; from
//! then on it is a VM like any other. What can go wrong: no image is left that it could be created
//! with, or the host refuses it; then it stays, and so does everything that could remove it.

use std::collections::BTreeSet;

use banger_client::Client;
use banger_client::v1::{
    CreateVmRequest, DesiredState, Host, HostImageKind, ImageKind, ImageRef, Placement, VmSpec,
};
use banger_terminal::failure::Failure;

use super::record::Record;

/// How many there are on hosts of this set-up.
pub(super) async fn count(record: &Record, client: &Client) -> Result<usize, Failure> {
    let hosts = client.hosts().list_all("").await?;
    Ok(count_of(record, &hosts))
}

fn count_of(record: &Record, hosts: &[Host]) -> usize {
    let statuses = ours(record, hosts).filter_map(|host| host.status.as_ref());
    let counts = statuses.map(|status| {
        let count = usize::try_from(status.unclaimed_vm_count).unwrap_or(usize::MAX);
        count.max(status.unclaimed_vm_ids.len())
    });
    counts.sum()
}

fn ours<'h>(record: &Record, hosts: &'h [Host]) -> impl Iterator<Item = &'h Host> {
    hosts.iter().filter(|host| record.agents.iter().any(|agent| agent.name == host.name))
}

/// The host and the id of each that the server names.
fn of(record: &Record, hosts: &[Host]) -> Vec<(String, String)> {
    let listed = ours(record, hosts).flat_map(|host| {
        let ids = host.status.iter().flat_map(|status| &status.unclaimed_vm_ids);
        ids.map(|id| (host.name.clone(), id.clone()))
    });
    listed.collect()
}

/// Makes all of them the server's, wanted stopped. It names some hundreds at a time, and the next
/// once those are its own.
pub(super) async fn claim(record: &Record, client: &Client) -> Result<(), Failure> {
    let mut claimed = BTreeSet::new();
    loop {
        let hosts = client.hosts().list_all("").await?;
        let named = of(record, &hosts).into_iter();
        let new: Vec<_> = named.filter(|named| claimed.insert(named.clone())).collect();
        if new.is_empty() {
            return Ok(());
        }
        claim_these(client, &hosts, new).await?;
    }
}

async fn claim_these(
    client: &Client,
    hosts: &[Host],
    unclaimed: Vec<(String, String)>,
) -> Result<(), Failure> {
    for (host, id) in unclaimed {
        let left = |why: String| {
            Failure::Conflict(format!(
                "host {host} holds VM {id}, which the server does not know, and it could not be \
                 claimed: {why}. Claim it by `banger vm create --id {id} --host {host} --stopped`, \
                 then try again; nothing was stopped"
            ))
        };
        let spec = spec(client, hosts, &host).await?;
        let spec = spec.ok_or_else(|| left("no image is left that a VM boots".to_owned()))?;
        let request = CreateVmRequest {
            id: id.clone(),
            spec: Some(spec),
            desired_state: DesiredState::Stopped.into(),
            ..CreateVmRequest::default()
        };
        client.vms().create(request).await.map_err(|error| left(error.to_string()))?;
        eprintln!("VM {id} of host {host} was unclaimed; it is deleted with the others.");
    }
    Ok(())
}

/// The smallest VM of any image there is. It never starts.
async fn spec(client: &Client, hosts: &[Host], host: &str) -> Result<Option<VmSpec>, Failure> {
    let named = |name: &str| Some(ImageRef { name: name.to_owned(), ..ImageRef::default() });
    let images = client.images().list_all().await?;
    let whole = images.iter().find(|image| image.kind() == ImageKind::Root && image.boot.is_some());
    let files = || hosts.iter().filter_map(|host| host.status.as_ref()).flat_map(|s| &s.images);
    let file = |kind| files().find(|file| file.kind() == kind).map(|file| file.name.as_str());
    let kept = |kind| images.iter().find(|image| image.kind() == kind).map(|i| i.name.as_str());
    let (root, kernel) = match whole {
        Some(image) => (Some(image.name.as_str()), None),
        None => (
            kept(ImageKind::Root).or_else(|| file(HostImageKind::Root)),
            kept(ImageKind::Kernel).or_else(|| file(HostImageKind::Kernel)),
        ),
    };
    let (Some(root), true) = (root, whole.is_some() || kernel.is_some()) else { return Ok(None) };
    Ok(Some(VmSpec {
        vcpus: 1,
        memory_mib: 64,
        kernel: kernel.and_then(named),
        root_image: named(root),
        placement: Some(Placement { host: host.to_owned(), ..Placement::default() }),
        ..VmSpec::default()
    }))
}

#[cfg(test)]
mod tests;
