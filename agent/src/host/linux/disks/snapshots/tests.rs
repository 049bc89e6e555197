//! The words we say to `dmsetup`, and how we read its answers. The real thing runs in the test
//! host: a kernel without device-mapper can run these.

use super::*;
use crate::host::LoopDevice;
use crate::host::exec::recording::RecordingExec;

fn spec() -> SnapshotSpec {
    let (base, cow) = (LoopDevice(3), LoopDevice(4));
    SnapshotSpec { name: name(), base, base_bytes: 1 << 30, cow, tail: None }
}

fn name() -> DmName {
    DmName::new("banger-bg-0191").unwrap()
}

const INFO: (i32, &str, &str) = (0, "banger-bg-0191 254 7 1\n", "");
const TABLE: (i32, &str, &str) = (0, "0 2097152 snapshot 7:3 7:4 P 8\n", "");
const STATUS: (i32, &str, &str) = (0, "0 2097152 snapshot 6184/8192 40\n", "");
const ABSENT: (i32, &str, &str) = (1, "", "Device does not exist.\nCommand failed.\n");

fn snapshots<'a>(
    answers: impl IntoIterator<Item = (i32, &'a str, &'a str)>,
) -> (Arc<RecordingExec>, DmSnapshots) {
    let exec = Arc::new(RecordingExec::answering(answers));
    let drivers = PathBuf::from("/no/such/file");
    (exec.clone(), DmSnapshots { exec, backoff: vec![Duration::ZERO; 2], drivers })
}

