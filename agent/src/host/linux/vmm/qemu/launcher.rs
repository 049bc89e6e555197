//! Starts QEMU in its jail, by way of [`jail`](super::jail): a subcommand of this very program.
//!
//! As with Firecracker's jailer it is one process from start to end, our child, in a process group
//! of its own, with both its outputs in the jail's `log.fifo`.

use std::sync::Arc;

use async_trait::async_trait;

use super::arguments::arguments;
use super::jail::LIBRARIES;
use crate::host::exec::{Exec, LaunchCall, Tool};
use crate::host::kind::QEMU_JAILER;
use crate::host::linux::blocking;
use crate::host::linux::jails::JailTree;
use crate::host::linux::processes::children::Children;
use crate::host::linux::vmm::choice::{Acceleration, Choice};
use crate::host::linux::vmm::firecracker::launcher::open_fifo;
use crate::host::{
    HostError, HostErrorKind, HostResult, LaunchSpec, Launched, Launcher, VmmKind, in_jail,
};

/// Starts QEMUs of this machine.
pub(crate) struct QemuLauncher {
    exec: Arc<dyn Exec>,
    tree: Arc<JailTree>,
    children: Arc<Children>,
    choice: Arc<Choice>,
    max_files: u32,
}

impl QemuLauncher {
    pub(crate) fn new(
        exec: Arc<dyn Exec>,
        tree: Arc<JailTree>,
        children: Arc<Children>,
        choice: Arc<Choice>,
        max_files: u32,
    ) -> Self {
        Self { exec, tree, children, choice, max_files }
    }

    /// The jailer's arguments, and after `--` QEMU's.
    async fn jailer_arguments(&self, spec: &LaunchSpec) -> HostResult<Vec<String>> {
        let program = self.exec.path(Tool::Qemu)?;
        let real = program.canonicalize().unwrap_or_else(|_| program.clone());
        let named = real.file_name().is_some_and(|name| name == Tool::Qemu.name());
        if !real.starts_with(LIBRARIES) || !named {
            let name = Tool::Qemu.name();
            return Err(HostError::new(HostErrorKind::Invalid, "start", program.display()).detail(
                format!(
                    "the file itself must be a {name} beneath {LIBRARIES}, which the jail sees"
                ),
            ));
        }
        let acceleration = self.choice.acceleration().await;
        let mut args = vec![QEMU_JAILER.to_owned()];
        let mut pair = |name: &str, value: String| args.extend([name.to_owned(), value]);
        pair("--id", spec.id.to_string());
        pair("--root", self.tree.root_path(&spec.id, VmmKind::Qemu).display().to_string());
        pair("--uid", spec.uid.to_string());
        pair("--max-files", self.max_files.to_string());
        if let Some(net) = &spec.machine.interface {
            pair("--tap", net.tap.to_string());
        }
        if let Some(group) = self.tree.cgroup_path(&spec.id) {
            pair("--cgroup", group.display().to_string());
        }
        if acceleration == Acceleration::Kvm {
            args.push("--kvm".to_owned());
        }
        args.extend(["--".to_owned(), real.display().to_string()]);
        args.extend(arguments(&spec.id, acceleration, &spec.machine));
        Ok(args)
    }
}

#[async_trait]
impl Launcher for QemuLauncher {
    async fn launch(&self, spec: &LaunchSpec) -> HostResult<Launched> {
        let args = self.jailer_arguments(spec).await?;
        let (tree, id) = (self.tree.clone(), spec.id.clone());
        let output = blocking(move || open_fifo(&tree, &id, in_jail::LOG)).await?;
        let output = output.ok_or_else(|| {
            HostError::new(HostErrorKind::NotFound, "start a VMM in jail", &spec.id)
                .detail("the jail is not built")
        })?;
        let program = Tool::QemuJailer;
        let call = LaunchCall { program, args, input: None, output: None, errors: output };
        self.children.start(|| self.exec.launch(call))
    }
}

#[cfg(test)]
mod tests;
