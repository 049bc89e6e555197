//! Calls about hosts: get, list, update, delete, join tokens, and JoinHost, which signs an agent's
//! certificate.
//!
//! JoinHost is the one call that needs no bearer token: its proof is the join token. WatchHosts is
//! in [`super::watch`], GetHostInventory and SweepHost in [`super::inventory`].

mod update;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use banger_proto::ids::HostId;
use banger_proto::v1;
use banger_proto::v1::host_service_server::HostService;
use banger_wire::service::edge::connection::Connection;
use prost::Message as _;
use tonic::{Request, Response, Status};
use tracing::info;

use super::convert;
use super::page::{Cursor, MAX_PAGE_BYTES, PageQuery, page_size};
use super::{
    Api, ResponseStream, all_or_problems, fill_random, if_match, inventory, new_uuid, once,
    parse_host, status,
};
use crate::model::agent_address;
use crate::model::caller::Caller;
use crate::model::host::HostRecord;
use crate::model::labels::{self, LabelChange, Labels, Selector};
use crate::model::ledger::{
    CreateJoinToken, DeleteHost, HostRef, JoinHost, JoinToken, Mutation, Refusal, RevokeHost,
    SetCordon, UpdateHost,
};
use crate::model::names;
use crate::model::placement::HostOvercommit;
use crate::model::request::RequestKey;
use crate::model::spec::SpecProblem;
use crate::model::subnet::Subnet;
use crate::pki::{AgentRequest, JoinTokenText, later};
use crate::store::MutateError;

/// How long a join token is good when nothing was said.
const DEFAULT_TOKEN_TTL: Duration = Duration::from_secs(15 * 60);

/// The shortest and the longest life of a join token.
const TOKEN_TTL: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(24 * 3600);

/// The host service.
#[derive(Debug, Clone)]
pub struct Hosts {
    api: Api,
}

impl Hosts {
    /// Over the server's parts.
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    fn host(&self, text: &str) -> Result<HostRef, Status> {
        let mut problems = Vec::new();
        let host = parse_host(text, "host", &mut problems);
        all_or_problems(host, problems)
    }

    async fn submit<T, M>(
        &self,
        request: &Request<T>,
        key: Option<RequestKey>,
        mutation: M,
    ) -> Result<Response<v1::Host>, Status>
    where
        M: Mutation<Answer = Arc<HostRecord>>,
    {
        let record = self.api.store.submit_once(self.api.caller(request)?, key, mutation).await;
        let record = record.map_err(status::mutation_failed)?;
        let host = HostRef::Id(record.id);
        let shown =
            self.api.view.resolve_host(&host).ok_or_else(|| status::host_not_found(&host))?;
        Ok(Response::new(convert::host(&shown, self.api.overcommit)))
    }

    fn join(
        &self,
        message: v1::JoinHostRequest,
        peer: Option<SocketAddr>,
    ) -> Result<(JoinHost, AgentRequest), Status> {
        let token = JoinTokenText::parse(&message.token)
            .map_err(|error| status::join_token_invalid(&error.to_string()))?;
        let mut problems = Vec::new();
        if let Err(why) = names::check_name(&message.name) {
            problems.push(SpecProblem::new("name", why));
        }
        let request = AgentRequest::read(&message.certificate_request_pem)
            .map_err(|why| {
                problems.push(SpecProblem::new("certificate_request_pem", why.to_string()));
            })
            .ok();
        if let Err(why) = agent_address::check_joining(&message.agent_address, peer) {
            problems.push(SpecProblem::new("agent_address", why));
        }
        let used_networks = used_networks(&message.used_networks, &mut problems);
        let known_id: Option<HostId> = match message.host_id.as_str() {
            "" => None,
            text => text
                .parse()
                .map_err(|why| problems.push(SpecProblem::new("host_id", format!("is {why}"))))
                .ok(),
        };
        let request = all_or_problems(request, problems)?;
        let now = self.api.clock.now();
        let join = JoinHost {
            token_id: token.id.clone(),
            secret_sha256: token.secret_sha256(),
            key_sha256: request.key_sha256(),
            new_id: HostId::from_uuid(new_uuid(now)?),
            known_id,
            name: message.name,
            agent_address: message.agent_address,
            used_networks,
            certificate_expires_at: later(now, self.api.certificate_validity),
            ca_sha256: self.api.cas.load().signing().fingerprint(),
        };
        if !message.labels.is_empty() {
            // Not which: they are a stranger's words.
            info!(host = %join.name, labels = message.labels.len(),
                "a joining host would like labels; they come with its token, or by UpdateHost");
        }
        Ok((join, request))
    }

