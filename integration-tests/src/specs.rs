//! VMs to ask for.

use banger_proto::v1;

/// A file that every simulated host has.
pub const KERNEL: &str = "demo-kernel";

/// Another one.
pub const ROOT: &str = "demo-root";

/// An image by name.
#[must_use]
pub fn image(name: &str) -> Option<v1::ImageRef> {
    Some(v1::ImageRef { name: name.to_owned(), sha256: String::new() })
}

/// A small VM.
#[must_use]
pub fn spec() -> v1::VmSpec {
    v1::VmSpec {
        vcpus: 1,
        memory_mib: 128,
        kernel: image(KERNEL),
        root_image: image(ROOT),
        root_disk_mib: 64,
        ..v1::VmSpec::default()
    }
}

/// A request for a small VM of this name, to run.
#[must_use]
pub fn create(name: &str) -> v1::CreateVmRequest {
    v1::CreateVmRequest {
        name: name.to_owned(),
        spec: Some(spec()),
        ..v1::CreateVmRequest::default()
    }
}
