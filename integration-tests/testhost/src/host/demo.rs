//! The guest that `make up` shows, for tests: Debian's packages, the guest agent, and what
//! `banger image build-demo` makes of both.
//!
//! Driven by tests before they cut themselves off from every network. Packages are fetched once.
//! What can go wrong: a script or `banger` fails, or was not built; the error has what it said.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::HostError;
use super::tool::Tool;

/// What the demo guest is made from.
#[derive(Debug, Clone)]
pub struct Demo {
    /// The directory with the packages of a kernel and of busybox-static.
    pub packages: PathBuf,
    /// The guest agent.
    pub agent: PathBuf,
}

/// What `banger image build-demo --to` writes, in order.
pub const FILES: [&str; 3] = ["vmlinux", "initrd.img", "root.ext4"];

impl Demo {
    /// Fetches and builds what is not there.
    ///
    /// # Errors
    ///
    /// See [`HostError`].
    pub fn ready() -> Result<Self, HostError> {
        let packages = path_said_by("deploy/dev/packages.sh")?;
        Ok(Self { packages, agent: path_said_by(".ci/guest.sh")? })
    }

    /// The package of the kernel.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn kernel_package(&self) -> Result<PathBuf, HostError> {
        let mut packages = listed(&self.packages)?;
        let is = |path: &PathBuf| path.to_string_lossy().contains("/linux-image-");
        packages.retain(is);
        packages.pop().ok_or_else(|| HostError::NotBuilt {
            what: "a kernel's package".to_owned(),
            path: self.packages.clone(),
            remedy: "remove the directory; deploy/dev/packages.sh fetches it again",
        })
    }

    /// Has `banger` make [`FILES`] in a directory, unless they are newer than everything they are
    /// made of.
    ///
    /// # Errors
    ///
    /// As [`Self::ready`].
    pub fn images(&self, banger: &Path, into: &Path) -> Result<(), HostError> {
        let modified = |path: &Path| -> Result<SystemTime, HostError> {
            let facts = fs::metadata(path).map_err(HostError::file("look at", path))?;
            facts.modified().map_err(HostError::file("look at", path))
        };
        let mut sources = listed(&self.packages)?;
        sources.extend([self.agent.clone(), banger.to_owned()]);
        let mut newest = SystemTime::UNIX_EPOCH;
        for source in &sources {
            newest = newest.max(modified(source)?);
        }
        // The last that is written.
        let made = modified(&into.join(FILES[2]));
        if made.is_ok_and(|made| made > newest) {
            return Ok(());
        }
        let build = Tool::new(&banger.to_string_lossy()).args(["image", "build-demo"]);
        build
            .arg(&self.packages)
            .arg("--to")
            .arg(into)
            .arg("--guest-agent")
            .arg(&self.agent)
            .run()?;
        Ok(())
    }
}

/// Runs a script of the repository that prints a path.
pub(super) fn path_said_by(script: &str) -> Result<PathBuf, HostError> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(script);
    let said = Tool::new(&script.to_string_lossy()).run()?;
    Ok(PathBuf::from(String::from_utf8_lossy(&said).trim()))
}

fn listed(directory: &Path) -> Result<Vec<PathBuf>, HostError> {
    let listing = fs::read_dir(directory).map_err(HostError::file("list", directory))?;
    let mut paths: Vec<PathBuf> = listing.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    paths.sort();
    Ok(paths)
}
