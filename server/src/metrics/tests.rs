use std::convert::Infallible;

use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer as _, ServiceExt as _};

use super::rpc::RpcMetricsLayer;
use super::*;

fn count(metrics: &Metrics, method: &str, code: &'static str) -> u64 {
    metrics.inner.rpcs.get_or_create(&Rpc { method: Arc::from(method), code }).get()
}

async fn call(metrics: &Metrics, path: &'static str, grpc_status: Option<&'static str>) {
    let service = tower::service_fn(move |_request: Request<()>| async move {
        let mut response = Response::new(Body::empty());
        if let Some(status) = grpc_status {
            let status = http::HeaderValue::from_static(status);
            response.headers_mut().insert("grpc-status", status);
        }
        Ok::<_, Infallible>(response)
    });
    let request = Request::builder().uri(path).body(()).expect("a request");
    let service = RpcMetricsLayer::new(metrics.clone()).layer(service);
    let response = service.oneshot(request).await.expect("infallible");
    drop(response);
}

#[test]
fn the_calls_of_the_api_are_known() {
    let paths = method_paths();
    for path in [
        "/banger.v1.VmService/CreateVm",
        "/banger.v1.VmService/WatchVms",
        "/banger.v1.HostService/JoinHost",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        assert!(paths.contains(path), "{path} is missing from {paths:?}");
    }
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code() {
    let metrics = Metrics::new();
    call(&metrics, "/banger.v1.VmService/CreateVm", Some("6")).await;
    call(&metrics, "/banger.v1.VmService/CreateVm", Some("6")).await;
    assert_eq!(count(&metrics, "/banger.v1.VmService/CreateVm", "ALREADY_EXISTS"), 2);
}

#[tokio::test]
async fn a_caller_can_not_make_a_new_series() {
    let metrics = Metrics::new();
    call(&metrics, "/made/up", Some("12")).await;
    assert_eq!(count(&metrics, "other", "UNIMPLEMENTED"), 1);
    let rendered = text_of(&metrics);
    assert!(!rendered.contains("made/up"), "{rendered}");
}

#[tokio::test]
async fn a_call_that_is_left_counts_as_cancelled_and_is_no_longer_open() {
    let metrics = Metrics::new();
    call(&metrics, "/banger.v1.VmService/WatchVms", None).await;
    assert_eq!(count(&metrics, "/banger.v1.VmService/WatchVms", "CANCELLED"), 1);
    let method = Method { method: Arc::from("/banger.v1.VmService/WatchVms") };
    assert_eq!(metrics.inner.open_rpcs.get_or_create(&method).get(), 0);
}

fn text_of(metrics: &Metrics) -> String {
    let mut out = String::new();
    text::encode(&mut out, &metrics.inner.registry).expect("a string takes everything");
    out
}
