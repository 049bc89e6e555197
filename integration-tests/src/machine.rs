//! The machine of a simulated host, as its agent saved it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use banger_agent::host::fakes::FakeKernel;

/// A saved machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its host.
    pub host: String,
    /// Where it is saved.
    pub path: PathBuf,
}

impl Machine {
    /// Everything on it. Reads a copy: opening would change it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn objects(&self) -> Result<BTreeSet<String>, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let copy = dir.path().join("machine.json");
        std::fs::copy(&self.path, &copy).map_err(|error| error.to_string())?;
        let kernel = FakeKernel::open(&copy).map_err(|error| error.to_string())?;
        Ok(kernel.objects())
    }

    /// I3: what is on it and not on a new one, but for the bridge, which is the host's.
    ///
    /// # Errors
    /// The lines of what is left.
    pub fn is_bare(&self) -> Result<(), String> {
        let objects = self.objects()?;
        let new = FakeKernel::new().objects();
        let left: Vec<&String> =
            objects.difference(&new).filter(|line| !line.starts_with("bridge ")).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("I3 {} has {left:#?}", self.host)) }
    }
}
