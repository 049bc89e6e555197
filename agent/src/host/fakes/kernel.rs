//! The fake machine as its owner holds it: made, opened, given faults, asked for its trace.
//!
//! Driven by tests, sweeps and `run --simulate`. What happens to VMs and processes is staged in
//! `stage`; what the agent does comes through the seams. One lock holds everything; nothing waits
//! while it is held.

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{HostOptions, host};
use crate::clock::Clock;
use crate::host::{Capacity, Host};

pub(super) mod faults;
pub(super) mod gate;
pub(super) mod machine;
mod objects;
pub(super) mod oracle;
mod persist;
pub(super) mod process;
pub(super) mod space;
mod stage;
pub(super) mod state;

use faults::FaultPlan;
use gate::Gate;
use persist::Saver;
use state::State;

/// Tells the machines of one test process apart.
static MACHINES: AtomicU64 = AtomicU64::new(1);

/// A whole machine in memory. Cheap to clone; all clones are one machine.
#[derive(Clone)]
pub struct FakeKernel {
    pub(super) inner: Arc<FakeMachine>,
}

pub(super) struct FakeMachine {
    pub(super) core: Mutex<Core>,
    pub(super) clock: Clock,
    pub(super) crashed: Notify,
    pub(super) released: Notify,
    /// Something about VMMs may have changed.
    pub(super) changed: Notify,
    pub(super) saver: OnceLock<Saver>,
}

pub(super) struct Core {
    pub(super) state: State,
    pub(super) gate: Gate,
}

impl FakeMachine {
    /// After a change: wakes who waits for one, and the saver.
    pub(super) fn touched(&self) {
        self.changed.notify_waiters();
        if let Some(saver) = self.saver.get() {
            saver.changed(self);
        }
    }
}

impl Default for FakeKernel {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FakeKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeKernel").field("objects", &self.objects()).finish()
    }
}

impl FakeKernel {
    /// A machine that was booted an hour ago, with the two demo images and nothing else, by the
    /// system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Clock::system())
    }

    /// As [`Self::new`], by this clock.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        let machine = MACHINES.fetch_add(1, Ordering::Relaxed);
        let state = State::new(machine, unix_seconds(&clock));
        Self::of(state, clock, true)
    }

    pub(super) fn of(state: State, clock: Clock, tracing: bool) -> Self {
        Self {
            inner: Arc::new(FakeMachine {
                core: Mutex::new(Core { state, gate: Gate::new(tracing) }),
                clock,
                crashed: Notify::new(),
                released: Notify::new(),
                changed: Notify::new(),
                saver: OnceLock::new(),
            }),
        }
    }

    /// The bundle with everything as usual.
    #[must_use]
    pub fn host(&self) -> Host {
        host(self, HostOptions::default())
    }

    /// What VMs may use of the machine, from now on.
    pub fn set_capacity(&self, capacity: Capacity) {
        self.with(|state| state.capacity = capacity.into());
    }

    /// The VM's process runs as another user: root, as a jailer does at first. Whether there was
    /// one.
    pub fn set_user(&self, jail: &crate::host::JailId, user: u32) -> bool {
        self.with(|state| {
            let pid = state.pid_of(jail);
            let process = pid.and_then(|pid| state.processes.get_mut(&pid));
            process.map(|process| process.user = user).is_some()
        })
    }

    /// How long each effect takes, from now on.
    pub fn set_effect_delay(&self, delay: Duration) {
        self.inner.core.lock().gate.delay = delay;
    }

    /// Sets what is to go wrong; counting begins anew.
    pub fn set_faults(&self, plan: FaultPlan) {
        let mut core = self.inner.core.lock();
        core.gate.plan = plan;
        core.gate.count = 0;
    }

    /// How many effects there were since the fault plan was set, failed ones too.
    #[must_use]
    pub fn effects(&self) -> u64 {
        self.inner.core.lock().gate.count
    }

    /// The effects so far, in order: `<seam>.<method> <object>: <outcome>`. Empty for a kernel
    /// with a file.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.inner.core.lock().gate.trace.iter().cloned().collect()
    }

    /// Forgets the trace.
    pub fn clear_trace(&self) {
        self.inner.core.lock().gate.trace.clear();
    }

    /// What must never happen and did: two live VMMs in one jail or as one user, an idempotent
    /// effect that changed something when it was repeated.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut core = self.inner.core.lock();
        let Core { state, gate } = &mut *core;
        gate.violations.append(&mut state.violations);
        gate.violations.clone()
    }

    /// Lets go on what hangs now.
    pub fn release(&self) {
        self.inner.core.lock().gate.releases += 1;
        self.inner.released.notify_waiters();
    }

    /// How many effects hang now.
    #[must_use]
    pub fn hanging(&self) -> usize {
        self.inner.core.lock().gate.hanging
    }

    /// Whether a staged crash has struck since the last [`Self::new_agent`].
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.inner.core.lock().gate.crashed
    }

    /// Resolves when a staged crash has struck: drop the agent then, call [`Self::new_agent`] and
    /// start another over a new bundle.
    pub async fn crashed(&self) {
        loop {
            // Made before the look, so that no crash is missed between the two.
            let crashed = self.inner.crashed.notified();
            if self.is_crashed() {
                return;
            }
            crashed.await;
        }
    }

    /// A new life of the agent: no process is our child any more, nothing is collected, what was
    /// seen of the firewall is forgotten. A bundle made before goes on to work unless its agent
    /// died by a staged crash.
    pub fn new_agent(&self) {
        let mut core = self.inner.core.lock();
        core.gate.crashed = false;
        core.state.new_agent();
        drop(core);
        self.inner.touched();
    }

    /// Changes the machine behind the agent's back.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.inner.core.lock().state);
        self.inner.touched();
        result
    }

    /// Reads without passing a seam.
    pub(super) fn peek<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.inner.core.lock().state)
    }
}

/// The time of day in seconds since 1970.
pub(super) fn unix_seconds(clock: &Clock) -> u64 {
    u64::try_from(clock.now().as_second()).unwrap_or(0)
}
