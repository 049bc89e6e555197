//! What a token must say to be somebody's, and which role that gives: pure, with the time as an
//! argument.
//!
//! Whoever has shown a token is told why it is no good, in words of banger's own: nothing that a
//! token says is repeated, since anybody may have written it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::KeyPrint;
use crate::config::OidcConfig;
use crate::config::auth::rights;
use crate::model::caller::{Principal, Rights};
use crate::model::token::is_own_name;

/// The longest name of somebody, without its issuer.
const MOST_NAME: usize = 128;

/// How many values of a claim are looked at, such as groups that somebody is in.
const MOST_VALUES: usize = 4096;

/// A token is nobody's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotVouched {
    #[error("the token is longer than {} bytes", super::MOST_TOKEN_BYTES)]
    TooLong,
    #[error("the token can't be read: {0}")]
    Malformed(&'static str),
    #[error("the token is signed in a way that is not taken here")]
    Algorithm,
    #[error("the token is signed by a key that its provider does not show")]
    UnknownKey,
    #[error("the signature of the token is wrong")]
    Signature,
    #[error("the keys of {issuer} are not known now, so that nobody is known by its tokens: {why}")]
    NoKeys {
        issuer: String,
        /// As it was found out last.
        why: String,
    },
    #[error("the token is of another provider than {0}")]
    Issuer(String),
    #[error("the token is not for this server: its audience has to have {0}")]
    Audience(String),
    #[error("the token has expired")]
    Expired,
    #[error("the token is not good yet: compare the clocks of its provider and of this server")]
    Early,
    #[error("the token does not say until when it is good")]
    NoEnd,
    #[error("the token is good for more than {0} hours, which is not taken here")]
    TooLasting(u32),
    #[error("the token does not say who somebody is: its claim {claim} {why}")]
    Nobody {
        /// As configured.
        claim: String,
        why: &'static str,
    },
    #[error("{0} has no role here: an admin gives one in auth.oidc.grants")]
    NoRole(Arc<str>),
}

/// Somebody, as a provider has said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    pub principal: Principal,
    /// Not from then on.
    pub expires_at: Timestamp,
    /// By which key.
    pub key: KeyPrint,
}

/// What is asked of a token, and what it gives.
#[derive(Debug, Clone)]
pub struct Rules {
    pub(super) issuer: String,
    audience: String,
    principal_claim: String,
    skew: SignedDuration,
    max_token_hours: u32,
    grants: Vec<Grant>,
}

#[derive(Debug, Clone)]
struct Grant {
    claim: String,
    value: String,
    rights: Rights,
}

impl Rules {
    /// As configured; a grant that does not fit, which the check has found out, gives nothing.
    pub fn of(config: &OidcConfig) -> Self {
        let grants = config.grants.iter().filter_map(|grant| {
            let rights = rights(&grant.role, grant.project.as_deref()).ok()?;
            Some(Grant { claim: grant.claim.clone(), value: grant.value.clone(), rights })
        });
        Self {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            principal_claim: config.principal_claim.clone(),
            skew: SignedDuration::from_secs(config.skew_secs.into()),
            max_token_hours: config.max_token_hours,
            grants: grants.collect(),
        }
    }

    /// Who somebody is by the claims of a token whose signature is good.
    ///
    /// # Errors
    /// They are nobody, or nobody who may do anything.
    pub fn judge(
        &self,
        claims: &Map<String, Value>,
        kind: Option<&str>,
        now: Timestamp,
        key: KeyPrint,
    ) -> Result<Vouched, NotVouched> {
        // A token that says something else than who somebody is, such as that they have left.
        let kind = kind.unwrap_or("JWT").to_ascii_lowercase();
        if !["jwt", "at+jwt", "application/at+jwt"].contains(&kind.as_str()) {
            return Err(NotVouched::Malformed("it is of another type"));
        }
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(NotVouched::Issuer(self.issuer.clone()));
        }
        if !is_among(claims.get("aud"), &self.audience) {
            return Err(NotVouched::Audience(self.audience.clone()));
        }
        let expires_at = self.good_until(claims, now)?;
        let name = self.name(claims)?;
        let grant =
            self.grants.iter().find(|grant| is_among(found(claims, &grant.claim), &grant.value));
        let rights = grant.map(|grant| grant.rights.clone());
        let rights = rights.ok_or_else(|| NotVouched::NoRole(Arc::clone(&name)))?;
        Ok(Vouched { principal: Principal { name, rights }, expires_at, key })
    }

    fn good_until(
        &self,
        claims: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<Timestamp, NotVouched> {
        let end = time(claims, "exp")?.ok_or(NotVouched::NoEnd)?;
        let later = |time: Timestamp, by| time.checked_add(by).unwrap_or(Timestamp::MAX);
        let expires_at = later(end, self.skew);
        if now >= expires_at {
            return Err(NotVouched::Expired);
        }
        for name in ["nbf", "iat"] {
            if time(claims, name)?.is_some_and(|begins| begins > later(now, self.skew)) {
                return Err(NotVouched::Early);
            }
        }
        let most = SignedDuration::from_hours(self.max_token_hours.into());
        if end > later(later(now, most), self.skew) {
            return Err(NotVouched::TooLasting(self.max_token_hours));
        }
        Ok(expires_at)
    }

    /// The issuer and who it is there: nothing else that a history has is called so.
    fn name(&self, claims: &Map<String, Value>) -> Result<Arc<str>, NotVouched> {
        let claim = &self.principal_claim;
        let nobody = |why| NotVouched::Nobody { claim: claim.clone(), why };
        let name = match found(claims, claim) {
            Some(Value::String(name)) => name,
            Some(_) => return Err(nobody("is no text")),
            None => return Err(nobody("is missing")),
        };
        if name.is_empty() || name.len() > MOST_NAME {
            return Err(nobody("is empty or too long"));
        }
        // One word of plain letters: two names that look alike are one.
        if !name.bytes().all(|b| b.is_ascii_graphic()) || name.contains('#') {
            return Err(nobody("has other than plain letters, digits and signs"));
        }
        if is_own_name(name) {
            return Err(nobody("is a name of banger's own"));
        }
        if claim == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) {
            return Err(nobody("is not verified by the provider"));
        }
        Ok(format!("{}#{name}", self.issuer).into())
    }
}

/// A claim by its name, or by those of the claims that it is in with dots between them.
fn found<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (outer, inner) = name.split_once('.')?;
    found(claims.get(outer)?.as_object()?, inner)
}

/// Whether a claim is this text, or has it among its texts.
fn is_among(claim: Option<&Value>, text: &str) -> bool {
    match claim {
        Some(Value::String(one)) => one == text,
        Some(Value::Array(all)) => {
            all.iter().take(MOST_VALUES).any(|one| one.as_str() == Some(text))
        }
        Some(_) | None => false,
    }
}

/// A time in seconds (RFC 7519 section 2, NumericDate); `None`: it does not say it.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, NotVouched> {
    let Some(said) = claims.get(name) else { return Ok(None) };
    let wrong = NotVouched::Malformed("a time in it");
    let seconds = said.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    let seconds = seconds.ok_or(wrong)?;
    // What is past the end of time is the end of time.
    #[expect(clippy::cast_possible_truncation, reason = "it saturates, and is bounded after it")]
    let whole = seconds as i64;
    Ok(Some(Timestamp::from_second(whole).unwrap_or(Timestamp::MAX)))
}

#[cfg(test)]
mod tests;
