//! `banger dev up`: makes and starts what is missing, and undoes it on failure.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::signal::unix::{SignalKind, signal};

use super::demo;
use super::fleet::{self, Programs};
use super::layout::Layout;
use super::mode;
use super::ports;
use super::record::Record;
use super::share::{self, Share};
use super::status;
use super::vms;
use crate::args::{HOSTS, UpArgs};
use banger_terminal::failure::Failure;
use banger_terminal::output::Printer;
use banger_terminal::progress::Progress;

pub(super) async fn up(printer: Printer, args: UpArgs) -> Result<(), Failure> {
    let layout = Layout::of(&args.state_dir)?;
    let programs = Programs::find()?;
    let begun = layout.begin()?;
    let progress = Progress::start();
    let wanted = wanted(&layout, &args, &programs, &progress).await;
    let Wanted { mut record, new, turn } = wanted.inspect_err(|_| {
        // Nothing came of it. Best effort: the error counts.
        let _ = layout.unmake(&begun);
    })?;
    let before = record.clone();
    let started = {
        let work = start(&layout, &args, &mut record, &programs, &progress);
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
    drop((begun.lock, turn));
    if started.is_empty() {
        printer.note("Already running.");
    }
    match status::print(printer, &layout, &record).await {
        // That nobody reads it is no reason to leave what was started to itself.
        Ok(()) | Err(Failure::Closed) => {}
        Err(failure) => return Err(failure),
    }
    let stays = !args.detach && !started.is_empty();
    say_what_next(printer, &layout, &record, &args, stays);
    if !stays {
        return Ok(());
    }
    hold(printer, &layout, record, &args).await
}

/// Starts what is missing; once more when a host turned out to be removed and its place is free.
async fn start(
    layout: &Layout,
    args: &UpArgs,
    record: &mut Record,
    programs: &Programs,
    progress: &Progress,
) -> Result<Vec<String>, Failure> {
    let mut started = start_missing(layout, record, programs, progress).await?;
    if record.agents.len() < usize::from(args.hosts) {
        let added = add_hosts(args, record)?;
        configure_hosts(layout, record, &added)?;
        started.extend(start_missing(layout, record, programs, progress).await?);
    }
    if record.simulated {
        demo::ensure(record, progress).await?;
    }
    Ok(started)
}

/// The same, once more where what lived at first has died meanwhile: somebody killed it a moment
/// ago.
async fn start_missing(
    layout: &Layout,
    record: &mut Record,
    programs: &Programs,
    progress: &Progress,
) -> Result<Vec<String>, Failure> {
    let lived: Vec<String> =
        record.services().filter(|s| s.lives()).map(|s| s.name.clone()).collect();
    let first = fleet::start_missing(layout, record, programs, progress).await;
    let died = record.services().any(|s| lived.contains(&s.name) && !s.lives());
    if first.is_ok() || !died {
        return first;
    }
    fleet::start_missing(layout, record, programs, progress).await
}

/// The API's address when none is given.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7070);

/// What is to run.
struct Wanted {
    record: Record,
    /// There was no record.
    new: bool,
    /// Held until the agents have claimed their share of the machine.
    turn: Option<File>,
}

/// What is to run: what the record says, and more hosts if more are wanted.
async fn wanted(
    layout: &Layout,
    args: &UpArgs,
    programs: &Programs,
    progress: &Progress,
) -> Result<Wanted, Failure> {
    let mut turn = None;
    let (mut record, new) = match Record::load(layout)? {
        Some(mut record) => {
            fleet::finish_stop(layout, &mut record, progress).await?;
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
            let share = if mode.simulated {
                Share::of_a_simulation()
            } else {
                let (share, held) = share::find()?;
                turn = Some(held);
                share
            };
            (Record::new(mode.simulated, mode.why, share, server), true)
        }
    };
    let added = add_hosts(args, &mut record)?;
    // Last, once nothing can refuse it any more: what somebody put there stays as it is until then.
    if let (true, Some(share)) = (new, &record.share) {
        layout.edit_config("server", |present| share.server_config(present))?;
    }
    configure_hosts(layout, &record, &added)?;
    Ok(Wanted { record, new, turn })
}

/// Adds hosts until there are as many as are wanted. One that was removed leaves its number to the
/// next. Answers the numbers of those that were added.
fn add_hosts(args: &UpArgs, record: &mut Record) -> Result<Vec<usize>, Failure> {
    let any = args.listen.is_some_and(|listen| listen.port() == 0);
    let free: Vec<usize> = (0..usize::from(HOSTS))
        .filter(|index| !record.agents.iter().any(|agent| agent.name == format!("b{index}")))
        .collect();
    let more = usize::from(args.hosts).saturating_sub(record.agents.len());
    let added: Vec<usize> = free.into_iter().take(more).collect();
    for &index in &added {
        let mut agent = ports::agent(&record.server, index, any)?;
        if let Some(share) = &record.share {
            agent.tag = share.tag(index);
        }
        record.agents.push(agent);
    }
    Ok(added)
}

/// Writes what hosts that were added have of the machine into their configuration.
fn configure_hosts(layout: &Layout, record: &Record, added: &[usize]) -> Result<(), Failure> {
    let Some(share) = &record.share else { return Ok(()) };
    added.iter().try_for_each(|&index| {
        let name = format!("b{index}");
        layout.edit_config(&name, |present| share.agent_config(index, present))
    })
}

/// Whether what is asked for can be had from what is there.
fn fits(layout: &Layout, args: &UpArgs, record: &Record) -> Result<(), Failure> {
    let root = layout.root.display();
    if (args.simulate && !record.simulated) || (args.real && record.simulated) {
        let kind = if record.simulated { "simulated" } else { "real" };
        return Err(Failure::Usage(format!(
            "{root} holds a {kind} set-up; take it down first ({}), or name another --state-dir",
            down_command(args)
        )));
    }
    match args.listen {
        Some(listen)
            if listen.port() != 0 && listen != record.server.listen && record.server.lives() =>
        {
            Err(Failure::Usage(format!(
                "the server of {root} runs already, at {}; stop it first ({} --keep)",
                record.server.listen,
                down_command(args)
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
            failure.tell(None, banger_terminal::args::Format::Table);
        } else if new && record.agents.iter().all(|agent| !agent.joined) {
            let _ = std::fs::remove_file(layout.record());
        }
    }
}

fn say_what_next(printer: Printer, layout: &Layout, record: &Record, args: &UpArgs, stays: bool) {
    let url = record.url();
    let server = if url == banger_client::contexts::DEFAULT_SERVER {
        String::new()
    } else {
        format!(" --server {url}")
    };
    let mode = if record.simulated {
        format!(
            "Simulated: no guests will run, because {}.\n\
             For real guests, make `banger-agent doctor` content and use --real.\n",
            record.why
        )
    } else {
        let first = record.agents.first().map_or("b0", |agent| agent.name.as_str());
        let images = layout.agent_state(first).join("images");
        format!(
            "Real: images of the server are booted, or files in {}.\n\
             `banger image build-demo` makes a small guest of Debian's packages, the image demo.\n",
            images.display()
        )
    };
    let stop = if stays { "Ctrl-C stops everything and keeps the state. " } else { "" };
    printer.note(&format!(
        "\n{mode}\nTry:\n  \
         banger{server} vm create web --image demo --wait\n  \
         banger{server} vm ls\n  \
         banger{server} vm watch\n  \
         banger{server} host ls\n  \
         banger{server} vm rm web --yes --wait\n\n\
         {stop}`{}` removes everything.",
        down_command(args)
    ));
}

/// The command that takes this set-up down, and no other.
fn down_command(args: &UpArgs) -> String {
    match &args.state_dir.state_dir {
        None => "banger dev down".to_owned(),
        Some(dir) => format!("banger dev down --state-dir {}", quoted(&dir.to_string_lossy())),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./~+:@%".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Stays until somebody wants it to end, then stops everything.
async fn hold(
    printer: Printer,
    layout: &Layout,
    record: Record,
    args: &UpArgs,
) -> Result<(), Failure> {
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
        printer.note("The server ended on its own; stopping the agents.");
    }
    let vms = vms::count(&record).await;
    let progress = Progress::start();
    fleet::stop(layout, &mut record, &progress).await?;
    drop(progress);
    printer.note(&format!(
        "\nStopped. The state is kept in {}; `{}` goes on with it.",
        layout.root.display(),
        down_command(args).replacen(" down", " up", 1)
    ));
    if !record.simulated && vms != Some(0) {
        printer.note(&format!(
            "Guests that were running live on without agent and server; `{}` removes them.",
            down_command(args)
        ));
    }
    if ended {
        return Err(Failure::Other(anyhow::anyhow!("the server ended on its own")));
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
