//! Where a login is kept, and for whom.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;

use super::*;

fn stored() -> Stored {
    Stored {
        issuer: "https://login.example.org".to_owned(),
        client_id: "banger-cli".to_owned(),
        kind: Kind::IdToken,
        token: "a.b.c".to_owned(),
        expires_at: 1000,
        refresh_token: Some("secret-refresh".to_owned()),
        token_endpoint: "https://login.example.org/token".to_owned(),
        revocation_endpoint: None,
    }
}

fn logins() -> (tempfile::TempDir, Logins) {
    let directory = tempfile::tempdir().expect("a directory");
    let logins = Logins::beside(&directory.path().join("config.toml"));
    (directory, logins)
}

#[test]
fn a_login_is_for_its_owner_alone_and_one_that_others_may_read_is_refused() {
    let (directory, logins) = logins();
    assert!(logins.read("lab").expect("nothing is wrong").is_none());
    logins.write("lab", &stored()).expect("written");
    let file = directory.path().join("login/lab.json");
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&directory.path().join("login"))), (0o600, 0o700));
    let read = logins.read("lab").expect("it is ours").expect("it is there");
    assert_eq!((read.token, read.expires_at), ("a.b.c".to_owned(), 1000));
    assert!(!format!("{:?}", stored()).contains("secret"), "it is not shown");
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("it is ours");
    assert!(logins.read("lab").is_err());
}

#[tokio::test]
async fn a_context_that_is_called_as_a_path_has_no_login() {
    let (_directory, logins) = logins();
    for name in ["../lab", "a/b", "", ".", "..", ".hidden", "a b", "a\u{0}b", &"a".repeat(101)] {
        assert!(logins.write(name, &stored()).is_err(), "{name:?}");
        assert!(logins.read(name).is_err() && logins.forget(name).await.is_err(), "{name:?}");
    }
}

#[tokio::test]
async fn a_token_is_used_while_it_is_good_and_for_its_own_provider_alone() {
    let (_directory, logins) = logins();
    logins.write("lab", &stored()).expect("written");
    let login = |issuer, client| Login::with(issuer, client, None).expect("a provider");
    let right = login("https://login.example.org", "banger-cli");
    assert_eq!(logins.token("lab", &right, || 939).await.expect("it is good"), "a.b.c");
    let other = login("https://other.example.org", "banger-cli");
    let client = login("https://login.example.org", "other");
    for wrong in [&other, &client] {
        let refused = logins.token("lab", wrong, || 0).await.expect_err("it is another's");
        assert!(matches!(refused, LoginError::LoggedOut { .. }), "{refused:?}");
    }
    assert!(logins.token("other", &right, || 0).await.is_err());
    assert!(logins.forget("lab").await.expect("removed").is_some());
    assert!(logins.forget("lab").await.expect("it is gone").is_none());
    assert!(logins.token("lab", &right, || 0).await.is_err());
}

#[test]
fn a_token_says_itself_until_when_it_is_good() {
    let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let token = |claims: &str| format!("{}.{}.x", part("{}"), part(claims));
    assert_eq!(expiry(&token("{\"exp\": 1800000000}")), Some(1_800_000_000));
    for odd in ["{}", "{\"exp\": \"soon\"}", "{\"exp\": -1}", "nothing"] {
        assert_eq!(expiry(&token(odd)), None, "{odd}");
    }
    assert_eq!(expiry("nothing"), None);
    let given = Given {
        id_token: Some("opaque".to_owned()),
        access_token: None,
        refresh_token: None,
        expires_in: Some(60.0),
    };
    let fresh = stored().with(given, 5000).expect("it has one");
    assert_eq!(fresh.expires_at(), 5060);
    assert_eq!(fresh.refresh_token.as_deref(), Some("secret-refresh"), "the same again");
}
