//! Who waits for which VM, and is woken by changes of that one alone.

use std::collections::HashMap;
use std::sync::Arc;

use banger_proto::ids::VmId;
use parking_lot::Mutex;
use tokio::sync::Notify;

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

    pub(super) fn join(&self, vm: VmId) -> Arc<Notify> {
        let mut by_vm = self.by_vm.lock();
        let entry = by_vm.entry(vm).or_default();
        entry.count += 1;
        Arc::clone(&entry.notify)
    }

    pub(super) fn leave(&self, vm: VmId) {
        let mut by_vm = self.by_vm.lock();
        if let Some(entry) = by_vm.get_mut(&vm) {
            entry.count -= 1;
            if entry.count == 0 {
                by_vm.remove(&vm);
            }
        }
    }
}
