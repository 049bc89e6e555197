//! One jailed VMM in a network namespace of its own, on this machine, gone when dropped.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use banger_testhost::host::Vmm;

pub(crate) const UID: u32 = 234_567;
pub(crate) const ID: &str = "0198c0de-0000-7000-8000-000000000001";

/// Nothing here takes longer, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Jailed {
    pub(crate) base: tempfile::TempDir,
    pub(crate) root: PathBuf,
    pub(crate) namespace: String,
    pub(crate) child: Option<Child>,
    vmm: Vmm,
}

#[expect(clippy::disallowed_methods, reason = "a test of programs starts them")]
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(program)
}

pub(crate) fn ip(line: &str) -> bool {
    let status = command("ip").args(line.split(' ')).stderr(Stdio::null()).status();
    status.expect("iproute2 is installed").success()
}

pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(seen) if Instant::now() > deadline => panic!("{what}: last seen {seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

impl Jailed {
    /// Directories, a kernel that starts with the right bytes, a disk, a namespace with `tap0`.
    pub(crate) fn prepare(vmm: &Vmm) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let namespace = format!("banger-test-{}-{count}", std::process::id());
        assert!(ip(&format!("netns add {namespace}")), "network namespaces need root");
        assert!(ip(&format!("-n {namespace} tuntap add tap0 mode tap user {UID}")));
        assert!(ip(&format!("-n {namespace} link set tap0 up")));
        let base = tempfile::tempdir().expect("a directory");
        let root = base.path().join("firecracker").join(ID).join("root");
        std::fs::create_dir_all(&root).expect("a jail");
        // The jailer names the jail and the pidfile after the program, so it needs its own name.
        std::fs::copy(vmm.firecracker(), base.path().join("firecracker.bin")).expect("a copy");
        let bin = base.path().join("bin");
        std::fs::create_dir(&bin).expect("a directory");
        std::fs::rename(base.path().join("firecracker.bin"), bin.join("firecracker"))
            .expect("renamed");
        let jailed = Self { base, root, namespace, child: None, vmm: vmm.clone() };
        jailed.put("kernel", b"\x7fELF and nothing else");
        jailed.put("text", "no kernel at all ".repeat(100).as_bytes());
        jailed.put("disk", &vec![0; 1 << 16]);
        jailed
    }

    pub(crate) fn put(&self, name: &str, contents: &[u8]) {
        let path = self.root.join(name);
        std::fs::write(&path, contents).expect("written");
        std::os::unix::fs::chown(&path, Some(UID), Some(UID)).expect("given away");
    }

    /// The jailer's command line, for tests to change.
    pub(crate) fn jailer(&self) -> Command {
        let mut jailer = command(self.vmm.jailer());
        jailer
            .args(["--id", ID, "--uid", &UID.to_string(), "--gid", &UID.to_string()])
            .arg("--exec-file")
            .arg(self.base.path().join("bin/firecracker"))
            .arg("--chroot-base-dir")
            .arg(self.base.path())
            .arg("--netns")
            .arg(format!("/run/netns/{}", self.namespace))
            .stdin(Stdio::null());
        jailer
    }

    /// Starts it and waits for its API.
    pub(crate) fn start(vmm: &Vmm) -> Self {
        let mut jailed = Self::prepare(vmm);
        jailed.restart();
        jailed
    }

    pub(crate) fn restart(&mut self) {
        let console = std::fs::File::create(self.base.path().join("console")).expect("a file");
        let errors = console.try_clone().expect("a file");
        let child = self.jailer().stdout(console).stderr(errors).spawn().expect("starts");
        self.child = Some(child);
        wait_for("the API socket answers", || {
            UnixStream::connect(self.socket())
                .map(drop)
                .map_err(|error| format!("{error}; console: {}", self.console()))
        });
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("run/firecracker.socket")
    }

    pub(crate) fn console(&self) -> String {
        std::fs::read_to_string(self.base.path().join("console")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("started").id()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("started");
        wait_for("it ends", || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        })
    }

    /// One request on a connection of its own: status and body.
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(self.socket()).expect("connects");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        let mut piece = [0; 4096];
        loop {
            if let Some((head, body)) = answer.split_once("\r\n\r\n") {
                let wanted: usize = head
                    .lines()
                    .find_map(|line| line.strip_prefix("Content-Length: "))
                    .map_or(0, |length| length.parse().expect("a number"));
                if body.len() >= wanted {
                    let status = head.split(' ').nth(1).expect("a status line");
                    return (status.parse().expect("a number"), body.to_owned());
                }
            }
            let length = stream.read(&mut piece).expect("an answer");
            assert!(length > 0, "{method} {path}: closed after {answer:?}");
            answer.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    }

    /// A request that must be done.
    pub(crate) fn done(&self, method: &str, path: &str, body: &str) {
        assert_eq!(self.call(method, path, body), (204, String::new()), "{method} {path} {body}");
    }

    pub(crate) fn boot(&self) {
        self.done("PUT", "/boot-source", r#"{"kernel_image_path":"/kernel","boot_args":"quiet"}"#);
        self.done(
            "PUT",
            "/drives/rootfs",
            r#"{"drive_id":"rootfs","path_on_host":"/disk","is_root_device":true}"#,
        );
        self.done(
            "PUT",
            "/network-interfaces/eth0",
            r#"{"iface_id":"eth0","host_dev_name":"tap0","guest_mac":"02:fc:0a:40:00:02"}"#,
        );
        self.done("PUT", "/actions", r#"{"action_type":"InstanceStart"}"#);
    }

    pub(crate) fn state(&self) -> String {
        let (_, body) = self.call("GET", "/", "");
        let info: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        info["state"].as_str().expect("a state").to_owned()
    }
}

impl Drop for Jailed {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
        ip(&format!("netns del {}", self.namespace));
    }
}

pub(crate) fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().exists()
}
