//! `vm.json`: on disk before it is believed, and one winner.

use super::*;
use crate::assignment::{
    Exit, ExitCause, Halt, Image, Limits, Power, Progress, Resources, RestartPolicy, Started,
};
use crate::host::fakes::{FakeKernel, FaultPlan};
use crate::host::{HostErrorKind, IoRates};
use crate::naming::Naming;
use crate::vm::fixtures::{assignment, assignment_of, version, vm_id};

const NOW: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;

fn cell() -> RecordCell {
    RecordCell::new(Naming::default().vm(vm_id(1)), None)
}

#[tokio::test]
async fn an_accepted_assignment_is_on_disk() {
    let host = FakeKernel::new().host();
    let cell = cell();
    let accepted = cell.merge(&*host.files, assignment(1, 1), "b").await.unwrap();
    assert_eq!(accepted, Accepted::Held(version(1, 1)));
    let read = load(&*host.files, vm_id(1), &Naming::default().vm(vm_id(1))).await.unwrap();
    assert_eq!(read, *cell.get().unwrap());
    assert_eq!(read.assignment, assignment(1, 1));
    assert_eq!(read.progress.told_in_boot, "b");
}

#[tokio::test]
async fn an_assignment_that_cannot_be_written_is_not_accepted() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let cell = cell();
    cell.merge(&*host.files, assignment(1, 1), "b").await.unwrap();
    kernel.set_faults(FaultPlan::none().fail(1, HostErrorKind::NoSpace));
    let refused = cell.merge(&*host.files, assignment(1, 2), "b").await.unwrap_err();
    assert_eq!(refused.kind, HostErrorKind::NoSpace);
    assert_eq!(cell.get().unwrap().assignment.version, version(1, 1));
    let accepted = cell.merge(&*host.files, assignment(1, 2), "b").await.unwrap();
    assert_eq!(accepted, Accepted::Held(version(1, 2)));
}

#[tokio::test]
async fn what_is_held_outlives_its_directory() {
    let host = FakeKernel::new().host();
    let (cell, dir) = (cell(), Naming::default().vm(vm_id(1)).dir);
    cell.merge(&*host.files, assignment(1, 1), "b").await.unwrap();
    host.files.remove_dir(&dir).await.unwrap();
    let accepted = cell.merge(&*host.files, assignment(1, 2), "b").await.unwrap();
    assert_eq!(accepted, Accepted::Held(version(1, 2)));
    host.files.remove_dir(&dir).await.unwrap();
    cell.note(&*host.files, |_, progress| progress.told_in_boot = "c".to_owned()).await.unwrap();
    let read = load(&*host.files, vm_id(1), &Naming::default().vm(vm_id(1))).await.unwrap();
    assert_eq!(read, *cell.get().unwrap());
    assert_eq!(read.progress.told_in_boot, "c");
}

#[tokio::test]
async fn the_same_version_again_writes_nothing() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let cell = cell();
    cell.merge(&*host.files, assignment(1, 1), "b").await.unwrap();
    kernel.set_faults(FaultPlan::none());
    cell.merge(&*host.files, assignment(1, 1), "b").await.unwrap();
    assert_eq!(kernel.effects(), 0);
    cell.merge(&*host.files, assignment(1, 1), "another boot").await.unwrap();
    assert_eq!(kernel.effects(), 1, "but for the boot in which the server has spoken");
}

#[tokio::test]
async fn a_removal_never_removes_a_newer_assignment() {
    let host = FakeKernel::new().host();
    let cell = cell();
    cell.merge(&*host.files, assignment_of(1, 1, 1, Power::Absent), "b").await.unwrap();
    cell.merge(&*host.files, assignment(1, 2), "b").await.unwrap();
    let removed = cell.remove(&*host.files, version(1, 1), NOW).await.unwrap();
    assert_eq!(removed, DirRemoval::NewerAssignment);
    assert_eq!(cell.remove(&*host.files, version(1, 2), NOW).await.unwrap(), DirRemoval::Gone);
    let late = cell.merge(&*host.files, assignment(1, 3), "b").await.unwrap();
    assert_eq!(late, Accepted::Gone);
}

fn record() -> Record {
    Record {
        assignment: assignment(1, 1),
        progress: Progress {
            boot_number: 1,
            root_disk_number: 1,
            root_image: None,
            halt: None,
            started: None,
            told_in_boot: String::new(),
        },
    }
}

#[test]
fn a_record_cut_at_every_byte_is_never_half_believed() {
    let record = record();
    let content = encode(&record);
    assert_eq!(decode(vm_id(1), &content).unwrap(), record);
    for length in 0..content.len() {
        let cut = decode(vm_id(1), &content[..length]);
        assert!(matches!(cut, Err(Unreadable::Corrupt(_))), "cut at {length}");
    }
    assert!(matches!(decode(vm_id(2), &content), Err(Unreadable::Foreign { .. })));
}

/// `vm.json` as each format was first written; kept for ever.
const FORMATS: [&str; 1] = [include_str!("fixtures/vm-1.json")];

