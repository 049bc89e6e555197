use std::fs;

use super::*;
use crate::package::tests::{kernel_files, package};
use crate::testing::{Bench, assert_clean, cat, debugfs, exists, pack_with, small_elf};

/// A static program with busybox's list of names in it.
fn busybox() -> Vec<u8> {
    let mut names = b"usage\0[\0[[\0".to_vec();
    for name in [
        "awk", "cat", "chmod", "cp", "cut", "df", "echo", "hostname", "ifconfig", "ip", "kill",
        "ls", "mkdir", "mount", "mv", "ping", "poweroff", "ps", "reboot", "rm", "sed", "sh",
        "umount", "uname", "zcat",
    ] {
        names.extend(name.as_bytes());
        names.push(0);
    }
    names.extend(b"after it\0");
    small_elf(&names)
}

fn packages(bench: &Bench) -> DemoSources {
    let kernel = package(kernel_files(), &["xz", "-c"], ".xz");
    let files = crate::testing::TarMaker::new().file("./bin/busybox", &busybox());
    bench.put("debs/linux-image-cloud-amd64_6.1_amd64.deb", b"only depends on the others");
    bench.put("debs/linux-image-6.0.9_amd64.deb", b"an old one");
    bench.put("debs/linux-image-6.1.0_amd64.deb", &kernel);
    bench.put("debs/busybox-static_1.35_amd64.deb", &package(files, &["xz", "-c"], ".xz"));
    DemoSources::find(&bench.dir.path().join("debs")).expect("both are there")
}

fn build(guest: bool) -> (Bench, DemoFiles, Demo) {
    let mut bench = Bench::new();
    if guest {
        bench.options.guest = Some(bench.put("agent", &small_elf(b"agent")));
    }
    let sources = packages(&bench);
    let dir = bench.dir.path().join("images");
    fs::create_dir(&dir).expect("a directory can be made");
    let out = DemoFiles::within(&dir);
    let demo = build_demo(&sources, &bench.options, &out, &|_| ());
    let demo = demo.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let mut left: Vec<_> = fs::read_dir(&dir)
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["initrd.img", "root.ext4", "vmlinux"], "only the images are left");
    (bench, out, demo)
}

#[test]
fn packages_become_a_kernel_an_initrd_and_a_root_with_the_agent() {
    let (_bench, out, demo) = build(true);
    assert!(fs::read(&out.kernel).expect("it is there") == small_elf(b"the kernel"));
    assert_clean(&out.root);
    assert_eq!(demo.root.notes, [Note::GuestAgent("a line in /etc/inittab")]);
    let inittab = cat(&out.root, "/etc/inittab");
    assert!(inittab.contains("ttyS0::respawn:-/bin/sh\n"), "{inittab}");
    assert!(inittab.ends_with("::respawn:/usr/lib/banger/banger-guest\n"), "{inittab}");
    assert!(exists(&out.root, "/usr/lib/banger/banger-guest"));
    for applet in ["sh", "zcat", "["] {
        assert!(debugfs(&out.root, &format!("stat /bin/{applet}")).contains("\"busybox\""));
    }
    assert!(debugfs(&out.root, "stat /etc/start").contains("Mode:  0755"));
    let missing = |note: &Note| matches!(note, Note::ModulesMissing(names) if names.contains(&"vsock".to_owned()));
    assert!(demo.initrd.notes.iter().any(missing), "{:?}", demo.initrd.notes);
}

#[test]
fn the_initrd_is_what_cpio_reads_with_modules_in_order() {
    let (bench, out, _) = build(false);
    let packed = fs::read(&out.initrd).expect("it is there");
    let archive = pack_with(&["gzip", "-dc"], &packed);
    let list = String::from_utf8(pack_with(&["cpio", "-it", "--quiet"], &archive)).expect("names");
    for name in ["init", "bin/busybox", "dev", "modules/virtio_net.ko", "modules/order"] {
        assert!(list.lines().any(|line| line == name), "{name} is not in {list}");
    }
    let order = pack_with(&["cpio", "-i", "--quiet", "--to-stdout", "modules/order"], &archive);
    let order = String::from_utf8(order).expect("names");
    let at = |name: &str| order.find(&format!("/modules/{name}.ko\n")).expect("it is there");
    assert!(at("virtio") < at("virtio_ring") && at("virtio_ring") < at("virtio_net"), "{order}");
    assert!(at("failover") < at("net_failover") && at("jbd2") < at("ext4"), "{order}");
    let init = pack_with(&["cpio", "-i", "--quiet", "--to-stdout", "init"], &archive);
    let script = bench.put("init", &init);
    crate::testing::run("sh", &["-n", crate::testing::text(&script)]);
}

#[test]
fn the_same_packages_give_the_same_images() {
    let (_first, _, one) = build(true);
    let (_second, _, two) = build(true);
    assert_eq!(one, two);
}

#[test]
fn the_list_of_names_ends_where_its_order_does_or_is_our_own() {
    let names = busybox::applets(&busybox());
    assert_eq!((names[0].as_str(), names[1].as_str(), names.len()), ("[", "[[", 27));
    assert_eq!(names.last().map(String::as_str), Some("zcat"));
    assert!(busybox::applets(b"nothing of the kind").contains(&"sh".to_owned()));
}

#[test]
fn packages_that_are_missing_are_named() {
    let bench = Bench::new();
    let error = DemoSources::find(bench.dir.path()).expect_err("nothing is there");
    assert!(error.to_string().contains("linux-image-"), "{error}");
}
