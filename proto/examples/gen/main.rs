//! Writes `proto/src/gen` anew from the `.proto` files: `make proto`.

mod generate;

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = match std::env::args_os().nth(1) {
        Some(dir) => dir.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gen"),
    };
    generate::generate(&out)
}
