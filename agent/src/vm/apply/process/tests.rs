//! What the guest's kernel is told.

use banger_proto::bounds::{MAX_BOOT_ARGS_BYTES, MAX_COMMAND_LINE_BYTES};

use super::*;
use crate::vm::fixtures::shape;

/// What Firecracker adds itself at the start, with its closing NUL: `pci=off`, the root disk, and a
/// device for each of two disks, network and vsock.
const ADDED: usize = " pci=off".len()
    + " root=/dev/vda rw".len()
    + 4 * " virtio_mmio.device=4K@0x00000000d0000000:255".len()
    + 1;

#[test]
fn the_longest_command_line_of_the_api_fits_with_all_that_is_added() {
    let mut shape = shape(1);
    shape.boot_args = "a".repeat(MAX_BOOT_ARGS_BYTES);
    shape.name = "n".repeat(63);
    let longest = "255.255.255.254".parse().expect("an address");
    (shape.network.address, shape.network.gateway) = (longest, longest);
    let args = boot_args(&shape, &[longest; 3]);
    assert!(args.contains(" ip=255.255.255.254::255.255.255.254:"), "{args}");
    assert!(args.len() + ADDED <= MAX_COMMAND_LINE_BYTES, "{} and {ADDED} bytes", args.len());
}

#[test]
fn a_command_line_that_says_its_network_is_left_as_it_is() {
    let mut shape = shape(1);
    shape.boot_args = "quiet ip=dhcp".to_owned();
    assert_eq!(boot_args(&shape, &[]), "quiet ip=dhcp");
    shape.boot_args = "quiet".to_owned();
    assert!(boot_args(&shape, &[]).starts_with("quiet ip="));
}

#[test]
fn a_guest_without_cloud_init_is_told_two_name_servers() {
    let dns = ["192.0.2.53", "192.0.2.54", "192.0.2.55"].map(|text| text.parse().expect("is one"));
    let args = boot_args(&shape(1), &dns);
    assert!(args.ends_with(":eth0:off:192.0.2.53:192.0.2.54"), "{args}");
    assert!(boot_args(&shape(1), &[]).ends_with(":eth0:off"));
}
