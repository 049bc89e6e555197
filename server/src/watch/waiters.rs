//! Waiting for one VM without looking at the others' changes.
//!
//! A wait costs one entry in a map while it lasts and is woken by changes of its VM only. It is
//! level-triggered: it looks, then waits to be told to look again, so that no change is missed
//! between, and none is needed when what it waits for is there already.

use std::collections::HashMap;
use std::sync::Arc;

use banger_proto::ids::VmId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::record::VmRecord;
use super::view::View;

/// Who waits for which VM.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    by_vm: Mutex<HashMap<VmId, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    notify: Arc<Notify>,
    count: usize,
}

impl Waiters {
    pub(super) fn wake(&self, touched: &[VmId]) {
        let by_vm = self.by_vm.lock();
        if by_vm.is_empty() {
            return;
        }
        for entry in touched.iter().filter_map(|vm| by_vm.get(vm)) {
            entry.notify.notify_waiters();
        }
    }

    fn join(&self, vm: VmId) -> Arc<Notify> {
        let mut by_vm = self.by_vm.lock();
        let entry = by_vm.entry(vm).or_default();
        entry.count += 1;
        Arc::clone(&entry.notify)
    }

    fn leave(&self, vm: VmId) {
        let mut by_vm = self.by_vm.lock();
        if let Some(entry) = by_vm.get_mut(&vm) {
            entry.count -= 1;
            if entry.count == 0 {
                by_vm.remove(&vm);
            }
        }
    }
}

/// A wait for one VM. Made by [`View::wait`].
#[derive(Debug)]
pub struct VmWait {
    view: Arc<View>,
    vm: VmId,
    notify: Arc<Notify>,
}

impl VmWait {
    pub(super) fn new(view: Arc<View>, vm: VmId) -> Self {
        let notify = view.waiters().join(vm);
        Self { view, vm, notify }
    }

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
