use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;

use super::*;
use crate::testing::{Bench, cat, debugfs, exists};

fn packed(directory: &Path) -> (Vec<u8>, Vec<Note>) {
    let mut archive = Vec::new();
    let notes = pack_directory(directory, &mut archive);
    (archive, notes.unwrap_or_else(|error| panic!("{error}: {error:?}")))
}

#[test]
fn a_directory_comes_through_the_server_as_it_was() {
    let bench = Bench::new();
    let tree = bench.dir.path().join("tree");
    let long = format!("deep/{}/{}", "d".repeat(120), "n".repeat(200));
    for (name, text) in [("etc/motd", "hello"), (&long[..], "long"), ("a\tb", "tab")] {
        bench.put(&format!("tree/{name}"), text.as_bytes());
    }
    // A file of holes, of which tar's own would make an entry that no import takes.
    let sparse = File::create(tree.join("sparse")).expect("a file");
    sparse.set_len(3 << 20).expect("set");
    sparse.write_all_at(b"end", (3 << 20) - 3).expect("written");
    fs::write(tree.join("tool"), vec![7; 1 << 20]).expect("written");
    fs::set_permissions(tree.join("tool"), fs::Permissions::from_mode(0o4755)).expect("set");
    for name in ["etc/again", "zzz", "and-more"] {
        fs::hard_link(tree.join("tool"), tree.join(name)).expect("a link");
    }
    symlink("t".repeat(150), tree.join("link")).expect("a link");
    symlink("../../../out", tree.join("climbs")).expect("a link");
    let name = c"user.note";
    let put =
        rustix::fs::setxattr(tree.join("tool"), name, b"kept", rustix::fs::XattrFlags::empty());
    let (archive, notes) = packed(&tree);
    assert!(notes.is_empty(), "{notes:?}");
    assert!(archive.len() < 5 << 20, "hard links are no copies: {} bytes", archive.len());
    assert_eq!(packed(&tree).0, archive, "the same directory, the same archive");
    bench.root(&bench.put("packed", &archive));
    let out = bench.out();
    assert_eq!(cat(&out, "/etc/motd"), "hello");
    assert_eq!(cat(&out, &format!("/{long}")), "long");
    let stat = debugfs(&out, "stat /zzz");
    assert!(stat.contains("Mode:  04755") && stat.contains("Links: 4"), "{stat}");
    assert!(debugfs(&out, "stat /climbs").contains("../../../out"));
    assert!(debugfs(&out, "stat /sparse").contains("Size: 3145728"));
    // Some file systems of temporary directories have no attributes.
    if put.is_ok() {
        assert!(debugfs(&out, "ea_list /tool").contains("user.note (4)"));
    }
    // And so comes what the server reads itself.
    let direct = Bench::new();
    direct.import(&tree, crate::Wanted::Root).expect("it is taken");
    assert_eq!(cat(&direct.out(), "/etc/motd"), "hello");
}

#[test]
fn what_is_no_content_is_left_out_and_said() {
    let bench = Bench::new();
    bench.put("tree/file", b"x");
    let _socket = UnixListener::bind(bench.dir.path().join("tree/socket")).expect("a socket");
    let (archive, notes) = packed(&bench.dir.path().join("tree"));
    assert_eq!(notes, [Note::SocketsLeftOut(1)]);
    bench.root(&bench.put("packed", &archive));
    assert!(exists(&bench.out(), "/file") && !exists(&bench.out(), "/socket"));
}

#[test]
fn what_is_mounted_inside_is_an_empty_directory_and_said() {
    // This machine's own root: /proc is mounted in it, and much else may be too large to read.
    let mut left_out = LeftOut::default();
    let facts = |path: &str| fs::metadata(path).expect("it is there").dev();
    if facts("/") == facts("/proc") {
        return;
    }
    left_out.mount(b"proc");
    let notes: Vec<_> = notes_of(left_out).iter().map(ToString::to_string).collect();
    assert!(notes[0].contains("proc") && notes[0].contains("mounted"), "{notes:?}");
}

#[test]
fn owners_times_and_sizes_that_a_header_has_no_room_for_are_in_a_pax_header() {
    let meta = Meta { uid: 4_000_000_000, gid: 7, mtime: -5, ..Meta::root(0o644, 0) };
    let (tree, mut archive) = (Tree::new(), Vec::new());
    let source = OpenDirectory::open(Path::new("/")).expect("it is there");
    let (from, names, first) = (Path::new("/"), Vec::new(), HashMap::new());
    let mut packer = Packer { from, source: &source, tree: &tree, names, first, to: &mut archive };
    let size = 9 << 30;
    packer.header(b"big", b"", EntryType::Regular, size, &meta, (0, 0)).expect("written");
    let mut read = crate::tarball::Tarball::new(&archive[..], "archive");
    let entry = read.next().expect("it is good").expect("an entry");
    assert_eq!((entry.size, entry.uid, entry.gid, entry.mtime), (size, 4_000_000_000, 7, -5));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = pack_directory(Path::new("/not/there"), &mut Vec::new()).expect_err("not there");
    assert!(error.to_string().contains("/not/there"), "{error}");
}
