//! Line a: durable creates a second, and the latency of one at a time. The peer is etcd's `Put`.
//!
//! Ours is `CreateVm` as any client calls it: validated, named, placed (no host has joined, so the
//! VM is stored PENDING), committed with `synchronous=FULL`, and published. etcd stores a value of
//! the size of our request. Both are called by the same tonic client over the same number of
//! connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use banger_proto::v1;
use banger_proto::v1::vm_service_client::VmServiceClient;
use prost::Message as _;
use tonic::transport::{Channel, Endpoint};

use crate::pairs::{Line, Samples, quantile};
use crate::process::{self, Process};
use crate::{Run, etcd};

const CONNECTIONS: usize = 8;

fn request(name: &str) -> v1::CreateVmRequest {
    let image = |name: &str| Some(v1::ImageRef { name: name.to_owned(), sha256: String::new() });
    v1::CreateVmRequest {
        name: name.to_owned(),
        spec: Some(v1::VmSpec {
            vcpus: 1,
            memory_mib: 128,
            kernel: image("demo-kernel"),
            root_image: image("demo-root"),
            ..v1::VmSpec::default()
        }),
        ..v1::CreateVmRequest::default()
    }
}

/// Which side is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Banger,
    Etcd,
}

impl Side {
    fn start(self, disk: &std::path::Path) -> anyhow::Result<Process> {
        match self {
            Self::Banger => process::start_server(disk),
            Self::Etcd => process::start_etcd(disk),
        }
    }

    async fn call(self, channel: &Channel, n: usize) -> anyhow::Result<()> {
        let name = format!("v{n}");
        match self {
            Self::Banger => {
                VmServiceClient::new(channel.clone()).create_vm(request(&name)).await?;
            }
            Self::Etcd => {
                let value = request(&name).encode_to_vec();
                etcd::put(channel, name.into_bytes(), value).await?;
            }
        }
        Ok(())
    }
}

async fn connect(process: &Process) -> anyhow::Result<Vec<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{}", process.address))?;
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(endpoint.connect().await.context("cannot connect")?);
    }
    Ok(channels)
}

/// Calls a second with `in_flight` calls under way, `total` in all, on a fresh process.
async fn rate(
    side: Side,
    disk: &std::path::Path,
    in_flight: usize,
    total: usize,
) -> anyhow::Result<f64> {
    let process = side.start(disk)?;
    let channels = connect(&process).await?;
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..in_flight {
        let (channel, next) = (channels[task % channels.len()].clone(), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= total {
                    return anyhow::Ok(());
                }
                side.call(&channel, n).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    Ok(total as f64 / begun.elapsed().as_secs_f64())
}

/// Median latency in milliseconds of calls made one after the other.
async fn latency(side: Side, disk: &std::path::Path, total: usize) -> anyhow::Result<f64> {
    let process = side.start(disk)?;
    let channel = connect(&process).await?.swap_remove(0);
    let mut times = Vec::with_capacity(total);
    for n in 0..total {
        let begun = Instant::now();
        side.call(&channel, n).await?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(quantile(&times, 0.5))
}

pub(crate) async fn run(run: &Run, total: usize) -> anyhow::Result<Vec<Line>> {
    let mut sides = vec![(Side::Banger, Samples::default())];
    if run.peers {
        sides.push((Side::Etcd, Samples::default()));
    }
    let mut single = sides.clone();
    for _ in 0..run.pairs {
        for (side, samples) in &mut sides {
            samples.push(rate(*side, &run.disk, 512, total).await?);
        }
        for (side, samples) in &mut single {
            samples.push(latency(*side, &run.disk, total.min(500)).await?);
        }
    }
    let line = |what: &str, sides: Vec<(Side, Samples)>| {
        let mut sides = sides.into_iter().map(|(_, samples)| samples);
        let ours = sides.next().unwrap_or_default();
        let peer = sides.next().map(|etcd| ("etcd".to_owned(), etcd));
        Line { what: what.to_owned(), ours, peer }
    };
    Ok(vec![
        line("a. durable creates/s, 512 in flight", sides),
        line("a. one in flight, p50 in ms", single),
    ])
}
