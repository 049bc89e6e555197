//! Claims about files below a root.

use super::*;

fn disk() -> (tempfile::TempDir, Disk) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::below(dir.path().to_owned());
    (dir, disk)
}

#[test]
fn a_file_is_replaced_whole_and_keeps_no_trace_of_the_way() {
    let (dir, disk) = disk();
    let path = Path::new("/etc/banger/x");
    disk.write(path, b"one", 0o644).unwrap();
    let held = File::open(dir.path().join("etc/banger/x")).unwrap();
    disk.write(path, b"two", 0o600).unwrap();
    assert_eq!(disk.read(path).unwrap().unwrap(), b"two");
    // Whoever had it open, as a program that runs has, keeps what it had.
    assert_eq!(io::read_to_string(held).unwrap(), "one");
    let names = fs::read_dir(dir.path().join("etc/banger")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["x"]);
    assert_eq!(disk.directories(Path::new("/etc")).unwrap(), ["banger"]);
    assert_eq!(disk.directories(Path::new("/etc/banger")).unwrap(), [""; 0]);
    let sha256 = sha256("two");
    assert_eq!(disk.look(path).unwrap(), Present::File { sha256, mode: 0o600 });
}

#[test]
fn links_inside_the_root_are_followed_and_those_that_lead_out_are_not() {
    let (dir, disk) = disk();
    fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
    std::os::unix::fs::symlink("usr/lib", dir.path().join("lib")).unwrap();
    disk.write(Path::new("/lib/x"), b"in", 0o644).unwrap();
    assert_eq!(disk.read(Path::new("/usr/lib/x")).unwrap().unwrap(), b"in");

    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("etc")).unwrap();
    let error = disk.write(Path::new("/etc/x"), b"out", 0o644).unwrap_err();
    assert!(format!("{error:#}").contains("leads out of"), "{error:#}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    disk.write(Path::new("/usr/../x"), b"out", 0o644).unwrap_err();
}

#[test]
fn what_is_no_file_is_seen_as_such() {
    let (dir, disk) = disk();
    fs::create_dir(dir.path().join("d")).unwrap();
    std::os::unix::fs::symlink("d", dir.path().join("l")).unwrap();
    assert_eq!(disk.look(Path::new("/d")).unwrap(), Present::Other);
    assert_eq!(disk.look(Path::new("/l")).unwrap(), Present::Other);
    assert_eq!(disk.look(Path::new("/n")).unwrap(), Present::Absent);
    assert!(!disk.remove(Path::new("/n")).unwrap());
    assert!(!disk.copy(Path::new("/n"), Path::new("/m")).unwrap());
}

#[test]
fn only_one_command_is_at_work() {
    let (_dir, disk) = disk();
    let turn = disk.turn().unwrap();
    let error = disk.turn().unwrap_err();
    assert!(format!("{error:#}").contains("another `banger system` is at work"), "{error:#}");
    drop(turn);
    disk.turn().unwrap();
}

#[test]
fn what_is_saved_is_for_root_alone() {
    let (dir, disk) = disk();
    disk.write(&Path::new(SYSTEM_DIR).join("saving/x"), b"secret", 0o600).unwrap();
    let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().mode() & 0o777;
    assert_eq!(mode("var/lib/banger-system"), 0o700);
    assert_eq!(mode("var/lib"), 0o755);
}

#[test]
fn nobody_else_can_open_the_lock_also_one_that_all_could_read() {
    let (dir, disk) = disk();
    let path = dir.path().join("var/lib/banger-system/lock");
    for earlier in [None, Some(0o644), Some(0o666)] {
        if let Some(mode) = earlier {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        drop(disk.turn().unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_turn_that_came_to_nothing_takes_away_what_was_made_for_it_alone() {
    let (dir, disk) = disk();
    let path = dir.path().join("var/lib/banger-system/lock");
    disk.undo_turn(&disk.turn().unwrap()).unwrap();
    assert!(!dir.path().join("var").exists());
    // One that was there before is somebody's, or of another command that waits for it.
    drop(disk.turn().unwrap());
    disk.undo_turn(&disk.turn().unwrap()).unwrap();
    assert!(path.exists());
}
