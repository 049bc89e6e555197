//! The checks: first look at the machine, then judge what was seen. Judging is pure.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::words::counted;
use banger_wire::causes::with_causes;
use banger_wire::tls::certificate;

use super::gateways::{WaySeen, gateway_check};
use super::{Check, check, existing};
use crate::clock::Clock;
use crate::config::AgentConfig;
use crate::host::exec::{Exec, MissingTool, RealExec, Tool, ToolCall, search_dirs};
use crate::host::linux::network::uplinks::observe_ways_out;
use crate::host::linux::vmm::choice::{Choice, tools};
use crate::host::linux::vmm::kvm;
use crate::host::linux::{Chains, PinLayout, name_servers, vmm_from_version};
use crate::host::{LinkName, RootDiskKind, VmmKind};
use crate::instance;

/// Below this many MiB free there is a warning.
const LITTLE_DISK_MIB: u64 = 4096;

/// What was seen.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) root: bool,
    pub(super) missing: Vec<MissingTool>,
    pub(super) vmm: Result<String, String>,
    pub(super) kvm: Result<(), String>,
    /// What new guests would run under, and how they would get their root disk.
    pub(super) choice: (VmmKind, RootDiskKind),
    /// Kernel parts: name, module, whether they are there.
    pub(super) kernel: Vec<(&'static str, &'static str, bool)>,
    pub(super) iptables: Result<(), String>,
    pub(super) cgroup2: bool,
    /// Somebody insists on going on without.
    pub(super) without_cgroups: bool,
    pub(super) forwarding: Option<bool>,
    /// What becomes of packets that no rule of `FORWARD` is for: `ACCEPT` or `DROP`.
    pub(super) forward_policy: Option<String>,
    /// Rules of others that packets of guests meet before ours.
    pub(super) rules_ahead: Vec<String>,
    /// Why both families of tables that guests are pinned with cannot be made, if so.
    pub(super) nft: Result<(), String>,
    pub(super) uplinks: Vec<LinkName>,
    pub(super) ways: Vec<WaySeen>,
    pub(super) max_neighbours: u32,
    /// Claims of agents on this machine that can't be understood, or why they can't be read.
    pub(super) claims: Result<Vec<String>, String>,
    /// Name servers that guests would be told.
    pub(super) name_servers: usize,
    pub(super) disk_free_mib: Option<u64>,
    pub(super) devices_allowed: Option<bool>,
    pub(super) state_dir: String,
    pub(super) joined: bool,
    /// How many seconds the host's certificate is good still; `None`: there is none to read.
    pub(super) certificate_left: Option<i64>,
}

/// Whether a device opens: that its file is there does not say that the kernel has it.
fn opens(path: &str) -> bool {
    std::fs::OpenOptions::new().read(true).write(true).open(path).is_ok()
}

/// Whether a file of `/proc` has this word.
fn listed(path: &str, name: &str) -> bool {
    std::fs::read_to_string(path)
        .is_ok_and(|text| text.lines().any(|line| line.split_whitespace().any(|w| w == name)))
}

/// Has kernel and `nft` check all that guests are pinned with, and keep nothing of it.
pub(super) async fn try_pins(exec: &dyn Exec, pins: &PinLayout) -> Result<(), String> {
    let call = ToolCall::new(Tool::Nft, ["-c", "-f", "-"]).stdin(pins.trial());
    match exec.run(&call).await {
        Ok(output) if output.succeeded() => Ok(()),
        Ok(output) => Err(output.complaint()),
        Err(error) => Err(error.chain()),
    }
}

