//! What the guest's kernel is told.

use super::*;
use crate::vm::fixtures::shape;

/// What Firecracker takes on x86: `CMDLINE_MAX_SIZE`, `src/vmm/src/arch/x86_64/layout.rs`.
const MOST: usize = 2048;

/// What it adds itself at the start, with its closing NUL: `pci=off`, the root disk, and a device
/// for each of two disks, network and vsock.
const ADDED: usize = " pci=off".len()
    + " root=/dev/vda rw".len()
    + 4 * " virtio_mmio.device=4K@0x00000000d0000000:255".len()
    + 1;

#[test]
fn the_longest_command_line_of_the_api_fits_with_all_that_is_added() {
    let mut shape = shape(1);
    // The longest the server takes, MAX_BOOT_ARGS_LEN.
    shape.boot_args = "a".repeat(1536);
    shape.name = "n".repeat(63);
    let longest = "255.255.255.254".parse().expect("an address");
    (shape.network.address, shape.network.gateway) = (longest, longest);
    let args = boot_args(&shape, &[longest; 3]);
    assert!(args.contains(" ip=255.255.255.254::255.255.255.254:"), "{args}");
    assert!(args.len() + ADDED <= MOST, "{} and {ADDED} bytes", args.len());
}

#[test]
fn a_command_line_that_says_its_network_is_left_as_it_is() {
    let mut shape = shape(1);
    shape.boot_args = "quiet ip=dhcp".to_owned();
    assert_eq!(boot_args(&shape, &[]), "quiet ip=dhcp");
    shape.boot_args = String::new();
    assert!(boot_args(&shape, &[]).starts_with("console=ttyS0 reboot=k panic=1 ip="));
}

#[test]
fn a_guest_without_cloud_init_is_told_two_name_servers() {
    let dns = ["192.0.2.53", "192.0.2.54", "192.0.2.55"].map(|text| text.parse().expect("is one"));
    let args = boot_args(&shape(1), &dns);
    assert!(args.ends_with(":eth0:off:192.0.2.53:192.0.2.54"), "{args}");
    assert!(boot_args(&shape(1), &[]).ends_with(":eth0:off"));
}
