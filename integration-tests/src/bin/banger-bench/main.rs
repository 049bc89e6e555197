//! `banger-bench`: the speed lines of docs/BENCHMARKS.md, each beside a peer in the same run.
//!
//! Build the workspace with `--profile fast` and run it from there; `make bench` does both. Only
//! this machine's loopback is used, and only processes started here are ended. A run fails where a
//! peer is missing; it never quotes a number of another day.

mod adopt;
mod creates;
mod etcd;
mod fanout;
mod pairs;
mod placing;
mod process;
mod report;
mod running;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures banger beside its peers.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Lines to run.
    #[arg(long, value_delimiter = ',', default_value = "a,b,c,d,p")]
    lines: Vec<char>,
    /// Alternating pairs; fewer than five print no ratio.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Only our own side, for comparing two commits.
    #[arg(long)]
    ours_only: bool,
    /// Add the samples to this file (JSON), and print what it then holds.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Both sides keep their data below this directory.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    disk: PathBuf,
    /// Creates in one run of line a.
    #[arg(long, default_value_t = 40_000)]
    creates: usize,
    /// Watchers of line c.
    #[arg(long, default_value_t = 1_000)]
    watchers: usize,
    /// Events in one run of line c.
    #[arg(long, default_value_t = 1_000)]
    events: usize,
    /// VMs started one after the other in one run of line b.
    #[arg(long, default_value_t = 200)]
    starts: usize,
    /// VMs that are adopted in line d; each makes a line.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    adopted: Vec<u32>,
    /// VMs of the fleet in line p, a hundredth as many hosts, and as many decisions in one run.
    #[arg(long, default_value_t = 100_000)]
    placed: u32,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print two reports of the same machine side by side.
    Compare {
        /// The report of the commit before.
        before: PathBuf,
        /// The report of the commit after.
        after: PathBuf,
    },
}

/// What every line is run with.
#[derive(Debug, Clone)]
struct Run {
    disk: PathBuf,
    pairs: usize,
    peers: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Command::Compare { before, after }) = &arguments.command {
        print!("{}", report::compare(before, after)?);
        return Ok(());
    }
    let run =
        Run { disk: arguments.disk.clone(), pairs: arguments.pairs, peers: !arguments.ours_only };
    let mut lines = Vec::new();
    for line in &arguments.lines {
        lines.extend(match line {
            'a' => creates::run(&run, arguments.creates).await?,
            'b' => running::run(&run, arguments.starts).await?,
            'c' => fanout::run(&run, arguments.watchers, arguments.events).await?,
            'd' => adopt::run(&run, &arguments.adopted).await?,
            'p' => placing::run(&run, arguments.placed)?,
            other => anyhow::bail!("there is no line {other:?}"),
        });
    }
    let lines = match &arguments.out {
        Some(path) => report::add_to(path, lines)?,
        None => lines,
    };
    print!("{}", report::table(&lines));
    Ok(())
}
