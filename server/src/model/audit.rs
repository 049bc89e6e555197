//! Records of who did what, as they are stored. Never a secret, and nothing of a request's body but
//! the object that it was about and the id that it named itself by.
//!
//! A change that a call makes has its record made by the ledger, with the decision itself
//! ([`super::ledger`]); what opens a guest, uploads, sweeps and what was refused
//! are recorded by the edge, which sees them begin and end.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;

use super::caller::{ANONYMOUS, Caller, LOCAL, SERVER};
use super::project::ProjectName;

/// What a record tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditStep {
    /// A change was made.
    Done,
    /// Something that lasts begins.
    Began,
    /// It has ended.
    Ended,
    /// A call was refused for who made it.
    Refused,
    /// So many calls were refused without a record of their own.
    LeftOut(u64),
}

impl AuditStep {
    /// Its word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "DONE",
            Self::Began => "BEGAN",
            Self::Ended => "ENDED",
            Self::Refused => "REFUSED",
            Self::LeftOut(_) => "LEFT_OUT",
        }
    }

    /// How many calls it stands for that have no record.
    pub fn left_out(self) -> u64 {
        match self {
            Self::LeftOut(count) => count,
            Self::Done | Self::Began | Self::Ended | Self::Refused => 0,
        }
    }

    /// Back from its word and count.
    pub fn read(word: &str, left_out: u64) -> Option<Self> {
        match word {
            "DONE" => Some(Self::Done),
            "BEGAN" => Some(Self::Began),
            "ENDED" => Some(Self::Ended),
            "REFUSED" => Some(Self::Refused),
            "LEFT_OUT" => Some(Self::LeftOut(left_out)),
            _ => None,
        }
    }
}

/// A kind of thing that is acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditedKind {
    Vm,
    Host,
    Image,
    Upload,
    Project,
    Token,
    JoinToken,
    /// Of the database, which was restored.
    Backup,
}

impl AuditedKind {
    const ALL: [Self; 8] = [
        Self::Vm,
        Self::Host,
        Self::Image,
        Self::Upload,
        Self::Project,
        Self::Token,
        Self::JoinToken,
        Self::Backup,
    ];

    /// Its word in the database and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Host => "host",
            Self::Image => "image",
            Self::Upload => "upload",
            Self::Project => "project",
            Self::Token => "token",
            Self::JoinToken => "join-token",
            Self::Backup => "backup",
        }
    }
}

impl fmt::Display for AuditedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AuditedKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

/// What was acted on, as it was called then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditObject {
    pub kind: AuditedKind,
    /// Of an image or an upload the sha256 of its content; of a backup when it was made.
    pub id: String,
    /// What belongs to a project has it before its name, with a slash, but for `default`.
    pub name: String,
}

impl AuditObject {
    pub fn new(kind: AuditedKind, id: impl fmt::Display, name: &str) -> Self {
        Self { kind, id: id.to_string(), name: name.to_owned() }
    }
}

/// What became of an object because of what its call did to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditEffect {
    /// It is gone too.
    WentAlong,
    /// It would have gone too, and was kept.
    Kept,
}

impl AuditEffect {
    /// Its word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WentAlong => "WENT_ALONG",
            Self::Kept => "KEPT",
        }
    }

    /// Back from its word.
    pub fn read(word: &str) -> Option<Self> {
        [Self::WentAlong, Self::Kept].into_iter().find(|effect| effect.as_str() == word)
    }
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditOutcome {
    /// `OK`, or the name of a gRPC code. Empty: it has not.
    pub code: String,
    /// As in errors; may be empty.
    pub reason: String,
}

impl AuditOutcome {
    pub fn ok() -> Self {
        Self { code: "OK".to_owned(), reason: String::new() }
    }

    /// Of what has only begun.
    pub fn open() -> Self {
        Self { code: String::new(), reason: String::new() }
    }
}

