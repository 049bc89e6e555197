//! A release and where each of its files goes on this machine: the plan of install and update, and
//! doing it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::PROGRAM_DIR;
use super::disk::{Disk, Present, sha256, sha256_of};
use super::links;
use super::machine::{Call, Machine};
use super::payload::{self, COMMAND, Kind, Part, Release};
use super::plan::{self, Action, Line, Target};
use super::record::Record;
use super::udev;

/// The programs of these parts; the command is of all.
pub(super) fn programs(parts: &[Part]) -> Vec<&'static str> {
    std::iter::once(COMMAND).chain(parts.iter().map(|part| part.program())).collect()
}

/// Where the guest agent is laid down, which the server puts into root file systems that it makes
/// (`images.guest_agent`). A release without one is taken: images then have none.
pub(super) const GUEST: &str = "/usr/lib/banger/banger-guest";

/// Where a program is laid down.
pub(super) fn program_path(name: &str) -> PathBuf {
    Path::new(PROGRAM_DIR).join(name)
}

/// The files of the release whose programs are in `from`. Asked of its own `banger`, unless that is
/// this very program.
pub(super) async fn release_in(machine: &impl Machine, from: &Path) -> anyhow::Result<Release> {
    let command = from.join(COMMAND);
    if !command.is_file() {
        bail!("{} has no program {COMMAND}: give --from", from.display());
    }
    let own = std::env::current_exe().context("this program cannot be found")?;
    if same_file(&command, &own)? || sha256_of(&command)? == sha256_of(&own)? {
        return Ok(payload::own());
    }
    let call = Call::new(command.to_string_lossy(), &["system", "payload"]);
    let said = machine.run(&call).await?;
    if !said.good {
        bail!("`{}` failed: {}", call.text(), said.complaint());
    }
    serde_json::from_str(&said.out)
        .with_context(|| format!("{} does not tell its files", command.display()))
}

/// The guest agent: that of the release, or what an earlier one has laid down.
fn guest(disk: &Disk, from: &Path, record: &Record) -> anyhow::Result<Option<Target>> {
    let path = PathBuf::from(GUEST);
    let source = from.join(path.file_name().context("it is a file")?);
    // A package brings a release to where the guest agent belongs: it is the package's.
    let there = disk.at(&path)?;
    let is_source = source.is_file() && there.exists() && same_file(&source, &there)?;
    let (sha256, mode) = if source.is_file() && !is_source {
        (sha256_of(&source)?, 0o755)
    } else {
        match disk.look(&path)? {
            Present::File { sha256, mode } if record.files.contains_key(&path) => (sha256, mode),
            Present::Absent | Present::File { .. } | Present::Other => return Ok(None),
        }
    };
    Ok(Some(Target { path, kind: Kind::Program, mode, sha256 }))
}

/// Whether two paths lead to one file: then it need not be read.
fn same_file(one: &Path, other: &Path) -> anyhow::Result<bool> {
    let is = |path: &Path| {
        let metadata = std::fs::metadata(path);
        metadata
            .map(|file| (file.dev(), file.ino()))
            .with_context(|| format!("cannot look at {}", path.display()))
    };
    Ok(is(one)? == is(other)?)
}

/// What is to be done with each file.
#[derive(Debug)]
pub(super) struct Laydown {
    pub(super) lines: Vec<Line>,
    release: Release,
    from: PathBuf,
    /// Directories that have to be made for the files and for the links of their units.
    directories: BTreeSet<PathBuf>,
}