impl Machine {
    pub(super) async fn look(config: &AgentConfig) -> Self {
        let limit = Duration::from_secs(config.limits.tool_secs.min(10));
        let exec = RealExec::find(&config.linux().tools, &search_dirs(), limit);
        let root = rustix::process::geteuid().is_root();
        let run = async |tool, args: &[&str]| {
            let output = exec.run(&ToolCall::new(tool, args.iter().copied())).await;
            match output {
                Ok(output) if output.succeeded() => Ok(output.stdout),
                Ok(output) => Err(output.complaint()),
                Err(error) => Err(error.chain()),
            }
        };
        let choice =
            Choice::new(Arc::new(exec.clone()), config.vmm.kind(), config.root_disks.kind());
        let choice = (choice.vmm().await, choice.root_disks().await);
        let vmm = run(Tool::Firecracker, &["--version"]).await.and_then(|text| {
            vmm_from_version(&text).ok_or_else(|| "its version cannot be read".to_owned())
        });
        let targets = run(Tool::Dmsetup, &["targets"]).await.unwrap_or_default();
        let iptables = run(Tool::IptablesSave, &["-t", "nat"]).await.map(drop);
        let filter = run(Tool::IptablesSave, &["-t", "filter"]).await.unwrap_or_default();
        let nft = try_pins(&exec, &config.linux().pins).await;
        // A panic in it counts as a failure.
        let kvm = tokio::task::spawn_blocking(kvm::check).await;
        let kvm = kvm
            .map_err(|error| with_causes(&error))
            .and_then(|r| r.map_err(|error| with_causes(&error)));
        // As the firewall finds them: a routing rule may send everything to another table.
        let ways = observe_ways_out(&exec).await.unwrap_or_default();
        let state = existing(&config.state_dir);
        let disk = rustix::fs::statvfs(state).ok();
        Self {
            root,
            missing: exec.missing(),
            vmm,
            kvm,
            choice,
            kernel: vec![
                ("loop devices", "loop", opens("/dev/loop-control")),
                ("device-mapper", "dm_mod", listed("/proc/misc", "device-mapper")),
                ("dm-snapshot", "dm_snapshot", targets.lines().any(|l| l.starts_with("snapshot "))),
                ("tun/tap", "tun", opens("/dev/net/tun")),
                ("bridge", "bridge", Path::new("/sys/module/bridge").exists()),
            ],
            iptables,
            cgroup2: listed("/proc/self/mounts", "cgroup2"),
            without_cgroups: config.guests.without_cgroups,
            forwarding: std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")
                .ok()
                .map(|text| text.trim() == "1"),
            name_servers: config.guests.dns.resolve(name_servers).len(),
            forward_policy: forward_policy(&filter),
            rules_ahead: rules_ahead(&filter, &config.linux().chains),
            nft,
            claims: instance::unclear(Path::new(instance::DIRECTORY))
                .map_err(|error| with_causes(&error)),
            uplinks: ways
                .iter()
                .map(|way| way.device.clone())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            ways: ways.into_iter().map(|way| WaySeen::of(way, Path::new("/"))).collect(),
            max_neighbours: config.guests.max_neighbours,
            disk_free_mib: disk
                .as_ref()
                .map(|d| d.f_bavail.saturating_mul(d.f_frsize) / 1024 / 1024),
            devices_allowed: disk.as_ref().map(|d| {
                let flags = d.f_flag;
                !flags.contains(rustix::fs::StatVfsMountFlags::NODEV)
                    && !flags.contains(rustix::fs::StatVfsMountFlags::NOEXEC)
            }),
            state_dir: config.state_dir.display().to_string(),
            joined: config.identity_dir().join("agent.crt").exists(),
            certificate_left: certificate_left(config),
        }
    }

    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks = vec![self.root_check()];
        checks.push(self.vmm_check());
        // Our own program is there, or nobody would ask.
        let needed = tools(self.choice.0, self.choice.1);
        let needed = |tool: &Tool| *tool != Tool::QemuJailer && needed.contains(tool);
        checks.extend(Tool::ALL.into_iter().filter(needed).map(|tool| self.tool_check(tool)));
        checks.push(self.kvm_check());
        checks.extend(self.kernel.iter().map(|part| self.kernel_check(*part)));
        checks.push(self.iptables_check());
        checks.push(self.pins_check());
        checks.push(self.cgroup_check());
        checks.push(self.claims_check());
        checks.extend([self.forwarding_check(), self.router_check(), self.rules_ahead_check()]);
        checks.push(self.uplink_check());
        checks.extend(gateway_check(&self.ways, self.max_neighbours));
        checks.push(self.names_check());
        checks.extend([self.disk_check(), self.devices_check(), self.joined_check()]);
        checks.extend(self.certificate_check());
        checks
    }

    fn root_check(&self) -> Check {
        let found = if self.root { "runs as root" } else { "does not run as root" };
        check("root", self.root, true, found, "run it with sudo, or by its unit")
    }

    fn tool_check(&self, tool: Tool) -> Check {
        let missing = self.missing.iter().find(|missing| missing.tool == tool);
        let mend = match tool.package() {
            Some(package) => format!("apt-get install {package}"),
            None => "deploy/get-firecracker.sh, or set it under [tools]".to_owned(),
        };
        let found = match (tool, missing, &self.vmm) {
            (_, Some(missing), _) => missing.to_string(),
            (Tool::Firecracker, None, Ok(version)) => format!("{version} is installed"),
            (Tool::Firecracker, None, Err(why)) => {
                let found = format!("firecracker does not run: {why}");
                return check(tool.name(), false, true, &found, &mend);
            }
            (_, None, _) => format!("{} is installed", tool.name()),
        };
        let name = match tool {
            Tool::Qemu => "qemu",
            _ => tool.name(),
        };
        check(name, missing.is_none(), true, &found, &mend)
    }

    /// Firecracker is the one for production: that it is another is worth a look.
    fn vmm_check(&self) -> Check {
        let (vmm, root_disks) = self.choice;
        let by = if self.kvm.is_ok() { "with KVM" } else { "by software emulation, slowly" };
        let (well, found) = match vmm {
            VmmKind::Firecracker => (true, "guests run under Firecracker".to_owned()),
            VmmKind::Qemu => (false, format!("guests run under QEMU {by}")),
        };
        let found = format!("{found}; each root disk is a {root_disks}");
        check(
            "vmm",
            well,
            false,
            &found,
            "for production: KVM and Firecracker (see the checks below)",
        )
    }

    fn kvm_check(&self) -> Check {
        let stand_in = self.choice.0 == VmmKind::Qemu
            || self.vmm.as_deref().is_ok_and(|vmm| !vmm.starts_with("firecracker "));
        match &self.kvm {
            Ok(()) => {
                check("kvm", true, true, "/dev/kvm runs a small guest at the processor's speed", "")
            }
            Err(why) => {
                let mend = "modprobe kvm_intel or kvm_amd; switch virtualization on in the \
                            firmware, or nested virtualization on in the machine below; or apt-get install \
                            qemu-system-x86 for guests by software emulation";
                check("kvm", false, !stand_in, &format!("no guest runs: {why}"), mend)
            }
        }
    }

    fn iptables_check(&self) -> Check {
        match &self.iptables {
            Ok(()) => check("iptables", true, true, "the table nat can be read", ""),
            Err(why) => {
                let found = format!("the table nat cannot be read: {why}");
                check("iptables", false, true, &found, "modprobe iptable_nat nf_tables")
            }
        }
    }

    fn cgroup_check(&self) -> Check {
        let found = match (self.cgroup2, self.without_cgroups) {
            (true, _) => "control groups of version 2 are mounted",
            (false, false) => "no control groups of version 2: the agent does not start",
            (false, true) => {
                "no control groups of version 2, as guests.without_cgroups allows: what a VMM that \
                 was taken over has started may outlive its VM"
            }
        };
        let mend = "boot with systemd.unified_cgroup_hierarchy=1";
        check("cgroup2", self.cgroup2, !self.without_cgroups, found, mend)
    }

    /// Without them nobody knows which user ids and directories are another agent's.
    fn claims_check(&self) -> Check {
        let found = match &self.claims {
            Ok(unclear) if unclear.is_empty() => {
                let found = "what agents of this machine have of it can be told";
                return check("claims", true, true, found, "");
            }
            Ok(unclear) => {
                format!("no agent starts, for a claim cannot be understood: {}", unclear.join("; "))
            }
            Err(why) => format!("no agent starts that cannot read claims and processes: {why}"),
        };
        let mend = "look for the agent and the guests of that instance (its name is the file's: \
                    ip -br link | grep '^bg'), and only if there are none remove the file; an agent run \
                    by its unit then starts by itself";
        check("claims", false, true, &found, mend)
    }

    fn forwarding_check(&self) -> Check {
        let on = self.forwarding == Some(true);
        let found = match self.forwarding {
            Some(true) => "IPv4 forwarding is on",
            Some(false) => "IPv4 forwarding is off; the agent switches it on with the first guest",
            None => "it cannot be told whether IPv4 forwarding is on",
        };
        check("forwarding", on, false, found, "sysctl -w net.ipv4.ip_forward=1")
    }

    /// Forwarding is switched on for the whole machine: whoever reaches one of its interfaces
    /// reaches what is behind the others, unless the policy says no. The agent sets it where it
    /// finds forwarding off; where it was on before, that is somebody's wish.
    fn router_check(&self) -> Check {
        let closed = self.forward_policy.as_deref() == Some("DROP");
        let well = closed || self.forwarding == Some(false);
        let found = match (self.forwarding, closed) {
            (_, true) => "what is not a guest's is not forwarded",
            (Some(false), false) => {
                "when the agent switches forwarding on, it closes it for all but guests"
            }
            (Some(true) | None, false) => {
                "this machine is a router between all its interfaces, not for guests alone"
            }
        };
        check("router", well, false, found, "iptables -P FORWARD DROP, and keep it over a boot")
    }

    /// What is accepted ahead of our rules is open to guests, whatever ours say.
    fn rules_ahead_check(&self) -> Check {
        let ahead = &self.rules_ahead;
        let found = match &ahead[..] {
            [] => "no rule of others comes before those of guests".to_owned(),
            [first, rest @ ..] => format!(
                "rules of others come before those of guests, and what they accept is open to guests: \
                 {first}{}",
                if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) }
            ),
        };
        let mend = "see `iptables -S FORWARD` and `iptables -S INPUT`; to have those of guests first: \
                    iptables -D CHAIN -j BANGER-…, and the agent puts it first";
        check("rules-ahead", ahead.is_empty(), false, &found, mend)
    }

    /// Without them no guest is started: one could take another's address.
    fn pins_check(&self) -> Check {
        match &self.nft {
            Ok(()) => check("pins", true, true, "guests can be pinned to their taps", ""),
            Err(why) => {
                let found = format!("guests cannot be pinned to their taps: {why}");
                let mend = "apt-get install nftables; modprobe nf_tables; or a kernel and an nft that know what \
                            is named here";
                check("pins", false, true, &found, mend)
            }
        }
    }

    fn uplink_check(&self) -> Check {
        let uplinks: Vec<_> = self.uplinks.iter().map(LinkName::as_str).collect();
        match &*uplinks {
            [] => {
                let found = "no default route: guests with address translation cannot start";
                check("uplink", false, false, found, "ip route add default via GATEWAY")
            }
            [uplink] => check("uplink", true, false, &format!("the uplink is {uplink}"), ""),
            several => {
                let found = format!("the uplinks are {}", several.join(", "));
                check("uplink", true, false, &found, "")
            }
        }
    }

    fn names_check(&self) -> Check {
        let found = match self.name_servers {
            0 => "guests are told no name server, so names mean nothing to them".to_owned(),
            1 => "guests are told one name server".to_owned(),
            several => format!("guests are told {several} name servers"),
        };
        let mend = "set guests.dns to servers that guests can reach: /etc/resolv.conf names none";
        check("names", self.name_servers > 0, false, &found, mend)
    }

    fn disk_check(&self) -> Check {
        let enough = self.disk_free_mib.is_some_and(|free| free >= LITTLE_DISK_MIB);
        let found = match self.disk_free_mib {
            Some(free) => format!("{free} MiB are free for {}", self.state_dir),
            None => format!("it cannot be told how much is free for {}", self.state_dir),
        };
        check("disk", enough, false, &found, "free some, or set state_dir to a larger file system")
    }

    fn devices_check(&self) -> Check {
        let allowed = self.devices_allowed == Some(true);
        let found = if allowed {
            format!("the file system of {} allows device nodes and programs", self.state_dir)
        } else {
            format!("the file system of {} is mounted nodev or noexec", self.state_dir)
        };
        check("jails", allowed, true, &found, "remount it with dev,exec, or set jail_dir")
    }

    /// The server renews it weeks before its end: one that is close to it is not being renewed.
    fn certificate_check(&self) -> Option<Check> {
        let days = self.certificate_left?.div_euclid(24 * 3600);
        let found = match days {
            ..0 => "the host's certificate has expired: its server refuses it".to_owned(),
            days => format!(
                "the host's certificate is good for {}",
                counted(days.unsigned_abs(), "day")
            ),
        };
        let mend = "banger host get NAME says why it is not renewed; one that has expired: banger host \
                    token --name NAME on the server, and here the lines that it prints";
        Some(check("certificate", days >= CLOSE_DAYS, false, &found, mend))
    }

    fn joined_check(&self) -> Check {
        let found = if self.joined { "has joined a fleet" } else { "has not joined a fleet yet" };
        let mend = "banger host token on the server, and here the lines that it prints";
        check("joined", self.joined, false, found, mend)
    }

    fn kernel_check(&self, (what, module, there): (&'static str, &'static str, bool)) -> Check {
        // A bridge's module is loaded by the first bridge; a copy of an image needs no device.
        let snapshots = self.choice.1 == RootDiskKind::Snapshot;
        let required = match module {
            "bridge" => false,
            "loop" | "dm_mod" | "dm_snapshot" => snapshots,
            _ => true,
        };
        let found = if there {
            format!("the kernel has {what}")
        } else if required {
            format!("the kernel has no {what}")
        } else if module == "bridge" {
            format!("the module for {what} is not loaded yet")
        } else {
            format!("the kernel has no {what}, which copied root disks do not need")
        };
        check(module, there, required, &found, &format!("modprobe {module}"))
    }
}

