//! Files that somebody keeps others from opening.

use std::os::fd::AsRawFd as _;

use super::*;

#[test]
fn a_file_that_somebody_has_a_lease_on_is_an_error_and_no_endless_loop() {
    let temp = tempfile::tempdir().unwrap();
    let root = Root::open(temp.path()).unwrap();
    let holder = std::fs::File::create(temp.path().join("leased")).unwrap();
    // Who has it is asked to give it back by a signal that would end the test.
    let ignore = nix::sys::signal::SigHandler::SigIgn;
    #[expect(unsafe_code, reason = "no crate here wraps leases; ignoring a signal runs no code")]
    // SAFETY: the descriptor is open, and no handler is set.
    let leased = unsafe {
        nix::sys::signal::signal(nix::sys::signal::Signal::SIGIO, ignore).unwrap();
        nix::libc::fcntl(holder.as_raw_fd(), nix::libc::F_SETLEASE, nix::libc::F_WRLCK)
    };
    assert_eq!(leased, 0, "{}", io::Error::last_os_error());
    let opened = root.open_at("leased", OFlags::RDWR | OFlags::NONBLOCK, 0);
    assert_eq!(opened.unwrap_err(), Errno::AGAIN);
    assert!(root.open_at("leased", OFlags::PATH, 0).is_ok());
    drop(holder);
    assert!(root.open_at("leased", OFlags::RDWR | OFlags::NONBLOCK, 0).is_ok());
}

#[test]
fn what_the_kernel_asks_to_try_again_is_tried_so_often_and_no_more() {
    let mut tries = 0;
    let never = some_tries(|| {
        tries += 1;
        Err(Errno::AGAIN)
    });
    assert_eq!((never.unwrap_err(), tries), (Errno::AGAIN, TRIES));
    let mut left = 3;
    let temp = tempfile::tempdir().unwrap();
    let at_last = some_tries(|| {
        left -= 1;
        if left > 0 {
            return Err(Errno::INTR);
        }
        rustix::fs::openat(CWD, temp.path(), OFlags::RDONLY, Mode::empty())
    });
    assert!(at_last.is_ok());
}
