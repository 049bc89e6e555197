use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::Wanted;
use crate::testing::{
    Bench, TarMaker, assert_clean, cat, debugfs, exists, gzip, pack_with, run, small_elf, text,
};

fn small_tree() -> TarMaker {
    TarMaker::new()
        .entry(b'5', b"./", b"", 0o755, b"")
        .directory("etc/")
        .file("etc/motd", b"hello\n")
        .owned(b'0', b"bin/su", b"", 0o4711, (0, 42), b"program")
        .hard_link("bin/sg", "bin/su")
        .symlink("lib", "usr/lib")
}

#[test]
fn a_tar_archive_becomes_a_file_system_however_it_is_packed() {
    let plain = small_tree().finish();
    let mut digests = Vec::new();
    let xz = pack_with(&["xz", "-c"], &plain);
    let zstd = pack_with(&["zstd", "-c", "-q"], &plain);
    for archive in [&plain[..], &gzip(&plain), &xz, &zstd] {
        let bench = Bench::new();
        let made = bench.root(&bench.put("archive", archive));
        assert_eq!((made.kind, made.size_bytes), (Kind::Root, 16 << 20));
        let out = bench.out();
        assert_eq!(cat(&out, "/etc/motd"), "hello\n");
        let su = debugfs(&out, "stat /bin/su");
        assert!(su.contains("Mode:  04711") && su.contains("Links: 2"), "{su}");
        assert!(su.contains("User:     0   Group:    42"), "{su}");
        assert!(debugfs(&out, "stat /lib").contains("Fast link dest: \"usr/lib\""));
        digests.push(made.sha256_hex());
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "the same tree, the same digest");
}

#[test]
fn what_a_guest_needs_is_added_where_it_is_missing() {
    let bench = Bench::new();
    let archive = small_tree().file("etc/hostname", b"mine\n").finish();
    let made = bench.root(&bench.put("archive", &archive));
    assert_eq!(made.notes, [Note::NoInit]);
    let out = bench.out();
    for path in ["/proc", "/sys", "/dev", "/run", "/etc/resolv.conf", "/lost+found"] {
        assert!(exists(&out, path), "{path}");
    }
    assert!(debugfs(&out, "stat /tmp").contains("Mode:  01777"));
    assert_eq!(cat(&out, "/etc/hostname"), "mine\n", "what is there stays");
}

#[test]
fn a_directory_is_taken_with_its_links_and_owners() {
    let bench = Bench::new();
    let file = bench.put("tree/etc/config", b"words");
    let dir = bench.dir.path().join("tree");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("a mode");
    std::fs::hard_link(&file, dir.join("same")).expect("a hard link");
    symlink("etc/config", dir.join("soft")).expect("a symbolic link");
    std::fs::create_dir(dir.join("empty")).expect("a directory");
    let big: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    bench.put("tree/big", &big);
    bench.root(&dir);
    let out = bench.out();
    assert_eq!(cat(&out, "/same"), "words");
    let stat = debugfs(&out, "stat /etc/config");
    assert!(stat.contains("Mode:  0640") && stat.contains("Links: 2"), "{stat}");
    assert!(debugfs(&out, "stat /soft").contains("\"etc/config\""));
    assert!(exists(&out, "/empty"));
    let copy = bench.dir.path().join("copy");
    debugfs(&out, &format!("dump /big {}", text(&copy)));
    assert!(std::fs::read(copy).expect("it was dumped") == big);
}

#[test]
fn a_link_that_leads_out_of_a_directory_is_the_guests_own_and_never_followed() {
    let bench = Bench::new();
    bench.put("tree/a/file", b"");
    bench.put("secret", b"not yours");
    symlink("../../secret", bench.dir.path().join("tree/a/link")).expect("a symbolic link");
    bench.import(&bench.dir.path().join("tree"), Wanted::Auto).expect("it is taken");
    assert_clean(&bench.out());
    assert!(debugfs(&bench.out(), "stat /a/link").contains("\"../../secret\""));
    assert!(!exists(&bench.out(), "/secret"));
}

