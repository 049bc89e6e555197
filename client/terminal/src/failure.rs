//! Every error as one line, and an exit code by its class.
//!
//! The line starts with `error:`; what belongs to it (every bad field, what to do) follows
//! indented. With `-o json` it is one JSON object, for programs. The exit codes are printed by
//! `banger --help`; scripts stand on them, so they never change their meaning.

use std::io::{self, Write as _};
use std::process::ExitCode;

use banger_client::contexts::ContextError;
use banger_client::login::LoginError;
use banger_client::v1::ErrorReason;
use banger_client::{ClientError, EndpointError, FieldProblem};
use banger_wire::causes::with_causes;
use tonic::Code;

use crate::args::Format;
use crate::text::{clean, clean_json};

/// How the command leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    Other = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    Invalid = 5,
    Unavailable = 6,
    NotReached = 7,
    Unimplemented = 8,
    Denied = 9,
    NotRun = 125,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    fn of_code(code: Code) -> Self {
        match code {
            Code::Ok => Self::Ok,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists
            | Code::Aborted
            | Code::FailedPrecondition
            | Code::ResourceExhausted => Self::Conflict,
            Code::InvalidArgument | Code::OutOfRange => Self::Invalid,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Self::Unavailable,
            Code::Unimplemented => Self::Unimplemented,
            Code::Unauthenticated | Code::PermissionDenied => Self::Denied,
            Code::Unknown | Code::Internal | Code::DataLoss => Self::Other,
        }
    }
}

/// Why a command did not do what it was told.
#[derive(Debug)]
pub enum Failure {
    /// A call failed.
    Client(ClientError),
    /// The flags make no sense together, or a confirmation is missing.
    Usage(String),
    /// A file that was given is no good.
    Invalid(String),
    /// A wait ended without the state.
    NotReached(String),
    /// What is there forbids it.
    Conflict(String),
    /// Somebody is not known, or may not.
    Denied(String),
    /// A person said no, or pressed Ctrl-C.
    Interrupted(String),
    /// Something on this machine.
    Other(anyhow::Error),
    /// Several things were tried, and these failed; by the names that were given.
    Several(Vec<(String, Failure)>),
    /// A program in a guest ended with this; it has said what there is to say.
    Program(u8),
    /// A program in a guest was not run, or not to its end: for the exit code, which is
    /// otherwise the program's.
    NotRun(Box<Failure>),
    /// Nobody reads standard output any more: not an error.
    Closed,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<EndpointError> for Failure {
    fn from(error: EndpointError) -> Self {
        Self::Client(ClientError::Endpoint(error))
    }
}

impl From<ContextError> for Failure {
    fn from(error: ContextError) -> Self {
        match error {
            ContextError::Endpoint(error) => error.into(),
            ContextError::NoContext { .. } => Self::Usage(error.to_string()),
            other @ (ContextError::NoHome
            | ContextError::File { .. }
            | ContextError::Token(_)
            | ContextError::Config(_)
            | ContextError::Parse { .. }) => Self::Other(other.into()),
            ContextError::Login(error) => error.into(),
        }
    }
}

impl From<LoginError> for Failure {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Denied
            | LoginError::TimedOut
            | LoginError::Refused { .. }
            | LoginError::LoggedOut { .. } => Self::Denied(error.to_string()),
            other @ (LoginError::Web(_)
            | LoginError::Answer { .. }
            | LoginError::Other { .. }
            | LoginError::NoDeviceFlow { .. }
            | LoginError::Store { .. }) => Self::Other(other.into()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::io("write the output", error)
    }
}

impl Failure {
    /// Something on this machine.
    pub fn other(error: anyhow::Error) -> Self {
        Self::Other(error)
    }

    /// An input or output error while doing `what`.
    pub fn io(what: &str, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        Self::Other(anyhow::Error::from(error).context(format!("cannot {what}")))
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Client(ClientError::Endpoint(_)) | Self::Usage(_) => Exit::Usage,
            Self::Client(error) => Exit::of_code(error.code()),
            Self::Invalid(_) => Exit::Invalid,
            Self::NotReached(_) => Exit::NotReached,
            Self::Conflict(_) => Exit::Conflict,
            Self::Denied(_) => Exit::Denied,
            Self::Interrupted(_) => Exit::Interrupted,
            Self::Other(_) => Exit::Other,
            Self::Several(failed) => {
                let mut exits = failed.iter().map(|(_, failure)| failure.exit());
                let first = exits.next().unwrap_or(Exit::Other);
                // Different classes together are none of them.
                if exits.all(|exit| exit == first) { first } else { Exit::Other }
            }
            Self::NotRun(_) => Exit::NotRun,
            Self::Program(_) => Exit::Other,
            Self::Closed => Exit::Ok,
        }
    }

