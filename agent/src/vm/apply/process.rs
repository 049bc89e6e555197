//! Jail, VMM process and guest.
//!
//! Beside each step stands what an agent that dies in it needs to know afterwards: the handles
//! name the process as soon as it is there, and say that we are ending it before we do.

use std::net::Ipv4Addr;

use super::{Failed, flush_hints, uid};
use crate::assignment::{Image, Record, Shape};
use crate::handles::{ProcessHandle, ProcessIdentity};
use crate::host::{
    BackingFile, Change, DeviceNumber, Drive, HostError, HostErrorKind, HostResult, JailAccess,
    JailDevice, JailFile, JailSpec, LaunchSpec, NetInterface, RateLimit, Signal, VmmConfig,
    VmmKind, VmmState,
};
use crate::naming::{self, in_jail, part};
use crate::vm::effect::Effect;
use crate::vm::exit::exit_from;
use crate::vm::machine::Vm;
use crate::vm::phase::Reason;
use crate::vm::seed;

pub(super) async fn build_jail(vm: &mut Vm, shape: &Shape) -> HostResult<Change> {
    let (root_copy, root_device) = find_root_disk(vm).await?;
    let vmm = vm.host().facts.vmm_kind().await?;
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
            from: vm.names.work(),
            access: JailAccess::Write,
        });
    }
    files.extend(root_copy.map(|from| JailFile {
        name: part(in_jail::ROOT),
        from,
        access: JailAccess::Write,
    }));
    if !vmm.has_metadata_service() {
        let from = write_seed(vm, shape).await?;
        files.push(JailFile { name: part(in_jail::SEED), from, access: JailAccess::Read });
    }
    let device = |device| JailDevice { name: part(in_jail::ROOT), device };
    let spec = JailSpec {
        id: vm.names.jail.clone(),
        vmm,
        uid: uid(vm, shape),
        files,
        devices: root_device.map(device).into_iter().collect(),
    };
    vm.host().jails.ensure(&spec).await
}

/// Puts the disk with what the guest is told into the VM's directory, as of now.
async fn write_seed(vm: &Vm, shape: &Shape) -> HostResult<BackingFile> {
    let (dir, file) = (&vm.names.dir, part(naming::file::SEED));
    let told = seed::Told { vm: vm.id, shape, dns: &vm.shared.settings.guest_dns };
    let wanted = seed::disk(&told).map_err(|error| {
        HostError::io("make the disk with what the guest is told, of", dir, error)
    })?;
    // Read first, so that a step that is repeated finds it done.
    let present = vm.host().files.read(dir, &file).await.unwrap_or_default();
    if present.as_ref() != Some(&wanted) {
        vm.host().files.replace(dir, &file, &wanted).await?;
    }
    Ok(vm.names.seed())
}

/// The root disk that was made: a file that is a copy, or a snapshot's device.
async fn find_root_disk(vm: &Vm) -> HostResult<(Option<BackingFile>, Option<DeviceNumber>)> {
    if let Some(device) = vm.memory.attempt.as_ref().and_then(|attempt| attempt.root_device) {
        return Ok((None, Some(device)));
    }
    if vm.host().files.observe(&vm.names.dir, &part(naming::file::ROOT)).await?.is_some() {
        return Ok((Some(vm.names.root_copy()), None));
    }
    match vm.host().snapshots.observe(&vm.names.snapshot).await? {
        Some(snapshot) => Ok((None, Some(snapshot.device))),
        None => Err(HostError::new(HostErrorKind::NotFound, "find root disk", &vm.names.snapshot)),
    }
}

pub(super) async fn launch(vm: &mut Vm, shape: &Shape) -> HostResult<Change> {
    let vmm = vm.host().facts.vmm_kind().await?;
    let spec = LaunchSpec {
        id: vm.names.jail.clone(),
        uid: uid(vm, shape),
        vmm,
        machine: vmm_config(vm, shape, vmm),
    };
    vm.vmm = Some(spec.vmm);
    let started = vm.host().launcher.launch(&spec).await?;
    let again = vm.memory.ended.is_some();
    let started_at = Some(vm.shared.clock.now());
    vm.handles.update(|handles| {
        handles.restart_count += u32::from(again);
        handles.process = Some(ProcessHandle {
            identity: ProcessIdentity {
                pid: started.pid,
                start_ticks: started.start_ticks,
                boot_id: vm.shared.boot_id.clone(),
            },
            ending: false,
            started_at,
        });
    });
    vm.adopted_at = None;
    flush_hints(vm).await;
    Ok(Change::Made)
}

