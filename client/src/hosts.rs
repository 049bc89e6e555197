//! The calls about hosts, one to one, and a watch that resumes by itself.
//!
//! Wherever a call takes `host`, it is an id or a name.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::v1::host_service_client::HostServiceClient;
use banger_proto::v1::{
    CordonHostRequest, CreateJoinTokenRequest, CreateJoinTokenResponse, DeleteHostRequest,
    DrainHostRequest, ErrorReason, GetHostInventoryRequest, GetHostInventoryResponse,
    GetHostRequest, Host, JoinHostRequest, JoinHostResponse, ListHostsRequest, ListHostsResponse,
    RevokeHostRequest, SweepHostRequest, SweepHostResponse, UncordonHostRequest, UpdateHostRequest,
    WatchHostsRequest, WatchHostsResponse,
};
use futures_util::{Stream, StreamExt as _};

use crate::backoff::Again;
use crate::connect::{Link, MAX_ANSWER_BYTES, Transport};
use crate::error::{Call, ClientError};
use crate::watch::ChangeKind;
use crate::watch::follow::{Step, follow};
use crate::watch::told::{Event, News, Said, Told, Watched};

const WATCH: Call = Call::read("WatchHosts");

/// The calls about hosts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hosts {
    link: Link,
    rpc: HostServiceClient<Transport>,
}

/// What a watch of hosts tells.
#[derive(Debug)]
pub enum HostUpdate {
    /// A host as it is now.
    Host(Box<Host>),
    /// A host that is gone, as it was last seen.
    Removed(Box<Host>),
    /// All hosts that there are have been told.
    Current,
    /// The connection broke; nothing will be missed.
    Reconnecting {
        /// Why.
        error: ClientError,
        /// When the next attempt is made.
        pause: Duration,
    },
}

/// Hosts, changing. Ends only with an error that no retry can help.
pub type HostStream = Pin<Box<dyn Stream<Item = Result<HostUpdate, ClientError>> + Send>>;

impl Hosts {
    pub(crate) fn over(link: Link) -> Self {
        let rpc = HostServiceClient::new(link.transport.clone())
            .max_decoding_message_size(MAX_ANSWER_BYTES);
        Self { link, rpc }
    }

