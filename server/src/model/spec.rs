//! The shape of a VM: what a request says, and what it means once checked.
//!
//! The edge fills a [`VmSpecDraft`], [`VmSpecDraft::check`] fills in the defaults and answers every
//! problem at once, each with its field. A [`VmSpec`] can't be invalid: its fields are private and
//! there is no other way to one, but for reading back what was [stored].

mod boot;
mod changes;
mod limits;
mod merge;
mod read;
mod stored;

use banger_proto::bounds::{MAX_METADATA_BYTES, MEMORY_MIB, ROOT_DISK_MIB, VCPUS, WORK_DISK_MIB};

pub use changes::{FieldChange, TakesEffect};
pub use limits::ResourceLimits;
pub use merge::SpecMask;

use super::affinity::{self, AffinityDraft, AffinityRule};
use super::labels::{self, Labels};
use super::names;
use super::strategy::Strategy;

/// Used when a spec leaves the kernel command line open: a serial console, and a guest that panics
/// or reboots ends its VMM process, which is how a reboot of the guest is seen from outside.
pub const DEFAULT_BOOT_ARGS: &str = "console=ttyS0 reboot=k panic=1";

/// What a priority may be.
const PRIORITIES: std::ops::RangeInclusive<i32> = -1000..=1000;

/// One thing wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecProblem {
    /// Path of the field, such as `spec.kernel.name`.
    pub field: String,
    /// What is wrong with it, as a sentence without the field's name.
    pub description: String,
}

impl SpecProblem {
    /// From its two parts.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

/// Why a draft is no spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpecRefusal {
    /// All problems, in the order of the fields.
    Invalid(Vec<SpecProblem>),
    /// Nothing is wrong, but these fields are not there yet.
    NotImplemented(Vec<&'static str>),
}

/// What a guest may reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Egress {
    /// Everything beyond the host's uplink, by address translation.
    #[default]
    Nat,
    None,
}

/// What to do when the VMM process ends though the VM should run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Leave it.
    #[default]
    Never,
    /// Start it again when it crashed.
    OnFailure,
    /// Start it again however it ended.
    Always,
}

/// An image of the server, or a file in the host's image directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRef {
    /// The image's name, or the file's without any path.
    pub name: String,
    /// The digest the file must have, in lower case; `None`: any.
    pub sha256: Option<String>,
    /// It is an image of the server, pinned to the content with this digest.
    pub stored: bool,
}

impl ImageRef {
    /// A kernel that a request leaves to the root image.
    fn open() -> Self {
        Self { name: String::new(), sha256: None, stored: false }
    }

    /// An image of the server, pinned.
    pub fn stored(name: &str, sha256: &str) -> Self {
        Self { name: name.to_owned(), sha256: Some(sha256.to_owned()), stored: true }
    }

    /// The digest of the content that the server keeps for it; `None` for a file of the host.
    pub fn stored_digest(&self) -> Option<&str> {
        self.sha256.as_deref().filter(|_| self.stored)
    }
}

/// Bounds on throughput; zero means no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Bytes a second to and from each disk.
    pub disk_bytes_per_second: u64,
    /// Operations a second on each disk.
    pub disk_ops_per_second: u64,
    /// Bytes a second received by the guest.
    pub net_rx_bytes_per_second: u64,
    /// Bytes a second sent by the guest.
    pub net_tx_bytes_per_second: u64,
}

/// Where a VM may run; with all at their defaults, on any host that is in no pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Placement {
    /// A host by id or name; no other is tried.
    pub host: Option<String>,
    /// Labels the host must all have.
    pub host_labels: Labels,
    /// In which order hosts are filled; `None`: as the fleet is set.
    pub strategy: Option<Strategy>,
    /// What hosts are to be like, and near or apart from which VMs.
    pub affinity: Vec<AffinityRule>,
    /// Of VMs that wait for a host the one with the highest is placed first.
    pub priority: i32,
    /// The pool that the host is in; `None`: in none.
    pub pool: Option<String>,
    /// Who finds the host; `None`: the server.
    pub scheduler: Option<String>,
}

/// An image as a request names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageDraft {
    /// May be anything.
    pub name: String,
    /// May be anything; empty means not given.
    pub sha256: String,
}

