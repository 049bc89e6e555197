//! Installing on machines that are not as an install needs them.

use super::*;
use banger_terminal::args::Format;

use crate::args::{ReleaseDir, RootDir};
use crate::fixtures::Fake;

#[tokio::test]
async fn a_machine_that_systemd_does_not_run_is_told_before_anything_is_made() {
    let fake = Fake::new();
    fake.state.borrow_mut().without_systemd = true;
    let args = InstallArgs {
        only: None,
        from: ReleaseDir { from: Some(fake.release("release 2", "release 2")) },
        anyway: true,
        no_start: false,
        dry_run: false,
        root: RootDir { root: None },
    };
    let failure = install(&fake, &fake.disk(), Printer::new(Format::Name), args).await.unwrap_err();
    assert!(failure.message().contains("--root DIR"), "{}", failure.message());
    assert!(fake.state.borrow().calls.is_empty());
    assert!(!fake.has("var/lib/banger-system") && !fake.has("etc/systemd"));
}
