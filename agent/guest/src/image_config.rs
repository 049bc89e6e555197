//! Reads what an OCI image says of its program: command, environment, directory and user.
//!
//! `/etc/banger/oci.json` is the image's configuration as its registry has it (`config.md` of the
//! OCI image format), put there when the image was imported, or only the object `config` of it. The
//! init starts the image's program by it, and every program that is run in the guest has its
//! environment, directory and user where the request says nothing else. What can go wrong: there is
//! none, which is no error, or it can't be read, which is said.

use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

/// Below the directory of the guest's users.
const FILE: &str = "banger/oci.json";

/// As much as a registry gives.
const MOST_BYTES: u64 = 4 << 20;

/// Where programs are looked for when nobody says.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What of the configuration matters here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct ImageConfig {
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
    pub(crate) env: Option<Vec<String>>,
    pub(crate) working_dir: String,
    pub(crate) user: String,
}

#[derive(Debug, Deserialize)]
struct Image {
    config: ImageConfig,
}

impl ImageConfig {
    /// Of the guest whose users are in `etc`; `None` where it was made from no image.
    pub(crate) fn of(etc: &Path) -> Result<Option<Self>, Box<dyn std::error::Error>> {
        let file = match std::fs::File::open(etc.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut text = String::new();
        file.take(MOST_BYTES).read_to_string(&mut text)?;
        Ok(Some(Self::read(&text)?))
    }

    /// From the text of the file.
    pub(crate) fn read(text: &str) -> Result<Self, serde_json::Error> {
        let value: serde_json::Value = serde_json::from_str(text)?;
        match value.get("config") {
            Some(config) if config.is_object() => {
                Ok(serde_json::from_value::<Image>(value)?.config)
            }
            _ => serde_json::from_value(value),
        }
    }

    /// The words of its command; none when it has none.
    pub(crate) fn words(&self) -> Vec<&str> {
        let parts = [self.entrypoint.as_deref(), self.cmd.as_deref()];
        parts.into_iter().flatten().flatten().map(String::as_str).collect()
    }

    /// The variables that it sets, in order; what can't be one is left out.
    pub(crate) fn env(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.env.iter().flatten().filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, value)| {
            !name.is_empty() && !name.contains('\0') && !value.contains('\0')
        })
    }

    /// The environment of its program, whose home is this.
    pub(crate) fn variables(&self, home: &Path) -> Vec<(String, String)> {
        let mut all = vec![
            ("PATH".to_owned(), PATH.to_owned()),
            ("HOME".to_owned(), home.display().to_string()),
        ];
        all.extend(self.env().map(|(name, value)| (name.to_owned(), value.to_owned())));
        all
    }
}

#[cfg(test)]
mod tests;
