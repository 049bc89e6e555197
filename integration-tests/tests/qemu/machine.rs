//! The machine beside the stage: what an agent leaves on it, and a QEMU that no agent started.

use std::path::Path;

use banger_integration_tests::programs::command;

use super::stage::{tool, until};

/// What is on the machine of an agent with this tag: its claim, its links, chains of iptables,
/// tables of nftables.
pub(crate) fn of_instance(tag: &str) -> Vec<String> {
    let link =
        |line: &&str| line.contains(&format!(" {tag}br0:")) || line.contains(&format!(" {tag}-"));
    let chain = format!("BANGER-{}-", tag.to_uppercase());
    let claim = format!("/run/banger-agents/{tag}.json");
    let links = tool("ip", &["-o", "link"]);
    let chains = tool("iptables-save", &[]);
    let tables = tool("nft", &["list", "tables"]);
    let chains = chains.lines().filter(|line| line.contains(&chain));
    let tables = tables.lines().filter(|line| line.ends_with(&format!(" banger-{tag}")));
    let kernel = links.lines().filter(link).chain(chains).chain(tables).map(str::to_owned);
    kernel.chain(Path::new(&claim).exists().then(|| claim.clone())).collect()
}

/// A QEMU without a guest, of this name, whose root is this directory.
pub(crate) struct Machine(std::process::Child);

impl Machine {
    pub(crate) fn start(root: &Path, name: &str) -> Self {
        // In a mount namespace of its own, as the agent's jailer does it.
        let script = "for dir in usr lib lib64 etc; do \
             if [ -d /$dir ]; then mkdir -p \"$1/$dir\" && mount --rbind /$dir \"$1/$dir\"; fi; done; \
             exec chroot \"$1\" /usr/bin/qemu-system-x86_64 -name \"$2\" -machine none -nodefaults \
             -display none -S";
        std::fs::create_dir_all(root).expect("it can be made");
        let root = root.to_str().expect("paths here are text");
        let child = command(Path::new("unshare"))
            .args(["--mount", "sh", "-c", script, "sh", root, name])
            .stdin(std::process::Stdio::null())
            .spawn()
            .expect("unshare can be started");
        let comm = format!("/proc/{}/comm", child.id());
        until("it is a QEMU", || match std::fs::read_to_string(&comm).unwrap_or_default() {
            comm if comm == "qemu-system-x86\n" => Ok(()),
            other => Err(other),
        });
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn lives(&mut self) -> bool {
        self.0.try_wait().expect("it is our child").is_none()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
