//! Hosts and their images, as people read them.

use banger_client::v1::{
    Host, HostImage, HostImageKind, HostOvercommit, HostResources, HostState, HostStatus, Image,
    ImageBoot, ImageHost, ImageKind,
};
use jiff::Timestamp;

use banger_terminal::output::table::{Row, Tone, columns, host_tone, pairs, plain};
use banger_terminal::text::{
    SIMULATED, age, bytes, clean, host_state_name, labels, mebibytes, moment, or_number,
};

fn state(host: &Host) -> (String, Tone) {
    let state = host.status.as_ref().map_or(0, |s| s.state);
    let tone = HostState::try_from(state).map_or(Tone::Plain, host_tone);
    let mut text = or_number::<HostState>(state, |s| host_state_name(*s));
    if host.cordoned {
        text += ",CORDONED";
    }
    (text, tone)
}

fn name(host: &Host) -> String {
    let simulated = host.status.as_ref().is_some_and(|s| s.simulated);
    clean(&host.name) + if simulated { SIMULATED } else { "" }
}

/// Booked of what may be booked; a server of before says only what there is.
fn used(host: &Host, what: fn(&HostResources) -> String) -> String {
    let status = host.status.clone().unwrap_or_default();
    match (&status.booked, status.allocatable.as_ref().or(status.capacity.as_ref())) {
        (_, None) => "-".to_owned(),
        (None, Some(capacity)) => format!("0/{}", what(capacity)),
        (Some(booked), Some(capacity)) => format!("{}/{}", what(booked), what(capacity)),
    }
}

pub(crate) fn table(hosts: &[Host], now: Timestamp) -> String {
    let row = |host: &Host| -> Row {
        let status = host.status.clone().unwrap_or_default();
        let decide = status.conditions.first().map_or("", |condition| &condition.reason);
        let reason = if status.reason.is_empty() { decide } else { &status.reason };
        let vmm = status.vmm.as_str();
        vec![
            (name(host), Tone::Plain),
            state(host),
            plain(status.vm_count.to_string()),
            plain(used(host, |r| r.vcpus.to_string())),
            plain(used(host, |r| mebibytes(r.memory_mib))),
            plain(used(host, |r| mebibytes(r.disk_mib))),
            plain(if vmm.is_empty() { "-" } else { vmm }),
            plain(age(host.create_time, now)),
            plain(reason),
        ]
    };
    let headers = ["NAME", "STATE", "VMS", "VCPUS", "MEMORY", "DISK", "VMM", "AGE", "REASON"];
    columns(&headers, hosts.iter().map(row))
}

/// Everything about one host.
pub(crate) fn detail(host: &Host, now: Timestamp) -> String {
    let status = host.status.clone().unwrap_or_default();
    let text = |text: &str| (!text.is_empty()).then(|| plain(text));
    let when = |time| moment(time, now).map(plain);
    let unclaimed = unclaimed(&status);
    let certificate = status.certificate.clone().unwrap_or_default();
    let mut out = pairs([
        ("Name", Some((name(host), Tone::Plain))),
        ("Id", Some(plain(&host.id))),
        ("State", Some(state(host))),
        ("Reason", text(&status.reason)),
        ("Message", text(&status.message)),
        ("State since", when(status.state_since)),
        ("Last seen", when(status.last_seen)),
        ("Agent", text(&host.agent_address)),
        ("Agent version", text(&status.agent_version)),
        ("Agent epoch", (status.agent_epoch > 0).then(|| plain(status.agent_epoch.to_string()))),
        ("VMM", text(&status.vmm)),
        ("Root disks", text(&status.root_disks)),
        ("Kernel", text(&status.kernel_release)),
        ("Boot id", text(&status.boot_id)),
        ("Guest subnet", text(&host.guest_subnet)),
        ("VMs", Some(plain(status.vm_count.to_string()))),
        ("vCPUs", Some(plain(used(host, |r| r.vcpus.to_string())))),
        ("Memory", Some(plain(used(host, |r| mebibytes(r.memory_mib))))),
        ("Disk", Some(plain(used(host, |r| mebibytes(r.disk_mib))))),
        ("Accepted", accepted(&status).map(plain)),
        ("Overcommit", status.overcommit.as_ref().map(|ratios| plain(overcommit(host, ratios)))),
        (
            "Addresses free",
            (status.addresses_free > 0 || status.allocatable.is_some())
                .then(|| plain(status.addresses_free.to_string())),
        ),
        ("Labels", (!host.labels.is_empty()).then(|| plain(labels(&host.labels)))),
        ("Unclaimed VMs", text(&unclaimed)),
        ("Created", when(host.create_time)),
        ("Certificate until", when(certificate.not_after.or(host.certificate_expire_time))),
        ("Not renewed", text(&certificate.renewal_error)),
        ("Not renewed since", when(certificate.renewal_failing_since)),
        ("Revoked", when(host.revocation.as_ref().and_then(|revoked| revoked.time))),
        ("Etag", text(&host.etag)),
    ]);
    for condition in &status.conditions {
        out += &format!("\n{}: {}\n", clean(&condition.reason), clean(&condition.message));
    }
    if !status.images.is_empty() {
        out += "\n";
        out += &images(&status.images);
    }
    out
}

/// Things of a host in one line.
pub(crate) fn size(of: &HostResources) -> String {
    let HostResources { vcpus, memory_mib, disk_mib, .. } = of;
    let (memory, disk) = (mebibytes(*memory_mib), mebibytes(*disk_mib));
    format!("{vcpus} vCPUs, {memory} of memory, {disk} of disk")
}

