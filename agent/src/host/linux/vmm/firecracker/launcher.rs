//! Starts a jailer: its `docs/jailer.md`.
//!
//! It is run undaemonized and without a pid namespace of its own, so that it, and the VMM that it
//! execs, is one process and our child, whose exit code we learn. It has a session and an IPC
//! namespace of its own and outlives us.
//!
//! Its three standard descriptors are FIFOs in the jail, so that a later life of the agent can open
//! them again. Firecracker 1.16 gives the guest's serial console its standard input and output,
//! both or none: told of a file by `PUT /serial` it would never read an input
//! (`setup_serial_device`, `device_manager/mod.rs`). So its output is `console.fifo`, its input
//! `console-in.fifo` (which it listens to as it is a FIFO: `SerialWrapper::init`,
//! `devices/legacy/serial.rs`), and `log.fifo` gets its errors and, by `--log-path`, its log from
//! the first line on.
//!
//! Each is opened for reading and writing and non-blocking: a FIFO whose reader is gone would kill
//! the writer by SIGPIPE, one that is full would block it, and one whose writer is gone would end
//! the guest's input for good. This way nothing of that happens: the VMM holds the other end too,
//! and what does not fit is lost. Firecracker counts a log line lost this way (`missed_log_count`,
//! `logger/logging.rs`) and goes on. A byte of the guest's console that does not fit is dropped and
//! counted (`SerialWrapper::write`). Nothing of it ever blocks the guest. What is typed while the
//! guest does not read waits in the FIFO; what a run before this one did not read is thrown away.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::host::exec::{Exec, LaunchCall, Tool};
use crate::host::linux::blocking;
use crate::host::linux::files::beneath;
use crate::host::linux::jails::JailTree;
use crate::host::linux::processes::children::Children;
use crate::host::{
    HostError, HostErrorKind, HostResult, JailId, LaunchSpec, Launched, Launcher, VmmKind, in_jail,
};

/// Room wanted beside the copy of the program, in bytes: for the pidfile, sockets and records.
const ROOM_BESIDE: u64 = 256 * 1024;

/// Starts jailers of this machine.
pub(crate) struct JailerLauncher {
    exec: Arc<dyn Exec>,
    tree: Arc<JailTree>,
    children: Arc<Children>,
    max_files: u32,
}

impl JailerLauncher {
    pub(crate) fn new(
        exec: Arc<dyn Exec>,
        tree: Arc<JailTree>,
        children: Arc<Children>,
        max_files: u32,
    ) -> Self {
        Self { exec, tree, children, max_files }
    }

    /// The jailer's arguments.
    fn arguments(&self, spec: &LaunchSpec) -> HostResult<Vec<String>> {
        let program = self.exec.path(Tool::Firecracker)?;
        // The jailer resolves symlinks and names the jail's directory, the pidfile and the process
        // after what it finds.
        let real = program.canonicalize().unwrap_or_else(|_| program.clone());
        if real.file_name().is_none_or(|name| name != VmmKind::Firecracker.as_str()) {
            return Err(HostError::new(HostErrorKind::Invalid, "start", program.display()).detail(
                format!("the file itself must be named firecracker, not {}", real.display()),
            ));
        }
        let mut args: Vec<String> = Vec::new();
        let mut pair = |name: &str, value: String| args.extend([name.to_owned(), value]);
        pair("--id", spec.id.to_string());
        pair("--exec-file", real.display().to_string());
        pair("--uid", spec.uid.to_string());
        pair("--gid", spec.uid.to_string());
        pair("--chroot-base-dir", self.tree.base_path().display().to_string());
        if let Some(group) = self.tree.cgroup(&spec.id) {
            pair("--cgroup-version", "2".to_owned());
            pair("--parent-cgroup", group);
        }
        pair("--resource-limit", format!("no-file={}", self.max_files));
        // Firecracker's own. Until it knows better it logs to its output, the console.
        args.extend(["--", "--log-path", in_jail::LOG, "--level", "Info"].map(str::to_owned));
        args.push("--show-level".to_owned());
        Ok(args)
    }
}

/// Whether there is room for the program, which the jailer copies into the jail. Asked first: the
/// jailer ignores a copy that fails (`copy_exec_to_chroot`, `src/jailer/src/env.rs`) and then ends
/// because it cannot execute half a program, which would not tell anybody that the disk is full.
fn check_room(program: &Path, jails: &Path) -> HostResult<()> {
    let failed = |error| HostError::io("look at", program.display(), error);
    let size = std::fs::metadata(program).map_err(failed)?.len();
    let room = rustix::fs::statvfs(jails)
        .map_err(|error| HostError::io("look at", jails.display(), error))?;
    // Not `f_bfree`: ext4 counts blocks in there that nobody gets, not even root.
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    if free >= size.saturating_add(ROOM_BESIDE) {
        return Ok(());
    }
    Err(HostError::new(HostErrorKind::NoSpace, "copy the VMM into its jail in", jails.display())
        .detail(format!("it is {size} bytes long and {free} bytes are free")))
}

/// The three ends that a VMM gets: input, output, errors.
fn open_ends(tree: &JailTree, id: &JailId) -> HostResult<[OwnedFd; 3]> {
    let open = |path| {
        open_fifo(tree, id, path)?.ok_or_else(|| {
            HostError::new(HostErrorKind::NotFound, "start a VMM in jail", id)
                .detail("the jail is not built")
        })
    };
    let ends = [open(in_jail::CONSOLE_INPUT)?, open(in_jail::CONSOLE)?, open(in_jail::LOG)?];
    drain(&ends[0]);
    Ok(ends)
}

/// Throws away what is in a FIFO: no more than one holds (`fs.pipe-max-size`, 1 MiB), since
/// somebody may be writing to it.
fn drain(fifo: &OwnedFd) {
    let mut chunk = [0; 4096];
    for _ in 0..512 {
        if !matches!(rustix::io::read(fifo, &mut chunk), Ok(1..) | Err(Errno::INTR)) {
            return;
        }
    }
}

/// Opens one of a jail's FIFOs for both directions, non-blocking.
pub(crate) fn open_fifo(tree: &JailTree, id: &JailId, path: &str) -> HostResult<Option<OwnedFd>> {
    let failed = |error: Errno| HostError::io("open", format!("{path} of jail {id}"), error);
    let flags = OFlags::RDWR | OFlags::NONBLOCK;
    match tree.open_in(id, path, flags).map_err(failed)? {
        Some(fd) if beneath::is_a(&fd, FileType::Fifo).map_err(failed)? => Ok(Some(fd)),
        Some(_) => {
            Err(HostError::new(HostErrorKind::Invalid, "open", format!("{path} of jail {id}"))
                .detail("it is no FIFO"))
        }
        None => Ok(None),
    }
}

#[async_trait]
impl Launcher for JailerLauncher {
    async fn launch(&self, spec: &LaunchSpec) -> HostResult<Launched> {
        let args = self.arguments(spec)?;
        let (tree, id) = (self.tree.clone(), spec.id.clone());
        let program = self.exec.path(Tool::Firecracker)?;
        let ends = blocking(move || {
            check_room(&program, tree.base_path())?;
            open_ends(&tree, &id)
        });
        let [input, output, errors] = ends.await?;
        let (input, output) = (Some(input), Some(output));
        let call = LaunchCall { program: Tool::Jailer, args, input, output, errors };
        self.children.start(|| self.exec.launch(call))
    }
}

#[cfg(test)]
mod tests;
