//! Hosts of the fake server.

use banger_proto::v1::host_service_server::HostService;
use banger_proto::v1::*;
use tonic::{Code, Request, Response, Status};

use super::{EIGHT, Fake, Stream, refusal};

fn not_yet<T>(what: &str) -> Result<T, Status> {
    Err(refusal(Code::Unimplemented, "NOT_IMPLEMENTED", &format!("{what} comes later")))
}

#[tonic::async_trait]
impl HostService for Fake {
    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<CreateJoinTokenResponse>, Status> {
        self.enter("CreateJoinToken", request)?;
        Ok(Response::new(CreateJoinTokenResponse {
            token: "bjt_secret".to_owned(),
            expire_time: Some(prost_types::Timestamp { seconds: EIGHT, nanos: 0 }),
        }))
    }

    async fn join_host(
        &self,
        _: Request<JoinHostRequest>,
    ) -> Result<Response<JoinHostResponse>, Status> {
        not_yet("JoinHost")
    }

    async fn get_host(&self, request: Request<GetHostRequest>) -> Result<Response<Host>, Status> {
        let request = self.enter("GetHost", request)?;
        Ok(Response::new(self.find_host(&request.host)?))
    }

    async fn list_hosts(
        &self,
        request: Request<ListHostsRequest>,
    ) -> Result<Response<ListHostsResponse>, Status> {
        self.enter("ListHosts", request)?;
        let hosts = self.state().hosts.values().cloned().collect();
        Ok(Response::new(ListHostsResponse { hosts, ..ListHostsResponse::default() }))
    }

    async fn update_host(
        &self,
        request: Request<UpdateHostRequest>,
    ) -> Result<Response<Host>, Status> {
        let request = self.enter("UpdateHost", request)?;
        let mut host = self.find_host(&request.host)?;
        match request.update_mask {
            None => host.labels = request.labels,
            Some(mask) => {
                for path in &mask.paths {
                    super::put_label("labels", path, &mut host.labels, &request.labels);
                }
            }
        }
        self.state().hosts.insert(host.name.clone(), host.clone());
        Ok(Response::new(host))
    }

    async fn delete_host(
        &self,
        request: Request<DeleteHostRequest>,
    ) -> Result<Response<Host>, Status> {
        let request = self.enter("DeleteHost", request)?;
        let host = self.find_host(&request.host)?;
        if !self.state().vms.is_empty() {
            let text = format!("{} still holds VMs", host.name);
            return Err(refusal(Code::FailedPrecondition, "HOST_NOT_EMPTY", &text));
        }
        self.state().hosts.remove(&host.name);
        Ok(Response::new(host))
    }

    async fn cordon_host(
        &self,
        request: Request<CordonHostRequest>,
    ) -> Result<Response<Host>, Status> {
        let request = self.enter("CordonHost", request)?;
        let mut host = self.find_host(&request.host)?;
        host.cordoned = true;
        self.state().hosts.insert(host.name.clone(), host.clone());
        Ok(Response::new(host))
    }

    async fn revoke_host(
        &self,
        request: Request<RevokeHostRequest>,
    ) -> Result<Response<Host>, Status> {
        let request = self.enter("RevokeHost", request)?;
        Ok(Response::new(self.find_host(&request.host)?))
    }

    async fn uncordon_host(
        &self,
        request: Request<UncordonHostRequest>,
    ) -> Result<Response<Host>, Status> {
        let request = self.enter("UncordonHost", request)?;
        Ok(Response::new(self.find_host(&request.host)?))
    }

    async fn drain_host(
        &self,
        request: Request<DrainHostRequest>,
    ) -> Result<Response<Host>, Status> {
        self.enter("DrainHost", request)?;
        not_yet("DrainHost")
    }

    type WatchHostsStream = Stream<WatchHostsResponse>;

    async fn watch_hosts(
        &self,
        request: Request<WatchHostsRequest>,
    ) -> Result<Response<Self::WatchHostsStream>, Status> {
        self.enter("WatchHosts", request)?;
        let hosts = self.state().hosts.values().cloned().collect();
        let response =
            WatchHostsResponse { hosts, initial_state_complete: true, ..Default::default() };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(response)))))
    }

    async fn get_host_inventory(
        &self,
        request: Request<GetHostInventoryRequest>,
    ) -> Result<Response<GetHostInventoryResponse>, Status> {
        let request = self.enter("GetHostInventory", request)?;
        // Two pages, and the second only by the token of the first.
        let (names, next_page_token) = match request.page_token.as_str() {
            "" => (["bg-aaaaaaaaaaaa", "bg-bbbbbbbbbbbb"], "second".to_owned()),
            "second" => (["bg-cccccccccccc", "bg-dddddddddddd"], String::new()),
            other => panic!("a token of nobody: {other:?}"),
        };
        let tap = |name: &str| HostObject {
            kind: "tap".to_owned(),
            name: name.to_owned(),
            state: HostObjectState::Orphan.into(),
            ..HostObject::default()
        };
        Ok(Response::new(GetHostInventoryResponse {
            objects: names.map(tap).into(),
            next_page_token,
            ..GetHostInventoryResponse::default()
        }))
    }

    async fn sweep_host(
        &self,
        request: Request<SweepHostRequest>,
    ) -> Result<Response<SweepHostResponse>, Status> {
        let request = self.enter("SweepHost", request)?;
        let failed = FailedObject {
            object: Some(HostObject { kind: "dm".to_owned(), ..HostObject::default() }),
            message: "remove snapshot: busy".to_owned(),
        };
        let failed = if request.dry_run { vec![] } else { vec![failed] };
        Ok(Response::new(SweepHostResponse { failed, ..SweepHostResponse::default() }))
    }
}
