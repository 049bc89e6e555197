//! The programs that go into the host: banger's own, the VMM, the control program.
//!
//! Driven by [`super::TestHost::start`]. Banger's are taken as Cargo built them for the running
//! test. The VMM is the real Firecracker where `BANGER_FIRECRACKER` and `BANGER_JAILER` (or
//! `PATH`) lead to one, else the stand-ins of this package, built here: statically, with a target
//! directory of their own so that other builds are not disturbed.

use std::path::{Path, PathBuf};

use super::HostError;
use super::cache::Cache;
use super::tool::Tool;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Programs of banger, by name.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Name in the host and path here.
    pub files: Vec<(String, PathBuf)>,
}

/// Which VMM runs in the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vmm {
    /// Firecracker itself.
    Real {
        /// What it says of itself, such as `1.16.1`.
        version: String,
        /// The binary.
        firecracker: PathBuf,
        /// Its jailer.
        jailer: PathBuf,
    },
    /// The stand-ins of this package.
    StandIn {
        /// The binary.
        firecracker: PathBuf,
        /// Its jailer.
        jailer: PathBuf,
    },
}

impl Vmm {
    /// Looks for the real one, and makes the stand-ins where there is none.
    ///
    /// # Errors
    ///
    /// When only one of two variables is set or leads nowhere, or the stand-ins do not build.
    pub fn find(cache: &Cache) -> Result<Self, HostError> {
        let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
        let found = match (named("BANGER_FIRECRACKER"), named("BANGER_JAILER")) {
            (Some(firecracker), Some(jailer)) => {
                for path in [&firecracker, &jailer] {
                    if !path.is_file() {
                        return Err(HostError::NotBuilt {
                            what: "Firecracker or its jailer".to_owned(),
                            path: path.clone(),
                            remedy: "correct or unset BANGER_FIRECRACKER and BANGER_JAILER",
                        });
                    }
                }
                Some((firecracker, jailer))
            }
            (None, None) => in_path("firecracker").zip(in_path("jailer")),
            (Some(_), None) | (None, Some(_)) => {
                let why = "BANGER_FIRECRACKER and BANGER_JAILER go together; one is missing";
                return Err(HostError::Unfit(why.to_owned()));
            }
        };
        if let Some((firecracker, jailer)) = found {
            let said = Tool::new(&firecracker.to_string_lossy()).arg("--version").run()?;
            let said = String::from_utf8_lossy(&said).into_owned();
            let version = said
                .lines()
                .find_map(|line| line.strip_prefix("Firecracker v"))
                .unwrap_or("of unknown version")
                .trim()
                .to_owned();
            return Ok(Self::Real { version, firecracker, jailer });
        }
        let built = build(cache)?;
        Ok(Self::StandIn {
            firecracker: built.join("standin-firecracker"),
            jailer: built.join("standin-jailer"),
        })
    }

    /// The line that says which ran.
    pub fn line(&self) -> String {
        match self {
            Self::Real { version, .. } => format!("vmm: firecracker {version}"),
            Self::StandIn { .. } => "vmm: stand-in".to_owned(),
        }
    }

    /// Whether guests really run.
    pub fn is_real(&self) -> bool {
        matches!(self, Self::Real { .. })
    }

    /// The binary.
    pub fn firecracker(&self) -> &Path {
        match self {
            Self::Real { firecracker, .. } | Self::StandIn { firecracker, .. } => firecracker,
        }
    }

    /// Its jailer.
    pub fn jailer(&self) -> &Path {
        match self {
            Self::Real { jailer, .. } | Self::StandIn { jailer, .. } => jailer,
        }
    }
}

/// Banger's programs of the given names, from the directory of the running test's profile or
/// `BANGER_BIN_DIR`.
///
/// # Errors
///
/// When one was not built.
pub fn banger(cache: &Cache, names: &[&str]) -> Result<Programs, HostError> {
    let directory = match std::env::var_os("BANGER_BIN_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => cache.profile().to_owned(),
    };
    let mut files = Vec::new();
    for name in names {
        let path = directory.join(name);
        if !path.is_file() {
            return Err(HostError::NotBuilt {
                what: (*name).to_owned(),
                path,
                remedy: "run `cargo build --workspace --bins` first, or `make test-host`",
            });
        }
        files.push(((*name).to_owned(), path));
    }
    Ok(Programs { files })
}

/// The control program.
///
/// # Errors
///
/// When it does not build.
pub fn control(cache: &Cache) -> Result<PathBuf, HostError> {
    Ok(build(cache)?.join("testhost-control"))
}

/// The program of a hostile guest, which is the host's watch as well.
///
/// # Errors
///
/// When it does not build.
pub fn hostile_guest(cache: &Cache) -> Result<PathBuf, HostError> {
    Ok(build(cache)?.join("hostile-guest"))
}

/// Builds this package's programs statically; answers the directory they are in.
///
/// # Errors
///
/// Cargo's.
pub fn build(cache: &Cache) -> Result<PathBuf, HostError> {
    let target = cache.root().join("programs");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let _turn = cache.lock()?;
    Tool::new(&cargo)
        .args(["build", "--quiet", "--bins", "--package", "banger-testhost", "--target", TARGET])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .run()?;
    Ok(target.join(TARGET).join("debug"))
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file())
}
