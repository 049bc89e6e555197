//! The token service: makes tokens of callers, lists them, and takes them back.
//!
//! A token's text is made here and is in one answer; what is stored is its digest. That a token
//! which was taken back ends the calls under way is for [`super::auth`]. Of the tokens that went
//! along with one, an answer names so many as fit into it.

use std::sync::Arc;
use std::time::Duration;

use banger_proto::v1;
use banger_proto::v1::token_service_server::TokenService;
use tonic::{Request, Response, Status};
use tracing::info;

use super::auth::identities::{Identities, digest};
use super::page::{Cursor, PageQuery, page_size};
use super::{Api, all_or_problems, convert, fill_random, once, status};
use crate::model::caller::{Caller, Grants, ProjectRole, Rights, Role};
use crate::model::ledger::{CreateToken, Refusal, RevokeToken, Revoked};
use crate::model::project::ProjectName;
use crate::model::request::RequestTarget;
use crate::model::spec::SpecProblem;
use crate::model::token::{PREFIX, TokenRecord, check_principal, is_id};
use crate::pki::later;
use crate::store::MutateError;

/// How many tokens that were made with one an answer names.
const NAMED: usize = 1000;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long a token is good when nothing was said.
pub(crate) const DEFAULT_TTL: Duration = DAY.saturating_mul(90);

/// The shortest and the longest life of a token.
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=DAY.saturating_mul(3650);

/// Answers calls about tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    api: Api,
    identities: Identities,
}

impl Tokens {
    /// Over the server's parts, and those that know when a token was used.
    pub fn new(api: Api, identities: Identities) -> Self {
        Self { api, identities }
    }

    /// A token, for who asks. Who made it is theirs to know where that one is of what they see.
    fn shown(&self, token: &TokenRecord, caller: &Caller) -> v1::Token {
        let (created_by, created_by_token) = match caller.only() {
            None => (token.created_by.clone(), token.created_by_token.clone()),
            Some(own) => {
                let by =
                    Some(&token.created_by).filter(|by| by.starts_with(&Caller::party_of(own)));
                let with = token.created_by_token.as_ref();
                let its = |id: &&String| {
                    let made_with = self.api.store.token(id);
                    made_with.is_some_and(|token| token.rights.project() == Some(own))
                };
                (by.cloned().unwrap_or_default(), with.filter(its).cloned())
            }
        };
        let used = self.identities.last_use(token).max(token.last_used_at);
        v1::Token {
            id: token.id.clone(),
            name: token.name.clone(),
            role: convert::role(&token.rights).into(),
            create_time: Some(convert::timestamp(token.created_at)),
            expire_time: Some(convert::timestamp(token.expires_at)),
            last_use_time: used.map(convert::timestamp),
            created_by,
            project: token.rights.project().map(ToString::to_string).unwrap_or_default(),
            created_by_token: created_by_token.unwrap_or_default(),
            ..v1::Token::default()
        }
    }

    fn shown_gone(&self, gone: &Revoked, caller: &Caller) -> v1::Token {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        v1::Token {
            made: gone.made.iter().take(NAMED).map(|made| named(made)).collect(),
            made_count: number(gone.made.len()),
            join_token_count: number(gone.join_tokens),
            ..self.shown(&gone.token, caller)
        }
    }

    fn list(
        &self,
        caller: &Caller,
        mut message: v1::ListTokensRequest,
    ) -> Result<v1::ListTokensResponse, Status> {
        let token = std::mem::take(&mut message.page_token);
        let query = PageQuery::of("ListTokens", &message).seen_by(caller);
        let size = page_size(message.page_size)?;
        let now = self.api.clock.now();
        let after = self.api.pages.read(&query, &token)?.map_or(0, |cursor| cursor.after);
        let project = match message.project.is_empty() {
            true => caller.only().cloned(),
            false => Some(self.api.project(&message.project, caller)?),
        };
        let good = self.api.store.tokens();
        let mut rest = good
            .iter()
            .filter(|token| token.is_good(now))
            .filter(|token| project.is_none() || token.rights.project() == project.as_ref())
            .map(|token| (number_of(&token.id), token))
            .filter(|(number, _)| *number > after);
        let page: Vec<_> = rest.by_ref().take(size).collect();
        let more = rest.next().is_some();
        let next_page_token = match page.last().filter(|_| more) {
            Some((last, _)) => {
                let cursor = Cursor { revision: Default::default(), after: *last, total: 0 };
                self.api.pages.token(&query, cursor)
            }
            None => String::new(),
        };
        let tokens = page.into_iter().map(|(_, token)| self.shown(token, caller)).collect();
        Ok(v1::ListTokensResponse { tokens, next_page_token })
    }
}

