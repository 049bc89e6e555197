//! A refusal by the server: gRPC code, reason, and every bad field at once.

use std::collections::BTreeMap;
use std::fmt;

use banger_proto::v1::ErrorReason;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::Call;

/// The server's answer to a call it did not carry out.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Which call.
    pub call: Call,
    /// The server, as a URL.
    pub server: String,
    /// The gRPC code.
    pub code: Code,
    /// The reason, as sent: "VM_NOT_FOUND". Empty when the server sent none.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Every field that is wrong.
    pub fields: Vec<FieldProblem>,
    /// What the server says beside the reason, such as the name of a host.
    pub metadata: BTreeMap<String, String>,
}

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldProblem {
    /// Path in the request, such as "spec.memory_mib".
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl Refusal {
    pub(super) fn from_status(server: &str, call: Call, status: &tonic::Status) -> Self {
        let details = status.get_error_details();
        let (reason, metadata) = details
            .error_info()
            .map(|info| {
                let metadata = info.metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                (info.reason.clone(), metadata)
            })
            .unwrap_or_default();
        let fields = details
            .bad_request()
            .map(|bad| {
                let problem = |violation: &tonic_types::FieldViolation| FieldProblem {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                };
                bad.field_violations.iter().map(problem).collect()
            })
            .unwrap_or_default();
        Self {
            call,
            server: server.to_owned(),
            code: status.code(),
            reason,
            message: status.message().to_owned(),
            fields,
            metadata,
        }
    }

    /// The reason, when it is one that this client knows.
    #[must_use]
    pub fn known_reason(&self) -> Option<ErrorReason> {
        ErrorReason::from_str_name(&format!("ERROR_REASON_{}", self.reason))
    }

    /// Whether it is this reason.
    #[must_use]
    pub fn is(&self, reason: ErrorReason) -> bool {
        self.known_reason() == Some(reason)
    }

    pub(super) fn advice(&self) -> &'static str {
        match self.known_reason() {
            Some(ErrorReason::TokenInvalid) => {
                "Give the server's token with --token-file, BANGER_TOKEN or a context."
            }
            Some(ErrorReason::NeedsStoppedVm) => "Stop the VM first, or add --allow-restart.",
            Some(ErrorReason::EtagMismatch) => "Read it again and repeat the change.",
            _ => "",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unimplemented = self.code == Code::Unimplemented;
        match (unimplemented, self.message.is_empty()) {
            (true, true) => write!(f, "the server does not have {} yet", self.call.name)?,
            (true, false) => {
                write!(f, "the server does not have this yet: {}", self.message)?;
            }
            (false, true) => write!(f, "{} was refused: {}", self.call.name, self.code)?,
            (false, false) => f.write_str(&self.message)?,
        }
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason)?;
        }
        Ok(())
    }
}
