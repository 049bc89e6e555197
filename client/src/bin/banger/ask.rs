//! Asks before something is destroyed.
//!
//! With `--yes` nothing is asked. Without it, and without a terminal on both standard input and
//! standard error, the command refuses: a script that destroys says so.

use std::io::{self, IsTerminal as _, Write as _};

use crate::args::Yes;
use crate::failure::Failure;
use crate::output::text::clean;

/// Asks whether to do `what` ("delete web and its disks").
pub(crate) fn confirm(what: &str, yes: Yes) -> Result<(), Failure> {
    if yes.yes {
        return Ok(());
    }
    let what = clean(what);
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::Usage(format!(
            "refusing to {what} without being asked on a terminal; add --yes"
        )));
    }
    let ask = || {
        write!(io::stderr(), "About to {what}. Go on? [y/N] ")?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| Failure::io("ask", error))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::other(anyhow::anyhow!("nothing was done"))),
    }
}
