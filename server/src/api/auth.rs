//! Who calls, and whether they may: one layer through which every call passes. It makes the
//! [`Caller`] that everything behind it goes by; every request has one in its extensions.
//!
//! [`METHODS`] says of every method what it does to which kind of thing, [`authorize`] who may do
//! that, [`identities`] whose a token is, and of tokens that a provider of identities has signed
//! [`crate::oidc`]. Where the server asks for no tokens, which is on loopback or because an
//! operator insists, everybody who reaches the listener without one is an admin. A request's
//! [`Standing`] says whether its caller has shown an identity, which the layers inside go by. A
//! call ends when its caller may no longer call: [`mod@until_gone`]. A call has one caller, whom
//! its one token names, or where it has none the certificate of its connection ([`shown`]): no
//! token of another call on it proves anything here. What this layer finds is of when the headers
//! came, and the message may come much later: [`LetIn`] is for asking again before anything is
//! done. Whom it refuses is told to the audit: [`refusals`].

pub mod identities;
mod methods;
pub mod parties;
mod rates;
pub mod refusals;
mod shown;
mod until_gone;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use banger_wire::service::edge::bodies::Standing;
use banger_wire::service::edge::connection::{Account, Connection, Party, Proof};
use banger_wire::service::edge::until_sent::until_sent;
use banger_wire::trace;
use jiff::Timestamp;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use self::identities::{Identities, Identity};
pub use self::methods::METHODS;
pub(in crate::api) use self::methods::method_named;
use self::methods::{asked, method_at};
use self::parties::{Lasting, OpenCall, Parties};
use self::refusals::Refusals;
use self::shown::Presented;
use self::until_gone::{grace_of, refusal, until_gone};
use super::status;
use crate::certified::CertifiedCallers;
use crate::clock::SharedClock;
use crate::model::access::{Of, Refused, Resource, authorize};
use crate::model::caller::{ANONYMOUS, CallOf, Caller, Grants, LOCAL, Principal, Role};
use crate::model::project::ProjectBounds;
use crate::oidc::Provider;
use crate::oidc::claims::NotVouched;

/// Who may call.
#[derive(Debug)]
struct Callers {
    identities: Identities,
    /// Who a caller is that has shown no token.
    anybody: Arc<str>,
    clock: SharedClock,
    refusals: Refusals,
    parties: Parties,
    provider: OnceLock<Arc<Provider>>,
    certified: OnceLock<Arc<CertifiedCallers>>,
}

/// The layer. Goes inside the gRPC-Web layer, so that its refusals are translated too.
#[derive(Debug, Clone)]
pub struct AuthLayer(Arc<Callers>);

impl AuthLayer {
    /// Without a token file, so that whoever shows no token is let in: as "local" when the listener
    /// is loopback, else as "anonymous".
    pub fn new(loopback: bool, clock: SharedClock) -> Self {
        let anybody = if loopback { LOCAL } else { ANONYMOUS }.into();
        let (identities, refusals) = (Identities::default(), Refusals::default());
        let parties = Parties::default();
        let (provider, certified) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Callers {
            identities,
            anybody,
            clock,
            refusals,
            parties,
            provider,
            certified,
        }))
    }

    /// From now on these are the principals of the token file; if there are any, every call needs a
    /// token.
    pub fn admit(&self, principals_by_token: &BTreeMap<String, Principal>) {
        self.0.identities.set_file(principals_by_token);
    }

    /// From now on this provider of identities says who people are, too. The first that is given
    /// stays.
    pub fn believe(&self, provider: Arc<Provider>) {
        let _ = self.0.provider.set(provider);
    }

    /// From now on callers are known by certificates, too. What is given first stays.
    pub fn certify(&self, certified: Arc<CertifiedCallers>) {
        let _ = self.0.certified.set(certified);
    }

    /// From now on every call needs a token, whether the file has any or not.
    pub fn ask_always(&self) {
        self.0.identities.ask_always();
    }

    /// From now on the callers of each project together may have this where its quota says nothing
    /// else.
    pub fn bound_projects(&self, bounds: ProjectBounds) {
        self.0.parties.bound(bounds);
    }

    /// What each party has open, and may have.
    pub fn parties(&self) -> Parties {
        self.0.parties.clone()
    }

    /// Calls that were refused, for the audit.
    pub fn refusals(&self) -> Refusals {
        self.0.refusals.clone()
    }

    /// Those who are let in.
    pub fn identities(&self) -> Identities {
        self.0.identities.clone()
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

/// A caller who may call.
struct Admitted {
    caller: Caller,
    standing: Standing,
    /// By which token; `None`: by none.
    identity: Option<Arc<Identity>>,
    /// Its place among those of its party, where it lasts.
    open: Option<OpenCall>,
}

/// The identity that a call was let in by; none where it was let in without.
#[derive(Debug, Clone, Default)]
pub(super) struct LetIn(Option<Arc<Identity>>);

impl LetIn {
    /// Of a call that came through the layer.
    pub(super) fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }

    /// Whether it would be let in now.
    ///
    /// # Errors
    /// Its token has expired since, was taken back, or left the file.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), Status> {
        match &self.0 {
            Some(identity) if !identity.is_good(now) => Err(refusal()),
            Some(_) | None => Ok(()),
        }
    }
}

