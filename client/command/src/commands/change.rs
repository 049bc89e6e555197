//! `banger vm start|stop|reboot|pause|resume|rm|wait`: changes what is wanted, and waits.

use std::time::Duration;

use banger_client::v1::{
    BindVmRequest, DeleteVmRequest, DesiredState, PauseVmRequest, RebootVmRequest, ResumeVmRequest,
    StartVmRequest, StopVmRequest, Vm, VmState, WaitOutcome,
};
use banger_client::{ClientError, WaitFor, Waited};

use super::for_each;
use super::show::show;
use super::wait::wait;
use crate::args::vm::{BindArgs, ChangeArgs, RebootArgs, RmArgs, StopArgs, WaitForArgs};
use crate::output::placement;
use crate::output::vms::desired;
use crate::session::Session;
use banger_terminal::ask::confirm;
use banger_terminal::failure::Failure;
use banger_terminal::progress::Progress;
use banger_terminal::text::{clean, standing};

pub(super) async fn start(session: &Session, args: ChangeArgs) -> Result<(), Failure> {
    let etag = etag(&args)?;
    let call = |vm| {
        let request = StartVmRequest { vm, etag: etag.clone(), ..Default::default() };
        async move { session.client.vms().start(request).await }
    };
    change(session, &args, call).await
}

pub(super) async fn stop(session: &Session, args: StopArgs) -> Result<(), Failure> {
    let etag = etag(&args.change)?;
    let grace = if args.force { Some(Duration::ZERO) } else { args.grace };
    let grace_period = grace.map(proto_duration);
    let call = |vm| {
        let request = StopVmRequest { vm, etag: etag.clone(), grace_period, ..Default::default() };
        async move { session.client.vms().stop(request).await }
    };
    change(session, &args.change, call).await
}

pub(super) async fn reboot(session: &Session, args: RebootArgs) -> Result<(), Failure> {
    let etag = etag(&args.change)?;
    if args.reset_root_disk {
        let names = args.change.vms.vms.join(", ");
        confirm(&format!("throw away the root disk of {names}"), args.yes)?;
    }
    let (grace_period, reset_root_disk) = (args.grace.map(proto_duration), args.reset_root_disk);
    let call = |vm| {
        let request = RebootVmRequest {
            vm,
            etag: etag.clone(),
            grace_period,
            reset_root_disk,
            ..Default::default()
        };
        async move { session.client.vms().reboot(request).await }
    };
    change(session, &args.change, call).await
}

pub(super) async fn pause(session: &Session, args: ChangeArgs) -> Result<(), Failure> {
    let etag = etag(&args)?;
    let call = |vm| {
        let request = PauseVmRequest { vm, etag: etag.clone(), ..Default::default() };
        async move { session.client.vms().pause(request).await }
    };
    change(session, &args, call).await
}

pub(super) async fn resume(session: &Session, args: ChangeArgs) -> Result<(), Failure> {
    let etag = etag(&args)?;
    let call = |vm| {
        let request = ResumeVmRequest { vm, etag: etag.clone(), ..Default::default() };
        async move { session.client.vms().resume(request).await }
    };
    change(session, &args, call).await
}

/// Makes one change to each VM, waits if asked, and prints how they stand.
async fn change<F>(
    session: &Session,
    args: &ChangeArgs,
    call: impl Fn(String) -> F,
) -> Result<(), Failure>
where
    F: Future<Output = Result<Vm, ClientError>>,
{
    let patience = args.wait.wanted();
    let progress = Progress::start();
    let act = |name: String| {
        let answer = call(name);
        let progress = &progress;
        async move {
            let vm = answer.await?;
            match patience {
                None => Ok(vm),
                Some(wanted) => settle(session, &vm, wanted, progress).await,
            }
        }
    };
    let (changed, outcome) = progress.during(for_each(&args.vms.vms, act)).await?;
    drop(progress);
    print(session, changed, args.vms.vms.len() > 1, patience.is_some())?;
    outcome
}

/// Prints how VMs stand after a change: as the server wants them, or as they were waited for.
pub(super) fn print(
    session: &Session,
    vms: Vec<Vm>,
    several: bool,
    waited: bool,
) -> Result<(), Failure> {
    show(session, vms, several, |vms| {
        let line = |vm: &Vm| match waited {
            true => standing(vm) + "\n",
            false => format!("{}, wanted {}\n", standing(vm), desired(vm)),
        };
        let hosts = |vm: &Vm| vm.placement_evaluation.as_ref().map(placement::evaluation);
        vms.iter().map(|vm| line(vm) + &hosts(vm).unwrap_or_default()).collect()
    })
}

pub(super) async fn bind(session: &Session, args: BindArgs) -> Result<(), Failure> {
    let BindArgs { vm, host, etag } = args;
    let request = BindVmRequest { vm, host, etag, ..BindVmRequest::default() };
    let bound = session.client.vms().bind(request).await?;
    print(session, vec![bound], false, false)
}

