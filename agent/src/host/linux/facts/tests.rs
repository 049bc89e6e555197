//! What this very machine has.

use super::*;
use crate::host::exec::recording::RecordingExec;

#[tokio::test]
async fn capacity_is_what_the_kernel_has_less_the_reserve() {
    let temp = tempfile::tempdir().unwrap();
    let roots = Arc::new(Roots {
        images: crate::host::linux::files::beneath::Root::open(temp.path()).unwrap(),
        scratch: crate::host::linux::files::beneath::Root::open(temp.path()).unwrap(),
    });
    let facts = |memory_mib| {
        let exec = Arc::new(RecordingExec::default());
        let choice = Arc::new(Choice::new(exec.clone(), None, None));
        LinuxFacts::new(exec, roots.clone(), Reserve { memory_mib, disk_mib: 0 }, choice)
    };
    let all = facts(0).capacity().await.unwrap();
    let less = facts(100).capacity().await.unwrap();
    assert!(all.vcpus >= 1 && all.disk_mib > 0);
    assert_eq!(all.memory_mib - less.memory_mib, 100);
    assert_eq!(facts(u64::MAX).capacity().await.unwrap().memory_mib, 0);
    assert_eq!(facts(0).boot_id().await.unwrap().len(), 36);
    assert!(facts(0).boot_time().await.unwrap().unix_seconds > 1_600_000_000);
}
