//! Scratch files are replaced whole or not at all, and nothing is reached through a symlink.

use super::*;
use crate::host::BackingFile;
use crate::host::linux::files::beneath::Root;

struct Fixture {
    temp: tempfile::TempDir,
    roots: Arc<Roots>,
    files: LinuxFiles,
}

fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let roots = Arc::new(Roots {
        images: Root::open(&temp.path().join("images")).unwrap(),
        scratch: Root::open(&temp.path().join("vms")).unwrap(),
    });
    Fixture { files: LinuxFiles::new(roots.clone()), roots, temp }
}

fn part(text: &str) -> PathPart {
    PathPart::new(text).unwrap()
}

#[tokio::test]
async fn a_scratch_file_is_read_back_as_it_was_written() {
    let f = fixture();
    let (dir, file) = (part("vm"), part("handles.json"));
    assert_eq!(f.files.ensure_dir(&dir).await.unwrap(), Change::Made);
    assert_eq!(f.files.ensure_dir(&dir).await.unwrap(), Change::AlreadySo);
    assert_eq!(f.files.read(&dir, &file).await.unwrap(), None);
    f.files.replace(&dir, &file, b"one").await.unwrap();
    f.files.replace(&dir, &file, b"2").await.unwrap();
    assert_eq!(f.files.read(&dir, &file).await.unwrap().unwrap(), b"2");
    // No temporary file stays behind.
    let left: Vec<_> = std::fs::read_dir(f.temp.path().join("vms/vm")).unwrap().collect();
    assert_eq!(left.len(), 1);
    assert_eq!(f.files.list_dirs().await.unwrap(), std::slice::from_ref(&dir));
    assert_eq!(f.files.remove(&dir, &file).await.unwrap(), Change::Made);
    assert_eq!(f.files.remove(&dir, &file).await.unwrap(), Change::AlreadySo);
    assert_eq!(f.files.remove_dir(&dir).await.unwrap(), Change::Made);
    assert_eq!(f.files.remove_dir(&dir).await.unwrap(), Change::AlreadySo);
}

#[tokio::test]
async fn writing_into_a_directory_that_is_gone_says_not_found() {
    let f = fixture();
    let error = f.files.replace(&part("vm"), &part("x"), b"1").await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::NotFound);
}

#[tokio::test]
async fn many_writers_of_one_file_leave_one_whole_content() {
    let f = Arc::new(fixture());
    f.files.ensure_dir(&part("vm")).await.unwrap();
    let writers: Vec<_> = (0..32u8)
        .map(|n| {
            let f = f.clone();
            tokio::spawn(async move {
                f.files.replace(&part("vm"), &part("x"), &[n; 5000]).await.unwrap();
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let content = f.files.read(&part("vm"), &part("x")).await.unwrap().unwrap();
    assert_eq!(content.len(), 5000);
    assert!(content.iter().all(|byte| *byte == content[0]));
}

#[tokio::test]
async fn a_symlink_is_never_followed() {
    let f = fixture();
    let outside = f.temp.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "s").unwrap();
    // As a directory.
    std::os::unix::fs::symlink(&outside, f.temp.path().join("vms/vm")).unwrap();
    assert!(f.files.ensure_dir(&part("vm")).await.is_err());
    assert!(f.files.read(&part("vm"), &part("secret")).await.is_err());
    assert!(f.files.replace(&part("vm"), &part("secret"), b"x").await.is_err());
    // Removing it removes the link, not what it points to.
    assert_eq!(f.files.remove_dir(&part("vm")).await.unwrap(), Change::Made);
    assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"s");
    // As a file.
    f.files.ensure_dir(&part("vm")).await.unwrap();
    std::os::unix::fs::symlink(outside.join("secret"), f.temp.path().join("vms/vm/x")).unwrap();
    assert!(f.files.read(&part("vm"), &part("x")).await.is_err());
    assert!(f.files.ensure_sparse(&part("vm"), &part("x"), 10).await.is_err());
    // Replacing puts a file in the link's place.
    f.files.replace(&part("vm"), &part("x"), b"new").await.unwrap();
    assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"s");
    // Deep inside a tree that is removed.
    std::os::unix::fs::symlink(&outside, f.temp.path().join("vms/vm/link")).unwrap();
    f.files.remove_dir(&part("vm")).await.unwrap();
    assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"s");
}

