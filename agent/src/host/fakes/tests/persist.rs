//! The machine in a file.

use super::*;

fn file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("simulated-kernel.json");
    (dir, path)
}

#[tokio::test]
async fn a_reopened_machine_has_its_processes_and_knows_nobodys_exit() {
    let (_dir, path) = file();
    let kernel = FakeKernel::open(&path).unwrap();
    let host = kernel.host();
    let (_, launched) = run(&host, 1).await.unwrap();
    host.files.replace(&dir(1), &part("vm.json"), b"{\"a\":1}").await.unwrap();
    host.files.replace(&dir(1), &part("binary"), b"\xff\x00hex:").await.unwrap();
    let process = host.processes.observe(launched.pid).await.unwrap();
    let (boot, objects) = (kernel.boot_id(), kernel.objects());
    kernel.save().unwrap();
    drop((host, kernel));

    let kernel = FakeKernel::open(&path).unwrap();
    let host = kernel.host();
    assert_eq!(kernel.boot_id(), boot);
    // Only what belonged to the agent is gone.
    let left: Vec<String> = objects.difference(&kernel.objects()).cloned().collect();
    assert_eq!(left, ["collector vm-1"]);
    assert_eq!(host.processes.observe(launched.pid).await.unwrap(), process);
    assert_eq!(host.vmm.describe(&jail(1)).await.unwrap(), VmmState::Running);
    assert_eq!(host.files.read(&dir(1), &part("vm.json")).await.unwrap().unwrap(), b"{\"a\":1}");
    let binary = host.files.read(&dir(1), &part("binary")).await.unwrap();
    assert_eq!(binary.unwrap(), b"\xff\x00hex:");
    assert_eq!(kind(host.snapshots.remove(&dm(1)).await), HostErrorKind::Busy);
    let (_, another) = launch(&host, 2).await.unwrap();
    assert!(another.pid != launched.pid && another.start_ticks > launched.start_ticks);
    assert!(kernel.crash(&jail(1), ExitStatus::Code(0)));
    let exit = host.processes.wait_exit(launched.pid, launched.start_ticks).await.unwrap();
    assert_eq!(exit, ExitStatus::Unknown);
    host.snapshots.remove(&dm(1)).await.unwrap();
}

#[tokio::test]
async fn changes_reach_the_file_without_being_asked_for() {
    let (_dir, path) = file();
    let kernel = FakeKernel::open(&path).unwrap();
    kernel.host().files.ensure_dir(&dir(1)).await.unwrap();
    let saved = async {
        while !std::fs::read_to_string(&path).unwrap().contains("vm-1") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), saved).await;
    assert!(in_time.is_ok(), "{}", std::fs::read_to_string(&path).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_durable_machine_has_every_change_in_its_file_before_the_verb_answers() {
    let (_dir, path) = file();
    let kernel = FakeKernel::open_durable(&path).unwrap();
    let mut making = tokio::task::JoinSet::new();
    for n in 0..40 {
        let (host, path) = (kernel.host(), path.clone());
        making.spawn(async move {
            host.files.ensure_dir(&dir(n)).await.unwrap();
            let saved: serde_json::Value =
                serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            assert!(saved["dirs"][format!("vm-{n}")].is_object(), "{n}");
        });
    }
    while let Some(made) = making.join_next().await {
        made.unwrap();
    }
}

#[tokio::test]
async fn the_last_changes_are_saved_when_the_machine_is_dropped() {
    let (_dir, path) = file();
    let kernel = FakeKernel::open(&path).unwrap();
    kernel.host().files.ensure_dir(&dir(1)).await.unwrap();
    drop(kernel);
    let kernel = FakeKernel::open(&path).unwrap();
    assert_eq!(kernel.host().files.list_dirs().await.unwrap(), [dir(1)]);
}

#[test]
fn a_garbled_file_is_refused_and_left_alone() {
    let (_dir, path) = file();
    std::fs::write(&path, "{\"format\":1,").unwrap();
    assert!(FakeKernel::open(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"format\":1,");
}

#[test]
fn two_machines_have_two_boot_ids() {
    let (_one, path) = file();
    let (_two, other) = file();
    let one = FakeKernel::open(&path).unwrap();
    let two = FakeKernel::open(&other).unwrap();
    assert_ne!(one.boot_id(), two.boot_id());
    assert_ne!(FakeKernel::new().boot_id(), FakeKernel::new().boot_id());
    assert_eq!(one.boot_id().len(), 36);
}
