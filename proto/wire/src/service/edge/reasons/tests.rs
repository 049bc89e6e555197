use std::convert::Infallible;

use http_body_util::BodyExt as _;
use tower::{ServiceExt as _, service_fn};

use super::*;

fn refuse(code: Code, reason: ErrorReason, words: String) -> Status {
    Status::with_details(code, words, reason.as_str_name().into())
}

/// What a caller sees of an error: code, details, sentence.
async fn seen(
    answer: impl Fn() -> Response<Body> + Clone + Send + 'static,
) -> (Code, String, String) {
    let service = ReasonsLayer(refuse).layer(service_fn(move |_: Request<Body>| {
        std::future::ready(Ok::<_, Infallible>(answer()))
    }));
    let response = service.oneshot(Request::new(Body::empty())).await.expect("it answers");
    let (parts, body) = response.into_parts();
    let trailers = body.collect().await.expect("a body").trailers().cloned().unwrap_or_default();
    let status = Status::from_header_map(&parts.headers).or(Status::from_header_map(&trailers));
    let status = status.expect("it ends");
    let details = String::from_utf8_lossy(status.details()).into_owned();
    (status.code(), details, status.message().to_owned())
}

fn in_trailers(status: Status) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).expect("text");
    let frame: Frame<bytes::Bytes> = Frame::trailers(trailers);
    let frames = tokio_stream::once(Ok::<_, Status>(frame));
    Response::new(Body::new(http_body_util::StreamBody::new(frames)))
}

#[tokio::test]
async fn every_error_says_its_reason_wherever_it_was_made() {
    let all = (1..=16).map(Code::from);
    for code in all {
        for words in ["", "Error, decoded message length too large", "Error encoding x"] {
            let headers = move || Status::new(code, words).into_http();
            let trailers = move || in_trailers(Status::new(code, words));
            let one = seen(headers).await;
            assert_eq!(one, seen(trailers).await, "{code:?}: the same in headers and trailers");
            let (shown, reason, said) = one;
            assert!(reason.starts_with("ERROR_REASON_"), "{code:?}: {reason:?}");
            assert!(!said.is_empty(), "{code:?} has a sentence");
            assert_ne!(shown, Code::OutOfRange, "{code:?}: it means list again");
            assert_ne!(shown, Code::Ok, "{code:?}: an error stays one");
        }
    }
}

#[tokio::test]
async fn an_error_with_a_reason_is_left_as_it_is() {
    for (code, details) in [
        (Code::NotFound, "VM_NOT_FOUND"),
        (Code::OutOfRange, "…REVISION_TOO_OLD…"),
        (Code::Internal, "INTERNAL"),
    ] {
        let own = move || Status::with_details(code, "as it was", details.into());
        for answer in
            [seen(move || own().into_http()).await, seen(move || in_trailers(own())).await]
        {
            assert_eq!(answer, (code, details.to_owned(), "as it was".to_owned()));
        }
    }
    let other = || Status::with_details(Code::OutOfRange, "too far", "SOMETHING_ELSE".into());
    let (code, ..) = seen(move || other().into_http()).await;
    assert_eq!(code, Code::ResourceExhausted, "out of range is list again, and nothing else");
}

#[test]
fn bytes_that_do_not_decode_are_the_callers_fault_and_an_answer_that_does_not_encode_is_ours() {
    let of = |code, words| {
        let (code, reason, _) = reason(code, words);
        (code, reason)
    };
    let malformed = (Code::InvalidArgument, ErrorReason::RequestMalformed);
    for words in [
        "failed to decode Protobuf message: invalid wire type",
        "protocol error: received message with invalid compression flag: 7",
        "Missing request message.",
        "Unexpected EOF decoding stream.",
        "Error decompressing: corrupt deflate stream",
    ] {
        assert_eq!(of(Code::Internal, words), malformed, "{words}");
    }
    let defect = (Code::Internal, ErrorReason::Internal);
    assert_eq!(of(Code::Internal, "Error encoding: x"), defect);
    assert_eq!(of(Code::Internal, "Error compressing: x"), defect);
}
