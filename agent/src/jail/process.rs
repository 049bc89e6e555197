//! Is the VM's process alive? The one place that answers, [`vm_alive`]; nobody compares pids
//! inline.
//!
//! **What we started or adopted is ours**, by pid, start time and boot id alone: a VMM may be
//! hostile and rename itself, rewrite its arguments, end its first thread, change its root. None of
//! that makes it somebody else's.
//!
//! How a process is found that we do not remember:
//! 1. By its command line, which carries the VM's API socket path when it was started directly.
//! 2. A jailed VMM shows only paths inside its chroot, so: through the API socket's symlink to
//!    the chroot, and from there the jailer's pidfile.
//! 3. When the pidfile leads nowhere, by the VM's id among the processes listed: a pidfile may be
//!    lost while its process lives, and a second process over the same disks must never be
//!    started.
//! 4. In the jail's control group, which nobody enters or leaves without being root. That needs no
//!    word of the process, so it also finds one that has changed everything it says.
//!
//! The words of a process (its name, its arguments) and the pidfile in the jail are whoever's wrote
//! them. On them alone a process is believed only with the jail as its root, by device and inode.
//! It is *perhaps* ours, and waited for, only as root or as the VM's own user and behind a program
//! that we start. Anybody else's is a stranger, and no reason to wait. What cannot be read is
//! [`Liveness::CannotTell`], and then nothing may be done. Each way to find nothing is a variant of
//! [`WhyNot`].

use std::collections::HashMap;

use super::{layout, pidfile};
use crate::handles::ProcessIdentity;
use crate::host::kind::{QEMU_JAILER, jail_of_qemu_name, qemu_name};
use crate::host::{
    FileId, Host, HostResult, JailId, Pid, ProcessFacts, Processes, SocketEntry, VmmKind,
};

mod liveness;

pub use liveness::{Foreign, Liveness, WhyNot, WhyUnclear};

/// What processes are called until their jailer has become the VMM: Firecracker's jailer; and the
/// agent's own program, which is the jailer of QEMU, by its link in `/proc` and by its name.
const JAILER_COMMS: [&str; 3] = ["jailer", "exe", "banger-agent"];

/// Whether we start a program whose file has this name: a VMM, Firecracker's jailer (which is often
/// installed with its version in its name) or our own, QEMU's jailer.
fn is_started_by_us(program: &str) -> bool {
    let own =
        || std::env::current_exe().is_ok_and(|own| own.file_name().is_some_and(|n| n == program));
    VmmKind::ALL.iter().any(|vmm| program == vmm.program())
        || program == "jailer"
        || program.starts_with("jailer-")
        || program == "banger-agent"
        || own()
}

/// All VMM processes at one moment, read once for any number of VMs.
#[derive(Debug, Clone, Default)]
pub struct ProcessTable {
    processes: Vec<ProcessFacts>,
    by_argument: HashMap<String, Vec<usize>>,
}

impl ProcessTable {
    /// Reads them.
    ///
    /// # Errors
    /// They cannot be listed.
    pub async fn read(processes: &dyn Processes) -> HostResult<Self> {
        // In this order: a jailer that becomes a VMM between the two is in the second list.
        let mut all = Vec::new();
        for comm in JAILER_COMMS {
            all.extend(processes.list(comm).await?.into_iter().filter(is_a_jailer));
        }
        for vmm in VmmKind::ALL {
            all.extend(processes.list(vmm.comm()).await?);
        }
        Ok(Self::of(all))
    }

    /// From facts already read.
    #[must_use]
    pub fn of(processes: Vec<ProcessFacts>) -> Self {
        let mut by_argument: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, process) in processes.iter().enumerate() {
            for argument in &process.arguments {
                by_argument.entry(argument.clone()).or_default().push(index);
            }
        }
        Self { processes, by_argument }
    }

    fn with_argument<'a>(&'a self, argument: &str) -> impl Iterator<Item = &'a ProcessFacts> {
        let indexes = self.by_argument.get(argument).map_or(&[][..], Vec::as_slice);
        indexes.iter().map(|index| &self.processes[*index])
    }

    /// The live processes that name a jail, each with the jail that it names.
    pub fn claims(&self) -> impl Iterator<Item = (&ProcessFacts, JailId)> + '_ {
        self.processes.iter().filter(|process| !process.zombie).filter_map(|process| {
            let id = JailId::new(jail_named_by(process)?).ok()?;
            Some((process, id))
        })
    }

    /// The jails named on any command line.
    pub fn jails(&self) -> impl Iterator<Item = JailId> + '_ {
        self.claims().map(|(_, jail)| jail)
    }
}

