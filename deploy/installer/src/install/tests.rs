//! Installing on machines that are not as an install needs them.

use super::*;
use banger_terminal::args::Format;

use crate::args::{Only, ReleaseDir, RootDir};
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

#[tokio::test]
async fn a_part_that_is_not_to_be_started_is_laid_down_and_enabled_and_nothing_of_it_starts() {
    for (only, unit, other) in [
        (Only::Server, "banger-server.service", "banger-agent"),
        (Only::Agent, "banger-agent.service", "banger-server"),
    ] {
        let fake = Fake::bare();
        let args = InstallArgs {
            only: Some(only),
            from: ReleaseDir { from: Some(fake.release("release 2", "release 2")) },
            anyway: true,
            no_start: true,
            dry_run: false,
            root: RootDir { root: None },
        };
        let outcome = install(&fake, &fake.disk(), Printer::new(Format::Name), args).await;
        outcome.unwrap_or_else(|failure| panic!("{only:?}: {}", failure.message()));
        let calls = fake.state.borrow().calls.clone();
        assert!(calls.contains(&format!("systemctl enable {unit}")), "{calls:#?}");
        let starts = |call: &&String| call.contains(" start ") || call.contains(" restart ");
        assert_eq!(calls.iter().find(starts), None, "{calls:#?}");
        assert!(fake.has(&format!("etc/systemd/system/{unit}")), "{only:?}");
        assert!(!fake.has(&format!("usr/local/bin/{other}")), "{only:?}");
        assert!(!fake.has(&format!("etc/systemd/system/{other}.service")), "{only:?}");
        assert!(!fake.starts(unit), "{only:?}");
    }
}

#[test]
fn an_installed_command_takes_the_other_part_from_the_package_and_any_other_from_where_it_is() {
    let package = tempfile::tempdir().unwrap();
    let installed = Path::new("/usr/local/bin/banger");
    // The guest agent alone is no release.
    std::fs::write(package.path().join("banger-guest"), "").unwrap();
    assert_eq!(crate::beside(installed, package.path()).unwrap(), Path::new("/usr/local/bin"));
    std::fs::write(package.path().join("banger"), "").unwrap();
    assert_eq!(crate::beside(installed, package.path()).unwrap(), package.path());
    let built = Path::new("/src/target/release/banger");
    let of_it = crate::beside(built, package.path()).unwrap();
    assert_eq!(of_it, Path::new("/src/target/release"));
}
