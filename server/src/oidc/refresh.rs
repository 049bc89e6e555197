//! Reads a provider's keys anew, every so often and when somebody shows a token that is signed by
//! one that is not known: the one task that talks to the provider.
//!
//! A set that can't be read, or is refused, changes nothing: what was read last stays, for as long
//! as is configured. After a failure it is tried again soon, and then less and less often.

use std::sync::Arc;
use std::time::Duration;

use banger_wire::causes::with_causes;
use banger_wire::web::{self, WebError, is_plain};
use serde::Deserialize;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::keys::{KeySet, KeysRefused};
use super::{KeySource, Provider};

/// After a failure it is tried again so soon, and twice as late each time until the usual.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Keys were not read.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Web(#[from] WebError),
    #[error("the keys are in a file")]
    File,
    #[error("{at} answers {status}")]
    Status { at: String, status: u16 },
    #[error("{at} is no description of a provider")]
    Description { at: String },
    #[error("{at} describes another provider than {issuer}")]
    Other { at: String, issuer: String },
    #[error("the keys at {at} are not gone by")]
    Keys {
        at: String,
        #[source]
        source: KeysRefused,
    },
}

/// What of a provider's description is asked for (OpenID Connect Discovery section 3).
#[derive(Deserialize)]
struct Description {
    issuer: String,
    jwks_uri: String,
}

/// Runs until it is stopped.
pub async fn run(provider: Arc<Provider>, stop: CancellationToken) {
    if provider.source == KeySource::File {
        return;
    }
    let mut failures = 0;
    loop {
        let read = tokio::select! {
            read = read(&provider) => read,
            () = stop.cancelled() => return,
        };
        match read {
            Ok(keys) => {
                if failures > 0 {
                    tracing::info!(
                        issuer = provider.issuer(),
                        "the keys of the provider are read again"
                    );
                }
                tracing::debug!(issuer = provider.issuer(), keys = keys.count(), "keys were read");
                failures = 0;
                provider.take(keys);
            }
            Err(error) => {
                let error = with_causes(&error);
                tracing::warn!(
                    issuer = provider.issuer(),
                    error,
                    "the keys of the provider can't be read: those that were read last stay"
                );
                failures += 1;
                provider.miss(error);
            }
        }
        provider.tries.send_modify(|tries| *tries += 1);
        let pause = match failures {
            0 => provider.refresh_every,
            failures => (FIRST_PAUSE * 2_u32.saturating_pow(failures - 1).min(1 << 16))
                .min(provider.refresh_every),
        };
        // Cancel-safe: whoever has asked meanwhile is noted, and nothing else is kept.
        tokio::select! {
            () = sleep(pause) => {}
            () = provider.asked.notified() => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn read(provider: &Provider) -> Result<KeySet, Unread> {
    let at = match &provider.source {
        KeySource::At(url) => url.clone(),
        KeySource::Discovered(issuer) => discovered(provider, issuer).await?,
        // Not reached: such a provider is asked for nothing.
        KeySource::File => return Err(Unread::File),
    };
    let url = web::address(&at, is_near(provider))?;
    let body = fetched(provider, &url, &at).await?;
    KeySet::read(&body, &provider.algorithms).map_err(|source| Unread::Keys { at, source })
}

/// Where a provider says that its keys are.
async fn discovered(provider: &Provider, issuer: &str) -> Result<String, Unread> {
    let at = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let url = web::address(&at, is_near(provider))?;
    let body = fetched(provider, &url, &at).await?;
    let described: Result<Description, _> = serde_json::from_slice(&body);
    let Ok(described) = described else { return Err(Unread::Description { at }) };
    if described.issuer != issuer {
        return Err(Unread::Other { at, issuer: issuer.to_owned() });
    }
    Ok(described.jwks_uri)
}

async fn fetched(provider: &Provider, url: &url::Url, at: &str) -> Result<Vec<u8>, Unread> {
    let answer = provider.web.get(url).await?;
    match answer.status {
        200 => Ok(answer.body),
        status => Err(Unread::Status { at: at.to_owned(), status }),
    }
}

/// Whether the operator has named a provider on this machine over plain HTTP.
fn is_near(provider: &Provider) -> bool {
    let named = match &provider.source {
        KeySource::At(url) | KeySource::Discovered(url) => url,
        KeySource::File => return false,
    };
    web::address(named, true).is_ok_and(|url| is_plain(&url))
}
