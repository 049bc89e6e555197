//! `banger vm watch`: every change as it happens.

use banger_client::v1::{Vm, VmEvent, VmEventType};
use banger_client::{Change, ChangeKind, Update};
use futures_util::StreamExt as _;

use crate::args::vm::WatchArgs;
use crate::clock::now;
use crate::output::vms::change_line;
use crate::session::Session;
use banger_terminal::failure::Failure;

pub(super) async fn watch(session: &Session, args: WatchArgs) -> Result<(), Failure> {
    // A name that is not there is most likely misspelt; waiting for it in silence helps nobody.
    let mut ids = Vec::new();
    for name in &args.vms {
        ids.push(session.client.vms().get(name).await?.id);
    }
    // A later VM by the name of one that went is followed too.
    let names = |vm: &Vm| [vm.name.clone(), format!("{}/{}", vm.project, vm.name), vm.id.clone()];
    let wanted = |vm: &Vm| {
        ids.is_empty() || ids.contains(&vm.id) || names(vm).iter().any(|n| args.vms.contains(n))
    };
    let mut updates = session.client.vms().watch(args.filter.into());
    let mut silent = args.changes_only;
    let mut broken = false;
    while let Some(update) = updates.next().await {
        let update = update?;
        if let Update::Reconnecting { error, .. } = update {
            // Once per break, not once per attempt.
            if !broken {
                session.printer.note(&format!("{error}. Trying again until it comes back."));
            }
            broken = true;
            continue;
        }
        if std::mem::take(&mut broken) {
            session.printer.note("Connected again; nothing is missed.");
        }
        match update {
            Update::Change(change) if !silent && wanted(&change.vm) => {
                session.printer.part(
                    &event(&change),
                    |event| event.vm.as_ref().map(|vm| vm.name.clone()).unwrap_or_default(),
                    |event| change_line(event, now()),
                )?;
            }
            Update::Current { .. } => silent = false,
            Update::Change(_) | Update::Bookmark { .. } | Update::Reconnecting { .. } => {}
        }
    }
    Ok(())
}

/// As the API has it, for programs.
fn event(change: &Change) -> VmEvent {
    let kind = match change.kind {
        ChangeKind::Added => VmEventType::Added,
        ChangeKind::Modified => VmEventType::Modified,
        ChangeKind::Removed => VmEventType::Removed,
    };
    VmEvent { r#type: kind.into(), revision: change.revision, vm: Some((*change.vm).clone()) }
}
