//! Which columns there are of VMs, hosts, images, tokens, the audit and the objects of a host.

pub(crate) mod audit;
pub(crate) mod hosts;
mod limits;
pub(crate) mod objects;
pub(crate) mod placement;
pub(crate) mod tokens;
pub(crate) mod vms;

#[cfg(test)]
mod tests;
