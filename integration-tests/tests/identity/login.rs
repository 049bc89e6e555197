//! `banger login`, with the real command, server and a provider of this test.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use banger_integration_tests::pages::block;
use banger_integration_tests::programs::{command, ours, programs_dir};
use banger_integration_tests::provider::CLIENT;
use banger_integration_tests::wait::until;
use serde_json::json;
use tempfile::TempDir;

use super::stage::Stage;

/// A person with a home directory and a context for the server.
struct Person {
    home: TempDir,
}

impl Person {
    fn of(stage: &Stage) -> Self {
        let person = Self { home: tempfile::tempdir().expect("a directory") };
        let server = format!("http://{}", stage.fleet.api());
        let set = person.run(&["context", "set", "lab", "--use", "--server", &server]);
        assert!(set.status.success(), "{set:?}");
        person
    }

    fn banger(&self, arguments: &[&str]) -> Command {
        let mut banger = command(&ours("banger"));
        banger.args(arguments).env("HOME", self.home.path()).env_remove("XDG_CONFIG_HOME");
        banger
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.banger(arguments).output().expect("banger can be started")
    }

    fn begin(&self, arguments: &[&str]) -> Child {
        let mut banger = self.banger(arguments);
        let begun = banger.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        begun.expect("banger can be started")
    }

    fn config(&self, name: &str) -> PathBuf {
        self.home.path().join(".config/banger").join(name)
    }

