//! How commands print the VMs that they read or changed.

use banger_client::v1::{ListVmsResponse, Vm};

use crate::session::Session;
use banger_terminal::failure::Failure;

pub(super) fn names(vms: &[Vm]) -> Vec<String> {
    vms.iter().map(|vm| vm.name.clone()).collect()
}

/// Prints VMs: one as itself, several as a list.
pub(super) fn show(
    session: &Session,
    mut found: Vec<Vm>,
    several: bool,
    table: impl FnOnce(&[Vm]) -> String,
) -> Result<(), Failure> {
    match (several, found.pop()) {
        (false, None) => Ok(()),
        (false, Some(vm)) => session.printer.whole(
            &vm,
            |vm| names(std::slice::from_ref(vm)),
            |vm| table(std::slice::from_ref(vm)),
        ),
        (true, last) => {
            found.extend(last);
            let message = ListVmsResponse { vms: found, ..ListVmsResponse::default() };
            session.printer.whole(&message, |m| names(&m.vms), |m| table(&m.vms))
        }
    }
}
