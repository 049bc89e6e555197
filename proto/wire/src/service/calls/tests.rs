//! What is counted, and under which name.

use std::convert::Infallible;

use prometheus_client::encoding::text;
use tower::{Layer as _, ServiceExt as _};

use super::*;

const CREATE: &str = "/banger.v1.VmService/CreateVm";
const WATCH: &str = "/banger.v1.VmService/WatchVms";

fn stage() -> (Registry, Calls) {
    let mut registry = Registry::default();
    let calls = Calls::register(&mut registry, &[banger_proto::FILE_DESCRIPTOR_SET]);
    (registry, calls)
}

fn count(calls: &Calls, method: &str, code: &'static str) -> u64 {
    calls.inner.ended.get_or_create(&Rpc { method: Arc::from(method), code }).get()
}

async fn call(calls: &Calls, path: &'static str, grpc_status: Option<&'static str>) {
    let service = tower::service_fn(move |_request: Request<()>| async move {
        let mut response = Response::new(Body::empty());
        if let Some(status) = grpc_status {
            let status = http::HeaderValue::from_static(status);
            response.headers_mut().insert("grpc-status", status);
        }
        Ok::<_, Infallible>(response)
    });
    let request = Request::builder().uri(path).body(()).expect("a request");
    let service = CallsLayer::new(calls.clone()).layer(service);
    let response = service.oneshot(request).await.expect("infallible");
    drop(response);
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code() {
    let (_registry, calls) = stage();
    call(&calls, CREATE, Some("6")).await;
    call(&calls, CREATE, Some("6")).await;
    assert_eq!(count(&calls, CREATE, "ALREADY_EXISTS"), 2);
}

#[tokio::test]
async fn a_caller_can_not_make_a_new_series() {
    let (registry, calls) = stage();
    for path in ["/made/up", "/made/up/2"] {
        call(&calls, path, Some("12")).await;
    }
    assert_eq!(count(&calls, "other", "UNIMPLEMENTED"), 2);
    let mut page = String::new();
    text::encode(&mut page, &registry).expect("a string takes everything");
    assert!(!page.contains("made/up"), "{page}");
}

#[tokio::test]
async fn a_call_that_is_left_counts_as_cancelled_and_is_no_longer_open() {
    let (_registry, calls) = stage();
    call(&calls, WATCH, None).await;
    assert_eq!(count(&calls, WATCH, "CANCELLED"), 1);
    let method = Method { method: Arc::from(WATCH) };
    assert_eq!(calls.inner.open.get_or_create(&method).get(), 0);
}
