//! Root in a guest, which is hostile; all of it is in the library's `hostile` module.

use std::process::ExitCode;

fn main() -> ExitCode {
    banger_testhost::hostile::main()
}
