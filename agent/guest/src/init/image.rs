//! The program of an OCI image: what `/etc/banger/oci.json` says is to run.
//!
//! That file is the image's configuration as its registry has it (`config.md` of the OCI image
//! format), put there when the image was imported, or only the object `config` of it. Driven by
//! [`super::run`], once. What can go wrong: there is none, which is no error, or it can't be read or
//! run, which is said.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid, setsid};
use serde::Deserialize;

use crate::exec::users::Users;

/// Where it lies in the guest.
pub(super) const FILE: &str = "/etc/banger/oci.json";

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program's process, once it was started.
static PROGRAM: OnceLock<Option<Pid>> = OnceLock::new();

/// What of the configuration matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Config {
    pub(super) entrypoint: Option<Vec<String>>,
    pub(super) cmd: Option<Vec<String>>,
    pub(super) env: Option<Vec<String>>,
    pub(super) working_dir: String,
    pub(super) user: String,
}

#[derive(Debug, Deserialize)]
struct Image {
    config: Config,
}

impl Config {
    /// From the text of the file.
    pub(super) fn read(text: &str) -> Result<Self, serde_json::Error> {
        let value: serde_json::Value = serde_json::from_str(text)?;
        match value.get("config") {
            Some(config) if config.is_object() => {
                Ok(serde_json::from_value::<Image>(value)?.config)
            }
            _ => serde_json::from_value(value),
        }
    }

    /// The words of its command; none when it has none.
    pub(super) fn words(&self) -> Vec<&str> {
        let parts = [self.entrypoint.as_deref(), self.cmd.as_deref()];
        parts.into_iter().flatten().flatten().map(String::as_str).collect()
    }

    /// Its environment.
    pub(super) fn variables(&self, home: &Path) -> Vec<(String, String)> {
        let mut all = vec![
            ("PATH".to_owned(), PATH.to_owned()),
            ("HOME".to_owned(), home.display().to_string()),
        ];
        let said = self.env.iter().flatten().filter_map(|pair| pair.split_once('='));
        all.extend(said.map(|(name, value)| (name.to_owned(), value.to_owned())));
        all
    }
}

/// The process of the image's program, if one was started.
pub(super) fn pid() -> Option<Pid> {
    PROGRAM.get().copied().flatten()
}

/// Starts the image's program, its output on the console, if it has one.
pub(super) fn start() -> Result<(), Box<dyn std::error::Error>> {
    let text = match std::fs::read_to_string(FILE) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let config = Config::read(&text)?;
    let words = config.words();
    let Some((name, arguments)) = words.split_first() else { return Ok(()) };
    let user = Users::of(PathBuf::from("/etc")).find_for_image(&config.user)?;
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

#[cfg(test)]
mod tests;
