//! A registry of container images with one image, on a port of loopback: what GET of the OCI
//! distribution-spec needs, and nothing else.
//!
//! Driven by a test of a page that imports from a registry. It ends with the test's process.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use banger_integration_tests::programs::command;
use banger_testhost::oci;

/// The registry.
pub(super) struct Registry {
    /// Where it is asked.
    pub(super) address: SocketAddr,
    /// The digest of its image's manifest.
    pub(super) manifest: String,
}

impl Registry {
    /// With one image by this name and tag. `scratch` is kept by whoever asks for it.
    pub(super) fn with(name: &str, tag: &str, scratch: &Path) -> Self {
        let busybox = fs::read("/bin/busybox").expect("busybox-static is installed: make tools");
        let archive = scratch.join("image.tar");
        fs::write(&archive, oci::image(&busybox).expect("in memory")).expect("there is room");
        let mut tar = command(Path::new("tar"));
        let unpacked = tar.arg("-xf").arg(&archive).arg("-C").arg(scratch).status();
        assert!(unpacked.expect("tar can be started").success());
        let index = fs::read(scratch.join("index.json")).expect("a layout has one");
        let index: serde_json::Value = serde_json::from_slice(&index).expect("it is JSON");
        let manifest = index["manifests"][0]["digest"].as_str().expect("a digest").to_owned();
        let blobs = scratch.join("blobs/sha256");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        let root = format!("/v2/{name}/");
        let (tagged, first) = (format!("manifests/{tag}"), format!("manifests/{manifest}"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let find = |path: &str| -> Option<(PathBuf, &'static str)> {
                    let path = path.strip_prefix(&root)?;
                    let (digest, kind) = match path.strip_prefix("blobs/") {
                        Some(digest) => (digest, "application/octet-stream"),
                        None if path == tagged || path == first => {
                            (&first["manifests/".len()..], MANIFEST)
                        }
                        None => return None,
                    };
                    Some((blobs.join(digest.strip_prefix("sha256:")?), kind))
                };
                // Who goes away in the middle misses nothing but an answer.
                let _ = answer(stream, find);
            }
        });
        Self { address, manifest }
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// One request, one answer, and the connection is closed (RFC 9112).
fn answer(
    mut stream: TcpStream,
    find: impl Fn(&str) -> Option<(PathBuf, &'static str)>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
    let found = path.and_then(find).and_then(|(file, kind)| Some((fs::read(file).ok()?, kind)));
    let (status, body, kind) = match found {
        Some((body, kind)) => ("200 OK", body, kind),
        None => ("404 Not Found", Vec::new(), "text/plain"),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)
}
