//! The stored form of a spec: what the database holds, and what the fingerprint of a create hashes.
//!
//! Its types are not those that the server works with, and they never change, whatever becomes of
//! [`VmSpec`]: a create that is repeated after an upgrade has to hash to what it hashed before, or
//! it would be taken for another one and refused.
//!
//! So a field that comes later gets a form of its own, `SpecV2`, with `"form": 2` in its text, and
//! two rules keep what is there as it is:
//!
//! - A spec is written in the oldest form that can say all of it. One that leaves the new field at
//!   its default is written, and hashed, as it always was.
//! - A text is read by the form it names, and what an older form could not say is filled in with a
//!   value written here, never with today's default.
//!
//! What a request leaves open is filled in before the spec is stored or hashed
//! ([`super::VmSpecDraft::check`]), so a default that changes needs the old one kept for the
//! fingerprints of creates that came before. The tests hold the text and the hash of specs.

mod third;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use self::third::{HostSideV3, SpecV3};
use super::{Egress, ImageRef, Placement, RateLimits, RestartPolicy, VmSpec};
use crate::model::affinity::{self, AffinityDraft, AffinityRule};
use crate::model::labels::Labels;
use crate::model::strategy::Strategy;

/// The second form: the first, and what it could not say of where a VM may run.
#[derive(Debug, Serialize, Deserialize)]
struct SpecV2<'a> {
    /// 2.
    form: u8,
    #[serde(flatten)]
    first: SpecV1<'a>,
    scheduling: SchedulingV2,
}

/// What a text of the first form leaves at these defaults.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct SchedulingV2 {
    /// `None`: as the fleet is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strategy: Option<StrategyV2>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    affinity: Vec<AffinityV2>,
    #[serde(default, skip_serializing_if = "is_zero")]
    priority: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scheduler: Option<String>,
}

/// A rule; the selectors are as they were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct AffinityV2 {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    vms: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    hosts: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    topology: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    anti: bool,
    /// 0: hard.
    #[serde(default, skip_serializing_if = "is_none_of")]
    weight: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum StrategyV2 {
    Spread,
    Pack,
}

/// Which form a text is of; one that names none is of the first.
#[derive(Deserialize)]
struct FormOf {
    #[serde(default)]
    form: u8,
}

/// The first form. Texts of it name no form.
#[derive(Debug, Serialize, Deserialize)]
struct SpecV1<'a> {
    vcpus: u32,
    memory_mib: u32,
    kernel: ImageV1<'a>,
    root_image: ImageV1<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    initrd: Option<ImageV1<'a>>,
    root_disk_mib: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    work_disk_mib: Option<u32>,
    boot_args: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Cow<'a, str>>,
    egress: EgressV1,
    #[serde(default, skip_serializing_if = "RateLimitsV1::is_unbounded")]
    rate_limits: RateLimitsV1,
    #[serde(default, skip_serializing_if = "no_labels")]
    labels: Cow<'a, Labels>,
    #[serde(default, skip_serializing_if = "PlacementV1::is_anywhere")]
    placement: PlacementV1<'a>,
    restart_policy: RestartPolicyV1,
}

#[derive(Debug, Serialize, Deserialize)]
struct ImageV1<'a> {
    name: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stored: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum EgressV1 {
    Nat,
    None,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum RestartPolicyV1 {
    Never,
    OnFailure,
    Always,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct RateLimitsV1 {
    disk_bytes_per_second: u64,
    disk_ops_per_second: u64,
    net_rx_bytes_per_second: u64,
    net_tx_bytes_per_second: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct PlacementV1<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "no_labels")]
    host_labels: Cow<'a, Labels>,
}

impl RateLimitsV1 {
    fn is_unbounded(&self) -> bool {
        *self == Self::default()
    }
}

