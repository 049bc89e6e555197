//! The guest the stand-in plays, so that tests see the same marks as from a real one.
//!
//! Driven by [`super::machine`]: started by `InstanceStart`, then one thread that waits for
//! Ctrl-Alt-Del. It does what `integration-tests/testhost/guest-init` does in a real guest:
//! - in the last 4096 bytes of every writable disk it keeps `boots <count> <boot id>`;
//! - it asks for its gateway over the tap (ARP), with the addresses of the `ip=` boot argument;
//! - on the console it prints `guest: …` lines about both, and to each line that is typed
//!   `guest: heard <line>`;
//! - `hostile attack <scene>`, `hostile talk <scene>` and `hostile hush`, typed, are done with its
//!   tap as [`crate::hostile`] has it: what holds a tap as a VMM is what a guest can be at most;
//! - on Ctrl-Alt-Del it ends, unless the boot arguments have `testguest.ignore_shutdown`;
//! - with `testguest.exit` it shuts itself down once it is ready, with `testguest.panic` its kernel
//!   panics then.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::devices::{TapWire, VNET_HEADER};
use super::lock;
use crate::hostile::guests::{Kernel, attack, talk};

/// Bytes at the end of a disk in which boots are counted.
const BLOCK: usize = 4096;

/// How long the played guest takes to shut down.
const SHUTDOWN: Duration = Duration::from_millis(200);

/// What the guest starts with.
#[derive(Debug)]
pub struct Hardware {
    /// The kernel's command line.
    pub boot_args: String,
    /// Name and contents of each writable disk.
    pub disks: Vec<(String, File)>,
    /// The tap, and the guest's MAC address as six bytes.
    pub network: Option<(File, [u8; 6])>,
    /// The serial console; `None` is standard output.
    pub console: Option<File>,
}

/// A started guest.
#[derive(Debug, Clone)]
pub struct Guest {
    signals: Arc<(Mutex<Signals>, Condvar)>,
}

#[derive(Debug, Default)]
struct Signals {
    paused: bool,
    shut_down: bool,
}

impl Guest {
    /// Boots. `ended` is called once, on the guest's own thread, when it shuts down.
    pub fn boot(hardware: Hardware, ended: impl FnOnce() + Send + 'static) -> Self {
        let guest = Self { signals: Arc::default() };
        let signals = Arc::clone(&guest.signals);
        thread::spawn(move || {
            run(hardware, &signals);
            ended();
        });
        guest
    }

    /// Stops or continues the guest.
    pub fn set_paused(&self, paused: bool) {
        lock(&self.signals.0).paused = paused;
        self.signals.1.notify_all();
    }

    /// Presses Ctrl-Alt-Del; a paused guest notices when it is resumed.
    pub fn press_ctrl_alt_del(&self) {
        lock(&self.signals.0).shut_down = true;
        self.signals.1.notify_all();
    }
}

fn run(mut hardware: Hardware, signals: &(Mutex<Signals>, Condvar)) {
    let boot_id = boot_id();
    // A kernel's first words: what stands before them on a console is of an earlier boot.
    let mut lines =
        vec!["Linux version 0 (stand-in)".to_owned(), format!("guest: stand-in boot_id={boot_id}")];
    for (name, disk) in &mut hardware.disks {
        lines.push(match count_boot(disk, &boot_id) {
            Ok(boots) => format!("guest: disk {name} boots={boots}"),
            Err(error) => format!("guest: disk {name} error={error}"),
        });
    }
    print(&mut hardware.console, &lines);
    if let Some((tap, mac)) = &hardware.network {
        let answer = match addresses(&hardware.boot_args) {
            None => "guest: net no ip= argument".to_owned(),
            Some((own, gateway)) => match ask_for(tap, *mac, own, gateway) {
                Ok(true) => format!("guest: net {own} gateway {gateway} ok"),
                Ok(false) => format!("guest: net {own} gateway {gateway} silent"),
                Err(error) => format!("guest: net {own} error={error}"),
            },
        };
        print(&mut hardware.console, &[answer]);
    }
    print(&mut hardware.console, &["guest: ready".to_owned()]);
    if hardware.console.is_none() {
        let tap = hardware.network.take().map(|(tap, _)| Arc::new(tap));
        thread::spawn(move || answer_console(tap.as_ref()));
    }

    let told = |wish: &str| hardware.boot_args.split(' ').any(|word| word == wish);
    let deaf = told("testguest.ignore_shutdown");
    let panics = told("testguest.panic");
    let leaves = panics || told("testguest.exit");
    let mut state = lock(&signals.0);
    state.shut_down |= leaves;
    loop {
        if state.shut_down && !state.paused {
            state.shut_down = false;
            if leaves || !deaf {
                break;
            }
            print(&mut hardware.console, &["guest: ctrl-alt-del ignored".to_owned()]);
        }
        state = signals.1.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
    }
    drop(state);
    // What a kernel says of its end, by which it is told from any other.
    let last = match panics {
        true => ["Kernel panic - not syncing: sysrq triggered crash", "Rebooting in 1 seconds.."],
        false => ["guest: shutting down", "reboot: Restarting system"],
    };
    print(&mut hardware.console, &last.map(str::to_owned));
    thread::sleep(SHUTDOWN);
}

