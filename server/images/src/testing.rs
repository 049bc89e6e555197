//! What the tests of this crate share: archives made by hand, so that they can be hostile; packing
//! by the machine's own tools; and e2fsprogs, which judges and reads what was written.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::{Cancel, Limits, Made, Options, Progress, Wanted, make_from_path};

pub(crate) fn no_report(_: Progress) {}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).expect("a vector takes it");
    packed.finish().expect("a vector takes it")
}

/// Zeros, packed as well as gzip can.
pub(crate) fn ratio_bomb(bytes: usize) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..bytes / (1 << 20) {
        packed.write_all(&[0; 1 << 20]).expect("a vector takes it");
    }
    packed.finish().expect("a vector takes it")
}

#[expect(clippy::disallowed_methods, reason = "the tests ask the machine's own tools")]
fn command(tool: &str) -> Command {
    let mut command = Command::new(tool);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command
}

/// What a packer makes of its input.
pub(crate) fn pack_with(argv: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut input = tempfile::tempfile().expect("a temporary file can be made");
    input.write_all(bytes).expect("it can be written");
    std::io::Seek::rewind(&mut input).expect("it can be read again");
    let output = command(argv[0])
        .args(&argv[1..])
        .stdin(Stdio::from(input))
        .output()
        .unwrap_or_else(|error| panic!("{argv:?}: {error}"));
    assert!(output.status.success(), "{argv:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs a tool to its good end and gives what it printed.
pub(crate) fn run(tool: &str, args: &[&str]) -> String {
    let output =
        command(tool).args(args).output().unwrap_or_else(|error| panic!("{tool}: {error}"));
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{tool} {args:?}: {said}");
    said
}

/// Has e2fsck look for anything wrong.
pub(crate) fn assert_clean(image: &Path) {
    run("e2fsck", &["-fn", text(image)]);
}

/// What debugfs says about a file system.
pub(crate) fn debugfs(image: &Path, request: &str) -> String {
    run("debugfs", &["-R", request, text(image)])
}

/// The contents of a file in a file system.
pub(crate) fn cat(image: &Path, path: &str) -> String {
    let said = debugfs(image, &format!("cat {path}"));
    // Its first line is its version, on the other stream.
    said.rsplit_once("debugfs 1.").map_or(said.clone(), |(contents, _)| contents.to_owned())
}

/// Whether there is such a path in a file system.
pub(crate) fn exists(image: &Path, path: &str) -> bool {
    !debugfs(image, &format!("stat {path}")).contains("File not found")
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// A tar archive made header by header.
#[derive(Clone)]
pub(crate) struct TarMaker {
    bytes: Vec<u8>,
    mtime: u64,
}

impl TarMaker {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), mtime: 1_600_000_000 }
    }

    /// An entry of any type, with any name, of uid 0 and gid 0.
    pub(crate) fn entry(
        self,
        kind: u8,
        path: &[u8],
        link: &[u8],
        mode: u32,
        contents: &[u8],
    ) -> Self {
        self.owned(kind, path, link, mode, (0, 0), contents)
    }

    pub(crate) fn owned(
        mut self,
        kind: u8,
        path: &[u8],
        link: &[u8],
        mode: u32,
        (uid, gid): (u64, u64),
        contents: &[u8],
    ) -> Self {
        let mut header = tar::Header::new_gnu();
        let size = contents.len() as u64;
        {
            let raw = header.as_old_mut();
            raw.name[..path.len()].copy_from_slice(path);
            raw.linkname[..link.len()].copy_from_slice(link);
            raw.linkflag = [kind];
        }
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(self.mtime);
        header.set_size(size);
        if matches!(kind, b'3' | b'4') {
            header.set_device_major(1).expect("a GNU header has it");
            header.set_device_minor(3).expect("a GNU header has it");
        }
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(contents);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, path: &str, contents: &[u8]) -> Self {
        self.entry(b'0', path.as_bytes(), b"", 0o644, contents)
    }

    pub(crate) fn directory(self, path: &str) -> Self {
        self.entry(b'5', path.as_bytes(), b"", 0o755, b"")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(b'2', path.as_bytes(), target.as_bytes(), 0o777, b"")
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(b'1', path.as_bytes(), target.as_bytes(), 0o644, b"")
    }

    /// A pax header for the entry after it.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut all = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            all.extend(format!("{length} {key}=").as_bytes());
            all.extend(*value);
            all.push(b'\n');
        }
        self.entry(b'x', b"pax", b"", 0o644, &all)
    }

    /// Without the end mark.
    pub(crate) fn unfinished(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }
}