fn named(made: &TokenRecord) -> v1::MadeToken {
    v1::MadeToken { id: made.id.clone(), name: made.name.clone() }
}

/// The digits of an id, whose order is that of ids.
fn number_of(id: &str) -> u128 {
    let digits = id.strip_prefix(PREFIX).unwrap_or_default();
    u128::from_str_radix(digits, 16).unwrap_or(0)
}

/// A new id, and the text that begins with it.
///
/// # Errors
/// When the system gives no randomness.
pub(crate) fn new_text() -> Result<(String, String), Status> {
    let (mut id, mut secret) = ([0; 8], [0; 32]);
    fill_random(&mut id)?;
    fill_random(&mut secret)?;
    let id = format!("{PREFIX}{}", hex::encode(id));
    let text = format!("{id}_{}", hex::encode(secret));
    Ok((id, text))
}

/// The rights that a role gives, in the whole fleet or in one project.
///
/// # Errors
/// There is no such role there.
fn rights_of(role: v1::Role, project: Option<ProjectName>) -> Result<Rights, Status> {
    let why = match (role, project) {
        (v1::Role::Viewer, None) => return Ok(Rights::Fleet(Role::Viewer)),
        (v1::Role::Operator, None) => return Ok(Rights::Fleet(Role::Operator)),
        (v1::Role::Admin, None) => return Ok(Rights::Fleet(Role::Admin)),
        (v1::Role::Viewer, Some(project)) => {
            return Ok(Rights::Project(project, ProjectRole::Viewer));
        }
        (v1::Role::Developer, Some(project)) => {
            return Ok(Rights::Project(project, ProjectRole::Developer));
        }
        (v1::Role::Admin, Some(project)) => {
            return Ok(Rights::Project(project, ProjectRole::Admin));
        }
        (v1::Role::Unspecified, _) => "is required",
        (v1::Role::Developer, None) => "is developer, a role of a project, and no project is named",
        (v1::Role::Operator, Some(_)) => {
            "is operator, a role of the whole fleet; of a project there are viewer, developer and \
             admin"
        }
    };
    Err(status::invalid_field("role", why))
}

