use std::collections::BTreeMap;
use std::fs::File;

use proptest::prelude::*;

use super::*;
use crate::testing::{assert_clean, cat, debugfs};
use crate::tree::{Body, Contents, Ino, Meta, ROOT, Tree};

fn file(size: u64) -> Body {
    Body::File { size, contents: Contents::Bytes(Vec::new().into()) }
}

/// Writes a tree; each file holds its own inode number again and again.
fn written(tree: &mut Tree, size: Option<u64>) -> (tempfile::NamedTempFile, Plan) {
    let out = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let plan = Plan::new(tree, size, &|| false).unwrap_or_else(|error| panic!("{error}"));
    plan.write_structures(tree, out.as_file(), &|| false).expect("it can be written");
    for ino in 0..tree.len() {
        let Body::File { size, .. } = tree.inode(ino).body else { continue };
        let Some(mut writer) = plan.file_writer(ino, out.as_file()) else { continue };
        let mut left = size;
        let pattern = format!("{ino} ").repeat(1000).into_bytes();
        while left > 0 {
            let part = left.min(pattern.len() as u64) as usize;
            writer.write(&pattern[..part]).expect("it can be written");
            left -= part as u64;
        }
        assert!(writer.is_complete());
    }
    (out, plan)
}

fn add(tree: &mut Tree, directory: Ino, name: &[u8], body: Body) -> Ino {
    let ino = tree.add(Meta::root(0o644, 1_700_000_000), body);
    tree.link(directory, name, ino, 1);
    ino
}

fn directory(tree: &mut Tree, parent: Ino, name: &[u8]) -> Ino {
    add(tree, parent, name, Body::Directory(BTreeMap::new()))
}

#[test]
fn an_empty_tree_is_a_clean_file_system_of_every_size() {
    for mebibytes in [16, 17, 127, 128, 129, 130, 256, 1023, 1024, 4096, 20_000] {
        let (out, plan) = written(&mut Tree::new(), Some(mebibytes << 20));
        assert!(plan.size_bytes() <= mebibytes << 20);
        assert!(plan.size_bytes() > (mebibytes << 20) * 9 / 10, "{mebibytes} MiB are used");
        assert_clean(out.path());
    }
}

#[test]
fn a_size_that_cannot_be_says_what_is_needed() {
    let Err(PlanError::TooSmall { needed_bytes }) =
        Plan::new(&mut Tree::new(), Some(1 << 20), &|| false)
    else {
        panic!("a file system of 1 MiB");
    };
    let plan =
        Plan::new(&mut Tree::new(), Some(needed_bytes), &|| false).expect("what it said is enough");
    assert!(plan.size_bytes() <= needed_bytes);

    let mut tree = Tree::new();
    add(&mut tree, ROOT, b"big", file(300 << 20));
    let Err(PlanError::TooSmall { needed_bytes }) =
        Plan::new(&mut tree, Some(300 << 20), &|| false)
    else {
        panic!("300 MiB in 300 MiB");
    };
    written(&mut tree, Some(needed_bytes));
}

#[test]
fn contents_that_cross_groups_are_whole() {
    let mut tree = Tree::new();
    // Past 128 MiB it cannot lie in one group, past four extents not in the inode.
    let ino = add(&mut tree, ROOT, b"big", file(700 << 20));
    let small = add(&mut tree, ROOT, b"small", file(7));
    let (out, plan) = written(&mut tree, None);
    assert_clean(out.path());
    assert!(plan.node(ino).is_some_and(|node| !node.extent_blocks.is_empty()));
    let copied = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    debugfs(out.path(), &format!("dump /big {}", copied.path().display()));
    let got = std::fs::read(copied.path()).expect("it was dumped");
    assert_eq!(got.len(), 700 << 20);
    let pattern = format!("{ino} ").repeat(1000).into_bytes();
    assert!(got.chunks(pattern.len()).all(|chunk| chunk == &pattern[..chunk.len()]));
    assert!(cat(out.path(), "/small").starts_with(&format!("{small} ")));
}

#[test]
fn the_largest_file_there_may_be_has_room_for_its_extents() {
    let mut tree = Tree::new();
    let size = 120 << 30;
    let ino = add(&mut tree, ROOT, b"huge", file(size));
    let plan = Plan::new(&mut tree, Some(128 << 30), &|| false).expect("it fits");
    let node = plan.node(ino).expect("it has a name");
    assert!((2..=4).contains(&node.extent_blocks.len()), "{}", node.extents.len());
    let blocks: u64 = node.extents.iter().map(|extent| u64::from(extent.blocks)).sum();
    assert_eq!(blocks, size / BLOCK_BYTES);
    assert_eq!(super::encode::extent_leaves(node).len(), node.extent_blocks.len());
    assert_ne!(super::encode::inode(node, tree.inode(ino))[40..100], [0; 60]);
}

