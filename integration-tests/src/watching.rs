//! Lists and watch streams of VMs, held to their rules.
//!
//! A [`Follower`] applies what a stream says to a table and panics where the stream breaks a rule:
//! an event out of order, a VM added twice, one changed or removed that was never added. What a
//! list shows and what a follower has put together must be the same at the same revision.

use std::collections::BTreeMap;

use banger_proto::v1;
use banger_proto::v1::vm_service_client::VmServiceClient;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// VMs by id.
pub type Table = BTreeMap<String, v1::Vm>;

/// What a stream of VMs has said so far.
#[derive(Debug, Default)]
pub struct Follower {
    /// The VMs, as they are at [`Follower::revision`].
    pub table: Table,
    /// Everything up to here was said.
    pub revision: u64,
}

impl Follower {
    /// Begins with a list.
    ///
    /// # Errors
    /// As the API answers.
    pub async fn listed(vms: &VmServiceClient<Channel>) -> Result<Self, Status> {
        let (table, revision) = list(vms).await?;
        Ok(Self { table, revision })
    }

    /// Begins with the state at the start of a stream, which has no order but one revision.
    ///
    /// # Errors
    /// As the stream ends.
    ///
    /// # Panics
    /// When the stream breaks a rule.
    pub async fn initial(stream: &mut Streaming<v1::WatchVmsResponse>) -> Result<Self, Status> {
        let mut table = Table::new();
        loop {
            let message = stream.message().await?.ok_or_else(ended)?;
            for event in message.events {
                let vm = event.vm.expect("an event has a VM");
                let twice = table.insert(vm.id.clone(), vm);
                assert!(twice.is_none(), "twice in the state at the start: {twice:#?}");
            }
            if message.initial_state_complete {
                return Ok(Self { table, revision: message.revision });
            }
        }
    }

    /// Asks for everything after what was said.
    ///
    /// # Errors
    /// As the API answers.
    pub async fn resume(
        &self,
        vms: &VmServiceClient<Channel>,
    ) -> Result<Streaming<v1::WatchVmsResponse>, Status> {
        let request =
            v1::WatchVmsRequest { after_revision: Some(self.revision), ..Default::default() };
        Ok(vms.clone().watch_vms(request).await?.into_inner())
    }

    /// Applies the next message of a stream.
    ///
    /// # Errors
    /// As the stream ends.
    ///
    /// # Panics
    /// When the stream breaks a rule.
    pub async fn follow(
        &mut self,
        stream: &mut Streaming<v1::WatchVmsResponse>,
    ) -> Result<(), Status> {
        let message = stream.message().await?.ok_or_else(ended)?;
        self.apply(message);
        Ok(())
    }

    /// Applies a message.
    ///
    /// # Panics
    /// When it breaks a rule.
    pub fn apply(&mut self, message: v1::WatchVmsResponse) {
        for event in message.events {
            let (last, table) = (self.revision, &mut self.table);
            assert!(event.revision > last, "revision {} came after {last}", event.revision);
            self.revision = event.revision;
            let r#type = event.r#type();
            let vm = event.vm.expect("an event has a VM");
            match r#type {
                v1::VmEventType::Added => {
                    let id = vm.id.clone();
                    assert!(table.insert(id.clone(), vm).is_none(), "{id} was added twice");
                }
                v1::VmEventType::Modified => {
                    let id = vm.id.clone();
                    let before = table.insert(id.clone(), vm);
                    assert!(before.is_some(), "{id} was modified before it was added");
                }
                v1::VmEventType::Removed => {
                    let before = table.remove(&vm.id);
                    assert!(before.is_some(), "{} was removed before it was added", vm.id);
                }
                v1::VmEventType::Unspecified => panic!("an event has a type"),
            }
        }
        assert!(message.revision >= self.revision, "a bookmark lies behind its events");
        self.revision = message.revision;
    }
}

fn ended() -> Status {
    Status::unavailable("the stream ended without a word")
}

/// Everything, by pages, with the revision it was at.
///
/// # Errors
/// As the API answers.
///
/// # Panics
/// When a VM is listed twice.
pub async fn list(vms: &VmServiceClient<Channel>) -> Result<(Table, u64), Status> {
    let mut table = Table::new();
    let mut request = v1::ListVmsRequest { page_size: 7, ..Default::default() };
    loop {
        let page = vms.clone().list_vms(request.clone()).await?.into_inner();
        for vm in page.vms {
            let twice = table.insert(vm.id.clone(), vm);
            assert!(twice.is_none(), "twice in the list: {twice:#?}");
        }
        if page.next_page_token.is_empty() {
            return Ok((table, page.revision));
        }
        request.page_token = page.next_page_token;
    }
}