/// Where a look for a process begins.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// The VM's jail.
    pub jail: &'a JailId,
    /// The user that the VM's process runs as; `None` where no record says it.
    pub user: Option<u32>,
    /// The present boot.
    pub boot_id: &'a str,
    /// The process we remember, if any.
    pub remembered: Option<&'a ProcessIdentity>,
    /// All processes. Without it only the remembered one and the pidfile are looked at, which is
    /// enough once the agent has looked at everything at its start: what was started since, it
    /// started itself.
    pub table: Option<&'a ProcessTable>,
}

/// Whether one process is that of a jail, by its whole identity but for how it was found: for a
/// list of all processes, where the jail's root was read already. `member` when it is in the jail's
/// control group.
#[must_use]
pub fn judge(
    process: &ProcessFacts,
    member: bool,
    jail: &JailId,
    (vmm, root): (Option<VmmKind>, Option<FileId>),
    boot_id: &str,
) -> Liveness {
    let expected = Expected { jail, user: None, vmm, root, boot_id };
    if member && !process.zombie {
        return Liveness::Alive(expected.identity(process));
    }
    expected.judge(process)
}

/// Whether the VM's process is alive: the one question of liveness.
pub async fn vm_alive(host: &Host, search: Search<'_>) -> Liveness {
    // What we remember, if it still is what it was: the usual case, and it costs one look.
    let mut stale = None;
    if let Some(remembered) = search.remembered {
        match look_at_remembered(host, search.boot_id, remembered).await {
            Liveness::Dead(_) => {}
            Liveness::SomebodyElses { pid, why } => stale = Some((pid, why)),
            found @ (Liveness::Alive(_) | Liveness::CannotTell(_)) => return found,
        }
    }
    let (vmm, root) = match host.jails.observe(search.jail).await {
        Ok(jail) => jail.map_or((None, None), |jail| (jail.vmm, jail.root)),
        Err(error) => return Liveness::CannotTell(WhyUnclear::unreadable(&error)),
    };
    let expected =
        Expected { jail: search.jail, user: search.user, vmm, root, boot_id: search.boot_id };
    let found = by_its_words(host, &search, &expected).await;
    if matches!(found, Liveness::Alive(_)) {
        return found;
    }
    // One that we remember in this boot and that is dead was the VM's process. What else is in its
    // group then are its children, which end with the jail.
    let remembered = search.remembered.is_some_and(|process| process.boot_id == search.boot_id);
    if !remembered {
        match by_group(host, &expected).await {
            Ok(None) => {}
            Ok(Some(identity)) => return Liveness::Alive(identity),
            Err(error) => return Liveness::CannotTell(WhyUnclear::unreadable(&error)),
        }
    }
    match (found, stale) {
        (found @ Liveness::CannotTell(_), _) | (found, None) => found,
        (_, Some((pid, why))) => Liveness::SomebodyElses { pid, why },
    }
}

/// Finds a process by what it says, or the pidfile says, of itself.
async fn by_its_words(host: &Host, search: &Search<'_>, expected: &Expected<'_>) -> Liveness {
    // 1. By the API socket path on a command line.
    let socket = host.jails.api_socket_path(search.jail);
    if let (Some(table), Some(socket)) = (search.table, socket.to_str())
        && let Some(found) = by_command_line(table, expected, socket)
    {
        return found;
    }
    // 2. By the pidfile.
    let by_pidfile = by_pidfile(host, expected).await;
    if matches!(by_pidfile, Liveness::Alive(_) | Liveness::CannotTell(_)) {
        return by_pidfile;
    }
    // 3. By the id.
    search.table.and_then(|table| by_id(table, expected)).unwrap_or(by_pidfile)
}

/// The oldest live process in the jail's control group: the others are its children.
async fn by_group(host: &Host, expected: &Expected<'_>) -> HostResult<Option<ProcessIdentity>> {
    let mut oldest: Option<(u64, Pid)> = None;
    for pid in host.jails.members(expected.jail).await? {
        if let Some(process) = host.processes.started(pid).await?
            && !process.zombie
        {
            let this = (process.start_ticks, pid);
            oldest = Some(oldest.map_or(this, |oldest| oldest.min(this)));
        }
    }
    Ok(oldest.map(|(start_ticks, pid)| ProcessIdentity {
        pid,
        start_ticks,
        boot_id: expected.boot_id.to_owned(),
    }))
}