    /// All pages are of one revision.
    fn list(
        &self,
        caller: &Caller,
        mut message: v1::ListHostsRequest,
    ) -> Result<v1::ListHostsResponse, Status> {
        let token = std::mem::take(&mut message.page_token);
        let query = PageQuery::of("ListHosts", &message);
        let size = page_size(message.page_size)?;
        let selector = Selector::parse(&message.label_selector)
            .map_err(|why| status::invalid_field("label_selector", why))?;
        let (now, pages, view) = (Instant::now(), &self.api.pages, &self.api.view);
        let party: Arc<str> = caller.party().into();
        let (snapshot, after) = match pages.read(&query, &token)? {
            Some(cursor) => (pages.snapshot(&party, cursor.revision, now)?, cursor.after),
            None => (view.snapshot(), 0),
        };
        let mut hosts = Vec::new();
        let (mut bytes, mut last, mut more) = (0, 0, false);
        for (id, listed) in &snapshot.hosts {
            let key = id.uuid().as_u128();
            if key <= after || !selector.matches(&listed.view.record.labels) {
                continue;
            }
            // One that has not changed is shown with when it was heard last.
            let current = view.host(*id).filter(|host| host.revision == listed.revision);
            let host = convert::host(current.as_ref().unwrap_or(listed), self.api.overcommit);
            bytes += host.encoded_len() + 8;
            if hosts.len() == size || (bytes > MAX_PAGE_BYTES && !hosts.is_empty()) {
                more = true;
                break;
            }
            hosts.push(host);
            last = key;
        }
        let revision = snapshot.revision;
        let next_page_token = if more {
            pages.keep(&party, &snapshot, now);
            pages.token(&query, Cursor { revision, after: last, total: 0 })
        } else {
            String::new()
        };
        Ok(v1::ListHostsResponse { hosts, next_page_token, revision: revision.0 })
    }
}

/// Longest reason of a revocation, in bytes.
const MAX_REASON: usize = 256;

/// Most networks that a host may name.
const MAX_USED_NETWORKS: usize = 1000;

fn used_networks(given: &[String], problems: &mut Vec<SpecProblem>) -> Vec<Subnet> {
    if given.len() > MAX_USED_NETWORKS {
        let why = format!("must be at most {MAX_USED_NETWORKS}");
        problems.push(SpecProblem::new("used_networks", why));
        return Vec::new();
    }
    let mut read = Vec::with_capacity(given.len());
    for (index, text) in given.iter().enumerate() {
        match text.parse() {
            Ok(network) => read.push(network),
            Err(why) => {
                problems
                    .push(SpecProblem::new(format!("used_networks[{index}]"), format!("{why}")));
            }
        }
    }
    read
}

fn check_labels(given: &Labels, problems: &mut Vec<SpecProblem>) {
    let mut found = Vec::new();
    labels::check_all(given, "labels", &mut found);
    problems.extend(found.into_iter().map(|(field, why)| SpecProblem::new(field, why)));
}

#[tonic::async_trait]
impl HostService for Hosts {
    type WatchHostsStream = ResponseStream<v1::WatchHostsResponse>;

