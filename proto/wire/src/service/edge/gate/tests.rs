use std::convert::Infallible;

use http::StatusCode;
use tonic::{Code, Status};
use tower::{ServiceExt as _, service_fn};

use super::*;
use banger_proto::v1::ErrorReason;

const CALL: &str = "/banger.v1.VmService/ListVms";

fn refuse(code: Code, reason: ErrorReason, words: String) -> Status {
    Status::with_details(code, words, reason.as_str_name().into())
}

/// The HTTP status and the gRPC code of the answer; 204 comes from behind the gate.
async fn answer(serves: Serves, request: http::request::Builder) -> (StatusCode, Option<Code>) {
    let gate = GateLayer {
        visitors: Arc::new(ArcSwap::from_pointee(Visitors::new([], Vec::new()))),
        serves,
        refuse,
    };
    let service = gate.layer(service_fn(async |_: Request<Body>| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok::<_, Infallible>(response)
    }));
    let request = request.header("host", "localhost").body(Body::empty()).expect("a request");
    let response = service.oneshot(request).await.expect("it answers");
    let status = Status::from_header_map(response.headers());
    if let Some(status) = &status {
        assert!(!status.details().is_empty(), "every refusal has its reason");
    }
    (response.status(), status.map(|status| status.code()))
}

#[tokio::test]
async fn only_what_is_grpc_is_a_call() {
    let through = (StatusCode::NO_CONTENT, None);
    let post = |kind: &str| Request::post(CALL).header("content-type", kind);
    for kind in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc;charset=utf-8",
        "Application/GRPC",
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
        "application/grpc-web-text+proto",
    ] {
        assert_eq!(answer(Serves::CallsAndPages, post(kind)).await, through, "{kind}");
    }
    let refused = (StatusCode::UNSUPPORTED_MEDIA_TYPE, Some(Code::InvalidArgument));
    for kind in [
        // What a page may send without asking first.
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain, application/grpc",
        "text/plain; x=application/grpc",
        // Not spoken here.
        "application/grpc+json",
        "application/json",
        "application/grpcevil",
        "",
    ] {
        assert_eq!(answer(Serves::CallsAndPages, post(kind)).await, refused, "{kind}");
    }
    let twice = post("application/grpc").header("content-type", "text/plain");
    assert_eq!(answer(Serves::CallsAndPages, twice).await, refused);
    assert_eq!(answer(Serves::CallsAndPages, Request::post(CALL)).await, refused);
}

#[tokio::test]
async fn pages_are_read_and_calls_are_posted_and_nothing_else_is_done() {
    let through = (StatusCode::NO_CONTENT, None);
    let refused = (StatusCode::METHOD_NOT_ALLOWED, Some(Code::InvalidArgument));
    let with = |method: &str| Request::builder().method(method).uri(CALL);
    assert_eq!(answer(Serves::CallsAndPages, with("GET")).await, through);
    assert_eq!(answer(Serves::Pages, with("GET")).await, through);
    assert_eq!(answer(Serves::Calls, with("GET")).await, refused);
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"] {
        let grpc = with(method).header("content-type", "application/grpc");
        let (_, code) = answer(Serves::CallsAndPages, grpc).await;
        assert_eq!(code, Some(Code::InvalidArgument), "{method}");
    }
}
