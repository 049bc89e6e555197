//! Sizes and times of the wire, stated once for server, agent and client.

use std::time::Duration;

/// Largest message, encoded, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Largest request of the public API, encoded and decompressed, in bytes. The largest that can be
/// accepted has a metadata document of 32 KiB, which is up to four times that as a `Struct`. What a
/// connection can make the server hold is this for each of its streams.
pub const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// Most bytes of content in one message of `UploadBlob` and of `PutImage`.
pub const MAX_CHUNK_BYTES: usize = 1024 * 1024;

/// Largest message of the image service, encoded and decompressed, in bytes.
pub const MAX_UPLOAD_MESSAGE_BYTES: usize = MAX_CHUNK_BYTES + 64 * 1024;
/// Most bytes of data in one message of a stream to a guest or its console.
pub const MAX_STREAM_DATA_BYTES: usize = 64 * 1024;

/// Most assignments in one `ReconcileRequest`. A shape is at most about 40 KiB (its metadata may
/// have 32 KiB), so that a full message stays below [`MAX_MESSAGE_BYTES`] with 64 of the largest;
/// the sender also counts bytes.
pub const MAX_ASSIGNMENTS_PER_MESSAGE: usize = 256;

/// VMs in one part of an inventory: at most about 2 KiB each.
pub const INVENTORY_PART_VMS: usize = 500;

/// How often HTTP/2 pings are sent on an idle connection, both ways. A peer that is gone without
/// a word is noticed after this and [`KEEPALIVE_TIMEOUT`].
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long the answer to an HTTP/2 ping may take.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection and its TLS handshake may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams one client may have open on one connection.
pub const MAX_CONCURRENT_STREAMS: u32 = 2048;
