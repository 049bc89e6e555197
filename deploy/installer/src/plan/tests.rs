//! What becomes of files, case by case and as a whole.

use super::*;

fn target(path: &str, kind: Kind, content: &str) -> Target {
    let mode = if kind == Kind::Program { 0o755 } else { 0o644 };
    Target { path: PathBuf::from(path), kind, mode, sha256: content.to_owned() }
}

fn file(content: &str) -> Present {
    Present::File { sha256: content.to_owned(), mode: 0o644 }
}

const KINDS: [Kind; 4] = [Kind::Program, Kind::Unit, Kind::Support, Kind::Config];

#[test]
fn what_is_not_there_is_laid_down_and_what_is_no_file_is_refused() {
    for kind in KINDS {
        let target = target("/x", kind, "new");
        assert_eq!(decide(&target, &Present::Absent, None), Action::Lay);
        assert_eq!(decide(&target, &Present::Absent, Some("old")), Action::Lay);
        assert_eq!(decide(&target, &Present::Other, Some("new")), Action::Refuse);
    }
}

#[test]
fn what_was_laid_down_before_and_not_changed_is_replaced() {
    for kind in KINDS {
        let target = target("/x", kind, "new");
        assert_eq!(decide(&target, &file("old"), Some("old")), Action::Replace);
    }
}

#[test]
fn changed_configuration_is_never_overwritten() {
    let target = target("/etc/x.toml", Kind::Config, "new");
    for before in [None, Some("old")] {
        let action = decide(&target, &file("theirs"), before);
        assert_eq!(action, Action::KeepBeside(PathBuf::from("/etc/x.toml.new")));
    }
    // The default is the one they started from: there is nothing to tell.
    assert_eq!(decide(&target, &file("theirs"), Some("new")), Action::Keep);
    // Fewer people may read it: theirs as well.
    let private = Present::File { sha256: "new".to_owned(), mode: 0o600 };
    assert_eq!(decide(&target, &private, Some("new")), Action::Same);
}

#[test]
fn a_changed_unit_is_replaced_and_not_lost() {
    let target = target("/etc/x.service", Kind::Unit, "new");
    let action = decide(&target, &file("theirs"), Some("old"));
    assert_eq!(action, Action::ReplaceKeeping(PathBuf::from("/etc/x.service.old")));
}

#[test]
fn a_program_that_may_not_be_run_is_laid_down_again() {
    let target = target("/usr/local/bin/banger", Kind::Program, "new");
    assert_eq!(decide(&target, &file("new"), Some("new")), Action::Replace);
}

#[test]
fn a_second_run_finds_nothing_to_do() {
    let targets = KINDS.map(|kind| target(&format!("/{kind:?}"), kind, "new"));
    let record = Record::new("1", &[]);
    let first = plan(&targets, &BTreeMap::new(), &record);
    assert!(first.iter().all(Line::changes));
    let record = remember(&first, record, &Record::default());
    let present = targets
        .iter()
        .map(|t| (t.path.clone(), Present::File { sha256: t.sha256.clone(), mode: t.mode }))
        .collect();
    let second = plan(&targets, &present, &record);
    assert!(!second.iter().any(Line::changes), "{second:#?}");
    assert_eq!(remember(&second, Record::new("1", &[]), &record).files, record.files);
}

#[test]
fn a_plan_of_a_machine_with_a_history_reads_like_this() {
    let targets = [
        target("/usr/local/bin/banger", Kind::Program, "b2"),
        target("/etc/systemd/system/banger-agent.service", Kind::Unit, "u2"),
        target("/etc/systemd/system/banger-guests.slice", Kind::Unit, "s1"),
        target("/etc/sysctl.d/60-banger.conf", Kind::Support, "k2"),
        target("/etc/banger/agent.toml", Kind::Config, "c2"),
        target("/etc/banger/server.toml", Kind::Config, "d1"),
        target("/usr/lib/tmpfiles.d/banger.conf", Kind::Support, "t2"),
    ];
    let mut record = Record::new("1", &[]);
    for (path, content) in [
        ("/usr/local/bin/banger", "b1"),
        ("/etc/systemd/system/banger-agent.service", "u1"),
        ("/etc/systemd/system/banger-guests.slice", "s1"),
        ("/etc/systemd/system/banger-extra.service", "e1"),
        ("/etc/systemd/system/banger-mine.service", "m1"),
        ("/etc/sysctl.d/60-banger.conf", "k1"),
        ("/etc/banger/agent.toml", "c1"),
        ("/etc/banger/server.toml", "d1"),
    ] {
        record.files.insert(PathBuf::from(path), content.to_owned());
    }
    let mut present = BTreeMap::new();
    for (path, content) in [
        ("/usr/local/bin/banger", "b1"),
        ("/etc/systemd/system/banger-agent.service", "mine"),
        ("/etc/systemd/system/banger-guests.slice", "s1"),
        ("/etc/systemd/system/banger-extra.service", "e1"),
        ("/etc/systemd/system/banger-mine.service", "mine"),
        ("/etc/banger/agent.toml", "mine"),
        ("/etc/banger/server.toml", "mine"),
    ] {
        present.insert(PathBuf::from(path), file(content));
    }
    present.insert(PathBuf::from("/usr/lib/tmpfiles.d/banger.conf"), Present::Other);
    let lines = plan(&targets, &present, &record);
    let text: String = lines.iter().map(|line| line.text() + "\n").collect();
    insta::assert_snapshot!(text, @r"
    replace   /usr/local/bin/banger
    replace   /etc/systemd/system/banger-agent.service (it was changed: kept as /etc/systemd/system/banger-agent.service.old)
    same      /etc/systemd/system/banger-guests.slice
    new       /etc/sysctl.d/60-banger.conf
    keep      /etc/banger/agent.toml (it was changed; the new default is /etc/banger/agent.toml.new)
    keep      /etc/banger/server.toml (it was changed)
    refuse    /usr/lib/tmpfiles.d/banger.conf (it is no regular file)
    remove    /etc/systemd/system/banger-extra.service (this release has none)
    ");
}
