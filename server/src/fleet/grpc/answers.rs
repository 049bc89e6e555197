//! What an agent's status says of the VM that a call was for. Pure; driven by the link.

use banger_proto::ids::{Epoch, Generation, Version};
use banger_proto::words;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::fleet::link::{Delivery, RefusalReason};

/// What a status of a call for one VM says about that VM, if it is about it.
pub(super) fn about_the_vm(status: &Status) -> Option<Delivery> {
    let refused = |reason| Delivery::Refused {
        reason,
        message: words::sentence(status.message().to_owned()),
    };
    match status.code() {
        Code::FailedPrecondition => {
            let info = status.get_details_error_info()?;
            if info.reason != "STALE_GENERATION" {
                return Some(refused(RefusalReason::Other));
            }
            let number = |key: &str| info.metadata.get(key)?.parse().ok();
            let seen = Version {
                epoch: Epoch(number("seen_epoch")?),
                generation: Generation(number("seen_generation")?),
            };
            Some(Delivery::Stale { seen })
        }
        Code::InvalidArgument | Code::ResourceExhausted | Code::OutOfRange => {
            let info = status.get_details_error_info();
            Some(refused(info.map_or(RefusalReason::Other, |info| RefusalReason::of(&info.reason))))
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Aborted
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => None,
    }
}
