//! Whom the server believes a provider, for how long, and by which keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use banger_integration_tests::provider::sign::Way;
use banger_integration_tests::provider::{Keys, Provider};
use banger_integration_tests::wait::until;
use banger_proto::v1;
use banger_proto::v1::audit_service_client::AuditServiceClient;
use banger_proto::v1::project_service_client::ProjectServiceClient;
use banger_server::config::OidcConfig;
use banger_server::oidc;
use jiff::Timestamp;
use serde_json::json;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::stage::{Stage, by, now};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_a_provider_has_signed_says_who_calls_and_the_audit_says_it_too() {
    let stage = Stage::with("").await;
    let (admin, developer) = (stage.token("platform"), stage.token("shop"));
    let who = stage.who(&admin).await.expect("she is known");
    let issuer = stage.provider.issuer();
    assert_eq!(who.principal, format!("{issuer}#ann"));
    assert_eq!((who.role(), &*who.project, &*who.issuer), (v1::Role::Admin, "", &*issuer));
    assert!(who.token_id.starts_with("jwt_") && who.token_id.len() == 20, "{}", who.token_id);
    assert!(who.expire_time.is_some());

    let mut projects = ProjectServiceClient::new(stage.fleet.channel());
    let shop = v1::CreateProjectRequest { name: "shop".to_owned(), ..Default::default() };
    projects.create_project(by(&admin, shop.clone())).await.expect("an admin may");
    let refused = projects.create_project(by(&developer, shop)).await.expect_err("she may not");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    let who_else = stage.who(&developer).await.expect("she is known");
    assert_eq!((who_else.role(), &*who_else.project), (v1::Role::Developer, "shop"));

    let list = v1::ListAuditRequest { method: "CreateProject".to_owned(), ..Default::default() };
    let mut audit = AuditServiceClient::new(stage.fleet.channel());
    let records = until("both are recorded", || async {
        let listed = audit.clone().list_audit(by(&admin, list.clone())).await;
        let records = listed.map_err(|error| error.to_string())?.into_inner().records;
        if records.len() == 2 { Ok(records) } else { Err(format!("{records:?}")) }
    })
    .await;
    let done = records.iter().find(|record| record.step() == v1::AuditStep::Done).expect("done");
    assert_eq!((&done.principal, &done.token_id), (&who.principal, &who.token_id));
    let denied = records.iter().find(|record| record.step() == v1::AuditStep::Refused);
    assert_eq!(denied.expect("refused").token_id, who_else.token_id);
    let text = format!("{:?}", audit.list_audit(by(&admin, list)).await.expect("listed"));
    assert!(!text.contains(&admin[..40]), "a token is in the audit");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_shows_no_token_or_one_that_is_no_good_is_refused_on_loopback_too() {
    let stage = Stage::with("max_token_hours = 1").await;
    let nobody = stage.tokens().who_am_i(v1::WhoAmIRequest {}).await.expect_err("nobody");
    assert_eq!(nobody.code(), Code::Unauthenticated);
    for (claims, why) in [
        (json!({"aud": "other"}), "not for this server"),
        (json!({"iss": "https://evil.example"}), "of another provider"),
        (json!({"exp": now() - 31}), "has expired"),
        (json!({"nbf": now() + 120}), "not good yet"),
        (json!({"exp": now() + 7200}), "more than 1 hours"),
        (json!({"exp": null}), "until when"),
        (json!({"sub": "banger-server"}), "name of banger's own"),
        (json!({"groups": ["others"]}), "has no role here"),
    ] {
        let mut with_group = json!({"groups": ["platform"]});
        let all = with_group.as_object_mut().expect("an object");
        all.extend(claims.as_object().expect("an object").clone());
        let refused = stage.refused(&stage.token_with(&with_group)).await;
        assert!(refused.contains(why), "{claims}: {refused}");
    }
    let good = stage.token("platform");
    let (head, signature) = good.rsplit_once('.').expect("dots");
    let (header, _) = head.split_once('.').expect("dots");
    let other = stage.token("shop");
    let claims = other.split('.').nth(1).expect("dots");
    assert!(stage.refused(&format!("{header}.{claims}.{signature}")).await.contains("signature"));
    assert!(stage.who(&good).await.is_ok(), "it was good all the time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_within_a_second_of_its_token_and_of_the_skew() {
    let stage = Stage::with("skew_secs = 1").await;
    let ends = now() + 4;
    let token = stage.token_with(&json!({"groups": ["platform"], "exp": ends}));
    let watch = by(&token, v1::WatchVmsRequest::default());
    let mut stream = stage.fleet.vms().watch_vms(watch).await.expect("let in").into_inner();
    let ended = loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(status)) => break status,
            None => panic!("it ended as if all were well"),
        }
    };
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended:?}");
    let late = now() - (ends + 1);
    assert!((0..=2).contains(&late), "{late} s after it");
    assert!(stage.refused(&token).await.contains("expired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_new_is_read_at_once_and_one_that_is_gone_ends_what_went_by_it() {
    let stage = Stage::with("").await;
    let old = stage.token("platform");
    let watch = by(&old, v1::WatchVmsRequest::default());
    let mut stream = stage.fleet.vms().watch_vms(watch).await.expect("let in").into_inner();
    let read = stage.provider.asked("keys");
    stage.provider.rotate(Way::Es256, "key-2");
    // Its first call waits for the keys, and is let in.
    until("the new key is known", || async { stage.who(&stage.token("platform")).await.map(drop) })
        .await;
    assert_eq!(stage.provider.asked("keys"), read + 1, "they were read once");
    let begun = Instant::now();
    let ended = loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(status)) => break status,
            None => panic!("it ended as if all were well"),
        }
    };
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(stage.refused(&old).await.contains("does not show"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_by_keys_that_nobody_knows_ask_the_provider_rarely() {
    let stage = Stage::with("").await;
    assert!(stage.who(&stage.token("platform")).await.is_ok());
    let read = stage.provider.asked("keys");
    let header = json!({"kid": "nobody-has-it"});
    let begun = Instant::now();
    let forger = banger_integration_tests::provider::sign::Signer::new(Way::EdDsa, "forged");
    for _ in 0..50 {
        let forged = forger.signed(&header, &json!({"iss": stage.provider.issuer()}));
        assert!(stage.refused(&forged).await.contains("does not show"));
    }
    // One each five seconds, and the first.
    let most = 2 + u32::try_from(begun.elapsed().as_secs() / 5).expect("small");
    let asked = stage.provider.asked("keys") - read;
    assert!((1..=most).contains(&asked), "{asked} times, at most {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_while_the_provider_is_away_and_believes_it_once_it_is_there() {
    let mut stage = Stage::with("").await;
    let token = stage.token("platform");
    stage.fleet.stop_server();
    stage.provider.stop().await;
    stage.fleet.start_server().await;
    let refused = stage.refused(&token).await;
    assert!(refused.contains("are not known now"), "{refused}");
    stage.provider.start_again().await;
    until("the keys are read", || async { stage.who(&token).await.map(drop) }).await;
    // Away again: what was read holds, for tokens that were never shown before, too.
    stage.provider.stop().await;
    let other = stage.token_with(&json!({"groups": ["platform"], "sub": "bob"}));
    assert!(stage.who(&other).await.is_ok());
}

/// A set of keys that no provider shows.
fn hostile() -> Vec<(&'static str, Keys, &'static str)> {
    let ec = |kid: String| json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": X, "y": X});
    const X: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let answer = |keys: serde_json::Value| Keys::Answer(200, json!({ "keys": keys }).to_string());
    let many: Vec<_> = (0..1000).map(|n| ec(n.to_string())).collect();
    let rest = json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0"});
    vec![
        ("endless", Keys::Endless, "more than"),
        ("huge", Keys::Answer(200, " ".repeat(300 << 10)), "more than"),
        ("mute", Keys::Mute, "did not answer"),
        ("thousands", answer(json!(many)), "has 1000 keys"),
        ("symmetric", answer(json!([rest])), "has a secret"),
        ("the same name", answer(json!([ec("a".into()), ec("a".into())])), "same name"),
        ("wrong types", answer(json!([{"kty": 1}])), "kty that is no text"),
        ("no list", Keys::Answer(200, "{\"keys\": {}}".to_owned()), "no JSON Web Key Set"),
        ("no JSON", Keys::Answer(200, "<html>".to_owned()), "no JSON Web Key Set"),
        ("none", answer(json!([])), "no key that can be gone by"),
        ("an error", Keys::Answer(500, String::new()), "answers 500"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_no_provider_shows_change_nothing_and_what_was_shown_before_holds() {
    let pages = Provider::start().await;
    let config: OidcConfig = toml::from_str(&format!(
        "issuer = \"{}\"\naudience = \"banger-cli\"\n[[grants]]\nclaim = \"sub\"\nvalue = \"ann\"\n\
         role = \"viewer\"",
        pages.issuer()
    ))
    .expect("a configuration");
    let provider = Arc::new(oidc::Provider::new(&config, None, None).expect("a provider"));
    let read = async |what: &str, done: &(dyn Fn() -> bool + Sync)| {
        let stop = CancellationToken::new();
        let reading = tokio::spawn(oidc::refresh::run(Arc::clone(&provider), stop.clone()));
        until(what, || async {
            if done() { Ok(()) } else { Err(format!("{:?}", provider.trouble())) }
        })
        .await;
        stop.cancel();
        reading.await.expect("it ends");
    };
    let good = || {
        let at = Timestamp::from_second(now()).expect("in range");
        provider.vouch(&pages.token(now(), &json!({})), at).is_ok()
    };
    read("the keys are read", &good).await;
    for (name, keys, why) in hostile() {
        pages.show(keys);
        let refused = || provider.trouble().is_some_and(|trouble| trouble.contains(why));
        read(name, &refused).await;
        assert!(good(), "{name}: what was shown before holds");
    }
    pages.show(Keys::Good);
    read("the keys are read again", &|| provider.trouble().is_none()).await;
    assert!(good());
}
