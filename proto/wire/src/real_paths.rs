//! What the kernel calls a path: without links, `..` and doubled slashes, also where its end is yet
//! to be made.
//!
//! Driven by whoever writes or reads rules that compare with paths as the kernel shows them, for
//! directories that operators configure. `canonicalize` fails for a directory that is not there.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Links that are followed in one path, as many as by the kernel (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// The real path of an absolute one, on the machine whose root directory is `root`; links lead
/// within that machine. What is not there is taken for directories that somebody will make; past
/// the most links the rest stays as it is.
#[must_use]
pub fn real(root: &Path, path: &Path) -> PathBuf {
    let mut left = MOST_LINKS;
    let mut rest = backwards(path);
    let mut real = PathBuf::from("/");
    while let Some(part) = rest.pop() {
        if part == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&part);
        let here = root.join(next.strip_prefix("/").unwrap_or(&next));
        match fs::read_link(here) {
            Ok(target) if left > 0 => {
                left -= 1;
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                rest.extend(backwards(&target));
            }
            Ok(_) | Err(_) => real = next,
        }
    }
    real
}

/// The names in a path and its `..`, the first at the end.
fn backwards(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_whose_end_is_yet_to_be_made_is_called_as_the_kernel_will() {
        let temp = tempfile::tempdir().expect("a directory");
        let root = temp.path();
        fs::create_dir_all(root.join("mnt/disk1/vms")).expect("it is made");
        symlink("/mnt/disk1", root.join("data")).expect("a link");
        symlink("disk1/vms/../later", root.join("mnt/relative")).expect("a link");
        symlink("/data/vms", root.join("mnt/twice")).expect("a link");
        symlink("endless", root.join("endless")).expect("a link");
        for (path, wanted) in [
            ("/data/banger", "/mnt/disk1/banger"),
            ("/data/vms", "/mnt/disk1/vms"),
            ("//data//a/b/", "/mnt/disk1/a/b"),
            ("/data/../x", "/mnt/x"),
            ("/data/none/../x", "/mnt/disk1/x"),
            ("/../srv/./guests", "/srv/guests"),
            ("/mnt/relative/y", "/mnt/disk1/later/y"),
            ("/mnt/twice/y", "/mnt/disk1/vms/y"),
            ("/endless/y", "/endless/y"),
            ("/", "/"),
        ] {
            assert_eq!(real(root, Path::new(path)), Path::new(wanted), "{path}");
        }
    }

    /// Where all of it is there, it is what the kernel says.
    #[test]
    fn a_path_that_is_there_is_called_as_the_kernel_calls_it() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = temp.path().canonicalize().expect("it is there");
        fs::create_dir_all(dir.join("a/b")).expect("it is made");
        symlink("a", dir.join("l")).expect("a link");
        let path = dir.join("l//b/../b");
        assert_eq!(real(Path::new("/"), &path), path.canonicalize().expect("it is there"));
    }
}
