//! The two console calls over an agent API with one VM whose console the test prints on.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use banger_proto::ids::Epoch;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::assignment::Assignment;
use crate::guests::{GuestClient, NoGuest};
use crate::host::{
    Announced, Change, Console, HostError, HostErrorKind, HostResult, Hub, ImageName, Receiving,
};
use crate::inventory::sweep::{Asker, Listed, Policy, Swept};
use crate::report::Reporter;
use crate::rpc::{Assigned, HostFacts, NotAssigned};

const VM: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";

#[derive(Default)]
struct FakeApi {
    hub: Hub,
    past: Mutex<Vec<u8>>,
    typed: Mutex<Vec<u8>>,
    no_input: Mutex<bool>,
    gone: CancellationToken,
    draining: CancellationToken,
    reporter: Reporter,
}

#[async_trait]
impl AgentApi for FakeApi {
    async fn assign(&self, _offered: Assignment) -> Result<Assigned, NotAssigned> {
        Ok(Assigned::Absent)
    }

    async fn host_facts(&self) -> HostFacts {
        unreachable!("no console call asks for the host")
    }

    fn reporter(&self) -> &Reporter {
        &self.reporter
    }

    async fn server_seen(&self, _name: &str, _epoch: Epoch) {}

    async fn console(&self, vm: VmId, past: u64) -> HostResult<Option<VmConsole>> {
        let kept = self.past.lock().clone();
        let from = kept.len().saturating_sub(usize::try_from(past).unwrap());
        let console = Console { past: kept[from..].to_vec(), live: self.hub.listen() };
        Ok((vm.to_string() == VM).then(|| VmConsole { console, gone: self.gone.clone() }))
    }

    async fn type_in(&self, vm: VmId, bytes: &[u8]) -> HostResult<()> {
        if *self.no_input.lock() {
            return Err(HostError::new(HostErrorKind::Refused, "type into the console of", vm));
        }
        self.typed.lock().extend_from_slice(bytes);
        if !bytes.is_empty() {
            // As a terminal does.
            self.hub.say(bytes);
        }
        Ok(())
    }

    async fn inventory(&self, _claimed: BTreeSet<VmId>) -> HostResult<(Vec<Listed>, Policy)> {
        unreachable!("nobody asks")
    }

    async fn sweep(&self, _asker: Asker, _dry_run: bool) -> HostResult<(Vec<Swept>, Policy)> {
        unreachable!("nobody asks")
    }

    async fn receive_image(&self, _announced: Announced) -> HostResult<Option<Receiving>> {
        unreachable!("nobody asks")
    }

    async fn remove_image(&self, _name: &ImageName) -> HostResult<Change> {
        unreachable!("nobody asks")
    }

    fn guest(&self, _vm: VmId) -> Option<Result<GuestClient, NoGuest>> {
        unreachable!("nobody asks")
    }

    fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }
}

fn asked(follow: bool) -> wire::ReadConsoleRequest {
    wire::ReadConsoleRequest { vm_id: VM.to_owned(), follow, tail_bytes: 1 << 20 }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().expect("every error has its reason").reason
}

async fn next(stream: &mut Messages<wire::ReadConsoleResponse>) -> String {
    let message = stream.next().await.expect("it goes on").expect("no error");
    String::from_utf8(message.data).unwrap()
}

#[tokio::test]
async fn without_follow_it_ends_with_what_is_kept_in_messages_of_bounded_size() {
    let api = Arc::new(FakeApi::default());
    *api.past.lock() = vec![b'x'; MAX_STREAM_DATA_BYTES + 5];
    let stream = read(api, asked(false)).await.unwrap();
    let sizes: Vec<usize> = stream.map(|message| message.unwrap().data.len()).collect().await;
    assert_eq!(sizes, [MAX_STREAM_DATA_BYTES, 5]);
}

