//! Runs the command that was typed, and a change for many names at once. Each opens a session,
//! makes its calls and prints.
//!
//! A file for each noun, and three more for VMs: [`create`] makes and updates them, [`change`]
//! starts and stops them, [`guest`] reaches into them; [`vm`] reads, and [`show`] prints them.
//! [`near`] is what every command asks for a name that the server does not know.

use futures_util::StreamExt as _;

use crate::args::project::ProjectCommand;
use crate::args::token::TokenCommand;
use crate::args::vm::VmCommand;
use crate::args::{Cli, Command, Global};
use crate::complete;
use crate::session::{Session, endpoint_in_place};
use banger_terminal::args::Format;
use banger_terminal::failure::Failure;
use banger_terminal::output::Printer;

mod audit;
mod change;
mod context;
mod create;
mod guest;
mod host;
mod image;
mod login;
mod manual;
mod near;
mod project;
mod show;
mod status;
mod token;
mod vm;
mod wait;
mod watch;

/// How many calls are under way at once where several things are named.
const AT_ONCE: usize = 16;

pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Vm(command) => of_vms(&global, command).await,
        Command::Host(command) => {
            let session = Session::open(&global).await?;
            near::named(&session, host::run(&session, command).await).await
        }
        Command::Image(command) => Box::pin(image::run(&global, command)).await,
        Command::Token(command) => Box::pin(of_tokens(&global, command)).await,
        Command::Project(command) => Box::pin(of_projects(&global, command)).await,
        Command::Login(args) => Box::pin(login::login(&global, args)).await,
        Command::Logout => login::logout(&global).await,
        Command::Whoami => {
            let session = Session::open(&global).await?;
            Box::pin(project::whoami(&session)).await
        }
        Command::Audit(args) => audit::run(&Session::open(&global).await?, args).await,
        Command::Dev(command) => banger_dev::run(Printer::new(global.output), command).await,
        Command::System(command) => {
            let printer = Printer::new(global.output);
            banger_installer::run(printer, move || endpoint_in_place(&global), command).await
        }
        Command::Context(command) => context::run(&global, command),
        Command::Status => status::status(&Session::open(&global).await?).await,
        Command::Completions { shell } => {
            let script = complete::registration(shell)
                .map_err(|error| Failure::io("write the completions", error))?;
            Printer::new(Format::Table).raw(&script)
        }
        Command::Man { directory } => manual::write(&directory),
        Command::Version => {
            Printer::new(Format::Table).raw(&format!("banger {}\n", env!("CARGO_PKG_VERSION")))
        }
        Command::Ps(args) => of_vms(&global, VmCommand::Ls(args)).await,
        Command::Logs(args) => of_vms(&global, VmCommand::Logs(args)).await,
        Command::Exec(args) => of_vms(&global, VmCommand::Exec(args)).await,
        Command::Shell(args) => of_vms(&global, VmCommand::Shell(args)).await,
        Command::Run(args) => of_vms(&global, VmCommand::Run(args)).await,
        Command::Restart(args) => of_vms(&global, VmCommand::Reboot(args)).await,
    }
}

async fn of_vms(global: &Global, command: VmCommand) -> Result<(), Failure> {
    let session = Session::open(global).await?;
    // On the heap: it holds whole VMs, several at a time.
    let done = Box::pin(vm::run(&session, global, command)).await;
    near::named(&session, done).await
}

async fn of_projects(global: &Global, command: ProjectCommand) -> Result<(), Failure> {
    let session = Session::open(global).await?;
    near::named(&session, project::run(&session, command).await).await
}

async fn of_tokens(global: &Global, command: TokenCommand) -> Result<(), Failure> {
    let session = Session::open(global).await?;
    near::named(&session, token::run(&session, command).await).await
}

/// Does the same for several names, and goes on where one fails. Hands back what went well, to be
/// printed, and then the failures.
async fn for_each<T, F>(
    names: &[String],
    act: impl Fn(String) -> F,
) -> (Vec<T>, Result<(), Failure>)
where
    F: Future<Output = Result<T, Failure>>,
{
    // On the heap: sixteen of them side by side are large.
    let calls = names.iter().map(|name| {
        let call = Box::pin(act(name.clone()));
        async move { (name.clone(), call.await) }
    });
    let mut calls = futures_util::stream::iter(calls).buffered(AT_ONCE);
    let mut done = Vec::with_capacity(names.len());
    let mut failed = Vec::new();
    while let Some((name, answer)) = calls.next().await {
        match answer {
            Ok(value) => done.push(value),
            Err(failure) => failed.push((name, failure)),
        }
    }
    let outcome = match failed.pop() {
        None => Ok(()),
        // Which one it was needs no saying where only one was named.
        Some((_, failure)) if names.len() == 1 => Err(failure),
        Some(last) => {
            failed.push(last);
            Err(Failure::Several(failed))
        }
    };
    (done, outcome)
}
