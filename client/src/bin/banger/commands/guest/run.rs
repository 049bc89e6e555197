//! `banger vm run`: a VM for one program. Created, waited for until its guest is ready, and with
//! `--rm` deleted at the end, whatever that is.

use std::time::Duration;

use banger_client::ClientError;
use banger_client::v1::{CreateVmRequest, DeleteVmRequest, ImageRef, Vm, VmSpec, WaitOutcome};
use banger_client::wait::{WaitFor, Waited};
use tonic::Code;

use super::super::change::reached;
use super::super::image::demo;
use super::program;
use super::terminal::{Signals, Told};
use crate::args::guest::RunArgs;
use crate::clock::new_id;
use crate::failure::Failure;
use crate::output::text::clean;
use crate::progress::Progress;
use crate::session::Session;
use crate::spec;

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
    if spec.kernel.is_none() && spec.initrd.is_none() && spec.root_image.is_none() {
        let demo = boot_demo(session, spec).await;
        demo.map_err(|error| Failure::before_program(error.into()))?;
    }
    // From here on a Ctrl-C is heard, and heeded once it is known what there is to clean up.
    let mut signals = Signals::hear()?;
    let created = session.client.vms().create(request).await;
    let vm = created.map_err(|error| Failure::before_program(error.into()))?;
    let ended = match until_ready(session, &vm, timeout, &mut signals).await {
        Ok(()) => program::run(session, &vm.id, program).await,
        Err(failure) => Err(failure),
    };
    if rm {
        clean_up(session, &vm).await;
    }
    ended.map_err(Failure::before_program).and_then(|exited| program::leave(&exited))
}

/// What to boot where nothing was said of it: the demo guest, if the server has it. If not, the
/// server says what is missing.
async fn boot_demo(session: &Session, spec: &mut VmSpec) -> Result<(), ClientError> {
    for name in [demo::KERNEL, demo::INITRD, demo::ROOT] {
        match session.client.images().get(name).await {
            Ok(_) => {}
            Err(error) if error.code() == Code::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    let image = |name: &str| Some(ImageRef { name: name.to_owned(), sha256: String::new() });
    spec.kernel = image(demo::KERNEL);
    spec.initrd = image(demo::INITRD);
    spec.root_image = image(demo::ROOT);
    session.printer.note("no images were named: the demo guest is booted");
    Ok(())
}

/// Until the guest's agent has spoken, or somebody has enough of waiting.
async fn until_ready(
    session: &Session,
    vm: &Vm,
    timeout: Duration,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let progress = Progress::start();
    progress.heard(vm);
    let wanted = WaitFor::settled(vm, timeout).ready(true).every(progress.step());
    let client = session.client.vms();
    let waiting = client.wait(wanted, |vm| progress.heard(vm));
    tokio::pin!(waiting);
    loop {
        // Cancel-safe: the wait goes on where it was.
        tokio::select! {
            waited = &mut waiting => return reached(waited?, timeout).map(drop),
            told = signals.next() => match told {
                Told::End(_) => {
                    let text = format!("interrupted before the guest of {} was ready", vm.name);
                    return Err(Failure::Interrupted(clean(&text)));
                }
                Told::Resized => {}
            }
        }
    }
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
