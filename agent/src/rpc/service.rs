//! One method a call, each: read, ask the agent API, answer.

use std::sync::Arc;

use banger_proto::agent_v1 as wire;
use banger_proto::agent_v1::agent_service_server::AgentService;
use banger_proto::bounds::MAX_ASSIGNMENTS_PER_MESSAGE;
use banger_proto::ids::VmId;
use futures_util::stream::BoxStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use super::convert::{self, WireError};
use super::{AgentApi, Assigned, NotAssigned, console, guest, images, objects, observe, status};
use crate::assignment::{Assignment, Power};

/// The service over the agent API.
pub struct AgentRpc<A> {
    api: Arc<A>,
}

impl<A: AgentApi> AgentRpc<A> {
    /// Serves what this answers.
    pub const fn new(api: Arc<A>) -> Self {
        Self { api }
    }

    async fn assign(&self, offered: Assignment) -> Result<Assigned, NotAssigned> {
        let span = tracing::info_span!("assign", vm.id = %offered.vm, version = %offered.version);
        banger_wire::trace::link(&span, &offered.traceparent);
        self.api.assign(offered).instrument(span).await
    }

    /// For the calls that carry a shape: what they want can't be absent already.
    async fn assign_one(
        &self,
        value: Option<wire::Assignment>,
        allowed: &[Power],
    ) -> Result<wire::Version, Status> {
        let offered = convert::assignment(value).map_err(|error| status::invalid(&error))?;
        if !allowed.contains(&offered.power) {
            return Err(status::invalid(&WireError {
                field: "assignment.desired".to_owned(),
                problem: "is not one that this call may ask for".to_owned(),
            }));
        }
        let (vm, version) = (offered.vm, offered.version);
        match self.assign(offered).await.map_err(|why| refusal(vm, &why))? {
            Assigned::Accepted(version) => Ok(convert::version_to_wire(version)),
            Assigned::Absent => Ok(convert::version_to_wire(version)),
            Assigned::Stale(seen) => Err(status::stale(vm, version, seen)),
        }
    }

    async fn result_of(&self, value: wire::Assignment) -> wire::AssignmentResult {
        let vm_id = value.vm_id.clone();
        let refused = |error: String| wire::AssignmentResult {
            vm_id: vm_id.clone(),
            error,
            ..wire::AssignmentResult::default()
        };
        let offered = match convert::assignment(Some(value)) {
            Ok(offered) => offered,
            Err(error) => return refused(error.to_string()),
        };
        let accepted = |version| wire::AssignmentResult {
            vm_id: vm_id.clone(),
            accepted: Some(convert::version_to_wire(version)),
            ..wire::AssignmentResult::default()
        };
        let version = offered.version;
        match self.assign(offered).await {
            Ok(Assigned::Accepted(version)) => accepted(version),
            Ok(Assigned::Stale(seen)) => wire::AssignmentResult { stale: true, ..accepted(seen) },
            Ok(Assigned::Absent) => wire::AssignmentResult { absent: true, ..accepted(version) },
            Err(NotAssigned::NotRecorded(why)) => {
                refused(format!("its record cannot be written, nothing was changed: {why}"))
            }
            Err(NotAssigned::DiskFull(why)) => wire::AssignmentResult {
                reason: status::DISK_FULL.to_owned(),
                ..refused(status::disk_full_sentence(&why))
            },
            Err(NotAssigned::OtherAddress(why)) => refused(why),
            Err(NotAssigned::ShuttingDown) => refused("the agent is shutting down".to_owned()),
        }
    }
}

fn refusal(vm: VmId, why: &NotAssigned) -> Status {
    match why {
        NotAssigned::NotRecorded(why) => status::not_recorded(vm, why),
        NotAssigned::DiskFull(why) => status::disk_full(vm, why),
        NotAssigned::OtherAddress(why) => status::other_address(why),
        NotAssigned::ShuttingDown => status::shutting_down(),
    }
}

