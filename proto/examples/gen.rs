//! Writes `proto/src/gen` anew from the `.proto` files: `cargo run -p banger-proto --example gen`.
//!
//! The generated code is committed, so that building banger needs no protobuf compiler; a check
//! runs this and compares. protox reads the files, which keeps protoc out of it as well.

use std::path::Path;

use prost::Message as _;

const FILES: [&str; 5] = [
    "banger/v1/vm.proto",
    "banger/v1/host.proto",
    "banger/v1/image.proto",
    "banger/v1/error.proto",
    "banger/agent/v1/agent.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = match std::env::args_os().nth(1) {
        Some(dir) => dir.into(),
        None => root.join("src/gen"),
    };
    std::fs::create_dir_all(&out)?;
    let descriptors = protox::compile(FILES, [root])?;
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .btree_map(".")
        .out_dir(&out)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
