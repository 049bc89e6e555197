//! Which symlink targets lead into a chroot.

use super::*;

#[test]
fn the_chroot_is_what_stands_before_the_socket() {
    for (vmm, socket) in
        [(VmmKind::Firecracker, "firecracker.socket"), (VmmKind::Qemu, "qmp.socket")]
    {
        let root = format!("/var/lib/x/jails/{vmm}/abc/root");
        let chroot = chroot_of(Path::new(&format!("{root}/run/{socket}")), vmm);
        assert_eq!(chroot.as_deref(), Some(Path::new(&root)));
    }
}

#[test]
fn a_target_that_is_no_api_socket_of_a_chroot_leads_nowhere() {
    for target in [
        "",
        "run/firecracker.socket",
        "/srv/abc/root/run/other.socket",
        "/srv/abc/root/../../etc/run/firecracker.socket",
        "/srv/abc/root/xrun/firecracker.socket",
        "/srv/abc/root/run/qmp.socket",
    ] {
        let chroot = chroot_of(Path::new(target), VmmKind::Firecracker);
        assert_eq!(chroot, None, "{target:?}");
    }
}
