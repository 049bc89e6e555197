//! Block devices: loop devices over files, and the snapshots over those.

pub(super) mod loops;
pub(super) mod snapshots;
