//! `banger vm run`: a VM for one program. Created, waited for until its guest is ready, and with
//! `--rm` deleted at the end, whatever that is.

use std::time::Duration;

use banger_client::v1::{CreateVmRequest, DeleteVmRequest, Vm, WaitOutcome};
use banger_client::wait::{WaitFor, Waited};

use super::terminal::{Signals, Told};
use super::{program, ready};
use crate::args::guest::RunArgs;
use crate::clock::new_id;
use crate::session::Session;
use crate::spec;
use banger_terminal::failure::Failure;
use banger_terminal::text::clean;

/// How long a VM may take to be gone.
const GONE: Duration = Duration::from_secs(60);

pub(in super::super) async fn run(session: &Session, args: RunArgs) -> Result<(), Failure> {
    let RunArgs { name, rm, timeout, spec: flags, program } = args;
    let mut request = CreateVmRequest {
        name: name.unwrap_or_default(),
        // So that a repetition after a broken connection makes no second VM.
        request_id: new_id().to_string(),
        ..CreateVmRequest::default()
    };
    let spec = request.spec.get_or_insert_default();
    spec::apply(spec, &flags)?;
    let demo = spec::default_to_demo(spec);
    // From here on a Ctrl-C is heard, and heeded once it is known what there is to clean up.
    let mut signals = Signals::hear()?;
    let created = session.client.vms().create(request).await;
    let vm = created.map_err(|error| Failure::before_program(error.into()))?;
    if demo {
        session.printer.note(spec::DEMO_NOTE);
    }
    let wanted = WaitFor::settled(&vm, timeout).ready(true);
    let ended = match ready::until(session, &vm, wanted, &mut signals).await {
        Ok(()) => program::run(session, &vm.id, program).await,
        Err(failure) => Err(failure),
    };
    if rm {
        clean_up(session, &vm).await;
    }
    ended.map_err(Failure::before_program).and_then(|exited| program::leave(&exited))
}

/// Deletes it and waits until nothing is left, so that its name can be used again. Says what it
/// could not do, and hides nothing of how the program ended.
async fn clean_up(session: &Session, vm: &Vm) {
    let name = clean(&vm.name);
    let request =
        DeleteVmRequest { vm: vm.id.clone(), allow_missing: true, ..DeleteVmRequest::default() };
    let client = session.client.vms();
    if let Err(error) = client.delete(request).await {
        session.printer.note(&format!("VM {name} was not deleted: {error}"));
        return;
    }
    // Those that were heard before were meant for the program.
    let Ok(mut signals) = Signals::hear() else { return };
    let waiting = client.wait(WaitFor::gone(&vm.id, GONE), |_| ());
    tokio::pin!(waiting);
    let why = loop {
        // Cancel-safe: the wait goes on where it was.
        tokio::select! {
            waited = &mut waiting => match waited {
                Ok(Waited { outcome: WaitOutcome::Reached, .. }) => return,
                Ok(_) => break format!("not within {}", humantime::format_duration(GONE)),
                Err(error) => break error.to_string(),
            },
            told = signals.next() => match told {
                Told::End(_) => break "interrupted".to_owned(),
                Told::Resized => {}
            }
        }
    };
    session.printer.note(&format!("VM {name} is being deleted, and was not seen gone: {why}"));
}
