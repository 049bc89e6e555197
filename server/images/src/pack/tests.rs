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
    // cap_net_raw, permitted and effective (capabilities(7)); only root may give it.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    fs::write(tree.join("ping"), b"x").expect("written");
    let capable = rustix::fs::setxattr(
        tree.join("ping"),
        c"security.capability",
        &capability,
        rustix::fs::XattrFlags::empty(),
    );
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
    if capable.is_ok() {
        let kept = debugfs(&out, "ea_list /ping");
        assert!(kept.contains("security.capability (20) = 01 00 00 02 00 20"), "{kept}");
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
    // This machine's own: terminals and shared memory are mounted in it.
    let dev = Path::new("/dev");
    let device = |path: &Path| fs::symlink_metadata(path).expect("it is there").dev();
    let inside = fs::read_dir(dev).expect("it can be read").map(|entry| entry.expect("one").path());
    let mounted: Vec<_> =
        inside.filter(|path| path.is_dir() && device(path) != device(dev)).collect();
    assert!(!mounted.is_empty(), "nothing is mounted in {}", dev.display());
    let (archive, notes) = packed(dev);
    let said: String = notes.iter().map(|note| format!("{note}\n")).collect();
    let mut read = tar::Archive::new(&archive[..]);
    let names = read.entries().expect("an archive").map(|entry| {
        let entry = entry.expect("an entry");
        let path = entry.path().expect("a name");
        dev.join(path.strip_prefix("./").unwrap_or(&path))
    });
    let names: Vec<_> = names.collect();
    for path in &mounted {
        let name = path.file_name().expect("it has one").to_str().expect("text");
        assert!(said.contains(name) && said.contains("mounted"), "{name}: {said}");
        assert!(names.iter().any(|packed| packed == path), "{name}: {names:?}");
        assert!(!names.iter().any(|packed| packed.parent() == Some(path)), "{name}: {names:?}");
    }
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
