//! The machine that an agent works on: the real one, of which it takes its share before anything is
//! touched, or a simulated one that lives on in the state directory.
//!
//! Driven by the commands `run` and `dismantle`. What can go wrong: the host has not joined, a part
//! of the share is another agent's, or the file of the simulated machine is lost.

use std::io;
use std::path::{Path, PathBuf};

use banger_proto::words::counted;

use crate::config::AgentConfig;
use crate::host::fakes::{self, FakeKernel, HostOptions};
use crate::host::{Host, HostError, Subnet, linux};
use crate::instance::{self, ClaimError, Held, Wish};
use crate::join::identity::{Identity, IdentityError};
use crate::supervisor::look;

/// What the agent works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineKind {
    /// This very machine.
    Real,
    /// A simulated one.
    Simulated {
        /// Every change is saved before it is seen.
        durable: bool,
    },
}

/// A machine can't be taken, or given back.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The host has not joined, or its identity can't be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Another agent or a user of the machine has a part of the share.
    #[error(transparent)]
    Share(#[from] ClaimError),
    /// The machine can't be read or changed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The state directory can't be made.
    #[error("could not make {}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file of the simulated machine can't be read.
    #[error("the simulated machine in {} is lost", path.display())]
    Lost {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file of the simulated machine can't be written.
    #[error("the simulated machine was not saved")]
    NotSaved(#[source] io::Error),
    /// Objects of VMs are here.
    #[error(
        "there are objects of VMs here: {}, {}, {}, {}; delete the VMs first, or sweep what is \
         nobody's",
        counted(*dirs as u64, "directory"),
        counted(*taps as u64, "tap"),
        counted(*root_disks as u64, "root disk"),
        counted(*with_rules as u64, "guest") + " with rules"
    )]
    InUse {
        /// Directories of VMs.
        dirs: usize,
        /// Taps.
        taps: usize,
        /// Root disks that are snapshots.
        root_disks: usize,
        /// Guests with rules.
        with_rules: usize,
    },
    /// The claim on the instance tag can't be removed.
    #[error("the claim on the instance tag stays")]
    ClaimStays(#[source] io::Error),
}

/// A machine that an agent works on, with its share of it for as long as this lives.
pub struct TakenMachine {
    /// To work on.
    pub host: Host,
    kernel: Option<FakeKernel>,
    _share: Option<Held>,
}

impl MachineKind {
    /// Takes it. The user ids that the share has are those of the configuration from then on.
    ///
    /// # Errors
    /// Nothing of the machine was touched.
    pub fn take(self, config: &mut AgentConfig) -> Result<TakenMachine, MachineError> {
        match self {
            Self::Real => {
                let (held, subnet) = share(config)?;
                config.guests.uid_base = Some(held.first_uid());
                let mut linux = config.linux();
                linux.pins.subnet = Some(subnet);
                linux.guest_users = held.users().to_vec();
                let host = linux::host(&linux)?;
                Ok(TakenMachine { host, kernel: None, _share: Some(held) })
            }
            // A machine of its own, so that there is nothing to share.
            Self::Simulated { durable } => {
                let kernel = simulated(config, durable)?;
                let options = HostOptions {
                    image_dir: config.images(),
                    scratch_dir: config.vms(),
                    jail_dir: config.jails(),
                    runtime_dir: config.runtime_dir.clone(),
                    ..HostOptions::default()
                };
                let host = fakes::host(&kernel, options);
                Ok(TakenMachine { host, kernel: Some(kernel), _share: None })
            }
        }
    }
}

impl TakenMachine {
    /// Saves what is simulated; nothing for the real machine.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn save(&self) -> Result<(), MachineError> {
        self.kernel.as_ref().map_or(Ok(()), |kernel| kernel.save().map_err(MachineError::NotSaved))
    }
}

fn simulated(config: &AgentConfig, durable: bool) -> Result<FakeKernel, MachineError> {
    std::fs::create_dir_all(&config.state_dir)
        .map_err(|source| MachineError::Directory { path: config.state_dir.clone(), source })?;
    let path = config.state_dir.join("simulated-kernel.json");
    let opened = if durable { FakeKernel::open_durable(&path) } else { FakeKernel::open(&path) };
    opened.map_err(|source| MachineError::Lost { path, source })
}

/// Takes the agent's share of the real machine, before anything of it is touched. Gives also the
/// subnet of its guests.
fn share(config: &AgentConfig) -> Result<(Held, Subnet), MachineError> {
    let subnet = Identity::load(&config.identity_dir())?.record.guest_subnet;
    let wish = Wish {
        tag: &config.instance,
        state_dir: &config.state_dir,
        directories: &[config.jails(), config.runtime_dir.clone()],
        first_uid: config.guests.uid_base,
        subnet,
    };
    let owned = instance::ids::read(Path::new("/"));
    let directory = Path::new(instance::DIRECTORY);
    Ok((instance::claim(directory, &wish, &owned, instance::MachineNow::read)?, subnet))
}

/// Removes what the agent made of the machine's network. What is there of a VM is never touched.
///
/// # Errors
/// The agent runs, something of a VM is here, or a part can't be removed; repeating it is safe.
pub async fn dismantle(config: &AgentConfig) -> Result<(), MachineError> {
    let (held, _) = share(config)?;
    let mut linux = config.linux();
    linux.guest_users = held.users().to_vec();
    let host = linux::host(&linux)?;
    let found = look::observe(&host, config.naming()).await?;
    let (dirs, taps) = (found.dirs.len(), found.taps.len());
    let (root_disks, with_rules) = (found.snapshots.len(), found.rules.len());
    if dirs + taps + root_disks + with_rules > 0 {
        return Err(MachineError::InUse { dirs, taps, root_disks, with_rules });
    }
    host.firewall.remove_all().await?;
    host.taps.remove_bridge(&config.naming().bridge()).await?;
    held.give_back().map_err(MachineError::ClaimStays)
}
