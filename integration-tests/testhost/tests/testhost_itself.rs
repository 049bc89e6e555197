//! The test host itself: that it comes up, is a real Linux host, and forgets.
//!
//! Needs root, QEMU and Debian's packages; the first run builds the image. One host, because
//! starting one costs seconds; each claim says by its message which it is.

use std::io::{Read, Write};
use std::time::Duration;

use banger_testhost::host::TestHost;
use banger_testhost::host::payload::IMAGES;

#[test]
fn a_host_comes_up_with_everything_banger_needs_and_goes_down() {
    let host = TestHost::start("itself", &[]).expect("a host");

    let kernel = host.sh("uname -r").expect("runs");
    assert!(kernel.ends_with("-cloud-amd64"), "{kernel}");
    assert_eq!(
        host.sh("cat /etc/hostname /proc/sys/kernel/hostname | tail -1").expect("runs"),
        "itself"
    );
    assert_eq!(host.run(&["sh", "-c", "exit 3"]).expect("runs").code, 3, "exit codes come back");

    for tool in ["dmsetup", "losetup", "ip", "iptables-restore", "nft", "mke2fs", "modprobe"] {
        host.sh(&format!("command -v {tool}")).unwrap_or_else(|why| panic!("{tool}: {why}"));
    }
    host.sh("test -c /dev/kvm && test -c /dev/net/tun && test -c /dev/loop-control")
        .expect("devices");
    host.sh("test -e /sys/fs/cgroup/cgroup.controllers").expect("cgroup version 2");
    for image in ["vmlinux", "initrd", "root.ext4"] {
        host.sh(&format!("test -s {IMAGES}/{image}")).expect("guest images");
    }
    assert_eq!(host.sh(&format!("head -c 4 {IMAGES}/vmlinux | tail -c 3")).expect("runs"), "ELF");

    host.sh("set -e; cd /data; truncate -s 8M base cow; \
         base=$(losetup -f --show -r base); cow=$(losetup -f --show cow); \
         dmsetup create try --table \"0 16384 snapshot $base $cow P 8\"; dmsetup mknodes; \
         echo written >/dev/mapper/try; head -c 7 /dev/mapper/try | grep -q written; \
         ! head -c 7 base | grep -q written; \
         dmsetup remove try; losetup -d $base $cow; rm base cow")
        .expect("a device-mapper snapshot takes writes and the base stays as it was");
    host.sh("set -e; ip link add br0 type bridge; ip tuntap add tap0 mode tap user 200002; \
         ip link set tap0 master br0 up; \
         iptables -w -t nat -A POSTROUTING -s 10.64.0.2/32 -o eth0 -j MASQUERADE; \
         iptables -w -A FORWARD -i tap0 -o eth0 -j ACCEPT; \
         iptables -w -A FORWARD -i eth0 -o tap0 -m state --state RELATED,ESTABLISHED -j ACCEPT; \
         iptables -w -A FORWARD -m comment --comment banger:bg:x -j RETURN; \
         iptables -w -F; iptables -w -t nat -F; ip link del tap0; ip link del br0")
        .expect("bridge, tap and rules");
    let route = host.sh("ip route show default").expect("runs");
    assert!(route.starts_with("default via 10.0.2.2 dev eth0"), "{route}");

    // An orphan is reaped, as by any init: else a VM's ended process would stay a zombie.
    let orphan = host.sh("sh -c 'sleep 0.2 & echo $!'").expect("runs");
    host.wait_until("the orphan is reaped", Duration::from_secs(20), || {
        let state = host.run(&["sh", "-c", &format!("grep State /proc/{orphan}/status")])?;
        let gone = state.stdout.is_empty();
        Ok(if gone { Ok(()) } else { Err(String::from_utf8_lossy(&state.stdout).into_owned()) })
    })
    .expect("reaped");

    let pid = host.spawn("sleep 1000", "/tmp/log").expect("spawns");
    assert_eq!(host.sh(&format!("cat /proc/{pid}/comm")).expect("runs"), "sleep");
    host.sh(&format!("kill {pid}")).expect("runs");

    host.write("/tmp/file", &[0, 1, 2, 255]).expect("writes");
    assert_eq!(host.read("/tmp/file").expect("reads"), [0, 1, 2, 255]);

    host.spawn("busybox nc -l -p 9999 -e cat", "/tmp/log").expect("spawns");
    host.sh("until cat /proc/net/tcp /proc/net/tcp6 | grep -q ':270F '; do sleep 0.05; done")
        .expect("listens");
    let address = host.forward(9999).expect("a port");
    let mut stream = std::net::TcpStream::connect(address).expect("connects");
    stream.write_all(b"through").expect("writes");
    let mut back = [0; 7];
    stream.read_exact(&mut back).expect("reads");
    assert_eq!(&back, b"through", "ports of the host's loopback are forwarded");

    let out = host.sh("ping -c 1 -W 3 192.0.2.1 >/dev/null && echo out || echo closed");
    assert_eq!(out.expect("runs"), "closed", "nothing leaves the machine");

    host.sh("touch /root/mark /data/mark; sync").expect("writes");
    host.power_off().expect("goes down");

    let again = TestHost::start("again", &[]).expect("a host");
    again.sh("! test -e /root/mark && ! test -e /data/mark").expect("nothing is remembered");
}
