//! Jail, VMM process and guest.
//!
//! Beside each step stands what an agent that dies in it needs to know afterwards: the handles
//! name the process as soon as it is there, and say that we are ending it before we do.

use std::net::Ipv4Addr;

use super::{Done, Failed, Hands, Learnt, Trouble};
use crate::assignment::{Image, Shape};
use crate::handles::{ProcessHandle, ProcessIdentity};
use crate::host::{
    BackingFile, Change, Drive, HostError, HostErrorKind, HostResult, JailAccess, JailDevice,
    JailFile, JailSpec, LaunchSpec, NetInterface, RateLimit, Signal, VmmConfig, VmmKind, VmmState,
};
use crate::naming::{self, in_jail, part};
use crate::report::phase::Reason;
use crate::vm::bounds;
use crate::vm::effect::{RootDisk, StopSignal};
use crate::vm::exit::{LastWords, exit_from};
use crate::vm::seed;

pub(super) async fn build_jail(
    hands: &Hands<'_>,
    root: RootDisk,
    vmm: VmmKind,
) -> Result<Change, Trouble> {
    let shape = hands.shape()?;
    let uid = hands.net()?.pin.uid;
    let read = |name, image: &Image| JailFile {
        name: part(name),
        from: naming::base(image.name.clone()),
        access: JailAccess::Read,
    };
    let mut files = vec![read(in_jail::KERNEL, &shape.kernel)];
    files.extend(shape.initrd.as_ref().map(|image| read(in_jail::INITRD, image)));
    if shape.work_disk_mib > 0 {
        files.push(JailFile {
            name: part(in_jail::WORK),
            from: hands.names.work(),
            access: JailAccess::Write,
        });
    }
    let name = part(in_jail::ROOT);
    let mut devices = Vec::new();
    match root {
        RootDisk::Copy => {
            let from = hands.names.root_copy();
            files.push(JailFile { name, from, access: JailAccess::Write });
        }
        RootDisk::Device(device) => devices.push(JailDevice { name, device }),
    }
    if !vmm.has_metadata_service() {
        let from = write_seed(hands, shape).await?;
        files.push(JailFile { name: part(in_jail::SEED), from, access: JailAccess::Read });
    }
    let bounds = bounds::wanted(hands.host, hands.names, shape, vmm).await;
    let spec = JailSpec { id: hands.names.jail.clone(), vmm, uid, files, devices, bounds };
    Ok(hands.host.jails.ensure(&spec).await?)
}

/// Puts the disk with what the guest is told into the VM's directory, as of now.
async fn write_seed(hands: &Hands<'_>, shape: &Shape) -> HostResult<BackingFile> {
    let (dir, file) = (&hands.names.dir, part(naming::file::SEED));
    let told = seed::Told { vm: hands.vm, shape, dns: &hands.settings.guest_dns };
    let wanted = seed::disk(&told).map_err(|error| {
        HostError::io("make the disk with what the guest is told, of", dir, error)
    })?;
    // Read first, so that a step that is repeated finds it done.
    let present = hands.host.files.read(dir, &file).await.unwrap_or_default();
    if present.as_ref() != Some(&wanted) {
        hands.host.files.replace(dir, &file, &wanted).await?;
    }
    Ok(hands.names.seed())
}

/// Starts the jailer; `again` counts a start after a process that ended by itself.
pub(super) async fn launch(hands: &Hands<'_>, again: bool, vmm: VmmKind) -> Result<Done, Trouble> {
    let spec = LaunchSpec {
        id: hands.names.jail.clone(),
        uid: hands.net()?.pin.uid,
        vmm,
        machine: vmm_config(hands, hands.shape()?, vmm),
    };
    let started = hands.host.launcher.launch(&spec).await?;
    let started_at = Some(hands.clock.now());
    hands.handles.update(|handles| {
        handles.restart_count = handles.restart_count.saturating_add(u32::from(again));
        handles.process = Some(ProcessHandle {
            identity: ProcessIdentity {
                pid: started.pid,
                start_ticks: started.start_ticks,
                boot_id: hands.boot_id.to_owned(),
            },
            ending: false,
            started_at,
            user: Some(spec.uid),
        });
    });
    hands.flush_hints().await;
    Ok(Done { change: Change::Made, learnt: Some(Learnt::Launched(vmm)) })
}

/// Waits for the API and tells the VMM its machine. One that ends meanwhile is not waited for.
pub(super) async fn configure(hands: &Hands<'_>, vmm: VmmKind) -> Result<Change, Trouble> {
    let shape = hands.shape()?;
    let jail = &hands.names.jail;
    let told = async {
        hands.host.vmm.wait_ready(jail, hands.settings.vmm_ready_limit).await?;
        hands.host.vmm.configure(jail, &vmm_config(hands, shape, vmm)).await
    };
    let ended = async {
        match hands.handles.get().process {
            Some(process) => {
                let ProcessIdentity { pid, start_ticks, .. } = process.identity;
                hands.host.processes.wait_exit(pid, start_ticks).await
            }
            None => std::future::pending().await,
        }
    };
    // Cancel-safe: whichever comes second is dropped, and the attempt is over with the end.
    tokio::select! {
        biased;
        told = told => Ok(told.map(|()| Change::Made)?),
        Ok(status) = ended => {
            let log = hands.host.outputs.log_tail(&hands.names.dir).await.unwrap_or_default();
            let words = LastWords { log: &log, console: "" };
            let exit = exit_from(status, words, false, hands.clock.now());
            Err(Failed::new(Reason::VmmExited, exit.message).into())
        }
    }
}

