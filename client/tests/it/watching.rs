//! Claims about watches over real connections: broken, refused, and begun anew.

use banger_client::v1::*;
use banger_client::{ChangeKind, Update, VmList, WatchStream};
use futures_util::StreamExt as _;
use tonic::{Code, Status};

use crate::library::client;
use banger_fake_server::{self as fake, Step, refusal};

fn event(kind: VmEventType, name: &str, revision: u64) -> VmEvent {
    let vm = Vm { id: name.to_owned(), name: name.to_owned(), revision, ..Vm::default() };
    VmEvent { r#type: kind.into(), revision, vm: Some(vm) }
}

fn say(events: Vec<VmEvent>, revision: u64, initial_state_complete: bool) -> Step {
    Step::Say(WatchVmsResponse { events, revision, initial_state_complete })
}

fn too_old() -> Step {
    Step::Fail(refusal(Code::OutOfRange, "REVISION_TOO_OLD", "list again"))
}

use VmEventType::{Added, Modified};

/// What is told until `last` is, in short.
async fn told(updates: &mut WatchStream, last: &str) -> Vec<String> {
    let mut all = Vec::new();
    let collect = async {
        while let Some(update) = updates.next().await {
            let word = match update {
                Ok(Update::Change(change)) => {
                    let sign = match change.kind {
                        ChangeKind::Added => '+',
                        ChangeKind::Modified => '~',
                        ChangeKind::Removed => '-',
                    };
                    format!("{sign}{}", change.vm.name)
                }
                Ok(Update::Current { revision }) => format!("={revision}"),
                Ok(Update::Bookmark { revision }) => format!(".{revision}"),
                // How often depends on the pauses; that it happens is what matters.
                Ok(Update::Reconnecting { .. }) => continue,
                Err(error) => format!("error: {error}"),
            };
            let done = word == last;
            all.push(word);
            if done {
                return;
            }
        }
        all.push("(end)".to_owned());
    };
    let patience = std::time::Duration::from_secs(20);
    let done = tokio::time::timeout(patience, collect).await.is_ok();
    assert!(done, "never told {last}; only {all:?}");
    all
}

#[tokio::test]
async fn a_broken_stream_is_resumed_after_the_last_revision() {
    let server = fake::start();
    server.state().watches.extend([
        vec![
            say(vec![event(Added, "a", 1)], 3, true),
            say(vec![event(Modified, "a", 5)], 5, false),
            Step::Fail(Status::unavailable("the server is shutting down")),
        ],
        vec![Step::Fail(Status::unavailable("not yet"))],
        vec![say(vec![event(Added, "b", 6)], 6, false), Step::Stay],
    ]);
    let mut updates = client(&server).await.vms().watch(VmFilter::default());
    assert_eq!(told(&mut updates, "+b").await, ["+a", "=3", "~a", "+b"]);
    assert_eq!(server.state().watched_after, [None, Some(5), Some(5)]);
}

#[tokio::test]
async fn a_stream_that_just_ends_is_opened_again() {
    let server = fake::start();
    server.state().watches.extend([
        vec![say(vec![event(Added, "a", 1)], 3, true)],
        vec![say(vec![event(Modified, "a", 4)], 4, false), Step::Stay],
    ]);
    let mut updates = client(&server).await.vms().watch(VmFilter::default());
    assert_eq!(told(&mut updates, "~a").await, ["+a", "=3", "~a"]);
}

#[tokio::test]
async fn a_revision_too_old_is_answered_with_the_differences() {
    let server = fake::start();
    server.state().watches.extend([
        vec![say(vec![event(Added, "a", 1), event(Added, "b", 2)], 3, true)],
        vec![too_old()],
        vec![
            say(vec![event(Added, "a", 1), event(Added, "c", 1_000_000)], 1_000_001, true),
            Step::Stay,
        ],
    ]);
    let mut updates = client(&server).await.vms().watch(VmFilter::default());
    assert_eq!(told(&mut updates, "=1000001").await, ["+a", "+b", "=3", "+c", "-b", "=1000001"]);
    assert_eq!(server.state().watched_after, [None, Some(3), None]);
}

#[tokio::test]
async fn a_watch_from_a_list_begins_at_its_revision() {
    let server = fake::start();
    server.state().watches.push_back(vec![say(vec![event(Added, "b", 8)], 8, false), Step::Stay]);
    let list = VmList { vms: vec![], revision: 7 };
    let mut updates = client(&server).await.vms().watch_from(VmFilter::default(), list);
    assert_eq!(told(&mut updates, "+b").await, ["+b"]);
    assert_eq!(server.state().watched_after, [Some(7)]);
}

#[tokio::test]
async fn a_refusal_that_no_retry_can_help_ends_the_stream() {
    let server = fake::start();
    let status = refusal(Code::Unauthenticated, "TOKEN_INVALID", "a token is needed");
    server.state().watches.push_back(vec![Step::Fail(status)]);
    let mut updates = client(&server).await.vms().watch(VmFilter::default());
    assert_eq!(
        told(&mut updates, "never").await,
        ["error: a token is needed (TOKEN_INVALID)", "(end)"]
    );
}

#[tokio::test]
async fn a_watch_of_hosts_begins_with_the_hosts_that_are_there() {
    use banger_client::hosts::HostUpdate;
    let server = fake::start();
    server.state().hosts.insert("b0".to_owned(), fake::host("b0", HostState::Online));
    let mut updates = client(&server).await.hosts().watch();
    let Some(Ok(HostUpdate::Host(host))) = updates.next().await else { panic!("no host") };
    assert_eq!(host.name, "b0");
    assert!(matches!(updates.next().await, Some(Ok(HostUpdate::Current))));
    // The fake's stream ends; nothing that was told is told again, and nothing was removed.
    server.state().hosts.clear();
    let mut next = updates.next().await;
    while let Some(Ok(HostUpdate::Reconnecting { .. } | HostUpdate::Current)) = next {
        next = updates.next().await;
    }
    assert!(matches!(&next, Some(Ok(HostUpdate::Removed(host))) if host.name == "b0"), "{next:?}");
}
