//! Which symlink targets lead into a chroot.

use super::*;

#[test]
fn the_chroot_is_what_stands_before_the_socket() {
    let target = Path::new("/var/lib/x/jails/firecracker/abc/root/run/firecracker.socket");
    let chroot = chroot_of(target);
    assert_eq!(chroot.as_deref(), Some(Path::new("/var/lib/x/jails/firecracker/abc/root")));
}

#[test]
fn a_target_that_is_no_api_socket_of_a_chroot_leads_nowhere() {
    for target in [
        "",
        "run/firecracker.socket",
        "/srv/abc/root/run/other.socket",
        "/srv/abc/root/../../etc/run/firecracker.socket",
        "/srv/abc/root/xrun/firecracker.socket",
    ] {
        assert_eq!(chroot_of(Path::new(target)), None, "{target:?}");
    }
}
