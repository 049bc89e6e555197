//! Loop devices and snapshots of the fake kernel.

mod loops;
mod snapshots;