/// A directory for a test's files, and the import it makes.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) options: Options,
}

impl Bench {
    /// Root file systems of 16 MiB, so that e2fsck has little to read.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let platform = "linux/amd64".parse().expect("it is one");
        let options = Options { root_size: Some(16 << 20), platform, ..Options::default() };
        Self { dir, options }
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).expect("a directory can be made");
        }
        fs::write(&path, bytes).expect("a file can be written");
        path
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.dir.path().join("out/image")
    }

    pub(crate) fn import(&self, path: &Path, wanted: Wanted) -> Result<Made, crate::ImportError> {
        fs::create_dir_all(self.dir.path().join("out")).expect("a directory can be made");
        let made = make_from_path(path, wanted, &self.options, &self.out(), &no_report);
        let left: Vec<_> = fs::read_dir(self.dir.path().join("out"))
            .expect("the directory is there")
            .map(|entry| entry.expect("it can be read").file_name())
            .collect();
        match &made {
            Ok(_) => assert_eq!(left, ["image"], "only the output is left"),
            Err(_) => assert!(left.is_empty(), "a failed import left {left:?}"),
        }
        made
    }

    /// Imports a root file system that has to become good, and checks it.
    pub(crate) fn root(&self, path: &Path) -> Made {
        let made = self.import(path, Wanted::Root);
        let made = made.unwrap_or_else(|error| panic!("{error}: {error:?}"));
        assert_clean(&self.out());
        let bytes = fs::read(self.out()).expect("it can be read");
        assert_eq!(bytes.len() as u64, made.size_bytes);
        assert_eq!(sha256(&bytes), made.sha256_hex());
        made
    }

    /// The reason why an archive is refused as a root file system.
    pub(crate) fn refusal(&self, archive: &[u8]) -> crate::ImportError {
        let path = self.put("archive", archive);
        match self.import(&path, Wanted::Root) {
            Ok(made) => panic!("it was taken: {made:?}"),
            Err(error) => error,
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}

/// The smallest static x86-64 program that says it is one, with some bytes of its own.
pub(crate) fn small_elf(extra: &[u8]) -> Vec<u8> {
    let mut elf = vec![0; 64 + 56];
    elf[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    elf[16] = 2; // an executable
    elf[18] = 62; // x86-64
    elf[20] = 1;
    elf[24..32].copy_from_slice(&0x0100_0000_u64.to_le_bytes()); // entry
    elf[32] = 64; // program headers
    elf[52] = 64; // size of this header
    elf[54] = 56; // and of a program header
    elf[56] = 1; // of which there is one
    let length = (elf.len() + extra.len()) as u64;
    elf[64] = 1; // load
    elf[68] = 5; // read, execute
    elf[80..88].copy_from_slice(&0x0100_0000_u64.to_le_bytes());
    elf[88..96].copy_from_slice(&0x0100_0000_u64.to_le_bytes());
    elf[96..104].copy_from_slice(&length.to_le_bytes());
    elf[104..112].copy_from_slice(&length.to_le_bytes());
    elf.extend(extra);
    elf
}

/// A budget with the usual limits that nobody watches.
pub(crate) fn limits() -> (Limits, Cancel) {
    (Limits::default(), Cancel::default())
}
