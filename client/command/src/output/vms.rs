//! VMs, their events and explanations, as people read them.

use banger_client::v1::{
    DesiredState, EgressPolicy, ExplainVmResponse, RestartPolicy, Vm, VmEvent, VmEventType,
    VmHistoryEvent, VmState, VmStatus,
};
use jiff::Timestamp;

use super::{limits, placement};
use banger_terminal::output::table::{Row, Tone, columns, pairs, plain, vm_tone};
use banger_terminal::text::{
    age, clean, host, labels, mebibytes, moment, or_number, span, standing, state_name, time,
};

fn state(vm: &Vm) -> (String, Tone) {
    let state = vm.status.as_ref().map_or(0, |s| s.state);
    let tone = VmState::try_from(state).map_or(Tone::Plain, vm_tone);
    (or_number::<VmState>(state, |s| state_name(*s)), tone)
}

/// `DESIRED_STATE_RUNNING` as `RUNNING`.
pub(crate) fn desired(vm: &Vm) -> String {
    let name = |d: &DesiredState| d.as_str_name().trim_start_matches("DESIRED_STATE_");
    or_number::<DesiredState>(vm.desired_state, name)
}

pub(crate) fn table(vms: &[Vm], now: Timestamp) -> String {
    // Who has all in one project need not hear of projects.
    let several = vms.iter().any(|vm| vm.project != vms[0].project);
    let row = |vm: &Vm| -> Row {
        let status = vm.status.clone().unwrap_or_default();
        let spec = vm.spec.clone().unwrap_or_default();
        let address = &status.guest_address;
        let project = several.then(|| plain(&vm.project));
        let rest = vec![
            plain(&vm.name),
            state(vm),
            (host(&status), Tone::Plain),
            plain(if address.is_empty() { "-" } else { address }),
            plain(spec.vcpus.to_string()),
            plain(mebibytes(spec.memory_mib.into())),
            plain(age(vm.create_time, now)),
            plain(&status.reason),
        ];
        project.into_iter().chain(rest).collect()
    };
    let headers =
        ["PROJECT", "NAME", "STATE", "HOST", "ADDRESS", "VCPUS", "MEMORY", "AGE", "REASON"];
    columns(&headers[usize::from(!several)..], vms.iter().map(row))
}

/// Everything about one VM.
pub(crate) fn detail(vm: &Vm, now: Timestamp) -> String {
    let status = vm.status.clone().unwrap_or_default();
    let spec = vm.spec.clone().unwrap_or_default();
    let text = |text: &str| (!text.is_empty()).then(|| plain(text));
    let when = |time| moment(time, now).map(plain);
    let image = |image: &Option<banger_client::v1::ImageRef>| {
        let image = image.as_ref().filter(|image| !image.name.is_empty())?;
        let digest = if image.sha256.is_empty() { "" } else { "@sha256:" };
        Some(plain(format!("{}{digest}{}", image.name, image.sha256)))
    };
    let process = status.process.as_ref().map(|process| {
        let started = time(process.start_time).map(|at| format!(", started {at}"));
        plain(format!("pid {}{}", process.pid, started.unwrap_or_default()))
    });
    let exit = status.exit.as_ref().map(|exit| {
        let kind = match (exit.reason.as_str(), exit.crashed) {
            ("ASKED_FOR", _) => "ended as asked",
            ("GUEST_PANIC", _) => "panicked",
            (_, true) => "crashed",
            (_, false) => "ended on its own",
        };
        let code = exit.code.map(|code| format!(", status {code}")).unwrap_or_default();
        let signal = exit.signal.map(|signal| format!(", signal {signal}")).unwrap_or_default();
        let ago = moment(exit.time, now).map(|m| format!(" at {m}")).unwrap_or_default();
        let message =
            if exit.message.is_empty() { String::new() } else { format!(": {}", exit.message) };
        plain(format!("{kind}{code}{signal}{ago}{message}"))
    });
    let devices = status.devices.as_ref();
    let disk = devices.filter(|d| d.cow_total_sectors > 0).map(|d| {
        // Sectors have 512 bytes.
        let mib = |sectors: u64| mebibytes(sectors / 2048);
        plain(format!("{} of {} written", mib(d.cow_used_sectors), mib(d.cow_total_sectors)))
    });
    let restart = RestartPolicy::try_from(spec.restart_policy).unwrap_or_default();
    let egress = spec.network.as_ref().map_or(EgressPolicy::Unspecified, |n| n.egress());
    let generation = if !status.host_name.is_empty() && status.observed_generation < vm.generation {
        format!("{} (host has reached {})", vm.generation, status.observed_generation)
    } else {
        vm.generation.to_string()
    };
    pairs([
        ("Name", Some(plain(&vm.name))),
        ("Project", text(&vm.project).filter(|_| vm.project != "default")),
        ("Id", Some(plain(&vm.id))),
        ("State", Some(state(vm))),
        ("Wanted", Some(plain(desired(vm)))),
        ("Reason", text(&status.reason)),
        ("Message", text(&status.message)),
        ("Host", Some((host(&status), Tone::Plain))),
        ("Address", text(&status.guest_address)),
        ("MAC", text(&status.mac_address)),
        ("DNS name", text(&status.dns_name)),
        ("vsock CID", (status.vsock_cid > 0).then(|| plain(status.vsock_cid.to_string()))),
        ("vCPUs", Some(plain(spec.vcpus.to_string()))),
        ("Memory", Some(plain(mebibytes(spec.memory_mib.into())))),
        ("Kernel", image(&spec.kernel)),
        ("Initrd", image(&spec.initrd)),
        ("Root image", image(&spec.root_image)),
        ("Root disk", Some(plain(mebibytes(spec.root_disk_mib.into())))),
        ("Disk use", disk),
        ("Work disk", spec.work_disk.as_ref().map(|d| plain(mebibytes(d.size_mib.into())))),
        ("Boot args", text(&spec.boot_args)),
        ("Egress", Some(plain(if egress == EgressPolicy::None { "none" } else { "NAT" }))),
        ("Restart", Some(plain(restart_word(restart)))),
        ("Limits", limits::wanted(&spec)),
        ("Limits held", limits::held(&status)),
        ("Labels", (!spec.labels.is_empty()).then(|| plain(labels(&spec.labels)))),
        ("Process", process),
        ("Restarts", (status.restart_count > 0).then(|| plain(status.restart_count.to_string()))),
        ("Last exit", exit),
        ("Adopted", when(status.adopted_at)),
        ("Unknown since", when(status.unknown_since)),
        ("Next attempt", when(status.next_attempt_at)),
        ("State since", when(status.state_since)),
        ("Confirmed", when(status.confirmed_at)),
        ("Last change", when(status.observed_at)),
        ("Guest", guest(&status, now)),
        ("Guest boot id", status.guest.as_ref().and_then(|guest| text(&guest.boot_id))),
        ("VMM", devices.and_then(|d| text(&d.vmm))),
        ("Root disk is a", devices.and_then(|d| text(&d.root_disk))),
        ("Tap", devices.and_then(|d| text(&d.tap))),
        ("API socket", devices.and_then(|d| text(&d.api_socket))),
        ("Sent", status.traffic.as_ref().map(|t| amount(t.sent_bytes, t.sent_packets))),
        ("Received", status.traffic.as_ref().map(|t| amount(t.received_bytes, t.received_packets))),
        ("Refused", refused(&status)),
        ("Created", when(vm.create_time)),
        ("Changed", when(vm.update_time)),
        ("Generation", Some(plain(generation))),
        ("Etag", text(&vm.etag)),
    ])
}

