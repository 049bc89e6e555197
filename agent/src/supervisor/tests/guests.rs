//! Guests with a guest agent: what is reported of it, across restarts of the agent, and what is
//! done by it. In real time: HTTP/2 has clocks of its own.

use banger_proto::guest_v1::ExecRequest;
use banger_proto::v1::exec_input::Input;
use banger_proto::v1::exec_output::Output;
use banger_proto::v1::{ExecInput, ExecStart};

use super::super::harness::{World, names};
use super::*;
use crate::guests::{GuestSeen, NoGuest};
use crate::host::fakes::FakeKernel;
use crate::report::VmReport;
use crate::vm::fixtures::wait_for;

/// A machine whose guests have guest agents, with VM 1 running and heard.
async fn ready() -> (World, GuestSeen) {
    let kernel = FakeKernel::new();
    kernel.let_guests_answer(true);
    let mut world = World::on(kernel).await;
    world.assign(assignment_of(1, 1, 1, Power::Running)).await;
    world.settles(1, Phase::Running).await;
    let guest = heard(&world, |guest| guest.connected).await;
    (world, guest)
}

/// Waits until something is reported of the guest of VM 1.
async fn heard(world: &World, holds: impl Fn(&GuestSeen) -> bool) -> GuestSeen {
    let guest = |report: &VmReport| report.guest.clone().filter(|guest| holds(guest));
    let reporter = world.agent.reporter().clone();
    let seen = reporter.wait_for(vm_id(1), |report| report.is_some_and(|r| guest(r).is_some()));
    let report = tokio::time::timeout(Duration::from_secs(60), seen).await;
    let report = report.unwrap_or_else(|_| panic!("{:#?}", world.report(vm_id(1))));
    report.and_then(|report| report.guest.clone()).expect("it holds")
}

fn console(world: &World) -> String {
    let content = world.kernel.file(&names(1).dir, &part("console.log"));
    String::from_utf8_lossy(&content.unwrap_or_default()).into_owned()
}

/// What a program of VM 1 prints.
async fn exec(world: &World, command: &[&str]) -> Result<String, NoGuest> {
    let mut guest = world.agent.guest(vm_id(1)).expect("the VM is held")?;
    let command = command.iter().map(ToString::to_string).collect();
    let start = Input::Start(ExecStart { command, ..Default::default() });
    let request = ExecRequest { input: Some(ExecInput { input: Some(start) }) };
    let answer = guest.client.exec(tokio_stream::iter([request])).await.expect("it runs");
    let (mut outputs, mut printed) = (answer.into_inner(), Vec::new());
    while let Some(message) = outputs.message().await.expect("it goes on") {
        if let Some(Output::Stdout(data)) = message.output.and_then(|output| output.output) {
            printed.extend(data);
        }
    }
    Ok(String::from_utf8(printed).expect("it is text"))
}

#[tokio::test]
async fn a_guest_is_reported_ready_and_after_a_restart_of_the_agent_it_is_the_same_boot() {
    let (mut world, before) = ready().await;
    assert_eq!((before.hostname.as_str(), before.transport), ("fake", "virtio-serial"));
    assert_eq!(exec(&world, &["echo", "a", "b"]).await, Ok("a b\n".to_owned()));
    world.restart().await;
    let after = heard(&world, |guest| guest.connected).await;
    assert_eq!(after.boot_id, before.boot_id);
    assert_eq!(exec(&world, &["echo", "again"]).await, Ok("again\n".to_owned()));
    // A crash of the guest is another boot.
    assert!(world.kernel.crash(&names(1).jail, ExitStatus::Signal(9)));
    let gone = world.sees(1, Phase::Crashed).await;
    assert_eq!(gone.guest, None, "its guest is gone with it");
    assert_eq!(exec(&world, &["true"]).await, Err(NoGuest::NotRunning));
    let mut again = assignment_of(1, 1, 2, Power::Running);
    again.boot_number = 2;
    world.assign(again).await;
    let other = heard(&world, |guest| guest.boot_id != before.boot_id).await;
    assert!(other.connected);
}