#[tokio::test]
async fn following_goes_on_until_the_vm_is_deleted_and_last_words_come_first() {
    let api = Arc::new(FakeApi::default());
    *api.past.lock() = b"past ".to_vec();
    let mut stream = read(api.clone(), asked(true)).await.unwrap();
    assert_eq!(next(&mut stream).await, "past ");
    api.hub.say(b"live");
    assert_eq!(next(&mut stream).await, "live");
    api.hub.say(b"last words");
    api.gone.cancel();
    assert_eq!(next(&mut stream).await, "last words");
    assert!(stream.next().await.is_none(), "a deleted VM prints no more");
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_lost_by_a_line() {
    let api = Arc::new(FakeApi::default());
    let mut stream = read(api.clone(), asked(true)).await.unwrap();
    for _ in 0..100 {
        api.hub.say(b"0123456789");
    }
    let told = next(&mut stream).await;
    assert!(told.contains("360 bytes of the console came too fast"), "{told}");
    assert_eq!(next(&mut stream).await, "0123456789");
}

#[tokio::test]
async fn an_agent_that_shuts_down_says_so_to_who_follows() {
    let api = Arc::new(FakeApi::default());
    let mut stream = read(api.clone(), asked(true)).await.unwrap();
    api.draining.cancel();
    let status = stream.next().await.expect("an end with a reason").expect_err("an error");
    assert_eq!((status.code(), reason(&status)), (Code::Unavailable, "SHUTTING_DOWN".to_owned()));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_vm_that_is_not_here_and_an_id_that_is_none_are_refused() {
    let other = "0192f0c1-2d3e-7a4b-8c5d-000000000000";
    for (vm_id, expected) in [(other, "ASSIGNMENT_NOT_FOUND"), ("../x", "INVALID_FIELDS")] {
        let request = wire::ReadConsoleRequest { vm_id: vm_id.to_owned(), ..asked(true) };
        let status = read(Arc::new(FakeApi::default()), request).await.map(drop).expect_err(vm_id);
        assert_eq!(reason(&status), expected);
    }
}

struct Attached {
    typist: mpsc::UnboundedSender<Result<wire::AttachConsoleRequest, Status>>,
    screen: Messages<wire::AttachConsoleResponse>,
}

impl Attached {
    async fn to(api: &Arc<FakeApi>) -> Result<Self, Status> {
        let (typist, typed) = mpsc::unbounded_channel();
        let first = wire::AttachConsoleRequest { vm_id: VM.to_owned(), ..Default::default() };
        typist.send(Ok(first)).unwrap();
        let screen = attach(api.clone(), UnboundedReceiverStream::new(typed)).await?;
        Ok(Self { typist, screen })
    }

    fn send(&self, data: &[u8]) {
        let data = data.to_vec();
        let message = wire::AttachConsoleRequest { data, ..Default::default() };
        self.typist.send(Ok(message)).unwrap();
    }

    async fn see(&mut self) -> String {
        let message = self.screen.next().await.expect("it goes on").expect("no error");
        String::from_utf8(message.data).unwrap()
    }
}

#[tokio::test]
async fn what_one_types_all_who_are_attached_see() {
    let api = Arc::new(FakeApi::default());
    let mut one = Attached::to(&api).await.unwrap();
    let mut two = Attached::to(&api).await.unwrap();
    one.send(b"ls\n");
    assert_eq!((one.see().await, two.see().await), ("ls\n".to_owned(), "ls\n".to_owned()));
    two.send(b"pwd\n");
    assert_eq!((one.see().await, two.see().await), ("pwd\n".to_owned(), "pwd\n".to_owned()));
    assert_eq!(*api.typed.lock(), b"ls\npwd\n");
    // The end of the typing is not the end of the reading.
    drop(one.typist);
    api.hub.say(b"more");
    let message = one.screen.next().await.expect("it goes on").expect("no error");
    assert_eq!(message.data, b"more");
    api.gone.cancel();
    assert!(one.screen.next().await.is_none());
}

#[tokio::test]
async fn a_console_without_input_refuses_at_once_or_ends_with_the_reason() {
    let api = Arc::new(FakeApi::default());
    let mut attached = Attached::to(&api).await.unwrap();
    *api.no_input.lock() = true;
    attached.send(b"x");
    let status = attached.screen.next().await.expect("an end").expect_err("an error");
    assert_eq!(reason(&status), "CONSOLE_UNAVAILABLE");
    let status = Attached::to(&api).await.map(drop).expect_err("nothing to type into");
    assert_eq!(status.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_stream() {
    let api = Arc::new(FakeApi::default());
    let mut attached = Attached::to(&api).await.unwrap();
    attached.send(&vec![b'x'; MAX_STREAM_DATA_BYTES + 1]);
    let status = attached.screen.next().await.expect("an end").expect_err("an error");
    assert_eq!(reason(&status), "INVALID_FIELDS");
    assert!(api.typed.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_types_no_more() {
    let api = Arc::new(FakeApi::default());
    let attached = Attached::to(&api).await.unwrap();
    let Attached { typist, screen } = attached;
    drop(screen);
    // The task that typed was ended with its reader.
    let closed = tokio::time::timeout(Duration::from_secs(60), typist.closed()).await;
    assert!(closed.is_ok(), "somebody still listens to the typist");
}
