//! Waiting for a VM, with a line on the terminal that says how far what it waits for is.
//!
//! How far an image is on its way to a host is asked of the server beside the wait, and only while
//! somebody looks. Nothing is said of it to callers who see no hosts.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use banger_client::v1::{Image, Vm};
use banger_client::{ClientError, WaitFor, Waited};

use crate::session::Session;
use banger_terminal::progress::{Count, Progress, Rate, waits_for_image};
use banger_terminal::text::clean;

/// Waits, and says meanwhile what is heard of the VM.
pub(super) async fn wait(
    session: &Session,
    wanted: WaitFor,
    progress: &Progress,
) -> Result<Waited, ClientError> {
    let newest = Mutex::new(None);
    let vms = session.client.vms();
    let waiting = vms.wait(wanted.every(progress.step()), |vm| {
        progress.heard(vm);
        *newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(vm.clone());
    });
    let Some(step) = progress.step() else { return waiting.await };
    // Cancel-safe: the one ends with the other, and asking changes nothing.
    tokio::select! {
        waited = waiting => waited,
        never = follow(session, &newest, progress, step) => match never {},
    }
}

/// Says how far the images are that the VM waits for, until nobody asks any more.
async fn follow(
    session: &Session,
    newest: &Mutex<Option<Vm>>,
    progress: &Progress,
    step: Duration,
) -> Infallible {
    let (begun, mut of, mut rate) = (Instant::now(), String::new(), Rate::default());
    let mut looks = tokio::time::interval(step);
    loop {
        looks.tick().await;
        let vm = newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(vm) = vm.filter(waits_for_image) else { continue };
        let sentence = on_its_way(session, &vm).await.map(|(image, sent)| {
            if of != image.name {
                // Each is counted from its own beginning.
                (of, rate) = (image.name.clone(), Rate::default());
            }
            let count = Count::new(Some(image.size_bytes));
            count.add(sent);
            rate.sentence(&format!("image {}", clean(&image.name)), begun.elapsed(), &count)
        });
        progress.coming(&vm, sentence);
    }
}

/// The first image of a VM that is not whole on its host, and how much of it is there.
async fn on_its_way(session: &Session, vm: &Vm) -> Option<(Image, u64)> {
    let (spec, host) = (vm.spec.as_ref()?, &vm.status.as_ref()?.host_id);
    for image in [&spec.kernel, &spec.initrd, &spec.root_image].into_iter().flatten() {
        // What the server does not have is no image that it brings.
        let Ok(image) = session.client.images().get(&image.name).await else { continue };
        let there = image.hosts.iter().find(|there| there.host_id == *host);
        let sent = there.map(|there| there.bytes_present);
        if let Some(sent) = sent.filter(|sent| *sent < image.size_bytes) {
            return Some((image, sent));
        }
    }
    None
}
