//! Files below the agent's own directories: paths that cannot leave them ([`beneath`]), the removal
//! of trees that somebody hostile may have made, and the scratch directory of each VM.

pub(crate) mod beneath;
pub(super) mod removal;
pub(super) mod scratch;
