//! Names and passwords as Docker keeps them: `config.json`, and the programs it names for them.
//!
//! Driven by a pull whose operator has set [`crate::Registries::docker_config`]. The file is the
//! operator's, and so is the program; its name is checked, its answer and its time are bounded.
//! What can go wrong: the file is no secret as others are ([`secrets`]), or it or the program's
//! answer can't be read, which ends the import: to ask
//! anonymously instead would only be refused in a way that misleads.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use banger_wire::secrets::{self, Owners};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Cause;
use crate::Credentials;

const MOST_ANSWER_BYTES: u64 = 64 << 10;

/// A program may have to ask a service of its own.
const PATIENCE: Duration = Duration::from_secs(20);

/// How Docker Hub is called there.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: HashMap<String, Auth>,
    cred_helpers: HashMap<String, String>,
    creds_store: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
}

/// What a helper answers (docker-credential-helpers, "get").
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// The name and password for a registry; `None` where the file has none.
pub(super) async fn credentials(
    config: &Path,
    registry: &str,
) -> Result<Option<Credentials>, Cause> {
    credentials_by(config, registry, None).await
}

/// The same, with helpers of this directory alone, where one is named.
async fn credentials_by(
    config: &Path,
    registry: &str,
    helpers: Option<&Path>,
) -> Result<Option<Credentials>, Cause> {
    let path = config.to_owned();
    let config = tokio::task::spawn_blocking(move || read(&path, Owners::Ours)).await??;
    let names = names_of(registry);
    let helper = names.iter().find_map(|name| config.cred_helpers.get(*name));
    let store = Some(&config.creds_store).filter(|store| !store.is_empty());
    if let Some(helper) = helper.or(store) {
        return ask(helper, names[0], helpers).await;
    }
    from_file(&config, &names)
}

fn read(path: &Path, owners: Owners) -> Result<Config, Cause> {
    Ok(serde_json::from_slice(&secrets::read_of(path, owners)?)?)
}

/// Whether passwords can be taken from this file of Docker's. Asks no program that it names.
///
/// # Errors
/// It can't be read, is no `config.json`, or is not kept as a secret is: see [`secrets::read_of`].
pub fn check_docker_config(path: &Path, owners: Owners) -> Result<(), Cause> {
    read(path, owners).map(drop)
}

/// What a registry may be called there.
fn names_of(registry: &str) -> Vec<&str> {
    match registry {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => {
            vec![DOCKER_HUB, "index.docker.io", "docker.io"]
        }
        other => vec![other],
    }
}

fn from_file(config: &Config, names: &[&str]) -> Result<Option<Credentials>, Cause> {
    // A key may be an address with a path.
    let host = |key: &str| {
        let key = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
        key.split('/').next().unwrap_or_default().to_owned()
    };
    let is_it =
        |key: &str| names.iter().any(|name| key == *name || host(key).eq_ignore_ascii_case(name));
    let Some(auth) = config.auths.iter().find(|(key, _)| is_it(key)).map(|(_, auth)| auth) else {
        return Ok(None);
    };
    if auth.auth.is_empty() {
        let Auth { username, password, .. } = auth;
        let given = !username.is_empty();
        return Ok(
            given.then(|| Credentials { username: username.clone(), password: password.clone() })
        );
    }
    let pair = String::from_utf8(STANDARD.decode(auth.auth.trim())?)?;
    let (username, password) = pair.split_once(':').ok_or("an auth without a colon")?;
    let (username, password) = (username.to_owned(), password.trim_end_matches('\0').to_owned());
    Ok(Some(Credentials { username, password }))
}

async fn ask(
    helper: &str,
    registry: &str,
    helpers: Option<&Path>,
) -> Result<Option<Credentials>, Cause> {
    if helper.is_empty()
        || !helper.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    {
        return Err(format!("{helper:?} is no name of a credential helper").into());
    }
    let program = format!("docker-credential-{helper}");
    let path = helpers.map_or_else(|| program.clone().into(), |helpers| helpers.join(&program));
    let answer = tokio::time::timeout(PATIENCE, run(&path, registry)).await;
    let (good, answer) = answer
        .map_err(|_| format!("{program} did not answer in {} seconds", PATIENCE.as_secs()))?
        .map_err(|error| format!("{program} could not be asked: {error}"))?;
    if !good {
        let said = String::from_utf8_lossy(&answer);
        // So say all of them when they have nothing.
        return match said.contains("credentials not found") {
            true => Ok(None),
            false => {
                let said: String = said.chars().take(200).collect();
                Err(format!("{program} answered: {said:?}").into())
            }
        };
    }
    // Its text is never shown: it has the secret in it.
    let answer: HelperAnswer = serde_json::from_slice(&answer)
        .map_err(|_| format!("{program} did not answer as credential helpers do"))?;
    match &*answer.username {
        "<token>" => {
            Err(format!("{program} gives an identity token, which is not known here").into())
        }
        _ => Ok(Some(Credentials { username: answer.username, password: answer.secret })),
    }
}

