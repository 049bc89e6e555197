//! `banger status`: what the server has, in a few lines.

use std::collections::BTreeMap;

use banger_client::v1::{Host, HostState, ListHostsResponse, Vm, VmFilter, VmState};

use crate::session::Session;
use banger_terminal::args::Format;
use banger_terminal::failure::Failure;
use banger_terminal::text::{counted, host_state_name, or_number, state_name};

pub(super) async fn status(session: &Session) -> Result<(), Failure> {
    let hosts = session.client.hosts().list_all("").await?;
    let vms = session.client.vms().list_all(VmFilter::default()).await?.vms;
    match session.printer.format() {
        Format::Table => {
            let server = session.endpoint.server();
            session.printer.raw(&format!(
                "Server {server}\n{}\n{}\n",
                line("host", hosts.iter().map(host_state)),
                line("VM", vms.iter().map(vm_state))
            ))
        }
        // The hosts carry what a program wants of it.
        Format::Json | Format::Yaml | Format::Name => {
            let message = ListHostsResponse { hosts, ..ListHostsResponse::default() };
            session.printer.whole(
                &message,
                |m| m.hosts.iter().map(|host| host.name.clone()).collect(),
                |_| String::new(),
            )
        }
    }
}

fn host_state(host: &Host) -> String {
    let state = host.status.as_ref().map_or(0, |status| status.state);
    or_number::<HostState>(state, |state| host_state_name(*state))
}

fn vm_state(vm: &Vm) -> String {
    let state = vm.status.as_ref().map_or(0, |status| status.state);
    or_number::<VmState>(state, |state| state_name(*state))
}

/// `3 VMs: 2 RUNNING, 1 FAILED`.
fn line(what: &str, states: impl Iterator<Item = String>) -> String {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    states.for_each(|state| *counts.entry(state).or_default() += 1);
    let all = counted(counts.values().sum(), what);
    let each: Vec<String> = counts.iter().map(|(state, n)| format!("{n} {state}")).collect();
    if each.is_empty() { all } else { format!("{all}: {}", each.join(", ")) }
}