/// What the guest agent says, in a line.
fn guest(status: &VmStatus, now: Timestamp) -> Option<(String, Tone)> {
    let guest = status.guest.as_ref()?;
    let heard = moment(guest.ready_at, now).map(|at| format!(", heard {at}")).unwrap_or_default();
    let reached = if guest.connected { "ready" } else { "does not answer at present" };
    Some(plain(format!(
        "{} {reached}{heard} (agent {} by {})",
        guest.hostname, guest.agent_version, guest.transport
    )))
}

fn amount(bytes: u64, packets: u64) -> (String, Tone) {
    plain(format!("{bytes} bytes in {packets} packets"))
}

/// Packets that the host did not let through, if there were any.
fn refused(status: &VmStatus) -> Option<(String, Tone)> {
    let refused = status.traffic.as_ref().map_or(0, |traffic| traffic.refused_packets);
    (refused > 0).then(|| plain(format!("{refused} packets of the guest")))
}

fn restart_word(policy: RestartPolicy) -> &'static str {
    match policy {
        RestartPolicy::Unspecified | RestartPolicy::Never => "never",
        RestartPolicy::OnFailure => "on failure",
        RestartPolicy::Always => "always",
    }
}

/// One change, as a line of `vm watch`.
pub(crate) fn change_line(event: &VmEvent, now: Timestamp) -> String {
    let vm = event.vm.clone().unwrap_or_default();
    let status = vm.status.clone().unwrap_or_default();
    let removed = event.r#type() == VmEventType::Removed;
    let (state, tone) = if removed { ("GONE".to_owned(), Tone::Faint) } else { state(&vm) };
    let style = tone.style();
    let clock = now.strftime("%H:%M:%S");
    let name = clean(&vm.name);
    // Padded before it is coloured: colours have no width.
    let state = format!("{state:<10}");
    let mut rest = host(&status);
    for part in [&status.guest_address, &status.reason, &status.message] {
        if !part.is_empty() && !removed {
            rest += "  ";
            rest += &clean(part);
        }
    }
    format!("{clock}  {name:<20}  {style}{state}{style:#}  {}\n", rest.trim_end())
}

/// The history of a VM.
pub(crate) fn history(events: &[VmHistoryEvent], now: Timestamp) -> String {
    let row = |event: &VmHistoryEvent| -> Row {
        let ago = |at| {
            let seconds = time(at).map(|at| now.duration_since(at).as_secs());
            seconds.map_or("-".to_owned(), |s| format!("{} ago", span(s)))
        };
        // A server of before has neither a count nor a last time.
        let (last, what) = match event.times {
            0 | 1 => (event.time, event.r#type.clone()),
            times => {
                let what = format!("{}, {times} times since {}", event.r#type, ago(event.time));
                (event.last_time.or(event.time), what)
            }
        };
        vec![
            plain(ago(last)),
            plain(what),
            plain(event.generation.to_string()),
            plain(&event.actor),
            plain(&event.reason),
            plain(&event.message),
        ]
    };
    columns(&["WHEN", "EVENT", "GENERATION", "ACTOR", "REASON", "MESSAGE"], events.iter().map(row))
}

/// What the server would do, and why.
pub(crate) fn explanation(explained: &ExplainVmResponse) -> String {
    let vm = explained.vm.clone().unwrap_or_default();
    let mut text = format!("{}, wanted {}\n", standing(&vm), desired(&vm));
    let reason = if explained.reason.is_empty() {
        String::new()
    } else {
        format!(" ({})", clean(&explained.reason))
    };
    text += &format!("{}{reason}\n", clean(&explained.decision));
    for sentence in &explained.explanation {
        text += &format!("  {}\n", clean(sentence));
    }
    if let Some(found) = &explained.placement {
        text += &placement::evaluation(found);
    }
    text
}