struct Expected<'a> {
    jail: &'a JailId,
    user: Option<u32>,
    /// What the jail was built for; without a jail it may be any.
    vmm: Option<VmmKind>,
    root: Option<FileId>,
    boot_id: &'a str,
}

impl Expected<'_> {
    fn identity(&self, process: &ProcessFacts) -> ProcessIdentity {
        ProcessIdentity {
            pid: process.pid,
            start_ticks: process.start_ticks,
            boot_id: self.boot_id.to_owned(),
        }
    }

    /// Whether its root is the jail's, which nobody can have whom we did not put there.
    fn is_in_jail(&self, process: &ProcessFacts) -> bool {
        process.root.is_some() && process.root == self.root
    }

    /// Whether what a process says of itself is worth listening to.
    fn is_credible(&self, process: &ProcessFacts) -> bool {
        let by_user = process.user.is_some_and(|user| user == 0 || Some(user) == self.user);
        // One whose program cannot be read is told by its user alone.
        let by_program = process.program.as_deref().is_none_or(is_started_by_us);
        self.is_in_jail(process) || by_user && by_program
    }

    /// Whether a process is a jailer for the VM.
    fn is_jailer(&self, process: &ProcessFacts) -> bool {
        !process.zombie
            && is_a_jailer(process)
            && jail_named_by(process) == Some(self.jail.as_str())
    }

    /// Whether a process is called what the VMM of the jail is called.
    fn is_vmm(&self, process: &ProcessFacts) -> bool {
        match self.vmm {
            Some(vmm) => process.comm == vmm.comm(),
            None => VmmKind::ALL.iter().any(|vmm| process.comm == vmm.comm()),
        }
    }

    /// Whether a process is the VM's, by everything but how it was found.
    fn judge(&self, process: &ProcessFacts) -> Liveness {
        let pid = process.pid;
        if process.zombie {
            return Liveness::Dead(WhyNot::Zombie { pid });
        }
        if !self.is_credible(process) {
            return Liveness::SomebodyElses { pid, why: Foreign::AnotherUser };
        }
        if self.is_jailer(process) {
            return Liveness::CannotTell(WhyUnclear::StillTheJailer { pid });
        }
        if !self.is_vmm(process) {
            return Liveness::Dead(WhyNot::WrongComm { pid, comm: process.comm.clone() });
        }
        if jail_named_by(process) != Some(self.jail.as_str()) {
            return Liveness::SomebodyElses { pid, why: Foreign::AnotherId };
        }
        match (process.root, self.root) {
            (Some(its), Some(ours)) if its == ours => Liveness::Alive(self.identity(process)),
            (Some(_), Some(_)) => Liveness::SomebodyElses { pid, why: Foreign::AnotherRoot },
            (None, _) => Liveness::CannotTell(WhyUnclear::RootUnreadable { pid }),
            (Some(_), None) => Liveness::CannotTell(WhyUnclear::JailGone { pid }),
        }
    }
}

/// Whether a process is a jailer: Firecracker's, or our own program as that of QEMU. The name of
/// the program alone would take the agent itself for one.
fn is_a_jailer(process: &ProcessFacts) -> bool {
    process.comm == "jailer" || process.arguments.get(1).is_some_and(|word| word == QEMU_JAILER)
}

/// Whether a process is a jailer by what nobody but root can be: a program of the agent's that root
/// runs. One that runs with root's rights for somebody else has no user.
pub fn is_our_jailer(process: &ProcessFacts) -> bool {
    process.user == Some(0)
        && is_a_jailer(process)
        && process.program.as_deref().is_some_and(is_started_by_us)
}

/// The jail that a command line names: the value of `--id`, in either of its spellings, for
/// Firecracker and for jailers; for QEMU that of `-name`, in the form that we give it.
fn jail_named_by(process: &ProcessFacts) -> Option<&str> {
    let mut arguments = process.arguments.iter();
    if process.comm == VmmKind::Qemu.comm() {
        let name = arguments.find(|word| *word == "-name").and_then(|_| arguments.next())?;
        return jail_of_qemu_name(name);
    }
    while let Some(argument) = arguments.next() {
        if argument == "--id" {
            return arguments.next().map(String::as_str);
        }
        if let Some(id) = argument.strip_prefix("--id=") {
            return Some(id);
        }
    }
    None
}

