//! Running a program: from what was asked to a process, and attending to it until its end.
//!
//! Driven by the service. A program has a session of its own, so that it and what it starts can be
//! signalled together; when its stream ends before it does, all of them are ended. What it writes
//! goes out as fast as it is taken: a slow reader holds up the program, never memory. What can go
//! wrong: the request makes no sense, or there is no such program, user or directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use banger_proto::guest_v1::{ExecRequest, ExecResponse};
use banger_proto::v1::exec_output::Output;
use banger_proto::v1::{ExecExited, ExecOutput, ExecStart};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Gid, Pid, Uid, geteuid, setgroups, setresgid, setresuid, setsid};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

use crate::image_config::{ImageConfig, PATH};
use crate::status;

mod attend;
pub mod terminal;
pub mod users;

use terminal::Terminal;
use users::{User, Users};

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Its process, its session and its process group.
    pid: Pid,
    terminal: Option<Terminal>,
}

fn plain(what: &str, text: &str) -> Result<(), Status> {
    if text.contains('\0') {
        return Err(status::invalid(format!("{what} has a NUL byte")));
    }
    Ok(())
}

fn checked(start: &ExecStart) -> Result<(), Status> {
    match start.command.first().map(String::as_str) {
        None | Some("") => return Err(status::invalid("there is no program to run")),
        Some(_) => {}
    }
    for word in &start.command {
        plain("the command", word)?;
    }
    for (name, value) in &start.environment {
        if name.is_empty() || name.contains('=') {
            return Err(status::invalid(format!("{name:?} can't name a variable")));
        }
        plain("a variable", name)?;
        plain("a variable", value)?;
    }
    plain("the directory", &start.directory)?;
    if !start.directory.is_empty() && !start.directory.starts_with('/') {
        return Err(status::invalid("the directory is not absolute"));
    }
    Ok(())
}

/// The environment of a program: what is usual for its user, what the image says, and what was
/// asked for.
fn environment(
    user: &User,
    image: &ImageConfig,
    start: &ExecStart,
) -> BTreeMap<OsString, OsString> {
    let mut all: BTreeMap<OsString, OsString> = BTreeMap::from([
        ("PATH".into(), PATH.into()),
        ("HOME".into(), user.home.clone().into()),
        ("USER".into(), user.name.clone().into()),
        ("LOGNAME".into(), user.name.clone().into()),
        ("SHELL".into(), user.shell.clone().into()),
    ]);
    if start.terminal.is_some() {
        all.insert("TERM".into(), "xterm".into());
    }
    all.extend(image.env().map(|(name, value)| (name.into(), value.into())));
    all.extend(start.environment.iter().map(|(name, value)| (name.into(), value.into())));
    all
}

/// Where it starts: where it was asked to, or where the image says, or at home, or where there is
/// something.
fn directory(user: &User, image: &ImageConfig, start: &ExecStart) -> Result<PathBuf, Status> {
    if start.directory.is_empty() {
        // The image's own is made when its program is started; a name from the root on, as there.
        let said = Some(&image.working_dir).filter(|said| !said.is_empty());
        let said = said.map(|said| PathBuf::from("/").join(said));
        let there = said.into_iter().chain([user.home.clone()]);
        let there = there.filter(|path| path.is_absolute()).find(|path| path.is_dir());
        return Ok(there.unwrap_or_else(|| PathBuf::from("/")));
    }
    let directory = PathBuf::from(&start.directory);
    match std::fs::metadata(&directory) {
        Ok(found) if found.is_dir() => Ok(directory),
        Ok(_) => Err(status::failed(format!("{} is no directory", directory.display()))),
        Err(error) => Err(status::io(&format!("find {}", directory.display()), &error)),
    }
}

/// The file of a program: what has a slash is a path, everything else is looked for in PATH.
fn program(name: &str, path: &OsString, from: &Path) -> Result<PathBuf, Status> {
    use std::os::unix::fs::PermissionsExt as _;
    if name.contains('/') {
        return Ok(from.join(name));
    }
    let is_program = |file: &PathBuf| {
        let found = std::fs::metadata(file);
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path)
        .map(|directory| from.join(directory).join(name))
        .find(is_program)
        .ok_or_else(|| status::not_found(format!("the guest has no program {name:?} in its PATH")))
}

/// What becomes of the three standard files.
enum Files {
    Pipes,
    Terminal(OwnedFd),
}

