//! A pseudo terminal: pty(7).
//!
//! Driven by [`super::start`]. The program has the one side as its controlling terminal, we read
//! and write the other. What can go wrong: there are none, because devpts is not mounted.

use std::io;
use std::os::fd::OwnedFd;

use banger_proto::v1::TerminalSize;
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;

/// Our side.
#[derive(Debug)]
pub struct Terminal {
    fd: AsyncFd<OwnedFd>,
}

fn size_of(size: &TerminalSize) -> Winsize {
    let bounded = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    Winsize {
        ws_row: bounded(size.rows),
        ws_col: bounded(size.columns),
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Terminal {
    /// Opens one; answers our side and the program's.
    ///
    /// # Errors
    /// The kernel has none to give.
    pub fn open(size: &TerminalSize) -> io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let theirs = ioctl_tiocgptpeer(&ours, flags)?;
        tcsetwinsize(&ours, size_of(size))?;
        rustix::fs::fcntl_setfl(&ours, rustix::fs::OFlags::NONBLOCK)?;
        #[expect(unsafe_code, reason = "tokio can't know that an OwnedFd stays the same file")]
        // SAFETY: it is owned by the AsyncFd from here on and never given away.
        let fd = unsafe { AsyncFd::register(ours)? };
        Ok((Self { fd }, theirs))
    }

    /// Tells the program that its terminal has another size now.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn resize(&self, size: &TerminalSize) -> io::Result<()> {
        Ok(tcsetwinsize(self.fd.get_ref(), size_of(size))?)
    }

    /// Reads what the program wrote; 0: nobody has its side open any more. Cancel-safe.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub async fn read(&self, data: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.fd.readable().await?;
            match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *data)?)) {
                // Linux says so when the last one has closed it.
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                    return Ok(0);
                }
                Ok(done) => return done,
                Err(_would_block) => {}
            }
        }
    }

    /// Types for the program.
    ///
    /// # Errors
    /// Nobody has its side open any more.
    pub async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let mut ready = self.fd.writable().await?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), data)?)) {
                Ok(written) => data = &data[written?..],
                Err(_would_block) => {}
            }
        }
        Ok(())
    }
}
