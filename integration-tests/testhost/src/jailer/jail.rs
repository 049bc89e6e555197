//! What the jailer puts into a jail: the program, directories, device nodes, the pidfile.
//!
//! Driven by `jailer::run`; paths are under the jail's root before the change of root and absolute
//! after it.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use nix::libc;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{Gid, Uid, chown};

use super::{JailerError, Wanted, step};

/// Directories in the jail, each owned by the VM's user and closed to others.
const DIRECTORIES: [&str; 4] = ["/", "/dev", "/dev/net", "/run"];

/// Character devices in the jail, by major and minor number.
const DEVICES: [(&str, u64, u64); 3] =
    [("/dev/net/tun", 10, 200), ("/dev/kvm", 10, 232), ("/dev/urandom", 1, 9)];

/// Copies the program into the jail; a copy, so that two VMs share no memory of it.
pub(crate) fn copy_program(wanted: &Wanted) -> Result<(), JailerError> {
    let to = wanted.root.join(&wanted.program_name);
    let open = format!("open file {}", wanted.program.display());
    let mut source = fs::File::open(&wanted.program).map_err(step(open.clone()))?;
    let mode = source.metadata().map_err(step(open))?.mode();
    let open = format!("open file {}", to.display());
    let mut target = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(libc::O_NOFOLLOW)
        .mode(mode)
        .open(&to)
        .map_err(step(open.clone()))?;
    if target.metadata().map_err(step(open))?.nlink() > 1 {
        return Err(JailerError::HardLink(to));
    }
    fchown(&target, Some(wanted.uid), Some(wanted.gid))
        .map_err(step(format!("change owner for {}", to.display())))?;
    // The real jailer ignores a copy that fails half way, so a full disk shows only at `exec`.
    let _ = std::io::copy(&mut source, &mut target);
    Ok(())
}

/// Directories and device nodes, inside the new root.
pub(crate) fn furnish(wanted: &Wanted) -> Result<(), JailerError> {
    for directory in DIRECTORIES {
        fs::create_dir_all(directory).map_err(step(format!("create directory {directory}")))?;
        fs::set_permissions(directory, Permissions::from_mode(0o700))
            .map_err(step(format!("change permissions on {directory}")))?;
        own(wanted, Path::new(directory))?;
    }
    for (path, major, minor) in DEVICES {
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let made = mknod(path, SFlag::S_IFCHR, mode, makedev(major, minor))
            .map_err(step(format!("create {path} via mknod inside the jail")))
            .and_then(|()| own(wanted, Path::new(path)));
        match made {
            Ok(()) => {}
            // Only the token service of MMDS needs it.
            Err(error) if path == "/dev/urandom" => {
                println!("Warning! Could not create {path} device inside jailer: {error}.");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `<program>.pid` beside the program: digits, no newline, never over an older one.
pub(crate) fn write_pidfile(wanted: &Wanted, pid: i32) -> Result<(), JailerError> {
    let path = format!("/{}.pid", wanted.program_name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(step(format!("open file {path}")))?;
    write!(file, "{pid}").map_err(step(format!("write to {path}")))
}

fn own(wanted: &Wanted, path: &Path) -> Result<(), JailerError> {
    let (uid, gid) = (Uid::from_raw(wanted.uid), Gid::from_raw(wanted.gid));
    chown(path, Some(uid), Some(gid)).map_err(step(format!("change owner for {}", path.display())))
}
