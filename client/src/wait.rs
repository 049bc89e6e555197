//! Waiting for a state of a VM, over broken connections and restarts of the server.
//!
//! The server does the waiting (`WaitVm`); this side asks again when an answer says "not yet", or
//! when the connection breaks, until the caller's own time is over. The id and the generation are
//! fixed by the first answer, so that a VM deleted and made anew under the same name is not taken
//! for the one that was meant.

use std::time::Duration;

use banger_proto::v1::{ErrorReason, Vm, VmState, WaitOutcome, WaitVmRequest, WaitVmResponse};
use tokio::time::Instant;

use crate::backoff::{Backoff, spread};
use crate::error::{Call, ClientError};
use crate::vms::Vms;

const WAIT: Call = Call::read("WaitVm");

/// The longest that one call asks the server to wait.
const LONGEST_STEP: Duration = Duration::from_secs(300);

/// What the answer may take beyond the time that the server waits.
const SLACK: Duration = Duration::from_secs(10);

/// What to wait for.
#[derive(Debug, Clone)]
pub struct WaitFor {
    /// Id or name.
    pub vm: String,
    /// The state; `None` for the one that is wanted.
    pub state: Option<VmState>,
    /// The generation that must be reached; 0 for the present one.
    pub generation: u64,
    /// Whether the guest agent must have said that the guest is ready, too.
    pub guest_ready: bool,
    /// How long in all.
    pub timeout: Duration,
    /// How often at least to hear of the VM on the way. `None` when only the end matters.
    pub step: Option<Duration>,
}

impl WaitFor {
    /// Waits for what is wanted of this VM, as a change of it answered.
    #[must_use]
    pub fn settled(vm: &Vm, timeout: Duration) -> Self {
        Self {
            vm: vm.id.clone(),
            state: None,
            generation: vm.generation,
            guest_ready: false,
            timeout,
            step: None,
        }
    }

    /// Waits until nothing is left of this VM.
    #[must_use]
    pub fn gone(id: &str, timeout: Duration) -> Self {
        Self {
            vm: id.to_owned(),
            state: Some(VmState::Deleted),
            generation: 0,
            guest_ready: false,
            timeout,
            step: None,
        }
    }

    /// Waits for the word of the guest agent, too.
    #[must_use]
    pub fn ready(mut self, guest_ready: bool) -> Self {
        self.guest_ready = guest_ready;
        self
    }

    /// Hears of the VM at least this often.
    #[must_use]
    pub fn every(mut self, step: Option<Duration>) -> Self {
        self.step = step;
        self
    }
}

/// How a wait ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Waited {
    /// How.
    pub outcome: WaitOutcome,
    /// The VM as it was then; `None` when it was gone before the wait began.
    pub vm: Option<Vm>,
}

impl Vms {
    /// Waits for a state, over broken connections and restarts of the server. `progress` is
    /// called with the VM each time something was heard of it.
    ///
    /// # Errors
    /// `VM_NOT_FOUND` and refusals that no retry can help. A state that is not reached is no
    /// error: see [`Waited::outcome`].
    pub async fn wait(
        &self,
        wanted: WaitFor,
        progress: impl FnMut(&Vm) + Send,
    ) -> Result<Waited, ClientError> {
        wait(self, wanted, progress).await
    }
}

async fn wait(
    vms: &Vms,
    wanted: WaitFor,
    mut progress: impl FnMut(&Vm) + Send,
) -> Result<Waited, ClientError> {
    let until = Instant::now() + wanted.timeout;
    let mut backoff = Backoff::default();
    let mut request = WaitVmRequest {
        vm: vms.link.named(&wanted.vm),
        state: wanted.state.map_or(0, Into::into),
        generation: wanted.generation,
        timeout: None,
        guest_ready: wanted.guest_ready,
    };
    let mut last: Option<Vm> = None;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let step = left.min(wanted.step.unwrap_or(LONGEST_STEP)).min(LONGEST_STEP);
        request.timeout = prost_types::Duration::try_from(step).ok();
        let mut rpc = vms.rpc.clone();
        let answer =
            vms.link
                .unary_within(step + SLACK, WAIT, request.clone(), |r| async move {
                    rpc.wait_vm(r).await
                })
                .await;
        match answer {
            Ok(WaitVmResponse { vm, outcome }) => {
                backoff.reset();
                if let Some(vm) = &vm {
                    request.vm.clone_from(&vm.id);
                    if request.generation == 0 {
                        request.generation = vm.generation;
                    }
                    progress(vm);
                }
                let outcome = WaitOutcome::try_from(outcome).unwrap_or(WaitOutcome::Unspecified);
                last = vm.or(last);
                let over = Instant::now() >= until;
                if outcome != WaitOutcome::Timeout || over {
                    return Ok(Waited { outcome, vm: last });
                }
            }
            // Gone is what was waited for.
            Err(ClientError::Refused(refusal))
                if wanted.state == Some(VmState::Deleted)
                    && refusal.is(ErrorReason::VmNotFound) =>
            {
                return Ok(Waited { outcome: WaitOutcome::Reached, vm: last });
            }
            Err(error) if error.is_passing() => {
                let pause = backoff.pause(spread());
                if Instant::now() + pause >= until {
                    return Err(error);
                }
                tokio::time::sleep(pause).await;
            }
            Err(error) => return Err(error),
        }
    }
}
