//! One VM's task: look, ask the plan, perform one effect, look again. The only caller of `apply`
//! for this VM, so that no two effects of one VM ever run at once, and a VM that hangs delays
//! only itself.
//!
//! Driven by wake-ups that carry no data: a new assignment, the end of the process, a retry that
//! is due, the start of the agent; each runs the same pass. What can go wrong in an effect is
//! folded into [`Memory`](super::memory::Memory); the task itself cannot fail.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::machine::{NextLook, Vm};
use super::plan::Next;
use super::probe::Probe;
use crate::clock::Moment;
use crate::handles::file;
use crate::jail::process::ProcessTable;
use crate::report::phase::{Fault, Phase, Reason};

/// Effects in a row without coming to rest, past which something is wrong with us: a start and a
/// teardown together are about thirty.
const RESTLESS: u32 = 200;

/// Wakes a VM's task, and stops it.
#[derive(Debug, Clone, Default)]
pub struct Bell {
    /// Something changed: run a pass. Carries no data.
    pub wake: Arc<tokio::sync::Notify>,
    /// The agent stops: come to an end after the present effect, leave the VM as it is.
    pub stop: CancellationToken,
}

/// The task. Ends when nothing of the VM is left (`true`), or when the agent stops (`false`).
pub async fn run(
    mut vm: Vm,
    bell: Bell,
    mut table: Option<Arc<ProcessTable>>,
    mut looked: Option<Looked>,
) -> bool {
    let mut look = NextLook::Whole;
    let mut in_a_row = 0;
    loop {
        let Some(record) = vm.record.get() else { return false };
        if vm.notice_assignment(&record) {
            look = NextLook::Whole;
        }
        let probe = match look {
            NextLook::Whole => vm.look(table.take().as_deref()).await,
            NextLook::At(probe) => probe,
        };
        let mut next = vm.plan(&record, &probe);
        if in_a_row > RESTLESS {
            next = restless(&next, vm.shared.clock.monotonic());
        }
        vm.publish(&record, &probe, &next);
        // Dropping it tells the start of the agent that this VM is reported.
        drop(looked.take());
        look = match next {
            Next::Do(_) if bell.stop.is_cancelled() => return false,
            Next::Do(effect) => {
                in_a_row += 1;
                let look = vm.perform(&record, &effect, probe).await;
                if vm.gone {
                    return true;
                }
                look
            }
            // Only an absent VM is gone, and its task ends with the removal of its directory.
            Next::Settled(Phase::Gone) => return true,
            Next::Settled(_) | Next::WaitUntil(..) | Next::Stuck(_) => {
                in_a_row = 0;
                come_to_rest(&mut vm, &next).await;
                if wait(&vm, &bell, &next, &probe).await == Woke::Stop {
                    return false;
                }
                NextLook::Whole
            }
        };
    }
}

/// Held by a task until it has looked and reported for the first time; its drop is the message.
pub struct Looked(pub tokio::sync::mpsc::Sender<()>);

fn restless(next: &Next, now: Moment) -> Next {
    Next::Stuck(Fault {
        retry_at: Some(now.after(Duration::from_secs(60))),
        ..Fault::new(
            Reason::Internal,
            "come to rest",
            format!("{RESTLESS} effects in a row changed nothing for good; next was {next:?}"),
        )
    })
}

async fn come_to_rest(vm: &mut Vm, next: &Next) {
    if matches!(next, Next::Settled(Phase::Running | Phase::Paused)) {
        vm.memory.running_as_wanted();
        vm.handles.update(|handles| {
            if let Some(process) = &mut handles.process {
                process.ending = false;
            }
        });
    }
    file::try_flush(&*vm.shared.host.files, &vm.handles, &vm.names).await;
}

#[derive(PartialEq, Eq)]
enum Woke {
    Again,
    Stop,
}

async fn wait(vm: &Vm, bell: &Bell, next: &Next, probe: &Probe) -> Woke {
    let until = match next {
        Next::WaitUntil(at, _) => Some(*at),
        Next::Stuck(fault) => fault.retry_at,
        Next::Settled(_) | Next::Do(_) => None,
    };
    let now = vm.shared.clock.monotonic();
    let time = async {
        match until {
            Some(at) => tokio::time::sleep(now.until(at)).await,
            None => std::future::pending().await,
        }
    };
    let exit = async {
        let Probe::Alive(alive) = probe else { return std::future::pending().await };
        let (pid, ticks) = (alive.identity.pid, alive.identity.start_ticks);
        if let Err(error) = vm.host().processes.wait_exit(pid, ticks).await {
            tracing::warn!(vm = %vm.id, error = error.chain(), "the process cannot be watched");
            // NextLook at it now and then instead.
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    };
    // Each arm is cancel-safe: a notification not taken stays, waiting for an exit or for time
    // has no effect of its own, and no arm's body awaits.
    tokio::select! {
        () = bell.stop.cancelled() => Woke::Stop,
        () = bell.wake.notified() => Woke::Again,
        () = exit => Woke::Again,
        () = time => Woke::Again,
    }
}
