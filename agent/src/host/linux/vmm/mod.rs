//! The VMMs: [`firecracker`] and [`qemu`], which of them this machine runs ([`choice`], [`kvm`],
//! [`version`]), and what comes out of them ([`outputs`], [`guests`]). Here: each call is handed to
//! the VMM that a jail was built for.
//!
//! A host has one VMM for new guests, and may still have guests of the other, from before the
//! choice changed. Where a jail lies says which (see [`super::jails`]); it is asked anew each time,
//! so that nothing has to be remembered. Also here: the wait for the API, which is one for both.
//! What can go wrong: there is no jail, so nobody to ask.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::blocking;
use super::jails::JailTree;
use crate::host::{
    HostError, HostErrorKind, HostResult, JailId, LaunchSpec, Launched, Launcher, Vmm, VmmConfig,
    VmmKind, VmmState,
};

pub(crate) mod choice;
pub(super) mod firecracker;
pub(super) mod guests;
pub(crate) mod kvm;
pub(super) mod outputs;
pub mod qemu;
mod sockets;
pub(crate) mod version;

use firecracker::FirecrackerApi;
use firecracker::launcher::JailerLauncher;
use qemu::QemuApi;
use qemu::launcher::QemuLauncher;

/// The APIs of both VMMs.
pub(crate) struct Vmms {
    pub(crate) tree: Arc<JailTree>,
    pub(crate) firecracker: FirecrackerApi,
    pub(crate) qemu: QemuApi,
}

impl Vmms {
    async fn of(&self, id: &JailId) -> HostResult<&dyn Vmm> {
        let (tree, jail) = (self.tree.clone(), id.clone());
        match blocking(move || tree.vmm_of(&jail)).await? {
            Some(VmmKind::Firecracker) => Ok(&self.firecracker),
            Some(VmmKind::Qemu) => Ok(&self.qemu),
            None => Err(HostError::new(HostErrorKind::NotFound, "find the VMM of", id)
                .detail("it has no jail")),
        }
    }
}

/// Asks a VMM that was just launched until it answers.
pub(super) async fn until_ready(
    vmm: &dyn Vmm,
    id: &JailId,
    pause: Duration,
    limit: Duration,
) -> HostResult<()> {
    let ready = async {
        loop {
            match vmm.describe(id).await {
                Ok(_) => return Ok(()),
                // Not listening yet.
                Err(error) if error.kind == HostErrorKind::NotFound => {
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
        }
    };
    tokio::time::timeout(limit, ready).await.unwrap_or_else(|_| {
        Err(HostError::new(HostErrorKind::TimedOut, "reach the API of", id)
            .detail(format!("it did not come up within {limit:?}")))
    })
}

#[async_trait]
impl Vmm for Vmms {
    async fn wait_ready(&self, id: &JailId, limit: Duration) -> HostResult<()> {
        self.of(id).await?.wait_ready(id, limit).await
    }

    async fn configure(&self, id: &JailId, config: &VmmConfig) -> HostResult<()> {
        self.of(id).await?.configure(id, config).await
    }

    async fn start(&self, id: &JailId) -> HostResult<()> {
        self.of(id).await?.start(id).await
    }

    async fn pause(&self, id: &JailId) -> HostResult<()> {
        self.of(id).await?.pause(id).await
    }

    async fn resume(&self, id: &JailId) -> HostResult<()> {
        self.of(id).await?.resume(id).await
    }

    async fn send_ctrl_alt_del(&self, id: &JailId) -> HostResult<()> {
        self.of(id).await?.send_ctrl_alt_del(id).await
    }

    async fn describe(&self, id: &JailId) -> HostResult<VmmState> {
        self.of(id).await?.describe(id).await
    }

    async fn put_metadata(&self, id: &JailId, json: &str) -> HostResult<()> {
        self.of(id).await?.put_metadata(id, json).await
    }
}

/// The jailers of both VMMs.
pub(crate) struct Launchers {
    pub(crate) firecracker: JailerLauncher,
    pub(crate) qemu: QemuLauncher,
}

#[async_trait]
impl Launcher for Launchers {
    async fn launch(&self, spec: &LaunchSpec) -> HostResult<Launched> {
        match spec.vmm {
            VmmKind::Firecracker => self.firecracker.launch(spec).await,
            VmmKind::Qemu => self.qemu.launch(spec).await,
        }
    }
}