    async fn create_join_token(
        &self,
        request: Request<v1::CreateJoinTokenRequest>,
    ) -> Result<Response<v1::CreateJoinTokenResponse>, Status> {
        let message = request.get_ref();
        let mut problems = Vec::new();
        let ttl = message.ttl.map_or(Ok(DEFAULT_TOKEN_TTL), |ttl| {
            convert::duration(ttl, *TOKEN_TTL.end())
                .ok()
                .filter(|ttl| TOKEN_TTL.contains(ttl))
                .ok_or(SpecProblem::new("ttl", "must be 1 minute to 24 hours"))
        });
        let ttl = ttl.map_err(|problem| problems.push(problem)).ok();
        let host_name = (!message.host_name.is_empty()).then(|| message.host_name.clone());
        if let Some(Err(why)) = host_name.as_deref().map(names::check_name) {
            problems.push(SpecProblem::new("host_name", why));
        }
        check_labels(&message.labels, &mut problems);
        let ttl = all_or_problems(ttl, problems)?;
        let (mut id, mut secret) = ([0; 8], [0; 32]);
        fill_random(&mut id)?;
        fill_random(&mut secret)?;
        let token = JoinTokenText::new(id, secret, self.api.cas.load().signing().fingerprint());
        let expires_at = later(self.api.clock.now(), ttl);
        let caller = self.api.caller(&request)?;
        let keep = CreateJoinToken(JoinToken {
            id: token.id.clone(),
            secret_sha256: token.secret_sha256(),
            host_name,
            labels: message.labels.clone(),
            capacity: convert::accepted(message.accepted_capacity),
            created_by_token: caller.token.as_deref().map(str::to_owned),
            expires_at,
            used_for: None,
        });
        let kept = self.api.store.submit(caller, keep).await;
        kept.map_err(status::mutation_failed)?;
        Ok(Response::new(v1::CreateJoinTokenResponse {
            token: token.reveal(),
            expire_time: Some(convert::timestamp(expires_at)),
        }))
    }

    async fn join_host(
        &self,
        mut request: Request<v1::JoinHostRequest>,
    ) -> Result<Response<v1::JoinHostResponse>, Status> {
        let peer = request.extensions().get::<Connection>().map(Connection::peer);
        let message = std::mem::take(request.get_mut());
        let known_by = JoinTokenText::parse(&message.token).map(|token| token.ca_sha256);
        let (join, certificate_request) = self.join(message, peer)?;
        let host = self.api.store.submit(self.api.caller(&request)?, join).await;
        let host = host.map_err(status::mutation_failed)?;
        // After the commit: a certificate is out only for a host that is stored.
        let now = self.api.clock.now();
        let cas = self.api.cas.load_full();
        let certificate_pem = cas
            .signing()
            .sign_agent(&certificate_request, host.id, now, host.certificate_expires_at)
            .map_err(|error| status::internal(error.to_string()))?;
        info!(host = %host.name, id = %host.id, address = %host.agent_address, "a host has joined");
        Ok(Response::new(v1::JoinHostResponse {
            host_id: host.id.to_string(),
            certificate_pem,
            // By the first of them it knows this server.
            ca_certificate_pem: cas.trusted_pem_from(&known_by.unwrap_or_default()),
            guest_subnet: host.subnet.to_string(),
            labels: host.labels.clone(),
        }))
    }

    async fn get_host(
        &self,
        request: Request<v1::GetHostRequest>,
    ) -> Result<Response<v1::Host>, Status> {
        let host = self.host(&request.get_ref().host)?;
        let shown =
            self.api.view.resolve_host(&host).ok_or_else(|| status::host_not_found(&host))?;
        Ok(Response::new(convert::host(&shown, self.api.overcommit)))
    }

    async fn list_hosts(
        &self,
        request: Request<v1::ListHostsRequest>,
    ) -> Result<Response<v1::ListHostsResponse>, Status> {
        let caller = self.api.caller(&request)?;
        self.list(&caller, request.into_inner()).map(Response::new)
    }

    async fn update_host(
        &self,
        mut request: Request<v1::UpdateHostRequest>,
    ) -> Result<Response<v1::Host>, Status> {
        let key = once::key(request.get_ref())?;
        let message = std::mem::take(request.get_mut());
        let mut problems = Vec::new();
        let host = parse_host(&message.host, "host", &mut problems);
        check_labels(&message.labels, &mut problems);
        let paths = message.update_mask.map(|mask| mask.paths).filter(|paths| !paths.is_empty());
        let (labels, named) = match paths {
            None => {
                let overcommit = message.overcommit.is_some();
                let named = update::NamedFields {
                    address: !message.agent_address.is_empty(),
                    vcpu_overcommit: overcommit,
                    memory_overcommit: overcommit,
                    accepted: message.accepted_capacity.is_some(),
                };
                (LabelChange::Whole(message.labels), named)
            }
            Some(paths) => update::masked(&paths, message.labels, &mut problems),
        };
        let agent_address = named.address.then_some(message.agent_address);
        let overcommit = message.overcommit.unwrap_or_default();
        let mut ratio = |named: bool, field: &str, ratio: f64| {
            let millis = HostOvercommit::millis(ratio);
            named.then(|| {
                millis.unwrap_or_else(|why| {
                    problems.push(SpecProblem::new(field, why));
                    None
                })
            })
        };
        let vcpu_overcommit = ratio(named.vcpu_overcommit, "overcommit.vcpus", overcommit.vcpus);
        let memory_overcommit =
            ratio(named.memory_overcommit, "overcommit.memory", overcommit.memory);
        if let Some(Err(why)) = agent_address.as_deref().map(agent_address::check) {
            problems.push(SpecProblem::new("agent_address", why));
        }
        let mutation = UpdateHost {
            host: all_or_problems(host, problems)?,
            etag: if_match(&message.etag),
            labels,
            agent_address,
            vcpu_overcommit,
            memory_overcommit,
            accepted: named.accepted.then(|| convert::accepted(message.accepted_capacity)),
        };
        self.submit(&request, key, mutation).await
    }

