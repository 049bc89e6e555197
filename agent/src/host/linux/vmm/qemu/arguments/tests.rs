//! Golden command lines.

use super::*;
use crate::host::RateLimit;
use crate::host::linux::vmm::firecracker::tests::config;

fn id() -> JailId {
    JailId::new("0191e0a0-0000-7000-8000-000000000001").unwrap()
}

fn lines(acceleration: Acceleration, config: &VmmConfig) -> String {
    let args = arguments(&id(), acceleration, config);
    // One option with its value a line.
    args.join(" ").replace(" -", "\n-")
}

#[test]
fn a_whole_machine_as_a_command_line() {
    insta::assert_snapshot!(lines(Acceleration::Software, &config()), @r"
    -nodefaults
    -no-user-config
    -S
    -no-reboot
    -name banger-0191e0a0-0000-7000-8000-000000000001
    -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
    -display none
    -accel tcg,thread=multi,split-wx=on
    -machine q35,usb=off,vmport=off,dump-guest-core=off,mem-merge=off
    -cpu max
    -smp 2
    -m 256M
    -kernel /kernel
    -initrd /initrd
    -append console=ttyS0 reboot=k panic=1
    -chardev socket,id=console,path=/run/console.socket,server=on,wait=off
    -serial chardev:console
    -chardev socket,id=qmp,path=/run/qmp.socket,server=on,wait=off
    -mon chardev=qmp,mode=control
    -drive if=none,id=rootfs,file=/rootfs,format=raw,cache=writeback,aio=threads,werror=report,rerror=report,throttling.bps-total=1000000
    -device virtio-blk-pci,drive=rootfs
    -drive if=none,id=work,file=/work,format=raw,cache=writeback,aio=threads,werror=report,rerror=report
    -device virtio-blk-pci,drive=work
    -netdev tap,id=net0,fd=3
    -device virtio-net-pci,netdev=net0,mac=02:fc:0a:40:00:02,romfile=
    -device virtio-serial-pci
    -chardev socket,id=guest,path=/run/guest.socket,server=on,wait=off
    -device virtserialport,chardev=guest,name=banger.guest.0
    -device virtio-rng-pci
    -device pvpanic
    -action panic=exit-failure
    ");
}

#[test]
fn the_least_machine_under_kvm() {
    let least = VmmConfig {
        vcpus: 1,
        initrd: None,
        interface: None,
        vsock_cid: None,
        metadata_json: None,
        drives: config()
            .drives
            .into_iter()
            .take(1)
            .map(|drive| Drive { read_only: true, limit: RateLimit::default(), ..drive })
            .collect(),
        ..config()
    };
    insta::assert_snapshot!(lines(Acceleration::Kvm, &least), @r"
    -nodefaults
    -no-user-config
    -S
    -no-reboot
    -name banger-0191e0a0-0000-7000-8000-000000000001
    -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
    -display none
    -accel kvm
    -machine q35,usb=off,vmport=off,dump-guest-core=off,mem-merge=off
    -cpu host
    -smp 1
    -m 256M
    -kernel /kernel
    -append console=ttyS0 reboot=k panic=1
    -chardev socket,id=console,path=/run/console.socket,server=on,wait=off
    -serial chardev:console
    -chardev socket,id=qmp,path=/run/qmp.socket,server=on,wait=off
    -mon chardev=qmp,mode=control
    -drive if=none,id=rootfs,file=/rootfs,format=raw,cache=writeback,aio=threads,werror=report,rerror=report,read-only=on
    -device virtio-blk-pci,drive=rootfs
    -device virtio-serial-pci
    -chardev socket,id=guest,path=/run/guest.socket,server=on,wait=off
    -device virtserialport,chardev=guest,name=banger.guest.0
    -device virtio-rng-pci
    -device pvpanic
    -action panic=exit-failure
    ");
}

#[test]
fn what_a_user_writes_stays_one_argument() {
    let hostile = VmmConfig { boot_args: "a,b -S -device x,y".to_owned(), ..config() };
    let args = arguments(&id(), Acceleration::Software, &hostile);
    let at = args.iter().position(|word| word == "-append").unwrap();
    assert_eq!(args[at + 1], "a,b -S -device x,y");
}
