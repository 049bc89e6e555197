//! `hostile-guest`: the guests and the watch as a program.
//!
//! `attack SCENE` and `talk SCENE FILE` run in a guest, the latter until the file is there; `watch
//! INTERFACE…` and `ping ADDRESS NUMBER` on its host.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::guests::{Kernel, attack, talk};
use super::mark;
use super::watch::{Watch, is_answered_by};
use super::wire::Card;

/// The network card of guests.
const CARD: &str = "eth0";

/// How long a guest may take to answer its host.
const LIMIT: Duration = Duration::from_secs(30);

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hostile-guest {words:?}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> io::Result<ExitCode> {
    let scene = |text: &str| text.parse().map_err(io::Error::other);
    match words {
        ["attack", text] => attack(&Card::open(CARD, false)?, &scene(text)?, &mut say)?,
        ["talk", text, file] => {
            let ends = || Path::new(file).exists();
            talk(&Card::open(CARD, false)?, &scene(text)?, Kernel::Its, &ends, &mut say)?;
        }
        ["watch", interfaces @ ..] => {
            let watch = Watch::on(interfaces, |place, attempt| {
                say(&format!("hostile seen {place} {attempt}"));
            })?;
            say("hostile watch begins");
            loop {
                std::thread::sleep(LIMIT);
                // Ends where one of its eyes has.
                let _ = watch.seen();
            }
        }
        ["ping", address, number] => {
            let address = address.parse().map_err(io::Error::other)?;
            let number = number.parse().map_err(io::Error::other)?;
            if !is_answered_by(address, &mark(number), LIMIT)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        _ => return Err(io::Error::other("attack, talk, watch or ping")),
    }
    Ok(ExitCode::SUCCESS)
}

/// A console may be gone; nobody reads then.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
