//! Sets of keys: those that are taken, and those that no provider shows.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;

const ALL: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

fn bytes(count: usize) -> String {
    URL_SAFE_NO_PAD.encode(vec![0xa5; count])
}

fn ec(kid: &str) -> Value {
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": bytes(32), "y": bytes(32)})
}

/// A key with these members in its stead; `null` leaves one out.
fn with(mut key: Value, instead: Value) -> Value {
    let members = key.as_object_mut().expect("an object");
    for (name, value) in instead.as_object().expect("an object") {
        match value {
            Value::Null => drop(members.remove(name)),
            value => drop(members.insert(name.clone(), value.clone())),
        }
    }
    key
}

fn read(keys: Value) -> Result<KeySet, KeysRefused> {
    KeySet::read(json!({ "keys": keys }).to_string().as_bytes(), &ALL)
}

#[test]
fn keys_of_each_kind_are_found_by_name_and_for_their_algorithm_alone() {
    let set = read(json!([
        ec("one"),
        {"kty": "RSA", "kid": "two", "n": bytes(256), "e": "AQAB", "use": "sig"},
        {"kty": "OKP", "crv": "Ed25519", "kid": "three", "x": bytes(32)},
    ]))
    .expect("a set");
    for (name, by) in
        [("one", Algorithm::ES256), ("two", Algorithm::RS256), ("three", Algorithm::EdDSA)]
    {
        assert!(set.find(Some(name), by).is_ok(), "{name}");
        for other in [Algorithm::HS256, Algorithm::HS512, Algorithm::PS256, Algorithm::ES384] {
            assert_eq!(set.find(Some(name), other).expect_err(name), NotVouched::Algorithm);
        }
    }
    // A key for another family is none for this one: no public key is ever a secret.
    assert!(set.find(Some("two"), Algorithm::ES256).is_err());
    assert_eq!(set.find(Some("four"), Algorithm::RS256).expect_err("none"), NotVouched::UnknownKey);
    assert!(set.find(None, Algorithm::RS256).is_err(), "which one is not said");
}

#[test]
fn a_token_that_names_no_key_means_the_only_one() {
    let set = read(json!([with(ec("x"), json!({"kid": null}))])).expect("a set");
    assert!(set.find(None, Algorithm::ES256).is_ok());
    assert!(set.find(Some("x"), Algorithm::ES256).is_err());
}

#[test]
fn keys_for_something_else_are_passed_over_and_a_set_of_them_alone_is_refused() {
    let others = [
        with(ec("enc"), json!({"use": "enc"})),
        with(ec("alg"), json!({"alg": "ECDH-ES"})),
        with(ec("curve"), json!({"crv": "P-521"})),
        with(ec("curve2"), json!({"crv": "secp256k1"})),
        json!({"kty": "AKP", "kid": "new", "alg": "ML-DSA-44", "pub": "AAAA"}),
        json!({"kty": "OKP", "crv": "X25519", "kid": "x", "x": bytes(32)}),
    ];
    for other in &others {
        assert_eq!(
            read(json!([other])).expect_err("nothing is left"),
            KeysRefused::None,
            "{other}"
        );
    }
    let beside: Vec<_> = others.iter().cloned().chain([ec("good")]).collect();
    assert_eq!(read(json!(beside)).expect("one is left").count(), 1);
}

#[test]
fn a_set_that_no_provider_shows_is_refused_as_a_whole() {
    for bad in [
        json!([{"kty": "oct", "kid": "s", "k": "c2VjcmV0"}, ec("good")]),
        json!([with(ec("private"), json!({"d": bytes(32)})), ec("good")]),
        json!([{"kty": "RSA", "kid": "r", "n": bytes(256), "e": "AQAB", "p": "AAAA"}]),
        json!([ec("same"), ec("same")]),
        json!([with(ec("a"), json!({"kid": null})), with(ec("b"), json!({"kid": null}))]),
        json!([with(ec("a"), json!({"kty": 7}))]),
        json!([with(ec("a"), json!({"kty": null}))]),
        json!([with(ec("a"), json!({"kid": 7}))]),
        json!([with(ec("a"), json!({"kid": ""}))]),
        json!([with(ec("a"), json!({"kid": "k".repeat(257)}))]),
        json!([with(ec("a"), json!({"use": ["sig"]}))]),
        json!([with(ec("a"), json!({"alg": {}}))]),
        json!([with(ec("a"), json!({"x": 1}))]),
        json!([with(ec("a"), json!({"x": bytes(31)}))]),
        json!([with(ec("a"), json!({"x": "not base64!"}))]),
        json!([{"kty": "RSA", "kid": "weak", "n": bytes(128), "e": "AQAB"}]),
        json!([{"kty": "RSA", "kid": "huge", "n": bytes(1025), "e": "AQAB"}]),
        json!([{"kty": "RSA", "kid": "e", "n": bytes(256), "e": bytes(9)}]),
        json!([[]]),
        json!(["key"]),
        json!({}),
        json!([]),
        json!(7),
    ] {
        assert!(read(bad.clone()).is_err(), "{bad}");
    }
    let many: Vec<_> = (0..MOST_KEYS + 1).map(|n| ec(&n.to_string())).collect();
    assert_eq!(read(json!(many)).expect_err("too many"), KeysRefused::TooMany(MOST_KEYS + 1));
    for text in ["", "{", "[]", "{\"keys\"", "null", "\u{0}"] {
        assert!(
            matches!(KeySet::read(text.as_bytes(), &ALL), Err(KeysRefused::Malformed(_))),
            "{text}"
        );
    }
    let deep = "[".repeat(100_000);
    assert!(KeySet::read(format!("{{\"keys\": {deep}").as_bytes(), &ALL).is_err());
}

#[test]
fn a_key_is_the_same_by_what_it_is_made_of() {
    let print = |key| read(json!([key])).expect("a set").0[0].print;
    assert_eq!(print(ec("a")), print(with(ec("a"), json!({"use": "sig"}))));
    assert_ne!(print(ec("a")), print(ec("b")));
    let other = with(ec("a"), json!({"x": URL_SAFE_NO_PAD.encode([1; 32])}));
    assert_ne!(print(ec("a")), print(other));
}
