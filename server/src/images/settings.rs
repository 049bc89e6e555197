//! What an operator has set of images.

use std::path::PathBuf;
use std::time::Duration;

use banger_images::Patience;

/// What an operator has set.
#[derive(Debug, Clone)]
pub struct ImageSettings {
    /// Directories whose files may be imported.
    pub import_dirs: Vec<PathBuf>,
    /// The guest agent's binary.
    pub guest_agent: PathBuf,
    /// Imports at a time; one caller has half of them.
    pub max_imports: usize,
    /// The longest that one may take.
    pub max_import: Duration,
    /// How slow an upload may be.
    pub patience: Patience,
    /// Registries that may be on this machine.
    pub local_registries: Vec<String>,
    /// Registries in private networks that imports of projects may ask.
    pub private_registries: Vec<String>,
    /// Docker's file of names and passwords.
    pub docker_config: Option<PathBuf>,
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self {
            import_dirs: Vec::new(),
            guest_agent: PathBuf::new(),
            max_imports: 2,
            max_import: Duration::from_secs(3600),
            patience: Patience::default(),
            local_registries: Vec::new(),
            private_registries: Vec::new(),
            docker_config: None,
        }
    }
}