fn deletion(request: wire::DeleteVmRequest) -> Result<Assignment, WireError> {
    Ok(Assignment {
        vm: convert::vm_id("vm_id", &request.vm_id)?,
        version: convert::version("version", request.version)?,
        power: Power::Absent,
        shape: None,
        stop_grace: convert::stop_grace("stop_grace", request.stop_grace)?,
        boot_number: 0,
        root_disk_number: 0,
        traceparent: convert::traceparent(request.traceparent),
    })
}

#[tonic::async_trait]
impl<A: AgentApi> AgentService for AgentRpc<A> {
    async fn create_vm(
        &self,
        request: Request<wire::CreateVmRequest>,
    ) -> Result<Response<wire::CreateVmResponse>, Status> {
        let allowed = [Power::Running, Power::Paused, Power::Stopped];
        let accepted = self.assign_one(request.into_inner().assignment, &allowed).await?;
        Ok(Response::new(wire::CreateVmResponse { accepted: Some(accepted) }))
    }

    async fn stop_vm(
        &self,
        request: Request<wire::StopVmRequest>,
    ) -> Result<Response<wire::StopVmResponse>, Status> {
        let accepted = self.assign_one(request.into_inner().assignment, &[Power::Stopped]).await?;
        Ok(Response::new(wire::StopVmResponse { accepted: Some(accepted) }))
    }

    async fn delete_vm(
        &self,
        request: Request<wire::DeleteVmRequest>,
    ) -> Result<Response<wire::DeleteVmResponse>, Status> {
        let offered = deletion(request.into_inner()).map_err(|error| status::invalid(&error))?;
        let (vm, version): (VmId, _) = (offered.vm, offered.version);
        let assigned = self.assign(offered).await.map_err(|why| refusal(vm, &why))?;
        let (accepted, absent) = match assigned {
            Assigned::Accepted(version) => (version, false),
            Assigned::Absent => (version, true),
            Assigned::Stale(seen) => return Err(status::stale(vm, version, seen)),
        };
        let accepted = Some(convert::version_to_wire(accepted));
        Ok(Response::new(wire::DeleteVmResponse { accepted, absent }))
    }

    async fn reconcile(
        &self,
        request: Request<wire::ReconcileRequest>,
    ) -> Result<Response<wire::ReconcileResponse>, Status> {
        let assignments = request.into_inner().assignments;
        if assignments.len() > MAX_ASSIGNMENTS_PER_MESSAGE {
            return Err(status::invalid(&WireError {
                field: "assignments".to_owned(),
                problem: format!("more than {MAX_ASSIGNMENTS_PER_MESSAGE}"),
            }));
        }
        // Together, because each waits for its own record to be on disk.
        let results = assignments.into_iter().map(|assignment| self.result_of(assignment));
        let results = futures_util::future::join_all(results).await;
        Ok(Response::new(wire::ReconcileResponse { results }))
    }

    async fn sweep(
        &self,
        request: Request<wire::SweepRequest>,
    ) -> Result<Response<wire::SweepResponse>, Status> {
        let request = request.into_inner();
        let dry_run = request.dry_run;
        let asker = objects::asker(request).map_err(|error| status::invalid(&error))?;
        let swept = self.api.sweep(asker, dry_run).await;
        let (swept, policy) = swept.map_err(|error| status::host_unreadable(&error))?;
        Ok(Response::new(objects::swept(swept, policy)))
    }

    type ListObjectsStream = ReceiverStream<Result<wire::ListObjectsResponse, Status>>;

