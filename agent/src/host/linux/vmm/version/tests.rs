//! Versions as the programs print them.

use super::*;

#[test]
fn the_vmm_is_named_by_its_version() {
    let real = "Firecracker v1.16.1\n\nSupported snapshot data format versions: v8.0.0\n";
    assert_eq!(vmm_from_version(real).as_deref(), Some("firecracker 1.16.1"));
    assert_eq!(vmm_from_version("Firecracker stand-in v1\n").as_deref(), Some("stand-in"));
    assert_eq!(vmm_from_version("bash 5\n"), None);
    assert_eq!(vmm_from_version(""), None);
}

#[test]
fn qemus_version_is_read_and_nothing_else_is_taken_for_one() {
    let debian = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright";
    assert_eq!(qemu_version(debian).as_deref(), Some("7.2.22"));
    assert_eq!(qemu_version("QEMU emulator version 10.0.2\n").as_deref(), Some("10.0.2"));
    for text in ["", "QEMU", "QEMU emulator version ", "QEMU emulator version a\u{7}b"] {
        assert_eq!(qemu_version(text), None, "{text:?}");
    }
}
