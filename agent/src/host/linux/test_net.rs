//! A network namespace for one test. Needs root.

use nix::sched::CloneFlags;

/// Runs a test in a network namespace of its own. The thread, the runtime and the runtime's
/// threads are made inside it, so that all of it goes away when the test ends.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    std::thread::spawn(move || {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(test());
    })
    .join()
    .unwrap();
}
