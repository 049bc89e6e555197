//! Which VMs and hosts a list or a watch shows: what was asked for, and what the caller sees at
//! all.

use banger_proto::v1;
use tonic::Status;

use super::incoming;
use crate::api::{Api, status};
use crate::model::caller::Caller;
use crate::model::filter::{HostFilter, VmFilter};
use crate::model::host::HostState;
use crate::model::labels::Selector;
use crate::model::spec::SpecProblem;
use crate::watch::HostSnapshot;

/// A filter, its host looked up, and with the one project that the caller sees, if it is one.
///
/// # Errors
/// Every field that is wrong, or a host that is not there.
pub fn filter(
    filter: Option<v1::VmFilter>,
    api: &Api,
    caller: &Caller,
) -> Result<VmFilter, Status> {
    let view = &api.view;
    let project = filter.as_ref().map(|filter| filter.project.clone()).unwrap_or_default();
    let mut problems = Vec::new();
    let (mut parsed, host) = incoming::vm_filter(filter, &mut problems);
    if !problems.is_empty() {
        return Err(status::invalid_fields(problems));
    }
    parsed.project = match project.is_empty() {
        true => caller.only().cloned(),
        false => Some(api.project(&project, caller)?),
    };
    if let Some(host) = host {
        // To who may not know the hosts there are those that their own VMs are on.
        let shown = |host: &HostSnapshot| {
            let placed = || view.placed_on(host.view.record.id);
            caller.sees_hosts() || placed().iter().any(|vm| caller.sees(&vm.intent.project))
        };
        let found = view.resolve_host(&host).filter(shown);
        let found = found.ok_or_else(|| status::host_not_found(&host))?;
        parsed.host = Some(found.view.record.id);
    }
    Ok(parsed)
}

/// A filter of hosts.
///
/// # Errors
/// Every field that is wrong.
pub fn host_filter(filter: Option<v1::HostFilter>) -> Result<HostFilter, Status> {
    let filter = filter.unwrap_or_default();
    let mut problems = Vec::new();
    let selector = Selector::parse(&filter.label_selector).unwrap_or_else(|why| {
        problems.push(SpecProblem::new("filter.label_selector", why));
        Selector::default()
    });
    let state = |value: i32| match v1::HostState::try_from(value) {
        Ok(v1::HostState::Connecting) => Some(HostState::Connecting),
        Ok(v1::HostState::Online) => Some(HostState::Online),
        Ok(v1::HostState::Suspect) => Some(HostState::Suspect),
        Ok(v1::HostState::Offline) => Some(HostState::Offline),
        Ok(v1::HostState::Revoked) => Some(HostState::Revoked),
        Ok(v1::HostState::Unspecified) | Err(_) => None,
    };
    let states: Vec<_> = filter.states.iter().filter_map(|value| state(*value)).collect();
    if states.len() < filter.states.len() {
        problems.push(SpecProblem::new("filter.states", "has what is no state of a host"));
    }
    match problems.is_empty() {
        true => Ok(HostFilter { selector, states }),
        false => Err(status::invalid_fields(problems)),
    }
}