/// Who did what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When it was asked for; of what has ended, when it did.
    pub at: Timestamp,
    pub step: AuditStep,
    pub principal: Arc<str>,
    /// The project that is all that they see; `None`: they see the fleet, or it is no call.
    pub project: Option<ProjectName>,
    /// Id of the token that was made by a call, or of what others have signed; may be empty.
    pub token_id: String,
    /// Address and port; may be empty.
    pub peer: String,
    /// Full; empty for what is no call.
    pub method: String,
    pub object: Option<AuditObject>,
    /// What became of the object, where the call was about another: that one.
    pub because_of: Option<(AuditEffect, AuditObject)>,
    pub outcome: AuditOutcome,
    /// 32 hexadecimal digits, or nothing.
    pub trace_id: String,
    /// A UUID, or nothing.
    pub request_id: String,
    /// A UUID that a beginning and its end have in common, or nothing.
    pub call_id: String,
}

impl AuditRecord {
    /// Of a call that somebody makes; `None` for what the server does by itself.
    pub fn of(caller: &Caller, step: AuditStep, outcome: AuditOutcome) -> Option<Self> {
        let call = caller.call.as_ref()?;
        Some(Self {
            at: caller.at,
            step,
            principal: Arc::clone(&caller.actor),
            project: caller.only().cloned(),
            token_id: caller.shown_id().to_owned(),
            peer: call.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            method: call.method.to_owned(),
            object: None,
            because_of: None,
            outcome,
            trace_id: trace_id(&caller.trace).to_owned(),
            request_id: String::new(),
            call_id: String::new(),
        })
    }

    /// So many calls of somebody were refused without a record: of a principal, of all without an
    /// identity, or of those who were too many to be named.
    pub fn left_out(whose: &str, count: u64, at: Timestamp) -> Self {
        let step = AuditStep::LeftOut(count);
        let record = Self::of_the_server(step, "", None, AuditOutcome::open(), at);
        Self { principal: whose.into(), ..record }
    }

    /// The project whose share of the audit it is in. What was refused has a bound of its own.
    pub fn share(&self) -> Option<&ProjectName> {
        match self.step {
            AuditStep::Done | AuditStep::Began | AuditStep::Ended => self.project.as_ref(),
            AuditStep::Refused | AuditStep::LeftOut(_) => None,
        }
    }

    /// Whether whoever it tells of has shown no identity.
    pub fn is_a_strangers(&self) -> bool {
        [ANONYMOUS, LOCAL].contains(&&*self.principal)
    }

    /// Something was done to the server's state by a program of its own, without a call: `method`
    /// has a slash in it.
    pub fn by_program(method: &str, object: Option<AuditObject>, at: Timestamp) -> Self {
        Self::of_the_server(AuditStep::Done, method, object, AuditOutcome::ok(), at)
    }

    fn of_the_server(
        step: AuditStep,
        method: &str,
        object: Option<AuditObject>,
        outcome: AuditOutcome,
        at: Timestamp,
    ) -> Self {
        Self {
            at,
            step,
            principal: SERVER.into(),
            project: None,
            token_id: String::new(),
            peer: String::new(),
            method: method.to_owned(),
            object,
            because_of: None,
            outcome,
            trace_id: String::new(),
            request_id: String::new(),
            call_id: String::new(),
        }
    }
}

/// The trace of a `traceparent`; nothing of any other text.
fn trace_id(traceparent: &str) -> &str {
    let trace = traceparent.split('-').nth(1).unwrap_or_default();
    if trace.len() == 32 { trace } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_effects_and_kinds_are_read_back_from_their_words() {
        for step in [
            AuditStep::Done,
            AuditStep::Began,
            AuditStep::Ended,
            AuditStep::Refused,
            AuditStep::LeftOut(7),
        ] {
            assert_eq!(AuditStep::read(step.as_str(), step.left_out()), Some(step));
        }
        for effect in [AuditEffect::WentAlong, AuditEffect::Kept] {
            assert_eq!(AuditEffect::read(effect.as_str()), Some(effect));
        }
        for kind in AuditedKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
    }

    #[test]
    fn only_the_trace_of_a_traceparent_is_kept() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&format!("00-{trace}-00f067aa0ba902b7-01")), trace);
        for other in ["", "00", "00-aa-bb-01", "secret"] {
            assert_eq!(trace_id(other), "", "{other}");
        }
    }
}
