//! `banger vm create` and `banger vm update`: a spec from file and flags.

use banger_client::v1::{
    AffinityRule, CreateVmRequest, DesiredState, ErrorReason, Placement, UpdateVmRequest, Vm,
    VmSpec,
};
use prost_types::FieldMask;

use super::{change, for_each};
use crate::args::spec::SpecArgs;
use crate::args::vm::{CreateArgs, VmUpdateArgs};
use crate::clock::new_id;
use crate::session::Session;
use crate::spec;
use banger_terminal::failure::Failure;
use banger_terminal::progress::Progress;
use banger_terminal::text::clean;

pub(super) async fn create(session: &Session, args: CreateArgs) -> Result<(), Failure> {
    let (names, mut request) = request(&args)?;
    let demo = spec::default_to_demo(request.spec.get_or_insert_default());
    let wait = args.wait.wanted();
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
                Some(wanted) => change::settle(session, &vm, wanted, progress).await,
            }
        }
    };
    let (created, outcome) = progress.during(for_each(&names, act)).await?;
    drop(progress);
    if demo && !created.is_empty() {
        session.printer.note(spec::DEMO_NOTE);
    }
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
    place(wanted, args);
    Ok((names, request))
}

/// Where it may go, by the flags.
fn place(wanted: &mut VmSpec, args: &CreateArgs) {
    let rules = [&args.near, &args.apart, &args.on, &args.not_on].into_iter().flatten();
    let rules: Vec<AffinityRule> = rules.cloned().collect();
    let (strategy, priority, pool) = (args.strategy, args.priority, &args.pool);
    let said = strategy.is_some() || priority.is_some() || pool.is_some();
    if !said && args.scheduler.is_none() && rules.is_empty() {
        return;
    }
    let placement = wanted.placement.get_or_insert_with(Placement::default);
    placement.affinity.extend(rules);
    if let Some(strategy) = strategy {
        placement.set_strategy(strategy);
    }
    placement.priority = priority.unwrap_or(placement.priority);
    if let Some(pool) = pool {
        placement.pool.clone_from(pool);
    }
    if let Some(scheduler) = &args.scheduler {
        placement.scheduler_name.clone_from(scheduler);
    }
}

pub(super) async fn update(session: &Session, args: VmUpdateArgs) -> Result<(), Failure> {
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
    let wait = args.change.wait.wanted();
    let progress = Progress::start();
    let act = |name: String| {
        let (args, document, etag, progress) = (&args, &document, &etag, &progress);
        async move {
            let vm = Box::pin(update_one(session, args, document.as_ref(), etag, &name)).await?;
            match wait {
                None => Ok(vm),
                Some(wanted) => change::settle(session, &vm, wanted, progress).await,
            }
        }
    };
    let (updated, outcome) = progress.during(for_each(names, act)).await?;
    drop(progress);
    change::print(session, updated, names.len() > 1, wait.is_some())?;
    outcome
}

/// Changes what the flags name, or puts the spec that is given in place of the one that is there.
async fn update_one(
    session: &Session,
    args: &VmUpdateArgs,
    document: Option<&spec::Document>,
    etag: &str,
    name: &str,
) -> Result<Vm, Failure> {
    let Some(document) = document else {
        let mut wanted = VmSpec::default();
        spec::apply(&mut wanted, &args.spec)?;
        wanted.labels.retain(|key, _| !args.remove_labels.contains(key));
        let request = UpdateVmRequest {
            vm: name.to_owned(),
            spec: Some(wanted),
            etag: etag.to_owned(),
            allow_restart: args.allow_restart,
            update_mask: Some(FieldMask { paths: spec::paths(&args.spec, &args.remove_labels) }),
            ..UpdateVmRequest::default()
        };
        return Ok(session.client.vms().update(request).await?);
    };
    let change = |vm: &Vm| {
        let given = document.request.spec.clone();
        let mut wanted = given.or_else(|| vm.spec.clone()).unwrap_or_default();
        spec::apply(&mut wanted, &args.spec)?;
        for key in &args.remove_labels {
            wanted.labels.remove(key);
        }
        Ok(UpdateVmRequest {
            spec: Some(wanted),
            etag: etag.to_owned(),
            allow_restart: args.allow_restart,
            ..UpdateVmRequest::default()
        })
    };
    let updated = Box::pin(session.client.vms().edit(name, change)).await;
    updated.map_err(|failure| match failure {
        Failure::Client(error)
            if etag.is_empty()
                && error.refusal().is_some_and(|r| r.is(ErrorReason::EtagMismatch)) =>
        {
            let name = clean(name);
            let text =
                format!("others kept changing VM {name} at the same time; nothing was changed");
            Failure::Conflict(text)
        }
        failure => failure,
    })
}
