//! What kind of machine a container image is for, as images name it (OCI image-spec 1.1,
//! `image-index.md`, `platform`): `linux/amd64`, `linux/arm/v7`.
//!
//! Names are compared as containerd compares them: `x86_64` is `amd64`, and `arm64/v8` is `arm64`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Bytes of a word of a platform.
const MOST_WORD_BYTES: usize = 32;

/// Linux on a kind of processor, perhaps on a variant of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    architecture: String,
    /// `None` for what every processor of its kind runs, or nearly every one.
    variant: Option<String>,
}

/// It is no platform whose images can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no platform such as linux/amd64 or linux/arm/v7")]
pub struct PlatformError;

impl Platform {
    fn new(architecture: &str, variant: &str) -> Self {
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "i386" | "x86" => "386",
            other => other,
        };
        let variant = match (architecture, variant) {
            (_, "") | ("amd64", "v1") | ("arm64", "v8" | "8") | ("arm", "v7" | "7") => None,
            (_, variant) => Some(variant.to_owned()),
        };
        Self { architecture: architecture.to_owned(), variant }
    }

    /// Whether guests of a machine of this program's own kind run it.
    pub(crate) fn runs_here(&self) -> bool {
        let here = Self::default();
        let same = self.architecture == here.architecture;
        same || self.architecture == "386" && here.architecture == "amd64"
    }
}

/// That of the machine this program was built for.
impl Default for Platform {
    fn default() -> Self {
        Self::new(std::env::consts::ARCH, "")
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let words: Vec<&str> = text.split('/').take(4).collect();
        match words[..] {
            ["linux", architecture] if is_word(architecture) => Ok(Self::new(architecture, "")),
            ["linux", architecture, variant] if is_word(architecture) && is_word(variant) => {
                Ok(Self::new(architecture, variant))
            }
            _ => Err(PlatformError),
        }
    }
}

fn is_word(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    !word.is_empty() && word.len() <= MOST_WORD_BYTES && word.bytes().all(plain)
}

/// What an index or a configuration says of a platform. Half of one is filled in with this
/// machine's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Said {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

/// How well a platform is the wanted one; the better the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    Exact,
    /// A variant where none was asked for.
    Variant,
}

impl Said {
    fn words(&self) -> (&str, &str, &str) {
        fn word(word: &Option<String>) -> &str {
            word.as_deref().unwrap_or_default()
        }
        (word(&self.os), word(&self.architecture), word(&self.variant))
    }

    /// `None` for another operating system.
    fn platform(&self) -> Option<Platform> {
        let (os, architecture, variant) = self.words();
        let here = Platform::default();
        let architecture = if architecture.is_empty() { &*here.architecture } else { architecture };
        matches!(os, "linux" | "").then(|| Platform::new(architecture, variant))
    }

    /// Whether it is the wanted one.
    pub(crate) fn fits(&self, wanted: &Platform) -> Option<Fit> {
        let is = self.platform().filter(|is| is.architecture == wanted.architecture)?;
        match (&is.variant, &wanted.variant) {
            (is, wanted) if is == wanted => Some(Fit::Exact),
            (Some(_), None) => Some(Fit::Variant),
            (_, _) => None,
        }
    }

    /// Whether a configuration may be of the wanted one: many do not say their variant.
    pub(crate) fn may_be(&self, wanted: &Platform) -> bool {
        let whole = Platform { variant: None, ..wanted.clone() };
        self.fits(wanted).is_some() || self.words().2.is_empty() && self.fits(&whole).is_some()
    }

    /// For people, also of another operating system; `None` for what is no image's, such as the
    /// `unknown/unknown` of an attestation, or makes no sense.
    pub(crate) fn shown(&self) -> Option<String> {
        if let Some(platform) = self.platform() {
            let text = platform.to_string();
            return text.parse::<Platform>().is_ok().then_some(text);
        }
        let (os, architecture, _) = self.words();
        let good = is_word(os) && is_word(architecture) && os != "unknown";
        good.then(|| format!("{os}/{architecture}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_read_as_container_runtimes_write_it() {
        for (text, means) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm/v7", "linux/arm"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/amd64/v3", "linux/amd64/v3"),
        ] {
            let platform: Platform = text.parse().expect(text);
            assert_eq!(platform.to_string(), means, "{text}");
        }
        let long = format!("linux/{}", "a".repeat(33));
        for text in
            ["", "amd64", "linux/", "linux//v8", "windows/amd64", "linux/a/b/c", "Linux/ARM"]
                .into_iter()
                .chain([&*long, "linux/am\u{202e}d64", "linux/amd64 "])
        {
            assert_eq!(text.parse::<Platform>(), Err(PlatformError), "{text}");
        }
    }

    #[test]
    fn what_runs_on_this_machine_is_its_own_kind_and_what_that_includes() {
        assert!(Platform::default().runs_here());
        let kinds = ["amd64", "386", "arm64", "s390x"];
        let runs = |kind: &&str| Platform::new(kind, "").runs_here();
        let here: Vec<_> = kinds.into_iter().filter(runs).collect();
        let expected: &[&str] = match std::env::consts::ARCH {
            "x86_64" => &["amd64", "386"],
            "aarch64" => &["arm64"],
            _ => return,
        };
        assert_eq!(here, expected);
    }
}
