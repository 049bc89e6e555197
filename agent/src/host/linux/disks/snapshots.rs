//! Device-mapper snapshots by way of `dmsetup`: dmsetup(8), the kernel's
//! `Documentation/admin-guide/device-mapper/snapshot.rst`.
//!
//! The table is `0 <sectors> snapshot <base> <cow> PO 8`: persistent, so that a stopped VM's disk
//! is there when it starts again; with overflow (Linux 4.4), so that a store that is full refuses
//! writes and is not made invalid for ever; in chunks of 4 KiB, the page and block size of the
//! guests, so that a write of the guest copies nothing it does not replace.
//!
//! A disk that is longer than its image has a second line,
//! `<sectors> <more> linear <cow> <offset>`: its end lies in place behind all that the snapshot can
//! ever use of the store.
//!
//! `--noudevsync`: where udev does not run there is nobody to wait for, and where it does we need
//! nothing of it, because a jail gets a node made from the device's number. The nodes in
//! `/dev/mapper` are for people. `--noudevrules`: what is on these disks a guest wrote, and nothing
//! of the host has business with it; `dmsetup` makes the nodes itself and tells udev to keep its
//! rules for device-mapper and for its users (LVM) off. Its rules for what is on a disk (blkid)
//! cannot be told so by `dmsetup`: `deploy/host/udev.rules` keeps them off.
//!
//! What can go wrong: a name taken by another table, a removal that is busy because udev or a dying
//! VMM has the device open (tried again), no device-mapper in the kernel. The last is an error for
//! whoever wants a snapshot, and an answer for whoever looks for one: while the driver is not
//! loaded there is no device of it, whether or not `dmsetup` is installed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::host::exec::{Exec, Tool, ToolCall, refusal, run_ok};
use crate::host::{
    Change, DeviceNumber, DmName, HostError, HostErrorKind, HostResult, SnapshotFacts,
    SnapshotFill, SnapshotSpec, Snapshots, Tail,
};

/// Sectors in a chunk: 4 KiB.
const CHUNK_SECTORS: u32 = 8;

/// Waits between the attempts to remove a busy device: 3.1 seconds in all.
const REMOVE_BACKOFF: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
];

pub(crate) struct DmSnapshots {
    exec: Arc<dyn Exec>,
    backoff: Vec<Duration>,
    // Lists the drivers of miscellaneous devices that are loaded: proc_misc(5).
    drivers: PathBuf,
}

impl DmSnapshots {
    pub(crate) fn new(exec: Arc<dyn Exec>) -> Self {
        Self { exec, backoff: REMOVE_BACKOFF.to_vec(), drivers: PathBuf::from("/proc/misc") }
    }

    /// Whether the driver is certainly not loaded; it cannot be unloaded while it has a device.
    fn not_loaded(&self) -> bool {
        std::fs::read_to_string(&self.drivers).is_ok_and(|text| {
            !text.lines().any(|line| line.split_whitespace().nth(1) == Some("device-mapper"))
        })
    }

    async fn dmsetup(&self, verb: &'static str, object: &str, args: &[&str]) -> HostResult<String> {
        self.dmsetup_of(verb, object, args, "").await
    }

    async fn dmsetup_of(
        &self,
        verb: &'static str,
        object: &str,
        args: &[&str],
        table: &str,
    ) -> HostResult<String> {
        let call = ToolCall::new(Tool::Dmsetup, args.iter().copied()).stdin(table);
        run_ok(&*self.exec, verb, object, &call).await
    }

    /// Like [`Self::dmsetup`], with "no such device" as `None`.
    async fn about(
        &self,
        verb: &'static str,
        name: &DmName,
        args: &[&str],
    ) -> HostResult<Option<String>> {
        let call = ToolCall::new(Tool::Dmsetup, args.iter().copied());
        let output = self.exec.run(&call).await?;
        if output.succeeded() {
            Ok(Some(output.stdout))
        } else if no_such_device(&output.stderr) || no_such_device(&output.stdout) {
            Ok(None)
        } else {
            Err(refusal(verb, name.as_str(), &call, &output))
        }
    }

