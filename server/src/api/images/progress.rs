//! An import whose caller is told how far it is.
//!
//! The import runs as long as somebody reads its stream, and is dropped with it. It reports about
//! every mebibyte, from whatever thread it is on; the newest report is kept and told at a bounded
//! pace, so that a caller who reads slowly holds up nothing.

use std::sync::Arc;
use std::time::Duration;

use banger_images::{Progress, Report, Step};
use banger_proto::v1;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use crate::api::ResponseStream;

/// At most so often is a caller told anything.
const PACE: Duration = Duration::from_millis(250);

struct Import {
    work: BoxFuture<'static, Result<v1::Image, Status>>,
    reports: watch::Receiver<Option<Progress>>,
    not_before: Instant,
}

/// The messages of an import, which is given where to report.
pub(super) fn told<F>(import: impl FnOnce(Report) -> F) -> ResponseStream<v1::ImportImageProgress>
where
    F: Future<Output = Result<v1::Image, Status>> + Send + 'static,
{
    let (reporter, reports) = watch::channel(None);
    let report: Report = Arc::new(move |progress| {
        reporter.send_replace(Some(progress));
    });
    let import = Import { work: import(report).boxed(), reports, not_before: Instant::now() };
    Box::pin(stream::unfold(Some(import), |import| async move {
        let mut import = import?;
        match import.next().await {
            Next::Report(progress) => Some((Ok(message(progress)), Some(import))),
            Next::Done(image) => {
                let image = *image;
                let last = |image| v1::ImportImageProgress {
                    image: Some(image),
                    ..v1::ImportImageProgress::default()
                };
                Some((image.map(last), None))
            }
        }
    }))
}

enum Next {
    Report(Progress),
    Done(Box<Result<v1::Image, Status>>),
}

impl Import {
    async fn next(&mut self) -> Next {
        let Self { work, reports, not_before } = self;
        let report = async {
            loop {
                // The reporter is gone once the import is about to end.
                if reports.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                sleep_until(*not_before).await;
                if let Some(progress) = *reports.borrow_and_update() {
                    return progress;
                }
            }
        };
        // Cancel-safe: the import goes on where it was, and the newest report stays.
        tokio::select! {
            biased;
            done = work => Next::Done(Box::new(done)),
            progress = report => {
                *not_before = Instant::now() + PACE;
                Next::Report(progress)
            }
        }
    }
}

fn message(progress: Progress) -> v1::ImportImageProgress {
    let step = match progress.step {
        Step::Pull => v1::ImportStep::Pull,
        Step::Check => v1::ImportStep::Check,
        Step::Write => v1::ImportStep::Write,
        Step::Digest => v1::ImportStep::Digest,
    };
    v1::ImportImageProgress {
        step: step.into(),
        done_bytes: progress.done_bytes,
        total_bytes: progress.total_bytes.unwrap_or(0),
        image: None,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::sync::mpsc;

    use super::*;

    fn progress(step: Step, done_bytes: u64) -> Progress {
        Progress { step, done_bytes, total_bytes: Some(100) }
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_report_is_told_at_a_bounded_pace_and_the_image_last() {
        let (go, mut gone) = mpsc::unbounded_channel::<Progress>();
        let mut stream = told(move |report| async move {
            while let Some(progress) = gone.recv().await {
                report(progress);
            }
            Ok(v1::Image { name: "alpine".to_owned(), ..v1::Image::default() })
        });
        go.send(progress(Step::Pull, 1)).expect("it runs");
        let first = stream.next().await.expect("a message").expect("no error");
        assert_eq!((first.step(), first.done_bytes), (v1::ImportStep::Pull, 1));
        let told_at = Instant::now();
        for done in 2..=50 {
            go.send(progress(Step::Write, done)).expect("it runs");
        }
        let second = stream.next().await.expect("a message").expect("no error");
        assert_eq!((second.step(), second.done_bytes), (v1::ImportStep::Write, 50));
        assert!(told_at.elapsed() >= PACE, "not more often");
        drop(go);
        let last = stream.next().await.expect("a message").expect("no error");
        assert_eq!(last.image.expect("the image").name, "alpine");
        assert!(stream.next().await.is_none(), "nothing comes after it");
    }

    #[tokio::test]
    async fn an_import_ends_with_its_stream_and_its_failure_is_the_last_message() {
        let (runs, mut over) = mpsc::unbounded_channel::<()>();
        let mut stream = told(move |report| async move {
            let _runs = runs;
            report(progress(Step::Check, 1));
            std::future::pending().await
        });
        stream.next().await.expect("a message").expect("no error");
        drop(stream);
        assert!(over.recv().await.is_none(), "it was dropped");
        let mut failing = told(|_| async { Err(Status::unavailable("no")) });
        failing.next().await.expect("a message").expect_err("it failed");
        assert!(failing.next().await.is_none());
    }
}
