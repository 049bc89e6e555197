//! Words for values: states, ages, sizes, places. Pure; "now" is an argument.

use banger_client::v1::{HostState, Vm, VmState, VmStatus};
pub use banger_proto::words::counted;
use banger_proto::words::steers;
use jiff::Timestamp;

/// Text of a server, made harmless for a terminal and put on one line: what would act is shown, not
/// done.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' | '\r' => out.push(' '),
            c if steers(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// JSON in which nothing acts on a terminal. Such characters are in strings only, where they may
/// always be written as `\u`.
pub fn clean_json(json: String) -> String {
    if !json.chars().any(|c| c != '\n' && steers(c)) {
        return json;
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\n' => out.push(c),
            // Past four digits it is a pair.
            c if steers(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out += &format!("\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// Whether a text has none of them but line feeds.
pub fn is_clean(text: &str) -> bool {
    !text.chars().any(|c| c != '\n' && steers(c))
}

/// `RUNNING`.
pub fn state_name(state: VmState) -> &'static str {
    state.as_str_name().trim_start_matches("VM_STATE_")
}

/// `ONLINE`.
pub fn host_state_name(state: HostState) -> &'static str {
    state.as_str_name().trim_start_matches("HOST_STATE_")
}

/// Text of an enum without its prefix, for one that may be newer than this command.
pub fn or_number<E: TryFrom<i32>>(value: i32, name: fn(&E) -> &'static str) -> String {
    match E::try_from(value) {
        Ok(known) => name(&known).to_owned(),
        Err(_) => value.to_string(),
    }
}

/// How a host is marked that only pretends.
pub const SIMULATED: &str = " (simulated)";

/// The host of a VM, marked if it only pretends; `-` without one.
pub fn host(status: &VmStatus) -> String {
    let name = if status.host_name.is_empty() { &status.host_id } else { &status.host_name };
    match (name.is_empty(), status.simulated) {
        (true, _) => "-".to_owned(),
        (false, true) => clean(name) + SIMULATED,
        (false, false) => clean(name),
    }
}

/// ` on b0 (simulated)`, or nothing for a VM without a host.
pub fn place(status: &VmStatus) -> String {
    match host(status).as_str() {
        "-" => String::new(),
        host => format!(" on {host}"),
    }
}

/// A VM's state with its reason, place and sentence, as one line.
pub fn standing(vm: &Vm) -> String {
    let status = vm.status.clone().unwrap_or_default();
    let mut line = format!(
        "{} is {}{}",
        clean(&vm.name),
        or_number::<VmState>(status.state, |s| state_name(*s)),
        place(&status)
    );
    if !status.guest_address.is_empty() && status.state() == VmState::Running {
        line += &format!(", address {}", clean(&status.guest_address));
    }
    match (status.reason.is_empty(), status.message.is_empty()) {
        (true, true) => {}
        (false, true) => line += &format!(": {}", clean(&status.reason)),
        (true, false) => line += &format!(": {}", clean(&status.message)),
        (false, false) => {
            line += &format!(": {} ({})", clean(&status.message), clean(&status.reason));
        }
    }
    line
}

/// A time as jiff has it; `None` when it is not set or no real time.
pub fn time(time: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.seconds, time.nanos).ok()
}

/// How long ago: `42s`, `5m12s`, `42m`, `3h12m`, `5d`; `-` when not known.
pub fn age(then: Option<prost_types::Timestamp>, now: Timestamp) -> String {
    match time(then) {
        Some(then) => span(now.duration_since(then).as_secs()),
        None => "-".to_owned(),
    }
}

/// A time and how long ago it was: `2026-11-22T08:00:00Z (5m12s ago)`.
pub fn moment(then: Option<prost_types::Timestamp>, now: Timestamp) -> Option<String> {
    let at = time(then)?;
    let seconds = now.duration_since(at).as_secs();
    let second = at.round(jiff::Unit::Second).unwrap_or(at);
    Some(if seconds >= 0 {
        format!("{second} ({} ago)", span(seconds))
    } else {
        format!("{second} (in {})", span(-seconds))
    })
}

/// Seconds as people say them. Below zero is a clock that is off: `0s`.
pub fn span(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        ..0 => "0s".to_owned(),
        0..60 => format!("{seconds}s"),
        60..600 => format!("{minutes}m{}s", seconds % 60),
        600..3600 => format!("{minutes}m"),
        3600..86400 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d"),
    }
}

/// `512M`, `2G`, `1.5G`.
pub fn mebibytes(mib: u64) -> String {
    match mib {
        0..1024 => format!("{mib}M"),
        _ if mib.is_multiple_of(1024) => format!("{}G", mib / 1024),
        _ => format!("{}.{}G", mib / 1024, mib % 1024 * 10 / 1024),
    }
}

/// A file's size.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes}B"),
        1024..0x10_0000 => format!("{}K", bytes / 1024),
        _ => mebibytes(bytes / 0x10_0000),
    }
}

/// `a=1,b=2`, or `-`.
pub fn labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let pairs: Vec<_> =
        labels.into_iter().map(|(k, v)| format!("{}={}", clean(k), clean(v))).collect();
    if pairs.is_empty() { "-".to_owned() } else { pairs.join(",") }
}
