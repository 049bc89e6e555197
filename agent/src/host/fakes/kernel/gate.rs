//! The one gate that every effect passes, and the seam that all traits are implemented on.
//!
//! Driven by every verb of the fakes. The gate counts, asks the fault plan, performs the effect
//! under the kernel's one lock, and writes the trace there, so that the trace is in the order of
//! the effects. A bundle whose agent has died gets no answer: its futures pend for ever.

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::time::Duration;

use super::faults::{FaultPlan, InjectedFault};
use super::state::State;
use crate::host::fakes::HostOptions;
use crate::host::fakes::kernel::{Core, FakeKernel};
use crate::host::{Change, HostError, HostErrorKind, HostResult};

/// How many lines of trace are kept.
const TRACE_LINES: usize = 200_000;

#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) plan: FaultPlan,
    pub(crate) count: u64,
    pub(crate) delay: Duration,
    /// The agent of the present life has died.
    pub(crate) crashed: bool,
    /// No bundle of this life or an earlier one gets an answer.
    pub(crate) frozen_through: Option<u64>,
    pub(crate) releases: u64,
    pub(crate) hanging: usize,
    pub(crate) violations: Vec<String>,
    pub(crate) trace: VecDeque<String>,
    pub(crate) tracing: bool,
}

impl Gate {
    pub(crate) fn new(tracing: bool) -> Self {
        Self {
            plan: FaultPlan::none(),
            count: 0,
            delay: Duration::ZERO,
            crashed: false,
            frozen_through: None,
            releases: 0,
            hanging: 0,
            violations: Vec::new(),
            trace: VecDeque::new(),
            tracing,
        }
    }

    fn frozen(&self, life: u64) -> bool {
        self.frozen_through.is_some_and(|through| life <= through)
    }

    pub(crate) fn freeze(&mut self, life: u64) {
        self.frozen_through = self.frozen_through.max(Some(life));
    }

    fn note(&mut self, verb: &str, object: &str, outcome: impl fmt::Display) {
        if self.tracing {
            if self.trace.len() == TRACE_LINES {
                self.trace.pop_front();
            }
            self.trace.push_back(format!("{verb} {object}: {outcome}"));
        }
    }
}

/// Whether the gate may perform an effect twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// The second would be refused or would do another thing.
    Never,
    /// The second succeeds and may change something again.
    Allowed,
    /// The second finds everything as asked.
    MustBeSo,
}

/// What an effect answers, as far as the gate looks into it.
pub(crate) trait Answer: Send {
    /// What it did, `None` when the verb does not say.
    fn change(&self) -> Option<Change>;
}

impl Answer for () {
    fn change(&self) -> Option<Change> {
        None
    }
}

impl Answer for Change {
    fn change(&self) -> Option<Change> {
        Some(*self)
    }
}

impl<T: Send> Answer for (T, Change) {
    fn change(&self) -> Option<Change> {
        Some(self.1)
    }
}

impl Answer for crate::host::Launched {
    fn change(&self) -> Option<Change> {
        Some(Change::Made)
    }
}

fn outcome<T: Answer>(result: &HostResult<T>) -> String {
    match result {
        Ok(answer) => match answer.change() {
            Some(Change::Made) => "made".to_owned(),
            Some(Change::AlreadySo) => "already so".to_owned(),
            None => "done".to_owned(),
        },
        Err(error) => format!("{:?}", error.kind),
    }
}

/// All seams of one bundle.
pub(crate) struct Seam {
    pub(crate) kernel: FakeKernel,
    pub(crate) shown: HostOptions,
    pub(crate) life: u64,
}

impl Seam {
    pub(crate) fn new(kernel: FakeKernel, shown: HostOptions) -> Self {
        let life = kernel.inner.core.lock().state.life;
        Self { kernel, shown, life }
    }

    /// The same seam, for what outlives a call.
    pub(crate) fn again(&self) -> Self {
        Self { kernel: self.kernel.clone(), shown: self.shown.clone(), life: self.life }
    }

    /// Performs an effect, or what the fault plan makes of it.
    pub(crate) async fn effect<T: Answer>(
        &self,
        verb: &'static str,
        object: String,
        repeat: Repeat,
        apply: impl Fn(&mut State) -> HostResult<T> + Send,
    ) -> HostResult<T> {
        let Some((fault, delay)) = self.admit(verb, &object) else { return pending().await };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match fault {
            Some(InjectedFault::Fail(kind)) => return Err(staged(kind, verb, &object)),
            Some(InjectedFault::CrashBefore) => return pending().await,
            Some(InjectedFault::Hang) => self.hang().await,
            Some(
                InjectedFault::FailAfter(_)
                | InjectedFault::CrashAfter
                | InjectedFault::HangAfter
                | InjectedFault::Repeat,
            )
            | None => {}
        }
        let Some(result) = self.perform(verb, &object, repeat, fault, apply) else {
            return pending().await;
        };
        match fault {
            Some(InjectedFault::CrashAfter) => return pending().await,
            Some(InjectedFault::HangAfter) => self.hang().await,
            Some(InjectedFault::FailAfter(kind)) => {
                result?;
                return Err(staged(kind, verb, &object));
            }
            Some(
                InjectedFault::Fail(_)
                | InjectedFault::CrashBefore
                | InjectedFault::Hang
                | InjectedFault::Repeat,
            )
            | None => {}
        }
        result
    }