#[tokio::test]
async fn a_sparse_file_takes_no_space_and_never_shrinks() {
    let f = fixture();
    let (dir, file) = (part("vm"), part("root.cow"));
    f.files.ensure_dir(&dir).await.unwrap();
    assert_eq!(f.files.ensure_sparse(&dir, &file, 1 << 30).await.unwrap(), Change::Made);
    assert_eq!(f.files.ensure_sparse(&dir, &file, 1 << 20).await.unwrap(), Change::AlreadySo);
    let facts = f.files.observe(&dir, &file).await.unwrap().unwrap();
    assert_eq!(facts.size_bytes, 1 << 30);
    assert!(facts.allocated_bytes < 1 << 20, "{facts:?}");
    assert_eq!(f.files.observe(&dir, &part("none")).await.unwrap(), None);
    assert_eq!(f.files.observe(&part("gone"), &file).await.unwrap(), None);
}

#[tokio::test]
async fn a_reserved_file_takes_its_whole_length_and_never_shrinks() {
    let f = fixture();
    let (dir, file) = (part("vm"), part("root.cow"));
    f.files.ensure_dir(&dir).await.unwrap();
    // Also one that was sparse before, and no more of that than was asked for.
    f.files.ensure_sparse(&dir, &part("long"), 1 << 30).await.unwrap();
    f.files.ensure_reserved(&dir, &part("long"), 1 << 20).await.unwrap();
    let long = f.files.observe(&dir, &part("long")).await.unwrap().unwrap();
    assert_eq!(long.size_bytes, 1 << 30);
    assert!((1 << 20..1 << 24).contains(&long.allocated_bytes), "{long:?}");
    f.files.ensure_sparse(&dir, &file, 1 << 20).await.unwrap();
    for (asked, change, length) in [
        (1 << 20, Change::Made, 1 << 20),
        (1 << 20, Change::AlreadySo, 1 << 20),
        (4 << 20, Change::Made, 4 << 20),
        (2 << 20, Change::AlreadySo, 4 << 20),
    ] {
        assert_eq!(f.files.ensure_reserved(&dir, &file, asked).await.unwrap(), change, "{asked}");
        let facts = f.files.observe(&dir, &file).await.unwrap().unwrap();
        assert_eq!(facts.size_bytes, length);
        assert!(facts.allocated_bytes >= length, "{facts:?}");
    }
}

#[tokio::test]
async fn a_file_too_large_for_scratch_is_not_read() {
    let f = fixture();
    f.files.ensure_dir(&part("vm")).await.unwrap();
    f.files.ensure_sparse(&part("vm"), &part("x"), READ_LIMIT + 1).await.unwrap();
    let error = f.files.read(&part("vm"), &part("x")).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Invalid);
}

#[tokio::test]
async fn a_fifo_in_place_of_a_file_does_not_hang_the_reader() {
    let f = fixture();
    f.files.ensure_dir(&part("vm")).await.unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        f.temp.path().join("vms/vm/x"),
        FileType::Fifo,
        Mode::RUSR,
        0,
    )
    .unwrap();
    let error = f.files.read(&part("vm"), &part("x")).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Invalid);
}

#[test]
fn a_backing_file_opens_beneath_its_own_root() {
    let f = fixture();
    std::fs::write(f.temp.path().join("images/a"), "A").unwrap();
    let image = BackingFile::Image(crate::host::ImageName::new("a").unwrap());
    assert!(f.roots.open(&image, OFlags::RDONLY).is_ok());
    assert!(f.roots.shown_path(&image).ends_with("images/a"));
}

