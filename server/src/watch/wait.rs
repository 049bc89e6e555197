//! Waiting for one VM without looking at the others' changes.
//!
//! A wait costs one entry in a map while it lasts and is woken by changes of its VM only. It is
//! level-triggered: it looks, then waits to be told to look again, so that no change is missed
//! between, and none is needed when what it waits for is there already.

use std::sync::Arc;

use banger_proto::ids::VmId;
use tokio::sync::Notify;

use super::record::VmRecord;
use super::view::View;

/// A wait for one VM. Made by [`View::wait`].
#[derive(Debug)]
pub struct VmWait {
    view: Arc<View>,
    vm: VmId,
    notify: Arc<Notify>,
}

impl View {
    /// A wait for one VM.
    pub fn wait(self: &Arc<Self>, vm: VmId) -> VmWait {
        VmWait { view: Arc::clone(self), vm, notify: self.waiters().join(vm) }
    }
}

impl VmWait {
    /// Looks at the VM until `check` has an answer; `None` stands for a VM that is not there.
    /// Never ends by itself: the caller brings the deadline. Cancel-safe.
    pub async fn until<T>(&self, mut check: impl FnMut(Option<&Arc<VmRecord>>) -> Option<T>) -> T {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            // Before looking, so that a change while looking is not missed.
            notified.as_mut().enable();
            if let Some(answer) = check(self.view.get(self.vm).as_ref()) {
                return answer;
            }
            notified.await;
        }
    }
}

impl Drop for VmWait {
    fn drop(&mut self) {
        self.view.waiters().leave(self.vm);
    }
}
