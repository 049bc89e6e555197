//! Everything of the host's kernel and file system that banger makes things in, as one text.
//!
//! Taken before a VM is made and after it is deleted, the two must be equal: that is the proof
//! that nothing leaks, and it knows nothing of what banger believes it made. Only what is the
//! host's and not a VM's is left out, by name: the guests' bridge, the control groups above the
//! guests, and the directory the jailer puts all jails in; and the metrics of a VM that lives,
//! which are written for the first time when its VMM says some (the directory they are in is not
//! left out).

use super::{Agent, Fleet};

const SCRIPT: &str = r#"
echo "== device-mapper"; dmsetup ls | sort
echo "== loop devices"; losetup -n -O NAME,BACK-FILE | sort
echo "== links"; ip -o link | awk -F': ' '{print $2}' | cut -d@ -f1 |
  grep -v -x '[a-z][a-z0-9]br0' | sort
echo "== addresses"; ip -o addr | awk '{print $2, $4}' | grep -v '^[a-z][a-z0-9]br0 ' | sort
echo "== rules"; iptables-save | grep -E '^-A|^:[^ ]+ -' | sed 's/ \[[0-9]*:[0-9]*\]//'
echo "== pins"; nft list tables | grep banger- | sort; nft list ruleset |
  grep -o -E '"[a-z0-9]{2}-[a-z2-7]{12}"( \. [0-9a-f:]+ \. [0-9.]+ comment "[^"]+")?' | sort
echo "== neighbours"; ip neigh show nud permanent | sort
echo "== processes"; grep -l -x -E 'firecracker|jailer' /proc/[0-9]*/comm | sort
echo "== mounts"; cut -d' ' -f1,2,3 /proc/mounts
echo "== control groups"; find /sys/fs/cgroup -mindepth 1 -type d |
  grep -v -x -E '/sys/fs/cgroup/banger.slice(/banger-guests.slice(/[a-z][a-z0-9])?)?' | sort
echo "== files"; find "$@" | grep -v -e '/jails/firecracker$' -e '/metrics.log$' -e '^/run/[^/]*/forwarding$' | sort
"#;

/// The whole text.
pub(crate) fn kernel(fleet: &Fleet, agents: &[&Agent]) -> String {
    let mut directories = Vec::new();
    for Agent { state, run, .. } in agents {
        directories.extend([format!("{state}/vms"), format!("{state}/jails"), (*run).to_owned()]);
    }
    let mut command = vec!["/bin/sh", "-c", SCRIPT, "oracle"];
    command.extend(directories.iter().map(String::as_str));
    let output = fleet.host.run(&command).expect("the oracle runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Lines that one text has and the other has not, `+` for the second's.
pub(crate) fn difference(before: &str, after: &str) -> String {
    let mut lines = Vec::new();
    for (sign, from, other) in [('-', before, after), ('+', after, before)] {
        let mut rest: Vec<&str> = other.lines().collect();
        let mut section = "";
        for line in from.lines() {
            if line.starts_with("== ") {
                section = line;
            }
            match rest.iter().position(|candidate| *candidate == line) {
                Some(at) => {
                    rest.swap_remove(at);
                }
                None => lines.push(format!("{sign} {section}: {line}")),
            }
        }
    }
    lines.join("\n")
}

/// Waits until the kernel is as it was before.
pub(crate) async fn is_as_before(fleet: &Fleet, agents: &[&Agent], before: &str) {
    fleet
        .eventually("nothing of the VM is left in the kernel", async || {
            let difference = difference(before, &kernel(fleet, agents));
            if difference.is_empty() { Ok(()) } else { Err(difference) }
        })
        .await;
}
