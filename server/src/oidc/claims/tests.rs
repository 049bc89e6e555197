//! What tokens must say, at which times, and what that gives.

use serde_json::json;

use super::*;
use crate::model::caller::{ProjectRole, Role};

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("in range")
}

fn rules(more: &str) -> Rules {
    let text = format!(
        r#"
        issuer = "https://login.example.org"
        audience = "banger"
        {more}
        [[grants]]
        claim = "groups"
        value = "platform"
        role = "operator"
        [[grants]]
        claim = "groups"
        value = "shop"
        role = "developer"
        project = "shop"
        [[grants]]
        claim = "realm_access.roles"
        value = "look"
        role = "viewer"
        "#
    );
    Rules::of(&toml::from_str(&text).expect("a configuration"))
}

/// Good claims with these in their stead; `null` leaves one out.
fn judged(rules: &Rules, instead: Value) -> Result<Vouched, NotVouched> {
    let mut claims = json!({
        "iss": "https://login.example.org", "aud": "banger", "sub": "ann",
        "iat": NOW - 10, "exp": NOW + 600, "groups": ["shop"],
    });
    let Value::Object(claims) = &mut claims else { panic!("an object") };
    for (name, value) in instead.as_object().expect("an object") {
        match value {
            Value::Null => drop(claims.remove(name)),
            value => drop(claims.insert(name.clone(), value.clone())),
        }
    }
    rules.judge(claims, Some("JWT"), now(), [7; 32])
}

fn said(result: Result<Vouched, NotVouched>) -> String {
    result.expect_err("it is nobody's").to_string()
}

#[test]
fn somebody_is_called_by_issuer_and_claim_and_has_the_first_role_that_fits() {
    let rules = rules("");
    let ann = judged(&rules, json!({})).expect("she is known");
    assert_eq!(&*ann.principal.name, "https://login.example.org#ann");
    assert_eq!(ann.principal.rights, rights("developer", Some("shop")).expect("a role"));
    assert_eq!(
        ann.expires_at,
        Timestamp::from_second(NOW + 630).expect("in range"),
        "with the skew"
    );
    let both = judged(&rules, json!({"groups": ["shop", "platform"]})).expect("she is known");
    assert_eq!(both.principal.rights, Rights::Fleet(Role::Operator), "in the order of the rules");
    let one = judged(&rules, json!({"groups": "shop"})).expect("one text will do");
    assert!(matches!(one.principal.rights, Rights::Project(_, ProjectRole::Developer)));
    let inner = json!({"groups": null, "realm_access": {"roles": ["look"]}});
    let inner = judged(&rules, inner).expect("a claim in a claim");
    assert_eq!(inner.principal.rights, Rights::Fleet(Role::Viewer));
}

#[test]
fn whoever_has_no_role_is_nobody_whatever_their_claims_are() {
    let rules = rules("");
    for groups in [
        json!(null),
        json!([]),
        json!("shops"),
        json!(["Shop"]),
        json!({"shop": 1}),
        json!(7),
        json!([["shop"]]),
    ] {
        let refused = said(judged(&rules, json!({"groups": groups})));
        assert!(refused.contains("has no role here"), "{groups}: {refused}");
    }
}

#[test]
fn a_token_of_another_issuer_or_for_another_audience_is_nobodys() {
    let rules = rules("");
    for iss in [
        json!("https://login.example.org/"),
        json!("https://evil.example"),
        json!(null),
        json!(["https://login.example.org"]),
    ] {
        assert!(matches!(judged(&rules, json!({"iss": iss})), Err(NotVouched::Issuer(_))), "{iss}");
    }
    for aud in [
        json!("other"),
        json!(null),
        json!([]),
        json!(["other"]),
        json!({"banger": true}),
        json!(1),
    ] {
        let refused = judged(&rules, json!({"aud": aud}));
        assert!(matches!(refused, Err(NotVouched::Audience(_))), "{aud}");
    }
    assert!(judged(&rules, json!({"aud": ["other", "banger"]})).is_ok());
}

#[test]
fn times_count_with_the_skew_that_is_stated_and_not_a_second_more() {
    let rules = rules("");
    for (instead, good) in [
        (json!({"exp": NOW - 29}), true),
        (json!({"exp": NOW - 30}), false),
        (json!({"nbf": NOW + 30}), true),
        (json!({"nbf": NOW + 31}), false),
        (json!({"iat": NOW + 30}), true),
        (json!({"iat": NOW + 31}), false),
        (json!({"exp": NOW + 24 * 3600}), true),
        (json!({"exp": NOW + 24 * 3600 + 31}), false),
        (json!({"exp": NOW as f64 + 5.5}), true),
        (json!({"exp": null}), false),
        (json!({"exp": "1800000600"}), false),
        (json!({"exp": -1}), false),
        (json!({"exp": 1e300}), false),
        (json!({"nbf": "soon"}), false),
        (json!({"iat": [NOW]}), false),
    ] {
        assert_eq!(judged(&rules, instead.clone()).is_ok(), good, "{instead}");
    }
    let strict = self::rules("skew_secs = 0");
    assert!(
        judged(&strict, json!({"exp": NOW})).is_err()
            && judged(&strict, json!({"exp": NOW + 1})).is_ok()
    );
}

#[test]
fn names_that_look_like_banger_s_own_or_like_others_are_nobodys() {
    let rules = rules("");
    let long = "a".repeat(129);
    for sub in [
        "banger-server",
        "Local",
        "ANONYMOUS",
        "bgr_0123456789abcdef",
        "",
        "a b",
        "a\nb",
        "a#b",
        "\u{430}nn",
        "host b0",
        &*long,
    ] {
        let refused = judged(&rules, json!({"sub": sub}));
        assert!(matches!(refused, Err(NotVouched::Nobody { .. })), "{sub:?}: {refused:?}");
    }
    for sub in [json!(7), json!(null), json!(["ann"])] {
        assert!(
            matches!(judged(&rules, json!({"sub": sub})), Err(NotVouched::Nobody { .. })),
            "{sub}"
        );
    }
    // Whoever is called as a token is, is called otherwise all the same.
    let ann = judged(&rules, json!({"sub": "shop/ann"})).expect("a word").principal.name;
    assert!(crate::model::names::check_name(&ann).is_err(), "{ann} could be a token's");
}

#[test]
fn a_mail_address_counts_only_where_it_is_verified() {
    let rules = rules("principal_claim = \"email\"");
    let with = |verified| json!({"email": "ann@example.org", "email_verified": verified});
    for verified in [json!(null), json!(false), json!("true"), json!(1)] {
        assert!(judged(&rules, with(verified.clone())).is_err(), "{verified}");
    }
    let ann = judged(&rules, with(json!(true))).expect("she is known");
    assert_eq!(&*ann.principal.name, "https://login.example.org#ann@example.org");
}

#[test]
fn a_token_that_says_something_else_than_who_somebody_is_is_nobodys() {
    let rules = rules("");
    let claims = json!({
        "iss": "https://login.example.org", "aud": "banger", "sub": "ann", "exp": NOW + 600,
        "groups": ["shop"],
    });
    let claims = claims.as_object().expect("an object");
    for (kind, good) in
        [(None, true), (Some("at+jwt"), true), (Some("logout+jwt"), false), (Some(""), false)]
    {
        assert_eq!(rules.judge(claims, kind, now(), [0; 32]).is_ok(), good, "{kind:?}");
    }
}
