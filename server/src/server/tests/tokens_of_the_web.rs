//! Tokens that are good no longer, or never were, over gRPC-Web: in a call, and on a stream under
//! way.

use banger_proto::v1::project_service_client::ProjectServiceClient;
use banger_proto::v1::token_service_client::TokenServiceClient;
use jiff::SignedDuration;
use prost::Message as _;

use super::projects::{ROOT, Stage, by, stage_at};
use super::*;
use crate::clock::ManualClock;
use crate::config::LimitsConfig;
use crate::model::fixtures::at;

const LIST: &str = "/banger.v1.VmService/ListVms";
const WATCH: &str = "/banger.v1.VmService/WatchVms";

/// What a browser reads of a call with this `authorization`, once it has ended.
async fn call(address: SocketAddr, path: &str, authorization: &str) -> String {
    let headers =
        format!("content-type: application/grpc-web+proto\r\nauthorization: {authorization}\r\n");
    // An empty message in gRPC's frame.
    post(address, path, &headers, &[0; 5]).await
}

fn is_refused(answer: &str, code: Code) -> bool {
    let status = format!("grpc-status:{}", code as i32);
    answer.starts_with("HTTP/1.1 200") && answer.replace(": ", ":").contains(&status)
}

async fn made(stage: &Stage, name: &str) -> String {
    let request = v1::CreateTokenRequest {
        name: name.to_owned(),
        role: v1::Role::Developer.into(),
        project: "shop".to_owned(),
        ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    };
    let mut tokens = TokenServiceClient::new(stage.channel.clone());
    tokens.create_token(by(ROOT, request)).await.expect("made").into_inner().secret
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc_web_too_a_token_that_is_good_no_longer_ends_its_streams_and_calls() {
    let clock = Arc::new(ManualClock::at(at(0)));
    let stage = stage_at(LimitsConfig::default(), clock.clone()).await;
    let address = stage.server.api_addr;
    let mut projects = ProjectServiceClient::new(stage.channel.clone());
    let mut ends = Vec::new();
    for how in ["revoked", "expired", "of-a-deleted-project"] {
        let token = made(&stage, how).await;
        let bearer = format!("Bearer {token}");
        let listed = call(address, LIST, &bearer).await;
        assert!(is_refused(&listed, Code::Ok), "{how}: {listed}");
        let stream = tokio::spawn({
            let bearer = bearer.clone();
            async move { call(address, WATCH, &bearer).await }
        });
        let begun = async {
            let get = || v1::GetProjectRequest { name: "shop".to_owned() };
            while projects
                .get_project(by(ROOT, get()))
                .await
                .expect("there")
                .into_inner()
                .used
                .is_none_or(|used| used.watches == 0)
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, begun).await.expect("the stream begins");
        match how {
            "revoked" => {
                let name = format!("shop/{how}");
                let revoke = v1::RevokeTokenRequest { token: name, ..Default::default() };
                let mut tokens = TokenServiceClient::new(stage.channel.clone());
                tokens.revoke_token(by(ROOT, revoke)).await.expect("taken back");
            }
            "expired" => clock.advance(SignedDuration::from_secs(61)),
            _ => {
                let name = "shop".to_owned();
                let delete = v1::DeleteProjectRequest { name, ..Default::default() };
                projects.clone().delete_project(by(ROOT, delete)).await.expect("it is empty");
            }
        }
        let ended = timeout(PATIENCE, stream).await.expect("it ends").expect("no panic");
        assert!(is_refused(&ended, Code::Unauthenticated), "{how}: {ended}");
        ends.push((how, bearer));
    }
    for (how, bearer) in &ends {
        for path in [LIST, WATCH] {
            let refused = call(address, path, bearer).await;
            assert!(is_refused(&refused, Code::Unauthenticated), "{how} {path}: {refused}");
        }
    }
    stage.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc_web_too_what_is_no_token_is_refused() {
    let stage = stage_at(LimitsConfig::default(), Arc::new(ManualClock::at(at(0)))).await;
    let address = stage.server.api_addr;
    let good = stage.token("shop", "ann", v1::Role::Developer).await;
    let cut = &good[..good.len() - 1];
    for (authorization, code) in [
        (String::new(), Code::Unauthenticated),
        ("Bearer".to_owned(), Code::Unauthenticated),
        (format!("Bearer {cut}"), Code::Unauthenticated),
        (format!("Bearer {good}0"), Code::Unauthenticated),
        (format!("Bearer {}", good.to_uppercase()), Code::Unauthenticated),
        (format!("Basic {good}"), Code::Unauthenticated),
        (good.clone(), Code::Unauthenticated),
        ("Bearer bgr_0123456789abcdef".to_owned(), Code::Unauthenticated),
        (format!("Bearer {good} {good}"), Code::InvalidArgument),
        (format!("Bearer {good}\r\nauthorization: Bearer {good}"), Code::InvalidArgument),
    ] {
        for path in [LIST, WATCH] {
            let refused = call(address, path, &authorization).await;
            assert!(is_refused(&refused, code), "{path} {authorization:?}: {refused}");
        }
    }
    let listed = call(address, LIST, &format!("Bearer {good}")).await;
    assert!(is_refused(&listed, Code::Ok), "{listed}");
    assert_eq!(v1::ListVmsRequest::default().encoded_len(), 0, "which an empty frame is");
    stage.server.shutdown().await;
}
