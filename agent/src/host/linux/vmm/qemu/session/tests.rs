//! A QEMU played by the other end of a socket pair.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::*;

const GREETING: &str = "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\n";
const LIMIT: Duration = Duration::from_secs(10);

/// Begins a session with a QEMU that greets, and goes on as `play` says.
async fn with<F: Future<Output = ()> + Send + 'static>(
    play: impl FnOnce(BufReader<OwnedReadHalf>, OwnedWriteHalf) -> F,
) -> (Session, Arc<Mutex<Vec<Event>>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (reader, mut writer) = theirs.into_split();
    let mut reader = BufReader::new(reader);
    writer.write_all(GREETING.as_bytes()).await.unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = events.clone();
    let begun = tokio::spawn(Session::begin(ours, move |event| heard.lock().push(event)));
    let line = command(&mut reader).await;
    assert!(line.contains("qmp_capabilities"), "{line}");
    writer.write_all(b"{\"return\": {}, \"id\": 1}\n").await.unwrap();
    tokio::spawn(play(reader, writer));
    let session = tokio::time::timeout(LIMIT, begun).await.unwrap().unwrap().unwrap();
    (session, events)
}

async fn command(reader: &mut BufReader<OwnedReadHalf>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).await.unwrap();
    line
}

#[tokio::test]
async fn answers_go_to_who_asked_and_events_are_heard_between() {
    let (session, events) = with(|mut reader, mut writer| async move {
        command(&mut reader).await;
        command(&mut reader).await;
        // The other way round, with an event and an answer that nobody waits for.
        let lines = [
            json!({ "event": "SHUTDOWN", "data": { "guest": true, "reason": "guest-reset" } }),
            json!({ "return": "nobody's", "id": 99 }),
            json!({ "return": "second", "id": 3 }),
            json!({ "error": { "class": "GenericError", "desc": "no" }, "id": 2 }),
        ];
        for line in lines {
            writer.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        }
        // Held open until we are done.
        command(&mut reader).await;
    })
    .await;
    let both = async {
        tokio::join!(session.ask("first", &Value::Null), session.ask("second", &Value::Null))
    };
    let (first, second) = tokio::time::timeout(LIMIT, both).await.unwrap();
    assert!(matches!(first, Err(Unanswered::Refused(words)) if words == "GenericError: no"));
    assert_eq!(second.unwrap(), json!("second"));
    let shutdown = Event::Shutdown { by_guest: true, reason: "guest-reset".to_owned() };
    assert_eq!(*events.lock(), [shutdown]);
    assert!(session.is_open());
}

#[tokio::test]
async fn whoever_waits_is_told_when_qemu_ends_or_talks_nonsense() {
    for last in ["", "no JSON\n"] {
        let (session, _) = with(|mut reader, mut writer| async move {
            command(&mut reader).await;
            writer.write_all(last.as_bytes()).await.unwrap();
            if !last.is_empty() {
                // It stays connected.
                command(&mut reader).await;
            }
        })
        .await;
        let asked = tokio::time::timeout(LIMIT, session.ask("query-status", &Value::Null)).await;
        assert!(matches!(asked.unwrap(), Err(Unanswered::Over)), "{last:?}");
        assert!(!session.is_open());
        assert!(matches!(session.ask("stop", &Value::Null).await, Err(Unanswered::Over)));
    }
}

#[tokio::test]
async fn one_that_does_not_greet_is_no_qemu() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (_reader, mut writer) = theirs.into_split();
    writer.write_all(b"220 mail.example ESMTP\n").await.unwrap();
    let begun = tokio::time::timeout(LIMIT, Session::begin(ours, |_| {})).await.unwrap();
    assert!(matches!(begun, Err(Unanswered::Over)));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_events_is_read_slowly_and_few_of_it_are_heard() {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    let (session, events) = with(|_reader, mut writer| async move {
        let event = json!({ "event": "SHUTDOWN", "data": { "guest": true, "reason": "x" } });
        let line = format!("{event}\n");
        while writer.write_all(line.as_bytes()).await.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    let before = sent.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(100)).await;
    let taken = sent.load(Ordering::Relaxed) - before;
    // What a socket's buffer holds comes on top.
    assert!((50_000..250_000).contains(&taken), "{taken} in a hundred seconds");
    assert_eq!(events.lock().len(), MOST_EVENTS as usize);
    assert!(session.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_qemu_that_pauses_between_its_lines_is_never_waited_for() {
    let (session, events) = with(|mut reader, mut writer| async move {
        for _ in 0..3 {
            for _ in 0..AT_ONCE / LEAST / 2 {
                writer.write_all(b"{\"event\": \"NIC_RX_FILTER_CHANGED\"}\n").await.unwrap();
            }
            tokio::time::sleep(SILENCE * 2).await;
        }
        command(&mut reader).await;
        writer.write_all(b"{\"return\": \"yes\", \"id\": 2}\n").await.unwrap();
        command(&mut reader).await;
    })
    .await;
    let begun = tokio::time::Instant::now();
    assert_eq!(session.ask("query", &Value::Null).await.unwrap(), Value::from("yes"));
    assert!(begun.elapsed() < PAUSE, "{:?}", begun.elapsed());
    assert!(events.lock().is_empty(), "events that say nothing are not told");
}
