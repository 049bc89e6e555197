//! The jailer's arguments, and a jailer played by a shell script.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::host::exec::RealExec;
use crate::host::linux::files::beneath::{Root, Roots};
use crate::host::linux::jails::{Cgroups, LinuxJails};
use crate::host::linux::processes::LinuxProcesses;
use crate::host::linux::processes::listing::Ours;
use crate::host::{ExitStatus, JailSpec, Jails, Processes};

struct Fixture {
    temp: tempfile::TempDir,
    tree: Arc<JailTree>,
    launcher: JailerLauncher,
    children: Arc<Children>,
}

fn fixture(jailer: &str, cgroups: bool) -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| Root::open(&temp.path().join(name)).unwrap();
    let roots = Arc::new(Roots { images: at("images"), scratch: at("vms") });
    let group = cgroups.then(|| Cgroups::at(Path::new("/nowhere"), Path::new("banger.slice/bg")));
    let tree = Arc::new(JailTree::new(at("jails"), at("run"), roots, group));
    let bin = temp.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for (name, body) in [("jailer", jailer), ("firecracker", "exit 0")] {
        std::fs::write(bin.join(name), format!("#!/bin/sh\n{body}\n")).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(bin.join(name), mode).unwrap();
    }
    let exec = Arc::new(RealExec::find(&BTreeMap::new(), &[bin], Duration::from_secs(5)));
    let children = Arc::new(Children::default());
    let launcher = JailerLauncher::new(exec, tree.clone(), children.clone(), 1024);
    Fixture { temp, tree, launcher, children }
}

fn spec() -> LaunchSpec {
    LaunchSpec {
        id: JailId::new("0191e0a0-0000-7000-8000-000000000001").unwrap(),
        uid: 200_002,
        vmm: VmmKind::Firecracker,
        machine: crate::host::linux::vmm::firecracker::tests::config(),
    }
}

impl Fixture {
    async fn build(&self) {
        let uid = rustix::process::geteuid().as_raw();
        let jail = JailSpec {
            id: spec().id,
            vmm: VmmKind::Firecracker,
            uid,
            files: vec![],
            devices: vec![],
            bounds: Default::default(),
        };
        LinuxJails::new(self.tree.clone()).ensure(&jail).await.unwrap();
    }

    fn shown(&self, args: &[String]) -> String {
        args.join(" ").replace(self.temp.path().to_str().unwrap(), "/T")
    }
}

#[test]
fn a_disk_without_room_for_the_program_is_said_before_the_jailer_runs() {
    let temp = tempfile::tempdir().unwrap();
    let program = temp.path().join("firecracker");
    let file = std::fs::File::create(&program).unwrap();
    check_room(&program, temp.path()).unwrap();
    // Sparse, and longer than any disk these tests run on; the longest file of ext4.
    file.set_len((16 << 40) - 4096).unwrap();
    let error = check_room(&program, temp.path()).unwrap_err();
    assert_eq!(error.kind, HostErrorKind::NoSpace, "{error}");
}

#[test]
fn the_jailer_gets_these_arguments() {
    let f = fixture("exit 0", false);
    let args = f.launcher.arguments(&spec()).unwrap();
    insta::assert_snapshot!(f.shown(&args), @"--id 0191e0a0-0000-7000-8000-000000000001 --exec-file /T/bin/firecracker --uid 200002 --gid 200002 --chroot-base-dir /T/jails --resource-limit no-file=1024 -- --log-path /log.fifo --level Info --show-level");
}

#[test]
fn with_control_groups_the_jailer_is_told_the_guests_own() {
    let f = fixture("exit 0", true);
    let args = f.shown(&f.launcher.arguments(&spec()).unwrap());
    let group =
        "--cgroup-version 2 --parent-cgroup banger.slice/bg/0191e0a0-0000-7000-8000-000000000001";
    assert!(args.contains(group), "{args}");
}

#[test]
fn a_vmm_whose_file_has_another_name_is_refused_before_it_starts() {
    let f = fixture("exit 0", false);
    let bin = f.temp.path().join("bin");
    std::fs::rename(bin.join("firecracker"), bin.join("firecracker-v1.16.1")).unwrap();
    std::os::unix::fs::symlink("firecracker-v1.16.1", bin.join("firecracker")).unwrap();
    let error = f.launcher.arguments(&spec()).unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Invalid);
    assert!(error.to_string().contains("firecracker-v1.16.1"), "{error}");
}

#[tokio::test]
async fn what_a_jailer_says_and_how_it_ends_is_known() {
    let f = fixture("echo \"refused: $2\" >&2; exit 7", false);
    f.build().await;
    let log = open_fifo(&f.tree, &spec().id, in_jail::LOG).unwrap().unwrap();
    let launched = f.launcher.launch(&spec()).await.unwrap();
    let processes = LinuxProcesses::new(f.children.clone(), Ours::default());
    let exit = processes.wait_exit(launched.pid, launched.start_ticks).await.unwrap();
    assert_eq!(exit, ExitStatus::Code(7));
    let mut said = [0; 200];
    let length = rustix::io::read(&log, &mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..length]).into_owned();
    assert_eq!(said, "refused: 0191e0a0-0000-7000-8000-000000000001\n");
}

#[tokio::test]
async fn without_a_jail_nothing_is_started() {
    let f = fixture("exit 0", false);
    let error = f.launcher.launch(&spec()).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::NotFound);
}

#[tokio::test]
async fn the_console_is_the_vmms_input_and_output_and_begins_empty() {
    let f = fixture("until read line; do :; done; echo \"heard: $line\"", false);
    f.build().await;
    let open = |path| open_fifo(&f.tree, &spec().id, path).unwrap().unwrap();
    let (input, output) = (open(in_jail::CONSOLE_INPUT), open(in_jail::CONSOLE));
    rustix::io::write(&input, b"typed to a run before\n").unwrap();
    let launched = f.launcher.launch(&spec()).await.unwrap();
    rustix::io::write(&input, b"typed now\n").unwrap();
    let processes = LinuxProcesses::new(f.children.clone(), Ours::default());
    processes.wait_exit(launched.pid, launched.start_ticks).await.unwrap();
    let mut said = [0; 200];
    let length = rustix::io::read(&output, &mut said).unwrap();
    assert_eq!(&said[..length], b"heard: typed now\n");
}