/// A spec as a request says it. Zero and empty mean "not said".
#[derive(Debug, Clone, Default)]
pub struct VmSpecDraft {
    /// Number of vCPUs.
    pub vcpus: u32,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    pub kernel: Option<ImageDraft>,
    /// The root file system.
    pub root_image: Option<ImageDraft>,
    /// The initial RAM disk.
    pub initrd: Option<ImageDraft>,
    /// Size of the copy-on-write store in MiB.
    pub root_disk_mib: u32,
    /// Size of the work disk in MiB, when one is asked for.
    pub work_disk_mib: Option<u32>,
    /// Kernel command line.
    pub boot_args: String,
    /// Metadata: a JSON object.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// What the guest may reach.
    pub egress: Egress,
    /// How many ports of the host were asked to be forwarded.
    pub port_count: usize,
    /// Whether the host's own metadata address was asked for.
    pub allow_host_metadata: bool,
    /// Bounds on throughput.
    pub rate_limits: RateLimits,
    /// Bounds on what it takes of its host.
    pub limits: ResourceLimits,
    /// Labels of the VM.
    pub labels: Labels,
    /// Host by id or name; empty: not said.
    pub placement_host: String,
    /// Labels the host must have.
    pub placement_labels: Labels,
    /// In which order hosts are filled, when it was said.
    pub placement_strategy: Option<Strategy>,
    /// Rules about hosts and VMs near by.
    pub affinity: Vec<AffinityDraft>,
    /// Where it stands among VMs that wait.
    pub priority: i32,
    /// The pool of hosts; empty: not said.
    pub pool: String,
    /// Who finds the host; empty: not said.
    pub scheduler: String,
    /// What to do when the process ends.
    pub restart_policy: RestartPolicy,
    /// What the edge could not even read, such as a number that is no value of an enum.
    pub unreadable: Vec<SpecProblem>,
}

/// The checked shape of a VM, defaults filled in.
///
/// Its kernel may be left to the root image in a request ([`VmSpec::leaves_boot_open`]); in an
/// intent it never is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmSpec {
    vcpus: u32,
    memory_mib: u32,
    kernel: ImageRef,
    root_image: ImageRef,
    initrd: Option<ImageRef>,
    root_disk_mib: u32,
    work_disk_mib: Option<u32>,
    boot_args: String,
    metadata: Option<String>,
    egress: Egress,
    rate_limits: RateLimits,
    limits: ResourceLimits,
    labels: Labels,
    placement: Placement,
    restart_policy: RestartPolicy,
}

impl RateLimits {
    /// Whether nothing is bounded.
    pub fn is_unbounded(&self) -> bool {
        *self == Self::default()
    }
}

impl Placement {
    /// Whether any host will do.
    pub fn is_anywhere(&self) -> bool {
        *self == Self::default()
    }
}

