//! The section `[images]`: what is imported, from where, and how much of it at a time.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Kernels and root file systems kept by the server, below `images` of its state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImagesConfig {
    /// Directories of this machine, absolute, whose files and directories may be imported. Whoever
    /// may call the API can read what is below.
    pub import_dirs: Vec<PathBuf>,
    /// Most bytes of one upload.
    pub max_upload_bytes: u64,
    /// Kept free on the disk, in MiB: it holds the database too.
    pub reserve_mib: u64,
    /// Imports at a time, 1 to 64; one caller has half of them.
    pub max_imports: usize,
    /// The longest that one import may take, in seconds, 1 to 86400.
    pub max_import_secs: u64,
    /// Images on their way to hosts at a time, 1 to 64.
    pub max_transfers: usize,
    /// The guest agent, put into root file systems that are made. Without the file none is.
    pub guest_agent: PathBuf,
    /// Registries, as host or `host:port`, that may be at addresses of this machine or of its link.
    /// Whoever may call the API can ask them. Those that are not named here are refused there.
    pub local_registries: Vec<String>,
    /// Registries, as host or `host:port`, at addresses of private networks that imports of callers
    /// of projects may ask. Others there only callers of the whole fleet may have asked.
    pub private_registries: Vec<String>,
    /// Docker's `config.json`, absolute, for names and passwords of registries. Whoever may call
    /// the API can then import what they open.
    pub docker_config: Option<PathBuf>,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self {
            import_dirs: Vec::new(),
            max_upload_bytes: 16 << 30,
            reserve_mib: 512,
            max_imports: 2,
            max_import_secs: 3600,
            max_transfers: 4,
            guest_agent: PathBuf::from("/usr/lib/banger/banger-guest"),
            local_registries: Vec::new(),
            private_registries: Vec::new(),
            docker_config: None,
        }
    }
}

impl ImagesConfig {
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for dir in &self.import_dirs {
            if !dir.is_absolute() {
                problems.push(format!(
                    "images.import_dirs has {}; must be absolute paths",
                    dir.display()
                ));
            }
        }
        if let Some(path) = self.docker_config.as_ref().filter(|path| !path.is_absolute()) {
            problems.push(format!(
                "images.docker_config is {}; must be an absolute path",
                path.display()
            ));
        }
        for (key, named) in [
            ("local_registries", &self.local_registries),
            ("private_registries", &self.private_registries),
        ] {
            for registry in named {
                if registry.is_empty() || registry.contains(['/', '@', ' ']) {
                    let why = "which is not a host or host:port";
                    problems.push(format!("images.{key} has {registry:?}, {why}"));
                }
            }
        }
        if self.max_upload_bytes == 0 {
            problems.push("images.max_upload_bytes is 0; must be 1 or more".to_owned());
        }
        if !(1..=86_400).contains(&self.max_import_secs) {
            let secs = self.max_import_secs;
            problems.push(format!("images.max_import_secs is {secs}; must be 1 to 86400"));
        }
        for (key, value) in
            [("max_imports", self.max_imports), ("max_transfers", self.max_transfers)]
        {
            if !(1..=64).contains(&value) {
                problems.push(format!("images.{key} is {value}; must be 1 to 64"));
            }
        }
        problems
    }
}
