//! "Did you mean": what is near a name that the server does not know.
//!
//! Asked of the server only after it has refused, with little patience: an error that is a moment
//! late is better for it, one that never comes is not. Where nothing is near, nothing is said.

use std::time::Duration;

use banger_client::v1::{ErrorReason, VmFilter};
use banger_client::{ClientError, Refusal};

use crate::session::Session;
use crate::spec::DEMO;
use banger_terminal::failure::Failure;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many are named.
const NAMED: usize = 3;

/// The same outcome, with what is near in place of "there is none" alone.
pub(super) async fn named(session: &Session, outcome: Result<(), Failure>) -> Result<(), Failure> {
    match outcome {
        Ok(()) => Ok(()),
        Err(failure) => Err(hinted(session, failure).await),
    }
}

async fn hinted(session: &Session, mut failure: Failure) -> Failure {
    match &mut failure {
        Failure::Client(ClientError::Refused(refusal)) => hint(session, refusal).await,
        Failure::NotRun(inner) => {
            if let Failure::Client(ClientError::Refused(refusal)) = &mut **inner {
                hint(session, refusal).await;
            }
        }
        Failure::Several(failed) => {
            for (_, failure) in failed.iter_mut().take(NAMED) {
                if let Failure::Client(ClientError::Refused(refusal)) = failure {
                    hint(session, refusal).await;
                }
            }
        }
        _ => {}
    }
    failure
}

async fn hint(session: &Session, refusal: &mut Refusal) {
    let Some(reason) = refusal.known_reason() else { return };
    // The server has looked itself.
    if refusal.message.contains("did you mean") {
        return;
    }
    // The name stands in quotes in the server's sentence.
    let Some(name) = refusal.message.split('"').nth(1) else { return };
    // Of a project it stands with that before it; what is listed does not.
    let name = name.rsplit('/').next().unwrap_or_default().to_owned();
    let Ok(Some(names)) = tokio::time::timeout(PATIENCE, names(session, reason)).await else {
        return;
    };
    if reason == ErrorReason::ImageNotFound && name == DEMO {
        // What is booted where nothing was named: the remedy is not another name.
        refusal.message += "; `banger image build-demo` makes it, of Debian's packages";
        return;
    }
    let near = near(&name, &names);
    if near.is_empty() {
        let gone = reason == ErrorReason::VmNotFound && was_there(session, &name).await;
        if gone {
            refusal.message +=
                &format!("; it is gone, and `banger vm events {name}` says since when");
        }
        return;
    }
    let near: Vec<String> = near.iter().map(|name| format!("{name:?}")).collect();
    refusal.message += &format!("; did you mean {}?", near.join(" or "));
}

/// Whether a VM of this name is remembered that is gone.
async fn was_there(session: &Session, name: &str) -> bool {
    let client = session.client.vms();
    let asked = tokio::time::timeout(PATIENCE, client.events(name)).await;
    asked.is_ok_and(|events| events.is_ok_and(|events| !events.is_empty()))
}

/// All names of the kind that was not found.
async fn names(session: &Session, reason: ErrorReason) -> Option<Vec<String>> {
    match reason {
        ErrorReason::VmNotFound => {
            let all = session.client.vms().list_all(VmFilter::default()).await.ok()?;
            Some(all.vms.into_iter().map(|vm| vm.name).collect())
        }
        ErrorReason::HostNotFound => {
            let hosts = session.client.hosts().list_all("").await.ok()?;
            Some(hosts.into_iter().map(|host| host.name).collect())
        }
        ErrorReason::ImageNotFound => {
            let images = session.client.images().list_all().await.ok()?;
            Some(images.into_iter().map(|image| image.name).collect())
        }
        ErrorReason::ProjectNotFound => {
            let projects = session.client.projects().list_all().await.ok()?;
            Some(projects.into_iter().map(|project| project.name).collect())
        }
        ErrorReason::TokenNotFound => {
            let tokens = session.client.tokens().list_all().await.ok()?;
            Some(tokens.into_iter().map(|token| token.name).collect())
        }
        _ => None,
    }
}

/// The names that a mistyped one may have meant, the nearest first: a letter or two apart, or begun
/// alike.
pub(super) fn near(wanted: &str, names: &[String]) -> Vec<String> {
    let most = 1 + wanted.chars().count() / 4;
    let mut found: Vec<(usize, &String)> = names
        .iter()
        .filter_map(|name| {
            let apart = strsim::damerau_levenshtein(&wanted.to_lowercase(), &name.to_lowercase());
            let begun = wanted.len() >= 3 && name.starts_with(wanted);
            (apart <= most || begun).then_some((if begun { 1 } else { apart }, name))
        })
        .collect();
    found.sort();
    found.into_iter().take(NAMED).map(|(_, name)| name.clone()).collect()
}

#[cfg(test)]
mod tests;
