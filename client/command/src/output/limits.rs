//! What a VM may take of its host, in a line.

use banger_client::v1::{EffectiveLimits, VmSpec, VmStatus};

use banger_terminal::output::table::{Tone, plain};

/// What the spec asks for, if it asks for any.
pub(super) fn wanted(spec: &VmSpec) -> Option<(String, Tone)> {
    let limits = spec.limits.as_ref()?;
    let rates = [
        ("read", limits.io_read_bytes_per_second, "B/s"),
        ("write", limits.io_write_bytes_per_second, "B/s"),
        ("read", limits.io_read_ops_per_second, "/s"),
        ("write", limits.io_write_ops_per_second, "/s"),
    ];
    let cpu = [weight(limits.cpu_weight), processors(limits.cpu_millis)];
    let words: Vec<String> = cpu.into_iter().flatten().chain(io(&rates)).collect();
    (!words.is_empty()).then(|| plain(words.join(", ")))
}

/// What the kernel holds it to, if the host says.
pub(super) fn held(status: &VmStatus) -> Option<(String, Tone)> {
    let limits: &EffectiveLimits = status.limits.as_ref()?;
    let memory =
        (limits.memory_bytes > 0).then(|| format!("memory {} MiB", limits.memory_bytes >> 20));
    let tasks = (limits.tasks > 0).then(|| format!("{} threads", limits.tasks));
    let parts = [weight(limits.cpu_weight), processors(limits.cpu_millis), memory, tasks];
    let mut words: Vec<String> = parts.into_iter().flatten().collect();
    for device in &limits.io {
        let rates = [
            ("read", device.read_bytes_per_second, "B/s"),
            ("write", device.write_bytes_per_second, "B/s"),
            ("read", device.read_ops_per_second, "/s"),
            ("write", device.write_ops_per_second, "/s"),
        ];
        words.extend(io(&rates).map(|rate| format!("{} {rate}", device.device)));
    }
    if !limits.missing_controllers.is_empty() {
        words.push(format!("host lacks {}", limits.missing_controllers.join(" ")));
    }
    (!words.is_empty()).then(|| plain(words.join(", ")))
}

fn weight(weight: u32) -> Option<String> {
    (weight > 0).then(|| format!("CPU weight {weight}"))
}

fn processors(millis: u32) -> Option<String> {
    (millis > 0).then(|| format!("CPU {}.{:03}", millis / 1000, millis % 1000))
}

fn io(rates: &[(&str, u64, &str); 4]) -> impl Iterator<Item = String> {
    let bounded = rates.iter().filter(|(_, rate, _)| *rate > 0);
    bounded.map(|(what, rate, unit)| format!("{what} {rate}{unit}"))
}
