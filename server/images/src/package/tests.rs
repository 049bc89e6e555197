use super::*;
use crate::testing::{Bench, TarMaker, pack_with, small_elf};
use crate::{ErrorClass, Wanted};

/// An ELF object whose `.modinfo` says what it needs.
pub(crate) fn module(depends: &str) -> Vec<u8> {
    let info = format!("license=GPL\0depends={depends}\0name=x\0");
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut elf = vec![0; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (elf[16], elf[18], elf[20], elf[52]) = (1, 62, 1, 64);
    elf.extend(info.as_bytes());
    let names_at = elf.len() as u64;
    elf.extend(names);
    elf.resize(elf.len().next_multiple_of(8), 0);
    let sections_at = elf.len() as u64;
    elf[40..48].copy_from_slice(&sections_at.to_le_bytes());
    (elf[58], elf[60], elf[62]) = (64, 3, 2);
    for (name, kind, at, size) in [
        (0_u32, 0_u32, 0_u64, 0_u64),
        (1, 1, 64, info.len() as u64),
        (10, 3, names_at, names.len() as u64),
    ] {
        let mut header = [0; 64];
        header[0..4].copy_from_slice(&name.to_le_bytes());
        header[4..8].copy_from_slice(&kind.to_le_bytes());
        header[24..32].copy_from_slice(&at.to_le_bytes());
        header[32..40].copy_from_slice(&size.to_le_bytes());
        elf.extend(header);
    }
    elf
}

/// A package with these files, packed by `argv`.
pub(crate) fn package(files: TarMaker, argv: &[&str], suffix: &str) -> Vec<u8> {
    let mut deb = b"!<arch>\n".to_vec();
    let data = pack_with(argv, &files.finish());
    let name = format!("data.tar{suffix}");
    for (name, bytes) in
        [("debian-binary", &b"2.0\n"[..]), ("control.tar.xz", b"odd"), (&name, &data)]
    {
        deb.extend(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, bytes.len())
                .as_bytes(),
        );
        deb.extend(bytes);
        if bytes.len() % 2 == 1 {
            deb.push(b'\n');
        }
    }
    deb
}

const MODULES: &str = "./lib/modules/6.1.0/kernel/drivers/";

pub(crate) fn kernel_files() -> TarMaker {
    TarMaker::new()
        .directory("./boot/")
        .file("./boot/vmlinuz-6.1.0", &small_elf(b"the kernel"))
        .file(&format!("{MODULES}net/virtio_net.ko"), &module("net_failover,virtio,virtio_ring"))
        .file(
            &format!("{MODULES}net/net-failover.ko.xz"),
            &pack_with(&["xz", "-c"], &module("failover")),
        )
        .file(&format!("{MODULES}net/failover.ko"), &module(""))
        .file(&format!("{MODULES}virtio/virtio.ko"), &module(""))
        .file(&format!("{MODULES}virtio/virtio_ring.ko"), &module("virtio"))
        .file(&format!("{MODULES}fs/ext4.ko"), &module("jbd2,mbcache,crc16"))
        .file(&format!("{MODULES}fs/jbd2.ko"), &module("deep-one"))
        .file(&format!("{MODULES}fs/mbcache.ko"), &module(""))
        .file(&format!("{MODULES}lib/deep_one.ko"), &module(""))
        .file(&format!("{MODULES}sound/not-wanted.ko"), &module(""))
        .file(
            "./lib/modules/6.1.0/modules.builtin",
            b"kernel/drivers/virtio/virtio_blk.ko\nkernel/lib/crc16.ko\n",
        )
}

#[test]
fn a_kernel_is_taken_out_of_a_package() {
    for (argv, suffix) in [
        (&["xz", "-c"][..], ".xz"),
        (&["zstd", "-cq"], ".zst"),
        (&["gzip", "-c"], ".gz"),
        (&["cat"], ""),
    ] {
        let bench = Bench::new();
        let path = bench.put("linux.deb", &package(kernel_files(), argv, suffix));
        let made = bench.import(&path, Wanted::Auto).unwrap_or_else(|e| panic!("{e}: {e:?}"));
        assert_eq!(made.notes, [Note::KernelRelease("6.1.0".to_owned())]);
        let kernel = std::fs::read(bench.out()).expect("it was made");
        assert!(kernel == small_elf(b"the kernel"));
    }
}

#[test]
fn modules_come_after_what_they_need_and_missing_ones_are_told() {
    let bench = Bench::new();
    let path = bench.put("linux.deb", &package(kernel_files(), &["xz", "-c"], ".xz"));
    let wanted = ["virtio_net", "virtio_ring", "virtio_blk", "vsock", "ext4"];
    let blob = Blob::open(&path, u64::MAX).expect("it is there");
    let package = KernelPackage::open(&blob, &wanted, &bench.out(), &bench.options, &|_| ());
    let failed = package.err().expect("the directory of the output is missing");
    assert_eq!(failed.class(), ErrorClass::Host, "{failed:?}");

    let out = bench.dir.path().join("out");
    let package = KernelPackage::open(&blob, &wanted, &out, &bench.options, &|_| ());
    let package = package.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let modules = package.modules(&wanted, &bench.options, &|_| ());
    let modules = modules.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let order: Vec<_> = modules.in_order.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        order,
        [
            "failover",
            "net_failover",
            "virtio",
            "virtio_ring",
            "virtio_net",
            "deep_one",
            "jbd2",
            "mbcache",
            "ext4",
        ]
    );
    assert_eq!(modules.missing, ["vsock"]);
}

