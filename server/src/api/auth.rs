//! Who calls, and whether they may: one layer through which every call passes. It makes the
//! [`Caller`] that everything behind it goes by; every request has one in its extensions.
//!
//! [`METHODS`] says of every method what it does to which kind of thing, [`authorize`] who may do
//! that. Without configured tokens everybody who reaches the listener is an admin, which is why the
//! listener is loopback unless an operator has said otherwise. A request's [`Standing`] says whether
//! its caller has shown an identity, which the layers inside go by.

mod methods;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use banger_wire::service::edge::bodies::Standing;
use banger_wire::trace;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use tonic::Status;
use tower::{Layer, Service};

pub use self::methods::METHODS;
use self::methods::asked;
use super::page::same;
use super::status;
use crate::clock::SharedClock;
use crate::model::access::{Refused, Resource, authorize};
use crate::model::caller::{Caller, Grants, Principal, Role};

/// Who may call.
#[derive(Debug)]
struct Callers {
    /// Digests of the tokens, so that a comparison tells nothing of a token.
    tokens: ArcSwap<Vec<([u8; 32], Principal)>>,
    /// Who a caller is that has shown no token.
    anybody: Arc<str>,
    clock: SharedClock,
}

/// The layer. Goes inside the gRPC-Web layer, so that its refusals are translated too.
#[derive(Debug, Clone)]
pub struct AuthLayer(Arc<Callers>);

impl AuthLayer {
    /// Without tokens, so that everybody is let in: as "local" when the listener is loopback, else
    /// as "anonymous".
    pub fn new(loopback: bool, clock: SharedClock) -> Self {
        let anybody = if loopback { "local" } else { "anonymous" }.into();
        Self(Arc::new(Callers { tokens: ArcSwap::default(), anybody, clock }))
    }

    /// From now on these principals are let in by their tokens and, if there are any, nobody else.
    pub fn admit(&self, principals_by_token: &BTreeMap<String, Principal>) {
        let tokens = principals_by_token
            .iter()
            .map(|(token, principal)| (digest(token), principal.clone()))
            .collect();
        self.0.tokens.store(Arc::new(tokens));
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Auth { inner, callers: Arc::clone(&self.0) }
    }
}

/// The service that [`AuthLayer`] makes.
#[derive(Debug, Clone)]
pub struct Auth<S> {
    inner: S,
    callers: Arc<Callers>,
}

impl Callers {
    /// Who calls, if they may. An open method is a stranger's unless the call carries a token, also
    /// where no token is configured: nothing else tells its callers apart.
    fn identify<B>(&self, request: &http::Request<B>) -> Result<(Caller, Standing), Status> {
        let tokens = self.tokens.load();
        let (action, resource) = asked(request.uri().path());
        let stranger = || (Arc::clone(&self.anybody), Grants::Open);
        let ((actor, grants), lacking) = if tokens.is_empty() {
            ((Arc::clone(&self.anybody), Grants::Role(Role::Admin)), "")
        } else {
            match bearer(request).map(|token| holder(&tokens, token)) {
                Some(Some(Principal { name, role })) => ((name, Grants::Role(role)), ""),
                Some(None) => (stranger(), "the bearer token is unknown"),
                None => (stranger(), "no bearer token was given"),
            }
        };
        let trace = trace::current_traceparent(request.headers());
        let caller = Caller { actor, grants, trace, at: self.clock.now() };
        authorize(&caller, action, resource).map_err(|refused| match refused {
            Refused::Stranger => status::token_invalid(lacking),
            Refused::Role { .. } => status::not_permitted(&refused),
        })?;
        let nobody_is_asked = tokens.is_empty() && resource == Resource::Door;
        let standing = match grants {
            Grants::Role(_) if !nobody_is_asked => Standing::Known,
            Grants::Role(_) | Grants::Open => Standing::Stranger,
        };
        Ok((caller, standing))
    }
}

/// Looks at every token whichever matches.
fn holder(tokens: &[([u8; 32], Principal)], token: &str) -> Option<Principal> {
    let given = digest(token);
    let mut holder = None;
    for (known, principal) in tokens {
        if same(known, &given) {
            holder = Some(principal.clone());
        }
    }
    holder
}

fn bearer<B>(request: &http::Request<B>) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl<S, B, R> Service<http::Request<B>> for Auth<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        match self.callers.identify(&request) {
            Ok((caller, standing)) => {
                request.extensions_mut().insert(caller);
                request.extensions_mut().insert(standing);
                Box::pin(self.inner.call(request))
            }
            Err(refused) => Box::pin(std::future::ready(Ok(refused.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests;