    /// A failure of banger itself, where the exit code would otherwise be a program's.
    pub fn before_program(self) -> Self {
        match self {
            // The first is no failure, the others say their own.
            Self::Closed | Self::Program(_) | Self::NotRun(_) | Self::Interrupted(_) => self,
            other => Self::NotRun(Box::new(other)),
        }
    }

    /// The exit code, also of a program.
    fn code(&self) -> u8 {
        match self {
            Self::Program(code) => *code,
            other => other.exit() as u8,
        }
    }

    /// Tells it on standard error and says how to leave.
    pub fn report(&self, format: Format) -> ExitCode {
        self.tell(None, format);
        self.code().into()
    }

    /// Tells it on standard error; `about` names what it happened to, where several were tried.
    pub fn tell(&self, about: Option<&str>, format: Format) {
        match self {
            Self::Closed | Self::Program(_) => return,
            Self::Several(failed) => {
                failed.iter().for_each(|(name, failure)| failure.tell(Some(name), format));
                return;
            }
            _ => {}
        }
        let text = match format {
            Format::Json => clean_json(self.json(about).to_string()) + "\n",
            Format::Table | Format::Yaml | Format::Name => self.lines(about),
        };
        // Where standard error is closed too there is nobody left to tell.
        let _ = anstream::stderr().write_all(text.as_bytes());
    }

    /// What happened, in a sentence.
    pub fn message(&self) -> String {
        match self {
            Self::Client(ClientError::Endpoint(error)) => with_causes(error),
            Self::Client(error) => error.to_string(),
            Self::Usage(text)
            | Self::Invalid(text)
            | Self::NotReached(text)
            | Self::Conflict(text)
            | Self::Denied(text)
            | Self::Interrupted(text) => text.clone(),
            Self::Other(error) => format!("{error:#}"),
            Self::NotRun(failure) => failure.message(),
            Self::Several(_) | Self::Program(_) | Self::Closed => String::new(),
        }
    }

    fn advice(&self) -> String {
        match self {
            Self::Client(error) => error.advice(),
            Self::NotRun(failure) => failure.advice(),
            Self::Usage(_)
            | Self::Invalid(_)
            | Self::NotReached(_)
            | Self::Conflict(_)
            | Self::Denied(_)
            | Self::Interrupted(_)
            | Self::Other(_)
            | Self::Several(_)
            | Self::Program(_)
            | Self::Closed => String::new(),
        }
    }

    /// The wrong fields of a request that was refused for them.
    fn fields(&self) -> &[FieldProblem] {
        match self {
            Self::Client(ClientError::Refused(refusal))
                if refusal.is(ErrorReason::InvalidFields) =>
            {
                &refusal.fields
            }
            Self::NotRun(failure) => failure.fields(),
            _ => &[],
        }
    }

    fn lines(&self, about: Option<&str>) -> String {
        let red = anstyle::AnsiColor::Red.on_default().bold();
        let about = about.map(|name| format!("{}: ", clean(name))).unwrap_or_default();
        let fields = self.fields();
        let mut message = match fields {
            // The server's sentence names the first few; below, all have a line of their own.
            [_] => "1 field is wrong (INVALID_FIELDS)".to_owned(),
            [_, _, ..] => format!("{} fields are wrong (INVALID_FIELDS)", fields.len()),
            [] => clean(&self.message()),
        };
        let advice = self.advice();
        if !advice.is_empty() {
            message = format!("{}. {advice}", message.trim_end_matches('.'));
        }
        let mut lines = format!("{red}error:{red:#} {about}{message}\n");
        for problem in fields {
            let (field, why) = (clean(&problem.field), clean(&problem.description));
            lines += &format!("  {field}: {why}\n");
        }
        lines
    }

    fn json(&self, about: Option<&str>) -> serde_json::Value {
        let mut error = serde_json::json!({
            "message": self.message(),
            "exitCode": self.exit() as u8,
        });
        if let Some(name) = about {
            error["about"] = name.into();
        }
        let advice = self.advice();
        if !advice.is_empty() {
            error["advice"] = advice.into();
        }
        let client = match self {
            Self::Client(client) => Some(client),
            Self::NotRun(failure) => match &**failure {
                Self::Client(client) => Some(client),
                _ => None,
            },
            _ => None,
        };
        if let Some(client) = client {
            error["code"] = format!("{:?}", client.code()).into();
            if let Some(refusal) = client.refusal() {
                error["reason"] = refusal.reason.clone().into();
                error["metadata"] = serde_json::json!(refusal.metadata);
                error["fields"] = refusal
                    .fields
                    .iter()
                    .map(|f| serde_json::json!({"field": f.field, "description": f.description}))
                    .collect();
            }
        }
        serde_json::json!({ "error": error })
    }
}

#[cfg(test)]
mod tests;