    async fn create(&self, spec: &SnapshotSpec) -> HostResult<()> {
        let name = spec.name.as_str();
        // A table of more than one line is read from the standard input only.
        let args = ["create", "--noudevsync", "--noudevrules", "--", name];
        self.dmsetup_of("make snapshot", name, &args, &table_of(spec)).await?;
        Ok(())
    }
}

/// The table, a line for each part of the disk.
fn table_of(spec: &SnapshotSpec) -> String {
    let (sectors, cow) = (spec.base_bytes / 512, spec.cow.number());
    let base = spec.base.number();
    let mut table = format!("0 {sectors} snapshot {base} {cow} PO {CHUNK_SECTORS}\n");
    if let Some(Tail { bytes, offset }) = spec.tail {
        table += &format!("{sectors} {} linear {cow} {}\n", bytes / 512, offset / 512);
    }
    table
}

/// `dmsetup` has no exit code for it; with `LC_ALL=C` these are its words ("Device does not exist."
/// from `info`, "No such device or address" from the ioctl behind the others).
fn no_such_device(complaint: &str) -> bool {
    complaint.contains("does not exist") || complaint.contains("No such device or address")
}

const COLUMNS: &str = "name,major,minor,open";

#[async_trait]
impl Snapshots for DmSnapshots {
    async fn list(&self, prefix: &str) -> HostResult<Vec<SnapshotFacts>> {
        if self.not_loaded() {
            return Ok(Vec::new());
        }
        let verb = "list";
        let info = ["info", "-c", "--noheadings", "--separator", " ", "-o", COLUMNS];
        let infos = parse_info(&self.dmsetup(verb, "snapshots", &info).await?);
        let table = ["table", "--target", "snapshot"];
        let tables = parse_named(&self.dmsetup(verb, "snapshots", &table).await?);
        let status = ["status", "--target", "snapshot"];
        let fills = parse_named(&self.dmsetup(verb, "snapshots", &status).await?);
        Ok(infos
            .into_iter()
            .filter(|info| info.name.starts_with(prefix))
            .filter_map(|info| {
                let table = parse_table(tables.get(&info.name)?)?;
                let fill = fills.get(&info.name).map_or(SnapshotFill::Unclear, |s| parse_fill(s));
                assemble(info, table, fill)
            })
            .collect())
    }

    async fn observe(&self, name: &DmName) -> HostResult<Option<SnapshotFacts>> {
        if self.not_loaded() {
            return Ok(None);
        }
        let verb = "look at snapshot";
        let info =
            ["info", "-c", "--noheadings", "--separator", " ", "-o", COLUMNS, "--", name.as_str()];
        let Some(info) = self.about(verb, name, &info).await? else { return Ok(None) };
        let Some(info) = parse_info(&info).into_iter().next() else { return Ok(None) };
        let table = ["table", "--", name.as_str()];
        let Some(table) = self.about(verb, name, &table).await? else { return Ok(None) };
        let Some(table) = parse_table(table.trim()) else {
            return Err(HostError::new(HostErrorKind::NameTaken, verb, name)
                .detail(format!("it is no snapshot: {:?}", table.trim())));
        };
        let status = ["status", "--", name.as_str()];
        let Some(status) = self.about(verb, name, &status).await? else { return Ok(None) };
        Ok(assemble(info, table, parse_fill(status.trim())))
    }

