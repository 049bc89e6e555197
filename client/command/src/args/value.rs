//! Reads the values of flags: sizes, times, labels, images, states.

use banger_client::v1::{AffinityRule, ImageRef, PlacementStrategy, RestartPolicy, VmState};
use clap::builder::{PossibleValuesParser, TypedValueParser};

pub(crate) use banger_terminal::args::duration;

/// A size in MiB: `512`, `512M`, `2G`, `1T`, also with `iB`.
pub(crate) fn mebibytes(text: &str) -> Result<u32, String> {
    let wrong = || "not a size; write it like 512M or 2G (MiB, GiB)".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "m" | "mi" | "mib" => 1,
        "g" | "gi" | "gib" => 1024,
        "t" | "ti" | "tib" => 1024 * 1024,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(factor)
        .and_then(|mib| u32::try_from(mib).ok())
        .ok_or_else(|| "too large".to_owned())
}

/// A number with up to three places, in thousandths: `0.5`, `2`.
pub(crate) fn thousandths(text: &str) -> Result<u32, String> {
    let wrong = || "not a number of processors; write it like 0.5 or 2".to_owned();
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(places) || places.len() > 3 {
        return Err(wrong());
    }
    let whole: u32 = whole.parse().map_err(|_| wrong())?;
    let places: u32 = format!("{places:0<3}").parse().map_err(|_| wrong())?;
    whole
        .checked_mul(1000)
        .and_then(|n| n.checked_add(places))
        .ok_or_else(|| "too large".to_owned())
}

/// The same, in bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    mebibytes(text).map(|mib| u64::from(mib) << 20)
}

/// `key=value`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("not a label; write it like key=value".to_owned()),
    }
}

/// `name` or `name@sha256:digest`.
pub(crate) fn image(text: &str) -> Result<ImageRef, String> {
    let (name, sha256) = match text.split_once('@') {
        None => (text, ""),
        Some((name, digest)) => match digest.strip_prefix("sha256:") {
            Some(digest) => (name, digest),
            None => return Err("only sha256 digests are known: name@sha256:…".to_owned()),
        },
    };
    if name.is_empty() {
        return Err("an image has a name".to_owned());
    }
    Ok(ImageRef { name: name.to_owned(), sha256: sha256.to_owned() })
}

/// Every state by the word people use for it.
const STATES: [(&str, VmState); 12] = [
    ("pending", VmState::Pending),
    ("preparing", VmState::Preparing),
    ("starting", VmState::Starting),
    ("running", VmState::Running),
    ("paused", VmState::Paused),
    ("stopping", VmState::Stopping),
    ("stopped", VmState::Stopped),
    ("crashed", VmState::Crashed),
    ("failed", VmState::Failed),
    ("deleting", VmState::Deleting),
    ("unknown", VmState::Unknown),
    ("deleted", VmState::Deleted),
];

/// A state, in any case.
pub(crate) fn state() -> impl TypedValueParser<Value = VmState> {
    PossibleValuesParser::new(STATES.map(|(word, _)| word)).map(|word| {
        let known = STATES.iter().find(|(known, _)| known.eq_ignore_ascii_case(&word));
        known.map_or(VmState::Unspecified, |(_, state)| *state)
    })
}

/// A restart policy.
pub(crate) fn restart() -> impl TypedValueParser<Value = RestartPolicy> {
    PossibleValuesParser::new(["never", "on-failure", "always"]).map(|word| match word.as_str() {
        "on-failure" => RestartPolicy::OnFailure,
        "always" => RestartPolicy::Always,
        _ => RestartPolicy::Never,
    })
}

/// In which order hosts are filled.
pub(crate) fn strategy() -> impl TypedValueParser<Value = PlacementStrategy> {
    PossibleValuesParser::new(["spread", "pack"]).map(|word| match word.as_str() {
        "pack" => PlacementStrategy::Pack,
        _ => PlacementStrategy::Spread,
    })
}

/// Near VMs: `app=web`, `app=web@zone`, `app in (web,db)@zone:50`.
pub(crate) fn near(text: &str) -> Result<AffinityRule, String> {
    let (text, weight) = weight(text)?;
    let (selector, topology) = text.rsplit_once('@').unwrap_or((text, ""));
    let (vm_selector, topology) = (selector.to_owned(), topology.to_owned());
    Ok(AffinityRule { vm_selector, topology, weight, ..AffinityRule::default() })
}

/// Apart from VMs, written the same.
pub(crate) fn apart(text: &str) -> Result<AffinityRule, String> {
    near(text).map(|rule| AffinityRule { anti: true, ..rule })
}

/// On hosts: `disk=nvme`, `disk=nvme:50`.
pub(crate) fn on(text: &str) -> Result<AffinityRule, String> {
    let (selector, weight) = weight(text)?;
    Ok(AffinityRule { host_selector: selector.to_owned(), weight, ..AffinityRule::default() })
}

/// On none of them, written the same.
pub(crate) fn not_on(text: &str) -> Result<AffinityRule, String> {
    on(text).map(|rule| AffinityRule { anti: true, ..rule })
}

/// What is before the weight, and the weight; 0 where none is given. No selector has a colon.
fn weight(text: &str) -> Result<(&str, u32), String> {
    match text.rsplit_once(':') {
        None => Ok((text, 0)),
        Some((rest, weight)) => match weight.parse() {
            Ok(weight @ 1..=100) => Ok((rest, weight)),
            _ => Err("no weight; write 1 to 100 after the colon".to_owned()),
        },
    }
}

/// A variable of an environment.
pub(crate) fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("not a variable; write it like NAME=value".to_owned()),
    }
}

/// A port of a guest, and the one here: `8080:80`, or `80` for both.
pub(crate) fn ports(text: &str) -> Result<(u16, u16), String> {
    let (local, port) = text.split_once(':').unwrap_or((text, text));
    match (local.parse(), port.parse()) {
        (Ok(local), Ok(port @ 1..)) => Ok((local, port)),
        _ => Err("no port; write it like 80, or 8080:80 for another one here".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_selector_with_a_topology_and_a_weight() {
        let rule = apart("app in (web,db)@zone:50").expect("a rule");
        let said = (rule.vm_selector.as_str(), rule.topology.as_str(), rule.weight, rule.anti);
        assert_eq!(said, ("app in (web,db)", "zone", 50, true));
        let rule = near("app=web").expect("a rule");
        let said = (rule.vm_selector.as_str(), rule.topology.as_str(), rule.weight, rule.anti);
        assert_eq!(said, ("app=web", "", 0, false));
        let rule = not_on("disk!=nvme:7").expect("a rule");
        let said = (rule.host_selector.as_str(), rule.weight, rule.anti);
        assert_eq!(said, ("disk!=nvme", 7, true));
        for wrong in ["app=web:0", "app=web:101", "app=web:x", "app=web:"] {
            assert!(on(wrong).is_err(), "{wrong}");
        }
    }
}
