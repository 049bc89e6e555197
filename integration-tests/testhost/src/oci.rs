//! An OCI image archive as people have them, made here: two layers, one of which hides and replaces
//! what the other has, and a program with its environment.
//!
//! Driven by tests that boot it. By the image format's own documents (`image-layout.md`, `layer.md`
//! and `config.md` of the OCI image specification). What can go wrong: nothing, in memory.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A command for a guest of [`image`] that shows whether both layers and what the second hides were
/// applied.
pub const SHOW: [&str; 3] =
    ["sh", "-c", "cd /srv && cat first changed second && ls -A . many && ls -l link | tail -c 6"];

/// What [`SHOW`] prints.
pub const SHOWN: &str = "the first layer\nchanged by the second layer\nthe second layer\n\
    .:\nchanged\nfirst\nlink\nmany\nsecond\n\nmany:\nnew\nfirst\n";

/// What the image's program prints on the console.
pub const PRINTED: &str = "hello from the image in /work of oci";

/// Programs of busybox that the image has.
const APPLETS: [&str; 8] = ["sh", "cat", "echo", "hostname", "ls", "sha256sum", "tail", "wc"];

/// The archive. Everything that runs in it is `busybox`, a static one; there is no init.
///
/// # Errors
///
/// None, in memory.
pub fn image(busybox: &[u8]) -> io::Result<Vec<u8>> {
    let mut first = Layer::new();
    first.file("bin/busybox", 0o755, busybox)?;
    for applet in APPLETS {
        first.link(&format!("bin/{applet}"), "busybox")?;
    }
    first.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
    first.file("srv/first", 0o644, b"the first layer\n")?;
    first.file("srv/changed", 0o644, b"as it was\n")?;
    first.file("srv/gone", 0o644, b"hidden\n")?;
    first.file("srv/many/old", 0o644, b"hidden, too\n")?;
    first.link("srv/link", "first")?;
    let mut second = Layer::new();
    second.file("srv/changed", 0o644, b"changed by the second layer\n")?;
    second.file("srv/second", 0o644, b"the second layer\n")?;
    second.file("srv/.wh.gone", 0o644, b"")?;
    second.file("srv/many/.wh..wh..opq", 0o644, b"")?;
    second.file("srv/many/new", 0o644, b"")?;
    let (first, second) = (first.finish()?, second.finish()?);

    let mut layout = Layout(Layer::new());
    layout.0.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let config = json!({
        "os": "linux",
        "architecture": "amd64",
        "config": {
            "Env": ["PATH=/bin", "GREETING=hello from the image"],
            "Cmd": ["/bin/sh", "-c", "echo \"$GREETING in $(pwd) of $(hostname)\""],
            "WorkingDir": "/work",
        },
        "rootfs": { "type": "layers", "diff_ids": [digest(&first), digest(&second)] },
    });
    let config = layout.document("config.v1+json", &config)?;
    let layers =
        [layout.blob("layer.v1.tar+gzip", &gzip(&first)?)?, layout.blob("layer.v1.tar", &second)?];
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": layers,
    });
    let manifest = layout.document("manifest.v1+json", &manifest)?;
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    layout.0.file("index.json", 0o644, index.to_string().as_bytes())?;
    layout.0.finish()
}

fn digest(bytes: &[u8]) -> String {
    let sum: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{sum}")
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes)?;
    packed.finish()
}

/// Of root, of one time.
fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header
}

/// A tar archive, whose parents are implied.
struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn file(&mut self, path: &str, mode: u32, contents: &[u8]) -> io::Result<()> {
        let mut header = header(tar::EntryType::Regular, mode, contents.len() as u64);
        self.0.append_data(&mut header, path, contents)
    }

    fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.0.append_link(&mut header, path, target)
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        self.0.into_inner()
    }
}

/// The archive around the layers.
struct Layout(Layer);

impl Layout {
    /// Adds a blob; its descriptor.
    fn blob(&mut self, kind: &str, bytes: &[u8]) -> io::Result<Value> {
        let digest = digest(bytes);
        let path = format!("blobs/{}", digest.replace(':', "/"));
        self.0.file(&path, 0o644, bytes)?;
        Ok(json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": digest,
            "size": bytes.len(),
        }))
    }

    fn document(&mut self, kind: &str, value: &Value) -> io::Result<Value> {
        self.blob(kind, value.to_string().as_bytes())
    }
}
