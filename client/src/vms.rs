//! The calls about virtual machines, one to one, and whole lists.
//!
//! Wherever a call takes `vm`, it is an id or the name of a living VM. A change answers when the
//! intent is durable, not when the host is done: follow with [`Vms::wait`] or [`Vms::watch`].

use banger_proto::v1::vm_service_client::VmServiceClient;
use banger_proto::v1::{
    CreateVmRequest, DeleteVmRequest, ErrorReason, ExplainVmRequest, ExplainVmResponse,
    GetVmRequest, ListVmEventsRequest, ListVmsRequest, ListVmsResponse, PauseVmRequest,
    ReadConsoleRequest, ReadConsoleResponse, RebootVmRequest, ResumeVmRequest, StartVmRequest,
    StopVmRequest, UpdateVmRequest, Vm, VmFilter, VmHistoryEvent,
};

use crate::backoff::{Backoff, spread};
use crate::connect::{Link, MAX_ANSWER_BYTES, Transport};
use crate::error::{Call, ClientError};
use crate::wait::{self, WaitFor, Waited};
use crate::watch::{self, WatchStream};

/// How many VMs to ask for in one page.
const PAGE: u32 = 500;

/// How often a create is sent in all when its connection breaks.
const CREATE_ATTEMPTS: u32 = 4;

/// The calls about virtual machines. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vms {
    pub(crate) link: Link,
    pub(crate) rpc: VmServiceClient<Transport>,
}

/// All VMs that match, at one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VmList {
    /// In the server's order.
    pub vms: Vec<Vm>,
    /// A watch after this revision has no gap.
    pub revision: u64,
}

impl Vms {
    pub(crate) fn over(link: Link) -> Self {
        let rpc = VmServiceClient::new(link.transport.clone())
            .max_decoding_message_size(MAX_ANSWER_BYTES);
        Self { link, rpc }
    }

