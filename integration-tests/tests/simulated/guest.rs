//! Guests are reached through server and agent. A simulated guest has a console that shows what is
//! typed, and nothing more.

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::specs::create;
use banger_integration_tests::wait::until;
use banger_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

fn asked(vm: &str, follow: bool) -> v1::ReadConsoleRequest {
    v1::ReadConsoleRequest { vm: vm.to_owned(), follow, tail_bytes: 1 << 20 }
}

struct Screen(Streaming<v1::ReadConsoleResponse>);

impl Screen {
    async fn open(fleet: &Fleet, vm: &str, follow: bool) -> Result<Self, Status> {
        Ok(Self(fleet.vms().read_console(asked(vm, follow)).await?.into_inner()))
    }

    /// Reads until the text is there, or to the end.
    async fn shows(&mut self, text: &str) -> Result<String, Status> {
        let mut shown = String::new();
        while !shown.contains(text) {
            match self.0.message().await? {
                Some(message) => shown.push_str(&String::from_utf8_lossy(&message.data)),
                None => break,
            }
        }
        Ok(shown)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guest_a_console_is_read_and_typed_into_from_its_boot_to_its_end() {
    let fleet = Fleet::of(1).await;
    fleet.create(create("web")).await;
    fleet.until_state("web", v1::VmState::Running).await;
    let mut whole = Screen::open(&fleet, "web", false).await.expect("it opens");
    let shown = whole.shows("never").await.expect("it ends");
    assert_eq!(shown, "simulated guest: booted, Linux version 0.0.0\n");

    let mut follower = Screen::open(&fleet, "web", true).await.expect("it opens");
    follower.shows("0.0.0\n").await.expect("it goes on");
    let (send, typed) = mpsc::channel(1);
    let first = v1::AttachConsoleRequest { vm: "web".to_owned(), ..Default::default() };
    send.send(first).await.expect("it is open");
    let attached = fleet.vms().attach_console(ReceiverStream::new(typed)).await;
    let mut screen = attached.expect("attached").into_inner();
    let keys = v1::AttachConsoleRequest { data: b"hello".to_vec(), ..Default::default() };
    send.send(keys).await.expect("it is open");
    assert_eq!(screen.message().await.expect("goes on").expect("a message").data, b"hello");
    assert_eq!(follower.shows("hello").await.expect("it goes on"), "hello");

    // A stop and a start are one stream; a deletion is its end.
    let stop = v1::StopVmRequest { vm: "web".to_owned(), ..Default::default() };
    fleet.vms().stop_vm(stop).await.expect("accepted");
    follower.shows("Restarting system").await.expect("it goes on");
    fleet.until_state("web", v1::VmState::Stopped).await;
    let first = v1::AttachConsoleRequest { vm: "web".to_owned(), ..Default::default() };
    let (send, typed) = mpsc::channel(1);
    send.send(first).await.expect("it is open");
    let status = fleet.vms().attach_console(ReceiverStream::new(typed)).await.map(drop);
    if let Err(status) = status {
        // Depending on whether its jail is gone already.
        assert_eq!(
            (status.code(), &*reason(&status)),
            (Code::FailedPrecondition, "CONSOLE_UNAVAILABLE")
        );
    }
    let start = v1::StartVmRequest { vm: "web".to_owned(), ..Default::default() };
    fleet.vms().start_vm(start).await.expect("accepted");
    follower.shows("booted").await.expect("it goes on");
    let delete = v1::DeleteVmRequest { vm: "web".to_owned(), ..Default::default() };
    fleet.vms().delete_vm(delete).await.expect("accepted");
    match follower.shows("never").await {
        Ok(_) => {}
        Err(status) => assert_eq!(reason(&status), "VM_NOT_FOUND"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guest_a_console_says_that_its_agent_went_away_and_comes_back_with_it() {
    let mut fleet = Fleet::of(1).await;
    fleet.create(create("web")).await;
    fleet.until_state("web", v1::VmState::Running).await;
    let mut follower = Screen::open(&fleet, "web", true).await.expect("it opens");
    follower.shows("booted").await.expect("it goes on");
    // Not killed: a simulated machine lives in its agent, which saves it at its end.
    fleet.stop_agent(0);
    let status = follower.shows("never").await.expect_err("the agent is gone");
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "HOST_UNREACHABLE"));
    until("the console says that the host is away", || async {
        match Screen::open(&fleet, "web", true).await {
            Err(status) if reason(&status) == "HOST_UNREACHABLE" => Ok(()),
            Err(status) => Err(status.to_string()),
            Ok(_) => Err("it opens".to_owned()),
        }
    })
    .await;
    fleet.start_agent(0);
    until("the console is back", || async {
        let mut screen = Screen::open(&fleet, "web", false).await.map_err(|e| e.to_string())?;
        screen.shows("booted").await.map_err(|e| e.to_string()).map(drop)
    })
    .await;
}