fn command_for(
    user: &User,
    image: &ImageConfig,
    start: &ExecStart,
    files: Files,
) -> Result<Command, Status> {
    let directory = directory(user, image, start)?;
    let environment = environment(user, image, start);
    let path = environment.get(std::ffi::OsStr::new("PATH")).cloned().unwrap_or_default();
    let name = start.command.first().map_or("", String::as_str);
    #[expect(clippy::disallowed_methods, reason = "this is where a guest's programs are spawned")]
    let mut command = Command::new(program(name, &path, &directory)?);
    command.args(start.command.iter().skip(1)).env_clear().envs(environment);
    command.arg0(name).current_dir(directory);
    let has_terminal = match files {
        Files::Pipes => {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            false
        }
        Files::Terminal(theirs) => {
            let failed = |error: std::io::Error| status::io("hand over the terminal", &error);
            command.stdin(theirs.try_clone().map_err(failed)?);
            command.stdout(theirs.try_clone().map_err(failed)?).stderr(theirs);
            true
        }
    };
    // Who is not root can only run programs as itself, which needs no change.
    let switch = geteuid().is_root();
    if !switch && user.uid != geteuid().as_raw() {
        return Err(status::failed(format!(
            "the guest agent is not root and can't run programs as {}",
            user.name
        )));
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let groups: Vec<Gid> =
        std::iter::once(gid).chain(user.groups.iter().copied().map(Gid::from_raw)).collect();
    let prepare = move || {
        // Without a `/proc` there is no score to be given either.
        let _ = crate::memory::be_as_others();
        setsid()?;
        if has_terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        if switch {
            setgroups(&groups)?;
            setresgid(gid, gid, gid)?;
            setresuid(uid, uid, uid)?;
        }
        Ok(())
    };
    #[expect(unsafe_code, reason = "the only way to act between fork and exec")]
    // SAFETY: system calls only, and a vector that was made before; nothing allocates or locks.
    unsafe {
        command.pre_exec(prepare);
    }
    Ok(command)
}

/// Starts a program.
///
/// # Errors
/// INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED or FAILED_PRECONDITION; nothing runs then.
pub fn start(users: &Users, start: ExecStart) -> Result<Running, Status> {
    checked(&start)?;
    // What can't be read is no reason to run nothing in a guest that has to be looked into.
    let image = ImageConfig::of(users.etc()).unwrap_or_else(|error| {
        eprintln!("banger-guest: the image's configuration can't be read: {error}");
        None
    });
    let image = image.unwrap_or_default();
    let user = match (&*start.user, &*image.user) {
        ("", "") => users.find("")?,
        ("", said) => users.find_for_image(said)?,
        (asked, _) => users.find(asked)?,
    };
    let (terminal, files) = match &start.terminal {
        None => (None, Files::Pipes),
        Some(size) => {
            let (ours, theirs) = Terminal::open(size)
                .map_err(|error| status::io("open a terminal; is devpts mounted?", &error))?;
            let owner = rustix::fs::Uid::from_raw(user.uid);
            // Without it only programs that open it anew by its name fail.
            let _ = rustix::fs::fchown(&theirs, Some(owner), None);
            (Some(ours), Files::Terminal(theirs))
        }
    };
    let mut command = command_for(&user, &image, &start, files)?;
    let name = start.command.first().cloned().unwrap_or_default();
    let child = command.spawn().map_err(|error| status::io(&format!("run {name:?}"), &error))?;
    // The command still holds the program's side of the terminal.
    drop(command);
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let pid = pid.ok_or_else(|| status::failed(format!("{name:?} has ended at once")))?;
    Ok(Running { child, pid, terminal })
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Signals all of its process group; nothing is wrong with one that is gone.
    fn signal_all(pid: Pid, signal: Signal) {
        let _ = killpg(pid, signal);
    }

    /// Hands it its input and hands on its output until it ends, and says how. Ends it when nobody
    /// takes its output any more.
    pub async fn attend(
        self,
        inputs: impl Stream<Item = Result<ExecRequest, Status>> + Unpin,
        outputs: mpsc::Sender<Result<ExecResponse, Status>>,
    ) {
        attend::attend(self, inputs, outputs).await;
    }
}

fn say(output: Output) -> Result<ExecResponse, Status> {
    Ok(ExecResponse { output: Some(ExecOutput { output: Some(output) }) })
}

fn exited(status: ExitStatus) -> ExecExited {
    ExecExited { code: status.code(), signal: status.signal() }
}

#[cfg(test)]
mod tests;
