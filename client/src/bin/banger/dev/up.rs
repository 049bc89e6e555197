//! `banger dev up`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::signal::unix::{SignalKind, signal};

use super::fleet::{self, Programs};
use super::layout::Layout;
use super::mode;
use super::ports;
use super::record::Record;
use super::status;
use crate::args::dev::UpArgs;
use crate::failure::Failure;
use crate::output::Printer;
use crate::progress::Progress;

pub(super) async fn up(printer: Printer, args: UpArgs) -> Result<(), Failure> {
    let layout = Layout::of(&args.state_dir)?;
    layout.create()?;
    let lock = layout.lock()?;
    let programs = Programs::find()?;
    let (mut record, new) = wanted(&layout, &args, &programs).inspect_err(|_| {
        if !layout.record().exists() {
            // Nothing was there before and nothing came of it. Best effort: the error counts.
            let _ = layout.remove();
        }
    })?;
    let before = record.clone();
    let progress = Progress::start();
    let started = {
        let work = fleet::start_missing(&layout, &mut record, &programs, &progress);
        tokio::select! {
            // Dropping a start half way leaves processes, which are in the record and are stopped
            // below like after any other failure.
            started = work => started,
            () = interrupted() => Err(Failure::Interrupted("interrupted while starting".into())),
        }
    };
    let started = match started {
        Ok(started) => started,
        Err(failure) => {
            undo(&layout, &before, new, &progress).await;
            return Err(failure);
        }
    };
    drop(progress);
    drop(lock);
    if started.is_empty() {
        printer.note("Already running.");
    }
    match status::print(printer, &layout, &record).await {
        // That nobody reads it is no reason to leave what was started to itself.
        Ok(()) | Err(Failure::Closed) => {}
        Err(failure) => return Err(failure),
    }
    say_what_next(printer, &layout, &record, &args);
    if args.detach || started.is_empty() {
        return Ok(());
    }
    hold(printer, &layout, record).await
}

/// The API's address when none is given.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7070);

/// What is to run: what the record says, and more hosts if more are wanted. True when there was
/// no record.
fn wanted(layout: &Layout, args: &UpArgs, programs: &Programs) -> Result<(Record, bool), Failure> {
    let any = args.listen.is_some_and(|listen| listen.port() == 0);
    let (mut record, new) = match Record::load(layout)? {
        Some(mut record) => {
            fits(layout, args, &record)?;
            if let (Some(listen), false) = (args.listen, record.server.lives()) {
                // Agents keep theirs: the server knows them by it.
                record.server = ports::server(listen)?;
            }
            (record, false)
        }
        None => {
            let mode = {
                let (config, state) = (layout.config("b0")?, layout.agent_state("b0"));
                mode::decide(&programs.agent, &config, &state, args.simulate, args.real)?
            };
            let server = ports::server(args.listen.unwrap_or(DEFAULT_LISTEN))?;
            (Record::new(mode.simulated, mode.why, server), true)
        }
    };
    for index in record.agents.len()..args.hosts.into() {
        let agent = ports::agent(&record.server, index, any)?;
        record.agents.push(agent);
    }
    Ok((record, new))
}

/// Whether what is asked for can be had from what is there.
fn fits(layout: &Layout, args: &UpArgs, record: &Record) -> Result<(), Failure> {
    let root = layout.root.display();
    if (args.simulate && !record.simulated) || (args.real && record.simulated) {
        let kind = if record.simulated { "simulated" } else { "real" };
        return Err(Failure::Usage(format!(
            "{root} holds a {kind} set-up; take it down first (banger dev down), or name another \
             --state-dir"
        )));
    }
    match args.listen {
        Some(listen)
            if listen.port() != 0 && listen != record.server.listen && record.server.lives() =>
        {
            Err(Failure::Usage(format!(
                "the server of {root} runs already, at {}; stop it first (banger dev down --keep)",
                record.server.listen
            )))
        }
        Some(_) | None => Ok(()),
    }
}

