//! Claims about which server, token and CA result.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn lab() -> Contexts {
    let context = |server: &str, token: &str| Context {
        server: server.to_owned(),
        token: Some(token.to_owned()),
        ..Context::default()
    };
    Contexts {
        current: Some("lab".to_owned()),
        contexts: [
            ("lab".to_owned(), context("https://lab.example", "lab-token")),
            ("plain".to_owned(), context("http://192.0.2.1", "plain-token")),
        ]
        .into(),
    }
}

fn has_token(endpoint: &Endpoint) -> bool {
    format!("{endpoint:?}").contains("token: true")
}

#[test]
fn nothing_configured_means_this_machine() {
    let endpoint = Contexts::default().resolve(&Chosen::default()).unwrap();
    assert_eq!(endpoint.server(), "http://127.0.0.1:7070");
}

#[test]
fn the_current_context_is_used_with_its_token() {
    let endpoint = lab().resolve(&Chosen::default()).unwrap();
    assert_eq!(endpoint.server(), "https://lab.example:7070");
    assert!(has_token(&endpoint));
}

#[test]
fn the_token_of_a_context_never_goes_to_a_server_named_by_hand() {
    let chosen = Chosen { server: Some("https://other.example".to_owned()), ..Chosen::default() };
    let endpoint = lab().resolve(&chosen).unwrap();
    assert_eq!(endpoint.server(), "https://other.example:7070");
    assert!(!has_token(&endpoint));
}

#[test]
fn a_context_named_by_hand_wins_over_the_current_one() {
    let chosen = Chosen { context: Some("plain".to_owned()), ..Chosen::default() };
    assert_eq!(lab().resolve(&chosen).unwrap().server(), "http://192.0.2.1:7070");
}

#[test]
fn a_context_that_is_not_there_is_an_error_that_names_those_that_are() {
    let chosen = Chosen { context: Some("moon".to_owned()), ..Chosen::default() };
    let error = lab().resolve(&chosen).unwrap_err();
    assert_eq!(error.to_string(), "there is no context \"moon\"; there are: lab, plain");
}

#[test]
fn a_saved_configuration_reads_back_and_is_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/config.toml");
    assert_eq!(Contexts::load(&path).unwrap(), Contexts::default());
    lab().save(&path).unwrap();
    assert_eq!(Contexts::load(&path).unwrap(), lab());
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_misspelt_key_is_an_error_and_not_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(&path, "[contexts.a]\nserver = \"x\"\ntokn = \"y\"\n").unwrap();
    let error = Contexts::load(&path).unwrap_err();
    assert!(matches!(error, ContextError::Parse { .. }), "{error:?}");
}

#[test]
fn a_token_file_that_others_may_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "\u{feff}0123456789abcdef\n").unwrap();
    let ask = |path: &std::path::Path| {
        let chosen = Chosen { token_file: Some(path.to_owned()), ..Chosen::default() };
        Contexts::default().resolve(&chosen)
    };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(ask(&path), Err(ContextError::Token(_))));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(has_token(&ask(&path).unwrap()));
    assert!(matches!(ask(directory.path()), Err(ContextError::Token(_))));
}

#[test]
fn a_configuration_with_a_token_in_it_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    lab().save(&path).unwrap();
    let mode = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Contexts::load(&path)
    };
    assert!(matches!(mode(0o640), Err(ContextError::Config(SecretError::OpenToOthers { .. }))));
    assert_eq!(mode(0o400).unwrap(), lab());
    // One whose tokens are elsewhere is nobody's secret.
    mode(0o600).unwrap();
    std::fs::write(&path, "[contexts.a]\nserver = 'x'\ntoken_file = '/t'\n").unwrap();
    assert!(mode(0o644).unwrap().contexts.contains_key("a"));
}

#[test]
fn what_is_no_file_is_no_configuration_and_no_ca() {
    let device = std::path::Path::new("/dev/null");
    let error = Contexts::load(device).unwrap_err();
    assert!(matches!(error, ContextError::Config(SecretError::NotAFile { .. })), "{error:?}");
    let chosen = Chosen { ca: Some(device.to_owned()), ..Chosen::default() };
    let error = Contexts::default().resolve(&chosen).unwrap_err();
    let refused =
        EndpointError::ReadCa(SecretError::NotAFile { path: device.to_owned(), kind: "a device" });
    assert_eq!(format!("{error:?}"), format!("{:?}", ContextError::Endpoint(refused)));
}
