//! What is generated from the `.proto` files: the messages, the services and their descriptors.
//!
//! The generated code is committed, so that building banger needs no protobuf compiler; a test
//! generates it anew and compares. protox reads the files, which keeps protoc out of it as well.

use std::path::Path;

use prost::Message as _;

const PUBLIC: [&str; 11] = [
    "banger/v1/vm.proto",
    "banger/v1/guest.proto",
    "banger/v1/limits.proto",
    "banger/v1/traffic.proto",
    "banger/v1/host.proto",
    "banger/v1/image.proto",
    "banger/v1/token.proto",
    "banger/v1/project.proto",
    "banger/v1/audit.proto",
    "banger/v1/watch.proto",
    "banger/v1/error.proto",
];

/// These use messages of the public API.
const INTERNAL: [&str; 2] = ["banger/agent/v1/agent.proto", "banger/guest/v1/guest.proto"];

/// Writes all of it into the directory `out`.
pub(crate) fn generate(out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::create_dir_all(out)?;
    let descriptors = protox::compile(PUBLIC.iter().chain(&INTERNAL), [root])?;
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let configure =
        || tonic_prost_build::configure().btree_map(".").out_dir(out).emit_rerun_if_changed(false);
    // The others find the public package at `crate::v1`. What the first run writes of the public
    // one itself is of no use: the second writes it anew.
    configure().extern_path(".banger.v1", "crate::v1").compile_fds(descriptors)?;
    configure().compile_fds(protox::compile(PUBLIC, [root])?)?;
    Ok(())
}
