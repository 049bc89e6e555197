//! What to tell which host: the one place where intents and agents meet.
//!
//! Intent is committed before anything here sees it, and reaches its agent only from here. The
//! rules of the whole folder:
//!
//! - A pass is woken by a request, by an observation, by a timer or by a start of the server, and
//!   is the same for all: a wake-up carries no data.
//! - [`plan`] decides, from values to values; driver, placement and apply do what it says and make
//!   no choice; [`explain()`] puts the same decision into words.
//! - Every command carries `(epoch, generation)`, and sending it twice is harmless. Whether it
//!   arrived is seen, not assumed: until the agent's observation shows it, it is sent again.
//! - An agent's failure is its VM's alone: one VM backs off, the others go on.
//! - An image that an assignment needs is on its host before the assignment is sent
//!   ([`ImageDelivery`]); only the VMs that need it wait.
//!
//! [`objects`] asks a host what it holds beside its VMs, and has it swept, for the API.
//!
//! One driver task per host, one task for VMs without a host, one that writes what hosts report
//! into the history, one that takes unused images away, one that renews the certificates of agents.

mod apply;
mod attempts;
mod delivery;
mod driver;
mod explain;
mod garbage;
mod knowledge;
mod looks;
mod needs;
pub mod objects;
mod placement;
pub mod plan;
pub mod recorder;
mod renewal;

use std::collections::HashMap;
use std::sync::Arc;

use banger_proto::ids::{Epoch, HostId};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::delivery::ImageDelivery;
use self::driver::Driver;
pub use self::explain::{Explanation, explain, explain_gone};
pub use self::knowledge::Knowledge;
pub use self::needs::ImageStanding;
pub use self::placement::CapacityFeed;
pub use self::renewal::Certificates;
use crate::clock::SharedClock;
use crate::fleet::Fleet;
use crate::images::Images;
use crate::metrics::Metrics;
use crate::model::history::HistoryEvent;
use crate::store::Store;
use crate::watch::View;

/// What reconcile works with.
#[derive(Debug)]
pub struct Parts {
    /// What is wanted and seen.
    pub view: Arc<View>,
    /// The links to agents.
    pub fleet: Fleet,
    /// Where intents are dropped and VMs placed.
    pub store: Store,
    /// What time it is.
    pub clock: SharedClock,
    /// Of the store.
    pub epoch: Epoch,
    /// What plans go by.
    pub knowledge: Knowledge,
    /// What an operator sees.
    pub metrics: Metrics,
    /// Kernels and root file systems.
    pub images: Arc<Images>,
    /// Brings them to hosts.
    pub delivery: Arc<ImageDelivery>,
    /// Made for agents.
    pub certificates: Certificates,
}

/// Starts the drivers of all hosts, placement, the recorder, and what takes unused images away. The
/// task ends when all have, after `cancel`.
pub fn start(
    parts: Parts,
    feed: Arc<CapacityFeed>,
    history: mpsc::Receiver<HistoryEvent>,
    cancel: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(keep(Arc::new(parts), feed, history, cancel))
}

async fn keep(
    parts: Arc<Parts>,
    feed: Arc<CapacityFeed>,
    history: mpsc::Receiver<HistoryEvent>,
    cancel: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    tasks.spawn(placement::run(Arc::clone(&parts), feed, cancel.child_token()));
    tasks.spawn(recorder::run(Arc::clone(&parts), history, cancel.child_token()));
    tasks.spawn(garbage::run(Arc::clone(&parts), cancel.child_token()));
    tasks.spawn(renewal::run(Arc::clone(&parts), cancel.child_token()));
    let mut drivers: HashMap<HostId, CancellationToken> = HashMap::new();
    let mut hosts = parts.view.host_records();
    loop {
        let records = Arc::clone(&hosts.borrow_and_update());
        drivers.retain(|id, driver| {
            let stays = records.iter().any(|host| host.id == *id);
            if !stays {
                driver.cancel();
                parts.knowledge.forget(*id);
            }
            stays
        });
        for host in records.iter() {
            drivers.entry(host.id).or_insert_with(|| {
                let driver = cancel.child_token();
                tasks.spawn(Driver::new(Arc::clone(&parts), host.id).run(driver.clone()));
                driver
            });
        }
        // Cancel-safe: the list is read anew each time, and a task that ended is only collected.
        tokio::select! {
            () = cancel.cancelled() => break,
            changed = hosts.changed() => if changed.is_err() { break },
            Some(ended) = tasks.join_next() => complain(ended),
        }
    }
    while let Some(ended) = tasks.join_next().await {
        complain(ended);
    }
    parts.delivery.ended().await;
}

/// A task ends by itself only when its host has left. A panic is a defect: its host is not driven
/// any more until the server starts again, which has to be seen.
fn complain(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = %error, "a task of reconcile ended by a defect");
    }
}