    /// Logs in, and a person does this once the provider is asked.
    async fn logs_in(&self, stage: &Stage, decide: impl Fn()) -> Output {
        let login =
            self.begin(&["login", "--issuer", &stage.provider.issuer(), "--client-id", CLIENT]);
        until("somebody logs in", || async {
            if stage.provider.is_asked() { Ok(()) } else { Err("nobody does") }
        })
        .await;
        decide();
        let waited = tokio::task::spawn_blocking(move || login.wait_with_output()).await;
        waited.expect("it is waited for").expect("it ends")
    }
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_once_calls_is_refreshed_and_logs_out() {
    let stage = Stage::with("").await;
    let person = Person::of(&stage);
    stage.provider.tokens_last(62);
    stage.provider.slow_down(1);
    let login =
        person.logs_in(&stage, || stage.provider.approve(&json!({"groups": ["platform"]}))).await;
    let told = said(&login);
    assert!(login.status.success(), "{told}");
    assert!(told.contains("ABCD-EFGH") && told.contains("/activate"), "{told}");
    assert!(login.stdout.is_empty(), "a program reads nothing of it: {told}");

    let file = person.config("login/lab.json");
    assert_eq!((mode(&file), mode(&person.config("login"))), (0o600, 0o700));
    let stored = fs::read_to_string(&file).expect("it is there");
    let config = fs::read_to_string(person.config("config.toml")).expect("it is there");
    assert!(stored.contains("refresh-") && !config.contains("refresh-"), "{config}");

    let who = said(&person.run(&["whoami"]));
    let ann = format!("{}#ann is admin of the whole fleet", stage.provider.issuer());
    assert!(who.starts_with(&ann) && who.contains("jwt_"), "{who}");

    // A token for two seconds more than what is refreshed early: two commands at once refresh it
    // once, since each refresh token is good once.
    until("it is about to expire", || async {
        let (one, other) = (person.begin(&["whoami"]), person.begin(&["whoami"]));
        for running in [one, other] {
            let done = running.wait_with_output().expect("it ends");
            assert!(done.status.success(), "{}", said(&done));
        }
        if stage.provider.asked("refresh") > 0 { Ok(()) } else { Err("not yet") }
    })
    .await;
    assert_ne!(fs::read_to_string(&file).expect("it is there"), stored, "it is another token");
    assert_eq!(mode(&file), 0o600);

    let logout = person.run(&["logout"]);
    assert!(logout.status.success(), "{}", said(&logout));
    assert!(!file.exists());
    let revoked = stage.provider.revoked();
    assert!(revoked.len() == 1 && revoked[0].starts_with("refresh-"), "{revoked:?}");
    let refused = person.run(&["whoami"]);
    assert_eq!(refused.status.code(), Some(9), "{}", said(&refused));
    assert!(said(&refused).contains("run `banger login`"), "{}", said(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_says_to_type_logs_a_person_in() {
    let stage = Stage::with("").await;
    let home = tempfile::tempdir().expect("a directory");
    let settings = home.path().join("server.toml");
    fs::write(&settings, block("docs/OPERATIONS.md", "[auth.oidc]")).expect("there is room");
    let mut check = command(&ours("banger-server"));
    check.arg("check-config").arg("--config").arg(&settings).arg("--state-dir").arg(home.path());
    let checked = check.output().expect("banger-server can be started");
    assert!(checked.status.success(), "{checked:?}");
    let typed = block("docs/OPERATIONS.md", "banger context set work")
        .replace("https://banger.example.org:7070", &format!("http://{}", stage.fleet.api()))
        .replace("https://login.example.org", &stage.provider.issuer());
    let shell = command(Path::new("bash"))
        .args(["-euo", "pipefail", "-c", &typed])
        .env("PATH", format!("{}:/usr/bin:/bin", programs_dir().display()))
        .env("HOME", home.path())
        .env_remove("XDG_CONFIG_HOME")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash can be started");
    until("somebody logs in", || async {
        if stage.provider.is_asked() { Ok(()) } else { Err("nobody does") }
    })
    .await;
    stage.provider.approve(&json!({"groups": ["shop"]}));
    let waited = tokio::task::spawn_blocking(move || shell.wait_with_output()).await;
    let done = waited.expect("it is waited for").expect("it ends");
    assert!(done.status.success(), "{}", said(&done));
    assert!(said(&done).contains("#ann is developer of project shop"), "{}", said(&done));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_denied_or_no_longer_known_is_told_so_and_nothing_is_kept() {
    let stage = Stage::with("").await;
    let person = Person::of(&stage);
    let denied = person.logs_in(&stage, || stage.provider.deny()).await;
    assert_eq!(denied.status.code(), Some(9), "{}", said(&denied));
    assert!(said(&denied).contains("was denied"), "{}", said(&denied));
    assert!(!person.config("login/lab.json").exists());

    stage.provider.tokens_last(1);
    let approved =
        person.logs_in(&stage, || stage.provider.approve(&json!({"groups": ["platform"]}))).await;
    assert!(approved.status.success(), "{}", said(&approved));
    stage.provider.forget_refresh_tokens();
    until("what was given is used up", || async {
        let refused = person.run(&["whoami"]);
        match refused.status.code() {
            Some(9) if said(&refused).contains("run `banger login`") => Ok(()),
            _ => Err(said(&refused)),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_provider_says_steers_no_terminal_and_leads_nobody_astray() {
    let stage = Stage::with("").await;
    let person = Person::of(&stage);
    let page = format!("{}/activate", stage.provider.issuer());
    stage.provider.answer_hostilely("AB\u{1b}]0;owned\u{7}\u{202e}CD", &page);
    let approve = || stage.provider.approve(&json!({"groups": ["platform"]}));
    let login = person.logs_in(&stage, approve).await;
    let told = said(&login);
    assert!(login.status.success() && told.contains("AB") && told.contains("CD"), "{told:?}");
    assert!(!told.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{told:?}");

    for page in
        ["javascript:alert(1)", "http://login.example.org/", "file:///etc/passwd", "x\u{1b}[2J"]
    {
        stage.provider.answer_hostilely("ABCD", page);
        let refused = person.run(&["login"]);
        let told = said(&refused);
        assert!(!refused.status.success(), "{page:?}: {told}");
        assert!(!told.contains('\u{1b}'), "{told:?}");
        stage.provider.deny();
    }
    // What it refuses with, too.
    let other = person.run(&["login", "--client-id", "nobody-knows-me"]);
    let told = said(&other);
    assert!(told.contains("refuses") && told.contains("invalid_client"), "{told}");
    assert!(!told.contains(['\u{1b}', '\u{7}']), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_belongs_to_a_context_and_is_sent_to_no_other_server() {
    let stage = Stage::with("").await;
    let person = Person::of(&stage);
    let nowhere = person.run(&["login", "--server", "http://127.0.0.1:9", "--issuer", "x"]);
    assert_eq!(nowhere.status.code(), Some(2), "{}", said(&nowhere));
    assert!(said(&nowhere).contains("belongs to a context"), "{}", said(&nowhere));
    let approve = || stage.provider.approve(&json!({"groups": ["platform"]}));
    assert!(person.logs_in(&stage, approve).await.status.success());
    let by_hand = person.run(&["whoami", "--server", &format!("http://{}", stage.fleet.api())]);
    assert_eq!(by_hand.status.code(), Some(9), "a server named by hand: {}", said(&by_hand));
    assert!(person.run(&["whoami"]).status.success());
}