/// Stops what a failed start has started, so that a repetition begins where this one did.
async fn undo(layout: &Layout, before: &Record, new: bool, progress: &Progress) {
    let Ok(Some(mut record)) = Record::load(layout) else { return };
    let lived = |name: &str| before.services().any(|s| s.name == name && s.lives());
    let keep: Vec<_> =
        record.services().filter(|s| lived(&s.name)).map(|s| s.process.clone()).collect();
    if keep.is_empty() {
        // Nothing ran before: everything goes, with the record if there was none. Logs stay.
        if let Err(failure) = fleet::stop(layout, &mut record, progress).await {
            failure.tell(None, crate::args::Format::Table);
        } else if new && record.agents.iter().all(|agent| !agent.joined) {
            let _ = std::fs::remove_file(layout.record());
        }
    }
}

fn say_what_next(printer: Printer, layout: &Layout, record: &Record, args: &UpArgs) {
    let url = record.url();
    let server = if url == banger_client::contexts::DEFAULT_SERVER {
        String::new()
    } else {
        format!(" --server {url}")
    };
    let mode = if record.simulated {
        format!(
            "Simulated: no guest runs, because {}.\n\
             For real guests, make `banger-agent doctor` content and use --real.\n",
            record.why
        )
    } else {
        let images = layout.agent_state("b0").join("images");
        format!("Real: kernels and root file systems are looked for in {}.\n", images.display())
    };
    let (kernel, root) =
        if record.simulated { ("demo-kernel", "demo-root") } else { ("KERNEL", "ROOT") };
    let stop = if args.detach { "" } else { "Ctrl-C stops everything and keeps the state. " };
    printer.note(&format!(
        "\n{mode}\nTry:\n  \
         banger{server} vm create web --kernel {kernel} --root {root} --wait\n  \
         banger{server} vm ls\n  \
         banger{server} vm watch\n  \
         banger{server} host ls\n  \
         banger{server} vm rm web --yes --wait\n\n\
         {stop}`banger dev down` removes everything."
    ));
}

/// Stays until somebody wants it to end, then stops everything.
async fn hold(printer: Printer, layout: &Layout, record: Record) -> Result<(), Failure> {
    let server = record.server.process.clone();
    let server_ended = async {
        match &server {
            Some(identity) => identity.ended().await,
            None => Ok(()),
        }
    };
    let ended = tokio::select! {
        () = interrupted() => false,
        ended = server_ended => {
            ended.map_err(|error| Failure::io("watch the server", error))?;
            true
        }
    };
    // If another `banger dev` has stopped the server, it holds the lock until it is done.
    let Some(_lock) = layout.lock_when_free().await? else { return by_another(printer) };
    // Others may have added hosts meanwhile, or stopped everything.
    let Some(mut record) = Record::load(layout)? else { return by_another(printer) };
    if ended && record.server.process != server {
        return by_another(printer);
    }
    if ended {
        eprint!("{}", layout.log_tail("server", 15));
        printer.note("The server ended by itself; stopping the agents.");
    }
    let vms = fleet::count_vms(&record).await;
    let progress = Progress::start();
    fleet::stop(layout, &mut record, &progress).await?;
    drop(progress);
    printer.note(&format!(
        "\nStopped. The state is kept in {}; `banger dev up` goes on with it.",
        layout.root.display()
    ));
    if !record.simulated && vms != Some(0) {
        printer.note(
            "Guests that were running live on without agent and server; \
             `banger dev down` removes them.",
        );
    }
    if ended {
        return Err(Failure::Other(anyhow::anyhow!("the server ended by itself")));
    }
    Ok(())
}

fn by_another(printer: Printer) -> Result<(), Failure> {
    printer.note("Stopped by another `banger dev`.");
    Ok(())
}

/// Returns at Ctrl-C, at SIGTERM, and when the terminal goes away.
async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        // Without handlers the signals end this process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