#[test]
fn large_directories_and_long_names_are_found_again() {
    let mut tree = Tree::new();
    let many = directory(&mut tree, ROOT, b"many");
    for number in 0..5000 {
        add(&mut tree, many, format!("file number {number}").as_bytes(), file(number % 3));
    }
    let long = [b'n'; 255];
    add(&mut tree, ROOT, &long, file(1));
    add(&mut tree, ROOT, b"th\xc3\xa9 \xff", file(1));
    let (out, _) = written(&mut tree, None);
    assert_clean(out.path());
    let listed = debugfs(out.path(), "ls /many");
    assert!(listed.contains("file number 4999") && listed.contains("file number 0 "));
}

#[test]
fn more_subdirectories_than_a_count_of_links_holds_are_clean() {
    let mut tree = Tree::new();
    for number in 0..65_100 {
        directory(&mut tree, ROOT, format!("{number}").as_bytes());
    }
    let (out, _) = written(&mut tree, None);
    assert_clean(out.path());
}

#[test]
fn a_file_with_too_many_names_is_refused() {
    let mut tree = Tree::new();
    let ino = add(&mut tree, ROOT, b"first", file(1));
    for number in 0..65_000 {
        tree.link(ROOT, format!("{number}").as_bytes(), ino, 1);
    }
    let refused = Plan::new(&mut tree, None, &|| false).map(|_| ());
    assert!(matches!(refused, Err(PlanError::TooManyLinks { .. })), "{refused:?}");
}

#[test]
fn links_devices_and_attributes_are_as_they_were() {
    let mut tree = Tree::new();
    let program = add(&mut tree, ROOT, b"ping", file(10));
    let meta = tree.meta_mut(program);
    (meta.mode, meta.uid, meta.gid) = (0o4755, 100_000, 70_000);
    meta.xattrs = vec![(
        b"security.capability".to_vec(),
        b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
    )];
    let tagged = add(&mut tree, ROOT, b"tagged", file(10));
    tree.meta_mut(tagged).xattrs = vec![
        (b"security.selinux".to_vec(), b"system_u:object_r:bin_t:s0\0".to_vec()),
        (b"user.empty".to_vec(), Vec::new()),
        (b"user.note".to_vec(), vec![b'x'; 2000]),
    ];
    tree.link(ROOT, b"again", program, 1);
    add(&mut tree, ROOT, b"short", Body::Symlink(vec![b's'; 59].into()));
    add(&mut tree, ROOT, b"long", Body::Symlink(vec![b'l'; 60].into()));
    add(&mut tree, ROOT, b"longest", Body::Symlink(vec![b'm'; 4095].into()));
    add(&mut tree, ROOT, b"pipe", Body::Fifo);
    add(&mut tree, ROOT, b"null", Body::CharDevice(1, 3));
    add(&mut tree, ROOT, b"disk", Body::BlockDevice(259, 70_000));
    let (out, _) = written(&mut tree, None);
    assert_clean(out.path());

    let ping = debugfs(out.path(), "stat /ping");
    assert!(ping.contains("Mode:  04755"), "{ping}");
    assert!(ping.contains("User: 100000   Group: 70000") && ping.contains("Links: 2"), "{ping}");
    assert!(ping.contains("security.capability (20) = 01 00 00 02 00 20"), "{ping}");
    assert!(ping.contains("mtime: 0x6553f100:"), "{ping}");
    let tagged = debugfs(out.path(), "ea_get /tagged security.selinux");
    assert!(tagged.contains("system_u:object_r:bin_t:s0"), "{tagged}");
    assert!(debugfs(out.path(), "ea_list /tagged").contains("user.empty (0)"));
    assert!(debugfs(out.path(), "ea_get /tagged user.note").contains(&"x".repeat(2000)));
    assert!(debugfs(out.path(), "stat /long").contains("Size: 60"));
    assert!(debugfs(out.path(), "stat /null").contains("01:03"));
    let disk = debugfs(out.path(), "stat /disk");
    assert!(disk.contains("259:70000"), "{disk}");
}

#[test]
fn times_beyond_2038_and_before_1970_are_kept() {
    let mut tree = Tree::new();
    for (name, time) in [(b"a", -1_i64), (b"b", 4_000_000_000), (b"c", i64::MAX), (b"d", i64::MIN)]
    {
        let ino = add(&mut tree, ROOT, name, file(1));
        tree.meta_mut(ino).mtime = time;
    }
    let (out, _) = written(&mut tree, None);
    assert_clean(out.path());
    assert!(debugfs(out.path(), "stat /a").contains("Dec 31 23:59:59 1969"));
    assert!(debugfs(out.path(), "stat /b").contains("2096"));
    assert!(debugfs(out.path(), "stat /c").contains("2446"));
    assert!(debugfs(out.path(), "stat /d").contains("1901"));
}

