//! One QEMU process, from its command line to its end.
//!
//! Driven by [`super::TestHost`]. Software emulation by default: that runs everywhere, and
//! `-cpu max` gives the host virtualization of its own, so that guests run inside it. Where the
//! machine has a KVM that nests, `BANGER_TESTHOST_ACCEL=kvm` is faster. The network is QEMU's user
//! network, restricted: only the forwarded control port leads in, nothing leads out.
//!
//! What can go wrong: the port chosen here was taken by somebody else in between (started again
//! with another), a host that does not answer in time (its console is in the error).

use std::fs::File;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::HostError;
use super::emulator;
use super::image::Image;
use super::tool::Tool;
use crate::control::PORT;
use crate::control::client::Client;

/// From the start of QEMU to the first answer of the control program.
const BOOT_LIMIT: Duration = Duration::from_secs(180);

/// A host without a default PATH would not be worth much. A kernel that locks up says where, and
/// goes down: two minutes, for emulation on a busy machine is slow.
const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=4 panic=-1 net.ifnames=0 mitigations=off \
                            watchdog_thresh=60 softlockup_panic=1";

/// What runs as the host's PID 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// The shell script `host-init`, which only waits. No udev.
    Script,
    /// systemd, with udev, after the script has mounted and loaded everything.
    Systemd,
}

impl Init {
    fn word(self) -> &'static str {
        match self {
            Self::Script => "",
            Self::Systemd => " testhost.systemd",
        }
    }
}

/// The process, and where its console goes.
#[derive(Debug)]
pub struct Qemu {
    child: Mutex<Child>,
    console: PathBuf,
    monitor: PathBuf,
    _directory: tempfile::TempDir,
}

/// Starts a machine and waits until it answers.
///
/// # Errors
///
/// See [`HostError`].
pub fn start(
    image: &Image,
    payload: &Path,
    name: &str,
    init: Init,
) -> Result<(Qemu, Client), HostError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match try_start(image, payload, name, init) {
            Err(HostError::Down { console, .. })
                if attempts < 3 && console.contains("Could not set up host forwarding rule") => {}
            other => return other,
        }
    }
}

fn try_start(
    image: &Image,
    payload: &Path,
    name: &str,
    init: Init,
) -> Result<(Qemu, Client), HostError> {
    let directory = tempfile::Builder::new()
        .prefix("banger-testhost-")
        .tempdir()
        .map_err(HostError::file("make a directory in", Path::new("the temporary directory")))?;
    let console = directory.path().join("console");
    let monitor = directory.path().join("monitor");
    let output = directory.path().join("qemu");
    let output = File::create(&output).map_err(HostError::file("make", &output))?;
    let token = random_token()?;
    let address = free_port().map_err(HostError::Control)?;
    let accelerator = std::env::var("BANGER_TESTHOST_ACCEL");
    let accelerator = accelerator.unwrap_or_else(|_| "tcg,thread=multi".to_owned());
    let processor = if accelerator.starts_with("kvm") { "host" } else { "max" };
    let disk = |path: &Path| {
        let path = path.display().to_string().replace(',', ",,");
        format!("file={path},format=raw,if=virtio,snapshot=on,cache=unsafe")
    };
    let child = Tool::new("setpriv")
        // The host must not outlive the test, however the test ends.
        .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-name", name, "-accel", &accelerator, "-cpu", processor])
        .args(["-smp", "2", "-m", "2048"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .arg("-monitor")
        .arg(format!("unix:{},server=on,wait=off", monitor.display()))
        .arg("-kernel")
        .arg(&image.kernel)
        .arg("-initrd")
        .arg(&image.initramfs)
        .arg("-append")
        .arg(format!("{COMMAND_LINE} testhost.name={name} testhost.token={token}{}", init.word()))
        .arg("-drive")
        .arg(disk(&image.root))
        .arg("-drive")
        .arg(disk(payload))
        .arg("-netdev")
        .arg(format!("user,id=net,restrict=on,hostfwd=tcp:{address}-:{PORT}"))
        .args(["-device", "virtio-net-pci,netdev=net,romfile="])
        .env("TMPDIR", directory.path())
        .spawn(output)?;
    let machine = Qemu { child: Mutex::new(child), console, monitor, _directory: directory };
    let client = Client { address, token };
    let deadline = Instant::now() + BOOT_LIMIT;
    loop {
        if let Some(what) = machine.is_down() {
            return Err(HostError::Down { what, console: machine.console_tail() });
        }
        // Refused while QEMU starts; taken and dropped while the host boots.
        match client.run(&["true"], &[], Duration::from_secs(5)) {
            Ok(_) => return Ok((machine, client)),
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(100)),
            Err(error) => {
                let what = format!("did not answer within {BOOT_LIMIT:?} ({error})");
                return Err(HostError::Down { what, console: machine.console_tail() });
            }
        }
    }
}

impl Qemu {
    /// How QEMU ended, if it has.
    pub fn is_down(&self) -> Option<String> {
        let mut child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match child.try_wait() {
            Ok(Some(status)) => Some(format!("is down (QEMU: {status})")),
            Ok(None) => None,
            Err(error) => Some(format!("cannot be waited for ({error})")),
        }
    }

    /// What QEMU says of the processors of a host that does not answer.
    pub fn processors(&self) -> emulator::Look {
        emulator::registers(&self.monitor)
    }

    /// The last lines of the console and of what QEMU itself said.
    pub fn console_tail(&self) -> String {
        let mut text = String::new();
        for path in [self.console.with_file_name("qemu"), self.console.clone()] {
            let bytes = std::fs::read(path).unwrap_or_default();
            let part = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = part.lines().collect();
            let from = lines.len().saturating_sub(40);
            text.push_str(&lines[from..].join("\n"));
            text.push('\n');
        }
        text
    }

    /// Everything that its kernel and its first programs printed.
    pub fn whole_console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// Waits for QEMU's own end.
    ///
    /// # Errors
    ///
    /// When it does not come in time.
    pub fn wait(&mut self, limit: Duration) -> Result<(), HostError> {
        let deadline = Instant::now() + limit;
        while self.is_down().is_none() {
            if Instant::now() > deadline {
                let what = format!("did not power off within {limit:?}");
                return Err(HostError::Down { what, console: self.console_tail() });
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // It may be down already; there is nobody to tell otherwise.
        drop(child.kill());
        drop(child.wait());
    }
}

/// Leads every connection to a port of the host's loopback, until this process ends.
pub fn forward(listener: &TcpListener, client: &Client, port: u16) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        let client = client.clone();
        thread::spawn(move || {
            let Ok(host) = client.connect(port, Duration::from_secs(30)) else { return };
            drop(join(&stream, &host));
        });
    }
}

fn join(here: &TcpStream, host: &TcpStream) -> io::Result<()> {
    here.set_nodelay(true)?;
    let (mut back_from, mut back_to) = (host.try_clone()?, here.try_clone()?);
    let back = thread::spawn(move || {
        drop(io::copy(&mut back_from, &mut back_to));
        drop(back_to.shutdown(Shutdown::Both));
    });
    let (mut from, mut to) = (here.try_clone()?, host.try_clone()?);
    drop(io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Write));
    drop(back.join());
    Ok(())
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn random_token() -> Result<String, HostError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(HostError::file("read", path))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
