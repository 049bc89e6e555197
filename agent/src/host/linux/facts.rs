//! Facts of this machine (boot, capacity, kernel, VMM), from `/proc`, the scratch file system and
//! the tools.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use procfs::{Current, Meminfo};

use super::blocking;
use super::files::beneath::Roots;
use super::network::uplinks::observe_uplinks;
use super::vmm::choice::{self, Choice};
use super::vmm::kvm;
use super::vmm::version::{STAND_IN, ask_firecracker, ask_qemu};
use crate::host::exec::Exec;
use crate::host::{
    BootTime, Capacity, Facts, HostError, HostErrorKind, HostResult, LinkName, RootDiskKind,
    VmmKind,
};

/// What is kept for the host itself and not offered to VMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserve {
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Disk in MiB.
    pub disk_mib: u64,
}

/// For how long a `/dev/kvm` that worked is believed to work.
const KVM_BELIEVED: Duration = Duration::from_secs(60);

/// This machine.
pub(crate) struct LinuxFacts {
    exec: Arc<dyn Exec>,
    roots: Arc<Roots>,
    reserve: Reserve,
    choice: Arc<Choice>,
    vmm: tokio::sync::OnceCell<String>,
    kvm_worked: Mutex<Option<Instant>>,
}

impl LinuxFacts {
    pub(crate) fn new(
        exec: Arc<dyn Exec>,
        roots: Arc<Roots>,
        reserve: Reserve,
        choice: Arc<Choice>,
    ) -> Self {
        Self {
            exec,
            roots,
            reserve,
            choice,
            vmm: tokio::sync::OnceCell::new(),
            kvm_worked: Mutex::default(),
        }
    }
}

async fn read_text(path: &'static str) -> HostResult<String> {
    blocking(move || {
        std::fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .map_err(|error| HostError::io("read", path, error))
    })
    .await
}

#[async_trait]
impl Facts for LinuxFacts {
    async fn boot_id(&self) -> HostResult<String> {
        read_text("/proc/sys/kernel/random/boot_id").await
    }

    async fn boot_time(&self) -> HostResult<BootTime> {
        let text = read_text("/proc/stat").await?;
        let unix_seconds = text
            .lines()
            .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
            .ok_or_else(|| {
                HostError::new(HostErrorKind::Other, "read", "/proc/stat").detail("no btime")
            })?;
        Ok(BootTime { unix_seconds, ticks_per_second: procfs::ticks_per_second() })
    }

    async fn capacity(&self) -> HostResult<Capacity> {
        let (roots, reserve) = (self.roots.clone(), self.reserve);
        blocking(move || {
            let memory = Meminfo::current().map_err(|error| {
                HostError::new(HostErrorKind::Other, "read", "/proc/meminfo").because(error)
            })?;
            let disk = rustix::fs::fstatvfs(&roots.scratch)
                .map_err(|error| HostError::io("look at", roots.scratch.path().display(), error))?;
            let online = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN)
                .map_err(|error| HostError::io("count", "processors", error))?;
            let mib = 1024 * 1024;
            Ok(Capacity {
                vcpus: online.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
                memory_mib: (memory.mem_total / mib).saturating_sub(reserve.memory_mib),
                disk_mib: (disk.f_blocks.saturating_mul(disk.f_frsize) / mib)
                    .saturating_sub(reserve.disk_mib),
            })
        })
        .await
    }

    async fn kernel_release(&self) -> HostResult<String> {
        read_text("/proc/sys/kernel/osrelease").await
    }

    async fn vmm(&self) -> HostResult<String> {
        let found = self.vmm.get_or_try_init(|| async {
            match self.choice.vmm().await {
                VmmKind::Firecracker => ask_firecracker(&*self.exec).await,
                VmmKind::Qemu => {
                    let version = ask_qemu(&*self.exec).await?;
                    let by = self.choice.acceleration().await.as_str();
                    Ok(format!("qemu {version} ({by})"))
                }
            }
        });
        found.await.cloned()
    }

    async fn vmm_kind(&self) -> HostResult<VmmKind> {
        Ok(self.choice.vmm().await)
    }

    async fn root_disk_kind(&self) -> HostResult<RootDiskKind> {
        Ok(self.choice.root_disks().await)
    }

    async fn uplinks(&self) -> HostResult<Vec<LinkName>> {
        observe_uplinks(&*self.exec).await
    }

    async fn preflight(&self) -> HostResult<()> {
        if !rustix::process::geteuid().is_root() {
            return Err(HostError::new(HostErrorKind::NotPermitted, "start", "guests")
                .detail("the agent does not run as root"));
        }
        let vmm = self.choice.vmm().await;
        for tool in choice::tools(vmm, self.choice.root_disks().await) {
            self.exec.path(tool)?;
        }
        if vmm == VmmKind::Qemu || self.vmm().await? == STAND_IN {
            return Ok(());
        }
        let believed = |worked: Instant| worked.elapsed() < KVM_BELIEVED;
        if self.kvm_worked.lock().is_some_and(believed) {
            return Ok(());
        }
        blocking(|| kvm::check().map_err(kvm::unavailable)).await?;
        *self.kvm_worked.lock() = Some(Instant::now());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
