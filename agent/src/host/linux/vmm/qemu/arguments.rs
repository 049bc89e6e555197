//! QEMU's command line for a machine: qemu(1), its `docs/system`. No I/O.
//!
//! The machine is `q35` with virtio devices on PCI: under software emulation it boots a stock
//! kernel as fast as the smaller `microvm` does, and needs nothing of it that distributions leave
//! out. (`microvm` tells its devices by ACPI, and then has no timer that a guest without KVM's
//! clock could be calibrated by; or by the kernel's command line, which Debian's kernel does not
//! read.) The kernel is started directly, as an ELF file with the PVH entry, like Firecracker does.
//!
//! All paths are of the jail. Nothing that a user may choose is parsed by QEMU but the kernel's
//! command line, which is one argument of its own and not split at commas.

use banger_wire::guest_link::SERIAL_PORT;

use super::jail::TAP;
use crate::host::kind::qemu_name;
use crate::host::linux::vmm::choice::Acceleration;
use crate::host::{Drive, JailId, NetInterface, PathPart, VmmConfig, VmmKind, in_jail};

fn seen(name: &PathPart) -> String {
    format!("/{name}")
}

/// Everything after the program's name.
pub(crate) fn arguments(
    id: &JailId,
    acceleration: Acceleration,
    config: &VmmConfig,
) -> Vec<String> {
    let mut args: Vec<String> = Vec::new();
    let mut flag = |name: &str| args.push(name.to_owned());
    // Nothing that is not said here, nothing from files in the host's directories, no window, no
    // monitor for people; the processors wait for `cont`; a reboot of the guest ends it, as under
    // Firecracker.
    for name in ["-nodefaults", "-no-user-config", "-S", "-no-reboot"] {
        flag(name);
    }
    let mut pair = |name: &str, value: String| args.extend([name.to_owned(), value]);
    pair("-name", qemu_name(id));
    pair(
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".to_owned(),
    );
    pair("-display", "none".to_owned());
    let (accel, cpu) = match acceleration {
        Acceleration::Kvm => ("kvm", "host"),
        // Code that is made is never writable where it is executable: the agent's unit, whose rules
        // hold for its children, forbids the other way.
        Acceleration::Software => ("tcg,thread=multi,split-wx=on", "max"),
    };
    pair("-accel", accel.to_owned());
    pair("-machine", "q35,usb=off,vmport=off,dump-guest-core=off,mem-merge=off".to_owned());
    pair("-cpu", cpu.to_owned());
    pair("-smp", config.vcpus.to_string());
    pair("-m", format!("{}M", config.memory_mib));
    pair("-kernel", seen(&config.kernel));
    if let Some(initrd) = &config.initrd {
        pair("-initrd", seen(initrd));
    }
    pair("-append", config.boot_args.clone());
    // Sockets that QEMU listens on: whoever connects is served, and while nobody does the guest
    // goes on and what it prints is dropped.
    let socket = |id: &str, path: &str| format!("socket,id={id},path={path},server=on,wait=off");
    pair("-chardev", socket("console", in_jail::CONSOLE_SOCKET));
    pair("-serial", "chardev:console".to_owned());
    pair("-chardev", socket("qmp", in_jail::api_socket(VmmKind::Qemu)));
    pair("-mon", "chardev=qmp,mode=control".to_owned());
    for drive in &config.drives {
        pair("-drive", block(drive));
        pair("-device", format!("virtio-blk-pci,drive={}", drive.id));
    }
    if let Some(net) = &config.interface {
        for (name, value) in network(net) {
            pair(name, value);
        }
    }
    // To the guest agent: vsock would need a module of the host's kernel that many have not.
    pair("-device", "virtio-serial-pci".to_owned());
    pair("-chardev", socket("guest", in_jail::GUEST_SOCKET));
    pair("-device", format!("virtserialport,chardev=guest,name={SERIAL_PORT}"));
    pair("-device", "virtio-rng-pci".to_owned());
    // Tells of a guest whose kernel panicked, where it has the driver; that is no shutdown.
    pair("-device", "pvpanic".to_owned());
    pair("-action", "panic=exit-failure".to_owned());
    args
}

/// A disk. What the guest flushes reaches the disk; what fails, fails in the guest.
fn block(drive: &Drive) -> String {
    let mut text = format!(
        "if=none,id={},file={},format=raw,cache=writeback,aio=threads,werror=report,rerror=report",
        drive.id,
        seen(&drive.name),
    );
    if drive.read_only {
        text.push_str(",read-only=on");
    }
    if drive.limit.bytes_per_second > 0 {
        text.push_str(&format!(",throttling.bps-total={}", drive.limit.bytes_per_second));
    }
    if drive.limit.ops_per_second > 0 {
        text.push_str(&format!(",throttling.iops-total={}", drive.limit.ops_per_second));
    }
    text
}

/// The interface on its tap. QEMU has no limiter for network devices: those of the spec are not
/// kept here.
fn network(net: &NetInterface) -> [(&'static str, String); 2] {
    [
        // Opened for it by its jailer: it cannot open another, nor this one again.
        ("-netdev", format!("tap,id=net0,fd={TAP}")),
        ("-device", format!("virtio-net-pci,netdev=net0,mac={},romfile=", net.mac)),
    ]
}

#[cfg(test)]
mod tests;
