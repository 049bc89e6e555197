//! Which columns there are of VMs, hosts, images and the objects of a host.

pub(crate) mod hosts;
pub(crate) mod objects;
pub(crate) mod vms;

#[cfg(test)]
mod tests;
