//! Inside a guest, by the `banger` command: programs, files, and VMs for one program.
//!
//! What can go wrong: `banger` itself fails (exit code 125), then the panic has the agent's log.

use std::io::Write as _;
use std::path::Path;

use banger_integration_tests::programs::command;

use super::stage::Stage;

/// How a program in a guest ended and what it wrote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

/// What is expected of one.
pub(crate) fn done(stdout: &str, stderr: &str, code: i32) -> Done {
    Done { stdout: stdout.to_owned(), stderr: stderr.to_owned(), code }
}

impl Stage {
    /// Runs `banger` to its end, however that is, with this as its standard input.
    pub(crate) fn try_banger(&self, args: &[&str], stdin: &[u8]) -> Done {
        let mut input = tempfile::tempfile().expect("a file can be made");
        input.write_all(stdin).expect("it can be written");
        std::io::Seek::rewind(&mut input).expect("it can be read again");
        let output =
            self.command().args(args).stdin(input).output().expect("banger can be started");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let done = Done {
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            code: output.status.code().expect("no signal ended it"),
        };
        assert_ne!(done.code, 125, "banger {args:?}: {done:?}\n---- agent\n{}", self.agent_log());
        done
    }

    /// `banger vm exec`.
    pub(crate) fn exec(&self, vm: &str, program: &[&str]) -> Done {
        self.try_banger(&[&["vm", "exec", vm, "--"], program].concat(), b"")
    }

    /// The same, with its standard input passed on.
    pub(crate) fn exec_with(&self, vm: &str, stdin: &[u8], program: &[&str]) -> Done {
        self.try_banger(&[&["vm", "exec", "-i", vm, "--"], program].concat(), stdin)
    }

    /// `banger vm cp` of a mebibyte to a guest, and of what the guest makes of it back here.
    pub(crate) fn copies_there_and_back(&self, vm: &str) {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let here = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
        // No multiple of any block, no zeros, and nowhere the same.
        let bytes: Vec<u8> =
            (0..262_147_u32).flat_map(|n| (n ^ 0x5bd1_e995).to_le_bytes()).collect();
        std::fs::write(here("sent"), &bytes).expect("it can be written");
        self.banger(&["vm", "cp", &here("sent"), &format!("{vm}:/tmp/there")]);
        let sum = |done: Done| done.stdout.split(' ').next().map(str::to_owned);
        let theirs = sum(self.exec(vm, &["sha256sum", "/tmp/there"])).expect("it says so");
        assert_eq!(theirs, sha256sum(Path::new(&here("sent"))));
        let double =
            "cd /tmp && mkdir -p two && cat there there >two/double && ln -s double two/link";
        assert_eq!(self.exec(vm, &["sh", "-c", double]), done("", "", 0));
        self.banger(&["vm", "cp", &format!("{vm}:/tmp/two"), &here("back")]);
        let back = std::fs::read(here("back/double")).expect("it was copied");
        assert!(back == [&bytes[..], &bytes[..]].concat(), "{} bytes came back", back.len());
        let link = std::fs::read_link(here("back/link")).expect("a link stays one");
        assert_eq!(link, Path::new("double"));
        println!("copied {} bytes there, {} back, sha256 {theirs}", bytes.len(), back.len());
    }
}

fn sha256sum(path: &Path) -> String {
    let output = command(Path::new("sha256sum")).arg(path).output().expect("coreutils are there");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.split(' ').next().unwrap_or_default().to_owned()
}
