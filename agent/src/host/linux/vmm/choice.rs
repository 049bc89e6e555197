//! What this machine runs guests with: which VMM, how root disks are made, and whether QEMU has
//! KVM.
//!
//! Driven by the facts and by the launcher. The configuration decides; where it says "auto", what
//! the machine can: a `/dev/kvm` that really runs a guest means Firecracker, else QEMU if it is
//! there. Each question is answered once in a life of the agent, so that jails, launches and what
//! is shown agree.

use std::sync::Arc;

use tokio::sync::OnceCell;

use super::kvm;
use super::version::{STAND_IN, ask_firecracker};
use crate::host::exec::{Exec, Tool, ToolCall};
use crate::host::linux::blocking;
use crate::host::{RootDiskKind, VmmKind};

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acceleration {
    /// The processor itself.
    Kvm,
    /// Software: ten to thirty times slower, and the same everywhere.
    Software,
}

impl Acceleration {
    /// For people.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Software => "software emulation",
        }
    }
}

/// The choices of this machine.
pub(crate) struct Choice {
    exec: Arc<dyn Exec>,
    vmm: Option<VmmKind>,
    root_disks: Option<RootDiskKind>,
    vmm_chosen: OnceCell<VmmKind>,
    root_disks_chosen: OnceCell<RootDiskKind>,
    kvm_works: OnceCell<bool>,
}

impl Choice {
    /// `None` leaves a choice to what the machine can.
    pub(crate) fn new(
        exec: Arc<dyn Exec>,
        vmm: Option<VmmKind>,
        root_disks: Option<RootDiskKind>,
    ) -> Self {
        Self {
            exec,
            vmm,
            root_disks,
            vmm_chosen: OnceCell::new(),
            root_disks_chosen: OnceCell::new(),
            kvm_works: OnceCell::new(),
        }
    }

    /// Whether `/dev/kvm` really ran a guest when it was first asked.
    async fn kvm(&self) -> bool {
        let tried = async || blocking(|| kvm::check().map_err(kvm::unavailable)).await.is_ok();
        *self.kvm_works.get_or_init(tried).await
    }

    /// What runs a QEMU's guests.
    pub(crate) async fn acceleration(&self) -> Acceleration {
        if self.kvm().await { Acceleration::Kvm } else { Acceleration::Software }
    }

    /// What new guests run under.
    pub(crate) async fn vmm(&self) -> VmmKind {
        let choose = async || match self.vmm {
            Some(vmm) => vmm,
            None => {
                let has = |tool| self.exec.path(tool).is_ok();
                let firecracker = has(Tool::Firecracker) && has(Tool::Jailer);
                // A stand-in of the tests runs anywhere.
                let stand_in =
                    firecracker && ask_firecracker(&*self.exec).await.is_ok_and(|v| v == STAND_IN);
                let real = firecracker && (stand_in || self.kvm().await);
                automatic(real, has(Tool::Qemu))
            }
        };
        *self.vmm_chosen.get_or_init(choose).await
    }

    /// How new guests get their root disk.
    pub(crate) async fn root_disks(&self) -> RootDiskKind {
        let choose = async || match self.root_disks {
            Some(kind) => kind,
            None => {
                // Loads the driver where there is one: dmsetup opens /dev/mapper/control.
                let call = ToolCall::new(Tool::Dmsetup, ["targets"]);
                let answers = self.exec.run(&call).await.is_ok_and(|output| output.succeeded());
                if answers { RootDiskKind::Snapshot } else { RootDiskKind::Copy }
            }
        };
        *self.root_disks_chosen.get_or_init(choose).await
    }
}

/// Without either, Firecracker: what is then found missing is what a host for production lacks.
pub(crate) const fn automatic(firecracker_runs: bool, qemu_is_there: bool) -> VmmKind {
    match (firecracker_runs, qemu_is_there) {
        (false, true) => VmmKind::Qemu,
        (true, _) | (false, false) => VmmKind::Firecracker,
    }
}

/// The programs that a choice needs.
pub(crate) fn tools(vmm: VmmKind, root_disks: RootDiskKind) -> Vec<Tool> {
    let mut tools = vec![Tool::IptablesRestore, Tool::IptablesSave, Tool::Nft, Tool::Ip];
    match root_disks {
        RootDiskKind::Snapshot => tools.push(Tool::Dmsetup),
        RootDiskKind::Copy => {}
    }
    match vmm {
        VmmKind::Firecracker => tools.extend([Tool::Firecracker, Tool::Jailer]),
        VmmKind::Qemu => tools.extend([Tool::Qemu, Tool::QemuJailer]),
    }
    tools
}

#[cfg(test)]
mod tests;