impl VmSpecDraft {
    /// Checks everything and fills in the defaults.
    ///
    /// # Errors
    /// Every problem at once; or, when nothing is wrong, the fields that are not there yet.
    pub fn check(self) -> Result<VmSpec, SpecRefusal> {
        let mut problems = Problems(self.unreadable);
        let vcpus = problems.number("spec.vcpus", self.vcpus, 1, VCPUS);
        let memory_mib = problems.number("spec.memory_mib", self.memory_mib, 256, MEMORY_MIB);
        // Left open: the ledger takes it of the root image, and refuses where that has none.
        let kernel = self.kernel.map(|draft| problems.image("spec.kernel", draft));
        let root_image = problems.required_image("spec.root_image", self.root_image);
        let initrd = self.initrd.map(|draft| problems.image("spec.initrd", draft));
        let root_disk_mib =
            problems.number("spec.root_disk_mib", self.root_disk_mib, 1024, ROOT_DISK_MIB);
        let work_disk_mib = self.work_disk_mib.inspect(|size| {
            problems.in_range("spec.work_disk.size_mib", *size, WORK_DISK_MIB);
        });
        if let Err(why) = names::check_boot_args(&self.boot_args) {
            problems.add("spec.boot_args", why);
        }
        let metadata = self.metadata.map(|object| serde_json::Value::Object(object).to_string());
        if let Some(text) = metadata.as_ref().filter(|text| text.len() > MAX_METADATA_BYTES) {
            problems.add(
                "spec.metadata",
                format!(
                    "has {} bytes as JSON; at most {MAX_METADATA_BYTES} are allowed",
                    text.len()
                ),
            );
        }
        self.limits.check(&mut problems.0);
        if self.allow_host_metadata {
            problems.add(
                "spec.network.allow_host_metadata",
                "must not be true: no guest reaches the metadata service of its host's cloud, which \
                 has the host's credentials; a guest has its own, with spec.metadata in it",
            );
        }
        problems.labels("spec.labels", &self.labels);
        let host = (!self.placement_host.is_empty()).then_some(self.placement_host);
        if let Some(Err(why)) = host.as_deref().map(names::check_reference) {
            problems.add("spec.placement.host", why);
        }
        problems.labels("spec.placement.host_labels", &self.placement_labels);
        let affinity = problems.affinity("spec.placement.affinity", self.affinity);
        if !PRIORITIES.contains(&self.priority) {
            let (least, most) = (PRIORITIES.start(), PRIORITIES.end());
            let why = format!("is {}; must be {least} to {most}", self.priority);
            problems.add("spec.placement.priority", why);
        }
        if let Err(why) = labels::check_value(&self.pool) {
            problems.add("spec.placement.pool", why);
        }
        let scheduler = (!self.scheduler.is_empty()).then_some(self.scheduler);
        if let Some(Err(why)) = scheduler.as_deref().map(names::check_name) {
            problems.add("spec.placement.scheduler_name", why);
        }

        if !problems.0.is_empty() {
            return Err(SpecRefusal::Invalid(problems.0));
        }
        let absent: Vec<&'static str> = [(self.port_count > 0, "spec.network.ports")]
            .into_iter()
            .filter_map(|(asked, field)| asked.then_some(field))
            .collect();
        if !absent.is_empty() {
            return Err(SpecRefusal::NotImplemented(absent));
        }
        let boot_args = if self.boot_args.is_empty() && kernel.is_some() {
            DEFAULT_BOOT_ARGS.to_owned()
        } else {
            self.boot_args
        };
        Ok(VmSpec {
            vcpus,
            memory_mib,
            kernel: kernel.unwrap_or_else(ImageRef::open),
            root_image,
            initrd,
            root_disk_mib,
            work_disk_mib,
            boot_args,
            metadata,
            egress: self.egress,
            rate_limits: self.rate_limits,
            limits: self.limits,
            labels: self.labels,
            placement: Placement {
                host,
                host_labels: self.placement_labels,
                strategy: self.placement_strategy,
                affinity,
                priority: self.priority,
                pool: (!self.pool.is_empty()).then_some(self.pool),
                scheduler,
            },
            restart_policy: self.restart_policy,
        })
    }
}

/// Problems found so far. Each check takes the default's place and goes on.
struct Problems(Vec<SpecProblem>);

impl Problems {
    fn add(&mut self, field: &str, description: impl Into<String>) {
        self.0.push(SpecProblem::new(field, description));
    }

    fn in_range(&mut self, field: &str, value: u32, range: std::ops::RangeInclusive<u32>) {
        if !range.contains(&value) {
            self.add(field, format!("is {value}; must be {} to {}", range.start(), range.end()));
        }
    }

    fn number(
        &mut self,
        field: &str,
        value: u32,
        default: u32,
        range: std::ops::RangeInclusive<u32>,
    ) -> u32 {
        if value == 0 {
            return default;
        }
        self.in_range(field, value, range);
        value
    }

    fn required_image(&mut self, field: &str, draft: Option<ImageDraft>) -> ImageRef {
        // An image that was not given is an image without a name: the same problem.
        self.image(field, draft.unwrap_or_default())
    }

    fn image(&mut self, field: &str, draft: ImageDraft) -> ImageRef {
        if let Err(why) = names::check_image_name(&draft.name) {
            self.add(&format!("{field}.name"), why);
        }
        let sha256 = (!draft.sha256.is_empty()).then(|| draft.sha256.to_ascii_lowercase());
        if let Some(Err(why)) = sha256.as_deref().map(names::check_sha256) {
            self.add(&format!("{field}.sha256"), why);
        }
        ImageRef { name: draft.name, sha256, stored: false }
    }

    fn affinity(&mut self, field: &str, drafts: Vec<AffinityDraft>) -> Vec<AffinityRule> {
        let mut found = Vec::new();
        let rules = affinity::check_all(drafts, field, &mut found);
        self.0.extend(found.into_iter().map(|(field, why)| SpecProblem::new(field, why)));
        rules
    }

    fn labels(&mut self, field: &str, labels: &Labels) {
        let mut found = Vec::new();
        labels::check_all(labels, field, &mut found);
        self.0.extend(found.into_iter().map(|(field, why)| SpecProblem::new(field, why)));
    }
}

#[cfg(test)]
mod tests;
