//! The driver of the test host: a real Linux kernel in QEMU that a test may break.
//!
//! Driven by tests that need root, device-mapper, taps and processes in jails, without touching
//! the machine they run on. [`TestHost::start`] makes sure of the image (built once from Debian's
//! packages, see [`image`]), packs the binaries under test onto a second disk ([`payload`]), starts
//! QEMU ([`qemu`]) and waits until the control program answers. Both disks are snapshots: what
//! happens in a host is forgotten with it. Nothing a host sends leaves the machine.
//!
//! What can go wrong: a missing tool or package (the error names it), binaries that were not
//! built (the error says what to run), a host that does not come up (the error has the end of its
//! console). Emulation is 10 to 30 times slower than the machine: wait on predicates, with
//! generous limits, and quote no time measured inside.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::control::client::{Client, Output};

pub mod cache;
pub mod demo;
pub mod emulator;
pub mod guest;
pub mod image;
pub mod initramfs;
pub mod payload;
pub mod programs;
pub mod qemu;
pub mod tool;

pub use programs::Vmm;

/// How long a command in the host may take unless said otherwise.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(240);

/// Where the file system of the second disk is mounted in the host.
pub const DATA: &str = "/data";

/// Why there is no test host, or why it did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A tool is missing or failed.
    #[error(transparent)]
    Tool(#[from] tool::ToolError),
    /// Something about files of the cache.
    #[error("cannot {what} {path}", path = .path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// This machine cannot have one.
    #[error("no test host on this machine: {0}")]
    Unfit(String),
    /// Something that must be built first is not there.
    #[error("{what} is not at {path}: {remedy}", path = .path.display())]
    NotBuilt {
        /// Which.
        what: String,
        /// Where it was looked for.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// It was started and did not come up, or went down.
    #[error("the test host {what}; its console ends:\n{console}")]
    Down {
        /// What it did.
        what: String,
        /// The last lines of its console.
        console: String,
    },
    /// It could not be asked.
    #[error("cannot reach the test host's control program")]
    Control(#[source] io::Error),
    /// A script that had to succeed did not.
    #[error("in the test host, `{script}` ended with {code}: {stderr}{stdout}")]
    Script {
        /// What was run.
        script: String,
        /// How it ended.
        code: i32,
        /// What it printed.
        stdout: String,
        /// What it complained about.
        stderr: String,
    },
}

impl HostError {
    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { what, path: path.to_owned(), source }
    }
}

/// A running host. Ended, and forgotten, when dropped.
#[derive(Debug)]
pub struct TestHost {
    machine: qemu::Qemu,
    client: Client,
    vmm: Vmm,
    /// Whether the emulator was found dead.
    judged: AtomicBool,
}

/// A test that fails for another reason at first, an answer of the API that did not come, still
/// tells whether the emulator died.
impl Drop for TestHost {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Err(why) = self.run_for(&["true"], &[], Duration::from_secs(15))
        {
            println!("{why}");
        }
    }
}

impl TestHost {
    /// Starts a host with the given programs of banger in `/data/bin`, beside `firecracker` and
    /// `jailer`, and guest images in [`payload::IMAGES`]. Prints which VMM it has.
    ///
    /// Call it from a thread that lives as long as the host: the kernel ends QEMU with the thread
    /// that started it.
    ///
    /// # Errors
    ///
    /// See [`HostError`].
    pub fn start(name: &str, banger: &[&str]) -> Result<Self, HostError> {
        Self::boot(name, banger, qemu::Init::Script)
    }

    /// The same with systemd as PID 1, and waits until it has started everything. What a test
    /// spawns is in the control program's unit, which ends none of it.
    ///
    /// # Errors
    ///
    /// As [`Self::start`], and when systemd does not come up.
    pub fn start_systemd(name: &str, banger: &[&str]) -> Result<Self, HostError> {
        let host = Self::boot(name, banger, qemu::Init::Systemd)?;
        host.wait_until("systemd is up", COMMAND_LIMIT, || {
            let output = host.run(&["systemctl", "is-active", "multi-user.target"])?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            Ok(if output.code == 0 { Ok(()) } else { Err(said) })
        })?;
        Ok(host)
    }

    fn boot(name: &str, banger: &[&str], init: qemu::Init) -> Result<Self, HostError> {
        let began = Instant::now();
        let cache = cache::Cache::open()?;
        let vmm = Vmm::find(&cache)?;
        println!("{}", vmm.line());
        let image = image::ensure(&cache)?;
        let guest = guest::ensure(&cache, &image)?;
        let binaries = programs::banger(&cache, banger)?;
        let payload = payload::ensure(&cache, &vmm, &guest, &binaries)?;
        let built = began.elapsed();
        let (machine, client) = qemu::start(&image, &payload, name, init)?;
        println!(
            "test host {name}: disks ready after {:.1} s, up after {:.1} s",
            built.as_secs_f64(),
            began.elapsed().as_secs_f64()
        );
        Ok(Self { machine, client, vmm, judged: AtomicBool::new(false) })
    }

    /// Which VMM runs here.
    pub fn vmm(&self) -> &Vmm {
        &self.vmm
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    ///
    /// When it could not be started or did not end in time; not when it fails.
    pub fn run(&self, command: &[&str]) -> Result<Output, HostError> {
        self.run_for(command, &[], COMMAND_LIMIT)
    }

    /// The same, with standard input and a limit.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn run_for(
        &self,
        command: &[&str],
        input: &[u8],
        limit: Duration,
    ) -> Result<Output, HostError> {
        self.client.run(command, input, limit).map_err(|error| self.why(error))
    }

