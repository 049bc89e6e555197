//! A terminal for the command, read while it is written to: what people see before a command ends.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use banger_fake_server::Running;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// How long anything may take to be shown.
const LIMIT: Duration = Duration::from_secs(60);

/// `banger` and the terminal that it runs on.
pub(crate) struct Screen {
    child: Child,
    ours: File,
    shown: Vec<u8>,
}

impl Screen {
    /// Starts `banger` on a terminal of its own, for its output and its errors.
    pub(crate) fn start(server: &Running, args: &[&str], columns: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).unwrap();
        let open = || OpenOptions::new().read(true).write(true).open(path.to_str().unwrap());
        let (theirs, again) = (open().unwrap(), open().unwrap());
        #[expect(clippy::disallowed_methods, reason = "assert_cmd knows only pipes")]
        let mut command = Command::new(env!("CARGO_BIN_EXE_banger"));
        command.args(args).env_clear().env("HOME", "/nonexistent").env("TERM", "xterm");
        command.env("BANGER_SERVER", server.url());
        let child = command.stdin(Stdio::null()).stdout(theirs).stderr(again).spawn().unwrap();
        Self { child, ours: ours.into(), shown: Vec::new() }
    }

    /// Reads until a line was shown that has these words in this order.
    pub(crate) fn until_line(&mut self, words: &[&str]) {
        let end = Instant::now() + LIMIT;
        while !self.has_line(words) {
            let goes_on = Instant::now() < end && self.read();
            assert!(goes_on, "never {words:?}: {:?}", String::from_utf8_lossy(&self.shown));
        }
    }

    fn has_line(&self, words: &[&str]) -> bool {
        // A line that is written anew begins where it began.
        String::from_utf8_lossy(&self.shown).split(['\r', '\n']).any(|line| {
            let after = |rest: Option<usize>, word: &&str| {
                let from = rest?;
                Some(from + line.get(from..)?.find(*word)? + word.len())
            };
            words.iter().fold(Some(0), after).is_some()
        })
    }

    /// Reads to the end. The exit code, and all that was shown.
    pub(crate) fn end(mut self) -> (Option<i32>, Vec<u8>) {
        while self.read() {}
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.shown))
    }

    /// Reads once; false where nobody has the terminal open any more, which answers with an error.
    fn read(&mut self) -> bool {
        let mut piece = [0; 4096];
        let length = self.ours.read(&mut piece).unwrap_or(0);
        self.shown.extend_from_slice(&piece[..length]);
        length > 0
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It has ended, or the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `banger` wrote on a terminal, where it has to succeed.
pub(crate) fn on_a_terminal(server: &Running, args: &[&str], columns: u16) -> Vec<u8> {
    let (code, shown) = Screen::start(server, args, columns).end();
    assert_eq!(code, Some(0), "{args:?}: {}", String::from_utf8_lossy(&shown));
    shown
}
