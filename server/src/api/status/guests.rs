//! Errors of calls that end in a guest: what its host or its agent has said, and that neither says
//! anything any more.

use std::collections::HashMap;

use banger_proto::ids::VmId;
use banger_proto::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{DOMAIN, clipped, error, word};
use crate::fleet::guests::GuestError;
use crate::model::audience::Audience;

/// Whose guest was asked.
#[derive(Debug, Clone, Copy)]
pub struct GuestOf<'a> {
    /// The VM's name.
    pub vm: &'a str,
    /// The VM's id, by which agents name it.
    pub id: VmId,
    /// The name of its host.
    pub host: &'a str,
    /// Whether that host only pretends.
    pub simulated: bool,
    /// Who is told.
    pub to: Audience,
}

/// The host of a VM can't be reached; why is not for everybody.
pub fn guest_lost(vm: &str, host: &str, why: Option<&str>) -> Status {
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    let message = format!("host {host} of VM {vm} can't be reached{why}");
    error(Code::Unavailable, ErrorReason::HostUnreachable, message)
}

/// What an agent says of a VM that it holds nothing of.
const NOT_HELD: &str = "ASSIGNMENT_NOT_FOUND";

/// A stream to a guest came to nothing, or to an end that is none.
pub fn guest_failed(guest: &GuestOf<'_>, failure: &GuestError) -> Status {
    let GuestOf { vm, id, host, simulated, to } = *guest;
    // The network's words have the address of the agent in them.
    let why = |words: String| to.sees_hosts.then_some(words);
    match failure {
        GuestError::Link(lost) => guest_lost(vm, host, why(lost.to_string()).as_deref()),
        GuestError::Silent { after } => {
            let message = format!(
                "the guest of VM {vm} on host {host} did not begin to answer within {} s; it hangs, \
                 or is very busy",
                after.as_secs()
            );
            error(Code::Unavailable, ErrorReason::GuestAgentUnreachable, message)
        }
        // The agent was not told of the VM yet, or is done with it.
        GuestError::Said { reason, .. } if reason == NOT_HELD => {
            let message = format!("host {host} holds nothing of VM {vm} at present");
            error(Code::FailedPrecondition, ErrorReason::VmNotPlaced, message)
        }
        // What shuts down is the agent, not this server.
        GuestError::Said { reason, message, .. } if reason == word(ErrorReason::ShuttingDown) => {
            guest_lost(vm, host, why(message.clone()).as_deref())
        }
        // Its words go on with its own reason, which may be newer than this server.
        GuestError::Said { code, reason, message } => {
            let code = own_of(*code);
            let details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, HashMap::new());
            // Agents know VMs by their ids, people by their names.
            let message = &to.told_by_guest(reason, message);
            let mut message = match message.strip_prefix(&format!("VM {id}: ")) {
                Some(rest) => format!("VM {vm}: {rest}"),
                None => message.clone(),
            };
            if simulated {
                message += &format!(" (host {host} is simulated: no guest runs there)");
            }
            Status::with_error_details(code, clipped(message), details)
        }
    }
}

/// The code of an agent's refusal as the server's own: who may call is the server's to say, so that
/// no host and no guest makes it look as if the caller had been refused.
fn own_of(code: Code) -> Code {
    match code {
        Code::Unauthenticated | Code::PermissionDenied => Code::FailedPrecondition,
        code => code,
    }
}
