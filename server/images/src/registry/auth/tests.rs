use super::*;

fn best(header: &str) -> Option<Challenge> {
    Challenge::best([header].into_iter())
}

#[test]
fn a_challenge_is_read_with_its_quotes_and_commas() {
    let header = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
    assert_eq!(
        best(header),
        Some(Challenge::Bearer {
            realm: "https://auth.docker.io/token".to_owned(),
            service: Some("registry.docker.io".to_owned()),
            scope: Some("repository:a/b:pull,push".to_owned()),
        })
    );
    assert_eq!(best("Basic realm=\"x\""), Some(Challenge::Basic));
    let bare = best(r#"bearer Realm=here, service="a \"quoted\" one""#);
    let Some(Challenge::Bearer { realm, service, .. }) = bare else { panic!("{bare:?}") };
    assert_eq!((realm.as_str(), service.as_deref()), ("here", Some("a \"quoted\" one")));
    for other in ["", "Negotiate", "Bearer", "Bearer service=\"x\"", "Bearer realm"] {
        assert_eq!(best(other), None, "{other}");
    }
}

#[test]
fn a_token_is_preferred_wherever_it_is_offered() {
    let bearer = |found: Option<Challenge>| match found {
        Some(Challenge::Bearer { realm, .. }) => realm,
        other => panic!("{other:?}"),
    };
    let token = r#"Bearer realm="http://x/token",service="reg, the first""#;
    assert_eq!(bearer(best(&format!("Basic realm=\"a, b\", {token}"))), "http://x/token");
    assert_eq!(bearer(best(&format!("{token}, Basic realm=\"x\""))), "http://x/token");
    assert_eq!(bearer(best(&format!("Negotiate, NTLM abc==, {token}"))), "http://x/token");
    let two = ["Basic realm=\"x\"", token];
    assert_eq!(bearer(Challenge::best(two.into_iter())), "http://x/token");
    // A token whose place is not said can't be had.
    assert_eq!(best("Bearer service=\"x\", Basic realm=\"y\""), Some(Challenge::Basic));
    let many = "x,".repeat(100_000);
    assert_eq!(best(&many), None);
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
