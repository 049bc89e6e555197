//! The udev rule that keeps the host's blkid, LVM and udisks off guests' disks: it knows the
//! directories that the agent of this machine is configured with.
//!
//! Driven by [`super::laydown`] each time that files are laid down, so an install or update after a
//! change of `agent.toml` brings the rule along; `banger-agent doctor` says where it is behind.

use std::path::{Path, PathBuf};

use banger_wire::real_paths::real;

use super::disk::Disk;
use super::payload::{Part, Release};
use super::settings::Settings;

/// Where the rule is laid down.
const RULES: &str = "/usr/lib/udev/rules.d/09-banger.rules";

/// What the rule as it is shipped says of loop devices; it holds for what is there by default.
const LOOPS: &str = "KERNEL==\"loop[0-9]*\", ATTR{loop/backing_file}==\"/var/lib/banger*\", \
                     GOTO=\"banger_disk\"\n";

/// What begins so is in the shipped rule already.
const SHIPPED: &str = "/var/lib/banger";

/// Has the rule of a release know this machine's directories.
pub(super) fn fit(release: &mut Release, disk: &Disk) -> anyhow::Result<()> {
    let Settings { state_dir, image_dir, .. } = Settings::of(disk, Part::Agent)?;
    let mut directories = vec![state_dir, image_dir];
    // What the kernel calls them, also those that the agent is yet to make.
    let configured = directories.iter().filter(|directory| directory.is_absolute());
    let real = configured.map(|directory| real(disk.root(), directory));
    directories.extend(real.collect::<Vec<_>>());
    for file in release.files.iter_mut().filter(|file| file.path == Path::new(RULES)) {
        file.text = with_directories(&file.text, &directories);
    }
    Ok(())
}

/// The rule with a line for each directory that is not in it. Pure.
fn with_directories(text: &str, directories: &[PathBuf]) -> String {
    let mut patterns: Vec<String> = directories
        .iter()
        .filter(|directory| directory.is_absolute() && !directory.starts_with("/var/lib"))
        .chain(directories.iter().filter(|directory| is_elsewhere_in_var_lib(directory)))
        .map(|directory| pattern(directory))
        .collect();
    patterns.sort();
    patterns.dedup();
    let lines = patterns.iter().map(|pattern| LOOPS.replace("/var/lib/banger*", pattern));
    text.replace(LOOPS, &[LOOPS.to_owned(), lines.collect()].concat())
}

fn is_elsewhere_in_var_lib(directory: &Path) -> bool {
    directory.starts_with("/var/lib") && !directory.to_string_lossy().starts_with(SHIPPED)
}

/// What matches every file below. Whatever means something in a pattern, or ends a value, is any
/// text: more is kept away from udev then, never less.
fn pattern(directory: &Path) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._+-@:,=~".contains(c);
    let text = directory.to_string_lossy();
    let plain = text.trim_end_matches('/').chars().map(|c| if is_plain(c) { c } else { '*' });
    plain.chain("/*".chars()).collect()
}

#[cfg(test)]
mod tests;