fn print(console: &mut Option<File>, lines: &[String]) {
    for line in lines {
        let line = format!("{line}\n");
        // A console nobody can write to does not stop a guest.
        let _ = match console {
            Some(file) => super::log::append(file, line.as_bytes()),
            None => io::stdout().write_all(line.as_bytes()),
        };
    }
}

/// Answers each line that is typed, as a shell would. Only without a console of its own: as the
/// real one, it has standard input and output or neither.
fn answer_console(tap: Option<&Arc<File>>) {
    let hushed = Arc::new(AtomicBool::new(false));
    let stdin = io::stdin();
    let mut descriptor = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let (mut line, mut byte) = (Vec::new(), [0]);
    while poll(&mut descriptor, PollTimeout::NONE).is_ok() {
        // Past the library's buffer, which `poll` does not see.
        match nix::unistd::read(&stdin, &mut byte) {
            Ok(0) => return,
            Ok(_) if matches!(byte[0], b'\r' | b'\n') => {
                let heard = String::from_utf8_lossy(&line).into_owned();
                print(&mut None, &[format!("guest: heard {heard}")]);
                line.clear();
                obey(&heard, tap, &hushed);
            }
            Ok(_) => line.extend(byte),
            Err(nix::errno::Errno::EAGAIN) => {}
            Err(_) => return,
        }
    }
}

/// Does with the tap what it is told, beside what it does already.
fn obey(heard: &str, tap: Option<&Arc<File>>, hushed: &Arc<AtomicBool>) {
    let words: Vec<&str> = heard.split_whitespace().collect();
    let (does, text) = match words[..] {
        ["hostile", "hush"] => return hushed.store(true, Ordering::Relaxed),
        ["hostile", does @ ("attack" | "talk"), text] => (does.to_owned(), text.to_owned()),
        _ => return,
    };
    let (tap, hushed) = (tap.map(Arc::clone), Arc::clone(hushed));
    thread::spawn(move || {
        let mut say = |line: &str| print(&mut None, &[line.to_owned()]);
        let (Some(tap), Ok(scene)) = (tap, text.parse()) else {
            return say("hostile: no tap, or no scene");
        };
        let done = match does.as_str() {
            "attack" => attack(&TapWire(&tap), &scene, &mut say),
            _ => {
                let ends = || hushed.load(Ordering::Relaxed);
                talk(&TapWire(&tap), &scene, Kernel::None, &ends, &mut say)
            }
        };
        if let Err(why) = done {
            say(&format!("hostile {does} failed: {why}"));
        }
    });
}

fn boot_id() -> String {
    let mut bytes = [0; 8];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    match read {
        Ok(()) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Err(_) => format!("{}", super::log::now_ms()),
    }
}

/// Raises the count in the disk's last block.
///
/// # Errors
///
/// The disk's.
pub fn count_boot(disk: &mut File, boot_id: &str) -> io::Result<u64> {
    disk.seek(SeekFrom::End(-(BLOCK as i64)))?;
    let mut block = vec![0; BLOCK];
    disk.read_exact(&mut block)?;
    let text = String::from_utf8_lossy(&block).into_owned();
    let before = text
        .strip_prefix("boots ")
        .and_then(|rest| rest.split(' ').next())
        .and_then(|count| count.parse::<u64>().ok())
        .unwrap_or(0);
    let mut line = format!("boots {} {boot_id}\n", before + 1).into_bytes();
    line.resize(BLOCK, 0);
    disk.seek(SeekFrom::End(-(BLOCK as i64)))?;
    disk.write_all(&line)?;
    disk.sync_all()?;
    Ok(before + 1)
}

/// Own address and gateway of `ip=<own>::<gateway>:…`, as the kernel's nfsroot document has it.
pub fn addresses(boot_args: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let value = boot_args.split(' ').find_map(|word| word.strip_prefix("ip="))?;
    let fields: Vec<&str> = value.split(':').collect();
    Some((fields.first()?.parse().ok()?, fields.get(2)?.parse().ok()?))
}

/// Asks who has the gateway's address until it answers or ten seconds have passed.
fn ask_for(tap: &File, mac: [u8; 6], own: Ipv4Addr, gateway: Ipv4Addr) -> io::Result<bool> {
    let mut question = vec![0; VNET_HEADER];
    question.extend_from_slice(&arp_request(mac, own, gateway));
    for _ in 0..20 {
        (&mut &*tap).write_all(&question)?;
        let mut descriptor = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
        while poll(&mut descriptor, PollTimeout::from(500_u16))? > 0 {
            let mut frame = [0; 2048];
            let length = match (&mut &*tap).read(&mut frame) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            if is_arp_reply(frame.get(VNET_HEADER..length).unwrap_or_default(), gateway) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// RFC 826: a broadcast that asks for `wanted`, padded to the least length of a frame.
pub fn arp_request(mac: [u8; 6], own: Ipv4Addr, wanted: Ipv4Addr) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    frame[14..22].copy_from_slice(&[0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&own.octets());
    frame[38..42].copy_from_slice(&wanted.octets());
    frame
}

/// Whether a frame is the answer of `sender`.
pub fn is_arp_reply(frame: &[u8], sender: Ipv4Addr) -> bool {
    frame.len() >= 42
        && frame[12..14] == [0x08, 0x06]
        && frame[20..22] == [0, 2]
        && frame[28..32] == sender.octets()
}

#[cfg(test)]
mod tests;
