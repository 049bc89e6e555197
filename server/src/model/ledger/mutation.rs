//! What can be asked of the ledger and what each comes to.
//!
//! The edge and the reconciler make mutations; the store's writer hands each, with its
//! [`Caller`], to the ledger. Each is a type of its own that names its
//! answer, so that nobody meets the answer of another call. Ids, times and secrets are made by the
//! caller, so that deciding is a function of values. Why one is refused is in [`super::refusal`].

use std::sync::Arc;
use std::time::Duration;

use banger_proto::ids::{HostId, VmId};
use jiff::Timestamp;

pub use super::images::{DeleteImage, PutImage};
use super::join_token::JoinToken;
use super::notes::{Audit, BeginSweep, Record, RecordSweep};
use super::outcome::{Outcome, Revoked};
pub use super::projects::{CreateProject, DeleteProject, UpdateProject};
use super::references::{HostRef, IfMatch, VmRef};
use super::renewal::{ConfirmCertificate, OfferCertificate};
use super::revocation::RevokeHost;
pub use super::tokens::{AddToken, CreateToken, NoteTokenUses, RevokeToken};
use super::{Decided, Ledger, Refusal};
use crate::model::caller::Caller;
use crate::model::capacity::AcceptedCapacity;
use crate::model::host::HostRecord;
use crate::model::image::ImageRecord;
use crate::model::intent::{Desired, VmIntent};
use crate::model::labels::LabelChange;
use crate::model::project::{ProjectName, ProjectRecord};
use crate::model::spec::{SpecMask, VmSpec, VmSpecDraft};
use crate::model::subnet::Subnet;
use crate::model::token::TokenRecord;

/// Something that can be asked of the ledger.
pub trait Mutation: Into<AnyMutation> {
    /// What it comes to, once its changes are stored.
    type Answer: Send + 'static;

    /// Its answer, out of what the ledger said. `None` would be the answer of another mutation: a
    /// defect.
    fn answer(outcome: Outcome) -> Option<Self::Answer>;
}

/// A VM after a mutation of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmAnswer {
    /// The row; its last one when the VM is gone.
    pub intent: Arc<VmIntent>,
    /// Whether the mutation changed anything.
    pub changed: bool,
}

impl VmAnswer {
    fn of(outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::Vm { intent, changed } => Some(Self { intent, changed }),
            Outcome::VmGone(intent) => Some(Self { intent, changed: true }),
            _ => None,
        }
    }
}

/// What came of looking for hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// How many VMs were placed by this mutation.
    pub placed: usize,
    /// How many are left without a host.
    pub pending: usize,
    /// Whether the last of them has been looked at; else the next mutation goes on.
    pub searched: bool,
}

/// The one list of mutations: each with its answer, how it is decided, and where its answer is in
/// what was decided.
macro_rules! mutations {
    ($($name:ident -> $answer:ty:
        |$ledger:ident, $mutation:ident, $caller:ident| $decide:expr, |$outcome:ident| $read:expr;
    )*) => {
        /// Any mutation: as the writer's queue and the ledger take them.
        #[derive(Debug, Clone)]
        pub enum AnyMutation {
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name($name),)*
        }

        impl AnyMutation {
            /// What it comes to.
            pub(super) fn decide(
                &self,
                ledger: &Ledger,
                caller: &Caller,
            ) -> Result<Decided, Refusal> {
                match self {
                    $(Self::$name(mutation) => {
                        let ($ledger, $mutation, $caller) = (ledger, mutation, caller);
                        let _ = ($ledger, $caller);
                        $decide
                    })*
                }
            }
        }

        $(
            impl From<$name> for AnyMutation {
                fn from(mutation: $name) -> Self {
                    Self::$name(mutation)
                }
            }

            impl Mutation for $name {
                type Answer = $answer;

                fn answer($outcome: Outcome) -> Option<$answer> {
                    $read
                }
            }
        )*
    };
}

