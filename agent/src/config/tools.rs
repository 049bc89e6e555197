//! Where programs are that are not to be looked for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Programs, by absolute path; those not set are looked for in the usual directories.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolsConfig {
    /// The VMM. The file itself, links resolved, must be named `firecracker`.
    pub firecracker: Option<PathBuf>,
    /// Starts the VMM.
    pub jailer: Option<PathBuf>,
    /// The VMM where there is no KVM; beneath `/usr`, which its jail sees.
    pub qemu: Option<PathBuf>,
    /// Device-mapper's command.
    pub dmsetup: Option<PathBuf>,
    /// Reads routes.
    pub ip: Option<PathBuf>,
    /// Applies rendered rules.
    pub iptables_restore: Option<PathBuf>,
    /// Reads the rules there are.
    pub iptables_save: Option<PathBuf>,
    /// Ties each guest to its tap.
    pub nft: Option<PathBuf>,
}