#[test]
fn a_record_of_every_format_is_read_with_all_that_it_says() {
    for text in FORMATS {
        let record = decode(vm_id(1), text.as_bytes()).unwrap();
        let assignment = &record.assignment;
        assert_eq!(assignment.version, version(1, 3));
        assert_eq!((assignment.power, assignment.boot_number), (Power::Running, 2));
        let shape = assignment.shape.as_ref().unwrap();
        assert_eq!((shape.name.as_str(), shape.network.vsock_cid), ("vm-1", 4));
        let progress = &record.progress;
        assert_eq!((progress.boot_number, progress.told_in_boot.as_str()), (2, "a boot"));
        assert_eq!(
            progress.root_image.as_ref().map(|image| image.name.as_str()),
            Some("demo-root")
        );
        assert_eq!(progress.halt.as_ref().and_then(|halt| halt.exit.signal), Some(9));
        // What was not yet kept then is not known now.
        assert_eq!(progress.started, None);
    }
}

/// `vm.json` as it is written now, with a value in every field. The types of [`Record`] are those
/// that the agent works with: a field that is renamed, or is new, shows here. A new one needs a
/// default for the files that lack it, and is added to this text; anything else is a new
/// [`FORMAT`], with its first text among [`FORMATS`].
const WRITTEN: &str = include_str!("fixtures/vm-1-written.json");

#[test]
fn a_record_is_written_as_it_was_before() {
    let mut record = record();
    record.assignment.version = version(1, 3);
    let shape = record.assignment.shape.as_mut().unwrap();
    shape.initrd = Some(Image { name: "initrd".parse().unwrap(), sha256: Some("a".repeat(64)) });
    shape.metadata_json = Some("{}".to_owned());
    shape.limits = Limits {
        disk_bytes_per_second: 1,
        disk_ops_per_second: 2,
        net_rx_bytes_per_second: 3,
        net_tx_bytes_per_second: 4,
    };
    shape.resources = Resources {
        cpu_weight: 5,
        cpu_millis: 60,
        io: IoRates { read_bytes: 7, write_bytes: 8, read_ops: 9, write_ops: 10 },
    };
    shape.restart = RestartPolicy::OnFailure;
    let exit = Exit {
        crashed: true,
        code: None,
        signal: Some(9),
        message: "the VMM was ended by signal 9".to_owned(),
        at: NOW,
        cause: ExitCause::VmmEnded,
    };
    record.progress = Progress {
        boot_number: 2,
        root_disk_number: 1,
        root_image: Some(shape.root_image.clone()),
        halt: Some(Halt { boot_number: 2, exit }),
        started: Some(Started { boot_number: 2, host_boot: "a boot".to_owned() }),
        told_in_boot: "a boot".to_owned(),
    };
    assert_eq!(String::from_utf8(encode(&record)).unwrap(), WRITTEN.trim_end());
    assert_eq!(decode(vm_id(1), WRITTEN.as_bytes()).unwrap(), record);
}

#[test]
fn the_words_of_a_record_are_as_they_were_before() {
    let word = |value: serde_json::Result<String>| value.unwrap();
    let power = [Power::Running, Power::Paused, Power::Stopped, Power::Absent];
    let power = power.map(|power| word(serde_json::to_string(&power)));
    assert_eq!(power, [r#""running""#, r#""paused""#, r#""stopped""#, r#""absent""#]);
    let restart = [RestartPolicy::Never, RestartPolicy::OnFailure, RestartPolicy::Always];
    let restart = restart.map(|restart| word(serde_json::to_string(&restart)));
    assert_eq!(restart, [r#""never""#, r#""on_failure""#, r#""always""#]);
    let cause = [
        ExitCause::Unknown,
        ExitCause::Asked,
        ExitCause::GuestShutdown,
        ExitCause::GuestPanic,
        ExitCause::Unexplained,
        ExitCause::VmmEnded,
    ];
    let cause = cause.map(|cause| word(serde_json::to_string(&cause)));
    let words = ["unknown", "asked", "guest_shutdown", "guest_panic", "unexplained", "vmm_ended"];
    assert_eq!(cause, words.map(|word| format!("\"{word}\"")));
}

#[test]
fn a_record_of_a_newer_agent_is_refused_with_a_sentence() {
    let newer = FORMATS[0].replacen("\"format\":1", "\"format\":2", 1);
    let refused = decode(vm_id(1), newer.as_bytes()).unwrap_err();
    assert_eq!(refused.to_string(), "vm.json has format 2; this agent knows 1");
}

#[test]
fn fuzz_vm_json_is_of_this_vm_and_read_back_the_same_or_refused() {
    let content = encode(&record());
    banger_fuzz::fuzz("vm_json", &[&content], |content| {
        let Ok(read) = decode(vm_id(1), content) else { return };
        assert_eq!(read.assignment.vm, vm_id(1));
        assert_eq!(decode(vm_id(1), &encode(&read)).expect("its own"), read);
        if let Some(shape) = &read.assignment.shape {
            let name = shape.root_image.name.as_str();
            assert!(!name.contains(['/', '\0']) && !name.starts_with('.'), "{name:?}");
        }
    });
}
