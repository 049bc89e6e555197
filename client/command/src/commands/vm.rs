//! `banger vm`: reading VMs. What changes them is in `create` and `change`, what reaches into them
//! in `guest`.

use banger_client::v1::{ExplainVmResponse, ListVmEventsResponse, ListVmsResponse};

use super::guest::{console, copy, forward, program, run as run_one, ssh};
use super::show::{names, show};
use super::{change, create, for_each, watch};
use crate::args::Global;
use crate::args::vm::{FilterArgs, VmCommand};
use crate::clock::now;
use crate::output::vms;
use crate::session::Session;
use banger_terminal::failure::Failure;

pub(super) async fn run(
    session: &Session,
    global: &Global,
    command: VmCommand,
) -> Result<(), Failure> {
    match command {
        VmCommand::Create(args) => create::create(session, *args).await,
        VmCommand::Update(args) => create::update(session, *args).await,
        VmCommand::Ls(args) => list(session, args).await,
        VmCommand::Get(args) => get(session, &args.vms).await,
        VmCommand::Start(args) => change::start(session, args).await,
        VmCommand::Stop(args) => change::stop(session, args).await,
        VmCommand::Reboot(args) => change::reboot(session, args).await,
        VmCommand::Pause(args) => change::pause(session, args).await,
        VmCommand::Resume(args) => change::resume(session, args).await,
        VmCommand::Rm(args) => change::remove(session, args).await,
        VmCommand::Wait(args) => change::wait_for(session, args).await,
        VmCommand::Watch(args) => watch::watch(session, args).await,
        VmCommand::Events(args) => events(session, &args.vm).await,
        VmCommand::Explain(args) => explain(session, &args.vm).await,
        VmCommand::Bind(args) => change::bind(session, args).await,
        VmCommand::Console(args) => console::console(session, args).await,
        VmCommand::Logs(args) => console::logs(session, args).await,
        VmCommand::Exec(args) => program::exec(session, args).await,
        VmCommand::Shell(args) => program::shell(session, args).await,
        VmCommand::Cp(args) => copy::copy(session, args).await,
        VmCommand::Ssh(args) => ssh::ssh(session, global, args).await,
        VmCommand::Forward(args) => forward::forward(session, args).await,
        VmCommand::Run(args) => Box::pin(run_one::run(session, *args)).await,
    }
}

async fn list(session: &Session, args: FilterArgs) -> Result<(), Failure> {
    let list = session.client.vms().list_all(args.into()).await?;
    let message = ListVmsResponse {
        total_size: list.vms.len() as u64,
        vms: list.vms,
        revision: list.revision,
        next_page_token: String::new(),
    };
    if message.vms.is_empty() {
        session.printer.note("No VMs.");
    }
    session.printer.whole(
        &message,
        |m| names(&m.vms),
        |m| match m.vms[..] {
            [] => String::new(),
            _ => vms::table(&m.vms, now()),
        },
    )
}

async fn get(session: &Session, names: &[String]) -> Result<(), Failure> {
    let read = |name: String| async move { Ok(session.client.vms().get(&name).await?) };
    let (found, outcome) = for_each(names, read).await;
    show(session, found, names.len() > 1, |found| {
        let blocks: Vec<_> = found.iter().map(|vm| vms::detail(vm, now())).collect();
        blocks.join("\n")
    })?;
    outcome
}

async fn events(session: &Session, vm: &str) -> Result<(), Failure> {
    let events = session.client.vms().events(vm).await?;
    let message = ListVmEventsResponse { events, next_page_token: String::new() };
    session.printer.whole(
        &message,
        |m| m.events.iter().map(|event| event.r#type.clone()).collect(),
        |m| vms::history(&m.events, now()),
    )
}

async fn explain(session: &Session, vm: &str) -> Result<(), Failure> {
    let explained = session.client.vms().explain(vm).await?;
    let name = |e: &ExplainVmResponse| vec![e.decision.clone()];
    session.printer.whole(&explained, name, vms::explanation)
}
