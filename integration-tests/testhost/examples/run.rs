//! Starts a test host, runs one shell script in it, prints what it printed, and ends the host.
//!
//! For looking around: `cargo run -p banger-testhost --example run -- 'uname -a; ls /data/bin'`.
//! Further arguments are programs of banger to take along.

use std::process::ExitCode;
use std::time::Duration;

use banger_testhost::host::{HostError, TestHost};

fn main() -> Result<ExitCode, HostError> {
    let mut arguments = std::env::args().skip(1);
    let script = arguments.next().unwrap_or_else(|| "uname -a".to_owned());
    let programs: Vec<String> = arguments.collect();
    let programs: Vec<&str> = programs.iter().map(String::as_str).collect();
    let host = TestHost::start("run", &programs)?;
    let output = host.run_for(&["/bin/sh", "-c", &script], &[], Duration::from_secs(600))?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    host.power_off()?;
    Ok(ExitCode::from(u8::try_from(output.code).unwrap_or(u8::MAX)))
}
