use std::convert::Infallible;

use super::*;

/// An answer that goes on for ever, says nothing, and tells when it is let go.
struct Silent(Option<tokio::sync::oneshot::Sender<()>>);

impl HttpBody for Silent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Pending
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = self.0.take().expect("dropped once").send(());
    }
}

async fn answered(gone: &CancellationToken) -> (Body, tokio::sync::oneshot::Receiver<()>) {
    let (tell, told) = tokio::sync::oneshot::channel();
    let call = async { Ok::<_, Infallible>(Response::new(Body::new(Silent(Some(tell))))) };
    let answer = until_gone(gone.clone(), Duration::ZERO, (), call).await.expect("it answers");
    (answer.into_body(), told)
}

fn code(frame: Option<Result<Frame<Bytes>, Status>>) -> Option<String> {
    let trailers = frame?.expect("no error of the transport").into_trailers().ok()?;
    Some(trailers.get("grpc-status")?.to_str().expect("a number").to_owned())
}

async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, Status>> {
    std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_lets_go_of_what_it_holds() {
    let gone = CancellationToken::new();
    let (mut body, mut let_go) = answered(&gone).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(let_go.try_recv().is_err(), "nobody is gone");
    gone.cancel();
    tokio::time::timeout(Duration::from_secs(1), let_go).await.expect("in time").expect("dropped");
    // Whoever reads after all is told, once.
    assert_eq!(code(next(&mut body).await), Some("16".to_owned()));
    assert!(next(&mut body).await.is_none());
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_a_silent_answer_is_told_within_a_second() {
    let gone = CancellationToken::new();
    let (mut body, _let_go) = answered(&gone).await;
    let reading = tokio::spawn(async move { code(next(&mut body).await) });
    tokio::task::yield_now().await;
    gone.cancel();
    let read = tokio::time::timeout(Duration::from_secs(1), reading).await.expect("in time");
    assert_eq!(read.expect("no panic"), Some("16".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_is_done_in_time_is_answered_and_another_is_dropped() {
    let gone = CancellationToken::new();
    gone.cancel();
    let grace = grace_of("/banger.v1.TokenService/RevokeToken");
    for (takes, done) in [(100, true), (900, false)] {
        let call = async {
            tokio::time::sleep(Duration::from_millis(takes)).await;
            Ok::<_, Infallible>(Response::new(Body::empty()))
        };
        let answer = until_gone(gone.clone(), grace, (), call).await.expect("it answers");
        assert_eq!(!answer.headers().contains_key("grpc-status"), done, "{takes} ms");
    }
}

#[tokio::test]
async fn only_a_revocation_goes_one_step_further() {
    for (method, _, _) in crate::api::auth::METHODS {
        let (gone, mut went_on) = (CancellationToken::new(), false);
        gone.cancel();
        let call = async {
            went_on = true;
            Ok::<_, Infallible>(Response::new(Body::empty()))
        };
        let answer = until_gone(gone, grace_of(method), (), call).await.expect("it answers");
        assert_eq!(answer.headers().contains_key("grpc-status"), !went_on, "{method}");
        assert_eq!(went_on, method.ends_with("/RevokeToken"), "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_let_go_leaves_nobody_waiting_for_its_caller() {
    let gone = CancellationToken::new();
    let (body, let_go) = answered(&gone).await;
    drop(body);
    let_go.await.expect("dropped, though nobody is gone");
}