#[tokio::test]
async fn a_snapshot_is_made_persistent_over_device_numbers() {
    let (exec, dm) = snapshots([ABSENT, (0, "", ""), INFO, TABLE, STATUS]);
    let (facts, change) = dm.ensure(&spec()).await.unwrap();
    assert_eq!(change, Change::Made);
    assert_eq!(facts.device, DeviceNumber { major: 254, minor: 7 });
    assert_eq!(facts.fill, SnapshotFill::Used { used: 6184, total: 8192 });
    insta::assert_snapshot!(exec.transcript(), @r"
    dmsetup info -c --noheadings --separator   -o name,major,minor,open -- banger-bg-0191
    dmsetup create --noudevsync --noudevrules -- banger-bg-0191
        0 2097152 snapshot 7:3 7:4 PO 8
    dmsetup info -c --noheadings --separator   -o name,major,minor,open -- banger-bg-0191
    dmsetup table -- banger-bg-0191
    dmsetup status -- banger-bg-0191
    ");
}

#[tokio::test]
async fn a_snapshot_that_is_there_is_left_as_it_is() {
    let (exec, dm) = snapshots([INFO, TABLE, STATUS, INFO, TABLE, STATUS]);
    assert_eq!(dm.ensure(&spec()).await.unwrap().1, Change::AlreadySo);
    assert!(!exec.transcript().contains("create"));
}

#[tokio::test]
async fn a_disk_longer_than_its_image_goes_on_behind_what_the_snapshot_can_use() {
    let tail = Some(Tail { bytes: 1 << 20, offset: 3 << 20 });
    let longer = SnapshotSpec { tail, ..spec() };
    let table = (0, "0 2097152 snapshot 7:3 7:4 PO 8\n2097152 2048 linear 7:4 6144\n", "");
    let status = (0, "0 2097152 snapshot 6184/8192 40\n2097152 2048 linear \n", "");
    let (exec, dm) = snapshots([ABSENT, (0, "", ""), INFO, table, status]);
    let (facts, change) = dm.ensure(&longer).await.unwrap();
    assert_eq!((change, facts.size_sectors), (Change::Made, 2097152));
    assert_eq!(facts.fill, SnapshotFill::Used { used: 6184, total: 8192 });
    assert!(exec.transcript().contains("\n    2097152 2048 linear 7:4 6144\n"));
    // One of before, which may be in use, stays as it is.
    let (exec, dm) = snapshots([INFO, TABLE, STATUS, INFO, TABLE, STATUS]);
    assert_eq!(dm.ensure(&longer).await.unwrap().1, Change::AlreadySo);
    assert!(!exec.transcript().contains("create"));
    let (exec, dm) = snapshots([]);
    let odd = SnapshotSpec { tail: Some(Tail { bytes: 512, offset: 100 }), ..spec() };
    assert_eq!(dm.ensure(&odd).await.unwrap_err().kind, HostErrorKind::Invalid);
    assert_eq!(exec.count(), 0);
}

#[tokio::test]
async fn a_name_taken_by_another_table_is_refused() {
    let other = (0, "0 2097152 snapshot 7:9 7:4 P 8\n", "");
    let (_, dm) = snapshots([INFO, other, STATUS, INFO, other, STATUS]);
    assert_eq!(dm.ensure(&spec()).await.unwrap_err().kind, HostErrorKind::NameTaken);
    let linear = (0, "0 2097152 linear 7:9 0\n", "");
    let (_, dm) = snapshots([INFO, linear]);
    assert_eq!(dm.ensure(&spec()).await.unwrap_err().kind, HostErrorKind::NameTaken);
}

#[tokio::test]
async fn an_origin_that_is_no_whole_number_of_sectors_runs_no_command() {
    let (exec, dm) = snapshots([]);
    let odd = SnapshotSpec { base_bytes: 1000, ..spec() };
    assert_eq!(dm.ensure(&odd).await.unwrap_err().kind, HostErrorKind::Invalid);
    assert_eq!(exec.count(), 0);
}

#[tokio::test]
async fn a_busy_removal_is_tried_again_and_then_reported() {
    let busy = (
        1,
        "",
        "device-mapper: remove ioctl on x  failed: Device or resource busy\nCommand failed.\n",
    );
    let (exec, dm) = snapshots([busy, busy, (0, "", "")]);
    assert_eq!(dm.remove(&name()).await.unwrap(), Change::Made);
    assert_eq!(exec.count(), 3);
    let (exec, dm) = snapshots([busy, busy, busy, busy]);
    assert_eq!(dm.remove(&name()).await.unwrap_err().kind, HostErrorKind::Busy);
    assert_eq!(exec.count(), 3);
}

#[tokio::test]
async fn removing_what_is_gone_changes_nothing() {
    let gone = (1, "", "device-mapper: remove ioctl on x  failed: No such device or address\n");
    for answer in [ABSENT, gone] {
        let (exec, dm) = snapshots([answer]);
        assert_eq!(dm.remove(&name()).await.unwrap(), Change::AlreadySo);
        insta::allow_duplicates! {
            insta::assert_snapshot!(
                exec.transcript(), @"dmsetup remove --noudevsync --noudevrules -- banger-bg-0191"
            );
        }
    }
}

#[tokio::test]
async fn a_kernel_without_device_mapper_is_an_error_not_an_absence() {
    let none = (
        1,
        "",
        "/dev/mapper/control: open failed: No such file or directory\nFailure to communicate with kernel device-mapper driver.\n",
    );
    let (_, dm) = snapshots([none]);
    assert_eq!(dm.observe(&name()).await.unwrap_err().kind, HostErrorKind::Refused);
}

#[tokio::test]
async fn without_the_driver_there_is_no_snapshot_and_none_can_be_made() {
    let drivers = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(drivers.path(), "232 kvm\n200 tun\n").unwrap();
    let refused = (1, "", "/dev/mapper/control: open failed: No such device\n");
    let (exec, mut dm) = snapshots([refused]);
    dm.drivers = drivers.path().to_owned();
    assert_eq!(dm.observe(&name()).await.unwrap(), None);
    assert_eq!(dm.list("banger-bg-").await.unwrap(), []);
    assert_eq!(dm.remove(&name()).await.unwrap(), Change::AlreadySo);
    assert_eq!(exec.count(), 0);
    assert_eq!(dm.ensure(&spec()).await.unwrap_err().kind, HostErrorKind::Refused);
    // With it, the kernel is asked.
    std::fs::write(drivers.path(), "232 kvm\n236 device-mapper\n").unwrap();
    assert!(dm.observe(&name()).await.is_ok());
    assert_eq!(exec.count(), 2);
}

#[tokio::test]
async fn only_snapshots_of_our_prefix_are_listed() {
    let infos = (0, "banger-bg-1 254 0 1\nbanger-xx-1 254 1 0\nvg-root 254 2 1\n", "");
    let tables =
        (0, "banger-bg-1: 0 8 snapshot 7:3 7:4 P 8\nbanger-xx-1: 0 8 snapshot 7:5 7:6 P 8\n", "");
    let status = (0, "banger-bg-1: 0 8 snapshot Invalid\nbanger-xx-1: 0 8 snapshot 16/64 16\n", "");
    let (exec, dm) = snapshots([infos, tables, status]);
    let found = dm.list("banger-bg-").await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].fill, SnapshotFill::Invalid);
    insta::assert_snapshot!(exec.transcript(), @r"
    dmsetup info -c --noheadings --separator   -o name,major,minor,open
    dmsetup table --target snapshot
    dmsetup status --target snapshot
    ");
    let none = (0, "No devices found\n", "");
    let (_, dm) = snapshots([none, none, none]);
    assert_eq!(dm.list("banger-bg-").await.unwrap(), []);
}

