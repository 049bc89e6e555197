//! What must hold of the fake machine whatever went wrong: one look before, one comparison after.
//!
//! Driven by every sweep, walk and soak over a [`FakeKernel`], so that they all ask the same
//! questions. It knows nothing of what the agent believes: a leak is an object that was not there
//! before, a murder is a process that was and is not the same any more. What can go wrong: the
//! look before is taken while an agent is at work; take it when nothing moves.

use std::collections::BTreeSet;
use std::fmt;

use crate::host::fakes::kernel::FakeKernel;
use crate::host::{JailId, ProcessFacts};

/// What every test of faults checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// I1: every acknowledged intent survives, none is half-done.
    IntentSurvives,
    /// I2: at most one VMM process for a VM.
    OneProcess,
    /// I3: nothing is left over, and nothing of anybody else's is gone.
    NothingLeft,
    /// I4: a running VM keeps its process, and no foreign process is signalled.
    ProcessKept,
    /// I6: it converges within a stated bound and is silent then.
    Converges,
    /// I8: no guest is started on a tap that it is not pinned to.
    Pinned,
    /// I7: an error says what failed, at which step, and what is left behind.
    ErrorsSay,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IntentSurvives => "I1 every acknowledged intent survives",
            Self::OneProcess => "I2 at most one process for a VM",
            Self::NothingLeft => "I3 nothing left over, nothing foreign gone",
            Self::ProcessKept => "I4 a running VM keeps its process, no other is signalled",
            Self::Converges => "I6 converges and is silent",
            Self::Pinned => "I8 no guest is started unpinned",
            Self::ErrorsSay => "I7 errors say what, where and what is left",
        })
    }
}

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub invariant: Invariant,
    /// How that was seen.
    pub how: String,
}

impl Broken {
    /// One that does not hold.
    #[must_use]
    pub fn new(invariant: Invariant, how: impl Into<String>) -> Self {
        Self { invariant, how: how.into() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.how)
    }
}

/// What is different on a machine, without the numbers that the kernel gives out. Two runs that
/// differ only in faults overcome have the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// There now and not before.
    pub gained: Vec<String>,
    /// There before and not now.
    pub lost: Vec<String>,
}

impl Difference {
    /// Whether there is none.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.gained.is_empty() && self.lost.is_empty()
    }
}

/// A look at a machine before something is done to it.
#[derive(Debug, Clone)]
pub struct Oracle {
    before: BTreeSet<String>,
    guarded: Vec<(JailId, ProcessFacts)>,
    guards_lost: Vec<JailId>,
}

impl Oracle {
    /// Looks at everything there is.
    #[must_use]
    pub fn look(kernel: &FakeKernel) -> Self {
        Self { before: kernel.objects(), guarded: Vec::new(), guards_lost: Vec::new() }
    }

    /// From now on the process of this jail has to stay the one it is.
    #[must_use]
    pub fn guarding(mut self, kernel: &FakeKernel, jail: &JailId) -> Self {
        match kernel.process_of(jail) {
            Some(process) => self.guarded.push((jail.clone(), process)),
            None => self.guards_lost.push(jail.clone()),
        }
        self
    }

    /// What is different now.
    #[must_use]
    pub fn difference(&self, kernel: &FakeKernel) -> Difference {
        let now = kernel.objects();
        let kinds = |from: &BTreeSet<String>, other: &BTreeSet<String>| {
            let mut kinds: Vec<String> = from.difference(other).map(|o| kind(o)).collect();
            kinds.sort();
            kinds
        };
        let mut gained = kinds(&now, &self.before);
        let mut lost = Vec::new();
        // What came under another number is the same kind of thing; a process is looked at for
        // itself by those who guard it.
        for was in kinds(&self.before, &now) {
            match gained.iter().position(|is| *is == was) {
                Some(at) => drop(gained.remove(at)),
                None => lost.push(was),
            }
        }
        Difference { gained, lost }
    }

    /// I2, I4, and I3 as far as it is the machine's: the difference to the look before is exactly
    /// the one that was wanted.
    #[must_use]
    pub fn broken(&self, kernel: &FakeKernel, wanted: &Difference) -> Vec<Broken> {
        let mut broken: Vec<Broken> = kernel
            .violations()
            .into_iter()
            .map(|how| Broken::new(of_violation(&how), how))
            .collect();
        for jail in &self.guards_lost {
            let how = format!("there was no process in {jail} to guard");
            broken.push(Broken::new(Invariant::ProcessKept, how));
        }
        for (jail, process) in &self.guarded {
            let now = kernel.process_of(jail);
            if now.as_ref() != Some(process) {
                let how = format!("process of {jail} was {process:?} and is {now:?}");
                broken.push(Broken::new(Invariant::ProcessKept, how));
            }
        }
        let difference = self.difference(kernel);
        if difference != *wanted {
            let how = format!("{difference:#?} where {wanted:#?} is right");
            broken.push(Broken::new(Invariant::NothingLeft, how));
        }
        broken
    }
}

/// The kernel's own list of what must never happen holds four kinds.
fn of_violation(how: &str) -> Invariant {
    if how.contains("signalled") {
        Invariant::ProcessKept
    } else if how.contains("unpinned") {
        Invariant::Pinned
    } else if how.contains("repeated") {
        Invariant::Converges
    } else {
        Invariant::OneProcess
    }
}

/// An object's line without the numbers that the kernel gave out: of the process, of loop devices,
/// of lost files.
fn kind(object: &str) -> String {
    let (first, rest) = object.split_once(' ').unwrap_or((object, ""));
    match first {
        "process" | "loop" => {
            let unnumbered = rest.split_once(' ').map_or("", |(_, rest)| rest);
            format!("{first} {unnumbered}")
        }
        "dm" => format!("dm {}", rest.split(' ').next().unwrap_or_default()),
        "lost" => "lost file".to_owned(),
        _ => object.to_owned(),
    }
}
