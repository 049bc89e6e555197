//! An update of some fields: which, and what the spec is with them.
//!
//! Two people who change different fields do not get into each other's way, because what a request
//! does not name stays as it is when the request is decided, not as it was when somebody read it.
//! Paths are those of the request (`spec.vcpus`), and of one label (`spec.labels.app`; a key may
//! stand in backticks, as AIP-161 has it). A field that is named and not set gets its default; a
//! label that is named and not given goes.

use super::{ImageDraft, ImageRef, SpecProblem, SpecRefusal, VmSpec, VmSpecDraft};
use crate::model::affinity::AffinityRule;
use crate::model::labels;

/// Most paths of one update.
const MAX_PATHS: usize = 256;

/// The fields of a spec that can be named by themselves.
const FIELDS: [&str; 33] = [
    "spec.vcpus",
    "spec.memory_mib",
    "spec.kernel",
    "spec.root_image",
    "spec.initrd",
    "spec.root_disk_mib",
    "spec.work_disk",
    "spec.boot_args",
    "spec.metadata",
    "spec.network",
    "spec.network.egress",
    "spec.rate_limits",
    "spec.rate_limits.disk_bytes_per_second",
    "spec.rate_limits.disk_ops_per_second",
    "spec.rate_limits.net_rx_bytes_per_second",
    "spec.rate_limits.net_tx_bytes_per_second",
    "spec.limits",
    "spec.limits.cpu_weight",
    "spec.limits.cpu_millis",
    "spec.limits.io_read_bytes_per_second",
    "spec.limits.io_write_bytes_per_second",
    "spec.limits.io_read_ops_per_second",
    "spec.limits.io_write_ops_per_second",
    "spec.labels",
    "spec.placement",
    "spec.placement.host",
    "spec.placement.host_labels",
    "spec.placement.strategy",
    "spec.placement.affinity",
    "spec.placement.priority",
    "spec.placement.pool",
    "spec.placement.scheduler_name",
    "spec.restart_policy",
];

/// Which parts of a spec a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecMask {
    fields: Vec<&'static str>,
    labels: Vec<String>,
}

impl SpecMask {
    /// Of the paths of a request.
    ///
    /// # Errors
    /// Every path that names nothing.
    pub fn parse(paths: &[String]) -> Result<Self, Vec<SpecProblem>> {
        let problem = |why: String| SpecProblem::new("update_mask", why);
        if paths.len() > MAX_PATHS {
            let why = format!("has {} paths; at most {MAX_PATHS} are allowed", paths.len());
            return Err(vec![problem(why)]);
        }
        let mut mask = Self { fields: Vec::new(), labels: Vec::new() };
        let mut problems = Vec::new();
        for path in paths {
            if path == "*" || path == "spec" {
                mask.fields.extend(FIELDS);
            } else if let Some(field) = FIELDS.iter().find(|field| *field == path) {
                mask.fields.push(field);
            } else if let Some(key) = path.strip_prefix("spec.labels.") {
                let bare = key.strip_prefix('`').and_then(|key| key.strip_suffix('`'));
                let key = bare.unwrap_or(key);
                let mut found = Vec::new();
                labels::check_all(&[(key.to_owned(), String::new())].into(), "", &mut found);
                match found.first() {
                    None => mask.labels.push(key.to_owned()),
                    Some((_, why)) => {
                        let shown: String = path.chars().take(80).collect();
                        problems
                            .push(problem(format!("has {shown:?}, which names no label: {why}")));
                    }
                }
            } else {
                // Debug form: it may hold anything.
                let shown: String = path.chars().take(80).collect();
                problems.push(problem(format!("has {shown:?}, which is no field of a spec")));
            }
        }
        if problems.is_empty() { Ok(mask) } else { Err(problems) }
    }

