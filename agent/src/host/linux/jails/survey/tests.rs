//! Reading the list of mounts.

use super::*;

#[test]
fn only_mounts_inside_a_directory_of_ours_are_named() {
    let text = b"22 1 0:21 / /proc rw - proc proc rw\n\
        30 1 254:1 / /data rw - ext4 /dev/vdb rw\n\
        31 1 254:2 / /data/jails/firecracker rw - ext4 /dev/vdc rw\n\
        32 1 0:40 / /data/jails/firecracker/a1/root/mnt\\040x rw shared:1 - tmpfs tmpfs rw\n\
        33 1 0:41 / /data/vms/b2 rw - tmpfs tmpfs rw\n\
        34 1 0:42 / /data/vms-of-others/b2 rw - tmpfs tmpfs rw\n\
        35 1 0:43 / /data/vms/-odd rw - tmpfs tmpfs rw\n\
        garbage\n";
    let found = mounts_inside(text, &["/data/jails/firecracker".into(), "/data/vms".into()]);
    let id = |text| JailId::new(text).unwrap();
    assert_eq!(
        found,
        [
            MountFacts { path: "/data/jails/firecracker/a1/root/mnt x".into(), inside: id("a1") },
            MountFacts { path: "/data/vms/b2".into(), inside: id("b2") },
        ]
    );
}

#[test]
fn a_backslash_that_escapes_nothing_stays() {
    assert_eq!(unescaped(b"/a\\134b"), PathBuf::from("/a\\b"));
    assert_eq!(unescaped(b"/a\\9b\\1"), PathBuf::from("/a\\9b\\1"));
    assert_eq!(unescaped(b"/a\\777"), PathBuf::from("/a\\777"));
}