mutations! {
    CreateVm -> VmAnswer:
        |ledger, create, caller| ledger.create_vm(create, caller),
        |outcome| VmAnswer::of(outcome);
    UpdateVm -> VmAnswer:
        |ledger, update, caller| ledger.update_vm(update, caller),
        |outcome| VmAnswer::of(outcome);
    SetPower -> VmAnswer:
        |ledger, wish, caller| ledger.set_power(wish, caller),
        |outcome| VmAnswer::of(outcome);
    DeleteVm -> VmAnswer:
        |ledger, delete, caller| ledger.delete_vm(delete, caller),
        |outcome| VmAnswer::of(outcome);
    Forget -> VmAnswer:
        |ledger, forget, caller| ledger.forget_vm(forget.vm, caller),
        |outcome| VmAnswer::of(outcome);
    BindVm -> VmAnswer:
        |ledger, bind, caller| ledger.bind_vm(bind, caller),
        |outcome| VmAnswer::of(outcome);
    Place -> VmAnswer:
        |ledger, place, caller| ledger.place_vm(place.vm, caller),
        |outcome| VmAnswer::of(outcome);
    PlacePending -> Placed:
        |ledger, _place, caller| Ok(ledger.place_pending(caller)),
        |outcome| match outcome {
            Outcome::Placed { placed, pending, rest_after } => {
                Some(Placed { placed, pending, searched: rest_after.is_none() })
            }
            _ => None,
        };
    Record -> ():
        |ledger, record, caller| Ok(record.decide()),
        |outcome| recorded(&outcome);
    BeginSweep -> bool:
        |ledger, begin, caller| Ok(begin.decide()),
        |outcome| match outcome {
            Outcome::Sweep { begins, .. } => Some(begins),
            _ => None,
        };
    RecordSweep -> ():
        |ledger, record, caller| Ok(record.decide()),
        |outcome| recorded(&outcome);
    CreateJoinToken -> ():
        |ledger, create, caller| ledger.create_join_token(&create.0, caller),
        |outcome| matches!(outcome, Outcome::JoinTokenKept).then_some(());
    JoinHost -> Arc<HostRecord>:
        |ledger, join, caller| ledger.join_host(join, caller),
        |outcome| host(outcome);
    UpdateHost -> Arc<HostRecord>:
        |ledger, update, caller| ledger.update_host(update, caller),
        |outcome| host(outcome);
    KeepFirstCapacities -> ():
        |ledger, _keep, caller| Ok(ledger.keep_first_capacities()),
        |outcome| recorded(&outcome);
    SetCordon -> Arc<HostRecord>:
        |ledger, cordon, caller| ledger.set_cordon(cordon, caller),
        |outcome| host(outcome);
    OfferCertificate -> Arc<HostRecord>:
        |ledger, offer, caller| ledger.offer_certificate(offer),
        |outcome| host(outcome);
    ConfirmCertificate -> Arc<HostRecord>:
        |ledger, confirm, caller| ledger.confirm_certificate(confirm),
        |outcome| host(outcome);
    RevokeHost -> Arc<HostRecord>:
        |ledger, revoke, caller| ledger.revoke_host(revoke, caller),
        |outcome| host(outcome);
    DeleteHost -> Arc<HostRecord>:
        |ledger, delete, caller| ledger.delete_host(delete, caller),
        |outcome| host(outcome);
    PutImage -> Arc<ImageRecord>:
        |ledger, put, caller| ledger.put_image(put, caller),
        |outcome| image(outcome);
    DeleteImage -> Arc<ImageRecord>:
        |ledger, delete, caller| ledger.delete_image(&delete.image, caller),
        |outcome| image(outcome);
    CreateProject -> Arc<ProjectRecord>:
        |ledger, create, caller| ledger.create_project(&create.0),
        |outcome| project(outcome);
    UpdateProject -> Arc<ProjectRecord>:
        |ledger, update, caller| ledger.update_project(update, caller),
        |outcome| project(outcome);
    DeleteProject -> Arc<ProjectRecord>:
        |ledger, delete, caller| ledger.delete_project(&delete.0, caller),
        |outcome| project(outcome);
    CreateToken -> Arc<TokenRecord>:
        |ledger, create, caller| ledger.create_token(&create.0, caller),
        |outcome| token(outcome);
    AddToken -> Arc<TokenRecord>:
        |ledger, add, caller| ledger.add_token(&add.0),
        |outcome| token(outcome);
    RevokeToken -> Revoked:
        |ledger, revoke, caller| ledger.revoke_token(revoke, caller),
        |outcome| revoked(outcome);
    Audit -> ():
        |ledger, audit, caller| Ok(audit.decide()),
        |outcome| recorded(&outcome);
    NoteTokenUses -> ():
        |ledger, note, caller| Ok(ledger.note_token_uses(note)),
        |outcome| recorded(&outcome);
}

/// Whoever holds a mutation without knowing which takes whatever it comes to.
impl Mutation for AnyMutation {
    type Answer = Outcome;

    fn answer(outcome: Outcome) -> Option<Outcome> {
        Some(outcome)
    }
}

fn recorded(outcome: &Outcome) -> Option<()> {
    matches!(outcome, Outcome::Recorded).then_some(())
}

fn host(outcome: Outcome) -> Option<Arc<HostRecord>> {
    match outcome {
        Outcome::Host(record) | Outcome::HostGone(record) => Some(record),
        _ => None,
    }
}

fn image(outcome: Outcome) -> Option<Arc<ImageRecord>> {
    match outcome {
        Outcome::Image { image, .. } | Outcome::ImageGone(image) => Some(image),
        _ => None,
    }
}

fn project(outcome: Outcome) -> Option<Arc<ProjectRecord>> {
    match outcome {
        Outcome::Project(project) | Outcome::ProjectGone(project) => Some(project),
        _ => None,
    }
}

fn token(outcome: Outcome) -> Option<Arc<TokenRecord>> {
    match outcome {
        Outcome::Token(token) => Some(token),
        _ => None,
    }
}

fn revoked(outcome: Outcome) -> Option<Revoked> {
    match outcome {
        Outcome::TokenGone(revoked) => Some(revoked),
        // Of a repetition.
        Outcome::Token(token) => Some(Revoked { token, made: Vec::new(), join_tokens: 0 }),
        _ => None,
    }
}

