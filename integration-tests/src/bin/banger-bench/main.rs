//! `banger-bench`: the speed lines of docs/BENCHMARKS.md, each beside a peer in the same run.
//!
//! Build the workspace with `--profile fast` and run it from there; `make bench` does both. Only
//! this machine's loopback is used, and only processes started here are ended. A run says which
//! peer was missing; it never quotes a number of another day.

mod adopt;
mod creates;
mod etcd;
mod fanout;
mod pairs;
mod process;
mod running;

use std::path::PathBuf;

use clap::Parser;

/// Measures banger beside its peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// Lines to run.
    #[arg(long, value_delimiter = ',', default_value = "a,b,c,d")]
    lines: Vec<char>,
    /// Alternating pairs; fewer than five print no ratio.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
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
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    for line in &arguments.lines {
        let lines = match line {
            'a' => creates::run(&arguments.disk, arguments.pairs, arguments.creates).await?,
            'b' => running::run(&arguments.disk, arguments.pairs, 200).await?,
            'd' => adopt::run(arguments.pairs).await?,
            'c' => {
                let Arguments { pairs, watchers, events, .. } = arguments;
                fanout::run(&arguments.disk, pairs, watchers, events).await?
            }
            other => anyhow::bail!("there is no line {other:?}"),
        };
        for line in lines {
            println!("{line}");
        }
    }
    Ok(())
}