    /// Whether a field is named, itself or with all that is around it.
    fn names(&self, field: &str) -> bool {
        self.fields.iter().any(|named| {
            field.strip_prefix(named).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Whether a field, or a part of it, is named.
    fn touches(&self, field: &str) -> bool {
        self.names(field)
            || self
                .fields
                .iter()
                .any(|named| named.strip_prefix(field).is_some_and(|rest| rest.starts_with('.')))
    }
}

impl VmSpecDraft {
    /// The old spec with the named parts of this one.
    ///
    /// # Errors
    /// As [`VmSpecDraft::check`], of the named parts.
    pub fn over(mut self, old: &VmSpec, mask: &SpecMask) -> Result<VmSpec, SpecRefusal> {
        macro_rules! keep {
            ($($path:literal: $($part:ident).+ = $old:expr;)*) => {
                $(if !mask.names($path) {
                    self.$($part).+ = $old;
                })*
            };
        }
        self.unreadable.retain(|problem| mask.touches(&problem.field));
        let (limits, placement) = (old.rate_limits, old.placement.clone());
        let held = old.limits;
        keep! {
            "spec.vcpus": vcpus = old.vcpus;
            "spec.memory_mib": memory_mib = old.memory_mib;
            "spec.kernel": kernel = Some(draft_of(&old.kernel));
            "spec.root_image": root_image = Some(draft_of(&old.root_image));
            "spec.initrd": initrd = old.initrd.as_ref().map(draft_of);
            "spec.root_disk_mib": root_disk_mib = old.root_disk_mib;
            "spec.work_disk": work_disk_mib = old.work_disk_mib;
            "spec.boot_args": boot_args = old.boot_args.clone();
            "spec.metadata": metadata = None;
            "spec.network.egress": egress = old.egress;
            "spec.network": port_count = 0;
            "spec.network": allow_host_metadata = false;
            "spec.rate_limits.disk_bytes_per_second":
                rate_limits.disk_bytes_per_second = limits.disk_bytes_per_second;
            "spec.rate_limits.disk_ops_per_second":
                rate_limits.disk_ops_per_second = limits.disk_ops_per_second;
            "spec.rate_limits.net_rx_bytes_per_second":
                rate_limits.net_rx_bytes_per_second = limits.net_rx_bytes_per_second;
            "spec.rate_limits.net_tx_bytes_per_second":
                rate_limits.net_tx_bytes_per_second = limits.net_tx_bytes_per_second;
            "spec.limits.cpu_weight": limits.cpu_weight = held.cpu_weight;
            "spec.limits.cpu_millis": limits.cpu_millis = held.cpu_millis;
            "spec.limits.io_read_bytes_per_second":
                limits.io_read_bytes_per_second = held.io_read_bytes_per_second;
            "spec.limits.io_write_bytes_per_second":
                limits.io_write_bytes_per_second = held.io_write_bytes_per_second;
            "spec.limits.io_read_ops_per_second":
                limits.io_read_ops_per_second = held.io_read_ops_per_second;
            "spec.limits.io_write_ops_per_second":
                limits.io_write_ops_per_second = held.io_write_ops_per_second;
            "spec.placement.host": placement_host = placement.host.unwrap_or_default();
            "spec.placement.host_labels": placement_labels = placement.host_labels;
            "spec.placement.strategy": placement_strategy = placement.strategy;
            "spec.placement.affinity":
                affinity = placement.affinity.iter().map(AffinityRule::draft).collect();
            "spec.placement.priority": priority = placement.priority;
            "spec.placement.pool": pool = placement.pool.unwrap_or_default();
            "spec.placement.scheduler_name":
                scheduler = placement.scheduler.unwrap_or_default();
            "spec.restart_policy": restart_policy = old.restart_policy;
        }
        if !mask.names("spec.labels") {
            let given = std::mem::replace(&mut self.labels, old.labels.clone());
            for key in &mask.labels {
                match given.get(key) {
                    Some(value) => self.labels.insert(key.clone(), value.clone()),
                    None => self.labels.remove(key),
                };
            }
        }
        let mut new = self.check()?;
        // What is kept is kept to the letter: a document as it was written, images as they are
        // pinned.
        if !mask.names("spec.metadata") {
            new.metadata.clone_from(&old.metadata);
        }
        if !mask.names("spec.kernel") {
            new.kernel.clone_from(&old.kernel);
        }
        if !mask.names("spec.root_image") {
            new.root_image.clone_from(&old.root_image);
        }
        if !mask.names("spec.initrd") {
            new.initrd.clone_from(&old.initrd);
        }
        Ok(new)
    }
}

fn draft_of(image: &ImageRef) -> ImageDraft {
    ImageDraft { name: image.name.clone(), sha256: image.sha256.clone().unwrap_or_default() }
}

#[cfg(test)]
mod tests;
