//! Which columns there are of VMs, hosts, images, tokens and the objects of a host.

pub(crate) mod hosts;
pub(crate) mod objects;
pub(crate) mod tokens;
pub(crate) mod vms;

#[cfg(test)]
mod tests;
