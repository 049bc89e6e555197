//! What a root file system gets beside its own files: places to mount on, the guest agent and
//! what starts it, and what the container image says about its program.

use std::collections::BTreeMap;
use std::path::Path;

use crate::tree::{Body, Contents, Ino, Meta, Tree};
use crate::{ImportError, Kind, Note};

/// Where the guest agent lies in every image.
const AGENT: &str = "/usr/lib/banger/banger-guest";

/// The `config` of a container image: `Entrypoint`, `Cmd`, `Env`, `WorkingDir` and `User`.
const IMAGE_CONFIG: &str = "/etc/banger/oci.json";

const INITS: [&str; 3] = ["/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd"];
const SYSTEMDS: [&str; 2] = ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"];

const UNIT: &str = "\
[Unit]
Description=Guest agent of banger
DefaultDependencies=no
After=systemd-remount-fs.service
Conflicts=shutdown.target
Before=shutdown.target

[Service]
ExecStart=/usr/lib/banger/banger-guest
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
";

/// Directories that every init mounts something on, and their rights.
const DIRECTORIES: [(&str, u16); 7] = [
    ("/proc", 0o555),
    ("/sys", 0o555),
    ("/dev", 0o755),
    ("/dev/pts", 0o755),
    ("/run", 0o755),
    ("/tmp", 0o1777),
    ("/etc", 0o755),
];

/// What is put into a tree.
pub(crate) struct Furnishing<'a> {
    /// The guest agent, an x86-64 ELF file, and its length in bytes.
    pub(crate) agent: Option<(&'a Path, u64)>,
    /// What [`IMAGE_CONFIG`] is to hold.
    pub(crate) image_config: Option<Vec<u8>>,
    /// The time of everything made, in seconds since 1970.
    pub(crate) mtime: i64,
}

/// A place in the tree that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Occupied(&'static str);

impl Occupied {
    pub(crate) fn at(self, from: &str) -> ImportError {
        let what =
            format!("as a {}, it has something at {} that is no directory", Kind::Root, self.0);
        ImportError::NotUsable { from: from.to_owned(), what }
    }
}

