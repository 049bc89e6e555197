//! Logging in with a provider of identities (OpenID Connect): a person approves in a browser, on
//! whatever machine, and this program gets tokens (RFC 8628, the device flow).
//!
//! [`Login`] talks to the provider; [`stored`] keeps what it gave, a file for each context that
//! nobody else may read, and refreshes it before it expires, one program at a time. What can go
//! wrong: the provider is away, refuses, or answers with anything at all. So what it says is
//! bounded and made fit to show, and where it leads is asked over HTTPS alone, but for a provider
//! that whoever logs in has named on this machine.

pub mod stored;

use std::time::Duration;

use banger_proto::words;
use banger_wire::web::{self, Answer, Web, WebError, is_plain};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

/// Between two questions whether somebody has approved, where the provider does not say (RFC 8628
/// section 3.2), and by how much longer each `slow_down` makes it (section 3.5).
const INTERVAL: Duration = Duration::from_secs(5);

/// The longest that it may become.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

/// The longest that a person has to approve.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The longest token that is kept.
const MOST_TOKEN_BYTES: usize = 12 << 10;

/// The kind of grant that the device flow is (RFC 8628 section 3.4).
const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// No token was got.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The provider could not be asked.
    #[error("the provider can't be asked")]
    Web(#[from] WebError),
    /// What it answered is not what was asked for.
    #[error("{at} answers what is no {what}")]
    Answer {
        /// The address.
        at: String,
        /// What was to be there.
        what: &'static str,
    },
    /// It describes another provider.
    #[error("{at} describes another provider than {issuer}")]
    Other {
        /// The address.
        at: String,
        /// Whom it should describe.
        issuer: String,
    },
    /// It lets nobody log in so.
    #[error("{issuer} has no device flow, by which a command logs in")]
    NoDeviceFlow {
        /// The provider.
        issuer: String,
    },
    /// It refuses.
    #[error("{issuer} refuses: {why}")]
    Refused {
        /// The provider.
        issuer: String,
        /// In its words, made fit to show.
        why: String,
    },
    /// A person has said no.
    #[error("the login was denied")]
    Denied,
    /// Nobody has said yes in time.
    #[error("nobody has approved the login in time")]
    TimedOut,
    /// There is nothing to call with.
    #[error("nobody is logged in with {issuer}: run `banger login`")]
    LoggedOut {
        /// The provider.
        issuer: String,
    },
    /// What was stored can't be used, or not be written.
    #[error("the login can't be {verb}")]
    Store {
        /// What was tried.
        verb: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A provider that somebody logs in with.
#[derive(Debug, Clone)]
pub struct Login {
    web: Web,
    issuer: String,
    client_id: String,
    plain: bool,
}

/// What a provider says of itself (OpenID Connect Discovery section 3).
#[derive(Debug, Clone)]
pub struct Described {
    /// Where tokens are.
    pub token: Url,
    /// Where a login begins.
    pub device: Option<Url>,
    /// Where tokens are taken back.
    pub revocation: Option<Url>,
}

#[derive(Deserialize)]
struct Description {
    issuer: String,
    token_endpoint: String,
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
}

/// A login that a person has to approve.
#[derive(Debug, Clone)]
pub struct Asked {
    device_code: String,
    /// What they type in, fit to show.
    pub user_code: String,
    /// Where, fit to show.
    pub address: String,
    /// Where nothing has to be typed in, fit to show.
    pub direct: Option<String>,
    /// How long they have.
    pub within: Duration,
    interval: Duration,
}

#[derive(Deserialize)]
struct DeviceAnswer {
    device_code: String,
    user_code: String,
    // Some say it by the name of an early draft.
    #[serde(alias = "verification_url")]
    verification_uri: String,
    #[serde(alias = "verification_url_complete")]
    verification_uri_complete: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
    #[serde(default)]
    interval: Option<f64>,
}

/// What a provider gives.
#[derive(Clone, Deserialize)]
pub struct Given {
    /// Who somebody is.
    #[serde(default)]
    pub id_token: Option<String>,
    /// What they may call with.
    #[serde(default)]
    pub access_token: Option<String>,
    /// With this there are others later.
    #[serde(default)]
    pub refresh_token: Option<String>,
    /// For how many seconds the access token is good.
    #[serde(default)]
    pub expires_in: Option<f64>,
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Given").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
    #[serde(default)]
    error_description: Option<String>,
}

/// A text of the provider's, short and fit to show.
fn shown(text: &str) -> String {
    words::clean(text.to_owned(), 300)
}

fn seconds(said: Option<f64>, usual: Duration, most: Duration) -> Duration {
    let said = said.and_then(|said| Duration::try_from_secs_f64(said).ok());
    said.filter(|said| !said.is_zero()).unwrap_or(usual).clamp(Duration::from_secs(1), most)
}

impl Login {
    /// With this provider, as this client of it. `ca`: PEM of the CAs that are trusted; those of
    /// the machine without.
    ///
    /// # Errors
    /// The issuer is no address that is asked, or there is no CA to trust.
    pub fn with(issuer: &str, client_id: &str, ca: Option<&[u8]>) -> Result<Self, LoginError> {
        let url = web::address(issuer, true)?;
        let (issuer, client_id) = (issuer.to_owned(), client_id.to_owned());
        Ok(Self { web: Web::new(ca)?, issuer, client_id, plain: is_plain(&url) })
    }

    /// The provider.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The client of it.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Asks the provider where everything is.
    ///
    /// # Errors
    /// It is away, or describes somebody else.
    pub async fn describe(&self) -> Result<Described, LoginError> {
        let at = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let answer = self.web.get(&web::address(&at, self.plain)?).await?;
        let said: Description = json(&answer, &at, "description of a provider")?;
        if answer.status != 200 {
            return Err(LoginError::Answer { at, what: "description of a provider" });
        }
        if said.issuer != self.issuer {
            return Err(LoginError::Other { at, issuer: self.issuer.clone() });
        }
        let address = |text: &String| web::address(text, self.plain);
        Ok(Described {
            token: address(&said.token_endpoint)?,
            device: said.device_authorization_endpoint.as_ref().map(address).transpose()?,
            revocation: said.revocation_endpoint.as_ref().map(address).transpose()?,
        })
    }

    /// Begins a login, which a person then approves.
    ///
    /// # Errors
    /// The provider is away, has no such login, or refuses.
    pub async fn ask(&self, at: &Described, scopes: &str) -> Result<Asked, LoginError> {
        let Some(url) = &at.device else {
            return Err(LoginError::NoDeviceFlow { issuer: self.issuer.clone() });
        };
        let form = [("client_id", &*self.client_id), ("scope", scopes)];
        let answer = self.web.post(url, &form).await?;
        if answer.status != 200 {
            return Err(self.refused(&answer, url));
        }
        let said: DeviceAnswer = json(&answer, url.as_str(), "beginning of a login")?;
        // A page that a person opens is over HTTPS, as everything else is.
        let page = web::address(&said.verification_uri, self.plain)?;
        let direct = said.verification_uri_complete.as_deref();
        let direct = direct.map(|page| web::address(page, self.plain)).transpose()?;
        Ok(Asked {
            device_code: said.device_code,
            user_code: words::clean(said.user_code, 64),
            address: shown(page.as_str()),
            direct: direct.map(|page| shown(page.as_str())),
            within: seconds(said.expires_in, Duration::from_secs(600), LONGEST_WAIT),
            interval: seconds(said.interval, INTERVAL, LONGEST_INTERVAL),
        })
    }

    /// Waits until a person has approved, and no longer than they may take.
    ///
    /// # Errors
    /// They have not, or the provider refuses.
    pub async fn approved(&self, at: &Described, asked: &Asked) -> Result<Given, LoginError> {
        let wait = self.poll(at, asked);
        tokio::time::timeout(asked.within, wait).await.unwrap_or(Err(LoginError::TimedOut))
    }

    async fn poll(&self, at: &Described, asked: &Asked) -> Result<Given, LoginError> {
        let mut interval = asked.interval;
        loop {
            tokio::time::sleep(interval).await;
            let form = [
                ("grant_type", DEVICE),
                ("device_code", &*asked.device_code),
                ("client_id", &*self.client_id),
            ];
            let answer = match self.web.post(&at.token, &form).await {
                Ok(answer) => answer,
                // The same questions, more slowly (RFC 8628 section 3.5).
                Err(WebError::Unreached { .. } | WebError::Slow { .. }) => {
                    interval = (interval * 2).min(LONGEST_INTERVAL);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if answer.status == 200 {
                return self.given(&answer, &at.token);
            }
            let said = serde_json::from_slice::<ErrorAnswer>(&answer.body).ok();
            match said.as_ref().map(|said| said.error.as_str()) {
                Some("authorization_pending") => {}
                Some("slow_down") => interval = (interval + INTERVAL).min(LONGEST_INTERVAL),
                Some("access_denied") => return Err(LoginError::Denied),
                Some("expired_token") => return Err(LoginError::TimedOut),
                Some(_) | None => return Err(self.refused(&answer, &at.token)),
            }
        }
    }

    /// Gets other tokens.
    ///
    /// # Errors
    /// The provider is away, or gives none any more.
    pub async fn refresh(&self, token: &Url, refresh_token: &str) -> Result<Given, LoginError> {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
            ("client_id", &*self.client_id),
        ];
        let answer = self.web.post(token, &form).await?;
        match answer.status {
            200 => self.given(&answer, token),
            _ => Err(self.refused(&answer, token)),
        }
    }

    /// Takes a token back.
    ///
    /// # Errors
    /// The provider is away, or refuses.
    pub async fn revoke(&self, at: &Url, token: &str, kind: &str) -> Result<(), LoginError> {
        let form = [("token", token), ("token_type_hint", kind), ("client_id", &*self.client_id)];
        let answer = self.web.post(at, &form).await?;
        if answer.status == 200 { Ok(()) } else { Err(self.refused(&answer, at)) }
    }

    fn given(&self, answer: &Answer, url: &Url) -> Result<Given, LoginError> {
        let given: Given = json(answer, url.as_str(), "token")?;
        let tokens = [&given.id_token, &given.access_token, &given.refresh_token];
        let fit = |token: &String| {
            token.len() <= MOST_TOKEN_BYTES && token.bytes().all(|b| b.is_ascii_graphic())
        };
        if tokens.into_iter().flatten().all(fit) {
            return Ok(given);
        }
        Err(LoginError::Answer { at: shown(url.as_str()), what: "token" })
    }

    fn refused(&self, answer: &Answer, url: &Url) -> LoginError {
        match serde_json::from_slice::<ErrorAnswer>(&answer.body) {
            Ok(said) => {
                let why = match said.error_description {
                    Some(more) => format!("{} ({})", shown(&more), shown(&said.error)),
                    None => shown(&said.error),
                };
                LoginError::Refused { issuer: self.issuer.clone(), why }
            }
            Err(_) => LoginError::Answer { at: shown(url.as_str()), what: "answer of a provider" },
        }
    }
}

fn json<T: DeserializeOwned>(
    answer: &Answer,
    at: &str,
    what: &'static str,
) -> Result<T, LoginError> {
    serde_json::from_slice(&answer.body).map_err(|_| LoginError::Answer { at: shown(at), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_provider_are_bounded_whatever_it_says() {
        let read = |said| seconds(said, INTERVAL, LONGEST_INTERVAL);
        assert_eq!(read(None), INTERVAL);
        assert_eq!(read(Some(2.0)), Duration::from_secs(2));
        for odd in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            assert_eq!(read(Some(odd)), INTERVAL, "{odd}");
        }
        assert_eq!(read(Some(0.001)), Duration::from_secs(1));
        assert_eq!(read(Some(1e12)), LONGEST_INTERVAL);
    }
}