#[test]
fn a_status_is_read_in_every_form_the_kernel_prints() {
    let used = SnapshotFill::Used { used: 16, total: 64 };
    assert_eq!(parse_fill("0 8 snapshot 16/64 16"), used);
    assert_eq!(parse_fill("0 8 snapshot Invalid"), SnapshotFill::Invalid);
    assert_eq!(parse_fill("0 8 snapshot Overflow"), SnapshotFill::Overflow);
    for odd in ["0 8 snapshot Merge failed", "0 8 snapshot Unknown", ""] {
        assert_eq!(parse_fill(odd), SnapshotFill::Unclear, "{odd:?}");
    }
}

/// What `dmsetup info`, `table` and `status` print of one listing, as [`DmSnapshots::list`] joins
/// them: nothing comes out that is not of our prefix, and no more than went in.
#[test]
fn fuzz_dmsetup_output_gives_only_snapshots_of_our_names() {
    let seeds: [&[u8]; 4] = [
        b"banger-bg-0191 254 7 1\n\x1fbanger-bg-0191: 0 2097152 snapshot 7:3 7:4 P 8\n\x1f\
          banger-bg-0191: 0 2097152 snapshot 6184/8192 40\n",
        b"root 254 0 1\nbanger-bg-a 254 1 0\n\x1froot: 0 8 linear 8:1 0\nbanger-bg-a: 0 8 snapshot \
          7:3 7:4 P 8\n\x1fbanger-bg-a: 0 8 snapshot Invalid\n",
        b"No devices found\n\x1fNo devices found\n\x1fNo devices found\n",
        b"banger-b2-0191 254 7 1\n\x1fbanger-b2-0191: 0 8 snapshot 7:3 7:4 P 8\n\x1f",
    ];
    banger_fuzz::fuzz("dmsetup", &seeds, |input| {
        let text = String::from_utf8_lossy(input);
        let mut parts = text.split('\x1f');
        let mut part = || parts.next().unwrap_or_default();
        let (info, tables, fills) = (part(), parse_named(part()), parse_named(part()));
        let lines = info.lines().count();
        let found: Vec<SnapshotFacts> = parse_info(info)
            .into_iter()
            .filter(|info| info.name.starts_with("banger-bg-"))
            .filter_map(|info| {
                let table = parse_table(tables.get(&info.name)?)?;
                let fill = fills.get(&info.name).map_or(SnapshotFill::Unclear, |s| parse_fill(s));
                assemble(info, table, fill)
            })
            .collect();
        assert!(found.len() <= lines);
        for snapshot in found {
            let name = snapshot.name.as_str();
            assert!(name.starts_with("banger-bg-") && !name.contains(['/', ' ', '\0']), "{name:?}");
            // What was read, printed as dmsetup does, is read again.
            let SnapshotFacts { base, cow, size_sectors, .. } = snapshot;
            let line = format!("0 {size_sectors} snapshot {base} {cow} P 8");
            assert_eq!(parse_table(&line), Some(TableLine { size_sectors, base, cow }));
        }
    });
}
