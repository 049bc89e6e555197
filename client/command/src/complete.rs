//! What a shell offers after TAB: names of VMs, hosts, images and contexts beside the words of the
//! command itself.
//!
//! Driven by the shell, which runs this program with `COMPLETE` in its environment
//! (`banger completions SHELL` prints how). Names come from the server that the environment and the
//! contexts mean; flags on the line are not looked at. A shell waits for it, so there is little
//! time, and where the server is not reached there are no names and no error.

use std::ffi::OsStr;
use std::time::Duration;

use banger_client::Client;
use banger_client::contexts::{Chosen, Contexts};
use banger_client::v1::VmFilter;
use clap_complete::Shell;
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _,
};

use crate::clock::seconds;
use banger_terminal::text::clean;

/// How long a shell waits for names.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What a shell is to run so that it completes by this program.
pub(crate) fn registration(shell: Shell) -> std::io::Result<String> {
    use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};

    let completer: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Elvish => &Elvish,
        Shell::Fish => &Fish,
        Shell::PowerShell => &Powershell,
        Shell::Zsh => &Zsh,
        _ => return Err(std::io::ErrorKind::Unsupported.into()),
    };
    let mut script = Vec::new();
    completer.write_registration("COMPLETE", "banger", "banger", "banger", &mut script)?;
    Ok(String::from_utf8_lossy(&script).into_owned())
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Vms,
    Hosts,
    Images,
    Tokens,
    Projects,
}

pub(crate) fn vms() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| offered(begun, &names(Kind::Vms)))
}

pub(crate) fn hosts() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| offered(begun, &names(Kind::Hosts)))
}

pub(crate) fn images() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| offered(begun, &names(Kind::Images)))
}

pub(crate) fn tokens() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| offered(begun, &names(Kind::Tokens)))
}

pub(crate) fn projects() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| offered(begun, &names(Kind::Projects)))
}

pub(crate) fn contexts() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let names: Vec<String> = all_contexts().contexts.into_keys().collect();
        offered(begun, &names)
    })
}

/// Paths of this machine, and `VM:` as the beginning of one in a guest. What a guest has is not
/// asked.
pub(crate) fn vm_paths() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let mut found = PathCompleter::any().complete(begun);
        let path = begun.to_str().is_none_or(|begun| begun.contains(['/', ':']));
        if !path {
            let names: Vec<String> = names(Kind::Vms).into_iter().map(|name| name + ":/").collect();
            found.extend(offered(begun, &names));
        }
        found
    })
}

fn offered(begun: &OsStr, names: &[String]) -> Vec<CompletionCandidate> {
    let Some(begun) = begun.to_str() else { return Vec::new() };
    let fits = names.iter().filter(|name| name.starts_with(begun));
    fits.map(|name| CompletionCandidate::new(clean(name))).collect()
}

fn all_contexts() -> Contexts {
    let path = Contexts::default_path().ok();
    path.and_then(|path| Contexts::load(&path).ok()).unwrap_or_default()
}

/// Of this kind on the server; none where that takes too long.
fn names(kind: Kind) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Vec::new() };
    let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(kind)).await });
    runtime.shutdown_background();
    asked.ok().flatten().unwrap_or_default()
}

async fn ask(kind: Kind) -> Option<Vec<String>> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let chosen = Chosen {
        context: set("BANGER_CONTEXT"),
        server: set("BANGER_SERVER"),
        ca: set("BANGER_CA").map(Into::into),
        token: set("BANGER_TOKEN"),
        project: set("BANGER_PROJECT"),
        ..Chosen::default()
    };
    let path = Contexts::default_path().unwrap_or_default();
    let endpoint = all_contexts().sign_in(&path, &chosen, seconds).await.ok()?;
    let client = Client::connect(&endpoint).await.ok()?;
    Some(match kind {
        Kind::Vms => {
            let all = client.vms().list_all(VmFilter::default()).await.ok()?;
            all.vms.into_iter().map(|vm| vm.name).collect()
        }
        Kind::Hosts => {
            client.hosts().list_all("").await.ok()?.into_iter().map(|host| host.name).collect()
        }
        Kind::Images => {
            client.images().list_all().await.ok()?.into_iter().map(|image| image.name).collect()
        }
        Kind::Projects => {
            let all = client.projects().list_all().await.ok()?;
            all.into_iter().map(|project| project.name).collect()
        }
        Kind::Tokens => {
            client.tokens().list_all().await.ok()?.into_iter().map(|token| token.name).collect()
        }
    })
}