impl Callers {
    /// Who calls, if they may. An open method is a stranger's unless the call carries a token, also
    /// where none is asked for: nothing else tells its callers apart.
    fn admit<B>(&self, request: &http::Request<B>, shown: Presented) -> Result<Admitted, Status> {
        let at = self.clock.now();
        let nobody_is_asked = !self.identities.are_asked_for();
        let (identity, grants, lacking) = match shown {
            Presented::By(identity) => {
                let grants = Grants::To(identity.principal.rights.clone());
                (Some(identity), grants, String::new())
            }
            Presented::Bad(why) => (None, Grants::Open, why),
            Presented::UnknownKey(_) => (None, Grants::Open, NotVouched::UnknownKey.to_string()),
            Presented::Foreign | Presented::Nothing if nobody_is_asked => {
                (None, Grants::fleet(Role::Admin), String::new())
            }
            Presented::Foreign => (None, Grants::Open, "the bearer token is unknown".to_owned()),
            Presented::Nothing => (None, Grants::Open, "no bearer token was given".to_owned()),
        };
        let actor = identity.as_ref().map_or(&self.anybody, |identity| &identity.principal.name);
        let trace = trace::current_traceparent(request.headers());
        let token = identity.as_ref().and_then(|identity| identity.token());
        let vouched = identity.as_ref().and_then(|identity| identity.vouch());
        let ended = identity.as_ref().map(|identity| identity.ended.clone()).unwrap_or_default();
        let peer = request.extensions().get::<Connection>().map(Connection::peer);
        let path = request.uri().path();
        let call = method_at(path).map(|method| Arc::new(CallOf { method, peer }));
        let actor = Arc::clone(actor);
        let caller = Caller { actor, grants, trace, at, token, vouched, ended, call };
        // Before it is judged: refusing costs work and records, too.
        self.parties.count_call(&caller, Instant::now())?;
        let (action, resource) = asked(path);
        authorize(&caller, action, resource, Of::Any).map_err(|refused| {
            let status = match refused {
                Refused::Stranger => status::token_invalid(&lacking),
                Refused::Role { .. } | Refused::NotThere => status::not_permitted(&refused),
            };
            self.refusals.note(&caller, identity.is_some(), at, &status);
            status
        })?;
        let open = Lasting::of(path).map(|kind| self.parties.open(&caller, kind)).transpose()?;
        let standing = match caller.grants {
            Grants::To(_) if identity.is_some() || resource != Resource::Door => Standing::Known,
            Grants::To(_) | Grants::Open => Standing::Stranger,
        };
        Ok(Admitted { caller, standing, identity, open })
    }
}

/// An answer that is being made.
type Answering =
    Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send + 'static>>;

impl<S> Auth<S> {
    /// Lets a call in that shows this, or refuses it.
    fn let_in<B>(&mut self, mut request: http::Request<B>, shown: Presented) -> Answering
    where
        S: Service<http::Request<B>, Response = http::Response<Body>, Error = Infallible>,
        S::Future: Send + 'static,
    {
        let Admitted { caller, standing, identity, open } =
            match self.callers.admit(&request, shown) {
                Ok(admitted) => admitted,
                Err(refused) => return answered(refused),
            };
        request.extensions_mut().insert(caller.clone());
        request.extensions_mut().insert(standing);
        if standing == Standing::Known {
            request.extensions_mut().insert(Account(caller.account().into()));
        }
        if let Some(identity) = &identity {
            request.extensions_mut().insert(Proof::Until(identity.gone.clone()));
            request.extensions_mut().insert(Party(caller.party().into()));
        }
        request.extensions_mut().insert(LetIn(identity.clone()));
        let grace = grace_of(request.uri().path());
        let call = self.inner.call(request);
        let call = async move {
            let answer = call.await?;
            Ok::<_, Infallible>(match open {
                Some(open) => answer.map(|body| until_sent(body, open)),
                None => answer,
            })
        };
        let callers = Arc::clone(&self.callers);
        Box::pin(async move {
            let known = identity.is_some();
            let answer = match identity {
                Some(who) => until_gone(who.gone.clone(), grace, who, call).await?,
                None => call.await?,
            };
            // What a service refuses for who asks, such as a join, is in the headers.
            if let Some(status) = Status::from_header_map(answer.headers()) {
                callers.refusals.note(&caller, known, callers.clock.now(), &status);
            }
            Ok(answer)
        })
    }
}

fn answered(refused: Status) -> Answering {
    Box::pin(std::future::ready(Ok(refused.into_http())))
}

impl<S, B> Service<http::Request<B>> for Auth<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        match self.callers.shown(&request) {
            Ok(Presented::UnknownKey(provider)) => {
                // The service that is ready goes with the call, which waits.
                let next = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, next);
                let mut ready = Self { inner, callers: Arc::clone(&self.callers) };
                Box::pin(async move {
                    let shown = match provider.look_again().await {
                        true => ready.callers.shown(&request),
                        false => Ok(Presented::UnknownKey(provider)),
                    };
                    match shown {
                        Ok(shown) => ready.let_in(request, shown).await,
                        Err(refused) => Ok(refused.into_http()),
                    }
                })
            }
            Ok(shown) => self.let_in(request, shown),
            Err(refused) => answered(refused),
        }
    }
}

#[cfg(test)]
mod tests;
