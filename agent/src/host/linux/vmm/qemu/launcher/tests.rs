//! The arguments of the jailer, and a program that the jail would not see.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::host::exec::RealExec;
use crate::host::linux::files::beneath::{Root, Roots};
use crate::host::linux::jails::Cgroups;
use crate::host::linux::vmm::firecracker::tests::config;
use crate::host::{JailId, VmmKind};

fn launcher(temp: &Path, qemu: PathBuf) -> QemuLauncher {
    let at = |name: &str| Root::open(&temp.join(name)).unwrap();
    let roots = Arc::new(Roots { images: at("images"), scratch: at("vms") });
    let group = Cgroups::at(Path::new("/nowhere"), Path::new("banger.slice/bg"));
    let tree = Arc::new(JailTree::new(at("jails"), at("run"), roots, Some(group)));
    let named = BTreeMap::from([(Tool::Qemu, qemu)]);
    let exec = Arc::new(RealExec::find(&named, &[], Duration::from_secs(5)));
    let choice = Arc::new(Choice::new(exec.clone(), Some(VmmKind::Qemu), None));
    QemuLauncher::new(exec, tree, Arc::default(), choice, 1024)
}

fn spec() -> LaunchSpec {
    LaunchSpec {
        id: JailId::new("0191e0a0-0000-7000-8000-000000000001").unwrap(),
        uid: 200_002,
        vmm: VmmKind::Qemu,
        machine: config(),
    }
}

#[tokio::test]
async fn a_program_that_the_jail_does_not_see_is_refused_before_it_starts() {
    let temp = tempfile::tempdir().unwrap();
    let program = temp.path().join("qemu-system-x86_64");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let refused = launcher(temp.path(), program).jailer_arguments(&spec()).await.unwrap_err();
    assert_eq!(refused.kind, HostErrorKind::Invalid);
    assert!(refused.detail.contains("beneath /usr"), "{}", refused.detail);
    // One of another name would not be found again.
    let refused = launcher(temp.path(), "/usr/bin/env".into()).jailer_arguments(&spec()).await;
    assert_eq!(refused.unwrap_err().kind, HostErrorKind::Invalid);
}

#[tokio::test]
async fn a_qemu_that_is_missing_is_a_missing_tool() {
    let temp = tempfile::tempdir().unwrap();
    let missing = launcher(temp.path(), "/usr/bin/no-such-qemu".into());
    let error = missing.jailer_arguments(&spec()).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::MissingTool);
}
