//! Signatures by each algorithm, and by everything else; keys that are too old.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("in range")
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn claims() -> Value {
    json!({
        "iss": "https://login.example.org", "aud": "banger", "sub": "ann", "exp": NOW + 600,
        "groups": ["shop"],
    })
}

struct Keys {
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    random: SystemRandom,
}

impl Keys {
    fn new() -> Self {
        let random = SystemRandom::new();
        let way = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = EcdsaKeyPair::generate_pkcs8(way, &random).expect("a key");
        let ec = EcdsaKeyPair::from_pkcs8(way, ec.as_ref(), &random).expect("a key");
        let ed = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        let ed = Ed25519KeyPair::from_pkcs8(ed.as_ref()).expect("a key");
        Self { ec, ed, random }
    }

    fn shown(&self) -> Vec<u8> {
        let point = self.ec.public_key().as_ref();
        let text = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "ec", "x": text(&point[1..33]), "y": text(&point[33..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": text(self.ed.public_key().as_ref())},
        ]})
        .to_string()
        .into_bytes()
    }

    fn signed(&self, header: &Value, claims: &Value, by: &str) -> String {
        let text = format!("{}.{}", part(header), part(claims));
        let signature = match by {
            "ec" => self.ec.sign(&self.random, text.as_bytes()).expect("signed").as_ref().to_vec(),
            "ed" => self.ed.sign(text.as_bytes()).as_ref().to_vec(),
            _ => Vec::new(),
        };
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn config(more: &str) -> OidcConfig {
    let text = format!(
        r#"
        issuer = "https://login.example.org"
        audience = "banger"
        {more}
        [[grants]]
        claim = "groups"
        value = "shop"
        role = "viewer"
        "#
    );
    toml::from_str(&text).expect("a configuration")
}

fn provider(keys: &Keys, more: &str) -> Provider {
    Provider::new(&config(more), None, Some(&keys.shown())).expect("a provider")
}

#[test]
fn a_signature_by_a_key_that_is_shown_is_good_and_no_other() {
    let keys = Keys::new();
    let provider = provider(&keys, "jwks_file = \"/keys\"");
    let vouch = |token: &str| provider.vouch(token, now());
    for (by, alg) in [("ec", "ES256"), ("ed", "EdDSA")] {
        let header = json!({"alg": alg, "kid": by});
        let token = keys.signed(&header, &claims(), by);
        let vouched = vouch(&token).expect("it is good");
        assert_eq!(&*vouched.principal.name, "https://login.example.org#ann");
        assert!(provider.shows(&vouched.key));
        // Another word in it, another signature, none, and a piece of it.
        let other = keys.signed(&header, &json!({"sub": "eve"}), by);
        let mixed: Vec<&str> = other.split('.').take(2).chain(token.split('.').skip(2)).collect();
        assert_eq!(vouch(&mixed.join(".")), Err(NotVouched::Signature));
        let foreign = Keys::new().signed(&header, &claims(), by);
        assert_eq!(vouch(&foreign), Err(NotVouched::Signature));
        assert!(vouch(token.rsplit_once('.').expect("dots").0).is_err());
        assert!(vouch(&format!("{}.", token.rsplit_once('.').expect("dots").0)).is_err());
        assert!(vouch(&token[..token.len() - 4]).is_err());
    }
}

#[test]
fn no_algorithm_but_those_that_are_allowed_is_ever_taken() {
    let keys = Keys::new();
    let provider = provider(&keys, "jwks_file = \"/keys\"\nalgorithms = [\"ES256\"]");
    let point = keys.ec.public_key().as_ref().to_vec();
    for alg in ["none", "None", "NONE", "", "HS256", "HS384", "HS512", "ES384", "RS256", "EdDSA"] {
        for kid in ["ec", "ed"] {
            let header = json!({"alg": alg, "kid": kid});
            for by in ["ec", "ed", "nobody"] {
                let token = keys.signed(&header, &claims(), by);
                assert!(provider.vouch(&token, now()).is_err(), "{alg} {kid} {by}");
            }
            // The public key as the secret of both, which a careless verifier takes.
            let text = format!("{}.{}", part(&header), part(&claims()));
            let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &point);
            let signature = ring::hmac::sign(&secret, text.as_bytes());
            let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature));
            assert!(provider.vouch(&token, now()).is_err(), "{alg} {kid} hmac");
        }
    }
}

