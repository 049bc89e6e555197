//! Line b: from asking for a VM to a watcher seeing it `RUNNING`. The peer is `runc run` of a
//! program that does nothing.
//!
//! Ours is the whole way but the guest: API, commit, reconcile, mutual TLS, the agent with all its
//! steps and records on a simulated host (whose VMM starts at once), report, watch stream. runc
//! makes a real container of a static program, so the comparison flatters whoever does less in the
//! kernel: it says what the control plane costs, not what a VM costs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::specs::create;
use banger_proto::v1;
use serde_json::{Value, json};

use crate::Run;
use crate::pairs::{Line, Samples, quantile};

/// A static program; found in `PATH` as the peers are.
const BUSYBOX: &str = "busybox";

fn in_path(program: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
        .with_context(|| format!("{program} is not installed: .ci/tools.sh bench brings it"))
}

fn state_of(event: &v1::VmEvent) -> Option<(&str, v1::VmState)> {
    let vm = event.vm.as_ref()?;
    Some((&vm.id, vm.status.as_ref()?.state()))
}

/// Milliseconds of each of `count` creates, one after the other.
async fn banger(count: usize) -> anyhow::Result<Vec<f64>> {
    let fleet = Fleet::of(1).await;
    let request = v1::WatchVmsRequest::default();
    let mut stream = fleet.vms().watch_vms(request).await?.into_inner();
    let mut vms = fleet.vms();
    let mut times = Vec::with_capacity(count);
    for n in 0..count {
        let begun = Instant::now();
        let id = vms.create_vm(create(&format!("b{n}"))).await?.into_inner().id;
        'seen: loop {
            let Some(message) = stream.message().await? else { bail!("the stream ended") };
            for event in &message.events {
                match state_of(event) {
                    Some((vm, v1::VmState::Running)) if vm == id => break 'seen,
                    Some((vm, v1::VmState::Failed)) if vm == id => bail!("{event:?}"),
                    _ => {}
                }
            }
        }
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(times)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark starts what it compares")]
fn runc(arguments: &[&str], bundle: &Path) -> anyhow::Result<()> {
    let status = Command::new("runc")
        .args(arguments)
        .current_dir(bundle)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot start runc: .ci/tools.sh bench brings it")?;
    ensure!(status.success(), "runc {arguments:?} ended with {status}");
    Ok(())
}

/// A bundle with one static program that ends at once.
fn bundle(dir: &Path) -> anyhow::Result<PathBuf> {
    let bin = dir.join("rootfs/bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::copy(in_path(BUSYBOX)?, bin.join("true"))?;
    runc(&["spec"], dir)?;
    let path = dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/true"]);
    std::fs::write(&path, config.to_string())?;
    Ok(dir.to_owned())
}

fn containers(bundle: &Path, count: usize) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::with_capacity(count);
    for n in 0..count {
        let name = format!("banger-bench-{}-{n}", std::process::id());
        let begun = Instant::now();
        runc(&["run", &name], bundle)?;
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(times)
}

pub(crate) async fn run(run: &Run, count: usize) -> anyhow::Result<Vec<Line>> {
    let scratch = tempfile::tempdir_in(&run.disk)?;
    let bundle = if run.peers { Some(bundle(scratch.path())?) } else { None };
    let (mut ours, mut tail, mut peer) =
        (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..run.pairs {
        let times = banger(count).await?;
        ours.push(quantile(&times, 0.5));
        tail.push(quantile(&times, 0.99));
        if let Some(bundle) = &bundle {
            peer.push(quantile(&containers(bundle, count.min(50))?, 0.5));
        }
    }
    Ok(vec![
        Line {
            what: "b. intent to RUNNING seen by a watcher, p50 in ms".to_owned(),
            ours,
            peer: bundle.map(|_| ("runc run /bin/true".to_owned(), peer)),
        },
        Line { what: "b. the same, p99 in ms".to_owned(), ours: tail, peer: None },
    ])
}
