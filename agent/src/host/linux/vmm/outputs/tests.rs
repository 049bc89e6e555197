//! FIFOs in a temporary jail, written to as a VMM would.

use super::*;
use crate::host::linux::files::beneath::Root;
use crate::host::linux::jails::LinuxJails;
use crate::host::{JailSpec, Jails};

pub(super) struct Fixture {
    temp: tempfile::TempDir,
    tree: Arc<JailTree>,
    pub(super) outputs: FifoOutputs,
}

pub(super) fn id() -> JailId {
    JailId::new("jail-1").unwrap()
}

pub(super) fn dir() -> PathPart {
    PathPart::new("vm").unwrap()
}

pub(super) async fn fixture() -> Fixture {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| Root::open(&temp.path().join(name)).unwrap();
    let roots = Arc::new(Roots { images: at("images"), scratch: at("vms") });
    std::fs::create_dir(temp.path().join("vms/vm")).unwrap();
    let tree = Arc::new(JailTree::new(at("jails"), at("run"), roots.clone(), None));
    // The owner is ourselves, so that no right to give files away is needed.
    let uid = rustix::process::geteuid().as_raw();
    let spec = JailSpec {
        id: id(),
        vmm: VmmKind::Firecracker,
        uid,
        files: vec![],
        devices: vec![],
        bounds: Default::default(),
    };
    LinuxJails::new(tree.clone()).ensure(&spec).await.unwrap();
    Fixture { outputs: FifoOutputs::new(tree.clone(), roots), tree, temp }
}

impl Fixture {
    pub(super) fn writer(&self, path: &str) -> OwnedFd {
        open_fifo(&self.tree, &id(), path).unwrap().unwrap()
    }

    /// The collectors of a later life of the agent.
    pub(super) async fn next_agent(&self) -> FifoOutputs {
        self.outputs.remove(&id()).await.unwrap();
        FifoOutputs::new(self.tree.clone(), self.outputs.roots.clone())
    }

    pub(super) fn vm_dir(&self) -> std::path::PathBuf {
        self.temp.path().join("vms/vm")
    }

    pub(super) fn jail_root(&self) -> std::path::PathBuf {
        self.temp.path().join("jails/firecracker/jail-1/root")
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.temp.path().join("vms/vm").join(name)).unwrap_or_default()
    }
}

#[tokio::test]
async fn what_was_written_before_and_after_the_collector_came_is_kept() {
    let f = fixture().await;
    let console = f.writer(in_jail::CONSOLE);
    rustix::io::write(&console, b"before ").unwrap();
    assert_eq!(f.outputs.ensure(&id(), &dir()).await.unwrap(), Change::Made);
    assert_eq!(f.outputs.ensure(&id(), &dir()).await.unwrap(), Change::AlreadySo);
    rustix::io::write(&console, b"after").unwrap();
    // Stopping takes what is left.
    assert_eq!(f.outputs.remove(&id()).await.unwrap(), Change::Made);
    assert_eq!(f.outputs.remove(&id()).await.unwrap(), Change::AlreadySo);
    assert_eq!(f.read("console.log"), b"before after");
}

#[tokio::test]
async fn a_writer_never_blocks_when_nobody_reads() {
    let f = fixture().await;
    let log = f.writer(in_jail::LOG);
    let mut written = 0;
    let full = loop {
        match rustix::io::write(&log, &[b'x'; 4096]) {
            Ok(count) => written += count,
            Err(error) => break error,
        }
    };
    assert_eq!(full, Errno::AGAIN);
    f.outputs.ensure(&id(), &dir()).await.unwrap();
    f.outputs.remove(&id()).await.unwrap();
    assert_eq!(f.read("firecracker.log").len(), written);
}

#[tokio::test]
async fn a_file_at_its_bound_becomes_the_older_part() {
    let f = fixture().await;
    let sink = Sink { roots: f.outputs.roots.clone(), dir: dir(), file: "console.log", log: None };
    for byte in 0..40u8 {
        sink.append(&vec![byte; 100 * 1024]).unwrap();
    }
    let (new, old) = (f.read("console.log"), f.read("console.log.1"));
    assert!(new.len() as u64 <= FILE_LIMIT && old.len() as u64 <= FILE_LIMIT);
    assert_eq!(new.last(), Some(&39));
    assert_eq!(old.last().map(|byte| byte + 1), new.first().copied());
}

#[tokio::test]
async fn the_tail_of_the_log_is_bounded_and_safe_to_show() {
    let f = fixture().await;
    assert_eq!(f.outputs.log_tail(&dir()).await.unwrap(), "");
    let sink =
        Sink { roots: f.outputs.roots.clone(), dir: dir(), file: "firecracker.log", log: None };
    sink.append(&vec![b'y'; 10_000]).unwrap();
    sink.append(b"\x1b[31mthe end\n").unwrap();
    let tail = f.outputs.log_tail(&dir()).await.unwrap();
    assert!(tail.len() <= 4096 && tail.ends_with("[31mthe end\n"), "{tail:?}");
}

#[tokio::test]
async fn a_fifo_replaced_by_a_file_is_not_read() {
    let f = fixture().await;
    let path = f.temp.path().join("jails/firecracker/jail-1/root/console.fifo");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "endless").unwrap();
    assert!(f.outputs.ensure(&id(), &dir()).await.is_err());
}

#[tokio::test]
async fn a_full_or_missing_directory_loses_output_and_nothing_else() {
    let f = fixture().await;
    let console = f.writer(in_jail::CONSOLE);
    std::fs::remove_dir(f.temp.path().join("vms/vm")).unwrap();
    f.outputs.ensure(&id(), &dir()).await.unwrap();
    rustix::io::write(&console, b"lost").unwrap();
    assert_eq!(f.outputs.remove(&id()).await.unwrap(), Change::Made);
}

#[tokio::test(start_paused = true)]
async fn a_console_that_floods_is_read_slowly_and_not_after_its_last_words() {
    use tokio::io::AsyncWriteExt as _;
    let f = fixture().await;
    let (ours, mut theirs) = tokio::net::UnixStream::pair().unwrap();
    let (reader, writer) = ours.into_split();
    drop(writer);
    let sink = Sink { roots: f.outputs.roots.clone(), dir: dir(), file: CONSOLE, log: None };
    let stop = CancellationToken::new();
    let reading = tokio::spawn(collect_socket(reader, sink, stop.clone()));
    let began = tokio::time::Instant::now();
    let mut chunks: u32 = 0;
    // Time goes on by itself only while everybody waits: it is that of the pauses.
    let flood = async {
        let chunk = vec![b'x'; CHUNK];
        while theirs.write_all(&chunk).await.is_ok() {
            chunks += 1;
            if chunks == 200 {
                stop.cancel();
            }
        }
    };
    flood.await;
    reading.await.unwrap();
    // What is on the way was not read yet: some of a socket's buffer.
    let paused = u32::try_from(began.elapsed().as_millis() / PAUSE.as_millis()).unwrap();
    assert!(paused + 64 >= 200, "{paused} pauses for {chunks} chunks");
    assert!(chunks <= 200 + 64 + u32::try_from(LAST_WORDS.as_millis()).unwrap(), "{chunks}");
}
