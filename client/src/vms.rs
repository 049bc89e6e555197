//! The calls about virtual machines, one to one, and whole lists.
//!
//! Wherever a call takes `vm`, it is an id or the name of a living VM. A change answers when the
//! intent is durable, not when the host is done: follow with [`Vms::wait`] or [`Vms::watch`].

use banger_proto::v1::vm_service_client::VmServiceClient;
use banger_proto::v1::{
    BindVmRequest, CreateVmRequest, DeleteVmRequest, ErrorReason, ExplainVmRequest,
    ExplainVmResponse, GetVmRequest, ListVmEventsRequest, ListVmsRequest, ListVmsResponse,
    PauseVmRequest, ReadConsoleRequest, ReadConsoleResponse, RebootVmRequest, ResumeVmRequest,
    StartVmRequest, StopVmRequest, UpdateVmRequest, Vm, VmFilter, VmHistoryEvent,
};

use crate::backoff::Again;
use crate::connect::{Link, MAX_ANSWER_BYTES, Transport};
use crate::error::{Call, ClientError};

/// How many VMs to ask for in one page.
const PAGE: u32 = 500;

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

    /// Stores the intent to have a VM.
    ///
    /// # Errors
    /// Every problem of the spec at once, a name or id that is taken, a host that is full.
    pub async fn create(&self, mut request: CreateVmRequest) -> Result<Vm, ClientError> {
        request.project = self.link.project(&request.project);
        self.link
            .change("CreateVm", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.create_vm(r).await }
            })
            .await
    }

    /// Reads one VM.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`.
    pub async fn get(&self, vm: &str) -> Result<Vm, ClientError> {
        let request = GetVmRequest { vm: self.link.named(vm) };
        let mut rpc = self.rpc.clone();
        self.link.unary(Call::read("GetVm"), request, |r| async move { rpc.get_vm(r).await }).await
    }

    /// A filter with the project that is meant.
    pub(crate) fn filter(&self, filter: Option<VmFilter>) -> Option<VmFilter> {
        let project = self.link.project(filter.as_ref().map_or("", |filter| &filter.project));
        match filter {
            None if project.is_empty() => None,
            filter => Some(VmFilter { project, ..filter.unwrap_or_default() }),
        }
    }

    /// Reads one page.
    ///
    /// # Errors
    /// A bad filter or page token.
    pub async fn list(&self, mut request: ListVmsRequest) -> Result<ListVmsResponse, ClientError> {
        request.filter = self.filter(request.filter);
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
            Err(ClientError::Refused(refusal))
                if refusal.is(ErrorReason::PageTokenInvalid)
                    || refusal.is(ErrorReason::PageTokenExpired) =>
            {
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
    pub async fn update(&self, mut request: UpdateVmRequest) -> Result<Vm, ClientError> {
        request.vm = self.link.named(&request.vm);
        self.link
            .change("UpdateVm", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.update_vm(r).await }
            })
            .await
    }

    /// Reads the VM, makes an update of it and sends that, on the condition that nobody has changed
    /// the VM in between; else it is done again with what is there then, for as long as an update
    /// may take in all. An update that brings an etag of its own is sent once.
    ///
    /// # Errors
    /// As of [`Vms::get`] and [`Vms::update`], and what `change` says.
    pub async fn edit<E: From<ClientError>>(
        &self,
        vm: &str,
        change: impl Fn(&Vm) -> Result<UpdateVmRequest, E>,
    ) -> Result<Vm, E> {
        let mut again = Again::default();
        loop {
            let read = self.get(vm).await?;
            let mut request = change(&read)?;
            let own = !request.etag.is_empty();
            request.vm = read.id;
            if !own {
                request.etag = read.etag;
            }
            match self.update(request).await {
                Err(error) if !own && again.after(&error).await => {}
                answer => return Ok(answer?),
            }
        }
    }

    /// Wants the VM gone, its disks included.
    ///
    /// # Errors
    /// `VM_NOT_FOUND` unless `allow_missing`.
    pub async fn delete(&self, mut request: DeleteVmRequest) -> Result<Vm, ClientError> {
        request.vm = self.link.named(&request.vm);
        self.link
            .change("DeleteVm", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.delete_vm(r).await }
            })
            .await
    }

    /// Wants the VM running.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`, `VM_DELETING`, `ETAG_MISMATCH`.
    pub async fn start(&self, mut request: StartVmRequest) -> Result<Vm, ClientError> {
        request.vm = self.link.named(&request.vm);
        self.link
            .change("StartVm", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.start_vm(r).await }
            })
            .await
    }

    /// Wants the VM stopped.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`, `VM_DELETING`, `ETAG_MISMATCH`.
    pub async fn stop(&self, mut request: StopVmRequest) -> Result<Vm, ClientError> {
        request.vm = self.link.named(&request.vm);
        self.link
            .change("StopVm", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.stop_vm(r).await }
            })
            .await
    }

    /// Stops and starts the VM once.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`, `WRONG_DESIRED_STATE`, `ETAG_MISMATCH`.
    pub async fn reboot(&self, mut request: RebootVmRequest) -> Result<Vm, ClientError> {
        request.vm = self.link.named(&request.vm);
        self.link
            .change("RebootVm", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.reboot_vm(r).await }
            })
            .await
    }

    /// Wants the VM paused.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`, `WRONG_DESIRED_STATE`, `ETAG_MISMATCH`.
    pub async fn pause(&self, mut request: PauseVmRequest) -> Result<Vm, ClientError> {
        request.vm = self.link.named(&request.vm);
        self.link
            .change("PauseVm", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.pause_vm(r).await }
            })
            .await
    }

    /// Wants a paused VM running again.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`, `WRONG_DESIRED_STATE`, `ETAG_MISMATCH`.
    pub async fn resume(&self, mut request: ResumeVmRequest) -> Result<Vm, ClientError> {
        request.vm = self.link.named(&request.vm);
        self.link
            .change("ResumeVm", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.resume_vm(r).await }
            })
            .await
    }

    /// Gives a VM that has none this host.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`, `HOST_NOT_FOUND`, `HOST_UNSUITABLE`, `HOST_FULL`, `ETAG_MISMATCH`.
    pub async fn bind(&self, mut request: BindVmRequest) -> Result<Vm, ClientError> {
        request.vm = self.link.named(&request.vm);
        self.link
            .change("BindVm", request, |r| {
                let mut rpc = self.rpc.clone();
                async move { rpc.bind_vm(r).await }
            })
            .await
    }

    /// The whole history of a VM, oldest first. An id also works for a VM that is gone, and a
    /// name for the one that had it last.
    ///
    /// # Errors
    /// `VM_NOT_FOUND`.
    pub async fn events(&self, vm: &str) -> Result<Vec<VmHistoryEvent>, ClientError> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request =
                ListVmEventsRequest { vm: self.link.named(vm), page_size: PAGE, page_token };
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
        let request = ExplainVmRequest { vm: self.link.named(vm) };
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
    pub async fn console(&self, mut request: ReadConsoleRequest) -> Result<Console, ClientError> {
        request.vm = self.link.named(&request.vm);
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