/// Rules ahead of the jumps to our chains, of what `iptables-save` prints. Chains of banger's other
/// agents are no strangers; what is not jumped to has nothing ahead of it.
pub(super) fn rules_ahead(filter: &str, chains: &Chains) -> Vec<String> {
    let mut ahead = Vec::new();
    for (from, ours) in [("FORWARD", &chains.forward), ("INPUT", &chains.input)] {
        let prefix = format!("-A {from} ");
        let rules: Vec<_> = filter.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
        let jump = rules.iter().position(|rule| *rule == format!("-j {ours}"));
        let before = &rules[..jump.unwrap_or(0)];
        let strange = before.iter().filter(|rule| !rule.starts_with("-j BANGER-"));
        ahead.extend(strange.map(|rule| format!("{from} {rule}")));
    }
    ahead
}

/// The policy of `FORWARD` in what `iptables-save` prints: `:FORWARD DROP [0:0]`.
pub(super) fn forward_policy(filter: &str) -> Option<String> {
    let rest = filter.lines().find_map(|line| line.strip_prefix(":FORWARD "))?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// Fewer days than any certificate has that is renewed in time, but for very short lives.
const CLOSE_DAYS: i64 = 7;

fn certificate_left(config: &AgentConfig) -> Option<i64> {
    let pem = std::fs::read(config.identity_dir().join("agent.crt")).ok()?;
    let until = certificate::facts_of_pem(&pem)?.not_after;
    Some(until.saturating_sub(Clock::system().now().as_second()))
}
