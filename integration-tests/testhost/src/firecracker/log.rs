//! The stand-in's log: standard output until a file is configured, as with the real one.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;
use nix::time::{ClockId, clock_gettime};

/// Where lines go.
#[derive(Debug)]
pub struct Log {
    id: String,
    file: Option<File>,
}

impl Log {
    /// To standard output.
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned(), file: None }
    }

    /// From now on to this file.
    ///
    /// # Errors
    ///
    /// Opening it, creating it where it is missing.
    pub fn open(&mut self, path: &Path) -> io::Result<()> {
        self.file = Some(open_output(path)?);
        Ok(())
    }

    /// Writes a line. A log that cannot be written stops nothing.
    pub fn line(&mut self, text: &str) {
        let text = format!("{} [{}:main] {text}\n", now_ms(), self.id);
        let written = match &mut self.file {
            Some(file) => append(file, text.as_bytes()),
            None => io::stdout().write_all(text.as_bytes()),
        };
        drop(written);
    }
}

/// Milliseconds since 1970, for log and metrics lines.
pub fn now_ms() -> i64 {
    clock_gettime(ClockId::CLOCK_REALTIME)
        .map_or(0, |time| time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000)
}

/// Opens a log, metrics or console file as the real one does.
///
/// # Errors
///
/// The kernel's.
pub fn open_output(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

/// Adds to the end; a pipe has none and just takes it.
pub(crate) fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let _ = file.seek(SeekFrom::End(0));
    file.write_all(bytes)
}
