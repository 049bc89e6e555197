//! `banger vm exec`: runs a program in a guest as if it ran here.

use std::io::IsTerminal as _;

use super::ends::{Ends, Heard};
use super::ready;
use super::screen::Screen;
use super::terminal::{self, Keys, Raw, Signals, Told, keys};
use crate::args::guest::{ExecArgs, ProgramArgs, RawArgs, ShellArgs};
use crate::session::Session;
use banger_client::ClientError;
use banger_client::guests::{GuestInput, GuestStream, exec_input};
use banger_client::v1::exec_input::Input;
use banger_client::v1::exec_output::Output;
use banger_client::v1::{ExecExited, ExecStart, ExecStdinClosed, ExecVmRequest, ExecVmResponse};
use banger_terminal::failure::Failure;

pub(in super::super) async fn exec(session: &Session, args: ExecArgs) -> Result<(), Failure> {
    let ended = run(session, &args.vm, args.program).await;
    ended.map_err(Failure::before_program).and_then(|exited| leave(&exited))
}

/// What a shell is where nobody says which: the user's own if there is one, else any.
const SHELL: &str = "exec \"${SHELL:-/bin/sh}\" -l";

pub(in super::super) async fn shell(session: &Session, args: ShellArgs) -> Result<(), Failure> {
    let ShellArgs { vm, user, raw } = args;
    // A pipe has no size and no keys: then it is a script.
    let tty = std::io::stdin().is_terminal();
    let term = std::env::var("TERM").ok().filter(|term| tty && !term.is_empty());
    let program = ProgramArgs {
        interactive: true,
        tty,
        user,
        cwd: String::new(),
        env: term.map(|term| ("TERM".to_owned(), term)).into_iter().collect(),
        raw,
        command: ["/bin/sh", "-c", SHELL].map(str::to_owned).to_vec(),
    };
    exec(session, ExecArgs { vm, program }).await
}

/// Leaves as the program did.
pub(super) fn leave(exited: &ExecExited) -> Result<(), Failure> {
    let code = match (exited.code, exited.signal) {
        (Some(0), _) => return Ok(()),
        (Some(code), _) => u8::try_from(code).unwrap_or(1),
        (None, Some(signal)) => u8::try_from(signal).unwrap_or(127).saturating_add(128),
        (None, None) => 1,
    };
    Err(Failure::Program(code))
}

/// Runs a program to its end.
pub(super) async fn run(
    session: &Session,
    vm: &str,
    args: ProgramArgs,
) -> Result<ExecExited, Failure> {
    let ProgramArgs { interactive, tty, user, cwd, env, raw: RawArgs { raw: bytes }, command } =
        args;
    let start = ExecStart {
        command,
        environment: env.into_iter().collect(),
        directory: cwd,
        user,
        terminal: tty.then(terminal::size),
    };
    let mut signals = Signals::hear()?;
    let (input, mut outputs) = match begin(session, vm, start.clone(), &mut signals).await? {
        // Refused before anything ran, and nothing was read of standard input.
        Err(error) if ready::after(session, vm, &error, &mut signals).await? => {
            begin(session, vm, start, &mut signals).await??
        }
        begun => begun?,
    };
    let raw = if tty && interactive { Raw::enter()? } else { None };
    let feeding = feed(interactive.then(keys), input.clone());
    tokio::pin!(feeding);
    let mut fed = false;
    let mut ends = Ends::default();
    let mut out = Screen::on(tokio::io::stdout(), &std::io::stdout(), bytes);
    let mut err = Screen::on(tokio::io::stderr(), &std::io::stderr(), bytes);
    let ended = loop {
        // Cancel-safe: outputs come as whole messages, signals are kept, feeding goes on where it
        // was.
        tokio::select! {
            output = outputs.next() => match output?.map(|message| message.output) {
                Some(Some(output)) => match output.output {
                    Some(Output::Stdout(bytes)) => out.show(&bytes).await?,
                    Some(Output::Stderr(bytes)) => err.show(&bytes).await?,
                    Some(Output::Exited(exited)) => break exited,
                    Some(Output::Started(_)) | None => {}
                },
                Some(None) => {}
                None => {
                    let text = "the stream ended before the program did";
                    return Err(Failure::Other(anyhow::anyhow!(text)));
                }
            },
            done = &mut feeding, if !fed => {
                done?;
                fed = true;
            }
            told = signals.next() => match told {
                Told::Resized if tty => {
                    input.try_send(exec_input(Input::Resize(terminal::size())));
                }
                Told::Resized => {}
                Told::End(number) => match ends.hear(number) {
                    Heard::Passed => drop(input.try_send(exec_input(Input::Signal(number)))),
                    Heard::Enough => return Err(left()),
                },
            },
            () = ends.over() => return Err(left()),
        }
    };
    out.end().await?;
    err.end().await?;
    drop(raw);
    Ok(ended)
}

/// A program in a guest that was asked for: what goes into it and what comes out of it.
type Begun = (GuestInput<ExecVmRequest>, GuestStream<ExecVmResponse>);

/// Asks for a program, until it has begun, is refused, or somebody has enough of waiting: a guest
/// may take its time to say anything.
async fn begin(
    session: &Session,
    vm: &str,
    start: ExecStart,
    signals: &mut Signals,
) -> Result<Result<Begun, ClientError>, Failure> {
    let client = session.client.vms();
    let beginning = client.exec(vm, start);
    tokio::pin!(beginning);
    loop {
        // Cancel-safe: what is dropped is the call, which ends it.
        tokio::select! {
            begun = &mut beginning => return Ok(begun),
            told = signals.next() => match told {
                Told::End(_) => {
                    let text = "interrupted before the program had begun; if it begins, it is ended";
                    return Err(Failure::Interrupted(text.to_owned()));
                }
                Told::Resized => {}
            }
        }
    }
}

fn left() -> Failure {
    Failure::Interrupted("interrupted; the program was left alone and is ended".to_owned())
}

/// Passes on what is typed or piped in, then its end; without an input, the end at once. What can't
/// be read is no end: it ends the call.
async fn feed(keys: Option<Keys>, input: GuestInput<ExecVmRequest>) -> Result<(), Failure> {
    if let Some(mut keys) = keys {
        while let Some(bytes) = keys.recv().await {
            let bytes = bytes.map_err(|error| Failure::io("read standard input", error))?;
            if !input.send(exec_input(Input::Stdin(bytes))).await {
                return Ok(());
            }
        }
        if std::io::stdin().is_terminal() {
            return Ok(());
        }
    }
    input.send(exec_input(Input::StdinClosed(ExecStdinClosed {}))).await;
    Ok(())
}
