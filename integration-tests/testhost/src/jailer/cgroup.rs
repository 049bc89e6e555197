//! The jailer's cgroup arguments, version 2 only.
//!
//! Driven by `jailer::check` and `jailer::run`. Without `--cgroup`, the process moves into the
//! parent cgroup if that exists, and stays where it is, in silence, if it does not: so does the
//! real jailer. With `--cgroup`, a child `<parent>/<id>` is made, written to and joined.

use std::fs;
use std::path::{Path, PathBuf};

use super::{JailerError, step};

const HIERARCHY: &str = "/sys/fs/cgroup";

/// What to write where before entering the jail.
#[derive(Debug)]
pub(crate) struct Settings {
    cgroup: PathBuf,
    values: Vec<(String, String)>,
    make: bool,
}

pub(crate) fn check(
    version: &str,
    given: &[String],
    parent: &Path,
    id: &str,
) -> Result<Option<Settings>, JailerError> {
    match version.parse::<u8>() {
        Ok(2) => {}
        // 1 is the real jailer's default; it looks at the version only when it needs it.
        Ok(_) if given.is_empty() => return Ok(None),
        Ok(1) => {
            let sentence = "the stand-in knows cgroup version 2 only";
            return Err(JailerError::Cgroup(sentence.to_owned()));
        }
        Ok(_) => {
            let sentence = "Hierarchy not found: No hierarchy found for this cgroup version.";
            return Err(JailerError::Cgroup(sentence.to_owned()));
        }
        Err(_) => {
            let sentence = format!("{version} is an invalid cgroup version specifier");
            return Err(JailerError::Cgroup(sentence));
        }
    }
    if !Path::new(HIERARCHY).join("cgroup.controllers").exists() {
        let sentence = "Hierarchy not found: cgroupsv2 hierarchy missing";
        return Err(JailerError::Cgroup(sentence.to_owned()));
    }
    let parent = Path::new(HIERARCHY).join(parent);
    if given.is_empty() {
        let settings = Settings { cgroup: parent, values: Vec::new(), make: false };
        return Ok(settings.cgroup.exists().then_some(settings));
    }
    let mut values = Vec::new();
    for setting in given {
        let parts: Vec<&str> = setting.split('=').collect();
        let [file, value] = parts[..] else {
            return Err(JailerError::Cgroup(format!("Invalid format for cgroups: {setting}")));
        };
        if value.is_empty() {
            return Err(JailerError::Cgroup(format!("Invalid format for cgroups: {setting}")));
        }
        if file.contains('/') || !file.contains('.') || file.starts_with('.') {
            return Err(JailerError::Cgroup(format!("Cgroup invalid file: {setting}")));
        }
        values.push((file.to_owned(), value.to_owned()));
    }
    Ok(Some(Settings { cgroup: parent.join(id), values, make: true }))
}

impl Settings {
    pub(crate) fn apply(&self) -> Result<(), JailerError> {
        if self.make {
            fs::create_dir_all(&self.cgroup)
                .map_err(step(format!("create directory {}", self.cgroup.display())))?;
        }
        for (file, value) in &self.values {
            let controller = file.split('.').next().unwrap_or_default();
            self.enable(controller)?;
            self.write(&self.cgroup.join(file), value)?;
        }
        let own = std::process::id().to_string();
        self.write(&self.cgroup.join("cgroup.procs"), &own)
    }

    /// Switches a controller on from the root of the hierarchy down to the parent.
    fn enable(&self, controller: &str) -> Result<(), JailerError> {
        let parent = self.cgroup.parent().unwrap_or(Path::new(HIERARCHY));
        let mut path = PathBuf::from(HIERARCHY);
        let below = parent.strip_prefix(HIERARCHY).unwrap_or(Path::new(""));
        self.write(&path.join("cgroup.subtree_control"), &format!("+{controller}"))?;
        for part in below.components() {
            path.push(part);
            self.write(&path.join("cgroup.subtree_control"), &format!("+{controller}"))?;
        }
        Ok(())
    }

    fn write(&self, path: &Path, value: &str) -> Result<(), JailerError> {
        fs::write(path, value).map_err(step(format!("write to {}", path.display())))
    }
}