    async fn ensure(&self, spec: &SnapshotSpec) -> HostResult<(SnapshotFacts, Change)> {
        let verb = "make snapshot";
        let odd = [spec.base_bytes]
            .into_iter()
            .chain(spec.tail.into_iter().flat_map(|tail| [tail.bytes, tail.offset]))
            .find(|bytes| *bytes == 0 || !bytes.is_multiple_of(512));
        if let Some(bytes) = odd {
            return Err(HostError::new(HostErrorKind::Invalid, verb, &spec.name)
                .detail(format!("a part of {bytes} bytes is no whole number of sectors")));
        }
        let change = match self.observe(&spec.name).await? {
            Some(_) => Change::AlreadySo,
            None => {
                self.create(spec).await?;
                Change::Made
            }
        };
        let Some(facts) = self.observe(&spec.name).await? else {
            return Err(HostError::new(HostErrorKind::Busy, verb, &spec.name)
                .detail("it was removed at once by somebody else"));
        };
        let same = facts.base == spec.base.number()
            && facts.cow == spec.cow.number()
            && facts.size_sectors == spec.base_bytes / 512;
        if same {
            Ok((facts, change))
        } else {
            Err(HostError::new(HostErrorKind::NameTaken, verb, &spec.name).detail(format!(
                "it stands on {} and {} with {} sectors",
                facts.base, facts.cow, facts.size_sectors
            )))
        }
    }

    async fn remove(&self, name: &DmName) -> HostResult<Change> {
        if self.not_loaded() {
            return Ok(Change::AlreadySo);
        }
        let verb = "remove snapshot";
        let args = ["remove", "--noudevsync", "--noudevrules", "--", name.as_str()];
        let mut waits = self.backoff.iter();
        loop {
            match self.about(verb, name, &args).await {
                Ok(Some(_)) => return Ok(Change::Made),
                Ok(None) => return Ok(Change::AlreadySo),
                Err(error) if error.kind == HostErrorKind::Busy => match waits.next() {
                    Some(wait) => tokio::time::sleep(*wait).await,
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }
}

/// One line of `dmsetup info -c`.
#[derive(Debug, PartialEq, Eq)]
struct Info {
    name: String,
    device: DeviceNumber,
    open_count: u32,
}

/// `NAME MAJOR MINOR OPEN` a line; a line of another form ("No devices found") is none.
fn parse_info(text: &str) -> Vec<Info> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?.to_owned();
            let (major, minor) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let open_count = words.next()?.parse().ok()?;
            Some(Info { name, device: DeviceNumber { major, minor }, open_count })
        })
        .collect()
}

/// `NAME: REST` a line, as `dmsetup table` and `status` print for more than one device.
fn parse_named(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

/// A snapshot's table.
#[derive(Debug, PartialEq, Eq)]
struct TableLine {
    size_sectors: u64,
    base: DeviceNumber,
    cow: DeviceNumber,
}

/// `0 <sectors> snapshot <base> <cow> <P|PO|N> <chunk> …`, and perhaps a tail, which is not looked
/// at.
fn parse_table(line: &str) -> Option<TableLine> {
    let mut words = line.split_whitespace();
    let (start, size_sectors) = (words.next()?, words.next()?.parse().ok()?);
    let (kind, base, cow) =
        (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (start == "0" && kind == "snapshot").then_some(TableLine { size_sectors, base, cow })
}

/// `0 <sectors> snapshot <used>/<total> <metadata>`, or a word in place of the numbers.
fn parse_fill(line: &str) -> SnapshotFill {
    let Some(state) = line.split_whitespace().nth(3) else { return SnapshotFill::Unclear };
    match state {
        "Invalid" => return SnapshotFill::Invalid,
        "Overflow" => return SnapshotFill::Overflow,
        _ => {}
    }
    let numbers = state
        .split_once('/')
        .and_then(|(used, total)| Some((used.parse().ok()?, total.parse().ok()?)));
    match numbers {
        Some((used, total)) => SnapshotFill::Used { used, total },
        None => SnapshotFill::Unclear,
    }
}

fn assemble(info: Info, table: TableLine, fill: SnapshotFill) -> Option<SnapshotFacts> {
    Some(SnapshotFacts {
        name: DmName::new(&info.name).ok()?,
        device: info.device,
        open_count: info.open_count,
        base: table.base,
        cow: table.cow,
        size_sectors: table.size_sectors,
        fill,
    })
}

#[cfg(test)]
mod tests;