/// Pid, start time and boot are enough: nothing that the process does can change them, and no other
/// process has all three.
async fn look_at_remembered(host: &Host, boot_id: &str, remembered: &ProcessIdentity) -> Liveness {
    let pid = remembered.pid;
    if remembered.boot_id != boot_id {
        return Liveness::SomebodyElses { pid, why: Foreign::AnotherBoot };
    }
    match host.processes.started(pid).await {
        Err(error) => Liveness::CannotTell(WhyUnclear::unreadable(&error)),
        Ok(None) => Liveness::Dead(WhyNot::NoSuchProcess { pid }),
        Ok(Some(process)) if process.start_ticks != remembered.start_ticks => {
            Liveness::SomebodyElses { pid, why: Foreign::StartedAtAnotherTime }
        }
        Ok(Some(process)) if process.zombie => Liveness::Dead(WhyNot::Zombie { pid }),
        Ok(Some(_)) => Liveness::Alive(remembered.clone()),
    }
}

/// A directly started VMM has the host's root, so its root proves nothing; the path is the VM's
/// alone, and a command line that names another VM beside it is refused.
fn by_command_line(
    table: &ProcessTable,
    expected: &Expected<'_>,
    socket: &str,
) -> Option<Liveness> {
    table
        .with_argument(socket)
        .filter(|process| !process.zombie && expected.is_vmm(process))
        .filter(|process| expected.is_credible(process))
        .find(|process| jail_named_by(process).is_none_or(|id| id == expected.jail.as_str()))
        .map(|process| Liveness::Alive(expected.identity(process)))
}

async fn by_pidfile(host: &Host, expected: &Expected<'_>) -> Liveness {
    match read_pid(host, expected.jail).await {
        Err(error) => Liveness::CannotTell(WhyUnclear::unreadable(&error)),
        Ok(Err(why)) => Liveness::Dead(why),
        Ok(Ok(pid)) => match host.processes.observe(pid).await {
            Err(error) => Liveness::CannotTell(WhyUnclear::unreadable(&error)),
            Ok(None) => Liveness::Dead(WhyNot::NoSuchProcess { pid }),
            Ok(Some(process)) => expected.judge(&process),
        },
    }
}

async fn read_pid(host: &Host, jail: &JailId) -> HostResult<Result<Pid, WhyNot>> {
    let target = match host.jails.observe_api_socket(jail).await? {
        SocketEntry::Missing => return Ok(Err(WhyNot::SocketMissing)),
        SocketEntry::NotALink => return Ok(Err(WhyNot::SocketNotALink)),
        SocketEntry::Link(target) => target,
    };
    let leads_to = |vmm: &VmmKind| {
        layout::chroot_of(&target, *vmm)
            .is_some_and(|root| root == host.jails.root_path(jail, *vmm))
    };
    let Some(vmm) = VmmKind::ALL.into_iter().find(leads_to) else {
        return Ok(Err(WhyNot::SocketElsewhere { target }));
    };
    Ok(match host.jails.read_pidfile(jail, vmm).await? {
        None => Err(WhyNot::PidfileMissing),
        Some(content) => pidfile::parse(&content).map_err(WhyNot::PidfileGarbage),
    })
}

/// Of the processes with our id: the one that is ours, else one that might be. One that is
/// somebody else's (another instance of the agent may have a jail of the same id) is passed over.
fn by_id(table: &ProcessTable, expected: &Expected<'_>) -> Option<Liveness> {
    let mut unclear = None;
    let spelled = format!("--id={}", expected.jail);
    let spellings = [expected.jail.as_str(), &spelled, &qemu_name(expected.jail)];
    for process in spellings.into_iter().flat_map(|word| table.with_argument(word)) {
        match expected.judge(process) {
            found @ Liveness::Alive(_) => return Some(found),
            found @ Liveness::CannotTell(_) => unclear = Some(found),
            Liveness::Dead(_) | Liveness::SomebodyElses { .. } => {}
        }
    }
    unclear
}

#[cfg(test)]
mod tests;
