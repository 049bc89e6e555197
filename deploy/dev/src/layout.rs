//! Where everything of `banger dev` is.
//!
//! ```text
//! <dir>/dev.json            what was started
//! <dir>/made.json           what of this was not there before
//! <dir>/lock                held by the one command that starts or stops
//! <dir>/logs/<name>.log     one log for each process: server, b0, b1 …
//! <dir>/config/<name>.toml  the configuration of each
//! <dir>/server/             state of the server
//! <dir>/agents/<name>/      state of each agent
//! ```
//!
//! Only these are ever removed, and of these only what `banger dev` made (`made`): a state
//! directory named by mistake keeps what was in it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tokio::time::Instant;

use crate::args::StateDir;
use banger_terminal::failure::Failure;

mod made;

use made::Made;

/// How long another `banger dev` may take with what it does: longer than any deletion of VMs.
const LOCK_PATIENCE: Duration = Duration::from_secs(180);

/// A start that holds the lock, and what it has made so far.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) lock: File,
    root_is_new: bool,
    /// Before it.
    earlier: Option<Made>,
    /// By it.
    new: Made,
}

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

    fn made(&self) -> PathBuf {
        self.root.join("made.json")
    }

    /// Puts a file of this directory in its place, whole or not at all.
    pub(super) fn replace(&self, path: &Path, content: &impl Serialize) -> Result<(), Failure> {
        let write = || -> anyhow::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.root)?;
            serde_json::to_writer_pretty(&mut file, content)?;
            file.write_all(b"\n")?;
            file.persist(path)?;
            Ok(())
        };
        Ok(write().with_context(|| format!("cannot write {}", path.display()))?)
    }

    /// Whether anything of a set-up is here.
    pub(super) fn is_one(&self) -> bool {
        self.record().exists() || self.made().exists()
    }

    /// What is ours here.
    fn ours(&self) -> Result<Made, Failure> {
        Ok(match Made::load(self)? {
            Some(made) => made,
            None if self.record().exists() => Made::whole(),
            None => Made::default(),
        })
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
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.root.join("config").join(format!("{name}.toml"));
        let made = File::options().append(true).create(true).mode(0o600).open(&path);
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

    /// Puts configurations that were there before back to what they were: by this, where they were
    /// not changed since.
    pub(super) fn restore_config(
        &self,
        name: &str,
        edit: impl FnOnce(&str) -> String,
    ) -> Result<(), Failure> {
        let place = format!("config/{name}.toml");
        if self.ours()?.holds(&place) || !self.root.join(place).exists() {
            return Ok(());
        }
        self.edit_config(name, edit)
    }

    /// Forgets an agent: its state, configuration and log.
    pub(super) fn remove_agent(&self, name: &str) -> Result<(), Failure> {
        let ours = self.ours()?;
        let state = self.agent_state(name);
        if !ours.holds(&format!("agents/{name}")) {
            // A host that was removed has no use for its key; the rest was there before.
            self.forget_identity(name)?;
        } else if let Err(error) = fs::remove_dir_all(&state)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(Failure::io(&format!("remove {}", state.display()), error));
        }
        for place in [format!("config/{name}.toml"), format!("logs/{name}.log")] {
            if ours.holds(&place) {
                // What is left of these is of no account.
                let _ = fs::remove_file(self.root.join(place));
            }
        }
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

    /// Takes the lock, and makes the directories, readable by their owner only: they will hold
    /// keys.
    pub(super) fn begin(&self) -> Result<Begun, Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        let make = |path: &Path| {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.with_context(|| format!("cannot make {}", path.display()))
        };
        let root_is_new = self.root.symlink_metadata().is_err();
        make(&self.root)?;
        let lock_is_new = self.root.join("lock").symlink_metadata().is_err();
        let lock = self.lock()?;
        let absent = Made::absent(self);
        let absent = if lock_is_new { absent.with_lock() } else { absent };
        let earlier = Made::load(self)?;
        let new = absent.without(&earlier.clone().unwrap_or_default());
        let begun = Begun { lock, root_is_new, earlier, new };
        let prepare = || {
            if begun.earlier.is_some() || !self.record().exists() {
                begun.earlier.clone().unwrap_or_default().and(&begun.new).save(self)?;
            }
            ["logs", "config"].iter().try_for_each(|name| make(&self.root.join(name)))?;
            Ok(())
        };
        if let Err(failure) = prepare() {
            // Best effort: the error counts.
            let _ = self.unmake(&begun);
            return Err(failure);
        }
        Ok(begun)
    }

    /// Takes the lock, as long as the file is held. Gone with the process that took it.
    pub(super) fn lock(&self) -> Result<File, Failure> {
        let path = self.root.join("lock");
        let file = lock_file(&path).with_context(|| format!("cannot open {}", path.display()))?;
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

    /// Takes back a start that was refused before it started anything: what it made goes, and
    /// nothing else. A set-up that was there before goes on with all that it has.
    pub(super) fn unmake(&self, begun: &Begun) -> Result<(), Failure> {
        if self.record().exists() {
            return Ok(());
        }
        self.remove_places(&begun.new)?;
        match &begun.earlier {
            Some(earlier) => earlier.save(self)?,
            None => self.remove_place("made.json")?,
        }
        if begun.root_is_new { self.remove_root().map(drop) } else { Ok(()) }
    }

    /// Removes what `banger dev` made, and the directory if nothing else is in it. False when
    /// something is.
    pub(super) fn remove(&self) -> Result<bool, Failure> {
        self.remove_places(&self.ours()?)?;
        // These last: with them gone, nothing would know of what is left, and a record without the
        // list would mean that all of it is ours.
        self.remove_place("dev.json")?;
        self.remove_place("made.json")?;
        self.remove_root()
    }

    fn remove_places(&self, made: &Made) -> Result<(), Failure> {
        made.places().try_for_each(|place| self.remove_place(place))
    }

    /// Removes a file or a directory with what is in it; that none is there is fine.
    fn remove_place(&self, place: &str) -> Result<(), Failure> {
        let path = self.root.join(place);
        let remove = || match path.symlink_metadata()?.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        match remove() {
            Ok(()) => Ok(()),
            Err(error) => match error.kind() {
                // Somebody's file where the directory would be.
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(()),
                _ => Err(Failure::io(&format!("remove {}", path.display()), error)),
            },
        }
    }

    fn remove_root(&self) -> Result<bool, Failure> {
        match fs::remove_dir(&self.root) {
            Ok(()) => Ok(true),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => Ok(true),
                io::ErrorKind::DirectoryNotEmpty => Ok(false),
                _ => Err(Failure::io("remove the directory", error)),
            },
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

/// Opens a lock's file, made where it is not there, for its owner only: whoever may open it can
/// hold the lock (flock(2)) and keep everybody out. One of an earlier release could be read by all.
pub(super) fn lock_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits();
    let file = options.custom_flags(nofollow.cast_signed()).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
