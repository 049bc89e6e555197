//! In which order VMs that wait for a host have their turn.

use std::cmp::Reverse;

use banger_proto::ids::VmId;
use jiff::Timestamp;

use crate::model::intent::VmIntent;

/// Where a VM stands among those that wait: the highest priority goes first, and of equals the
/// oldest.
pub(super) type Turn = (Reverse<i32>, Timestamp, VmId);

/// The turn of a VM.
pub(super) fn turn(vm: &VmIntent) -> Turn {
    (Reverse(vm.spec.placement().priority), vm.created_at, vm.id)
}