/// Waits until a VM is as it is wanted.
pub(super) async fn settle(
    session: &Session,
    vm: &Vm,
    (timeout, ready): (Duration, bool),
    progress: &Progress,
) -> Result<Vm, Failure> {
    if ready && vm.desired_state() != DesiredState::Running {
        let text = format!("no guest gets ready while {} is wanted; use --wait", desired(vm));
        return Err(Failure::Usage(text));
    }
    progress.heard(vm);
    let waited = wait(session, WaitFor::settled(vm, timeout).ready(ready), progress).await?;
    reached(waited, timeout).map(|seen| seen.unwrap_or_else(|| vm.clone()))
}

/// A wait that did not end with the state is a failure that says how the VM stands.
pub(super) fn reached(waited: Waited, timeout: Duration) -> Result<Option<Vm>, Failure> {
    let stands = match &waited.vm {
        Some(vm) => standing(vm),
        None => "the VM is gone".to_owned(),
    };
    let why = match waited.outcome {
        WaitOutcome::Reached => return Ok(waited.vm),
        WaitOutcome::Failed => stands,
        WaitOutcome::Superseded => format!("its desired state has changed meanwhile: {stands}"),
        WaitOutcome::Timeout | WaitOutcome::Unspecified => {
            format!("not reached within {}: {stands}", humantime::format_duration(timeout))
        }
    };
    Err(Failure::NotReached(why))
}

pub(super) async fn remove(session: &Session, args: RmArgs) -> Result<(), Failure> {
    let etag = etag(&args.change)?;
    let names = &args.change.vms.vms;
    confirm(&format!("delete {} with all disks", names.join(", ")), args.yes)?;
    let patience = args.change.wait.wanted().map(|(timeout, _)| timeout);
    let progress = Progress::start();
    let act = |name: String| {
        let request = DeleteVmRequest {
            vm: name.clone(),
            etag: etag.clone(),
            allow_missing: args.allow_missing,
            ..Default::default()
        };
        let progress = &progress;
        async move {
            let mut vm = session.client.vms().delete(request).await?;
            let missing = vm.id.is_empty();
            if missing {
                // It was not there, and that was allowed.
                vm.name = name;
            } else if let Some(timeout) = patience {
                progress.heard(&vm);
                let waited = wait(session, WaitFor::gone(&vm.id, timeout), progress).await?;
                vm = reached(waited, timeout)?.unwrap_or(vm);
            }
            Ok((vm, missing))
        }
    };
    let (removed, outcome) = progress.during(for_each(names, act)).await?;
    drop(progress);
    let lines: String = removed
        .iter()
        .map(|(vm, missing)| {
            let name = clean(&vm.name);
            match (missing, patience) {
                (true, _) => format!("{name} was not there\n"),
                (false, Some(_)) => format!("{name} is gone\n"),
                // One that never had a host leaves nothing to clear away.
                (false, None) if is_deleted(vm) => format!("{name} is gone\n"),
                (false, None) => format!("{}, wanted ABSENT\n", standing(vm)),
            }
        })
        .collect();
    let vms = removed.into_iter().map(|(vm, _)| vm).collect();
    show(session, vms, names.len() > 1, |_| lines)?;
    outcome
}

fn is_deleted(vm: &Vm) -> bool {
    vm.status.as_ref().is_some_and(|status| status.state() == VmState::Deleted)
}

pub(super) async fn wait_for(session: &Session, args: WaitForArgs) -> Result<(), Failure> {
    let progress = Progress::start();
    let act = |vm: String| {
        let wanted = WaitFor {
            vm,
            state: args.state,
            generation: args.generation,
            guest_ready: args.ready,
            timeout: args.timeout,
            step: None,
        };
        let progress = &progress;
        async move {
            let waited = wait(session, wanted, progress).await?;
            match &waited.vm {
                Some(vm) if args.ready && waited.outcome == WaitOutcome::Superseded => {
                    Err(Failure::NotReached(never_ready(vm)))
                }
                _ => reached(waited, args.timeout),
            }
        }
    };
    let (found, outcome) = progress.during(for_each(&args.vms.vms, act)).await?;
    drop(progress);
    let found = found.into_iter().flatten().collect();
    print(session, found, args.vms.vms.len() > 1, true)?;
    outcome
}

/// A guest that is not wanted running does not become ready by itself.
fn never_ready(vm: &Vm) -> String {
    let remedy = match vm.desired_state() {
        DesiredState::Paused => format!(": `banger vm resume {}`", clean(&vm.name)),
        DesiredState::Stopped => format!(": `banger vm start {}`", clean(&vm.name)),
        DesiredState::Running | DesiredState::Absent | DesiredState::Unspecified => String::new(),
    };
    format!("{}, and a guest that is not wanted running never becomes ready{remedy}", standing(vm))
}

/// An etag is of one VM.
pub(super) fn etag(args: &ChangeArgs) -> Result<String, Failure> {
    match &args.etag {
        Some(_) if args.vms.vms.len() > 1 => {
            Err(Failure::Usage("--etag belongs to one VM, and several are named".to_owned()))
        }
        Some(etag) => Ok(etag.clone()),
        None => Ok(String::new()),
    }
}

fn proto_duration(duration: Duration) -> prost_types::Duration {
    // One that is too long for the wire is refused by the server like any that is too long.
    prost_types::Duration::try_from(duration)
        .unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}
