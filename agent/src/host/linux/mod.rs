//! The seams over a real Linux machine.
//!
//! [`host`] opens the directories, finds the tools and ties the parts together. Everything below
//! needs root, and each part says for itself what else. A room for each thing that is touched:
//! [`files`], [`images`], [`disks`], [`network`], [`jails`], [`vmm`], [`processes`]; [`facts`] is
//! what is true of the machine as a whole.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::exec::{Exec, RealExec, Tool, search_dirs};
use super::{Host, HostError, HostErrorKind, HostResult, LinkName, RootDiskKind, VmmKind};

mod disks;
mod facts;
pub(crate) mod files;
mod images;
mod jails;
pub(crate) mod network;
mod processes;
pub mod vmm;

pub use facts::Reserve;
pub use network::firewall::{Chains, FirewallLayout};
pub use network::pins::PinLayout;
pub use network::resolvers::name_servers;
pub use vmm::version::vmm_from_version;

pub(crate) use images::kind_of;

use files::beneath::{Root, Roots};

/// Where a machine's parts lie and what they are called.
#[derive(Debug, Clone)]
pub struct LinuxConfig {
    /// The image directory.
    pub image_dir: PathBuf,
    /// The scratch directories, one for each VM.
    pub scratch_dir: PathBuf,
    /// The jailer's `--chroot-base-dir`.
    pub jail_dir: PathBuf,
    /// The user ids of guests, now and from before: only theirs and root's processes are listed,
    /// and what is in a jail.
    pub guest_users: Vec<Range<u64>>,
    /// The runtime directory, with the sockets.
    pub runtime_dir: PathBuf,
    /// The control group of all guests, relative to where cgroup2 is mounted.
    pub cgroup_parent: PathBuf,
    /// Go on where there are no control groups of version 2.
    pub without_cgroups: bool,
    /// Places of tools that are not to be looked for.
    pub tools: BTreeMap<Tool, PathBuf>,
    /// The guests' bridge.
    pub bridge: LinkName,
    /// Names of our chains and comments.
    pub chains: Chains,
    /// What ties each guest to its tap.
    pub pins: PinLayout,
    /// Kept for the host itself.
    pub reserve: Reserve,
    /// How many files a VMM may have open.
    pub vmm_max_files: u32,
    /// What new guests run under; `None` leaves it to what the machine can.
    pub vmm: Option<VmmKind>,
    /// How new guests get their root disk; `None` leaves it to what the machine can.
    pub root_disks: Option<RootDiskKind>,
    /// How long a tool may take.
    pub tool_time_limit: Duration,
    /// How long one call of the VMM's API may take.
    pub vmm_call_limit: Duration,
}