#[test]
fn an_ext4_file_with_quota_is_taken_and_its_owner_told() {
    let bench = Bench::new();
    let image = bench.dir.path().join("quota.ext4");
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-O", "quota", text(&image), "16m"]);
    let made = bench.root(&image);
    let notes: Vec<_> = made.notes.iter().map(ToString::to_string).collect();
    assert!(notes.iter().any(|note| note.contains("tune2fs -O ^quota")), "{notes:?}");
}

#[test]
fn an_ext4_file_is_taken_as_it_is() {
    let bench = Bench::new();
    let made = bench.root(&bench.put("archive", &small_tree().finish()));
    let image = bench.dir.path().join("other.ext4");
    std::fs::rename(bench.out(), &image).expect("it can be moved");
    let again = bench.import(&image, Wanted::Auto).expect("it is ext4");
    assert_eq!((again.sha256, again.size_bytes), (made.sha256, made.size_bytes));
    assert_clean(&bench.out());

    let bytes = std::fs::read(&image).expect("it can be read");
    let cut = Bench::new();
    let error = cut.import(&cut.put("cut", &bytes[..1 << 20]), Wanted::Root).expect_err("cut");
    assert!(error.to_string().contains("but the file has 1048576"), "{error}");
    let mut dirty = bytes;
    dirty[1024 + 96] |= 4;
    let bench = Bench::new();
    let error = bench.import(&bench.put("dirty", &dirty), Wanted::Root).expect_err("dirty");
    assert!(error.to_string().contains("was not unmounted cleanly"), "{error}");
}

#[test]
fn the_guest_agent_becomes_the_init_of_an_image_without_one() {
    let mut bench = Bench::new();
    let agent = small_elf(b"the agent");
    bench.options.guest = Some(bench.put("agent", &agent));
    let made = bench.root(&bench.put("archive", &small_tree().finish()));
    assert_eq!(made.notes, [Note::GuestAgent("being /sbin/init")]);
    let out = bench.out();
    let stat = debugfs(&out, "stat /usr/lib/banger/banger-guest");
    assert!(stat.contains("Mode:  0755"), "{stat}");
    assert!(debugfs(&out, "stat /sbin/init").contains("\"/usr/lib/banger/banger-guest\""));
    let copy = bench.dir.path().join("copy");
    debugfs(&out, &format!("dump /usr/lib/banger/banger-guest {}", text(&copy)));
    assert!(std::fs::read(copy).expect("it was dumped") == agent);
}

#[test]
fn systemd_gets_a_unit_even_where_directories_are_links() {
    let mut bench = Bench::new();
    bench.options.guest = Some(bench.put("agent", &small_elf(b"")));
    let archive = TarMaker::new()
        .symlink("lib", "usr/lib")
        .symlink("sbin", "usr/sbin")
        .file("usr/lib/systemd/systemd", b"")
        .symlink("usr/sbin/init", "/lib/systemd/systemd");
    let made = bench.root(&bench.put("archive", &archive.finish()));
    assert_eq!(made.notes, [Note::GuestAgent("systemd")]);
    let out = bench.out();
    let unit = cat(&out, "/etc/systemd/system/banger-guest.service");
    assert!(unit.contains("ExecStart=/usr/lib/banger/banger-guest"), "{unit}");
    let wanted = "/etc/systemd/system/multi-user.target.wants/banger-guest.service";
    assert!(debugfs(&out, &format!("stat {wanted}")).contains("\"../banger-guest.service\""));
}

#[test]
fn an_inittab_gets_a_line_in_its_own_language() {
    let init = |text: &str| {
        let mut bench = Bench::new();
        bench.options.guest = Some(bench.put("agent", &small_elf(b"")));
        let archive = TarMaker::new().file("sbin/init", b"").file("etc/inittab", text.as_bytes());
        let made = bench.root(&bench.put("archive", &archive.finish()));
        assert_eq!(made.notes, [Note::GuestAgent("a line in /etc/inittab")]);
        cat(&bench.out(), "/etc/inittab")
    };
    let busybox = init("::sysinit:/etc/start");
    assert_eq!(busybox, "::sysinit:/etc/start\n::respawn:/usr/lib/banger/banger-guest\n");
    let sysv = init("# x:y:initdefault\nid:2:initdefault:\n");
    assert!(sysv.ends_with("\nbg:2345:respawn:/usr/lib/banger/banger-guest\n"), "{sysv}");
}