    /// Reads; passes no gate.
    pub(crate) async fn read<T: Send>(
        &self,
        verb: &'static str,
        read: impl FnOnce(&mut State) -> HostResult<T> + Send,
    ) -> HostResult<T> {
        match self.look(verb, read) {
            Some(result) => result,
            None => pending().await,
        }
    }

    /// As [`Self::read`] at once; `None` when the agent of this bundle is dead.
    pub(crate) fn look<T>(
        &self,
        verb: &'static str,
        read: impl FnOnce(&mut State) -> HostResult<T>,
    ) -> Option<HostResult<T>> {
        let mut core = self.kernel.inner.core.lock();
        if core.gate.frozen(self.life) {
            return None;
        }
        Some(match core.gate.plan.strike_read(verb) {
            Some(kind) => Err(staged(kind, verb, "")),
            None => read(&mut core.state),
        })
    }

    fn admit(&self, verb: &str, object: &str) -> Option<(Option<InjectedFault>, Duration)> {
        let mut core = self.kernel.inner.core.lock();
        let gate = &mut core.gate;
        if gate.frozen(self.life) {
            return None;
        }
        gate.count += 1;
        let fault = gate.plan.strike(verb, object);
        let delay = gate.delay;
        match fault {
            Some(InjectedFault::Fail(kind)) => gate.note(verb, object, format!("staged {kind:?}")),
            Some(InjectedFault::CrashBefore) => {
                gate.note(verb, object, "staged crash before");
                self.crash(&mut core);
            }
            Some(InjectedFault::Hang) => gate.note(verb, object, "staged hang"),
            Some(
                InjectedFault::FailAfter(_)
                | InjectedFault::CrashAfter
                | InjectedFault::HangAfter
                | InjectedFault::Repeat,
            )
            | None => {}
        }
        Some((fault, delay))
    }

    fn perform<T: Answer>(
        &self,
        verb: &str,
        object: &str,
        repeat: Repeat,
        fault: Option<InjectedFault>,
        apply: impl Fn(&mut State) -> HostResult<T>,
    ) -> Option<HostResult<T>> {
        let mut core = self.kernel.inner.core.lock();
        if core.gate.frozen(self.life) {
            return None;
        }
        let Core { state, gate } = &mut *core;
        let mut result = apply(state);
        gate.note(verb, object, outcome(&result));
        let twice = gate.plan.repeat || fault == Some(InjectedFault::Repeat);
        if twice && repeat != Repeat::Never && result.is_ok() {
            result = apply(state);
            gate.note(verb, object, format!("repeated, {}", outcome(&result)));
            let so = match &result {
                Ok(answer) => answer.change() != Some(Change::Made),
                Err(_) => false,
            };
            if repeat == Repeat::MustBeSo && !so {
                let outcome = outcome(&result);
                gate.violations.push(format!("{verb} {object} repeated: {outcome}"));
            }
        }
        gate.violations.append(&mut state.violations);
        if fault == Some(InjectedFault::CrashAfter) {
            gate.note(verb, object, "staged crash after");
            self.crash(&mut core);
        }
        drop(core);
        self.kernel.inner.touched();
        Some(result)
    }

    fn crash(&self, core: &mut Core) {
        core.gate.crashed = true;
        core.gate.freeze(self.life);
        self.kernel.inner.crashed.notify_waiters();
    }

    /// Until somebody releases what hangs.
    async fn hang(&self) {
        struct Hanging<'a>(&'a FakeKernel);
        impl Drop for Hanging<'_> {
            fn drop(&mut self) {
                self.0.inner.core.lock().gate.hanging -= 1;
            }
        }
        let mine = {
            let mut core = self.kernel.inner.core.lock();
            core.gate.hanging += 1;
            core.gate.releases
        };
        let _hanging = Hanging(&self.kernel);
        loop {
            // Made before the look, so that no release is missed between the two.
            let released = self.kernel.inner.released.notified();
            if self.kernel.inner.core.lock().gate.releases > mine {
                return;
            }
            released.await;
        }
    }
}

fn staged(kind: HostErrorKind, verb: &str, object: &str) -> HostError {
    HostError::new(kind, "perform", format!("{verb} {object}").trim_end()).detail("staged fault")
}
