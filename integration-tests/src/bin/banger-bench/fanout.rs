//! Line c: how many events a second reach all watchers together. The peer is etcd's `Watch`.
//!
//! One client has [`WRITERS`] changes under way at a time; the streams, as many as are asked for,
//! on [`CONNECTIONS`] connections receive every change. What is counted is events times watchers
//! until the last watcher has the last event. Each watcher counts that it got every event once.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use banger_proto::v1;
use banger_proto::v1::vm_service_client::VmServiceClient;
use tokio::sync::Semaphore;
use tonic::transport::{Channel, Endpoint};

use crate::pairs::{Line, Samples};
use crate::process;
use crate::{Run, etcd};

const CONNECTIONS: usize = 8;

/// How many changes are under way at once.
const WRITERS: usize = 64;

fn create(n: usize) -> v1::CreateVmRequest {
    let image = |name: &str| Some(v1::ImageRef { name: name.to_owned(), sha256: String::new() });
    v1::CreateVmRequest {
        name: format!("v{n}"),
        spec: Some(v1::VmSpec {
            kernel: image("demo-kernel"),
            root_image: image("demo-root"),
            ..v1::VmSpec::default()
        }),
        ..v1::CreateVmRequest::default()
    }
}

async fn channels(address: std::net::SocketAddr) -> anyhow::Result<Vec<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(endpoint.connect().await.context("cannot connect")?);
    }
    Ok(channels)
}

async fn write_all<F, Fut>(events: usize, call: F) -> anyhow::Result<()>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(WRITERS));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..events {
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let call = call(n);
        tasks.spawn(async move {
            let _slot = slot;
            call.await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn deliveries(watchers: usize, events: usize, took: Duration) -> f64 {
    (watchers * events) as f64 / took.as_secs_f64()
}

async fn banger(disk: &Path, watchers: usize, events: usize) -> anyhow::Result<f64> {
    let process = process::start_server(disk)?;
    let channels = channels(process.address).await?;
    let mut readers = tokio::task::JoinSet::new();
    for n in 0..watchers {
        let mut client = VmServiceClient::new(channels[n % CONNECTIONS].clone());
        let mut stream = client.watch_vms(v1::WatchVmsRequest::default()).await?.into_inner();
        while let Some(first) = stream.message().await? {
            if first.initial_state_complete {
                break;
            }
        }
        readers.spawn(async move {
            let mut added = std::collections::HashSet::with_capacity(events);
            while added.len() < events {
                let Some(message) = stream.message().await? else { bail!("the stream ended") };
                for event in message.events {
                    let id = event.vm.map(|vm| vm.id).unwrap_or_default();
                    if event.r#type == v1::VmEventType::Added as i32 && !added.insert(id) {
                        bail!("an event came twice");
                    }
                }
            }
            Ok(())
        });
    }
    let begun = Instant::now();
    let client = VmServiceClient::new(channels[0].clone());
    write_all(events, |n| {
        let mut client = client.clone();
        async move {
            client.create_vm(create(n)).await?;
            Ok(())
        }
    })
    .await?;
    while let Some(done) = readers.join_next().await {
        done??;
    }
    Ok(deliveries(watchers, events, begun.elapsed()))
}

async fn peer(disk: &Path, watchers: usize, events: usize) -> anyhow::Result<f64> {
    use prost::Message as _;
    let process = process::start_etcd(disk)?;
    let channels = channels(process.address).await?;
    let mut readers = tokio::task::JoinSet::new();
    for n in 0..watchers {
        let (keep, mut stream) = etcd::watch(&channels[n % CONNECTIONS], b'v').await?;
        readers.spawn(async move {
            let _keep = keep;
            let mut seen = std::collections::HashSet::with_capacity(events);
            while seen.len() < events {
                let Some(message) = stream.message().await? else { bail!("the stream ended") };
                for event in message.events {
                    let key = event.pair.map(|pair| pair.key).unwrap_or_default();
                    if !seen.insert(key) {
                        bail!("an event came twice");
                    }
                }
            }
            Ok(())
        });
    }
    let begun = Instant::now();
    write_all(events, |n| {
        let channel = channels[0].clone();
        // etcd's event carries what was put: about as much as one of our events carries.
        let value = [create(n).encode_to_vec(), vec![b'.'; 250]].concat();
        async move { Ok(etcd::put(&channel, format!("v{n}").into_bytes(), value).await?) }
    })
    .await?;
    while let Some(done) = readers.join_next().await {
        done??;
    }
    Ok(deliveries(watchers, events, begun.elapsed()))
}

pub(crate) async fn run(run: &Run, watchers: usize, events: usize) -> anyhow::Result<Vec<Line>> {
    let (mut ours, mut etcd) = (Samples::default(), Samples::default());
    for _ in 0..run.pairs {
        ours.push(banger(&run.disk, watchers, events).await?);
        if run.peers {
            etcd.push(peer(&run.disk, watchers, events).await?);
        }
    }
    let what = format!("c. watch deliveries/s, {watchers} watchers, {events} events");
    Ok(vec![Line { what, ours, peer: run.peers.then(|| ("etcd".to_owned(), etcd)) }])
}