#[test]
fn an_init_that_is_not_known_is_said_to_be() {
    let mut bench = Bench::new();
    bench.options.guest = Some(bench.put("agent", &small_elf(b"")));
    let archive = TarMaker::new().file("sbin/init", b"own").finish();
    let made = bench.root(&bench.put("archive", &archive));
    assert_eq!(made.notes, [Note::GuestAgentNotStarted]);
    assert_eq!(cat(&bench.out(), "/sbin/init"), "own");
}

#[test]
fn an_agent_that_would_not_run_everywhere_is_refused() {
    let mut bench = Bench::new();
    bench.options.guest = Some(bench.put("agent", b"#!/bin/sh\n"));
    let error = bench.refusal(&small_tree().finish());
    assert!(error.to_string().contains("as a program for every guest"), "{error}");
}

#[test]
fn an_image_with_a_file_where_we_need_a_directory_is_refused() {
    for archive in [
        TarMaker::new().file("proc", b""),
        TarMaker::new().symlink("etc", "nowhere"),
        TarMaker::new().symlink("etc", "etc"),
    ] {
        let error = Bench::new().refusal(&archive.finish());
        assert!(error.to_string().contains("that is no directory"), "{error}");
    }
}

#[test]
fn a_source_that_changes_while_it_is_read_is_refused() {
    let bench = Bench::new();
    let path = bench.put("tree/file", b"before");
    let dir = bench.dir.path().join("tree");
    let report = |progress: Progress| {
        let _ = progress;
    };
    let root = Root::of_directory(&dir, &bench.options, &report).expect("it can be read");
    std::fs::create_dir(bench.dir.path().join("out")).expect("a directory");
    std::fs::write(path, b"after that it is longer").expect("it can be written");
    let error = root.write(None, &bench.out()).expect_err("it changed");
    assert!(matches!(error, ImportError::Refused { why: Refusal::Changed, .. }), "{error:?}");
}

#[test]
fn a_cancelled_import_leaves_what_was_there() {
    let bench = Bench::new();
    bench.root(&bench.put("archive", &small_tree().finish()));
    let before = std::fs::read(bench.out()).expect("it is there");
    bench.options.cancel.cancel();
    let big = TarMaker::new().file("big", &[1; 3 << 20]).finish();
    let (path, report) = (bench.put("big", &big), |_: Progress| ());
    let error = crate::make_from_path(&path, Wanted::Root, &bench.options, &bench.out(), &report);
    assert!(matches!(error, Err(ImportError::Cancelled)), "{error:?}");
    assert!(std::fs::read(bench.out()).expect("it is there") == before);
}

#[test]
fn room_that_is_to_be_left_is_left_whatever_is_made() {
    let reserved = |bench: &Bench| {
        let directory = bench.dir.path().to_owned();
        Some(crate::Room { directory, reserve_bytes: u64::MAX })
    };
    let archive = TarMaker::new().file("big", &[7; 3 << 20]).finish();
    let good = Bench::new();
    good.root(&good.put("archive", &archive));
    let ext4 = std::fs::read(good.out()).expect("it is there");
    let cpio = b"070701".repeat(1000);
    for (name, bytes) in [("archive", &archive), ("ext4", &ext4), ("initrd", &cpio)] {
        let mut bench = Bench::new();
        bench.options.room = reserved(&bench);
        let path = bench.put(name, bytes);
        let error = bench.import(&path, Wanted::Auto).expect_err("there is no room");
        assert!(matches!(error, crate::ImportError::NoRoom { .. }), "{name}: {error:?}");
    }
}