#[test]
fn packages_that_are_none_are_refused() {
    let refuse = |bytes: &[u8]| {
        let bench = Bench::new();
        let path = bench.put("linux.deb", bytes);
        let error = bench.import(&path, Wanted::Kernel).expect_err("it is no kernel's package");
        assert_eq!(error.class(), ErrorClass::Refused, "{error:?}");
        error.to_string()
    };
    let whole = package(kernel_files(), &["xz", "-c"], ".xz");
    assert!(refuse(&whole[..whole.len() - 50]).contains("ends too early"));
    assert!(refuse(&whole[..100]).contains("no package with a data.tar"));
    assert!(refuse(&package(TarMaker::new(), &["cat"], "")).contains("no kernel in /boot"));
    let two = kernel_files().file("./boot/vmlinuz-6.2", b"");
    assert!(refuse(&package(two, &["cat"], "")).contains("several kernels"));
    let evil = kernel_files().file("../boot/x", b"");
    assert!(refuse(&package(evil, &["cat"], "")).contains("\"..\""));
    assert!(refuse(b"\xed\xab\xee\xdb and more").contains("an RPM package"));
}

#[test]
fn modules_that_are_none_are_damaged() {
    let bench = Bench::new();
    let files =
        TarMaker::new().file("boot/vmlinuz-1", b"").file("lib/modules/1/kernel/a.ko", b"no module");
    let path = bench.put("linux.deb", &package(files, &["cat"], ""));
    let blob = Blob::open(&path, u64::MAX).expect("it is there");
    let out = bench.dir.path().join("out");
    let package = KernelPackage::open(&blob, &["a"], &out, &bench.options, &|_| ());
    let error = package.err().expect("it is no module");
    assert!(error.to_string().contains("no module of a kernel"), "{error}");
}

#[test]
fn modules_that_a_package_has_without_end_are_too_many() {
    let bench = Bench::new();
    let out = bench.dir.path().join("out");
    let wanted = ["first"];
    let modules_of = |files: TarMaker| {
        let path = bench.put("many.deb", &package(files, &["gzip", "-c"], ".gz"));
        let blob = Blob::open(&path, u64::MAX).expect("it is there");
        let opened = KernelPackage::open(&blob, &wanted, &out, &bench.options, &|_| ())?;
        opened.modules(&wanted, &bench.options, &|_| ()).map(|modules| modules.in_order.len())
    };
    let file = |tar: TarMaker, name: &str, needs: &[String]| {
        tar.file(&format!("{MODULES}{name}.ko"), &module(&needs.join(",")))
    };
    let names =
        |of: &str, count: usize| (0..count).map(|at| format!("{of}{at}")).collect::<Vec<_>>();
    let kernel = || TarMaker::new().file("./boot/vmlinuz-6.1.0", &small_elf(b"the kernel"));

    let fit = file(file(kernel(), "first", &names("a", 256)), "a0", &[]);
    assert_eq!(modules_of(fit).expect("nobody needs more"), 2);
    // One that names more than any of Linux needs.
    let error = modules_of(file(kernel(), "first", &names("a", 257))).expect_err("too many");
    assert!(matches!(error, ImportError::Damaged { .. }), "{error:?}");
    // Or by a name that no module has.
    let long = ["n".repeat(57)];
    let error = modules_of(file(kernel(), "first", &long)).expect_err("too long");
    assert!(matches!(error, ImportError::Damaged { .. }), "{error:?}");
    // A few that name more in all than there are.
    let first = file(kernel(), "first", &names("a", 4));
    let wide = names("a", 4).iter().fold(first, |tar, name| file(tar, name, &names(name, 256)));
    let error = modules_of(wide).expect_err("too many");
    assert!(matches!(error, ImportError::Limit { limit: 1024, .. }), "{error:?}");
    // And what is kept of them is bounded in bytes.
    let mut kept = Kept { by_name: BTreeMap::new(), bytes: MOST_KEPT_BYTES - 1 };
    kept.keep("fits".to_owned(), vec![0]).expect("it fits");
    let stop = kept.keep("more".to_owned(), vec![0]).expect_err("one byte too many");
    assert!(matches!(stop, Stop::Limit { limit: MOST_KEPT_BYTES, .. }), "{stop:?}");
}

#[test]
fn a_package_has_one_list_of_what_is_built_in() {
    let bench = Bench::new();
    let files = kernel_files().file("./usr/lib/modules/other/modules.builtin", b"kernel/a.ko\n");
    let path = bench.put("linux.deb", &package(files, &["gzip", "-c"], ".gz"));
    let error = bench.import(&path, Wanted::Kernel).expect_err("there are two");
    assert!(error.to_string().contains("several lists"), "{error}");
}
