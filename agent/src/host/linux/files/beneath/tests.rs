//! Files that somebody keeps others from opening, or has lead elsewhere.

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{RenameFlags, renameat_with};

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

/// A VMM that was taken over owns its jail, and may change what is in it between any two steps of
/// who looks: here a file, and the directory of another, are each in turn themselves and a link to
/// what only root may read.
#[test]
fn what_becomes_a_link_while_root_looks_leads_nowhere_else() {
    const EACH: u32 = 2_000;
    let temp = tempfile::tempdir().unwrap();
    let [jails, outside] = ["jails", "outside"].map(|name| temp.path().join(name));
    for dir in [&outside, &jails.join("one"), &jails.join("two/root")] {
        std::fs::create_dir_all(dir).unwrap();
    }
    std::fs::write(outside.join("console"), "secret").unwrap();
    std::fs::write(jails.join("one/console"), "own").unwrap();
    std::fs::write(jails.join("two/root/console"), "own").unwrap();
    symlink(outside.join("console"), jails.join("one/link")).unwrap();
    symlink(&outside, jails.join("two/link")).unwrap();
    let root = Root::open(&jails).unwrap();
    let own = ["one/console", "two/root/console"]
        .map(|path| file_facts(root.open_at(path, OFlags::RDONLY, 0).unwrap()).unwrap().id);

    let ends = AtomicBool::new(false);
    let counts = std::thread::scope(|threads| {
        let swaps = threads.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                for (is, link) in [("one/console", "one/link"), ("two/root", "two/link")] {
                    let [is, link] = [is, link].map(|path| jails.join(path));
                    renameat_with(CWD, &is, CWD, &link, RenameFlags::EXCHANGE).unwrap();
                }
            }
        });
        let mut counts = [[0_u32; 2]; 2];
        let mut wrong = None;
        // Until both were met often, each as itself and as a link.
        while wrong.is_none()
            && !swaps.is_finished()
            && counts.as_flattened().iter().any(|n| *n < EACH)
        {
            for (at, path) in ["one/console", "two/root/console"].into_iter().enumerate() {
                match root.open_at(path, OFlags::RDONLY, 0).map(|file| file_facts(file).unwrap().id)
                {
                    Ok(id) if id == own[at] => counts[at][0] += 1,
                    Err(Errno::LOOP) => counts[at][1] += 1,
                    // Renamed under the kernel's own walk, as often as it is tried.
                    Err(Errno::AGAIN) => {}
                    other => wrong = Some(format!("{path}: {other:?}")),
                }
            }
        }
        ends.store(true, Ordering::Relaxed);
        swaps.join().unwrap();
        assert_eq!(wrong, None, "{counts:?}");
        counts
    });
    assert!(counts.as_flattened().iter().all(|n| *n >= EACH), "{counts:?}");
}
