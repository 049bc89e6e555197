//! What is true of the fake machine as a whole: the seam of `host/facts.rs`.
//!
//! What can go wrong is what [`super::FakeKernel::set_uplink`] and
//! [`super::FakeKernel::set_preflight`] say.

use async_trait::async_trait;

use super::kernel::gate::Seam;
use super::kernel::machine::TICKS_PER_SECOND;
use super::kernel::state::refuse;
use crate::host::{
    BootTime, Capacity, Facts, HostErrorKind, HostResult, LinkName, RootDiskKind, VmmKind,
};

#[async_trait]
impl Facts for Seam {
    async fn boot_id(&self) -> HostResult<String> {
        self.read("facts.boot_id", |state| Ok(state.boot_id())).await
    }

    async fn boot_time(&self) -> HostResult<BootTime> {
        self.read("facts.boot_time", |state| {
            Ok(BootTime {
                unix_seconds: state.boot_unix_seconds,
                ticks_per_second: TICKS_PER_SECOND,
            })
        })
        .await
    }

    async fn capacity(&self) -> HostResult<Capacity> {
        self.read("facts.capacity", |state| Ok(state.capacity.into())).await
    }

    async fn kernel_release(&self) -> HostResult<String> {
        self.read("facts.kernel_release", |_| Ok("simulated".to_owned())).await
    }

    async fn vmm(&self) -> HostResult<String> {
        self.read("facts.vmm", |_| Ok("simulated".to_owned())).await
    }

    async fn vmm_kind(&self) -> HostResult<VmmKind> {
        self.read("facts.vmm_kind", |state| Ok(state.vmm)).await
    }

    async fn root_disk_kind(&self) -> HostResult<RootDiskKind> {
        self.read("facts.root_disk_kind", |state| Ok(state.root_disks)).await
    }

    async fn uplinks(&self) -> HostResult<Vec<LinkName>> {
        self.read("facts.uplinks", |state| {
            state.uplink.clone().map(|uplink| vec![uplink]).ok_or_else(|| {
                let why = "there is no default route";
                refuse(HostErrorKind::NoUplink, "find", "the uplink", why)
            })
        })
        .await
    }

    async fn preflight(&self) -> HostResult<()> {
        self.read("facts.preflight", |state| match state.preflight {
            None => Ok(()),
            Some(kind) => Err(refuse(kind, "use", "this machine for guests", "staged")),
        })
        .await
    }
}
