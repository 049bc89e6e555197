use std::time::Duration;

use futures_util::stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;

#[tokio::test]
async fn a_silent_connection_ends_when_it_is_cut() {
    let (ours, mut theirs) = duplex(64);
    let token = CancellationToken::new();
    let mut connections =
        Box::pin(cuttable(stream::iter([Ok::<_, io::Error>(ours)]), token.clone()));
    let mut ours = connections.next().await.expect("one").expect("no error");
    theirs.write_all(b"hi").await.expect("there is room");
    let mut read = [0; 2];
    ours.read_exact(&mut read).await.expect("it is not cut yet");
    let silent = tokio::spawn(async move { ours.read(&mut [0; 1]).await });
    token.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), silent).await;
    let error = ended.expect("it ends").expect("no panic").expect_err("it was cut");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
}