/// The id of a token or its principal, as a request of this caller names it.
///
/// # Errors
/// The rule that it breaks.
fn principal_of(text: &str, caller: &Caller) -> Result<String, &'static str> {
    if is_id(text) {
        return Ok(text.to_owned());
    }
    let (project, name) = match text.split_once('/') {
        Some((project, name)) => (Some(ProjectName::parse(project)?), name),
        None => (caller.only().cloned(), text),
    };
    check_principal(name)?;
    Ok(project.map_or_else(|| name.to_owned(), |project| format!("{project}/{name}")))
}

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let message = request.get_ref();
        let key = once::key(message)?;
        let mut problems = Vec::new();
        if let Err(why) = check_principal(&message.name) {
            problems.push(SpecProblem::new("name", why));
        }
        let role = match v1::Role::try_from(message.role) {
            Ok(v1::Role::Unspecified) => Err("is required"),
            Ok(role) => Ok(role),
            Err(_) => Err("is not a value of its type"),
        };
        let role = role.map_err(|why| problems.push(SpecProblem::new("role", why))).ok();
        let ttl = message.ttl.map_or(Some(DEFAULT_TTL), |ttl| {
            convert::duration(ttl, *TTL.end()).ok().filter(|ttl| TTL.contains(ttl))
        });
        if ttl.is_none() {
            problems.push(SpecProblem::new("ttl", "must be 1 minute to 3650 days"));
        }
        let (role, ttl) = all_or_problems(role.zip(ttl), problems)?;
        let caller = self.api.caller(&request)?;
        // A project's admins make tokens of it, whether they name it or not.
        let project = match message.project.is_empty() {
            true => caller.only().cloned(),
            false => Some(self.api.project(&message.project, &caller)?),
        };
        let rights = rights_of(role, project)?;
        // The history says who by this name.
        if rights.project().is_none() && self.identities.are_in_file(&message.name) {
            return Err(status::token_name_in_file(&message.name));
        }
        let (id, secret) = new_text()?;
        let create = CreateToken(Arc::new(TokenRecord {
            id: id.clone(),
            sha256: digest(&secret),
            name: message.name.clone(),
            rights,
            created_by: caller.actor.to_string(),
            created_by_token: caller.token.as_deref().map(str::to_owned),
            goes_with: caller.token.as_deref().map(str::to_owned),
            created_at: caller.at,
            expires_at: later(caller.at, ttl),
            last_used_at: None,
        }));
        let token = self.api.store.submit_once(caller.clone(), key, create).await;
        let token = token.map_err(status::mutation_failed)?;
        // Of a repetition the token is the one that was made then, whose text nobody has.
        let made = token.id == id;
        if made {
            info!(token = token.id, name = token.name, role = %token.rights, by = token.created_by,
                "a token was made");
        }
        Ok(Response::new(v1::CreateTokenResponse {
            token: Some(self.shown(&token, &caller)),
            secret: if made { secret } else { String::new() },
        }))
    }

    async fn list_tokens(
        &self,
        request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        let caller = self.api.caller(&request)?;
        self.list(&caller, request.into_inner()).map(Response::new)
    }

    async fn who_am_i(
        &self,
        request: Request<v1::WhoAmIRequest>,
    ) -> Result<Response<v1::WhoAmIResponse>, Status> {
        let caller = self.api.caller(&request)?;
        let Grants::To(rights) = &caller.grants else {
            return Err(status::token_invalid("no identity was shown"));
        };
        let token = caller.token.as_ref().and_then(|id| self.api.store.token(id));
        let vouch = caller.vouched.as_ref();
        let expires_at =
            token.map(|token| token.expires_at).or(vouch.map(|vouch| vouch.expires_at));
        Ok(Response::new(v1::WhoAmIResponse {
            principal: caller.actor.to_string(),
            role: convert::role(rights).into(),
            project: rights.project().map(ToString::to_string).unwrap_or_default(),
            token_id: caller.shown_id().to_owned(),
            expire_time: expires_at.map(convert::timestamp),
            issuer: vouch.map(|vouch| vouch.by.to_string()).unwrap_or_default(),
        }))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::Token>, Status> {
        let message = request.get_ref();
        let key = once::key(message)?;
        let caller = self.api.caller(&request)?;
        let reference = principal_of(&message.token, &caller)
            .map_err(|why| status::invalid_field("token", why))?;
        let keep_made = message.keep_made;
        let revoke = RevokeToken { token: reference, keep_made };
        let by = Arc::clone(&caller.actor);
        match self.api.store.submit_once(caller.clone(), key, revoke).await {
            Ok(gone) => {
                let token = &gone.token;
                info!(token = token.id, name = token.name, %by, "a token was taken back");
                for made in &gone.made {
                    let what = if keep_made { "stays" } else { "was taken back too" };
                    info!(token = made.id, name = made.name, with = token.id, %by,
                        "a token that was made with one that was taken back {what}");
                }
                Ok(Response::new(self.shown_gone(&gone, &caller)))
            }
            // Gone by an earlier request with this id.
            Err(MutateError::Refused(Refusal::DoneAndGone { what: RequestTarget::Token(id) })) => {
                Ok(Response::new(v1::Token { id, ..v1::Token::default() }))
            }
            Err(MutateError::Refused(Refusal::TokenNotFound { .. })) if message.allow_missing => {
                Ok(Response::new(v1::Token::default()))
            }
            Err(failure) => Err(status::mutation_failed(failure)),
        }
    }
}
