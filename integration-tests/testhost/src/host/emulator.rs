//! Whether it was the emulator that died, and the proof.
//!
//! QEMU's emulation of a processor that virtualizes loses the outer machine now and then, and then no
//! test can tell anything of banger. Such an end is told apart from every failure of banger by what
//! banger cannot do from the user space of a host: reset the machine without a word of its kernel,
//! panic it below KVM, or stop its processors. Everything else (a panic anywhere else, a host out of
//! memory, one that answers slowly) counts as a failure.
//!
//! The verdict is one line of a failed test's output that begins with [`DIED`]; `make test` prints it
//! in its summary and runs that test again with a new host, twice at most.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How the line of a verdict begins; then the test's name and, after a colon, the proof.
pub const DIED: &str = "the emulator died under";

/// For how long a host that is asked again and again has to be silent.
pub const SILENCE: Duration = Duration::from_secs(90);

/// How QEMU ended without being asked to, and what was on the console. The proof that the emulator
/// did it, if it is one. Pure.
#[must_use]
pub fn reset(console: &str) -> Option<String> {
    if out_of_memory(console) {
        return None;
    }
    if !console.contains("Kernel panic") {
        return Some("the machine was reset without a word of its kernel".to_owned());
    }
    let below =
        |line: &&str| line.contains("kvm_arch_vcpu_ioctl_run") || line.contains("svm_vcpu_run");
    let line = console.lines().find(below)?;
    Some(format!("its kernel panicked below KVM: {}", line.trim()))
}

/// Of a host that was silent for [`SILENCE`] while QEMU ran on: what its processors did, by two looks.
/// Pure.
#[must_use]
pub fn silent(console: &str, looks: [&str; 2]) -> Option<String> {
    if out_of_memory(console) || console.contains("Kernel panic") {
        return None;
    }
    let [before, after] = looks.map(positions);
    if before.is_empty() {
        return None;
    }
    let halted = after.iter().all(|position| position.contains("HLT=1"));
    let still = before == after;
    (halted || still).then(|| {
        format!(
            "silent for {} s, and its processors stand still: {}",
            SILENCE.as_secs(),
            after.join("; ")
        )
    })
}

fn out_of_memory(console: &str) -> bool {
    console.contains("Out of memory") || console.contains("oom-kill")
}

/// Where each processor is, of the monitor's `info registers -a`.
fn positions(registers: &str) -> Vec<String> {
    let lines = registers.lines().map(str::trim);
    lines.filter(|line| line.starts_with("RIP=")).map(str::to_owned).collect()
}

/// All registers of all processors.
pub(super) fn registers(monitor: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(monitor)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(b"info registers -a\n")?;
    let mut said = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut piece = [0; 16 * 1024];
    // The monitor does not end: it is silent once it has said everything.
    while Instant::now() < deadline {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => said.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALTED: &str =
        "CPU#0\r\nRAX=0\r\nRIP=ffffffff81 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n";
    const BUSY: &str =
        "CPU#0\r\nRIP=00007f3311 RFL=00000246 [---Z-P-] CPL=3 II=0 A20=1 SMM=0 HLT=0\r\n";

    #[test]
    fn a_reset_without_a_word_and_a_panic_below_kvm_are_the_emulators() {
        assert!(reset("guest: ready\n").is_some());
        let below =
            "error_entry\n ? kvm_arch_vcpu_ioctl_run+0x1c1/0x1660\nKernel panic - not syncing";
        assert!(reset(below).is_some_and(|proof| proof.contains("kvm_arch_vcpu_ioctl_run")));
    }

    #[test]
    fn what_banger_could_have_done_is_no_proof() {
        assert_eq!(reset("snapshot_map\nKernel panic - not syncing: Fatal exception"), None);
        assert_eq!(reset("Out of memory: Killed process 77 (banger-agent)"), None);
        assert_eq!(silent("oom-kill:constraint=CONSTRAINT_NONE", [HALTED, HALTED]), None);
        let elsewhere = BUSY.replace("3311", "3312");
        assert_eq!(silent("", [BUSY, &elsewhere]), None, "it is busy");
        assert_eq!(silent("", ["", ""]), None, "nothing is known");
    }

    #[test]
    fn processors_that_stand_still_are_the_emulators() {
        assert!(silent("", [BUSY, HALTED]).is_some_and(|proof| proof.contains("HLT=1")));
        assert!(silent("", [BUSY, BUSY]).is_some());
    }
}
