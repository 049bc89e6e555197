//! `banger man`: a manual page for each command, from what can be typed.

use std::path::Path;

use clap::CommandFactory as _;

use crate::args::Cli;
use banger_terminal::failure::Failure;

/// Writes `banger.1`, `banger-vm.1`, `banger-vm-create.1` and so on; the directory is made where it
/// is missing.
pub(super) fn write(directory: &Path) -> Result<(), Failure> {
    let failed =
        |error| Failure::io(&format!("write manual pages to {}", directory.display()), error);
    std::fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(failed)
}