#[test]
fn the_same_tree_gives_the_same_bytes_with_a_journal_and_room() {
    let bytes = || {
        let mut tree = Tree::new();
        let etc = directory(&mut tree, ROOT, b"etc");
        add(&mut tree, etc, b"motd", file(100));
        let (out, _) = written(&mut tree, Some(64 << 20));
        let said = debugfs(out.path(), "stats");
        assert!(said.contains("has_journal") && said.contains("Filesystem state:         clean"));
        let free = |what: &str| {
            let line = said.lines().find(|line| line.starts_with(what)).expect("it is said");
            line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a number")
        };
        assert!(free("Free inodes:") > 4000 && free("Free blocks:") > 14_000, "{said}");
        std::fs::read(out.path()).expect("it can be read")
    };
    assert!(bytes() == bytes());
}

#[test]
fn zeros_take_no_space_on_the_disk() {
    use std::os::unix::fs::MetadataExt;
    let mut tree = Tree::new();
    let ino = add(&mut tree, ROOT, b"zeros", file(64 << 20));
    let plan = Plan::new(&mut tree, None, &|| false).expect("it fits");
    let out = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    plan.write_structures(&tree, out.as_file(), &|| false).expect("it can be written");
    let mut writer = plan.file_writer(ino, out.as_file()).expect("it is a file");
    for _ in 0..64 {
        writer.write(&[0; 1 << 20]).expect("it can be written");
    }
    assert!(writer.is_complete());
    assert!(writer.write(b"x").is_err(), "more than the file has");
    assert_clean(out.path());
    let used = File::open(out.path()).and_then(|file| file.metadata()).expect("it is there");
    assert!(used.blocks() * 512 < 4 << 20, "{} bytes used", used.blocks() * 512);
}

/// Random trees: each number makes one thing in one of the directories made before.
fn tree_of(choices: &[(u8, u16, u32)]) -> Tree {
    let mut tree = Tree::new();
    let mut directories = vec![ROOT];
    let mut files = Vec::new();
    for (place, (kind, at, size)) in choices.iter().enumerate() {
        let parent = directories[usize::from(*at) % directories.len()];
        let name = format!("{place:0width$}", width = 1 + usize::from(*at) % 200);
        let name = name.as_bytes();
        match kind % 6 {
            0 | 1 => files.push(add(&mut tree, parent, name, file(u64::from(size % 300_000)))),
            2 => directories.push(directory(&mut tree, parent, name)),
            3 => {
                let target = vec![b't'; 1 + *size as usize % 4095];
                add(&mut tree, parent, name, Body::Symlink(target.into()));
            }
            4 => {
                if let Some(ino) = files.get(*size as usize % files.len().max(1)) {
                    tree.link(parent, name, *ino, 1);
                }
            }
            _ => {
                let ino = add(&mut tree, parent, name, file(1));
                let name = [&b"user."[..], name].concat();
                tree.meta_mut(ino).xattrs = vec![(name, vec![7; *size as usize % 3000])];
            }
        }
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_is_a_clean_file_system(
        choices in proptest::collection::vec(any::<(u8, u16, u32)>(), 0..300),
    ) {
        let (out, _) = written(&mut tree_of(&choices), None);
        assert_clean(out.path());
    }
}

#[test]
fn a_tree_of_many_files_is_given_up_as_soon_as_somebody_says_so() {
    let mut tree = Tree::new();
    for at in 0..50_000 {
        let ino = tree.add(Meta::root(0o644, 0), Body::Fifo);
        tree.link(ROOT, at.to_string().as_bytes(), ino, 1);
    }
    let asked = std::cell::Cell::new(0);
    // Each time it is asked it may go on once less, until it may not at all.
    for allowed in 0..4 {
        asked.set(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > allowed
        };
        let stopped = Plan::new(&mut tree, None, &stop).map(|_| ());
        assert_eq!(stopped, Err(PlanError::Stopped), "{allowed}");
        assert_eq!(asked.get(), allowed + 1, "and nothing is done afterwards");
    }
    let plan = Plan::new(&mut tree, None, &|| false).expect("it fits");
    let out = tempfile::NamedTempFile::new().expect("a file");
    plan.write_structures(&tree, out.as_file(), &|| true).expect_err("it was stopped");
}