#[test]
fn a_key_that_a_token_brings_itself_and_extensions_are_gone_by_nowhere() {
    let keys = Keys::new();
    let provider = provider(&keys, "jwks_file = \"/keys\"");
    let evil = Keys::new();
    let point = evil.ec.public_key().as_ref().to_vec();
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk =
        json!({"kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..])});
    for more in [
        json!({"alg": "ES256", "kid": "ec", "jwk": jwk}),
        json!({"alg": "ES256", "kid": "evil", "jwk": jwk}),
        json!({"alg": "ES256", "jku": "https://evil.example/keys", "kid": "ec"}),
        json!({"alg": "ES256"}),
    ] {
        assert!(provider.vouch(&evil.signed(&more, &claims(), "ec"), now()).is_err(), "{more}");
    }
    for more in [
        json!({"alg": "ES256", "kid": "ec", "crit": ["exp"], "exp": 1}),
        json!({"alg": "ES256", "kid": "ec", "b64": false, "crit": ["b64"]}),
    ] {
        assert!(provider.vouch(&keys.signed(&more, &claims(), "ec"), now()).is_err(), "{more}");
    }
}

#[test]
fn what_is_no_token_is_refused_whatever_it_is() {
    let keys = Keys::new();
    let provider = provider(&keys, "jwks_file = \"/keys\"");
    let deep = URL_SAFE_NO_PAD.encode("[".repeat(5000));
    let long = format!("{}.x.y", "a".repeat(MOST_TOKEN_BYTES));
    for text in ["..", "a.b.c", "....", "e30.e30.e30", &format!("{deep}.{deep}.{deep}"), &long] {
        assert!(provider.vouch(text, now()).is_err(), "{:.20}", text);
    }
    assert_eq!(provider.vouch(&long, now()), Err(NotVouched::TooLong));
    assert!(Provider::may_be_one("a.b.c") && !Provider::may_be_one("bgr_0123"));
}

#[tokio::test(start_paused = true)]
async fn keys_hold_for_the_stated_time_and_then_nobody_is_known_by_them() {
    let keys = Keys::new();
    let provider = provider(&keys, "keys_hold_hours = 1");
    let token = keys.signed(&json!({"alg": "ES256", "kid": "ec"}), &claims(), "ec");
    let print = provider.vouch(&token, now()).expect("it is good").key;
    provider.miss("https://login.example.org/keys answers 500".to_owned());
    tokio::time::advance(Duration::from_secs(3599)).await;
    assert!(provider.vouch(&token, now()).is_ok() && provider.shows(&print));
    tokio::time::advance(Duration::from_secs(2)).await;
    let refused = provider.vouch(&token, now()).expect_err("they are too old").to_string();
    assert!(refused.contains("are not known now") && refused.contains("answers 500"), "{refused}");
    assert!(!provider.shows(&print));
    provider.take(KeySet::read(&keys.shown(), &provider.algorithms).expect("a set"));
    assert!(provider.vouch(&token, now()).is_ok() && provider.shows(&print));
}

#[tokio::test(start_paused = true)]
async fn keys_are_asked_for_again_at_a_bounded_rate_and_whoever_waits_is_not_held() {
    let provider = Arc::new(Provider::new(&config(""), None, None).expect("a provider"));
    let answering = Arc::clone(&provider);
    tokio::spawn(async move {
        answering.tries.send_modify(|tries| *tries += 1);
        loop {
            answering.asked.notified().await;
            answering.tries.send_modify(|tries| *tries += 1);
        }
    });
    assert!(provider.look_again().await, "the first that is read");
    assert!(provider.look_again().await);
    assert!(!provider.look_again().await, "so soon again");
    tokio::time::advance(ASK_AGAIN).await;
    assert!(provider.look_again().await);
    let mute = Provider::new(&config(""), None, None).expect("a provider");
    assert!(!mute.look_again().await, "nobody answers");
    let file = Keys::new();
    let file = self::provider(&file, "jwks_file = \"/keys\"");
    assert!(!file.look_again().await, "nobody is asked");
}
