//! What an operator may set of the agent: its configuration file, defaults, and the check of all of
//! it.
//!
//! A TOML file, every key with a default, unknown keys refused; flags override the file. `main`
//! reads it, [`AgentConfig::check`] lists all problems at once, and the rest of the agent takes it
//! as given.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use banger_wire::service::settings;
pub use banger_wire::service::settings::ConfigError;
use banger_wire::telemetry::TelemetryConfig;
use serde::{Deserialize, Serialize};

use crate::host::AddressRange;
use crate::host::exec::Tool;
use crate::host::linux::{Chains, LinuxConfig, PinLayout, Reserve};
use crate::instance;
use crate::inventory::sweep::SweepSettings;
use crate::naming::{InstanceTag, Naming};

mod choices;
mod name_servers;
mod network;
mod tools;

pub use choices::{RootDiskChoice, VmmChoice};
pub use name_servers::NameServers;
pub(crate) use network::open_metadata;
pub use tools::ToolsConfig;

/// Where the file is when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/banger/agent.toml";

/// This very program, also after a newer one was put in its place: proc_pid_exe(5).
const OWN_PROGRAM: &str = "/proc/self/exe";

/// The largest `sweep.budget_per_hour`: what one sweep removes fits into one message.
const MAX_SWEEP_BUDGET: u32 = 4000;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// Where the server reaches the agent. Mutual TLS always.
    pub listen: SocketAddr,
    /// Where `/metrics` and `/healthz` are.
    pub metrics_listen: SocketAddr,
    /// Names by which `metrics_listen` is reached, beside addresses and `localhost`. Requests by
    /// other names are refused.
    pub names: Vec<String>,
    /// Holds identity, records, disks, images and jails. Made with mode 0700 when it is not there.
    pub state_dir: PathBuf,
    /// Holds the sockets of VMs.
    pub runtime_dir: PathBuf,
    /// Kernels and root file systems; `images` in the state directory when not set.
    pub image_dir: Option<PathBuf>,
    /// The jailer's base directory; `jails` in the state directory when not set. Its file system
    /// must allow device nodes and programs.
    pub jail_dir: Option<PathBuf>,
    /// Keeps several agents on one machine apart: one letter a-z and one of a-z and 0-9.
    pub instance: String,
    /// After a reboot of the host, start VMs before the server has spoken. Only for a host that
    /// stands alone: elsewhere a VM may have been moved meanwhile.
    pub autonomous: bool,
    /// What new guests run under.
    pub vmm: VmmChoice,
    /// How new guests get a root disk that they can write.
    pub root_disks: RootDiskChoice,
    /// Labels the host would like when it joins.
    pub labels: BTreeMap<String, String>,
    /// Programs that are not to be looked for.
    pub tools: ToolsConfig,
    /// What is kept for the host itself.
    pub reserve: ReserveConfig,
    /// How the disks of guests are made.
    pub disks: DisksConfig,
    /// How guests are run.
    pub guests: GuestsConfig,
    /// How long things may take.
    pub limits: LimitsConfig,
    /// Objects of this agent that no VM owns.
    pub sweep: SweepConfig,
    /// Log and traces.
    pub telemetry: TelemetryConfig,
}

/// What is kept for the host itself and not offered to VMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReserveConfig {
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Disk in MiB. No disk of a VM is made that leaves less than this free.
    pub disk_mib: u64,
}

/// How the disks of guests are made, and how large a root disk's store may become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DisksConfig {
    /// Disks take room as guests write, not when they are made. More of them fit; and when the
    /// host's disk runs full, guests lose their root disks.
    pub sparse: bool,
    /// The level of a store, in hundredths, from which on it is made larger, or an alarm raised.
    pub alarm_percent: u8,
    /// No store is made larger than this, in MiB; 0: each as far as it can be of use.
    pub grow_to_mib: u64,
}

