//! Who calls, and whether they may: one layer through which every call passes. It makes the
//! [`Caller`] that everything behind it goes by; every request has one in its extensions.
//!
//! [`POLICIES`] names every method of the API with what it asks of its caller; a method that is
//! not in it asks for a token, and a test makes sure that none is missing. Without configured
//! tokens everybody who reaches the listener is let in, which is why the listener is loopback
//! unless an operator has said otherwise. It also says by a request's [`Standing`] whether its
//! caller has shown an identity, which the layers inside go by. Roles come later and find their
//! place in [`Grants`].

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use banger_wire::service::edge::bodies::Standing;
use banger_wire::trace;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use tower::{Layer, Service};

use super::page::same;
use super::status;
use crate::clock::SharedClock;
use crate::model::caller::{Caller, Grants};

/// What a method asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Nothing: it tells nothing secret, or has a proof of its own in the request.
    Open,
    /// A configured token, where tokens are configured.
    Token,
}

impl Policy {
    /// Whether who holds these grants may call.
    fn admits(self, grants: Grants) -> bool {
        match self {
            Self::Open => true,
            Self::Token => grants == Grants::All,
        }
    }
}

/// Every method with its policy.
pub const POLICIES: &[(&str, Policy)] = &[
    ("/banger.v1.VmService/CreateVm", Policy::Token),
    ("/banger.v1.VmService/GetVm", Policy::Token),
    ("/banger.v1.VmService/ListVms", Policy::Token),
    ("/banger.v1.VmService/UpdateVm", Policy::Token),
    ("/banger.v1.VmService/DeleteVm", Policy::Token),
    ("/banger.v1.VmService/StartVm", Policy::Token),
    ("/banger.v1.VmService/StopVm", Policy::Token),
    ("/banger.v1.VmService/RebootVm", Policy::Token),
    ("/banger.v1.VmService/PauseVm", Policy::Token),
    ("/banger.v1.VmService/ResumeVm", Policy::Token),
    ("/banger.v1.VmService/WaitVm", Policy::Token),
    ("/banger.v1.VmService/WatchVms", Policy::Token),
    ("/banger.v1.VmService/ListVmEvents", Policy::Token),
    ("/banger.v1.VmService/ExplainVm", Policy::Token),
    ("/banger.v1.VmService/ReadConsole", Policy::Token),
    ("/banger.v1.VmService/AttachConsole", Policy::Token),
    ("/banger.v1.VmService/ExecVm", Policy::Token),
    ("/banger.v1.VmService/CopyToVm", Policy::Token),
    ("/banger.v1.VmService/CopyFromVm", Policy::Token),
    ("/banger.v1.VmService/ForwardVm", Policy::Token),
    ("/banger.v1.HostService/CreateJoinToken", Policy::Token),
    // Its proof is the join token.
    ("/banger.v1.HostService/JoinHost", Policy::Open),
    ("/banger.v1.HostService/GetHost", Policy::Token),
    ("/banger.v1.HostService/ListHosts", Policy::Token),
    ("/banger.v1.HostService/UpdateHost", Policy::Token),
    ("/banger.v1.HostService/DeleteHost", Policy::Token),
    ("/banger.v1.HostService/CordonHost", Policy::Token),
    ("/banger.v1.HostService/UncordonHost", Policy::Token),
    ("/banger.v1.HostService/DrainHost", Policy::Token),
    ("/banger.v1.HostService/WatchHosts", Policy::Token),
    ("/banger.v1.HostService/GetHostInventory", Policy::Token),
    ("/banger.v1.HostService/SweepHost", Policy::Token),
    ("/banger.v1.ImageService/ImportImage", Policy::Token),
    ("/banger.v1.ImageService/ImportImageWithProgress", Policy::Token),
    ("/banger.v1.ImageService/UploadBlob", Policy::Token),
    ("/banger.v1.ImageService/GetImage", Policy::Token),
    ("/banger.v1.ImageService/ListImages", Policy::Token),
    ("/banger.v1.ImageService/DeleteImage", Policy::Token),
    ("/grpc.health.v1.Health/Check", Policy::Open),
    ("/grpc.health.v1.Health/List", Policy::Open),
    ("/grpc.health.v1.Health/Watch", Policy::Open),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Policy::Open),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Policy::Open),
];

/// What the method at this path asks of its caller.
pub fn policy(path: &str) -> Policy {
    POLICIES.iter().find(|(method, _)| *method == path).map_or(Policy::Token, |(_, policy)| *policy)
}

/// Who may call.
#[derive(Debug)]
struct Callers {
    /// Digests of the tokens, so that a comparison tells nothing of a token.
    tokens: ArcSwap<Vec<([u8; 32], Arc<str>)>>,
    /// Who a caller is where no token is configured.
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
    pub fn admit(&self, principals_by_token: &BTreeMap<String, String>) {
        let tokens = principals_by_token
            .iter()
            .map(|(token, name)| (digest(token), name.as_str().into()))
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
    /// Who calls. An open method is a stranger's unless the call carries a token, also where no
    /// token is configured: nothing else tells its callers apart.
    fn identify<B>(&self, request: &http::Request<B>) -> Result<(Caller, Standing), &'static str> {
        let tokens = self.tokens.load();
        let policy = policy(request.uri().path());
        let (actor, grants, lacking) = if tokens.is_empty() {
            (Arc::clone(&self.anybody), Grants::All, "")
        } else {
            match bearer(request).map(|token| holder(&tokens, token)) {
                Some(Some(principal)) => (principal, Grants::All, ""),
                Some(None) => {
                    (Arc::clone(&self.anybody), Grants::Open, "the bearer token is unknown")
                }
                None => (Arc::clone(&self.anybody), Grants::Open, "no bearer token was given"),
            }
        };
        if !policy.admits(grants) {
            return Err(lacking);
        }
        let nobody_is_asked = tokens.is_empty() && policy == Policy::Open;
        let standing = match grants {
            Grants::All if !nobody_is_asked => Standing::Known,
            _ => Standing::Stranger,
        };
        let trace = trace::current_traceparent(request.headers());
        Ok((Caller { actor, grants, trace, at: self.clock.now() }, standing))
    }
}

/// Looks at every token whichever matches.
fn holder(tokens: &[([u8; 32], Arc<str>)], token: &str) -> Option<Arc<str>> {
    let given = digest(token);
    let mut holder = None;
    for (known, principal) in tokens {
        if same(known, &given) {
            holder = Some(Arc::clone(principal));
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
            Err(why) => {
                let refusal = status::token_invalid(why).into_http();
                Box::pin(std::future::ready(Ok(refusal)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
