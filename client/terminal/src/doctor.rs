//! What `banger-agent doctor --json` prints, as far as this program reads it. Fields that an older
//! or newer agent does not have are as if nothing was found.

use serde::Deserialize;

/// All it found.
#[derive(Debug, Deserialize)]
pub struct Doctor {
    /// Whether guests can run.
    pub usable: bool,
    #[serde(default)]
    pub checks: Vec<Check>,
}

/// One thing it looked at.
#[derive(Debug, Deserialize)]
pub struct Check {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub ok: bool,
    /// Guests cannot run while it is not well.
    #[serde(default)]
    pub required: bool,
    #[serde(default)]
    pub message: String,
    /// What mends it, where that is known.
    #[serde(default)]
    pub mend: String,
}