    async fn list_objects(
        &self,
        request: Request<wire::ListObjectsRequest>,
    ) -> Result<Response<Self::ListObjectsStream>, Status> {
        let claimed = objects::claimed(&request.into_inner().claimed_vm_ids)
            .map_err(|error| status::invalid(&error))?;
        let listed = self.api.inventory(claimed).await;
        let (listed, policy) = listed.map_err(|error| status::host_unreadable(&error))?;
        let (send, stream) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            for part in objects::parts(listed, policy) {
                if send.send(Ok(part)).await.is_err() {
                    // The reader is gone.
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type ReadConsoleStream = BoxStream<'static, Result<wire::ReadConsoleResponse, Status>>;

    async fn read_console(
        &self,
        request: Request<wire::ReadConsoleRequest>,
    ) -> Result<Response<Self::ReadConsoleStream>, Status> {
        console::read(Arc::clone(&self.api), request.into_inner()).await.map(Response::new)
    }

    type AttachConsoleStream = BoxStream<'static, Result<wire::AttachConsoleResponse, Status>>;

    async fn attach_console(
        &self,
        request: Request<tonic::Streaming<wire::AttachConsoleRequest>>,
    ) -> Result<Response<Self::AttachConsoleStream>, Status> {
        console::attach(Arc::clone(&self.api), request.into_inner()).await.map(Response::new)
    }

    type ExecStream = guest::AnswerStream<wire::ExecResponse>;

    async fn exec(
        &self,
        request: Request<tonic::Streaming<wire::ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        guest::exec(&*self.api, request.into_inner()).await
    }

    async fn copy_in(
        &self,
        request: Request<tonic::Streaming<wire::CopyInRequest>>,
    ) -> Result<Response<wire::CopyInResponse>, Status> {
        guest::copy_in(&*self.api, request.into_inner()).await
    }

    type CopyOutStream = guest::AnswerStream<wire::CopyOutResponse>;

    async fn copy_out(
        &self,
        request: Request<wire::CopyOutRequest>,
    ) -> Result<Response<Self::CopyOutStream>, Status> {
        guest::copy_out(&*self.api, request.into_inner()).await
    }

    type ForwardStream = guest::AnswerStream<wire::ForwardResponse>;

    async fn forward(
        &self,
        request: Request<tonic::Streaming<wire::ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        guest::forward(&*self.api, request.into_inner()).await
    }

    async fn put_image(
        &self,
        request: Request<tonic::Streaming<wire::PutImageRequest>>,
    ) -> Result<Response<wire::PutImageResponse>, Status> {
        images::put(&*self.api, request.into_inner()).await.map(Response::new)
    }

    async fn remove_image(
        &self,
        request: Request<wire::RemoveImageRequest>,
    ) -> Result<Response<wire::RemoveImageResponse>, Status> {
        images::remove(&*self.api, request.into_inner()).await.map(Response::new)
    }

    async fn prepare_certificate(
        &self,
        _request: Request<wire::PrepareCertificateRequest>,
    ) -> Result<Response<wire::PrepareCertificateResponse>, Status> {
        let certificates = self.api.certificates().ok_or_else(status::no_certificates)?;
        let prepared = certificates.prepare().await;
        let certificate_request_pem = prepared.map_err(|why| status::not_installed(&why))?;
        Ok(Response::new(wire::PrepareCertificateResponse { certificate_request_pem }))
    }

    async fn install_certificate(
        &self,
        request: Request<wire::InstallCertificateRequest>,
    ) -> Result<Response<wire::InstallCertificateResponse>, Status> {
        let wire::InstallCertificateRequest { certificate_pem, trusted_ca_pem } =
            request.into_inner();
        let certificates = self.api.certificates().ok_or_else(status::no_certificates)?;
        let installed = certificates.install(certificate_pem, trusted_ca_pem).await;
        installed.map_err(|why| status::not_installed(&why))?;
        Ok(Response::new(wire::InstallCertificateResponse {}))
    }

    type ObserveStream = ReceiverStream<Result<wire::ObserveResponse, Status>>;

    async fn observe(
        &self,
        request: Request<wire::ObserveRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let request = request.into_inner();
        let epoch = banger_proto::ids::Epoch(request.server_epoch);
        self.api.server_seen(&request.server_name, epoch).await;
        Ok(Response::new(observe::start(Arc::clone(&self.api))))
    }
}

#[cfg(test)]
mod tests;
