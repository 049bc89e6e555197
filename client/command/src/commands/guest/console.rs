//! `banger vm console`: shows the serial console of a VM, and types into it.

use super::screen::Screen;
use super::terminal::{Keys, Raw, Signals, Told, keys};
use crate::args::guest::{ConsoleArgs, LogsArgs, RawArgs};
use crate::session::Session;
use banger_client::guests::GuestInput;
use banger_client::v1::{AttachConsoleRequest, ReadConsoleRequest};
use banger_terminal::failure::Failure;
use banger_terminal::text::clean;

/// `Ctrl-]`, as telnet has it.
const DETACH: u8 = 0x1d;

pub(in super::super) async fn console(session: &Session, args: ConsoleArgs) -> Result<(), Failure> {
    if args.no_attach || args.follow {
        return show(session, args).await;
    }
    attach(session, args).await
}

pub(in super::super) async fn logs(session: &Session, args: LogsArgs) -> Result<(), Failure> {
    let LogsArgs { vm, follow, tail, raw } = args;
    show(session, ConsoleArgs { vm, no_attach: true, follow, tail, raw }).await
}

async fn show(session: &Session, args: ConsoleArgs) -> Result<(), Failure> {
    let ConsoleArgs { vm, follow, tail, raw, .. } = args;
    let name = clean(&vm);
    let mut shown = screen(raw);
    let request = ReadConsoleRequest { vm, follow, tail_bytes: tail };
    let mut console = session.client.vms().console(request).await?;
    let ended = loop {
        match console.next().await {
            Ok(Some(data)) => shown.show(&data).await?,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    shown.end().await?;
    ended?;
    if follow {
        session.printer.note(&format!("The console of {name} has ended."));
    }
    Ok(())
}

fn screen(raw: RawArgs) -> Screen<tokio::io::Stdout> {
    Screen::on(tokio::io::stdout(), &std::io::stdout(), raw.raw)
}

async fn attach(session: &Session, args: ConsoleArgs) -> Result<(), Failure> {
    let ConsoleArgs { vm, tail, raw: bytes, .. } = args;
    let name = clean(&vm);
    let mut shown = screen(bytes);
    let (input, mut screen) = session.client.vms().attach_console(&vm, tail).await?;
    let mut signals = Signals::hear()?;
    let raw = Raw::enter()?;
    let escape = raw.is_some();
    if escape {
        // In raw mode a line needs its own return.
        session.printer.note(&format!("Attached to the console of {name}; Ctrl-] detaches.\r"));
    }
    let typing = type_keys(keys(), input, escape);
    tokio::pin!(typing);
    let mut typed = None;
    let ended = loop {
        // Cancel-safe: the screen hands out whole messages, signals are kept, and typing goes on
        // where it was.
        tokio::select! {
            message = screen.next() => match message {
                Ok(Some(message)) => shown.show(&message.data).await?,
                Ok(None) => break Ok("The console has ended."),
                Err(error) => break Err(error.into()),
            },
            detached = &mut typing, if typed.is_none() => {
                typed = Some(detached);
                if detached {
                    break Ok("Detached.");
                }
            }
            told = signals.next() => match told {
                Told::End(number) => break Err(Failure::Interrupted(format!(
                    "detached from the console of {name} by signal {number}"
                ))),
                // The guest asks its terminal itself, if at all: a serial line has no size.
                Told::Resized => {}
            }
        }
    };
    let restored = shown.end().await;
    drop(raw);
    restored?;
    match ended {
        Ok(how) => {
            session.printer.note(&format!("\n{how}"));
            Ok(())
        }
        Err(failure) => Err(failure),
    }
}

/// Sends what is typed until its end, or until the escape: then `true`.
async fn type_keys(mut keys: Keys, input: GuestInput<AttachConsoleRequest>, escape: bool) -> bool {
    while let Some(Ok(mut data)) = keys.recv().await {
        let end = data.iter().position(|byte| escape && *byte == DETACH);
        data.truncate(end.unwrap_or(data.len()));
        let message = AttachConsoleRequest { data, ..AttachConsoleRequest::default() };
        if !input.send(message).await {
            return false;
        }
        if end.is_some() {
            return true;
        }
    }
    false
}
