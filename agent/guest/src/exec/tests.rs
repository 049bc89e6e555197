use std::ffi::OsStr;

use super::*;

fn user() -> User {
    let (name, groups) = ("web".to_owned(), Vec::new());
    let (home, shell) = (PathBuf::from("/nowhere/at/all"), PathBuf::from("/bin/sh"));
    User { name, uid: 7, gid: 8, groups, home, shell }
}

fn image() -> ImageConfig {
    let text = r#"{"Env": ["PATH=/app/bin:/bin", "A=image", "B=image", "=x", "NUL=a\u0000b"],
        "WorkingDir": "proc/self", "User": "web"}"#;
    ImageConfig::read(text).expect("it is one")
}

#[test]
fn the_images_variables_stand_over_the_usual_ones_and_below_what_was_asked_for() {
    let mut start = ExecStart::default();
    start.environment.insert("B".to_owned(), "asked".to_owned());
    let all = environment(&user(), &image(), &start);
    let value = |name: &str| all.get(OsStr::new(name)).and_then(|value| value.to_str());
    assert_eq!(value("PATH"), Some("/app/bin:/bin"));
    assert_eq!((value("A"), value("B")), (Some("image"), Some("asked")));
    assert_eq!((value("HOME"), value("NUL"), value("")), (Some("/nowhere/at/all"), None, None));
    let bare = environment(&user(), &ImageConfig::default(), &ExecStart::default());
    assert_eq!(bare.get(OsStr::new("PATH")).and_then(|path| path.to_str()), Some(PATH));
}

#[test]
fn a_program_starts_where_the_image_says_unless_it_was_asked_to_start_elsewhere() {
    let at = |image: &ImageConfig, directory: &str| {
        let start = ExecStart { directory: directory.to_owned(), ..ExecStart::default() };
        directory_of(image, &start)
    };
    fn directory_of(image: &ImageConfig, start: &ExecStart) -> PathBuf {
        directory(&user(), image, start).expect("it is there")
    }
    assert_eq!(at(&image(), ""), Path::new("/proc/self"));
    assert_eq!(at(&image(), "/proc"), Path::new("/proc"));
    assert_eq!(at(&ImageConfig::default(), ""), Path::new("/"));
    let gone = ImageConfig { working_dir: "/not/there".to_owned(), ..ImageConfig::default() };
    assert_eq!(at(&gone, ""), Path::new("/"));
}

#[tokio::test]
async fn a_program_without_a_user_is_run_as_the_images() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("banger")).expect("made");
    std::fs::write(dir.path().join("banger/oci.json"), r#"{"User": "nobody-here"}"#).expect("made");
    let users = Users::of(dir.path().to_owned());
    let run = |user: &str| {
        let command = vec!["/bin/true".to_owned()];
        start(&users, ExecStart { command, user: user.to_owned(), ..ExecStart::default() })
    };
    let error = run("").expect_err("the image's user is not there");
    assert!(error.message().contains("nobody-here"), "{error}");
    let error = run("other").expect_err("nor is the one asked for");
    assert!(error.message().contains("other"), "{error}");
    // What is no configuration keeps nobody out.
    std::fs::write(dir.path().join("banger/oci.json"), "{").expect("written");
    if geteuid().is_root() {
        let mut running = run("").expect("root is always there");
        assert!(running.child.wait().await.expect("it ends").success());
    }
}