impl Laydown {
    /// Looks at the machine and decides.
    pub(super) fn plan(
        disk: &Disk,
        mut release: Release,
        from: &Path,
        parts: &[Part],
        record: &Record,
    ) -> anyhow::Result<Self> {
        udev::fit(&mut release, disk)?;
        let mut targets = Vec::new();
        for name in programs(parts) {
            let source = from.join(name);
            if !source.is_file() {
                bail!("{} has no program {name}: give --from", from.display());
            }
            targets.push(Target {
                path: program_path(name),
                kind: Kind::Program,
                mode: 0o755,
                sha256: sha256_of(&source)?,
            });
        }
        if parts.contains(&Part::Server) {
            targets.extend(guest(disk, from, record)?);
        }
        for file in release.files.iter().filter(|file| parts.contains(&file.part)) {
            targets.push(Target {
                path: file.path.clone(),
                kind: file.kind,
                mode: 0o644,
                sha256: sha256(&file.text),
            });
        }
        let mut present = BTreeMap::new();
        for path in targets.iter().map(|target| &target.path).chain(record.files.keys()) {
            present.insert(path.clone(), disk.look(path)?);
        }
        let lines = plan::plan(&targets, &present, record);
        let units = parts.iter().filter_map(|part| {
            let is_unit = |path: &Path| path.file_name().is_some_and(|name| name == part.unit());
            let file = release.files.iter().find(|file| is_unit(&file.path))?;
            Some(links::links_of(part.unit(), &file.text))
        });
        let links: Vec<PathBuf> = units.flatten().collect();
        let paths = targets.iter().map(|target| &target.path).chain(&links);
        let directories = disk.missing_above(paths.map(PathBuf::as_path))?;
        Ok(Self { lines, release, from: from.to_owned(), directories })
    }

    /// The version of the release.
    pub(super) fn version(&self) -> &str {
        &self.release.version
    }

    /// For people, one line a file.
    pub(super) fn text(&self) -> String {
        self.lines.iter().map(|line| line.text() + "\n").collect()
    }

    /// An error that names every file that can't be laid down.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let refused: Vec<_> = self
            .lines
            .iter()
            .filter(|line| line.action == Action::Refuse)
            .map(|line| line.target.path.display().to_string())
            .collect();
        if refused.is_empty() {
            return Ok(());
        }
        bail!("no regular file, so that nothing was done: {}", refused.join(", "))
    }

    pub(super) fn changes(&self) -> bool {
        self.lines.iter().any(Line::changes)
    }

    /// Whether a file of this kind is changed.
    pub(super) fn changes_kind(&self, kind: Kind) -> bool {
        self.lines.iter().any(|line| line.target.kind == kind && line.changes())
    }

    /// Whether a program is replaced by another.
    pub(super) fn replaces_programs(&self) -> bool {
        let replaced =
            |line: &Line| line.target.kind == Kind::Program && line.action == Action::Replace;
        self.lines.iter().any(replaced)
    }

    /// Does it, file by file.
    pub(super) fn apply(&self, disk: &Disk) -> anyhow::Result<()> {
        for line in &self.lines {
            let path = &line.target.path;
            let name = path.file_name().map(|name| self.from.join(name));
            let text = self.release.files.iter().find(|file| file.path == *path);
            let source = match (line.target.kind, &name, text) {
                (Kind::Program, Some(file), _) => Source::File(file),
                (_, _, Some(file)) => Source::Text(&file.text),
                (_, _, None) => Source::None,
            };
            lay_down(disk, line, &source)?;
        }
        Ok(())
    }

    /// What is to be remembered after it.
    pub(super) fn record(&self, parts: &[Part], earlier: &Record) -> Record {
        let mut new = Record::new(&self.release.version, parts);
        new.directories = earlier.directories.union(&self.directories).cloned().collect();
        plan::remember(&self.lines, new, earlier)
    }
}

/// Where the contents of a file come from.
#[derive(Debug)]
enum Source<'a> {
    File(&'a Path),
    Text(&'a str),
    /// It is only removed.
    None,
}

/// Does one line of a plan.
fn lay_down(disk: &Disk, line: &Line, source: &Source<'_>) -> anyhow::Result<()> {
    let Line { target, action } = line;
    let lay = |path: &Path| match source {
        Source::File(file) => disk.install(file, path, target.mode),
        Source::Text(text) => disk.write(path, text.as_bytes(), target.mode),
        Source::None => bail!("there is nothing to lay down at {}", path.display()),
    };
    match action {
        Action::Same | Action::Keep => Ok(()),
        Action::Lay | Action::Replace => lay(&target.path),
        Action::ReplaceKeeping(old) => {
            disk.copy(&target.path, old)?;
            lay(&target.path)
        }
        Action::KeepBeside(new) => lay(new),
        Action::Drop => disk.remove(&target.path).map(drop),
        Action::Refuse => bail!("{} is no regular file", target.path.display()),
    }
}
