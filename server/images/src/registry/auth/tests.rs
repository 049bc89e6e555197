use super::*;

#[test]
fn a_challenge_is_read_with_its_quotes_and_commas() {
    let header = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
    assert_eq!(
        Challenge::parse(header),
        Some(Challenge::Bearer {
            realm: "https://auth.docker.io/token".to_owned(),
            service: Some("registry.docker.io".to_owned()),
            scope: Some("repository:a/b:pull,push".to_owned()),
        })
    );
    assert_eq!(Challenge::parse("Basic realm=\"x\""), Some(Challenge::Basic));
    let bare = Challenge::parse(r#"bearer Realm=here, service="a \"quoted\" one""#);
    let Some(Challenge::Bearer { realm, service, .. }) = bare else { panic!("{bare:?}") };
    assert_eq!((realm.as_str(), service.as_deref()), ("here", Some("a \"quoted\" one")));
    for other in ["", "Negotiate", "Bearer", "Bearer service=\"x\"", "Bearer realm"] {
        assert_eq!(Challenge::parse(other), None, "{other}");
    }
}

#[test]
fn what_goes_into_a_query_is_escaped() {
    assert_eq!(
        Challenge::token_uri("https://x/token?a=1", Some("a&b"), "repository:a/b:pull"),
        "https://x/token?a=1&service=a%26b&scope=repository%3Aa%2Fb%3Apull"
    );
}

#[test]
fn a_password_is_never_shown() {
    let credentials = Credentials { username: "me".to_owned(), password: "secret".to_owned() };
    assert_eq!(basic(&credentials), "Basic bWU6c2VjcmV0");
    assert!(!format!("{credentials:?}").contains("secret"));
}