fn vmm_config(hands: &Hands<'_>, shape: &Shape, vmm: VmmKind) -> VmmConfig {
    let limits = &shape.limits;
    let disk = RateLimit {
        bytes_per_second: limits.disk_bytes_per_second,
        ops_per_second: limits.disk_ops_per_second,
    };
    let net = |bytes| RateLimit { bytes_per_second: bytes, ops_per_second: 0 };
    let drive = |id, root| Drive { id, name: part(id), root, read_only: false, limit: disk };
    let mut drives = vec![drive(in_jail::ROOT, true)];
    if shape.work_disk_mib > 0 {
        drives.push(drive(in_jail::WORK, false));
    }
    // Last, so that the names of the others do not depend on it.
    let has_service = vmm.has_metadata_service();
    if !has_service {
        drives.push(Drive { read_only: true, ..drive(in_jail::SEED, false) });
    }
    VmmConfig {
        vcpus: shape.vcpus,
        memory_mib: shape.memory_mib,
        kernel: part(in_jail::KERNEL),
        initrd: shape.initrd.as_ref().map(|_| part(in_jail::INITRD)),
        boot_args: boot_args(shape, &hands.settings.guest_dns),
        drives,
        interface: Some(NetInterface {
            tap: hands.names.tap.clone(),
            mac: shape.network.mac,
            receive: net(limits.net_rx_bytes_per_second),
            send: net(limits.net_tx_bytes_per_second),
        }),
        vsock_cid: Some(shape.network.vsock_cid),
        metadata_json: has_service.then(|| document(hands, shape)),
    }
}

/// The document of the metadata service.
fn document(hands: &Hands<'_>, shape: &Shape) -> String {
    let dns = &hands.settings.guest_dns;
    seed::document(&seed::Told { vm: hands.vm, shape, dns }).to_string()
}

/// The command line of the spec; and the network for a kernel or an init that reads `ip=`
/// (Documentation/admin-guide/nfs/nfsroot.rst), unless the spec has said it otherwise. That word
/// has room for two name servers; the documents that a guest is told have all of them.
fn boot_args(shape: &Shape, dns: &[Ipv4Addr]) -> String {
    let mut args = shape.boot_args.clone();
    if args.split_ascii_whitespace().any(|word| word.starts_with("ip=")) {
        return args;
    }
    let network = &shape.network;
    let mask = u32::MAX.checked_shl(32 - u32::from(network.prefix)).unwrap_or(0);
    args.push_str(&format!(
        " ip={}::{}:{}:{}:eth0:off",
        network.address,
        network.gateway,
        Ipv4Addr::from(mask),
        shape.name,
    ));
    for server in dns.iter().take(2) {
        args.push_str(&format!(":{server}"));
    }
    args
}

pub(super) async fn start_guest(hands: &Hands<'_>) -> HostResult<Change> {
    let jail = &hands.names.jail;
    match hands.host.vmm.start(jail).await {
        Ok(()) => Ok(Change::Made),
        // Said again after an answer that was lost: the VMM refuses a second start.
        Err(error) if error.kind == HostErrorKind::Refused => {
            match hands.host.vmm.describe(jail).await? {
                VmmState::Running | VmmState::Paused => Ok(Change::AlreadySo),
                VmmState::NotStarted => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

pub(super) async fn put_metadata(hands: &Hands<'_>) -> HostResult<Change> {
    let Ok(shape) = hands.shape() else { return Ok(Change::AlreadySo) };
    hands.host.vmm.put_metadata(&hands.names.jail, &document(hands, shape)).await?;
    Ok(Change::Made)
}

/// Notes on disk that we are ending the process, so that an agent that finds it dead does not
/// take it for a crash.
async fn note_ending(hands: &Hands<'_>) {
    hands.handles.update(|handles| {
        if let Some(process) = &mut handles.process {
            process.ending = true;
        }
    });
    hands.flush_hints().await;
}

pub(super) async fn ask_guest_agent(hands: &Hands<'_>) -> Result<Change, Failed> {
    note_ending(hands).await;
    if hands.guest.shut_down().await {
        Ok(Change::Made)
    } else {
        Err(Failed::new(Reason::VmmUnresponsive, "the guest agent did not begin a shutdown"))
    }
}

pub(super) async fn ask_guest_to_stop(hands: &Hands<'_>, signal: StopSignal) -> HostResult<Change> {
    note_ending(hands).await;
    match signal {
        StopSignal::CtrlAltDel => {
            hands.host.vmm.send_ctrl_alt_del(&hands.names.jail).await?;
            Ok(Change::Made)
        }
        StopSignal::Terminate => {
            let Some(process) = hands.handles.get().process else { return Ok(Change::AlreadySo) };
            let ProcessIdentity { pid, start_ticks, .. } = process.identity;
            hands.host.processes.signal(pid, start_ticks, Signal::Terminate).await
        }
    }
}

pub(super) async fn kill(hands: &Hands<'_>) -> HostResult<Change> {
    note_ending(hands).await;
    let Some(process) = hands.handles.get().process else { return Ok(Change::AlreadySo) };
    let (pid, ticks) = (process.identity.pid, process.identity.start_ticks);
    let change = hands.host.processes.signal(pid, ticks, Signal::Kill).await?;
    hands.host.processes.wait_exit(pid, ticks).await?;
    // And whatever else it started, which holds on to the VM's disks, tap and memory.
    let others = hands.host.jails.end_members(&hands.names.jail).await?;
    Ok(Change::from_bool([change, others].contains(&Change::Made)))
}

/// The VM's process is dead, or this is not called: what is left of its children goes first.
pub(super) async fn remove_jail(hands: &Hands<'_>) -> HostResult<Change> {
    let jails = &hands.host.jails;
    jails.end_members(&hands.names.jail).await?;
    jails.remove(&hands.names.jail).await
}

#[cfg(test)]
mod tests;