    /// Stores the intent to have a VM. With an `id` or `request_id` the call is idempotent, and is
    /// then repeated when the connection breaks before the answer.
    ///
    /// # Errors
    /// Every problem of the spec at once, a name or id that is taken, a host that is full.
    pub async fn create(&self, request: CreateVmRequest) -> Result<Vm, ClientError> {
        let repeatable = !(request.id.is_empty() && request.request_id.is_empty());
        let mut backoff = Backoff::default();
        let mut attempt = 1;
        loop {
            let answer = self
                .link
                .unary(Call::change("CreateVm"), request.clone(), |r| {
                    let mut rpc = self.rpc.clone();
                    async move { rpc.create_vm(r).await }
                })
                .await;
            match answer {
                Err(ClientError::Interrupted { .. }) if repeatable && attempt < CREATE_ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(backoff.pause(spread())).await;
                }
                answer => return answer,
            }
        }
    }

    /// Reads one VM.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`.
    pub async fn get(&self, vm: &str) -> Result<Vm, ClientError> {
        let request = GetVmRequest { vm: vm.to_owned() };
        let mut rpc = self.rpc.clone();
        self.link.unary(Call::read("GetVm"), request, |r| async move { rpc.get_vm(r).await }).await
    }

    /// Reads one page.
    ///
    /// # Errors
    /// A bad filter or page token.
    pub async fn list(&self, request: ListVmsRequest) -> Result<ListVmsResponse, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::read("ListVms"), request, |r| async move { rpc.list_vms(r).await })
            .await
    }

    /// Reads all pages, at one revision. Starts over once if the server forgets the revision in
    /// between, as after a restart.
    ///
    /// # Errors
    /// A bad filter.
    pub async fn list_all(&self, filter: VmFilter) -> Result<VmList, ClientError> {
        match self.pages(&filter).await {
            Err(ClientError::Refused(refusal)) if refusal.is(ErrorReason::PageTokenInvalid) => {
                self.pages(&filter).await
            }
            answer => answer,
        }
    }

    async fn pages(&self, filter: &VmFilter) -> Result<VmList, ClientError> {
        let mut all = VmList::default();
        let mut page_token = String::new();
        loop {
            let filter = Some(filter.clone());
            let page = self.list(ListVmsRequest { page_size: PAGE, page_token, filter }).await?;
            all.vms.extend(page.vms);
            all.revision = page.revision;
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Replaces the spec.
    ///
    /// # Errors
    /// `ETAG_MISMATCH`, `NEEDS_STOPPED_VM`, problems of the spec.
    pub async fn update(&self, request: UpdateVmRequest) -> Result<Vm, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::change("UpdateVm"), request, |r| async move { rpc.update_vm(r).await })
            .await
    }

    /// Wants the VM gone, its disks included.
    ///
    /// # Errors
    /// `VM_NOT_FOUND` unless `allow_missing`.
    pub async fn delete(&self, request: DeleteVmRequest) -> Result<Vm, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::change("DeleteVm"), request, |r| async move { rpc.delete_vm(r).await })
            .await
    }

    /// Wants the VM running.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`, `VM_DELETING`, `ETAG_MISMATCH`.
    pub async fn start(&self, request: StartVmRequest) -> Result<Vm, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::change("StartVm"), request, |r| async move { rpc.start_vm(r).await })
            .await
    }

    /// Wants the VM stopped.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`, `VM_DELETING`, `ETAG_MISMATCH`.
    pub async fn stop(&self, request: StopVmRequest) -> Result<Vm, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::change("StopVm"), request, |r| async move { rpc.stop_vm(r).await })
            .await
    }

    /// Stops and starts the VM once.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`, `WRONG_DESIRED_STATE`, `ETAG_MISMATCH`.
    pub async fn reboot(&self, request: RebootVmRequest) -> Result<Vm, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::change("RebootVm"), request, |r| async move { rpc.reboot_vm(r).await })
            .await
    }

    /// Wants the VM paused.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`, `WRONG_DESIRED_STATE`, `ETAG_MISMATCH`.
    pub async fn pause(&self, request: PauseVmRequest) -> Result<Vm, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::change("PauseVm"), request, |r| async move { rpc.pause_vm(r).await })
            .await
    }

    /// Wants a paused VM running again.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`, `WRONG_DESIRED_STATE`, `ETAG_MISMATCH`.
    pub async fn resume(&self, request: ResumeVmRequest) -> Result<Vm, ClientError> {
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::change("ResumeVm"), request, |r| async move { rpc.resume_vm(r).await })
            .await
    }

    /// Waits for a state, over broken connections and restarts of the server. `progress` is
    /// called with the VM each time something was heard of it.
    ///
    /// # Errors
    /// `VM_NOT_FOUND` and refusals that no retry can help. A state that is not reached is no
    /// error: see [`Waited::outcome`].
    pub async fn wait(
        &self,
        wanted: WaitFor,
        progress: impl FnMut(&Vm) + Send,
    ) -> Result<Waited, ClientError> {
        wait::wait(self, wanted, progress).await
    }

    /// Follows all VMs that match: the state now, then every change, resuming by itself.
    #[must_use]
    pub fn watch(&self, filter: VmFilter) -> WatchStream {
        watch::watch(self.clone(), filter, None)
    }

    /// Follows all VMs that match from a list that was read with the same filter.
    #[must_use]
    pub fn watch_from(&self, filter: VmFilter, list: VmList) -> WatchStream {
        watch::watch(self.clone(), filter, Some(list))
    }

    /// The whole history of a VM, oldest first. An id also works for a VM that is gone.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`.
    pub async fn events(&self, vm: &str) -> Result<Vec<VmHistoryEvent>, ClientError> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListVmEventsRequest { vm: vm.to_owned(), page_size: PAGE, page_token };
            let mut rpc = self.rpc.clone();
            let page = self
                .link
                .unary(Call::read("ListVmEvents"), request, |r| async move {
                    rpc.list_vm_events(r).await
                })
                .await?;
            all.extend(page.events);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Says what the server would do for a VM now, and why.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`.
    pub async fn explain(&self, vm: &str) -> Result<ExplainVmResponse, ClientError> {
        let request = ExplainVmRequest { vm: vm.to_owned() };
        let mut rpc = self.rpc.clone();
        self.link
            .unary(Call::read("ExplainVm"), request, |r| async move { rpc.explain_vm(r).await })
            .await
    }

    /// Opens the serial console; the stream ends with the console or, without `follow`, with what
    /// there is.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`; `NOT_IMPLEMENTED` from servers that do not have it.
    pub async fn console(&self, request: ReadConsoleRequest) -> Result<Console, ClientError> {
        let call = Call::read("ReadConsole");
        let answer = self.rpc.clone().read_console(request).await;
        let stream = answer.map_err(|status| self.link.error(call, None, status))?.into_inner();
        Ok(Console { link: self.link.clone(), stream })
    }
}

/// An open console.
#[derive(Debug)]
pub struct Console {
    link: Link,
    stream: tonic::Streaming<ReadConsoleResponse>,
}

impl Console {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// The connection broke or the server ended the stream with an error.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        match self.stream.message().await {
            Ok(response) => Ok(response.map(|r| r.data)),
            Err(status) => Err(self.link.error(Call::read("ReadConsole"), None, status)),
        }
    }
}