/// Runs a test with its scratch directories on a file system of four MiB, in a mount namespace of
/// its own that goes away with the thread.
fn on_a_small_disk<F: Future<Output = ()>>(test: impl FnOnce(Arc<Fixture>) -> F + Send + 'static) {
    use nix::mount::{MsFlags, mount};
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("root may");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("root may");
        let temp = tempfile::tempdir().unwrap();
        let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
        mount(Some("small"), temp.path(), Some("tmpfs"), flags, Some("size=4m")).expect("root may");
        let roots = Arc::new(Roots {
            images: Root::open(&temp.path().join("images")).unwrap(),
            scratch: Root::open(&temp.path().join("vms")).unwrap(),
        });
        let inside = temp.path().to_owned();
        let fixture = Arc::new(Fixture { files: LinuxFiles::new(roots.clone()), roots, temp });
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test(fixture.clone()));
        nix::mount::umount2(&inside, nix::mount::MntFlags::MNT_DETACH).expect("root may");
    })
    .join()
    .unwrap();
}

#[test]
fn priv_what_the_disk_has_no_room_for_leaves_no_file_and_no_longer_one() {
    on_a_small_disk(|f| async move {
        let (dir, old, new) = (part("vm"), part("old"), part("new"));
        f.files.ensure_dir(&dir).await.unwrap();
        f.files.ensure_reserved(&dir, &old, 1 << 20).await.unwrap();
        let before = f.files.room().await.unwrap();
        for file in [&old, &new] {
            let error = f.files.ensure_reserved(&dir, file, 8 << 20).await.unwrap_err();
            assert_eq!(error.kind, HostErrorKind::NoSpace, "{error}");
        }
        assert_eq!(f.files.observe(&dir, &old).await.unwrap().unwrap().size_bytes, 1 << 20);
        assert_eq!(f.files.observe(&dir, &new).await.unwrap(), None);
        assert_eq!(f.files.room().await.unwrap(), before);
    });
}

#[test]
fn priv_what_cannot_be_reserved_takes_no_block_of_a_file_that_is_long_enough() {
    on_a_small_disk(|f| async move {
        let (dir, disk) = (part("vm"), part("root.img"));
        f.files.ensure_dir(&dir).await.unwrap();
        f.files.ensure_sparse(&dir, &disk, 1 << 40).await.unwrap();
        let before = f.files.room().await.unwrap();
        let error = f.files.ensure_reserved(&dir, &disk, 8 << 20).await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::NoSpace, "{error}");
        assert_eq!(f.files.room().await.unwrap(), before);
        assert_eq!(f.files.observe(&dir, &disk).await.unwrap().unwrap().allocated_bytes, 0);
    });
}

#[tokio::test]
async fn a_file_is_cut_to_what_it_is_to_be_and_never_made_longer_by_that() {
    let f = fixture();
    let (dir, disk) = (part("vm"), part("root.img"));
    f.files.ensure_dir(&dir).await.unwrap();
    assert_eq!(f.files.shorten(&dir, &disk, 1 << 20).await.unwrap(), Change::AlreadySo);
    assert_eq!(f.files.observe(&dir, &disk).await.unwrap(), None);
    f.files.ensure_sparse(&dir, &disk, 15 << 40).await.unwrap();
    for (size, change) in
        [(1 << 20, Change::Made), (1 << 20, Change::AlreadySo), (2 << 20, Change::AlreadySo)]
    {
        assert_eq!(f.files.shorten(&dir, &disk, size).await.unwrap(), change);
        let found = f.files.observe(&dir, &disk).await.unwrap().unwrap();
        assert_eq!(found.size_bytes, 1 << 20);
    }
}

#[test]
fn priv_a_record_is_replaced_on_a_disk_without_a_block_left() {
    on_a_small_disk(|f| async move {
        let (dir, record) = (part("vm"), part("vm.json"));
        f.files.ensure_dir(&dir).await.unwrap();
        f.files.replace(&dir, &record, b"running").await.unwrap();
        // To the last block, behind the agent's back.
        let filler = f.temp.path().join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        drop(file);
        assert_eq!(f.files.room().await.unwrap().free_bytes, 0);
        for content in ["stopped", "absent"] {
            f.files.replace(&dir, &record, content.as_bytes()).await.unwrap();
            let found = f.files.read(&dir, &record).await.unwrap().unwrap();
            assert_eq!(found, content.as_bytes());
        }
        // No more than what was kept for records: a disk is not made of it.
        let error = f.files.ensure_reserved(&dir, &part("root.cow"), 2 << 20).await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::NoSpace, "{error}");

        // And it is kept again as soon as there is room.
        std::fs::remove_file(&filler).unwrap();
        f.files.replace(&dir, &record, b"running").await.unwrap();
        let ballast = std::fs::metadata(f.temp.path().join("vms/ballast")).unwrap();
        assert_eq!(ballast.len(), 1 << 20);
    });
}