impl Furnishing<'_> {
    /// Adds what is missing; what is there is left as it is. Answers with what was done.
    pub(crate) fn put_into(&self, tree: &mut Tree) -> Result<Vec<Note>, Occupied> {
        for (path, mode) in DIRECTORIES {
            self.directory(tree, path, mode)?;
        }
        self.file_if_missing(tree, "/etc/resolv.conf", b"")?;
        self.file_if_missing(tree, "/etc/hostname", b"localhost\n")?;
        if let Some(config) = &self.image_config {
            self.file(tree, IMAGE_CONFIG, 0o644, config)?;
        }
        let has_init = INITS.iter().any(|path| tree.resolve(path.as_bytes()).is_some());
        let Some((agent, size)) = self.agent else {
            return Ok(if has_init { Vec::new() } else { vec![Note::NoInit] });
        };
        let contents = Contents::Host(agent.to_owned());
        let ino = tree.add(Meta::root(0o755, self.mtime), Body::File { size, contents });
        self.place(tree, AGENT, ino)?;
        self.start_agent(tree, has_init)
    }

    /// Sees to it that something starts the agent.
    fn start_agent(&self, tree: &mut Tree, has_init: bool) -> Result<Vec<Note>, Occupied> {
        if !has_init {
            self.symlink(tree, "/sbin/init", AGENT)?;
            return Ok(vec![Note::GuestAgent("being /sbin/init")]);
        }
        if SYSTEMDS.iter().any(|path| tree.resolve(path.as_bytes()).is_some()) {
            let unit = "/etc/systemd/system/banger-guest.service";
            let wanted = "/etc/systemd/system/multi-user.target.wants/banger-guest.service";
            self.file(tree, unit, 0o644, UNIT.as_bytes())?;
            self.symlink(tree, wanted, "../banger-guest.service")?;
            return Ok(vec![Note::GuestAgent("systemd")]);
        }
        match inittab(tree) {
            Some((ino, before)) => {
                let line = inittab_line(&before);
                let mut text = before;
                if !text.ends_with(b"\n") && !text.is_empty() {
                    text.push(b'\n');
                }
                text.extend(line.as_bytes());
                tree.set_body(ino, in_memory(&text));
                Ok(vec![Note::GuestAgent("a line in /etc/inittab")])
            }
            None => Ok(vec![Note::GuestAgentNotStarted]),
        }
    }

    fn file(
        &self,
        tree: &mut Tree,
        path: &'static str,
        mode: u16,
        bytes: &[u8],
    ) -> Result<(), Occupied> {
        let ino = tree.add(Meta::root(mode, self.mtime), in_memory(bytes));
        self.place(tree, path, ino)
    }

    fn file_if_missing(
        &self,
        tree: &mut Tree,
        path: &'static str,
        bytes: &[u8],
    ) -> Result<(), Occupied> {
        // A link that leads nowhere yet is an answer too: its target is made at run time.
        let (above, name) = parted(path);
        let directory = self.directory(tree, above, 0o755)?;
        if tree.entry(directory, name.as_bytes()).is_some() {
            return Ok(());
        }
        self.file(tree, path, 0o644, bytes)
    }

    fn symlink(&self, tree: &mut Tree, path: &'static str, target: &str) -> Result<(), Occupied> {
        let ino = tree.add(Meta::root(0o777, self.mtime), Body::Symlink(target.as_bytes().into()));
        self.place(tree, path, ino)
    }

    /// Gives `ino` a path, in place of a file that has it.
    fn place(&self, tree: &mut Tree, path: &'static str, ino: Ino) -> Result<(), Occupied> {
        let (above, name) = parted(path);
        let directory = self.directory(tree, above, 0o755)?;
        if tree.entry(directory, name.as_bytes()).is_some_and(|e| tree.entries(e.ino).is_some()) {
            return Err(Occupied(path));
        }
        tree.link(directory, name.as_bytes(), ino, u32::MAX);
        Ok(())
    }

    /// The directory at `path`, made where it is missing; `/sbin` may be a link to another.
    fn directory(&self, tree: &mut Tree, path: &'static str, mode: u16) -> Result<Ino, Occupied> {
        if let Some(ino) = tree.resolve(path.as_bytes()) {
            return match tree.entries(ino) {
                Some(_) => Ok(ino),
                None => Err(Occupied(path)),
            };
        }
        let (above, name) = parted(path);
        let parent = self.directory(tree, above, 0o755)?;
        if tree.entry(parent, name.as_bytes()).is_some() {
            // A link that leads nowhere.
            return Err(Occupied(path));
        }
        let body = Body::Directory(BTreeMap::new());
        let ino = tree.add(Meta::root(mode, self.mtime), body);
        tree.link(parent, name.as_bytes(), ino, u32::MAX);
        Ok(ino)
    }
}

/// An absolute path's directory and its name.
fn parted(path: &'static str) -> (&'static str, &'static str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn in_memory(bytes: &[u8]) -> Body {
    Body::File { size: bytes.len() as u64, contents: Contents::Bytes(bytes.into()) }
}

/// `/etc/inittab`, where it was made here. One that lies in a layer is in [`Contents::Bytes`] too
/// by now: see [`crate::root`].
fn inittab(tree: &Tree) -> Option<(Ino, Vec<u8>)> {
    let ino = tree.resolve(b"/etc/inittab")?;
    match &tree.inode(ino).body {
        Body::File { contents: Contents::Bytes(bytes), .. } => Some((ino, bytes.to_vec())),
        _ => None,
    }
}

/// busybox has the terminal first, sysvinit an id and runlevels.
fn inittab_line(text: &[u8]) -> String {
    let sysv = text.split(|byte| *byte == b'\n').any(|line| {
        !line.starts_with(b"#") && line.split(|byte| *byte == b':').nth(2) == Some(b"initdefault")
    });
    match sysv {
        true => format!("bg:2345:respawn:{AGENT}\n"),
        false => format!("::respawn:{AGENT}\n"),
    }
}