    async fn delete_host(
        &self,
        request: Request<v1::DeleteHostRequest>,
    ) -> Result<Response<v1::Host>, Status> {
        let message = request.get_ref();
        let host = self.host(&message.host)?;
        // Taken before: afterwards there is nothing to show.
        let shown = self.api.view.resolve_host(&host);
        let delete = DeleteHost { host, etag: if_match(&message.etag) };
        let key = once::key(message)?;
        match self.api.store.submit_once(self.api.caller(&request)?, key, delete).await {
            // Gone by an earlier request with this id.
            Err(MutateError::Refused(Refusal::DoneAndGone { .. })) => {
                Ok(Response::new(v1::Host::default()))
            }
            Ok(_) => Ok(Response::new(
                shown
                    .as_ref()
                    .map(|shown| convert::host(shown, self.api.overcommit))
                    .unwrap_or_default(),
            )),
            Err(MutateError::Refused(Refusal::HostNotFound(_))) if message.allow_missing => {
                Ok(Response::new(v1::Host::default()))
            }
            Err(failure) => Err(status::mutation_failed(failure)),
        }
    }

    async fn revoke_host(
        &self,
        request: Request<v1::RevokeHostRequest>,
    ) -> Result<Response<v1::Host>, Status> {
        let message = request.get_ref();
        let mut problems = Vec::new();
        let host = parse_host(&message.host, "host", &mut problems);
        if message.reason.len() > MAX_REASON || message.reason.contains(char::is_control) {
            let why = format!("must be at most {MAX_REASON} bytes without control characters");
            problems.push(SpecProblem::new("reason", why));
        }
        let mutation = RevokeHost {
            host: all_or_problems(host, problems)?,
            etag: if_match(&message.etag),
            reason: message.reason.clone(),
        };
        self.submit(&request, once::key(message)?, mutation).await
    }

    async fn cordon_host(
        &self,
        request: Request<v1::CordonHostRequest>,
    ) -> Result<Response<v1::Host>, Status> {
        let message = request.get_ref();
        let mutation = SetCordon {
            host: self.host(&message.host)?,
            etag: if_match(&message.etag),
            cordoned: true,
        };
        self.submit(&request, once::key(message)?, mutation).await
    }

    async fn uncordon_host(
        &self,
        request: Request<v1::UncordonHostRequest>,
    ) -> Result<Response<v1::Host>, Status> {
        let message = request.get_ref();
        let mutation = SetCordon {
            host: self.host(&message.host)?,
            etag: if_match(&message.etag),
            cordoned: false,
        };
        self.submit(&request, once::key(message)?, mutation).await
    }

    async fn drain_host(
        &self,
        _request: Request<v1::DrainHostRequest>,
    ) -> Result<Response<v1::Host>, Status> {
        Err(status::not_implemented("DrainHost"))
    }

    async fn watch_hosts(
        &self,
        _request: Request<v1::WatchHostsRequest>,
    ) -> Result<Response<Self::WatchHostsStream>, Status> {
        // Answered before it comes here, by `WithWatch`.
        Err(status::internal("WatchHosts was not wired to its stream"))
    }

    async fn get_host_inventory(
        &self,
        request: Request<v1::GetHostInventoryRequest>,
    ) -> Result<Response<v1::GetHostInventoryResponse>, Status> {
        inventory::get_host_inventory(&self.api, request).await
    }

    async fn sweep_host(
        &self,
        request: Request<v1::SweepHostRequest>,
    ) -> Result<Response<v1::SweepHostResponse>, Status> {
        inventory::sweep_host(&self.api, request).await
    }
}
