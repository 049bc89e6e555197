//! What the commands do, one file per noun. Each opens a session, makes its calls and prints.

use clap::CommandFactory as _;
use futures_util::StreamExt as _;

use crate::args::{Cli, Command, Format};
use crate::dev;
use crate::failure::Failure;
use crate::output::Printer;
use crate::session::Session;
use crate::system;

mod change;
mod context;
mod create;
mod guest;
mod host;
mod image;
mod vm;
mod watch;

/// How many calls are under way at once where several things are named.
const AT_ONCE: usize = 16;

/// Runs one command.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Vm(command) => vm::run(&Session::open(&global).await?, &global, command).await,
        Command::Host(command) => host::run(&Session::open(&global).await?, command).await,
        Command::Image(command) => image::run(&global, command).await,
        Command::Dev(command) => dev::run(&global, command).await,
        Command::System(command) => system::run(&global, command).await,
        Command::Context(command) => context::run(&global, command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "banger", &mut script);
            Printer::new(Format::Table).raw(&String::from_utf8_lossy(&script))
        }
    }
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
