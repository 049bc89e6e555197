//! Whether it was the emulator that died, and the proof.
//!
//! QEMU's emulation of a processor that virtualizes loses the outer machine now and then, and then
//! no test can tell anything of banger. Such an end is told apart from every failure of banger by
//! what banger cannot do from the user space of a host: reset the machine without a word of its
//! kernel, panic it below KVM, stop its processors, or keep QEMU itself from answering. Everything
//! else (a panic anywhere else, a host out of memory, one that answers slowly) counts as a failure.
//!
//! The verdict is one line of a failed test's output that begins with [`DIED`]; `make test` prints
//! it in its summary and runs that test again with a new host, twice at most.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How the line of a verdict begins; then the test's name and, after a colon, the proof.
pub const DIED: &str = "the emulator died under";

/// For how long a host that is asked again and again has to be silent.
pub const SILENCE: Duration = Duration::from_secs(90);

/// How long the monitor has for an answer, which takes it moments on a machine that is not busy.
pub const ANSWER: Duration = Duration::from_secs(60);

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

/// What QEMU's monitor said of the processors.
pub enum Look {
    /// All their registers.
    Registers(String),
    /// The question was taken and not answered within [`ANSWER`].
    Mute,
    /// It could not be asked.
    Unknown(String),
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registers(said) => f.write_str(said),
            Self::Mute => write!(f, "the monitor took a question and was mute for {ANSWER:?}"),
            Self::Unknown(why) => f.write_str(why),
        }
    }
}

/// Of a host that was silent for [`SILENCE`] while QEMU ran on: what its processors did, by two
/// looks. The monitor asks no processor, so that one that is mute is QEMU standing still, whatever
/// runs in the host. Pure.
#[must_use]
pub fn silent(console: &str, looks: [&Look; 2]) -> Option<String> {
    if out_of_memory(console) || console.contains("Kernel panic") {
        return None;
    }
    let (before, after) = match looks {
        [Look::Registers(before), Look::Registers(after)] => (positions(before), positions(after)),
        [Look::Mute, Look::Mute] => {
            let silence = SILENCE.as_secs();
            let answer = ANSWER.as_secs();
            return Some(format!(
                "silent for {silence} s, and QEMU answers nothing of its processors, twice in {answer} s"
            ));
        }
        _ => return None,
    };
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
pub(super) fn registers(monitor: &Path) -> Look {
    match asked(monitor) {
        Ok(said) if is_whole(&said) => Look::Registers(said),
        Ok(_) => Look::Mute,
        Err(error) => Look::Unknown(format!("the monitor cannot be asked: {error}")),
    }
}

/// What the monitor says within [`ANSWER`]. It does not end: it prompts again once it has said all.
fn asked(monitor: &Path) -> io::Result<String> {
    let mut stream = UnixStream::connect(monitor)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(b"info registers -a\n")?;
    let mut said = String::new();
    let deadline = Instant::now() + ANSWER;
    let mut piece = [0; 16 * 1024];
    while Instant::now() < deadline && !is_whole(&said) {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => said.push_str(&String::from_utf8_lossy(&piece[..read])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(said)
}

fn is_whole(said: &str) -> bool {
    !positions(said).is_empty() && said.trim_end().ends_with("(qemu)")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALTED: &str =
        "CPU#0\r\nRAX=0\r\nRIP=ffffffff81 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n";
    const BUSY: &str =
        "CPU#0\r\nRIP=00007f3311 RFL=00000246 [---Z-P-] CPL=3 II=0 A20=1 SMM=0 HLT=0\r\n";

    fn said(registers: &str) -> Look {
        Look::Registers(registers.to_owned())
    }

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
        assert_eq!(
            silent("oom-kill:constraint=CONSTRAINT_NONE", [&said(HALTED), &said(HALTED)]),
            None
        );
        assert_eq!(silent("oom-kill:constraint=CONSTRAINT_NONE", [&Look::Mute, &Look::Mute]), None);
        let elsewhere = BUSY.replace("3311", "3312");
        assert_eq!(silent("", [&said(BUSY), &said(&elsewhere)]), None, "it is busy");
        assert_eq!(silent("", [&said(""), &said("")]), None, "nothing is known");
        let unknown = || Look::Unknown("no such file".to_owned());
        assert_eq!(silent("", [&unknown(), &unknown()]), None, "nothing is known");
        assert_eq!(silent("", [&Look::Mute, &said(BUSY)]), None, "it was slow");
    }

    #[test]
    fn processors_that_stand_still_are_the_emulators() {
        assert!(
            silent("", [&said(BUSY), &said(HALTED)]).is_some_and(|proof| proof.contains("HLT=1"))
        );
        assert!(silent("", [&said(BUSY), &said(BUSY)]).is_some());
    }

    #[test]
    fn a_monitor_that_takes_a_question_and_gives_no_answer_is_qemu_standing_still() {
        let mute = silent("", [&Look::Mute, &Look::Mute]);
        assert!(mute.is_some_and(|proof| proof.contains("answers nothing")));
        let echo = "QEMU 7.2.22 monitor\r\n(qemu) info registers -a";
        assert!(!is_whole(echo), "the echo of the question is no answer");
        assert!(!is_whole(BUSY), "it may say more");
        assert!(is_whole(&format!("{echo}\r\n{BUSY}(qemu) ")));
    }
}