#[test]
fn priv_a_disk_that_turned_read_only_refuses_each_write_and_loses_nothing() {
    use nix::mount::{MsFlags, mount};
    on_a_small_disk(|f| async move {
        let (dir, record, disk) = (part("vm"), part("vm.json"), part("root.cow"));
        f.files.ensure_dir(&dir).await.unwrap();
        f.files.replace(&dir, &record, b"running").await.unwrap();
        f.files.ensure_reserved(&dir, &disk, 1 << 20).await.unwrap();
        // As a kernel does that met an error of the device below.
        let turn = |more: MsFlags| {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | more;
            let none = None::<&str>;
            mount(none, f.temp.path(), none, flags, Some("size=4m")).expect("root may");
        };
        turn(MsFlags::MS_RDONLY);
        let refused = [
            f.files.replace(&dir, &record, b"stopped").await.unwrap_err(),
            f.files.ensure_dir(&part("other")).await.unwrap_err(),
            f.files.ensure_reserved(&dir, &part("new"), 1 << 20).await.unwrap_err(),
            f.files.ensure_sparse(&dir, &part("sparse"), 1 << 20).await.unwrap_err(),
            f.files.remove(&dir, &record).await.unwrap_err(),
            f.files.remove_dir(&dir).await.unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.kind, HostErrorKind::NoSpace, "{error}");
            assert!(error.chain().contains("Read-only file system"), "{}", error.chain());
        }
        assert_eq!(f.files.read(&dir, &record).await.unwrap().unwrap(), b"running");
        assert_eq!(f.files.observe(&dir, &disk).await.unwrap().unwrap().size_bytes, 1 << 20);

        turn(MsFlags::empty());
        f.files.replace(&dir, &record, b"stopped").await.unwrap();
        assert_eq!(f.files.read(&dir, &record).await.unwrap().unwrap(), b"stopped");
        let left: Vec<_> = std::fs::read_dir(f.temp.path().join("vms/vm"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
    });
}

#[tokio::test]
async fn a_survey_tells_of_each_directory_what_is_in_it_and_follows_nothing() {
    let f = fixture();
    let (one, two, cow) = (part("one"), part("two"), part("root.cow"));
    for dir in [&one, &two] {
        f.files.ensure_dir(dir).await.unwrap();
    }
    f.files.ensure_sparse(&one, &cow, 1 << 30).await.unwrap();
    f.files.replace(&one, &part("vm.json"), &[b'x'; 10_000]).await.unwrap();
    std::os::unix::fs::symlink("/etc/passwd", f.temp.path().join("vms/one/link")).unwrap();
    std::fs::write(f.temp.path().join("vms/stray"), "no directory").unwrap();
    std::os::unix::fs::symlink(f.temp.path(), f.temp.path().join("vms/away")).unwrap();
    let mut found = f.files.survey().await.unwrap();
    let away = found.remove(0);
    assert_eq!((away.dir, away.files, away.occupied_bytes), (part("away"), None, 0));
    assert_eq!(found.iter().map(|dir| dir.dir.clone()).collect::<Vec<_>>(), [one, two]);
    assert_eq!(found[0].files, Some(vec![part("link"), cow, part("vm.json")]));
    let occupied = found[0].occupied_bytes;
    assert!((10_000..1 << 20).contains(&occupied), "a sparse file counts what it has: {occupied}");
    assert_eq!((found[1].occupied_bytes, &found[1].files), (0, &Some(vec![])));
}
