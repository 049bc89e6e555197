//! `banger vm create` and `banger vm update`: a spec from file and flags.

use banger_client::v1::{
    CreateVmRequest, DesiredState, ErrorReason, Placement, UpdateVmRequest, Vm,
};

use super::{change, for_each};
use crate::args::vm::{CreateArgs, SpecArgs, UpdateArgs};
use crate::clock::new_id;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::session::Session;
use crate::spec;

/// How often an update is tried when somebody else changes the VM at the same time.
const UPDATE_ATTEMPTS: u32 = 4;

pub(super) async fn create(session: &Session, args: CreateArgs) -> Result<(), Failure> {
    let (names, request) = request(&args)?;
    let wait = args.wait.wait.then_some(args.wait.timeout);
    let progress = Progress::start();
    let act = |name: String| {
        let mut request = request.clone();
        if request.id.is_empty() {
            // So that a repetition after a broken connection makes no second VM.
            request.request_id = new_id().to_string();
        }
        request.name = name;
        let progress = &progress;
        async move {
            let vm = session.client.vms().create(request).await?;
            match wait {
                None => Ok(vm),
                Some(timeout) => change::settle(session, &vm, timeout, progress).await,
            }
        }
    };
    let (created, outcome) = progress.during(for_each(&names, act)).await?;
    drop(progress);
    if args.dry_run && !created.is_empty() {
        session.printer.note("Dry run: nothing was created. It would be:");
    }
    change::print(session, created, names.len() > 1, wait.is_some())?;
    outcome
}

/// The names to create and what to ask for; one empty name where the server makes it.
fn request(args: &CreateArgs) -> Result<(Vec<String>, CreateVmRequest), Failure> {
    let mut request = match &args.file {
        Some(path) => spec::read(path)?.request,
        None => CreateVmRequest::default(),
    };
    let mut names = args.names.clone();
    if names.is_empty() {
        names.push(request.name.clone());
    }
    if let Some(id) = &args.id {
        request.id.clone_from(id);
    }
    if !request.id.is_empty() && names.len() > 1 {
        let text = "an id belongs to one VM, and several are named";
        return Err(Failure::Usage(text.to_owned()));
    }
    request.validate_only |= args.dry_run;
    if args.stopped {
        request.set_desired_state(DesiredState::Stopped);
    }
    let wanted = request.spec.get_or_insert_default();
    spec::apply(wanted, &args.spec)?;
    if let Some(host) = &args.host {
        wanted.placement.get_or_insert_with(Placement::default).host.clone_from(host);
    }
    if !args.host_labels.is_empty() {
        let placement = wanted.placement.get_or_insert_with(Placement::default);
        placement.host_labels.extend(args.host_labels());
    }
    Ok((names, request))
}

pub(super) async fn update(session: &Session, args: UpdateArgs) -> Result<(), Failure> {
    let names = &args.change.vms.vms;
    if args.file.is_none() && args.remove_labels.is_empty() && args.spec == SpecArgs::default() {
        let text = "nothing to change: name what, or give the whole spec with --file";
        return Err(Failure::Usage(text.to_owned()));
    }
    let document = args.file.as_deref().map(spec::read).transpose()?;
    let mut etag = change::etag(&args.change)?;
    if let (Some(document), true, [_]) = (&document, etag.is_empty(), &names[..]) {
        // A VM that was printed, edited and is given back: only if nobody changed it meanwhile.
        etag.clone_from(&document.etag);
    }
    let wait = args.change.wait.wait.then_some(args.change.wait.timeout);
    let progress = Progress::start();
    let act = |name: String| {
        let (args, document, etag, progress) = (&args, &document, &etag, &progress);
        async move {
            let vm = update_one(session, args, document.as_ref(), etag, &name).await?;
            match wait {
                None => Ok(vm),
                Some(timeout) => change::settle(session, &vm, timeout, progress).await,
            }
        }
    };
    let (updated, outcome) = progress.during(for_each(names, act)).await?;
    drop(progress);
    change::print(session, updated, names.len() > 1, wait.is_some())?;
    outcome
}

/// Reads the spec, changes it, and gives it back on the condition that it is still the one read.
async fn update_one(
    session: &Session,
    args: &UpdateArgs,
    document: Option<&spec::Document>,
    etag: &str,
    name: &str,
) -> Result<Vm, Failure> {
    let mut attempt = 1;
    loop {
        let vm = session.client.vms().get(name).await?;
        let given = document.and_then(|document| document.request.spec.clone());
        let mut wanted = given.or(vm.spec).unwrap_or_default();
        spec::apply(&mut wanted, &args.spec)?;
        for key in &args.remove_labels {
            wanted.labels.remove(key);
        }
        let request = UpdateVmRequest {
            vm: vm.id,
            spec: Some(wanted),
            etag: if etag.is_empty() { vm.etag } else { etag.to_owned() },
            allow_restart: args.allow_restart,
        };
        match session.client.vms().update(request).await {
            // The condition was ours, not the caller's: read it again.
            Err(error)
                if etag.is_empty()
                    && attempt < UPDATE_ATTEMPTS
                    && error.refusal().is_some_and(|r| r.is(ErrorReason::EtagMismatch)) =>
            {
                attempt += 1;
            }
            answer => return Ok(answer?),
        }
    }
}
