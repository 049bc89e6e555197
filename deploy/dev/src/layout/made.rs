//! What of a state directory is `banger dev`'s own: `made.json`, so that nothing else is removed.
//!
//! Written by `up` under the lock, before anything is made but the directory and the lock: whatever
//! of its places is not there yet is its own from then on. It outlives a start that failed, whose
//! logs stay, and goes last of all. A set-up of an earlier release has a record and no such list;
//! all of its directories are its own.

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::Layout;
use crate::args::HOSTS;
use banger_terminal::failure::Failure;

/// The directories in which everything is.
const DIRECTORIES: [&str; 4] = ["logs", "config", "server", "agents"];
const LOCK: &str = "lock";

/// Paths in the state directory, each of which is ours with all that is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made(BTreeSet<String>);

impl Made {
    /// Everything, whoever made it.
    pub(super) fn whole() -> Self {
        Self(DIRECTORIES.into_iter().chain([LOCK]).map(str::to_owned).collect())
    }

    /// What is not there, of all that a set-up makes.
    pub(super) fn absent(layout: &Layout) -> Self {
        // A link that leads nowhere is somebody's, too.
        let is_absent = |place: &String| layout.root.join(place).symlink_metadata().is_err();
        let whole: BTreeSet<_> = Self::whole().0.into_iter().filter(is_absent).collect();
        let agents = (0..HOSTS).map(|index| format!("b{index}"));
        let inside = agents.flat_map(|name| {
            [format!("agents/{name}"), format!("config/{name}.toml"), format!("logs/{name}.log")]
        });
        let inside = inside.chain(["config/server.toml", "logs/server.log"].map(str::to_owned));
        let whole = Self(whole);
        let inside: BTreeSet<_> =
            inside.filter(|place| !whole.holds(place)).filter(is_absent).collect();
        whole.and(&Self(inside))
    }

    /// The lock's file as well.
    pub(super) fn with_lock(mut self) -> Self {
        self.0.insert(LOCK.to_owned());
        self
    }

    /// These and those.
    pub(super) fn and(&self, others: &Self) -> Self {
        Self(self.0.union(&others.0).cloned().collect())
    }

    /// Those of these that are not among others.
    pub(super) fn without(&self, others: &Self) -> Self {
        Self(self.0.iter().filter(|place| !others.holds(place)).cloned().collect())
    }

    /// Whether a place is ours, itself or with the directory that it is in.
    pub(super) fn holds(&self, place: &str) -> bool {
        let directory = place.split('/').next().unwrap_or(place);
        self.0.contains(place) || self.0.contains(directory)
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Reads the list; `None` when there is none.
    pub(super) fn load(layout: &Layout) -> Result<Option<Self>, Failure> {
        let path = layout.made();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io(&format!("read {}", path.display()), error)),
        };
        let made: Self = serde_json::from_slice(&text)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if let Some(strange) = made.0.iter().find(|place| !is_place(place)) {
            return Err(Failure::Other(anyhow::anyhow!(
                "{} lists {strange:?}, which `banger dev` does not make",
                path.display()
            )));
        }
        Ok(Some(made))
    }

    /// Replaces the list.
    pub(super) fn save(&self, layout: &Layout) -> Result<(), Failure> {
        layout.replace(&layout.made(), self)
    }
}

/// Whether `banger dev` can have written this: a list that somebody wrote leads nowhere else.
fn is_place(place: &str) -> bool {
    let parts: Vec<_> = Path::new(place).components().collect();
    let plain = parts.iter().all(|part| matches!(part, Component::Normal(_)));
    let first = place.split('/').next().unwrap_or_default();
    plain && parts.len() <= 2 && (place == LOCK || DIRECTORIES.contains(&first))
}
