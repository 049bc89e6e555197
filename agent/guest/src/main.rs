//! The program: an init when it is process 1, else the guest agent.

use std::path::PathBuf;
use std::process::ExitCode;

use banger_guest::service::{Guest, serve};
use banger_guest::{grow, init, links};
use tokio::sync::mpsc;

const USAGE: &str = "usage: banger-guest [serve | --version]
The guest agent of banger. Without an argument: the init, as process 1, else the agent.";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    // The kernel hands an init what it does not know of its command line.
    if std::process::id() == 1 {
        return init::run();
    }
    match (words.next().as_deref(), words.next()) {
        (None | Some("serve"), None) => agent(),
        (Some("--version"), None) => {
            println!("banger-guest {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn agent() -> ExitCode {
    // Before there is anything to lose. A guest agent that is not root goes on as it is.
    if let Err(error) = banger_guest::memory::be_spared() {
        eprintln!("banger-guest: may be ended when memory is short: {error}");
    }
    // One thread and those that wait for the disk: most of the time there is nothing to do.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("banger-guest: {error}");
            return ExitCode::FAILURE;
        }
    };
    // As long as it takes: nobody waits for it.
    let growing = std::thread::Builder::new().name("grow".to_owned()).spawn(grow::grow_root);
    if let Err(error) = growing {
        eprintln!("banger-guest: the root can't be grown to its disk: {error}");
    }
    runtime.block_on(async {
        let (sender, sessions) = mpsc::channel(1);
        tokio::spawn(links::vsock(sender.clone()));
        tokio::spawn(links::serial(sender));
        match serve(Guest::new(PathBuf::from("/etc")), sessions).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("banger-guest: {error}");
                ExitCode::FAILURE
            }
        }
    })
}