    /// Why the host could not be asked. Prints the proof, once, where it was the emulator's fault
    /// (see [`emulator`]).
    fn why(&self, error: io::Error) -> HostError {
        let silent = self.machine.is_down().is_none() && self.is_silent();
        let (what, proof) = match self.machine.is_down() {
            Some(what) => (what, emulator::reset(&self.machine.whole_console())),
            None if silent => {
                let before = self.machine.processors();
                std::thread::sleep(Duration::from_secs(2));
                let after = self.machine.processors();
                let proof = emulator::silent(&self.machine.whole_console(), [&before, &after]);
                (format!("answers no more ({error}); its processors:\n{after}"), proof)
            }
            None => return HostError::Control(error),
        };
        if let Some(proof) = proof
            && !self.judged.swap(true, Ordering::Relaxed)
        {
            let test = std::thread::current().name().unwrap_or("?").to_owned();
            println!("{} {test}: {proof}", emulator::DIED);
        }
        HostError::Down { what, console: self.machine.console_tail() }
    }

    /// Whether it answers nothing for [`emulator::SILENCE`].
    fn is_silent(&self) -> bool {
        let deadline = Instant::now() + emulator::SILENCE;
        while Instant::now() < deadline {
            if self.machine.is_down().is_some()
                || self.client.run(&["true"], &[], Duration::from_secs(15)).is_ok()
            {
                return false;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        true
    }

    /// Runs a shell script that must succeed; its standard output without the last newline.
    ///
    /// # Errors
    ///
    /// Also when it ends with anything but 0.
    pub fn sh(&self, script: &str) -> Result<String, HostError> {
        let output = self.run(&["/bin/sh", "-c", script])?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.code == 0 {
            return Ok(text(&output.stdout));
        }
        Err(HostError::Script {
            script: script.to_owned(),
            code: output.code,
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }

    /// Starts a program that outlives the call, in a session of its own, its output appended to
    /// `log`; answers its pid.
    ///
    /// # Errors
    ///
    /// As [`Self::sh`].
    pub fn spawn(&self, command: &str, log: &str) -> Result<u32, HostError> {
        // The subshell writes its pid and becomes the program, so the pid is the program's.
        let script = format!(
            "setsid sh -c 'echo $$ >/run/testhost.spawned; exec {command}' \
             </dev/null >>{log} 2>&1 & \
             until [ -s /run/testhost.spawned ]; do sleep 0.05; done; \
             cat /run/testhost.spawned; rm /run/testhost.spawned"
        );
        let pid = self.sh(&script)?;
        pid.trim().parse().map_err(|_| HostError::Script {
            script,
            code: 0,
            stdout: pid,
            stderr: String::new(),
        })
    }

    /// Writes a file in the host.
    ///
    /// # Errors
    ///
    /// As [`Self::sh`].
    pub fn write(&self, path: &str, contents: &[u8]) -> Result<(), HostError> {
        let script = format!("cat >{path}");
        let output = self.run_for(&["/bin/sh", "-c", &script], contents, COMMAND_LIMIT)?;
        if output.code == 0 {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(HostError::Script { script, code: output.code, stdout: String::new(), stderr })
    }

    /// Reads a file of the host.
    ///
    /// # Errors
    ///
    /// As [`Self::sh`].
    pub fn read(&self, path: &str) -> Result<Vec<u8>, HostError> {
        let output = self.run(&["cat", path])?;
        if output.code == 0 {
            return Ok(output.stdout);
        }
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(HostError::Script {
            script: format!("cat {path}"),
            code: output.code,
            stdout: String::new(),
            stderr,
        })
    }

    /// Asks until `predicate` answers something, or fails with what it last saw.
    ///
    /// # Errors
    ///
    /// The host's, or a [`HostError::Down`] that carries the last state seen.
    pub fn wait_until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut predicate: impl FnMut() -> Result<Result<T, String>, HostError>,
    ) -> Result<T, HostError> {
        let deadline = Instant::now() + limit;
        loop {
            match predicate()? {
                Ok(value) => return Ok(value),
                Err(_) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(seen) => {
                    return Err(HostError::Down {
                        what: format!("did not reach '{what}' in {limit:?}; last seen: {seen}"),
                        console: self.machine.console_tail(),
                    });
                }
            }
        }
    }

    /// A port on this machine that leads to a port of the host's loopback, as long as this
    /// process lives.
    ///
    /// # Errors
    ///
    /// When no port can be had here.
    pub fn forward(&self, port: u16) -> Result<SocketAddr, HostError> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(HostError::Control)?;
        let address = listener.local_addr().map_err(HostError::Control)?;
        let client = self.client.clone();
        std::thread::spawn(move || qemu::forward(&listener, &client, port));
        Ok(address)
    }

    /// Powers the host off and waits for its end.
    ///
    /// # Errors
    ///
    /// When it does not end in time.
    pub fn power_off(mut self) -> Result<(), HostError> {
        // The answer may not make it out any more.
        drop(self.client.run(&["/bin/busybox", "poweroff", "-f"], &[], Duration::from_secs(10)));
        self.machine.wait(Duration::from_secs(30))
    }
}