/// Give a VM another spec.
#[derive(Debug, Clone)]
pub struct UpdateVm {
    pub vm: VmRef,
    /// Precondition.
    pub etag: IfMatch,
    pub spec: NewSpec,
    /// Allow one restart where a changed field needs a stopped VM.
    pub allow_restart: bool,
}

/// What a spec is to become.
#[derive(Debug, Clone)]
pub enum NewSpec {
    /// This one, whatever it was.
    Whole(Arc<VmSpec>),
    /// What it is when the update is decided, with the named parts of this.
    Parts(Box<VmSpecDraft>, SpecMask),
}

/// Want another power state.
#[derive(Debug, Clone)]
pub struct SetPower {
    pub vm: VmRef,
    /// Precondition.
    pub etag: IfMatch,
    /// Which state, and on which terms.
    pub power: Power,
}

/// Want a VM gone.
#[derive(Debug, Clone)]
pub struct DeleteVm {
    pub vm: VmRef,
    /// Precondition.
    pub etag: IfMatch,
}

/// Nothing of a VM is left on its host: forget it. Refused unless it is wanted absent.
#[derive(Debug, Clone)]
pub struct Forget {
    pub vm: VmId,
}

/// Look for a host for one VM that has none.
#[derive(Debug, Clone)]
pub struct Place {
    pub vm: VmId,
}

/// Give a VM that has no host this one.
#[derive(Debug, Clone)]
pub struct BindVm {
    pub vm: VmRef,
    pub host: HostRef,
    /// Precondition.
    pub etag: IfMatch,
}

/// Look for hosts for VMs that have none, in their order: so many with one mutation, the next ones
/// with the next.
#[derive(Debug, Clone, Copy)]
pub struct PlacePending;

/// Keep a join token.
#[derive(Debug, Clone)]
pub struct CreateJoinToken(pub JoinToken);

/// Store what hosts said first that they have, where nothing of it is stored.
#[derive(Debug, Clone, Copy)]
pub struct KeepFirstCapacities;

/// Change a host's labels, address, overcommit or accepted capacity.
#[derive(Debug, Clone)]
pub struct UpdateHost {
    pub host: HostRef,
    /// Precondition.
    pub etag: IfMatch,
    /// What becomes of its labels.
    pub labels: LabelChange,
    /// `None`: as it is.
    pub agent_address: Option<String>,
    /// `None`: as it is; `Some(None)`: as all hosts. In thousandths.
    pub vcpu_overcommit: Option<Option<u32>>,
    /// The same of memory.
    pub memory_overcommit: Option<Option<u32>>,
    /// `None`: as it is.
    pub accepted: Option<AcceptedCapacity>,
}

/// Keep further VMs off a host, or let them on again.
#[derive(Debug, Clone)]
pub struct SetCordon {
    pub host: HostRef,
    /// Precondition.
    pub etag: IfMatch,
    /// Whether to keep them off.
    pub cordoned: bool,
}

/// Forget a host that holds no VMs.
#[derive(Debug, Clone)]
pub struct DeleteHost {
    pub host: HostRef,
    /// Precondition.
    pub etag: IfMatch,
}

#[derive(Debug, Clone)]
pub struct CreateVm {
    /// The id it gets: chosen by the client, or made by the edge.
    pub id: VmId,
    /// Whether the client chose the id: only then may it be taken.
    pub id_is_given: bool,
    /// The request id when it is not the id.
    pub request_id: Option<VmId>,
    /// Checked name; empty: made from the id.
    pub name: String,
    /// Which it is to belong to.
    pub project: ProjectName,
    /// The wanted shape.
    pub spec: Arc<VmSpec>,
    /// The wanted power state; not [`Desired::Absent`].
    pub desired: Desired,
}

/// A wish for a power state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Run.
    Start {
        /// The VM was seen to have ended by itself: make a new process though it is wanted running
        /// already.
        again: bool,
    },
    Stop {
        /// How long the guest has to shut down by itself.
        grace: Duration,
    },
    /// Stop and start once.
    Reboot {
        /// How long the guest has to shut down by itself.
        grace: Duration,
        /// Make the root disk anew.
        reset_root_disk: bool,
    },
    Pause,
    /// Run again after a pause.
    Resume,
}

/// A host to admit.
#[derive(Debug, Clone)]
pub struct JoinHost {
    /// Public part of the token.
    pub token_id: String,
    /// sha256 of the secret part presented.
    pub secret_sha256: [u8; 32],
    /// sha256 of the public key in the certificate request: the same key may use the token again,
    /// because its first answer may have been lost.
    pub key_sha256: [u8; 32],
    /// The id a new host gets.
    pub new_id: HostId,
    /// Set when a known host joins again.
    pub known_id: Option<HostId>,
    /// Checked name.
    pub name: String,
    /// Checked `address:port`.
    pub agent_address: String,
    /// Networks that the machine uses itself.
    pub used_networks: Vec<Subnet>,
    /// When the certificate that is about to be signed expires.
    pub certificate_expires_at: Timestamp,
    /// sha256 of the CA that signs it.
    pub ca_sha256: [u8; 32],
}
