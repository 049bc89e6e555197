//! `banger system`: banger itself on this machine, laid down, looked at, renewed and removed.
//!
//! ```text
//!   install:   doctor ─ plan ─ files ─ user, directories, kernel settings ─ enable ─ start
//!   update:    try the new programs ─ note every VM ─ save ─ swap ─ server ─ agent ─ every VM as
//!              before?  ── no, or a service not well ──▶ put back, restart, look again
//!   uninstall: VMs? ─ stop, disable ─ remove what the record names and nobody changed
//! ```
//!
//! Only root changes anything; anybody may ask how things stand. The files it lays down are part of
//! this program (`payload`), the programs lie beside it or in `--from`. What to do with each file
//! is decided by a pure function (`plan`) from what is there, what is to be there, and what was
//! laid down before (`record`); `disk` does it without a choice of its own. Everything outside of
//! files is behind one trait (`machine`), so that an update that goes wrong can be tried without a
//! machine that breaks.
//!
//! No step of any command stops a guest: the agent's unit ends only the agent, and the slice of the
//! guests is never stopped. What can go wrong is said with what was done before it; each command
//! can be repeated.

use std::path::{Path, PathBuf};

use banger_client::Endpoint;
use banger_terminal::failure::Failure;
use banger_terminal::output::Printer;

pub mod args;
mod disk;
#[cfg(test)]
mod fixtures;
mod guests;
mod install;
mod journal;
mod laydown;
mod links;
mod machine;
mod payload;
mod plan;
mod real;
mod record;
mod services;
mod settings;
mod state;
mod status;
mod udev;
mod uninstall;
mod update;

use args::{ReleaseDir, RootDir, SystemCommand};
use disk::Disk;
use real::RealMachine;

/// Where programs are laid down.
const PROGRAM_DIR: &str = "/usr/local/bin";

/// Where a package brings a release to.
const PACKAGE_DIR: &str = "/usr/lib/banger";

/// What was laid down, and the programs before the last update.
const SYSTEM_DIR: &str = "/var/lib/banger-system";

/// Runs one command of `banger system`; `server` says which server is meant, when it is asked.
///
/// # Errors
/// What was not done, after what was done before it was told.
pub async fn run(
    printer: Printer,
    server: impl Fn() -> Result<Endpoint, Failure> + Send + Sync,
    command: SystemCommand,
) -> Result<(), Failure> {
    let machine = RealMachine::new(server);
    match command {
        SystemCommand::Install(args) => {
            let disk = disk_to_change(&args.root)?;
            install::install(&machine, &disk, printer, args).await
        }
        SystemCommand::Status(root) => {
            let disk = disk_of(&root)?;
            status::status(&machine, &disk, printer).await
        }
        SystemCommand::Update(args) => {
            let disk = disk_to_change(&args.root)?;
            update::update(&machine, &disk, printer, args).await
        }
        SystemCommand::Uninstall(args) => {
            let disk = disk_to_change(&args.root)?;
            uninstall::uninstall(&machine, &disk, printer, args).await
        }
        SystemCommand::Payload => {
            let text = serde_json::to_string(&payload::own()).map_err(anyhow::Error::from)?;
            printer.raw(&(text + "\n"))
        }
    }
}

/// The machine that is meant.
fn disk_of(root: &RootDir) -> Result<Disk, Failure> {
    let disk = match &root.root {
        None => Disk::live(),
        Some(dir) => {
            let dir =
                std::path::absolute(dir).map_err(|error| Failure::io("find --root", error))?;
            if !dir.is_dir() {
                return Err(Failure::Usage(format!("{} is no directory", dir.display())));
            }
            if dir == Path::new("/") { Disk::live() } else { Disk::below(dir) }
        }
    };
    Ok(disk)
}

/// The same, for what changes it.
fn disk_to_change(root: &RootDir) -> Result<Disk, Failure> {
    let disk = disk_of(root)?;
    if disk.is_live() && !rustix::process::geteuid().is_root() {
        return Err(Failure::Usage("this changes the machine: run it as root".to_owned()));
    }
    Ok(disk)
}

/// The release that a program belongs to, if nothing else is said: the directory where it is. One
/// that is installed has only what is installed beside it; its release is the package's, if there
/// is one.
fn beside(program: &Path, package: &Path) -> Option<PathBuf> {
    let dir = program.parent()?;
    let installed = dir == Path::new(PROGRAM_DIR);
    let from = if installed && package.join("banger").is_file() { package } else { dir };
    Some(from.to_owned())
}

/// The directory that the programs are taken from.
fn source(from: &ReleaseDir) -> Result<PathBuf, Failure> {
    let named = match &from.from {
        Some(dir) => dir.clone(),
        None => std::env::current_exe()
            .ok()
            .and_then(|own| beside(&own, Path::new(PACKAGE_DIR)))
            .ok_or_else(|| {
            Failure::Usage("this program cannot be found: give --from".to_owned())
        })?,
    };
    std::path::absolute(&named).map_err(|error| Failure::io("find the programs", error))
}
