//! `make soak SECONDS=600 SEED=…`: random kills under load for as long as told.
//!
//! Prints its seed first; the same seed makes the same wishes and faults at the same times. Ends
//! with status 1 and a line for each claim that did not hold.

use std::process::ExitCode;
use std::time::Duration;

use banger_integration_tests::soak;
use banger_integration_tests::soak::schedule::Settings;
use clap::Parser;

/// Kills, stops, freezes and cuts off parts of a fleet at random, and says what was lost.
#[derive(Debug, Parser)]
struct Args {
    /// How long faults strike.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Decides everything; one is made when none is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Hosts, each with an agent.
    #[arg(long, default_value_t = 3)]
    hosts: usize,
    /// VMs at a time.
    #[arg(long, default_value_t = 12)]
    slots: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(rand::random);
    println!(
        "soak: SECONDS={} SEED={seed} HOSTS={} SLOTS={}",
        args.seconds, args.hosts, args.slots
    );
    let time = Duration::from_secs(args.seconds);
    let settings = Settings { seed, time, hosts: args.hosts, slots: args.slots };
    let report = soak::run(settings).await;
    println!("{report}");
    if report.broken.is_empty() {
        println!("soak: everything holds (SEED={seed})");
        ExitCode::SUCCESS
    } else {
        println!("soak: {} claims do not hold; again with SEED={seed}", report.broken.len());
        ExitCode::FAILURE
    }
}