/// The most that counts, where the agent says that there is more.
fn accepted(status: &HostStatus) -> Option<String> {
    let (most, said) = (status.accepted_capacity.as_ref()?, status.capacity.as_ref()?);
    let more = |most: u64, said: u64| most > 0 && said > most;
    let passed = more(most.vcpus.into(), said.vcpus.into())
        || more(most.memory_mib, said.memory_mib)
        || more(most.disk_mib, said.disk_mib);
    passed.then(|| format!("{} at most (its agent says {})", size(most), size(said)))
}

/// What may be booked for each of what there is, and whose setting it is.
fn overcommit(host: &Host, ratios: &HostOvercommit) -> String {
    let own = host.overcommit.unwrap_or_default();
    let whose = |own: f64| if own > 0.0 { " (this host's)" } else { "" };
    let HostOvercommit { vcpus, memory } = ratios;
    format!("vCPUs {vcpus}{}, memory {memory}{}", whose(own.vcpus), whose(own.memory))
}

/// How many VMs its host holds unclaimed, and the ids of those that the server names.
fn unclaimed(status: &HostStatus) -> String {
    let ids = &status.unclaimed_vm_ids;
    // A server that does not count them names all.
    let count = ids.len().max(usize::try_from(status.unclaimed_vm_count).unwrap_or(usize::MAX));
    match count - ids.len() {
        0 => ids.join(", "),
        more => format!("{count}: {}, and {more} more", ids.join(", ")),
    }
}

fn images(images: &[HostImage]) -> String {
    let row = |image: &HostImage| -> Row {
        let kind = match image.kind() {
            HostImageKind::Kernel => "kernel",
            HostImageKind::Root => "root",
            HostImageKind::Unspecified => "neither kernel nor root",
        };
        let sha256 = if image.sha256.is_empty() { "(being computed)" } else { &image.sha256 };
        vec![plain(&image.name), plain(kind), plain(bytes(image.size_bytes)), plain(sha256)]
    };
    columns(&["IMAGE", "KIND", "SIZE", "SHA256"], images.iter().map(row))
}

pub(crate) fn server_images(images: &[Image], now: Timestamp) -> String {
    // Who has all in one project need not hear of projects.
    let several = images.iter().any(|image| image.project != images[0].project);
    let row = |image: &Image| -> Row {
        let project = several.then(|| plain(&image.project));
        let rest = vec![
            plain(&image.name),
            plain(kind_name(image.kind())),
            plain(bytes(image.size_bytes)),
            plain(image.vm_count.to_string()),
            plain(on_hosts(image)),
            plain(age(image.create_time, now)),
            plain(image.sha256.get(..12).unwrap_or_default()),
        ];
        project.into_iter().chain(rest).collect()
    };
    let names = ["PROJECT", "NAME", "KIND", "SIZE", "VMS", "HOSTS", "AGE", "SHA256"];
    columns(&names[usize::from(!several)..], images.iter().map(row))
}

fn kind_name(kind: ImageKind) -> &'static str {
    match kind {
        ImageKind::Unspecified => "",
        ImageKind::Kernel => "kernel",
        ImageKind::Root => "root",
        ImageKind::Initrd => "initrd",
    }
}

/// What a root file system carries to be booted with.
fn boots_with(boot: &ImageBoot) -> String {
    let said = |what: &str, text: &str| (!text.is_empty()).then(|| format!("{what} {text}"));
    let parts = [
        said("kernel", &boot.kernel),
        said("initrd", &boot.initrd),
        said("boot arguments", &boot.boot_args),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// How many hosts have it, and how many are being sent it.
fn on_hosts(image: &Image) -> String {
    let has = |host: &&ImageHost| host.bytes_present >= image.size_bytes;
    let have = image.hosts.iter().filter(has).count();
    match image.hosts.len() - have {
        0 => have.to_string(),
        coming => format!("{have} +{coming}"),
    }
}

/// One image with all that is known of it.
pub(crate) fn server_image(image: &Image, now: Timestamp) -> String {
    let text = |text: &str| (!text.is_empty()).then(|| plain(text));
    let mut out = pairs([
        ("Name", text(&image.name)),
        ("Project", text(&image.project).filter(|_| image.project != "default")),
        ("Public", image.public.then(|| plain("yes: VMs of every project may boot from it"))),
        ("Kind", text(kind_name(image.kind()))),
        ("Size", Some(plain(bytes(image.size_bytes)))),
        ("Sha256", text(&image.sha256)),
        ("Origin", text(&image.origin)),
        ("Guest agent", Some(plain(if image.guest_agent { "yes" } else { "no" }))),
        ("Boots with", image.boot.as_ref().map(|boot| plain(boots_with(boot)))),
        ("VMs", Some(plain(image.vm_count.to_string()))),
        ("Notes", text(&image.notes.join("; "))),
        ("Created", moment(image.create_time, now).map(plain)),
        ("By", text(&image.created_by)),
    ]);
    if !image.hosts.is_empty() {
        let row = |host: &ImageHost| -> Row {
            let mut present = bytes(host.bytes_present);
            if host.bytes_present < image.size_bytes {
                present += &format!(" of {}", bytes(image.size_bytes));
            }
            vec![plain(&host.host_name), plain(present), plain(&host.error)]
        };
        out += "\n";
        out += &columns(&["HOST", "PRESENT", "ERROR"], image.hosts.iter().map(row));
    }
    out
}
