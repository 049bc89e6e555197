//! Waiting for the guest agent of a VM that has only just begun to run.
//!
//! Driven by everything that asks a guest agent. An agent that was never heard may be one that has
//! not begun yet, or one that is not in the image; which of the two is told by the image. What can
//! go wrong: the VM ends, the guest never speaks, or somebody has enough of waiting.

use std::time::Duration;

use banger_client::ClientError;
use banger_client::v1::{ErrorReason, Vm, VmState};
use banger_client::wait::WaitFor;
use tonic::Code;

use super::super::change::reached;
use super::super::wait::wait;
use super::terminal::{Signals, Told};
use crate::session::Session;
use banger_terminal::failure::Failure;
use banger_terminal::progress::Progress;
use banger_terminal::text::clean;

/// How long a guest that runs may take until its agent speaks. One that is emulated is slow.
const BOOT: Duration = Duration::from_secs(60);

/// Until a wait is over, or somebody has enough of it.
pub(super) async fn until(
    session: &Session,
    vm: &Vm,
    wanted: WaitFor,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let progress = Progress::start();
    progress.heard(vm);
    let timeout = wanted.timeout;
    // On the heap: it would make everything large that may have to wait.
    let mut waiting = Box::pin(wait(session, wanted, &progress));
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

/// Waits for the agent of a guest that refused because it was not heard yet, where its image has
/// one. `false`: the refusal stands.
pub(super) async fn after(
    session: &Session,
    name: &str,
    error: &ClientError,
    signals: &mut Signals,
) -> Result<bool, Failure> {
    let unheard = error.refusal().is_some_and(|refusal| {
        refusal.is(ErrorReason::GuestAgentUnreachable) && refusal.code == Code::FailedPrecondition
    });
    if !unheard {
        return Ok(false);
    }
    let vm = session.client.vms().get(name).await?;
    let state = vm.status.as_ref().map_or(VmState::Unspecified, |status| status.state());
    if !matches!(state, VmState::Starting | VmState::Running) || !has_agent(session, &vm).await {
        return Ok(false);
    }
    // What is wanted of it may be anything by now: only the guest is waited for.
    let wanted = WaitFor {
        state: Some(VmState::Running),
        generation: 0,
        ..WaitFor::settled(&vm, BOOT).ready(true)
    };
    until(session, &vm, wanted, signals).await?;
    Ok(true)
}

/// Whether the image of its root disk has a guest agent, as far as the server knows.
async fn has_agent(session: &Session, vm: &Vm) -> bool {
    let image = vm.spec.as_ref().and_then(|spec| spec.root_image.as_ref());
    let Some(image) = image else { return false };
    // An image in the host's own directory is not known to the server.
    let known = session.client.images().get(&image.name).await;
    known.is_ok_and(|image| image.guest_agent)
}
