//! Units enabled without a systemd that could be asked: in an image, or where something else runs
//! the machine.
//!
//! The links are those that `systemctl enable` makes of `WantedBy=` (systemd.unit(5), `[Install]`),
//! which is all that our units have there. On a machine that systemd runs, it is asked instead.

use std::path::{Path, PathBuf};

use anyhow::bail;

use super::disk::Disk;
use super::payload::Part;

/// Where units and their links are.
const UNITS: &str = "/etc/systemd/system";

/// Makes the links of these parts' units, which are laid down.
pub(super) fn enable(disk: &Disk, parts: &[Part]) -> anyhow::Result<()> {
    for part in parts {
        let links = links(disk, *part)?;
        if links.is_empty() {
            bail!("{} is wanted by nothing", part.unit());
        }
        for link in links {
            disk.point(&link, &Path::new(UNITS).join(part.unit()))?;
        }
    }
    Ok(())
}

/// Removes them. What is not there, or is no link, is left; so is the directory, which goes if the
/// record says that it was made for them.
pub(super) fn disable(disk: &Disk, parts: &[Part]) -> anyhow::Result<()> {
    for part in parts {
        for link in links(disk, *part)? {
            disk.unpoint(&link)?;
        }
    }
    Ok(())
}

/// Where the links of a unit are to be; none without its file.
fn links(disk: &Disk, part: Part) -> anyhow::Result<Vec<PathBuf>> {
    let text = disk.read(&Path::new(UNITS).join(part.unit()))?.unwrap_or_default();
    Ok(links_of(part.unit(), &String::from_utf8_lossy(&text)))
}

/// Where the links of a unit with this text are to be.
pub(super) fn links_of(unit: &str, text: &str) -> Vec<PathBuf> {
    let wanted_by = |target: &str| Path::new(UNITS).join(format!("{target}.wants")).join(unit);
    targets(text).into_iter().map(wanted_by).collect()
}

/// What a unit says that it is wanted by. A name with a slash is none.
fn targets(unit: &str) -> Vec<&str> {
    let install = unit.lines().map(str::trim).skip_while(|line| *line != "[Install]").skip(1);
    install
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.strip_prefix("WantedBy="))
        .flat_map(str::split_whitespace)
        .filter(|target| !target.contains('/'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_says_in_its_last_section_what_wants_it() {
        let unit = "[Unit]\nWantedBy=no.target\n[Install]\n# x\nWantedBy=a.target b.target\n\
                    WantedBy=../c.target\n[X]\nWantedBy=no.target\n";
        assert_eq!(targets(unit), ["a.target", "b.target"]);
        assert!(targets("[Unit]\nWantedBy=no.target\n").is_empty());
    }
}
