//! What a call shows for who makes it, and whose that is: a bearer token, of this server or signed
//! by a provider of identities, or a certificate that its connection has shown.
//!
//! A token alone says who calls where a call has one, also where it is good for nothing: no
//! certificate is tried in its stead, and none adds anything to it. So a program that forwards
//! calls of others with their tokens is never taken for itself.

use std::sync::Arc;

use banger_wire::service::edge::connection::Connection;
use banger_wire::tls::CertificateDer;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use tonic::Status;

use super::Callers;
use super::identities::{Basis, Found, Identity, digest, sha256};
use crate::api::status;
use crate::certified::{Certified, CertifiedCallers};
use crate::model::caller::Vouch;
use crate::oidc::Provider;
use crate::oidc::claims::{NotVouched, Vouched};

/// Whose it is what a call shows.
#[derive(Debug)]
pub(super) enum Presented {
    /// Nothing was shown.
    Nothing,
    /// Somebody's.
    By(Arc<Identity>),
    /// It does not look like a token of this server or of a provider that it knows.
    Foreign,
    /// It is no good, and never taken for nothing; why, in words for whoever has shown it.
    Bad(String),
    /// Nobody's, by the keys that the provider showed last; it may have others by now.
    UnknownKey(Arc<Provider>),
}

impl Callers {
    /// Whose it is what a call shows.
    ///
    /// # Errors
    /// It shows more than one token.
    pub(super) fn shown<B>(&self, request: &http::Request<B>) -> Result<Presented, Status> {
        let at = self.clock.now();
        let Some(token) = bearer(request)? else {
            let connection = request.extensions().get::<Connection>();
            let chain = connection.map_or(&[][..], Connection::certificates);
            return Ok(match (self.certified.get(), chain) {
                (None, _) | (_, []) => Presented::Nothing,
                (Some(certified), chain) => self.certified(certified, chain, at),
            });
        };
        Ok(match self.identities.find(token, at) {
            Found::Known(identity) => Presented::By(identity),
            Found::Unknown => Presented::Bad(
                "the bearer token is unknown, has expired or was taken back".to_owned(),
            ),
            Found::Foreign => match self.provider.get() {
                Some(provider) if Provider::may_be_one(token) => self.signed(provider, token, at),
                Some(_) | None => Presented::Foreign,
            },
        })
    }

    fn certified(
        &self,
        callers: &CertifiedCallers,
        chain: &[CertificateDer<'static>],
        at: Timestamp,
    ) -> Presented {
        let sha256 = chain.first().map(|own| sha256(own)).unwrap_or_default();
        if let Some(known) = self.identities.find_certified(&sha256, at) {
            return Presented::By(known);
        }
        let Certified { principal, expires_at } = match callers.vouch(chain, at) {
            Ok(certified) => certified,
            Err(why) => return Presented::Bad(why.to_string()),
        };
        let id = format!("crt_{}", hex::encode(&sha256[..8]));
        let vouch = Vouch { id: id.into(), by: "".into(), expires_at };
        match self.identities.vouch(sha256, principal, (vouch, Basis::Authority)) {
            Ok(identity) => Presented::By(identity),
            Err(full) => Presented::Bad(full.to_string()),
        }
    }

    fn signed(&self, provider: &Arc<Provider>, token: &str, at: Timestamp) -> Presented {
        let Vouched { principal, expires_at, key } = match provider.vouch(token, at) {
            Ok(vouched) => vouched,
            Err(NotVouched::UnknownKey) => return Presented::UnknownKey(Arc::clone(provider)),
            Err(why) => return Presented::Bad(why.to_string()),
        };
        let sha256 = digest(token);
        let id = format!("jwt_{}", hex::encode(&sha256[..8]));
        let vouch = Vouch { id: id.into(), by: provider.issuer().into(), expires_at };
        match self.identities.vouch(sha256, principal, (vouch, Basis::Key(key))) {
            Ok(identity) => Presented::By(identity),
            Err(full) => Presented::Bad(full.to_string()),
        }
    }
}

/// The token that a call shows. A call that shows two is nobody's, in two headers or in one:
/// whatever stands before the server may have judged it by the other.
fn bearer<B>(request: &http::Request<B>) -> Result<Option<&str>, Status> {
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next(), values.next()) else {
        return Err(status::malformed("it has more than one authorization header"));
    };
    let parts = value.and_then(|value| value.to_str().ok()?.split_once(' '));
    let bearer = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token = bearer.map(|(_, token)| token.trim());
    // No token has a space in it. Two headers are joined by a comma and one.
    if token.is_some_and(|token| token.contains(char::is_whitespace)) {
        return Err(status::malformed("its authorization header has more than one token"));
    }
    Ok(token)
}