async fn run(program: &Path, registry: &str) -> std::io::Result<(bool, Vec<u8>)> {
    #[expect(clippy::disallowed_methods, reason = "the operator's credential helper is asked")]
    let mut child = tokio::process::Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that needs no question may not read it.
        let _ = stdin.write_all(format!("{registry}\n").as_bytes()).await;
    }
    let mut answer = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MOST_ANSWER_BYTES).read_to_end(&mut answer).await?;
    }
    Ok((child.wait().await?.success(), answer))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    async fn of(text: &str, registry: &str) -> Result<Option<Credentials>, Cause> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config.json");
        std::fs::write(&path, text).expect("it can be written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
        credentials(&path, registry).await
    }

    #[tokio::test]
    async fn passwords_that_others_may_read_are_refused_and_a_fifo_hangs_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = dir.path().join("open");
        std::fs::write(&open, "{}").expect("it can be written");
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o666)).expect("set");
        let fifo = dir.path().join("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).expect("a FIFO");
        for (path, why) in [(open, "chmod 600"), (fifo, "a FIFO")] {
            let asked = credentials(&path, "docker.io").await.expect_err("it is refused");
            let checked =
                check_docker_config(&path, Owners::AnyForRoot).expect_err("it is refused");
            assert!(asked.to_string().contains(why), "{asked}");
            assert!(checked.to_string().contains(why), "{checked}");
        }
    }

    fn user(found: Result<Option<Credentials>, Cause>) -> Option<(String, String)> {
        found.expect("it can be read").map(|both| (both.username, both.password))
    }

    #[tokio::test]
    async fn a_name_and_a_password_are_found_however_the_registry_is_written() {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6c2VjcmV0"},
            "registry.example:5000":{"username":"a","password":"b"},
            "https://other.example/v2/":{"auth":"eDp5Onp6"},"empty.example":{}}}"#;
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(user(of(text, "docker.io").await), pair("me", "secret"));
        assert_eq!(user(of(text, "registry.example:5000").await), pair("a", "b"));
        assert_eq!(user(of(text, "other.example").await), pair("x", "y:zz"));
        assert_eq!(user(of(text, "registry.example").await), None);
        assert_eq!(user(of(text, "empty.example").await), None);
        assert!(
            of("{", "x").await.is_err()
                && of(r#"{"auths":{"x":{"auth":"?"}}}"#, "x").await.is_err()
        );
    }

    #[tokio::test]
    async fn the_helper_of_a_registry_is_the_one_that_is_asked_and_its_answer_is_used() {
        let dir = tempfile::tempdir().expect("a directory");
        for helper in ["one", "all"] {
            let path = dir.path().join(format!("docker-credential-{helper}"));
            let text = format!(
                "#!/bin/sh\n[ \"$1\" = get ] || exit 1\nread asked\n\
                 echo \"{{\\\"Username\\\":\\\"{helper}\\\",\\\"Secret\\\":\\\"for $asked\\\"}}\"\n"
            );
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
        }
        let config = dir.path().join("config.json");
        let text = r#"{"credHelpers":{"registry.example":"one"},"credsStore":"all",
            "auths":{"registry.example":{"auth":"bWU6c2VjcmV0"}}}"#;
        std::fs::write(&config, text).expect("written");
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).expect("set");
        for (registry, name, secret) in [
            ("registry.example", "one", "for registry.example"),
            ("other.example", "all", "for other.example"),
            ("docker.io", "all", &*format!("for {DOCKER_HUB}")),
        ] {
            let found = credentials_by(&config, registry, Some(dir.path())).await;
            assert_eq!(user(found), Some((name.to_owned(), secret.to_owned())), "{registry}");
        }
    }

    #[tokio::test]
    async fn a_helper_is_asked_by_its_name_alone_and_never_keeps_waiting() {
        let dir = tempfile::tempdir().expect("a directory");
        let program = |text: &str| {
            let path = dir.path().join("helper");
            std::fs::write(&path, format!("#!/bin/sh\nread asked\n{text}\n")).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
            path
        };
        let good = program(r#"echo "{\"Username\":\"$asked\",\"Secret\":\"s\"}""#);
        let (ok, answer) = run(&good, "registry.example").await.expect("it runs");
        assert!(ok && String::from_utf8_lossy(&answer).contains("registry.example"));
        let endless = program("yes");
        let answer = run(&endless, "x").await.expect("it runs");
        assert_eq!(answer.1.len() as u64, MOST_ANSWER_BYTES);
        for name in ["../../bin/sh", "a b", "", "x;id"] {
            let text = serde_json::json!({"credHelpers": {"x": name}}).to_string();
            let error = of(&text, "x").await.expect_err("it is refused");
            assert!(error.to_string().contains("no name of a credential helper"), "{error}");
        }
        let missing = of(r#"{"credsStore":"banger-test-missing"}"#, "x").await;
        assert!(missing.expect_err("there is none").to_string().contains("could not be asked"));
    }
}