    /// Makes a token with which one host can join, once.
    ///
    /// # Errors
    /// A bad lifetime or name.
    pub async fn create_join_token(
        &self,
        request: CreateJoinTokenRequest,
    ) -> Result<CreateJoinTokenResponse, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::change("CreateJoinToken"), request, |r| async move {
                rpc.create_join_token(r).await
            })
            .await
    }

    /// Trades a join token and a certificate request for a certificate.
    ///
    /// # Errors
    /// `JOIN_TOKEN_INVALID`, `HOST_NAME_TAKEN`.
    pub async fn join(&self, request: JoinHostRequest) -> Result<JoinHostResponse, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::change("JoinHost"), request, |r| async move { rpc.join_host(r).await })
            .await
    }

    /// Reads one host.
    ///
    /// # Errors
    /// `HOST_NOT_FOUND`.
    pub async fn get(&self, host: &str) -> Result<Host, ClientError> {
        let request = GetHostRequest { host: host.to_owned() };
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::read("GetHost"), request, |r| async move { rpc.get_host(r).await })
            .await
    }

    /// Reads one page.
    ///
    /// # Errors
    /// A bad selector or page token.
    pub async fn list(&self, request: ListHostsRequest) -> Result<ListHostsResponse, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::read("ListHosts"), request, |r| async move { rpc.list_hosts(r).await })
            .await
    }

    /// Reads all pages; starts over once if the server forgets the page in between.
    ///
    /// # Errors
    /// A bad selector.
    pub async fn list_all(&self, label_selector: &str) -> Result<Vec<Host>, ClientError> {
        match self.pages(label_selector).await {
            Err(ClientError::Refused(refusal))
                if refusal.is(ErrorReason::PageTokenInvalid)
                    || refusal.is(ErrorReason::PageTokenExpired) =>
            {
                self.pages(label_selector).await
            }
            answer => answer,
        }
    }

    async fn pages(&self, label_selector: &str) -> Result<Vec<Host>, ClientError> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let label_selector = label_selector.to_owned();
            let request = ListHostsRequest { page_size: 500, page_token, label_selector };
            let page = self.list(request).await?;
            all.extend(page.hosts);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Changes labels or agent address.
    ///
    /// # Errors
    /// `HOST_NOT_FOUND`, `ETAG_MISMATCH`.
    pub async fn update(&self, request: UpdateHostRequest) -> Result<Host, ClientError> {
        self.link
            .change("UpdateHost", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.update_host(r).await }
            })
            .await
    }

    /// Reads the host, makes an update of it and sends that, again where somebody else has changed
    /// the host in between.
    ///
    /// # Errors
    /// As of [`Hosts::get`] and [`Hosts::update`].
    pub async fn edit(
        &self,
        host: &str,
        change: impl Fn(&Host) -> UpdateHostRequest,
    ) -> Result<Host, ClientError> {
        let mut again = Again::default();
        loop {
            let read = self.get(host).await?;
            let mut request = change(&read);
            (request.host, request.etag) = (read.id, read.etag);
            match self.update(request).await {
                Err(error) if again.after(&error).await => {}
                answer => return answer,
            }
        }
    }

    /// Forgets a host that holds no VMs.
    ///
    /// # Errors
    /// `HOST_NOT_EMPTY`, `HOST_NOT_FOUND` unless `allow_missing`.
    pub async fn delete(&self, request: DeleteHostRequest) -> Result<Host, ClientError> {
        self.link
            .change("DeleteHost", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.delete_host(r).await }
            })
            .await
    }

    /// Places no further VM on the host.
    ///
    /// # Errors
    /// `HOST_NOT_FOUND`, `ETAG_MISMATCH`.
    pub async fn cordon(&self, request: CordonHostRequest) -> Result<Host, ClientError> {
        self.link
            .change("CordonHost", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.cordon_host(r).await }
            })
            .await
    }

    /// Places VMs on the host again.
    ///
    /// # Errors
    /// `HOST_NOT_FOUND`, `ETAG_MISMATCH`.
    pub async fn uncordon(&self, request: UncordonHostRequest) -> Result<Host, ClientError> {
        self.link
            .change("UncordonHost", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.uncordon_host(r).await }
            })
            .await
    }

    /// Shuts the host out, with every key that it had. Its VMs become unknown; nothing is deleted.
    ///
    /// # Errors
    /// `HOST_NOT_FOUND`, `ETAG_MISMATCH`, `INVALID_FIELDS` for a reason that is too long.
    pub async fn revoke(&self, request: RevokeHostRequest) -> Result<Host, ClientError> {
        self.link
            .change("RevokeHost", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.revoke_host(r).await }
            })
            .await
    }

    /// Moves the VMs away from the host.
    ///
    /// # Errors
    /// `NOT_IMPLEMENTED` at present.
    pub async fn drain(&self, request: DrainHostRequest) -> Result<Host, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::change("DrainHost"), request, |r| async move { rpc.drain_host(r).await })
            .await
    }

    /// Every kernel object of banger on the host, all pages; starts over once if the server forgets
    /// the page in between. With `only_unowned`, those that no VM owns.
    ///
    /// # Errors
    /// `HOST_NOT_FOUND`; `HOST_UNREACHABLE` when its agent is not reached.
    pub async fn inventory(
        &self,
        host: &str,
        only_unowned: bool,
    ) -> Result<GetHostInventoryResponse, ClientError> {
        match self.whole_inventory(host, only_unowned).await {
            Err(ClientError::Refused(refusal))
                if refusal.is(ErrorReason::PageTokenInvalid)
                    || refusal.is(ErrorReason::PageTokenExpired) =>
            {
                self.whole_inventory(host, only_unowned).await
            }
            answer => answer,
        }
    }

    async fn whole_inventory(
        &self,
        host: &str,
        only_unowned: bool,
    ) -> Result<GetHostInventoryResponse, ClientError> {
        let mut request = GetHostInventoryRequest {
            host: host.to_owned(),
            only_unowned,
            ..GetHostInventoryRequest::default()
        };
        let mut whole = self.inventory_page(request.clone()).await?;
        while !whole.next_page_token.is_empty() {
            request.page_token = std::mem::take(&mut whole.next_page_token);
            let page = self.inventory_page(request.clone()).await?;
            whole.objects.extend(page.objects);
            whole.next_page_token = page.next_page_token;
        }
        Ok(whole)
    }

    /// One page of banger's kernel objects on the host. Each page is a new look.
    ///
    /// # Errors
    /// As [`Self::inventory`], and for a bad page token.
    pub async fn inventory_page(
        &self,
        request: GetHostInventoryRequest,
    ) -> Result<GetHostInventoryResponse, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::read("GetHostInventory"), request, |r| async move {
                rpc.get_host_inventory(r).await
            })
            .await
    }

    /// Removes what no VM owns, or says what would be removed. What stays and what could not be
    /// removed is in the answer. One whose answer was lost is not made again: the answer says
    /// `repeated`, and the inventory what was removed.
    ///
    /// # Errors
    /// `HOST_NOT_FOUND`; `HOST_UNREACHABLE`: nothing was removed; `OUTCOME_UNKNOWN`: ask for the
    /// inventory.
    pub async fn sweep(&self, request: SweepHostRequest) -> Result<SweepHostResponse, ClientError> {
        self.link
            .change("SweepHost", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.sweep_host(r).await }
            })
            .await
    }

    /// Follows all hosts: as they are now, then every change, resuming by itself. A reader that is
    /// slow sees the newest state of each host, not every step.
    #[must_use]
    pub fn watch(&self) -> HostStream {
        let rpc = self.rpc.clone();
        let open = move |after_revision| {
            let mut rpc = rpc.clone();
            let request = WatchHostsRequest { after_revision, filter: None };
            async move { rpc.watch_hosts(request).await }
        };
        let (link, told) = (self.link.clone(), Told::default());
        let steps = follow::<Host, WatchHostsResponse, _>(link, WATCH, told, open);
        let host = |host: Arc<Host>| Box::new(Arc::unwrap_or_clone(host));
        let update = move |step| {
            Some(match step {
                Step::News(News::Change { kind: ChangeKind::Removed, thing, .. }) => {
                    HostUpdate::Removed(host(thing))
                }
                Step::News(News::Change { thing, .. }) => HostUpdate::Host(host(thing)),
                Step::News(News::Current { .. }) => HostUpdate::Current,
                Step::News(News::Bookmark { .. }) => return None,
                Step::Reconnecting { error, pause } => HostUpdate::Reconnecting { error, pause },
            })
        };
        Box::pin(steps.filter_map(move |step| ready(step.map(update).transpose())))
    }
}

impl Watched for Host {
    fn id(&self) -> &str {
        &self.id
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn is_as(&self, other: &Self) -> bool {
        let mut same = Self { revision: other.revision, ..self.clone() };
        if let (Some(status), Some(other)) = (&mut same.status, &other.status) {
            // That it was heard again is no change.
            status.last_seen = other.last_seen;
        }
        same == *other
    }
}

impl From<WatchHostsResponse> for Said<Host> {
    fn from(response: WatchHostsResponse) -> Self {
        let put = |thing: Host| Event::Put { revision: thing.revision, thing };
        let gone = |id| Event::Gone { id };
        let put = response.hosts.into_iter().map(put);
        Self {
            events: put.chain(response.removed_host_ids.into_iter().map(gone)).collect(),
            revision: response.revision,
            complete: response.initial_state_complete,
        }
    }
}
