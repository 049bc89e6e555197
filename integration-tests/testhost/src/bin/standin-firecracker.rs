//! The stand-in for `firecracker`; all of it is in the library's `firecracker` module.

use std::process::ExitCode;

fn main() -> ExitCode {
    banger_testhost::firecracker::main()
}
