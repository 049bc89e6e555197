//! What is thought of every host for one VM, for whoever wants to know why it goes where it goes.
//!
//! An [`Evaluation`] is all that may be told of a decision. It has other people's numbers (how much
//! is left, how full a host is): who may read which of it is decided in one place,
//! `api/convert/verdicts.rs`.

use banger_proto::ids::HostId;

use super::{Candidate, Choice, NoHost, Score, Strategy, Unsuitable, Wanted, filter};

/// What is thought of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub host: HostId,
    /// Its name.
    pub name: String,
    /// How well it suits; or all that speaks against it, the most telling first.
    pub found: Result<Score, Vec<Unsuitable>>,
}

/// What is thought of every host, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// By which hosts were compared.
    pub strategy: Strategy,
    /// One a host, in the order in which they joined.
    pub verdicts: Vec<Verdict>,
    /// The host that takes the VM, or why none does.
    pub chosen: Result<HostId, NoHost>,
}

impl Evaluation {
    /// Of these hosts, in the order in which they joined. What is chosen is what
    /// [`super::choose_host`] chooses.
    pub fn of<'a>(
        wanted: &Wanted<'_>,
        candidates: impl IntoIterator<Item = Candidate<'a>>,
    ) -> Self {
        let mut choice = Choice::new(wanted.strategy);
        let mut verdicts = Vec::new();
        for candidate in candidates {
            let against: Vec<Unsuitable> = filter::objections(wanted, &candidate).collect();
            let found = match (against.first(), wanted.score(&candidate)) {
                (None, Some(score)) => Ok(score),
                _ => Err(against),
            };
            let first = found.as_ref().map(|score| *score).map_err(|against| against.first());
            choice.take(candidate.host.id, first.map_err(Option::<&Unsuitable>::copied));
            let name = candidate.host.name.clone();
            verdicts.push(Verdict { host: candidate.host.id, name, found });
        }
        Self { strategy: wanted.strategy, verdicts, chosen: choice.made() }
    }
}