#[tokio::test]
async fn a_guest_without_a_guest_agent_runs_and_is_stopped_by_its_keyboard() {
    let mut world = World::new().await;
    world.assign(assignment_of(1, 1, 1, Power::Running)).await;
    let running = world.settles(1, Phase::Running).await;
    assert_eq!(running.guest, None);
    assert_eq!(exec(&world, &["true"]).await, Err(NoGuest::NeverHeard));
    assert!(world.agent.guest(vm_id(2)).is_none(), "nothing is held of it");
    world.assign(assignment_of(1, 1, 2, Power::Stopped)).await;
    world.settles(1, Phase::Stopped).await;
    assert!(traced(&world, "vmm.send_ctrl_alt_del"), "{:#?}", world.kernel.trace());
}

#[tokio::test]
async fn a_guest_with_a_guest_agent_is_stopped_by_it() {
    let (mut world, _) = ready().await;
    world.assign(assignment_of(1, 1, 2, Power::Stopped)).await;
    let stopped = world.settles(1, Phase::Stopped).await;
    assert!(console(&world).contains("asked by its host to shut down"), "{}", console(&world));
    assert!(!traced(&world, "vmm.send_ctrl_alt_del"), "{:#?}", world.kernel.trace());
    assert!(stopped.exit.as_ref().is_some_and(|exit| !exit.crashed), "{:?}", stopped.exit);
    assert_eq!(stopped.guest, None);
}

#[tokio::test]
async fn a_guest_that_is_resumed_has_its_clock_set() {
    let (mut world, before) = ready().await;
    world.assign(assignment_of(1, 1, 2, Power::Paused)).await;
    world.settles(1, Phase::Paused).await;
    assert!(!console(&world).contains("clock set"), "{}", console(&world));
    world.assign(assignment_of(1, 1, 3, Power::Running)).await;
    let resumed = world.settles(1, Phase::Running).await;
    wait_for("the clock is set", || async {
        let console = console(&world);
        if console.contains("clock set") { Ok(()) } else { Err(console) }
    })
    .await;
    let guest = resumed.guest.clone().expect("it was heard before");
    assert_eq!((guest.boot_id, guest.ready_at), (before.boot_id, before.ready_at));
}

/// A guest whose agent says who it is and breaks the channel, again and again.
struct Breaking {
    guests: std::sync::Arc<dyn crate::host::Guests>,
    connections: std::sync::atomic::AtomicU32,
}

#[async_trait::async_trait]
impl crate::host::Guests for Breaking {
    async fn connect(
        &self,
        id: &crate::host::JailId,
    ) -> crate::host::HostResult<crate::host::GuestStream> {
        let crate::host::GuestStream { mut io, transport } = self.guests.connect(id).await?;
        self.connections.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            let carried = tokio::io::copy_bidirectional(&mut theirs, &mut io);
            let _ = tokio::time::timeout(Duration::from_millis(100), carried).await;
        });
        Ok(crate::host::GuestStream { io: Box::new(ours), transport })
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_breaks_its_channel_again_and_again_is_told_of_rarely() {
    let mut world = World::running().await;
    world.agent.shutdown(Duration::from_secs(1)).await;
    world.kernel.let_guests_answer(true);
    world.kernel.new_agent();
    let guests = world.kernel.host().guests;
    let breaking = std::sync::Arc::new(Breaking { guests, connections: Default::default() });
    let guests = breaking.clone();
    world.agent = start_with(&world.kernel, move |parts| parts.host.guests = guests).await;
    world.settles(1, Phase::Running).await;
    let count = || breaking.connections.load(std::sync::atomic::Ordering::Relaxed);
    world.passes(Duration::from_secs(60)).await;
    assert!(count() > 2, "{}: it is tried again", count());
    assert!(count() < 60, "{} connections in a minute, two reports each", count());
}
