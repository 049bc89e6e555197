//! What guests have sent and received, as their hosts told last.
//!
//! Beside the table and not in it: it changes all the time and is no change of a VM, so that it has
//! no revision and wakes nobody. Lost with the server, and told again within a minute.

use std::collections::HashMap;

use banger_proto::ids::{HostId, VmId};
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::model::observed::TrafficSeen;

/// Of each host, all that it told, and when.
#[derive(Debug, Default)]
pub(super) struct TrafficBoard(Mutex<HashMap<HostId, ToldBy>>);

#[derive(Debug)]
struct ToldBy {
    at: Timestamp,
    guests: HashMap<VmId, TrafficSeen>,
}

impl TrafficBoard {
    pub(super) fn told(&self, host: HostId, guests: Vec<(VmId, TrafficSeen)>, at: Timestamp) {
        let guests = guests.into_iter().collect();
        self.0.lock().insert(host, ToldBy { at, guests });
    }

    pub(super) fn of(&self, host: HostId, vm: VmId) -> Option<(TrafficSeen, Timestamp)> {
        let hosts = self.0.lock();
        let told = hosts.get(&host)?;
        told.guests.get(&vm).map(|seen| (*seen, told.at))
    }
}
