//! Consoles in a temporary jail: what is kept, what comes, and what is typed.

use super::super::tests::{Fixture, dir, fixture, id};
use super::*;
use crate::host::{Change, Heard, Outputs as _};

async fn heard(console: &mut Console, until: &str) -> String {
    let mut text = String::from_utf8(std::mem::take(&mut console.past)).unwrap();
    while !text.ends_with(until) {
        match console.live.next().await {
            Some(Heard::Bytes(bytes)) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
            other => panic!("{other:?} after {text:?}"),
        }
    }
    text
}

fn print(fixture: &Fixture, text: &str) {
    let console = fixture.writer(in_jail::CONSOLE);
    assert_eq!(rustix::io::write(&console, text.as_bytes()).unwrap(), text.len());
}

#[tokio::test]
async fn a_reader_gets_what_is_kept_and_then_what_comes_each_byte_once() {
    let f = fixture().await;
    f.outputs.ensure(&id(), &dir()).await.unwrap();
    let mut early = f.outputs.console(&id(), &dir(), 0).await.unwrap();
    let mut expected = String::new();
    for number in 0..300 {
        let line = format!("line {number}\n");
        print(&f, &line);
        expected.push_str(&line);
        if number == 150 {
            heard(&mut early, "line 150\n").await;
        }
    }
    // Opened while the collector is at work: wherever it is, nothing is missing or twice.
    let mut late = f.outputs.console(&id(), &dir(), 1 << 20).await.unwrap();
    assert_eq!(heard(&mut late, "line 299\n").await, expected);
    assert!(heard(&mut early, "line 299\n").await.starts_with("line 151\n"));
}

#[tokio::test]
async fn the_past_goes_over_both_files_and_no_further_than_asked() {
    let f = fixture().await;
    let at = f.vm_dir();
    std::fs::write(at.join("console.log.1"), "the older part, ").unwrap();
    std::fs::write(at.join("console.log"), "the newer part").unwrap();
    for (asked, expected) in [
        (0, ""),
        (4, "part"),
        (14, "the newer part"),
        (20, "part, the newer part"),
        (u64::MAX, "the older part, the newer part"),
    ] {
        let console = f.outputs.console(&id(), &dir(), asked).await.unwrap();
        assert_eq!(String::from_utf8(console.past).unwrap(), expected, "{asked}");
    }
}

#[tokio::test]
async fn who_follows_hears_the_next_run_of_the_guest_and_the_next_agent_has_the_past() {
    let f = fixture().await;
    f.outputs.ensure(&id(), &dir()).await.unwrap();
    let mut console = f.outputs.console(&id(), &dir(), 100).await.unwrap();
    print(&f, "first run\n");
    heard(&mut console, "first run\n").await;
    assert_eq!(f.outputs.remove(&id()).await.unwrap(), Change::Made);
    f.outputs.ensure(&id(), &dir()).await.unwrap();
    print(&f, "second run\n");
    heard(&mut console, "second run\n").await;
    // A restart of the agent: other collectors over the same jail and directory.
    drop(console);
    let next = f.next_agent().await;
    next.ensure(&id(), &dir()).await.unwrap();
    let mut console = next.console(&id(), &dir(), 100).await.unwrap();
    print(&f, "after the restart\n");
    let text = heard(&mut console, "after the restart\n").await;
    assert_eq!(text, "first run\nsecond run\nafter the restart\n");
}

#[tokio::test]
async fn a_reader_that_stands_still_holds_up_neither_the_file_nor_another_reader() {
    let f = fixture().await;
    f.outputs.ensure(&id(), &dir()).await.unwrap();
    let mut still = f.outputs.console(&id(), &dir(), 0).await.unwrap();
    let mut other = f.outputs.console(&id(), &dir(), 0).await.unwrap();
    let mut count = 0_u64;
    for number in 0..200 {
        let line = format!("{number:099}\n");
        print(&f, &line);
        heard(&mut other, &line).await;
        count += 100;
    }
    assert_eq!(f.read("console.log").len() as u64, count);
    let Some(Heard::Lost(lost)) = still.live.next().await else { panic!("it lost nothing") };
    let Some(Heard::Bytes(first)) = still.live.next().await else { panic!("it hears no more") };
    assert_eq!(first, format!("{:099}\n", lost / 100).into_bytes().into());
}

#[tokio::test]
async fn consoles_that_nobody_writes_or_reads_are_forgotten() {
    let consoles = Consoles::default();
    let read = consoles.of(&JailId::new("read").unwrap());
    let reader = read.hub.listen();
    drop(read);
    let written = consoles.of(&JailId::new("written").unwrap());
    consoles.of(&JailId::new("neither").unwrap());
    consoles.of(&JailId::new("one-more").unwrap());
    let names = |c: &Consoles| {
        let mut names: Vec<_> = c.0.lock().keys().map(ToString::to_string).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(&consoles), "one-more read written");
    drop((reader, written));
    consoles.of(&JailId::new("last").unwrap());
    assert_eq!(names(&consoles), "last");
}

#[tokio::test]
async fn what_is_typed_arrives_and_waits_for_a_guest_that_does_not_read() {
    let f = fixture().await;
    f.outputs.type_in(&id(), b"").await.unwrap();
    let input = f.writer(in_jail::CONSOLE_INPUT);
    f.outputs.type_in(&id(), b"ls\n").await.unwrap();
    let mut chunk = vec![0; 1 << 20];
    let length = rustix::io::read(&input, &mut chunk).unwrap();
    assert_eq!(&chunk[..length], b"ls\n");
    // More than a FIFO holds: typing ends when the guest has read.
    let much = vec![b'x'; 300_000];
    let jail = id();
    let typing = f.outputs.type_in(&jail, &much);
    let reading = async {
        let mut got = 0;
        while got < much.len() {
            match rustix::io::read(&input, &mut chunk) {
                Ok(length) => got += length,
                Err(error) => assert_eq!(error, Errno::AGAIN),
            }
            tokio::task::yield_now().await;
        }
        got
    };
    let (typed, got) = tokio::join!(typing, reading);
    typed.unwrap();
    assert_eq!(got, much.len());
}

#[tokio::test]
async fn a_jail_of_an_older_agent_has_no_input_and_says_so() {
    let f = fixture().await;
    std::fs::remove_file(f.jail_root().join("console-in.fifo")).unwrap();
    let error = f.outputs.type_in(&id(), b"x").await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Refused);
    assert!(error.to_string().contains("older agent"), "{error}");
    let nowhere = JailId::new("nowhere").unwrap();
    let error = f.outputs.type_in(&nowhere, b"x").await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::NotFound);
}
