//! The stand-in for Firecracker's `jailer`; all of it is in the library's `jailer` module.

use std::process::ExitCode;

fn main() -> ExitCode {
    banger_testhost::jailer::main()
}
