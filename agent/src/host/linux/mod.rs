//! The seams over a real Linux machine.
//!
//! [`host`] opens the directories, finds the tools and ties the parts together. Everything below
//! needs root, and each part says for itself what else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::exec::{Exec, RealExec, Tool, search_dirs};
use super::{Host, HostError, HostErrorKind, HostResult, LinkName, RootDiskKind, VmmKind};

pub(crate) mod beneath;
mod children;
pub(crate) mod choice;
mod facts;
mod files;
mod firewall;
mod guests;
mod images;
mod jails;
pub(crate) mod kvm;
mod launcher;
mod links;
mod loops;
mod outputs;
mod processes;
pub mod qemu;
mod ready;
mod snapshots;
mod sockets;
mod taps;
#[cfg(test)]
mod test_net;
mod vmm;
mod vmms;

pub use facts::{Reserve, parse_default_route, vmm_from_version};
pub use firewall::{Chains, FirewallLayout};

pub(crate) use images::kind_of;

use beneath::{Root, Roots};

/// Where a machine's parts lie and what they are called.
#[derive(Debug, Clone)]
pub struct LinuxConfig {
    /// The image directory.
    pub image_dir: PathBuf,
    /// The scratch directories, one for each VM.
    pub scratch_dir: PathBuf,
    /// The jailer's `--chroot-base-dir`.
    pub jail_dir: PathBuf,
    /// The runtime directory, with the sockets.
    pub runtime_dir: PathBuf,
    /// The control group of all guests, relative to where cgroup2 is mounted.
    pub cgroup_parent: PathBuf,
    /// Places of tools that are not to be looked for.
    pub tools: BTreeMap<Tool, PathBuf>,
    /// The guests' bridge.
    pub bridge: LinkName,
    /// Names of our chains and comments.
    pub chains: Chains,
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
/// A directory cannot be made or opened. A missing tool is no error here: its verbs will say so.
pub fn host(config: &LinuxConfig) -> HostResult<Host> {
    let open = |path: &PathBuf| {
        Root::open(path).map_err(|error| HostError::io("open directory", path.display(), error))
    };
    let roots =
        Arc::new(Roots { images: open(&config.image_dir)?, scratch: open(&config.scratch_dir)? });
    let exec: Arc<dyn Exec> =
        Arc::new(RealExec::find(&config.tools, &search_dirs(), config.tool_time_limit));
    let children = Arc::new(children::Children::default());
    let choice = Arc::new(choice::Choice::new(exec.clone(), config.vmm, config.root_disks));
    let facts = facts::LinuxFacts::new(exec.clone(), roots.clone(), config.reserve, choice.clone());
    let jails = Arc::new(jails::JailTree::new(
        open(&config.jail_dir)?,
        open(&config.runtime_dir)?,
        roots.clone(),
        jails::Cgroups::detect(&config.cgroup_parent),
    ));
    let layout = FirewallLayout { chains: config.chains.clone(), bridge: config.bridge.clone() };
    let outputs = Arc::new(outputs::FifoOutputs::new(jails.clone(), roots.clone()));
    let vmm = vmms::Vmms {
        tree: jails.clone(),
        firecracker: vmm::FirecrackerApi::new(jails.clone(), config.vmm_call_limit),
        qemu: qemu::QemuApi::new(jails.clone(), outputs.clone(), config.vmm_call_limit),
    };
    let (tree, max_files) = (jails.clone(), config.vmm_max_files);
    let launcher = vmms::Launchers {
        qemu: qemu::launcher::QemuLauncher::new(
            exec.clone(),
            tree.clone(),
            children.clone(),
            choice,
            max_files,
        ),
        firecracker: launcher::JailerLauncher::new(exec.clone(), tree, children.clone(), max_files),
    };
    Ok(Host {
        simulated: false,
        files: Arc::new(files::LinuxFiles::new(roots.clone())),
        images: Arc::new(images::LinuxImages::new(roots.clone())),
        loops: Arc::new(loops::LinuxLoops::new(roots.clone())),
        snapshots: Arc::new(snapshots::DmSnapshots::new(exec.clone())),
        taps: Arc::new(taps::LinuxTaps),
        firewall: Arc::new(firewall::Iptables::new(exec, layout)),
        outputs,
        vmm: Arc::new(vmm),
        guests: Arc::new(guests::LinuxGuests::new(jails.clone())),
        launcher: Arc::new(launcher),
        processes: Arc::new(processes::LinuxProcesses::new(children)),
        jails: Arc::new(jails::LinuxJails::new(jails)),
        facts: Arc::new(facts),
    })
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
