//! Where everything of `banger dev` is.
//!
//! ```text
//! <dir>/dev.json            what was started
//! <dir>/lock                held by the one command that starts or stops
//! <dir>/logs/server.log     one log for each process
//! <dir>/server/             state of the server
//! <dir>/agents/<name>/      state of each agent
//! ```
//!
//! Only these are ever removed: a state directory named by mistake keeps its other files.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;

use crate::args::StateDir;
use banger_terminal::failure::Failure;

/// How long another `banger dev` may take with what it does: longer than any deletion of VMs.
const LOCK_PATIENCE: Duration = Duration::from_secs(180);

/// The directory of one set-up.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) root: PathBuf,
}

impl Layout {
    /// The directory that was named, or the default one.
    pub(super) fn of(args: &StateDir) -> Result<Self, Failure> {
        let root = match &args.state_dir {
            Some(dir) => dir.clone(),
            None => {
                let set = |name| std::env::var_os(name).map(PathBuf::from);
                set("XDG_STATE_HOME")
                    .filter(|path| path.is_absolute())
                    .or_else(|| Some(set("HOME").filter(|h| h.is_absolute())?.join(".local/state")))
                    .ok_or_else(|| {
                        Failure::Usage("there is no place for the state: give --state-dir".into())
                    })?
                    .join("banger/dev")
            }
        };
        let root = std::path::absolute(&root)
            .map_err(|error| Failure::io("find the state directory", error))?;
        Ok(Self { root })
    }

    pub(super) fn record(&self) -> PathBuf {
        self.root.join("dev.json")
    }

    pub(super) fn server_state(&self) -> PathBuf {
        self.root.join("server")
    }

    pub(super) fn agent_state(&self, name: &str) -> PathBuf {
        self.root.join("agents").join(name)
    }

    /// The sockets of an agent's VMs.
    pub(super) fn agent_runtime(&self, name: &str) -> PathBuf {
        self.agent_state(name).join("run")
    }

    /// The id under which an agent joined; `None` when it did not, or it can't be read.
    pub(super) fn host_id(&self, name: &str) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Joined {
            host_id: String,
        }
        let text = fs::read(self.agent_state(name).join("identity/host.json")).ok()?;
        serde_json::from_slice::<Joined>(&text).ok().map(|joined| joined.host_id)
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// The configuration of one process, made empty if it is not there: what this machine has in
    /// /etc is for its own server and agent, not for these.
    pub(super) fn config(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.root.join("config").join(format!("{name}.toml"));
        let made = File::options().append(true).create(true).open(&path);
        made.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// Changes the configuration of a process before it is started for the first time.
    pub(super) fn edit_config(
        &self,
        name: &str,
        edit: impl FnOnce(&str) -> String,
    ) -> Result<(), Failure> {
        let path = self.config(name)?;
        let write = || -> io::Result<()> {
            let present = fs::read_to_string(&path)?;
            let wanted = edit(&present);
            if wanted == present { Ok(()) } else { fs::write(&path, wanted) }
        };
        write().map_err(|error| Failure::io(&format!("write {}", path.display()), error))
    }

    /// Forgets an agent: its state, configuration and log.
    pub(super) fn remove_agent(&self, name: &str) -> Result<(), Failure> {
        let state = self.agent_state(name);
        match fs::remove_dir_all(&state) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::io(&format!("remove {}", state.display()), error));
            }
            Ok(()) | Err(_) => {}
        }
        // What is left of these is of no account.
        let _ = fs::remove_file(self.root.join("config").join(format!("{name}.toml")));
        let _ = fs::remove_file(self.log(name));
        Ok(())
    }

    /// Has an agent join as a new host, by a key of its own, with the guests that it has.
    pub(super) fn forget_identity(&self, name: &str) -> Result<(), Failure> {
        let identity = self.agent_state(name).join("identity");
        match fs::remove_dir_all(&identity) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::io(&format!("remove {}", identity.display()), error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes the directory, readable by its owner only: it will hold keys.
    pub(super) fn create(&self) -> Result<(), Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        let make = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        make(&self.root)
            .and_then(|()| make(&self.root.join("logs")))
            .and_then(|()| make(&self.root.join("config")))
            .with_context(|| format!("cannot make {}", self.root.display()))?;
        Ok(())
    }

    /// Takes the lock, as long as the file is held. Gone with the process that took it.
    pub(super) fn lock(&self) -> Result<File, Failure> {
        let path = self.root.join("lock");
        let file =
            File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => Err(Failure::Other(anyhow::anyhow!(
                "another `banger dev` is starting or stopping things in {}; try again when it is done",
                self.root.display()
            ))),
            Err(fs::TryLockError::Error(error)) => {
                Err(Failure::io(&format!("lock {}", path.display()), error))
            }
        }
    }

    /// Waits until the lock is free and takes it; `None` when the directory has gone meanwhile.
    pub(super) async fn lock_when_free(&self) -> Result<Option<File>, Failure> {
        let until = Instant::now() + LOCK_PATIENCE;
        while self.record().exists() {
            match self.lock() {
                Ok(file) => return Ok(Some(file)),
                Err(failure) if Instant::now() >= until => return Err(failure),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        Ok(None)
    }

    /// Removes what `banger dev` made, and the directory if nothing else is in it.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        let missing_is_fine = |done: io::Result<()>| match done {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
        for dir in ["logs", "config", "server", "agents"] {
            let path = self.root.join(dir);
            missing_is_fine(fs::remove_dir_all(&path))
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        // The record last: with it gone, nothing would know of what is left.
        for file in ["lock", "dev.json"] {
            let path = self.root.join(file);
            missing_is_fine(fs::remove_file(&path))
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        match fs::remove_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            done => {
                missing_is_fine(done).map_err(|error| Failure::io("remove the directory", error))
            }
        }
    }

    /// The last lines of a log, each indented, for an error message.
    pub(super) fn log_tail(&self, name: &str, lines: usize) -> String {
        let text = fs::read(self.log(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let text = anstream::adapter::strip_str(&text).to_string();
        let all: Vec<_> = text.lines().collect();
        let from = all.len().saturating_sub(lines);
        all[from..]
            .iter()
            .map(|line| format!("  | {}\n", banger_terminal::text::clean(line)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
