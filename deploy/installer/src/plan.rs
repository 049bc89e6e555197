//! What becomes of each file: a pure function of what is to be there, what is there, and what was
//! laid down before.
//!
//! | there is | configuration | anything else |
//! |---|---|---|
//! | nothing | laid down | laid down |
//! | the same | left | left |
//! | what was laid down before | replaced | replaced |
//! | something else | kept; a new default goes beside it as `.new` | kept as `.old`, and replaced |
//! | no regular file | refused | refused |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::disk::Present;
use super::payload::Kind;
use super::record::Record;

/// A file that is to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) sha256: String,
}

/// What to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing is there.
    Lay,
    /// It is as it should be.
    Same,
    /// Ours, and of another release.
    Replace,
    /// Somebody changed it: theirs is kept out of the way.
    ReplaceKeeping(PathBuf),
    /// Somebody's configuration; the default has not changed since.
    Keep,
    /// Somebody's configuration; the new default goes beside it.
    KeepBeside(PathBuf),
    /// Laid down by a release before, and in none since.
    Drop,
    /// It cannot be done.
    Refuse,
}

/// One file and its fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) target: Target,
    pub(super) action: Action,
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Decides about one file; `before` is the SHA-256 of what was last laid down there.
pub(super) fn decide(target: &Target, present: &Present, before: Option<&str>) -> Action {
    let (sha256, mode) = match present {
        Present::Absent => return Action::Lay,
        Present::Other => return Action::Refuse,
        Present::File { sha256, mode } => (sha256, *mode),
    };
    if *sha256 == target.sha256 {
        // A configuration may be made readable to fewer people; that is no change to make.
        let fits = mode == target.mode || target.kind == Kind::Config;
        return if fits { Action::Same } else { Action::Replace };
    }
    let ours = before == Some(sha256.as_str());
    match (target.kind, ours) {
        (_, true) => Action::Replace,
        // A program has no changes that anybody would want back.
        (Kind::Program, false) => Action::Replace,
        (Kind::Unit | Kind::Support, false) => {
            Action::ReplaceKeeping(with_suffix(&target.path, ".old"))
        }
        (Kind::Config, false) if before == Some(target.sha256.as_str()) => Action::Keep,
        (Kind::Config, false) => Action::KeepBeside(with_suffix(&target.path, ".new")),
    }
}

/// Decides about all files, and about those that the release no longer has.
pub(super) fn plan(
    targets: &[Target],
    present: &BTreeMap<PathBuf, Present>,
    record: &Record,
) -> Vec<Line> {
    let at = |path: &Path| present.get(path).cloned().unwrap_or(Present::Absent);
    let mut lines: Vec<_> = targets
        .iter()
        .map(|target| {
            let before = record.files.get(&target.path).map(String::as_str);
            let action = decide(target, &at(&target.path), before);
            Line { target: target.clone(), action }
        })
        .collect();
    for (path, before) in &record.files {
        let wanted = targets.iter().any(|target| target.path == *path);
        // What somebody changed is theirs.
        if let (false, Present::File { sha256, mode }) = (wanted, at(path))
            && sha256 == *before
        {
            let target = Target { path: path.clone(), kind: Kind::Support, mode, sha256 };
            lines.push(Line { target, action: Action::Drop });
        }
    }
    lines
}

impl Line {
    /// Whether doing it changes the machine.
    pub(super) fn changes(&self) -> bool {
        match self.action {
            Action::Same | Action::Keep | Action::Refuse => false,
            Action::Lay
            | Action::Replace
            | Action::ReplaceKeeping(_)
            | Action::KeepBeside(_)
            | Action::Drop => true,
        }
    }

    /// In a line, for people.
    pub(super) fn text(&self) -> String {
        let path = self.target.path.display();
        match &self.action {
            Action::Lay => format!("new       {path}"),
            Action::Same => format!("same      {path}"),
            Action::Replace => format!("replace   {path}"),
            Action::ReplaceKeeping(old) => {
                format!("replace   {path} (it was changed: kept as {})", old.display())
            }
            Action::Keep => format!("keep      {path} (it was changed)"),
            Action::KeepBeside(new) => {
                format!("keep      {path} (it was changed; the new default is {})", new.display())
            }
            Action::Drop => format!("remove    {path} (this release has none)"),
            Action::Refuse => format!("refuse    {path} (it is no regular file)"),
        }
    }
}

/// What is to be remembered once the plan is done.
pub(super) fn remember(lines: &[Line], mut record: Record, earlier: &Record) -> Record {
    record.beside.clone_from(&earlier.beside);
    for line in lines {
        match &line.action {
            Action::Lay | Action::Same | Action::Replace | Action::Keep => {}
            Action::ReplaceKeeping(path) | Action::KeepBeside(path) => {
                if !record.beside.contains(path) {
                    record.beside.push(path.clone());
                }
            }
            Action::Drop | Action::Refuse => continue,
        }
        record.files.insert(line.target.path.clone(), line.target.sha256.clone());
    }
    record
}

#[cfg(test)]
mod tests;
