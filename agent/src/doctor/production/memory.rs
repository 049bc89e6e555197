//! Memory: what leaves it (swap), what is shared in it (KSM), what flips in it (Rowhammer).

use super::{finding, number};
use crate::doctor::Check;
use crate::doctor::production::seen::MachineSeen;

/// "Disabling swapping to disk or enabling secure swap".
pub(super) fn swap(seen: &MachineSeen) -> Check {
    let devices = seen.swaps.as_deref().map(swap_devices);
    finding(
        "swap",
        match devices.as_deref() {
            Some([]) => Ok("no memory of a guest is written to a disk".to_owned()),
            Some(devices) => Err((
                format!("guests' memory may be written to {}", devices.join(", ")),
                "swapoff -a, and remove it from /etc/fstab (encrypted swap may stay)".to_owned(),
            )),
            None => Err((
                "it cannot be told whether there is swap".to_owned(),
                "look at /proc/swaps".to_owned(),
            )),
        },
    )
}

/// The devices and files of `/proc/swaps` that are no memory themselves (zram is).
pub(super) fn swap_devices(text: &str) -> Vec<&str> {
    text.lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| !name.trim_start_matches("/dev/").starts_with("zram"))
        .collect()
}

/// "Disable Kernel Samepage Merging".
pub(super) fn ksm(seen: &MachineSeen) -> Check {
    // Documentation/admin-guide/mm/ksm.rst: 0 stopped, 1 runs, 2 stopped and all pages unmerged.
    let found = match seen.ksm.as_deref().map(number) {
        None => Ok("the kernel merges no pages: it cannot".to_owned()),
        Some(Some(0 | 2)) => Ok("the kernel merges no pages".to_owned()),
        Some(_) => Err((
            "the kernel merges equal pages, by whose timing one guest learns of another's memory"
                .to_owned(),
            "echo 2 >/sys/kernel/mm/ksm/run; systemctl disable --now ksm ksmtuned".to_owned(),
        )),
    };
    finding("ksm", found)
}

/// "Use memory with Rowhammer mitigation support".
pub(super) fn error_correction(seen: &MachineSeen) -> Check {
    let found = match seen.memory_controllers {
        0 => Err((
            "no memory with error correction is seen, which Rowhammer needs to be held".to_owned(),
            "use ECC memory with target row refresh; load the EDAC driver of the chipset"
                .to_owned(),
        )),
        1 => Ok("a memory controller corrects errors".to_owned()),
        count => Ok(format!("{count} memory controllers correct errors")),
    };
    finding("ecc-memory", found)
}
