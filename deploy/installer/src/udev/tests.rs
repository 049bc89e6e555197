use super::*;
use crate::payload;

fn shipped() -> String {
    let own = payload::own();
    own.files.into_iter().find(|file| file.path == Path::new(RULES)).unwrap().text
}

fn lines(directories: &[&str]) -> Vec<String> {
    let directories: Vec<PathBuf> = directories.iter().map(PathBuf::from).collect();
    let text = with_directories(&shipped(), &directories);
    let shipped = shipped();
    let known: Vec<&str> = shipped.lines().collect();
    text.lines().filter(|line| !known.contains(line)).map(str::to_owned).collect()
}

#[test]
fn the_rule_has_a_line_for_each_directory_that_it_does_not_know() {
    assert!(shipped().contains(LOOPS), "the line is the shipped file's");
    assert_eq!(lines(&["/var/lib/banger-agent", "/var/lib/banger-agent/images"]), [""; 0]);
    let line = |pattern: &str| {
        format!(
            "KERNEL==\"loop[0-9]*\", ATTR{{loop/backing_file}}==\"{pattern}\", GOTO=\"banger_disk\""
        )
    };
    assert_eq!(
        lines(&["/srv/guests", "/var/lib/vms/", "/srv/guests", "/var/lib/banger-agent/images"]),
        [line("/srv/guests/*"), line("/var/lib/vms/*")]
    );
    // Nothing ends the value, and nothing means more than itself but any text.
    assert_eq!(
        lines(&["/srv/a b\", RUN+=\"x|[c]?", "no/path"]),
        [line("/srv/a*b*,*RUN+=*x**c**/*")]
    );
}

#[test]
fn an_install_lays_the_rule_down_with_the_directories_of_the_configuration() {
    let root = tempfile::tempdir().unwrap();
    let disk = Disk::below(root.path().to_owned());
    let config = root.path().join("etc/banger");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(
        config.join("agent.toml"),
        "state_dir = \"/data/agent\"\nimage_dir = \"/srv/images\"\n",
    )
    .unwrap();
    let mut release = payload::own();
    fit(&mut release, &disk).unwrap();
    let text = &release.files.iter().find(|file| file.path == Path::new(RULES)).unwrap().text;
    for pattern in ["/data/agent/*", "/srv/images/*", "/var/lib/banger*"] {
        let line = format!("ATTR{{loop/backing_file}}==\"{pattern}\", GOTO=\"banger_disk\"\n");
        assert_eq!(text.matches(&line).count(), 1, "{text}");
    }
    // Before whatever is nobody's.
    let end = text.find("GOTO=\"banger_end\"\n\nLABEL").unwrap();
    assert!(text.find("/srv/images").unwrap() < end, "{text}");
}

/// The kernel shows a loop device's file by its real path, and the first install comes before the
/// agent has made any directory.
#[test]
fn directories_that_are_yet_to_be_made_are_known_by_their_real_paths() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("etc/banger");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::create_dir_all(root.path().join("mnt/disk1")).unwrap();
    std::os::unix::fs::symlink("/mnt/disk1", root.path().join("data")).unwrap();
    std::fs::write(
        config.join("agent.toml"),
        "state_dir = \"/data/banger\"\nimage_dir = \"/srv//vms/../images\"\n",
    )
    .unwrap();
    for disk in [Disk::pretended(root.path().to_owned()), Disk::below(root.path().to_owned())] {
        let mut release = payload::own();
        fit(&mut release, &disk).unwrap();
        let text = &release.files.iter().find(|file| file.path == Path::new(RULES)).unwrap().text;
        for pattern in ["/data/banger/*", "/mnt/disk1/banger/*", "/srv/images/*"] {
            let line = format!("ATTR{{loop/backing_file}}==\"{pattern}\", GOTO");
            assert_eq!(text.matches(&line).count(), 1, "{pattern}: {text}");
        }
    }
}
