//! Starts the program of an OCI image at boot: as its user, in its directory, its output on the
//! console.
//!
//! Driven by [`super::run`], once. What can go wrong: there is none, which is no error, or its
//! configuration can't be read or it can't be run, which is said.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid, setsid};

use crate::exec::users::Users;
use crate::image_config::ImageConfig;

const ETC: &str = "/etc";

/// The program's process, once it was started.
static PROGRAM: OnceLock<Option<Pid>> = OnceLock::new();

/// The process of the image's program, if one was started.
pub(super) fn pid() -> Option<Pid> {
    PROGRAM.get().copied().flatten()
}

/// Starts the image's program, its output on the console, if it has one.
pub(super) fn start() -> Result<(), Box<dyn std::error::Error>> {
    let Some(config) = ImageConfig::of(Path::new(ETC))? else { return Ok(()) };
    let words = config.words();
    let Some((name, arguments)) = words.split_first() else { return Ok(()) };
    let user = Users::of(PathBuf::from(ETC)).find_for_image(&config.user)?;
    let variables = config.variables(&user.home);
    let directory = if config.working_dir.is_empty() { "/" } else { &config.working_dir };
    // As a container runtime does.
    std::fs::create_dir_all(directory)?;
    #[expect(clippy::disallowed_methods, reason = "process 1 starts the image's program")]
    let mut command = std::process::Command::new(name);
    command.args(arguments).env_clear().envs(variables).current_dir(directory);
    command.stdin(Stdio::null());
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let groups: Vec<Gid> =
        std::iter::once(gid).chain(user.groups.into_iter().map(Gid::from_raw)).collect();
    let prepare = move || {
        setsid()?;
        setgroups(&groups)?;
        setresgid(gid, gid, gid)?;
        setresuid(uid, uid, uid)?;
        Ok(())
    };
    #[expect(unsafe_code, reason = "the only way to act between fork and exec")]
    // SAFETY: system calls only, and a vector that was made before; nothing allocates or locks.
    unsafe {
        command.pre_exec(prepare);
    }
    let child = command.spawn()?;
    super::say(format_args!("the image's program {name:?} runs as process {}", child.id()));
    let _ = PROGRAM.set(super::pid_of(child.id()));
    Ok(())
}