/// Waits for the API and tells the VMM its machine. One that ends meanwhile is not waited for.
pub(super) async fn configure(vm: &Vm, shape: &Shape) -> Result<Change, Failed> {
    let jail = &vm.names.jail;
    let told = async {
        vm.host().vmm.wait_ready(jail, vm.shared.settings.vmm_ready_limit).await?;
        let vmm = vm.host().facts.vmm_kind().await?;
        vm.host().vmm.configure(jail, &vmm_config(vm, shape, vmm)).await
    };
    let ended = async {
        match vm.handles.get().process {
            Some(process) => {
                let ProcessIdentity { pid, start_ticks, .. } = process.identity;
                vm.host().processes.wait_exit(pid, start_ticks).await
            }
            None => std::future::pending().await,
        }
    };
    // Cancel-safe: whichever comes second is dropped, and the attempt is over with the end.
    let failed =
        |error: &HostError| Failed::new(Reason::of(Effect::Configure, error), error.chain());
    tokio::select! {
        biased;
        told = told => told.map(|()| Change::Made).map_err(|error| failed(&error)),
        Ok(status) = ended => {
            let log = vm.host().outputs.log_tail(&vm.names.dir).await.unwrap_or_default();
            let exit = exit_from(status, &log, vm.shared.clock.now());
            Err(Failed::new(Reason::VmmExited, exit.message))
        }
    }
}

fn vmm_config(vm: &Vm, shape: &Shape, vmm: VmmKind) -> VmmConfig {
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
        boot_args: boot_args(shape, &vm.shared.settings.guest_dns),
        drives,
        interface: Some(NetInterface {
            tap: vm.names.tap.clone(),
            mac: shape.network.mac,
            receive: net(limits.net_rx_bytes_per_second),
            send: net(limits.net_tx_bytes_per_second),
        }),
        vsock_cid: Some(shape.network.vsock_cid),
        metadata_json: has_service.then(|| document(vm, shape)),
    }
}

/// The document of the metadata service.
fn document(vm: &Vm, shape: &Shape) -> String {
    let dns = &vm.shared.settings.guest_dns;
    seed::document(&seed::Told { vm: vm.id, shape, dns }).to_string()
}

/// The command line of the spec, or the usual one with a serial console and a reboot that ends
/// the VMM; and the network for a kernel or an init that reads `ip=`
/// (Documentation/admin-guide/nfs/nfsroot.rst), unless the spec has said it otherwise. That word has
/// room for two name servers; the documents that a guest is told have all of them.
#[must_use]
pub fn boot_args(shape: &Shape, dns: &[Ipv4Addr]) -> String {
    let mut args = match shape.boot_args.as_str() {
        "" => "console=ttyS0 reboot=k panic=1".to_owned(),
        said => said.to_owned(),
    };
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

pub(super) async fn start_guest(vm: &Vm) -> HostResult<Change> {
    let jail = &vm.names.jail;
    match vm.host().vmm.start(jail).await {
        Ok(()) => Ok(Change::Made),
        // Said again after an answer that was lost: the VMM refuses a second start.
        Err(error) if error.kind == HostErrorKind::Refused => {
            match vm.host().vmm.describe(jail).await? {
                VmmState::Running | VmmState::Paused => Ok(Change::AlreadySo),
                VmmState::NotStarted => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

pub(super) async fn put_metadata(vm: &Vm, record: &Record) -> HostResult<Change> {
    let Some(shape) = record.assignment.shape.as_ref() else { return Ok(Change::AlreadySo) };
    vm.host().vmm.put_metadata(&vm.names.jail, &document(vm, shape)).await?;
    Ok(Change::Made)
}

/// Notes on disk that we are ending the process, so that an agent that finds it dead does not
/// take it for a crash.
pub(super) async fn note_ending(vm: &Vm) {
    vm.handles.update(|handles| {
        if let Some(process) = &mut handles.process {
            process.ending = true;
        }
    });
    flush_hints(vm).await;
}

/// By its guest agent where that is reached, else by Ctrl-Alt-Del, which is a key of the keyboard that Firecracker has on x86 only (its
/// `docs/api_requests/actions.md`); elsewhere the VMM itself is asked to end.
pub(super) async fn ask_guest_to_stop(vm: &Vm) -> HostResult<Change> {
    if vm.guest.shut_down().await {
        return Ok(Change::Made);
    }
    if cfg!(target_arch = "x86_64") {
        vm.host().vmm.send_ctrl_alt_del(&vm.names.jail).await?;
        return Ok(Change::Made);
    }
    let Some(process) = vm.handles.get().process else { return Ok(Change::AlreadySo) };
    let ProcessIdentity { pid, start_ticks, .. } = process.identity;
    vm.host().processes.signal(pid, start_ticks, Signal::Terminate).await
}

pub(super) async fn kill(vm: &Vm) -> HostResult<Change> {
    note_ending(vm).await;
    let Some(process) = vm.handles.get().process else { return Ok(Change::AlreadySo) };
    let (pid, ticks) = (process.identity.pid, process.identity.start_ticks);
    let change = vm.host().processes.signal(pid, ticks, Signal::Kill).await?;
    vm.host().processes.wait_exit(pid, ticks).await?;
    Ok(change)
}

#[cfg(test)]
mod tests;
