//! A stand-in for Firecracker's `jailer`, for machines that have no real one.
//!
//! Driven by the agent under test, with the real jailer's command line. It does for real what the
//! real one does to the machine: the jail's layout under
//! `<base>/<name of the program>/<id>/root`, a copy of the program, a mount namespace with the
//! jail as its root, device nodes, ownership, mode 0700, the cgroup, the limits, the pidfile
//! (made with `create_new`, digits without a newline), and `exec` as the given user with
//! `--id … --start-time-us …`. Order, refusals and exit codes (0 or 1) follow jailer 1.16.1.
//!
//! Left out: cgroup version 1 (refused), `/dev/userfaultfd`, and the processor files of arm64.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use crate::FOLLOWED_VERSION;
use crate::arguments::{self, ArgumentError, Given, Known, Parsed, Takes};

mod cgroup;
mod enter;
mod jail;

/// Why the jail was not made. The sentences are the real jailer's.
#[derive(Debug, thiserror::Error)]
pub enum JailerError {
    /// The command line.
    #[error("Failed to parse arguments: {0}")]
    Arguments(#[from] ArgumentError),
    /// The id.
    #[error("Invalid instance ID: {0}")]
    Id(String),
    /// A user id that is no number.
    #[error("Invalid uid: {0}")]
    Uid(String),
    /// A group id that is no number.
    #[error("Invalid gid: {0}")]
    Gid(String),
    /// A path that is not there.
    #[error("Failed to canonicalize path {path}: {error}", path = .path.display())]
    Canonicalize {
        /// The path as given.
        path: PathBuf,
        /// What the kernel said.
        error: std::io::Error,
    },
    /// The program is not a regular file.
    #[error("{path} is not a file", path = .0.display())]
    NotAFile(PathBuf),
    /// The base is not a directory.
    #[error("{path} is not a directory", path = .0.display())]
    NotADirectory(PathBuf),
    /// A leftover of the program in the jail has other names.
    #[error("Detected hard link at: {path}", path = .0.display())]
    HardLink(PathBuf),
    /// The parent cgroup would lead out of the hierarchy.
    #[error("Parent cgroup path is invalid. Path should not be absolute or contain '..' or '.'")]
    ParentCgroup,
    /// Something about `--cgroup` or `--cgroup-version`.
    #[error("{0}")]
    Cgroup(String),
    /// Something about `--resource-limit`.
    #[error("{0}")]
    Limit(String),
    /// One step of making the jail.
    #[error("Failed to {step}: {error}")]
    Step {
        /// What was being done.
        step: String,
        /// What the kernel said.
        error: std::io::Error,
    },
}

/// Names the step that failed.
pub(crate) fn step<E: Into<std::io::Error>>(
    what: impl Into<String>,
) -> impl FnOnce(E) -> JailerError {
    move |error| JailerError::Step { step: what.into(), error: error.into() }
}

const KNOWN: [Known; 12] = [
    Known::required("id"),
    Known::required("exec-file"),
    Known::required("uid"),
    Known::required("gid"),
    Known::defaulted("chroot-base-dir", "/srv/jailer"),
    Known::new("netns", Takes::One),
    Known::new("daemonize", Takes::Nothing),
    Known::new("new-pid-ns", Takes::Nothing),
    Known::new("cgroup", Takes::Many),
    Known::new("resource-limit", Takes::Many),
    Known::defaulted("cgroup-version", "1"),
    Known::new("parent-cgroup", Takes::One),
];

/// What the command line asked for, checked.
#[derive(Debug)]
pub(crate) struct Wanted {
    id: String,
    program: PathBuf,
    program_name: String,
    root: PathBuf,
    uid: u32,
    gid: u32,
    netns: Option<PathBuf>,
    daemonize: bool,
    new_pid_namespace: bool,
    cgroup: Option<cgroup::Settings>,
    file_size: Option<u64>,
    open_files: u64,
    extra: Vec<String>,
}

/// The whole program.
pub fn main() -> ExitCode {
    let line: Vec<String> = std::env::args().skip(1).collect();
    let started_us = enter::now_us(enter::Clock::Monotonic);
    let result = match arguments::parse(&KNOWN, &line) {
        Ok(Parsed::Version) => {
            println!("Jailer stand-in v{FOLLOWED_VERSION}\n");
            return ExitCode::SUCCESS;
        }
        Ok(Parsed::Help) => {
            println!("Jailer stand-in v{FOLLOWED_VERSION}: arguments as jailer's\n");
            return ExitCode::SUCCESS;
        }
        Ok(Parsed::Run(given)) => run(&given, started_us),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            eprintln!("Error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(given: &Given, started_us: u64) -> Result<(), JailerError> {
    enter::close_inherited()?;
    let wanted = check(given)?;
    fs::create_dir_all(&wanted.root)
        .map_err(step(format!("create directory {}", wanted.root.display())))?;
    jail::copy_program(&wanted)?;
    if let Some(path) = &wanted.netns {
        enter::join_network_namespace(path)?;
    }
    enter::set_limits(&wanted)?;
    if let Some(settings) = &wanted.cgroup {
        settings.apply()?;
    }
    let null = wanted.daemonize.then(enter::open_null).transpose()?;
    enter::change_root(&wanted.root)?;
    jail::furnish(&wanted)?;
    if let Some(null) = null {
        enter::daemonize(&null)?;
    }
    enter::exec(&wanted, started_us)
}

fn check(given: &Given) -> Result<Wanted, JailerError> {
    let value = |name: &str| {
        given
            .one(name)
            .ok_or_else(|| JailerError::Arguments(ArgumentError::MissingValue(name.to_owned())))
    };
    let id = value("id")?;
    arguments::check_instance_id(id).map_err(JailerError::Id)?;

    let program = canonical(value("exec-file")?)?;
    if !program.is_file() {
        return Err(JailerError::NotAFile(program));
    }
    let program_name = program
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| JailerError::NotAFile(program.clone()))?
        .to_owned();
    let base = canonical(value("chroot-base-dir")?)?;
    if !base.is_dir() {
        return Err(JailerError::NotADirectory(base));
    }
    let uid = value("uid")?;
    let uid = uid.parse().map_err(|_| JailerError::Uid(uid.to_owned()))?;
    let gid = value("gid")?;
    let gid = gid.parse().map_err(|_| JailerError::Gid(gid.to_owned()))?;

    let parent = PathBuf::from(given.one("parent-cgroup").unwrap_or(&program_name));
    let leads_out = |part: Component<'_>| {
        matches!(part, Component::CurDir | Component::ParentDir | Component::RootDir)
    };
    if parent.components().any(leads_out) {
        return Err(JailerError::ParentCgroup);
    }
    let cgroup = cgroup::check(value("cgroup-version")?, given.many("cgroup"), &parent, id)?;

    let mut file_size = None;
    let mut open_files = 2048;
    for limit in given.many("resource-limit") {
        match limit.split_once('=') {
            Some(("fsize", number)) => file_size = Some(limit_value(limit, number)?),
            Some(("no-file", number)) => open_files = limit_value(limit, number)?,
            Some((name, _)) => {
                return Err(JailerError::Limit(format!("Invalid resource argument: {name}")));
            }
            None => {
                let sentence = format!("Invalid format for resources limits: {limit}");
                return Err(JailerError::Limit(sentence));
            }
        }
    }
    Ok(Wanted {
        id: id.to_owned(),
        root: base.join(&program_name).join(id).join("root"),
        program,
        program_name,
        uid,
        gid,
        netns: given.one("netns").map(PathBuf::from),
        daemonize: given.flag("daemonize"),
        new_pid_namespace: given.flag("new-pid-ns"),
        cgroup,
        file_size,
        open_files,
        extra: given.extra.clone(),
    })
}

fn canonical(path: &str) -> Result<PathBuf, JailerError> {
    fs::canonicalize(path)
        .map_err(|error| JailerError::Canonicalize { path: Path::new(path).to_owned(), error })
}

fn limit_value(limit: &str, number: &str) -> Result<u64, JailerError> {
    number.parse().map_err(|error| {
        JailerError::Limit(format!("Invalid limit value for resource: {limit}: {error}"))
    })
}