/// Opens the directories, finds the tools and ties the parts together. Must be called within a
/// tokio runtime.
///
/// # Errors
/// A directory cannot be made or opened, or there are no control groups of version 2. A missing
/// tool is no error here: its verbs will say so.
pub fn host(config: &LinuxConfig) -> HostResult<Host> {
    let open = |path: &PathBuf| {
        Root::open(path).map_err(|error| HostError::io("open directory", path.display(), error))
    };
    let cgroups = jails::Cgroups::detect(&config.cgroup_parent);
    require_groups(cgroups.is_some(), config.without_cgroups)?;
    let roots =
        Arc::new(Roots { images: open(&config.image_dir)?, scratch: open(&config.scratch_dir)? });
    let exec: Arc<dyn Exec> =
        Arc::new(RealExec::find(&config.tools, &search_dirs(), config.tool_time_limit));
    let children = Arc::new(processes::children::Children::default());
    processes::children::follow(&children);
    let choice = Arc::new(vmm::choice::Choice::new(exec.clone(), config.vmm, config.root_disks));
    let facts = facts::LinuxFacts::new(exec.clone(), roots.clone(), config.reserve, choice.clone());
    let jails = Arc::new(jails::JailTree::new(
        open(&config.jail_dir)?,
        open(&config.runtime_dir)?,
        roots.clone(),
        cgroups,
    ));
    let layout = FirewallLayout { chains: config.chains.clone(), bridge: config.bridge.clone() };
    let outputs = Arc::new(vmm::outputs::FifoOutputs::new(jails.clone(), roots.clone()));
    let vmms = vmm::Vmms {
        tree: jails.clone(),
        firecracker: vmm::firecracker::FirecrackerApi::new(jails.clone(), config.vmm_call_limit),
        qemu: vmm::qemu::QemuApi::new(jails.clone(), outputs.clone(), config.vmm_call_limit),
    };
    let of_jails = jails.clone();
    let ours = processes::listing::Ours {
        users: config.guest_users.clone(),
        jail_roots: Some(Arc::new(move || of_jails.roots())),
    };
    let (tree, max_files) = (jails.clone(), config.vmm_max_files);
    let launcher = vmm::Launchers {
        qemu: vmm::qemu::launcher::QemuLauncher::new(
            exec.clone(),
            tree.clone(),
            children.clone(),
            choice,
            max_files,
        ),
        firecracker: vmm::firecracker::launcher::JailerLauncher::new(
            exec.clone(),
            tree,
            children.clone(),
            max_files,
        ),
    };
    Ok(Host {
        simulated: false,
        files: Arc::new(files::scratch::LinuxFiles::new(roots.clone())),
        images: Arc::new(images::LinuxImages::new(roots.clone())),
        loops: Arc::new(disks::loops::LinuxLoops::new(roots.clone())),
        snapshots: Arc::new(disks::snapshots::DmSnapshots::new(exec.clone())),
        taps: Arc::new(network::taps::LinuxTaps),
        firewall: Arc::new(network::firewall::Iptables::new(
            exec.clone(),
            layout,
            &config.runtime_dir,
        )),
        pins: Arc::new(network::pins::NftPins::new(exec, config.pins.clone())),
        network: Arc::new(network::namespace::LinuxNetwork::default()),
        outputs,
        vmm: Arc::new(vmms),
        guests: Arc::new(vmm::guests::LinuxGuests::new(jails.clone())),
        launcher: Arc::new(launcher),
        processes: Arc::new(processes::LinuxProcesses::new(children, ours)),
        jails: Arc::new(jails::LinuxJails::new(jails)),
        facts: Arc::new(facts),
    })
}

/// Without groups of version 2 nothing holds the processes of a VM together: what a VMM that was
/// taken over has started is found by what it says of itself, or not at all.
fn require_groups(mounted: bool, go_on_without: bool) -> HostResult<()> {
    if mounted || go_on_without {
        return Ok(());
    }
    Err(HostError::new(HostErrorKind::Refused, "run guests on", "this host").detail(
        "it has no control groups of version 2: boot it with systemd.unified_cgroup_hierarchy=1, or \
         set guests.without_cgroups = true where all guests are your own",
    ))
}

/// The networks that this machine uses. Needs no rights.
///
/// # Errors
/// The kernel does not say.
pub async fn networks() -> HostResult<Vec<super::UsedNetwork>> {
    super::Network::networks(&network::namespace::LinuxNetwork::default()).await
}

/// The image directory of a temporary directory, for tests.
#[cfg(test)]
pub(crate) fn test_images() -> (tempfile::TempDir, Arc<dyn super::Images>) {
    let temp = tempfile::tempdir().expect("a temporary directory can be made");
    let open = |name: &str| Root::open(&temp.path().join(name)).expect("made");
    let roots = Arc::new(Roots { images: open("images"), scratch: open("vms") });
    (temp, Arc::new(images::LinuxImages::new(roots)))
}

/// Runs file system work off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> HostResult<T> + Send + 'static,
) -> HostResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // It panicked, or the runtime is going away; there is no object to name.
        Err(error) => {
            Err(HostError::new(HostErrorKind::Other, "finish", "the work").because(error))
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_host_without_control_groups_of_version_2_is_refused_unless_somebody_insists() {
        let refused = super::require_groups(false, false).unwrap_err();
        assert!(refused.chain().contains("guests.without_cgroups"), "{}", refused.chain());
        for (mounted, insists) in [(false, true), (true, false), (true, true)] {
            assert!(super::require_groups(mounted, insists).is_ok());
        }
    }
}
