//! Asks before something is destroyed.
//!
//! With `--yes` nothing is asked. Without it, and without a terminal on both standard input and
//! standard error, the command refuses: a script that destroys says so.

use std::io::{self, IsTerminal as _, Write as _};

use crate::args::Yes;
use crate::failure::Failure;
use crate::text::clean;

/// Asks whether to do `what` ("delete web and its disks").
pub fn confirm(what: &str, yes: Yes) -> Result<(), Failure> {
    if yes.yes {
        return Ok(());
    }
    let what = clean(what);
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Failure::Usage(format!(
            "refusing to {what} without being asked on a terminal; add --yes"
        )));
    }
    match ask(&format!("About to {what}. Go on? [y/N] ")) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::other(anyhow::anyhow!("nothing was done"))),
        Err(error) => Err(Failure::io("ask", error)),
    }
}

/// Asks whether to go on with something that turned out otherwise than expected. Without a terminal
/// the answer is no.
pub fn go_on(what: &str) -> bool {
    let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    terminal && ask(&format!("{} Go on? [y/N] ", clean(what))).unwrap_or(false)
}

fn ask(question: &str) -> io::Result<bool> {
    write!(io::stderr(), "{question}")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