/// How guests are run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuestsConfig {
    /// VMMs run as this user id plus the number of the guest's address in its subnet. Left out, the
    /// agent chooses one such that nobody else has any of the ids.
    pub uid_base: Option<u32>,
    /// The control group above all guests, relative to where cgroup2 is mounted; a group named
    /// after the instance is made in it.
    pub cgroup_parent: PathBuf,
    /// Go on without control groups of version 2. Without them a VMM that was taken over may start
    /// processes that nobody finds again.
    pub without_cgroups: bool,
    /// How many files one VMM may have open.
    pub max_files: u32,
    /// Name servers that guests are told.
    pub dns: NameServers,
    /// How many connections of one guest the host tracks at the same time; 0: any number.
    pub max_connections: u32,
    /// How many neighbours the host looks for on behalf of all guests, within ten seconds; 0: any
    /// number.
    pub max_neighbours: u32,
    /// How many fragments of packets all guests together may send at once, and a tenth of that in
    /// each second; 0: any number.
    pub max_fragments: u32,
    /// How many one guest may send at once, and an eighth of that in each second; 0: any number.
    pub max_fragments_per_guest: u32,
    /// Addresses that no guest reaches, whatever its egress: where clouds tell machines their
    /// secrets.
    pub closed_addresses: Vec<AddressRange>,
}

/// How long things may take, in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// The longest silence towards the server.
    pub heartbeat_secs: u64,
    /// One run of a tool.
    pub tool_secs: u64,
    /// One call of a VMM's API.
    pub vmm_call_secs: u64,
    /// A VMM's start until its API answers.
    pub vmm_ready_secs: u64,
}

/// Objects of this agent that no VM owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SweepConfig {
    /// How long one has to be there before it is removed, in seconds.
    pub grace_secs: u64,
    /// Seconds between two looks.
    pub interval_secs: u64,
    /// Most removals in any hour, by the agent itself and by those who ask it. 0: none at all.
    pub budget_per_hour: u32,
    /// Whether orphans are removed without being asked. Without it they are listed, and removed by
    /// `banger host sweep` alone.
    pub automatic: bool,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7072)),
            metrics_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7073)),
            names: Vec::new(),
            state_dir: PathBuf::from("/var/lib/banger-agent"),
            runtime_dir: PathBuf::from("/run/banger-agent"),
            image_dir: None,
            jail_dir: None,
            instance: InstanceTag::default().to_string(),
            autonomous: false,
            vmm: VmmChoice::Auto,
            root_disks: RootDiskChoice::Auto,
            labels: BTreeMap::new(),
            tools: ToolsConfig::default(),
            reserve: ReserveConfig::default(),
            disks: DisksConfig::default(),
            guests: GuestsConfig::default(),
            limits: LimitsConfig::default(),
            sweep: SweepConfig::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl Default for ReserveConfig {
    fn default() -> Self {
        Self { memory_mib: 512, disk_mib: 1024 }
    }
}

impl Default for DisksConfig {
    fn default() -> Self {
        Self { sparse: false, alarm_percent: 80, grow_to_mib: 0 }
    }
}