impl PlacementV1<'_> {
    fn is_anywhere(&self) -> bool {
        self.host.is_none() && self.host_labels.is_empty()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with what the field is")]
fn is_zero(priority: &i32) -> bool {
    *priority == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with what the field is")]
fn is_none_of(weight: &u32) -> bool {
    *weight == 0
}

#[expect(clippy::ptr_arg, reason = "serde calls it with what the field is")]
fn no_labels(labels: &Cow<'_, Labels>) -> bool {
    labels.is_empty()
}

impl VmSpec {
    /// The stored form: the oldest that says all of it.
    pub fn to_json(&self) -> String {
        let first = SpecV1::of(self);
        let scheduling = SchedulingV2::of(&self.placement);
        let host = HostSideV3::of(self);
        let written = if host != HostSideV3::default() {
            serde_json::to_string(&SpecV3 { form: 3, first, scheduling, host })
        } else if scheduling != SchedulingV2::default() {
            serde_json::to_string(&SpecV2 { form: 2, first, scheduling })
        } else {
            serde_json::to_string(&first)
        };
        written.expect("a spec has only strings, numbers and maps of strings")
    }

    /// Reads the stored form back. What was stored was checked when it came in.
    ///
    /// # Errors
    /// When the text is no spec, or of a form that a later release writes.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        match serde_json::from_str::<FormOf>(text)?.form {
            0 => serde_json::from_str::<SpecV1<'_>>(text).map(SpecV1::into_spec),
            2 => {
                let SpecV2 { first, scheduling, .. } = serde_json::from_str(text)?;
                let mut spec = first.into_spec();
                scheduling.put_into(&mut spec.placement)?;
                Ok(spec)
            }
            3 => {
                let SpecV3 { first, scheduling, host, .. } = serde_json::from_str(text)?;
                let mut spec = first.into_spec();
                scheduling.put_into(&mut spec.placement)?;
                host.put_into(&mut spec);
                Ok(spec)
            }
            form => Err(serde::de::Error::custom(format!("form {form} of a spec is not known"))),
        }
    }
}

impl SchedulingV2 {
    fn of(placement: &Placement) -> Self {
        // Whole but for what the first form has, so that a new field is not left out.
        let Placement { host: _, host_labels: _, strategy, affinity, priority, pool, scheduler } =
            placement;
        Self {
            strategy: strategy.map(|strategy| match strategy {
                Strategy::Spread => StrategyV2::Spread,
                Strategy::Pack => StrategyV2::Pack,
            }),
            affinity: affinity.iter().map(AffinityV2::of).collect(),
            priority: *priority,
            pool: pool.clone(),
            scheduler: scheduler.clone(),
        }
    }

    fn put_into(self, placement: &mut Placement) -> Result<(), serde_json::Error> {
        placement.strategy = self.strategy.map(|strategy| match strategy {
            StrategyV2::Spread => Strategy::Spread,
            StrategyV2::Pack => Strategy::Pack,
        });
        let drafts = self.affinity.into_iter().map(AffinityV2::into_draft).collect();
        let mut problems = Vec::new();
        placement.affinity = affinity::check_all(drafts, "affinity", &mut problems);
        if let Some((field, why)) = problems.first() {
            return Err(serde::de::Error::custom(format!("{field} {why}")));
        }
        placement.priority = self.priority;
        placement.pool = self.pool;
        placement.scheduler = self.scheduler;
        Ok(())
    }
}

impl AffinityV2 {
    fn of(rule: &AffinityRule) -> Self {
        let AffinityDraft { vm_selector, host_selector, topology, anti, weight } = rule.draft();
        Self { vms: vm_selector, hosts: host_selector, topology, anti, weight }
    }

    fn into_draft(self) -> AffinityDraft {
        let Self { vms, hosts, topology, anti, weight } = self;
        AffinityDraft { vm_selector: vms, host_selector: hosts, topology, anti, weight }
    }
}

