//! What `banger-agent doctor --json` prints, as far as this program reads it. Fields that an older or
//! newer agent does not have are as if nothing was found.

use serde::Deserialize;

/// All it found.
#[derive(Debug, Deserialize)]
pub(crate) struct Doctor {
    /// Whether guests can run.
    pub(crate) usable: bool,
    #[serde(default)]
    pub(crate) checks: Vec<Check>,
}

/// One thing it looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct Check {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) ok: bool,
    /// Guests cannot run while it is not well.
    #[serde(default)]
    pub(crate) required: bool,
    #[serde(default)]
    pub(crate) message: String,
    /// What mends it, where that is known.
    #[serde(default)]
    pub(crate) mend: String,
}