impl Default for GuestsConfig {
    fn default() -> Self {
        Self {
            uid_base: None,
            cgroup_parent: PathBuf::from("banger.slice/banger-guests.slice"),
            without_cgroups: false,
            max_files: 1024,
            dns: NameServers::default(),
            max_connections: 4096,
            max_neighbours: 512,
            max_fragments: 300,
            max_fragments_per_guest: 64,
            closed_addresses: network::known_metadata_services(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { heartbeat_secs: 2, tool_secs: 30, vmm_call_secs: 10, vmm_ready_secs: 10 }
    }
}

impl Default for SweepConfig {
    fn default() -> Self {
        let SweepSettings { grace, interval, budget_per_hour, automatic } =
            SweepSettings::default();
        Self {
            grace_secs: grace.as_secs(),
            interval_secs: interval.as_secs(),
            budget_per_hour,
            automatic,
        }
    }
}

/// Flags that override the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--metrics-listen`
    pub metrics_listen: Option<SocketAddr>,
    /// `--state-dir`
    pub state_dir: Option<PathBuf>,
    /// `--runtime-dir`
    pub runtime_dir: Option<PathBuf>,
    /// `--image-dir`
    pub image_dir: Option<PathBuf>,
    /// `--instance`
    pub instance: Option<String>,
    /// `--firecracker`
    pub firecracker: Option<PathBuf>,
    /// `--jailer`
    pub jailer: Option<PathBuf>,
}

impl AgentConfig {
    /// Reads a file, lays the flags over it and checks the result. Without a path the default file
    /// is read if it is there, and the defaults hold if not.
    ///
    /// # Errors
    /// When the file can't be read or understood, or values do not fit: then all of them are
    /// listed.
    pub fn load(path: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigError> {
        let config = settings::load::<Self>("agent", path, DEFAULT_PATH)?.with(overrides);
        config.check()?;
        Ok(config)
    }

    /// The same with flags over it.
    #[must_use]
    pub fn with(mut self, overrides: Overrides) -> Self {
        self.listen = overrides.listen.unwrap_or(self.listen);
        self.metrics_listen = overrides.metrics_listen.unwrap_or(self.metrics_listen);
        self.state_dir = overrides.state_dir.unwrap_or(self.state_dir);
        self.runtime_dir = overrides.runtime_dir.unwrap_or(self.runtime_dir);
        self.image_dir = overrides.image_dir.or(self.image_dir);
        self.instance = overrides.instance.unwrap_or(self.instance);
        self.tools.firecracker = overrides.firecracker.or(self.tools.firecracker);
        self.tools.jailer = overrides.jailer.or(self.tools.jailer);
        self
    }

    /// Checks that the values fit.
    ///
    /// # Errors
    /// All problems at once.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        if self.listen == self.metrics_listen && self.listen.port() != 0 {
            problems.push(format!("listen and metrics_listen are both {}", self.listen));
        }
        if let Err(why) = self.instance.parse::<InstanceTag>() {
            problems.push(format!("instance is {:?}; {why}", self.instance));
        }
        for (key, path) in self.paths() {
            if !path.is_absolute() {
                problems.push(format!("{key} is {}; must be an absolute path", path.display()));
            }
        }
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_));
        let parent = &self.guests.cgroup_parent;
        // The jailer takes no other.
        if parent.as_os_str().is_empty() || !parent.components().all(inside) {
            problems.push(format!(
                "guests.cgroup_parent is {:?}; must be a relative path without \".\" and \"..\"",
                parent.display().to_string(),
            ));
        }
        // Below are the host's own users.
        let uids = 1000..=instance::LAST_FIRST_UID;
        if let Some(uid) = self.guests.uid_base.filter(|uid| !uids.contains(uid)) {
            problems.push(format!("guests.uid_base is {uid}; must be 1000 to 2000000000"));
        }
        if !(64..=1_048_576).contains(&self.guests.max_files) {
            let files = self.guests.max_files;
            problems.push(format!("guests.max_files is {files}; must be 64 to 1048576"));
        }
        problems.extend(network::problems(&self.guests));
        if !(1..=99).contains(&self.disks.alarm_percent) {
            let percent = self.disks.alarm_percent;
            problems.push(format!("disks.alarm_percent is {percent}; must be 1 to 99"));
        }
        for (key, value, most) in [
            ("limits.heartbeat_secs", self.limits.heartbeat_secs, 60),
            ("limits.tool_secs", self.limits.tool_secs, 600),
            ("limits.vmm_call_secs", self.limits.vmm_call_secs, 600),
            ("limits.vmm_ready_secs", self.limits.vmm_ready_secs, 600),
            ("sweep.grace_secs", self.sweep.grace_secs, 86_400),
            ("sweep.interval_secs", self.sweep.interval_secs, 86_400),
        ] {
            if !(1..=most).contains(&value) {
                problems.push(format!("{key} is {value}; must be 1 to {most}"));
            }
        }
        if self.sweep.budget_per_hour > MAX_SWEEP_BUDGET {
            let budget = self.sweep.budget_per_hour;
            problems.push(format!(
                "sweep.budget_per_hour is {budget}; must be at most {MAX_SWEEP_BUDGET}"
            ));
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(problems)) }
    }

    fn paths(&self) -> Vec<(&'static str, &Path)> {
        let ToolsConfig {
            firecracker,
            jailer,
            qemu,
            dmsetup,
            ip,
            iptables_restore,
            iptables_save,
            nft,
        } = &self.tools;
        let optional = [
            ("image_dir", &self.image_dir),
            ("jail_dir", &self.jail_dir),
            ("tools.firecracker", firecracker),
            ("tools.jailer", jailer),
            ("tools.qemu", qemu),
            ("tools.dmsetup", dmsetup),
            ("tools.ip", ip),
            ("tools.iptables_restore", iptables_restore),
            ("tools.iptables_save", iptables_save),
            ("tools.nft", nft),
        ];
        let mut paths: Vec<_> =
            optional.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?))).collect();
        paths.push(("state_dir", self.state_dir.as_path()));
        paths.push(("runtime_dir", self.runtime_dir.as_path()));
        paths
    }

    /// Who this host is.
    #[must_use]
    pub fn identity_dir(&self) -> PathBuf {
        self.state_dir.join("identity")
    }

    /// Kernels and root file systems.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.image_dir.clone().unwrap_or_else(|| self.state_dir.join("images"))
    }

    /// The jailer's base directory.
    #[must_use]
    pub fn jails(&self) -> PathBuf {
        self.jail_dir.clone().unwrap_or_else(|| self.state_dir.join("jails"))
    }

    /// The scratch directories of VMs.
    #[must_use]
    pub fn vms(&self) -> PathBuf {
        self.state_dir.join("vms")
    }

    /// The names of the instance; the default instance's for a tag that
    /// [`AgentConfig::check`] refuses.
    #[must_use]
    pub fn naming(&self) -> Naming {
        Naming::new(self.instance.parse().unwrap_or_default())
    }

    /// What the sweep goes by.
    #[must_use]
    pub fn sweep(&self) -> SweepSettings {
        SweepSettings {
            grace: Duration::from_secs(self.sweep.grace_secs),
            interval: Duration::from_secs(self.sweep.interval_secs),
            budget_per_hour: self.sweep.budget_per_hour,
            automatic: self.sweep.automatic,
        }
    }

    /// The real machine as configured.
    #[must_use]
    pub fn linux(&self) -> LinuxConfig {
        let ToolsConfig {
            firecracker,
            jailer,
            qemu,
            dmsetup,
            ip,
            iptables_restore,
            iptables_save,
            nft,
        } = &self.tools;
        let named = [
            (Tool::Firecracker, firecracker),
            (Tool::Jailer, jailer),
            (Tool::Qemu, qemu),
            (Tool::QemuJailer, &Some(PathBuf::from(OWN_PROGRAM))),
            (Tool::Dmsetup, dmsetup),
            (Tool::Ip, ip),
            (Tool::IptablesRestore, iptables_restore),
            (Tool::IptablesSave, iptables_save),
            (Tool::Nft, nft),
        ];
        let naming = self.naming();
        LinuxConfig {
            image_dir: self.images(),
            scratch_dir: self.vms(),
            jail_dir: self.jails(),
            guest_users: Vec::new(),
            runtime_dir: self.runtime_dir.clone(),
            cgroup_parent: self.guests.cgroup_parent.join(naming.tag().as_str()),
            without_cgroups: self.guests.without_cgroups,
            tools: named
                .into_iter()
                .filter_map(|(tool, path)| Some((tool, path.clone()?)))
                .collect(),
            bridge: naming.bridge(),
            chains: Chains::of_tag(naming.tag().as_str()),
            pins: PinLayout {
                closed: self.guests.closed_addresses.clone(),
                connections: self.guests.max_connections,
                neighbours: self.guests.max_neighbours,
                fragments: self.guests.max_fragments,
                fragments_of_one: self.guests.max_fragments_per_guest,
                ..PinLayout::of_tag(naming.tag().as_str(), naming.bridge())
            },
            reserve: Reserve {
                memory_mib: self.reserve.memory_mib,
                disk_mib: self.reserve.disk_mib,
            },
            vmm: self.vmm.kind(),
            root_disks: self.root_disks.kind(),
            vmm_max_files: self.guests.max_files,
            tool_time_limit: Duration::from_secs(self.limits.tool_secs),
            vmm_call_limit: Duration::from_secs(self.limits.vmm_call_secs),
        }
    }
}

#[cfg(test)]
mod tests;