impl<'a> SpecV1<'a> {
    fn of(spec: &'a VmSpec) -> Self {
        // Whole, so that a new field is not left out: it asks for a form of its own.
        let VmSpec {
            vcpus,
            memory_mib,
            kernel,
            root_image,
            initrd,
            root_disk_mib,
            work_disk_mib,
            boot_args,
            metadata,
            egress,
            rate_limits,
            // Of the third form.
            limits: _,
            labels,
            placement,
            restart_policy,
        } = spec;
        let RateLimits {
            disk_bytes_per_second,
            disk_ops_per_second,
            net_rx_bytes_per_second,
            net_tx_bytes_per_second,
        } = *rate_limits;
        // The rest of it is of the second form.
        let Placement { host, host_labels, .. } = placement;
        Self {
            vcpus: *vcpus,
            memory_mib: *memory_mib,
            kernel: ImageV1::of(kernel),
            root_image: ImageV1::of(root_image),
            initrd: initrd.as_ref().map(ImageV1::of),
            root_disk_mib: *root_disk_mib,
            work_disk_mib: *work_disk_mib,
            boot_args: Cow::Borrowed(boot_args),
            metadata: metadata.as_deref().map(Cow::Borrowed),
            egress: match egress {
                Egress::Nat => EgressV1::Nat,
                Egress::None => EgressV1::None,
            },
            rate_limits: RateLimitsV1 {
                disk_bytes_per_second,
                disk_ops_per_second,
                net_rx_bytes_per_second,
                net_tx_bytes_per_second,
            },
            labels: Cow::Borrowed(labels),
            placement: PlacementV1 {
                host: host.as_deref().map(Cow::Borrowed),
                host_labels: Cow::Borrowed(host_labels),
            },
            restart_policy: match restart_policy {
                RestartPolicy::Never => RestartPolicyV1::Never,
                RestartPolicy::OnFailure => RestartPolicyV1::OnFailure,
                RestartPolicy::Always => RestartPolicyV1::Always,
            },
        }
    }

    fn into_spec(self) -> VmSpec {
        let limits = self.rate_limits;
        VmSpec {
            vcpus: self.vcpus,
            memory_mib: self.memory_mib,
            kernel: self.kernel.into_image(),
            root_image: self.root_image.into_image(),
            initrd: self.initrd.map(ImageV1::into_image),
            root_disk_mib: self.root_disk_mib,
            work_disk_mib: self.work_disk_mib,
            boot_args: self.boot_args.into_owned(),
            metadata: self.metadata.map(Cow::into_owned),
            egress: match self.egress {
                EgressV1::Nat => Egress::Nat,
                EgressV1::None => Egress::None,
            },
            rate_limits: RateLimits {
                disk_bytes_per_second: limits.disk_bytes_per_second,
                disk_ops_per_second: limits.disk_ops_per_second,
                net_rx_bytes_per_second: limits.net_rx_bytes_per_second,
                net_tx_bytes_per_second: limits.net_tx_bytes_per_second,
            },
            limits: super::ResourceLimits::default(),
            labels: self.labels.into_owned(),
            placement: Placement {
                host: self.placement.host.map(Cow::into_owned),
                host_labels: self.placement.host_labels.into_owned(),
                ..Placement::default()
            },
            restart_policy: match self.restart_policy {
                RestartPolicyV1::Never => RestartPolicy::Never,
                RestartPolicyV1::OnFailure => RestartPolicy::OnFailure,
                RestartPolicyV1::Always => RestartPolicy::Always,
            },
        }
    }
}

impl<'a> ImageV1<'a> {
    fn of(image: &'a ImageRef) -> Self {
        let ImageRef { name, sha256, stored } = image;
        Self {
            name: Cow::Borrowed(name),
            sha256: sha256.as_deref().map(Cow::Borrowed),
            stored: *stored,
        }
    }

    fn into_image(self) -> ImageRef {
        ImageRef {
            name: self.name.into_owned(),
            sha256: self.sha256.map(Cow::into_owned),
            stored: self.stored,
        }
    }
}

#[cfg(test)]
mod tests;
