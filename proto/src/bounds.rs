//! What a message may hold, stated once for everybody who writes one or reads one.
//!
//! Server, agent and client refuse what is past a bound, each at its own edge; nobody relies on the
//! other. How connections are bounded is not here but in `banger_wire::limits`.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Largest message, encoded, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Largest request of the public API, encoded and decompressed, in bytes. The largest that can be
/// accepted has a metadata document of [`MAX_METADATA_BYTES`], which is up to four times that as a
/// `Struct`. What a connection can make the server hold is this for each of its streams.
pub const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// Most bytes of content in one message of `UploadBlob` and of `PutImage`.
pub const MAX_CHUNK_BYTES: usize = 1024 * 1024;

/// Largest message of the image service, encoded and decompressed, in bytes.
pub const MAX_UPLOAD_MESSAGE_BYTES: usize = MAX_CHUNK_BYTES + 64 * 1024;

/// Most bytes of data in one message of a stream to a guest or its console.
pub const MAX_STREAM_DATA_BYTES: usize = 64 * 1024;

/// How many virtual processors a VM has (`MAX_SUPPORTED_VCPUS` of Firecracker).
pub const VCPUS: RangeInclusive<u32> = 1..=32;

/// Memory of a VM, in MiB: what a kernel starts with, to a TiB.
pub const MEMORY_MIB: RangeInclusive<u32> = 64..=1_048_576;

/// Size of a root disk, in MiB, to 4 TiB.
pub const ROOT_DISK_MIB: RangeInclusive<u32> = 16..=4_194_304;

/// Size of a work disk, in MiB, to 4 TiB; for a VM that has one.
pub const WORK_DISK_MIB: RangeInclusive<u32> = 1..=4_194_304;

/// What a VM's share of the processors may be (cgroups(7), `cpu.weight`).
pub const CPU_WEIGHT: RangeInclusive<u32> = 1..=10_000;

/// How much processor time a VM may be bounded to, in thousandths of a processor: what the kernel
/// still takes (a millisecond of each 100, `min_cfs_quota_period`), to twice the most vCPUs.
pub const CPU_MILLIS: RangeInclusive<u32> = 10..=64_000;

/// The least that a VM's disks may be bounded to, in bytes a second. With less its VMM would look
/// like one that hangs.
pub const MIN_IO_BYTES_PER_SECOND: u64 = 65_536;

/// The same in operations a second.
pub const MIN_IO_OPS_PER_SECOND: u64 = 10;

/// Longest metadata document as JSON, in bytes.
pub const MAX_METADATA_BYTES: usize = 32 * 1024;

/// How deep a metadata document may nest: objects and lists within each other, the document itself
/// being the first. Decoders of protobuf give up at 100 messages within each other (prost, upb
/// under Python, Java, C++), a level of a `Struct` is three of them, and an answer carries the
/// document deeper than the request did. So a request that could just be read would make an answer
/// that nobody can read, a list of all VMs among them.
pub const MAX_METADATA_DEPTH: usize = 24;

/// Longest kernel command line that Firecracker takes on x86, in bytes, with all that is added to
/// it (`CMDLINE_MAX_SIZE`, `src/vmm/src/arch/x86_64/layout.rs`).
pub const MAX_COMMAND_LINE_BYTES: usize = 2048;

/// Longest kernel arguments of a spec, in bytes. The agent adds `ip=` to them (125 at most, with
/// the longest name), Firecracker at the start its root disk (`root=/dev/vda rw`), `pci=off` and a
/// `virtio_mmio.device=` of some 36 for each of four devices. A line that is longer than
/// [`MAX_COMMAND_LINE_BYTES`] with those would be refused only there.
pub const MAX_BOOT_ARGS_BYTES: usize = 1536;

/// The longest that a guest may be given to shut down by itself.
pub const MAX_STOP_GRACE: Duration = Duration::from_secs(3600);

/// Most assignments in one `ReconcileRequest`. A shape is at most about 40 KiB (its metadata may
/// have 32 KiB), so that a full message stays below [`MAX_MESSAGE_BYTES`] with 64 of the largest;
/// the sender also counts bytes.
pub const MAX_ASSIGNMENTS_PER_MESSAGE: usize = 256;

/// Most files of a host's image directory that are told.
pub const MAX_HOST_IMAGES: usize = 4096;

/// Most things that a fault names as left behind; the others are left out.
pub const MAX_LEFT_BEHIND: usize = 16;

/// Most guests whose traffic is told with one heartbeat: more than a bridge has ports.
pub const MAX_GUESTS_TOLD: usize = 4096;

/// Most VMs in one part of an inventory; the sender also counts bytes.
pub const INVENTORY_PART_VMS: usize = 500;
