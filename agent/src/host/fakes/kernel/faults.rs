//! What is to go wrong, as data.
//!
//! Made by tests and sweeps, read by the gate. A rule says where it strikes ([`At`]) and how
//! ([`InjectedFault`]). Names of effects are `<seam>.<method>` as in `host/*.rs`:
//! `"snapshots.ensure"`, `"launcher.launch"`. What can go wrong: a rule that matches nothing
//! strikes nothing; compare [`crate::host::fakes::FakeKernel::trace`].

use crate::host::HostErrorKind;

/// Where a fault strikes. Each rule counts for itself the effects that match it, from 1, since the
/// plan was set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct At {
    verb: Option<String>,
    object: Option<String>,
    nth: Option<u64>,
}

impl At {
    /// The `n`-th effect of all.
    #[must_use]
    pub fn nth(n: u64) -> Self {
        Self { nth: Some(n), ..Self::default() }
    }

    /// Every effect of this name.
    #[must_use]
    pub fn verb(verb: impl Into<String>) -> Self {
        Self { verb: Some(verb.into()), ..Self::default() }
    }

    /// Of those only the `n`-th.
    #[must_use]
    pub fn only(mut self, n: u64) -> Self {
        self.nth = Some(n);
        self
    }

    /// Of those only on objects whose name contains `text`.
    #[must_use]
    pub fn object(mut self, text: impl Into<String>) -> Self {
        self.object = Some(text.into());
        self
    }
}

/// How it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedFault {
    /// Nothing is done; the verb fails.
    Fail(HostErrorKind),
    /// It is done, but the verb says it failed: [`HostErrorKind::TimedOut`] of a slow machine.
    FailAfter(HostErrorKind),
    /// The agent dies before it: nothing is done, nothing answers any more.
    CrashBefore,
    /// The agent dies after it: it is done, nothing answers any more.
    CrashAfter,
    /// No answer until [`crate::host::fakes::FakeKernel::release`]; then it is done. Not done when
    /// the caller gives up.
    Hang,
    /// It is done at once, but no answer until [`crate::host::fakes::FakeKernel::release`].
    HangAfter,
    /// It is performed twice where it may be, and the second answer is given, as by
    /// [`FaultPlan::repeat_each`].
    Repeat,
}

/// All that is to go wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultPlan {
    rules: Vec<FaultRule>,
    reads: Vec<BlindTo>,
    pub(crate) repeat: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FaultRule {
    at: At,
    fault: InjectedFault,
    seen: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct BlindTo {
    verb: String,
    kind: HostErrorKind,
    /// How often still; `None`: for ever.
    times: Option<u32>,
}

impl FaultPlan {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds a rule. Where several match one effect the first decides.
    #[must_use]
    pub fn with(mut self, at: At, fault: InjectedFault) -> Self {
        self.rules.push(FaultRule { at, fault, seen: 0 });
        self
    }

    /// Fails the `n`-th effect.
    #[must_use]
    pub fn fail(self, n: u64, kind: HostErrorKind) -> Self {
        self.with(At::nth(n), InjectedFault::Fail(kind))
    }

    /// Ends the agent right after the `n`-th effect.
    #[must_use]
    pub fn crash_after(self, n: u64) -> Self {
        self.with(At::nth(n), InjectedFault::CrashAfter)
    }

    /// Hangs the `n`-th effect.
    #[must_use]
    pub fn hang(self, n: u64) -> Self {
        self.with(At::nth(n), InjectedFault::Hang)
    }

    /// Fails every read of this name, such as `"processes.observe"`.
    #[must_use]
    pub fn fail_reads(mut self, verb: impl Into<String>, kind: HostErrorKind) -> Self {
        self.reads.push(BlindTo { verb: verb.into(), kind, times: None });
        self
    }

    /// Fails the first reads of this name, so many of them.
    #[must_use]
    pub fn fail_first_reads(
        mut self,
        verb: impl Into<String>,
        kind: HostErrorKind,
        times: u32,
    ) -> Self {
        self.reads.push(BlindTo { verb: verb.into(), kind, times: Some(times) });
        self
    }

    /// Performs each repeatable effect twice and gives the second answer. A second one that does
    /// not find things as asked is in [`crate::host::fakes::FakeKernel::violations`].
    #[must_use]
    pub fn repeat_each(mut self) -> Self {
        self.repeat = true;
        self
    }

    /// Counts an effect and says what becomes of it.
    pub(crate) fn strike(&mut self, verb: &str, object: &str) -> Option<InjectedFault> {
        let mut struck = None;
        for rule in &mut self.rules {
            let at = &rule.at;
            let matches = at.verb.as_deref().is_none_or(|wanted| wanted == verb)
                && at.object.as_deref().is_none_or(|wanted| object.contains(wanted));
            if matches {
                rule.seen += 1;
                if at.nth.is_none_or(|nth| nth == rule.seen) {
                    struck = struck.or(Some(rule.fault));
                }
            }
        }
        struck
    }

    pub(crate) fn strike_read(&mut self, verb: &str) -> Option<HostErrorKind> {
        let blind =
            self.reads.iter_mut().find(|read| read.verb == verb && read.times != Some(0))?;
        blind.times = blind.times.map(|times| times - 1);
        Some(blind.kind)
    }
}
