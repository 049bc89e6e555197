//! Bodies that ended and bodies that were broken off, as the layer tells them apart.

use std::future::{Ready, ready};

use tower::{Layer as _, Service as _};

use super::*;

/// What a connection says of a body, step by step; then that no more comes.
struct Said {
    steps: Vec<Result<&'static str, Code>>,
    /// Whether the other side has said the end.
    ended: bool,
}

impl http_body::Body for Said {
    type Data = <Body as http_body::Body>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.steps.is_empty() {
            return Poll::Ready(None);
        }
        let step = self.steps.remove(0);
        let frame = step.map(|data| Frame::data(data.into()));
        Poll::Ready(Some(frame.map_err(|code| Status::new(code, "reset"))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.steps.is_empty()
    }
}

/// Reads to the end, as a service below the layer does; the last is how it ended.
fn read(said: Said, version: http::Version) -> (usize, Result<(), Code>) {
    let take = tower::service_fn(|request: http::Request<Body>| -> Ready<Result<Body, ()>> {
        ready(Ok(request.into_body()))
    });
    let mut request = http::Request::new(Body::new(said));
    *request.version_mut() = version;
    let mut given = ResetsAreErrors.layer(take).call(request);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let Poll::Ready(Ok(mut body)) = Pin::new(&mut given).poll(&mut cx) else {
        panic!("it is ready");
    };
    let mut frames = 0;
    loop {
        match http_body::Body::poll_frame(Pin::new(&mut body), &mut cx) {
            Poll::Ready(Some(Ok(_))) => frames += 1,
            Poll::Ready(Some(Err(status))) => return (frames, Err(status.code())),
            Poll::Ready(None) => return (frames, Ok(())),
            Poll::Pending => panic!("it never waits"),
        }
    }
}

#[test]
fn only_what_the_sender_ended_has_an_end() {
    let (old, new) = (http::Version::HTTP_11, http::Version::HTTP_2);
    let said = |steps: &[Result<&'static str, Code>], ended| Said { steps: steps.to_vec(), ended };
    assert_eq!(read(said(&[Ok("a"), Ok("b")], true), new), (2, Ok(())));
    // A reset with CANCEL, which tonic takes for an end, and with NO_ERROR, which hyper does.
    let cancelled = said(&[Ok("a"), Err(Code::Cancelled)], false);
    assert_eq!(read(cancelled, new), (1, Err(Code::Unknown)));
    assert_eq!(read(said(&[Ok("a")], false), new), (1, Err(Code::Unknown)));
    // Another error stays what it is.
    let lost = said(&[Ok("a"), Err(Code::Unavailable)], false);
    assert_eq!(read(lost, new), (1, Err(Code::Unavailable)));
    // HTTP/1 knows no reset: what is cut there is an error of hyper's.
    assert_eq!(read(said(&[Ok("a")], false), old), (1, Ok(())));
}
