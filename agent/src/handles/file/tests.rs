//! `handles.json` whole, missing, cut, foreign, and written by many at once.

use std::sync::Arc;

use super::*;
use crate::handles::{LoopHandle, ProcessHandle, ProcessIdentity};
use crate::host::fakes::FakeKernel;
use crate::host::{FileId, LoopDevice, Pid};
use crate::naming::Naming;
use crate::vm::fixtures::{vm_id, wait_for};

fn handles() -> VmHandles {
    let names = Naming::default().vm(vm_id(1));
    VmHandles {
        process: Some(ProcessHandle {
            identity: ProcessIdentity {
                pid: Pid::new(4711).unwrap(),
                start_ticks: 123_456,
                boot_id: "0b1c".to_owned(),
            },
            ending: false,
            started_at: Some(jiff::Timestamp::UNIX_EPOCH),
            user: Some(200_002),
        }),
        tap: Some(names.tap.clone()),
        base_loop: Some(LoopHandle {
            file: naming::base("root.ext4".parse().unwrap()),
            attached: Some((LoopDevice(3), FileId { device: 1, inode: 9 })),
        }),
        cow_loop: Some(LoopHandle { file: names.cow(), attached: None }),
        snapshot: Some(names.snapshot),
        restart_count: 2,
    }
}

#[test]
fn handles_json_round_trip_gives_back_every_field() {
    let handles = handles();
    assert_eq!(decode(vm_id(1), &encode(vm_id(1), &handles)).unwrap(), handles);
    assert_eq!(decode(vm_id(1), &encode(vm_id(1), &VmHandles::default())).unwrap().process, None);
}

#[tokio::test]
async fn handles_json_round_trip_through_the_files() {
    let host = FakeKernel::new().host();
    let names = Naming::default().vm(vm_id(1));
    host.files.ensure_dir(&names.dir).await.unwrap();
    let cache = HandleCache::new(vm_id(1), VmHandles::default());
    cache.update(|h| *h = handles());
    flush(&*host.files, &cache, &names).await.unwrap();
    assert!(cache.unwritten().is_none());
    assert_eq!(load(&*host.files, vm_id(1), &names).await.unwrap(), handles());
}

#[tokio::test]
async fn missing_handles_json_is_no_error_but_a_reason() {
    let host = FakeKernel::new().host();
    let names = Naming::default().vm(vm_id(1));
    assert!(matches!(load(&*host.files, vm_id(1), &names).await, Err(NoHints::Missing)));
    host.files.ensure_dir(&names.dir).await.unwrap();
    assert!(matches!(load(&*host.files, vm_id(1), &names).await, Err(NoHints::Missing)));
}

#[test]
fn corrupt_handles_json_cut_at_every_byte_is_never_half_believed() {
    let content = encode(vm_id(1), &handles());
    // The last byte is the newline after the closing brace.
    for length in 0..content.len() - 1 {
        let cut = &content[..length];
        assert!(matches!(decode(vm_id(1), cut), Err(NoHints::Corrupt(_))), "cut at {length}");
    }
}

#[test]
fn handles_json_of_another_vm_is_not_believed() {
    let content = encode(vm_id(2), &handles());
    assert!(matches!(decode(vm_id(1), &content), Err(NoHints::Foreign { .. })));
}

#[test]
fn handles_json_of_a_newer_agent_is_not_believed() {
    let text = String::from_utf8(encode(vm_id(1), &handles())).unwrap();
    let newer = text.replacen("\"format\": 1", "\"format\": 2", 1);
    let result = decode(vm_id(1), newer.as_bytes());
    assert!(matches!(result, Err(NoHints::NewerFormat { found: 2 })), "{result:?}");
}

#[test]
fn handles_json_with_a_hostile_name_is_not_believed() {
    let text = String::from_utf8(encode(vm_id(1), &handles())).unwrap();
    let hostile = text.replace("root.cow", "../../etc/passwd");
    assert!(matches!(decode(vm_id(1), hostile.as_bytes()), Err(NoHints::Corrupt(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_at_once_leave_a_whole_file_with_the_last_change() {
    let host = FakeKernel::new().host();
    let names = Arc::new(Naming::default().vm(vm_id(1)));
    host.files.ensure_dir(&names.dir).await.unwrap();
    let cache = Arc::new(HandleCache::new(vm_id(1), handles()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (cache, files) = (Arc::clone(&cache), Arc::clone(&host.files));
        let names = Arc::clone(&names);
        tasks.spawn(async move {
            for _ in 0..25 {
                cache.update(|h| h.restart_count += 1);
                flush(&*files, &cache, &names).await.unwrap();
                load(&*files, vm_id(1), &names).await.expect("always a whole file");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(cache.get().restart_count, 2 + 16 * 25);
    // Two flushes may pass each other between reading the cache and renaming the file; the next
    // flush is the one that counts, and each VM has one task that flushes.
    wait_for("the file to have the last change", || async {
        cache.update(|h| h.snapshot = None);
        flush(&*host.files, &cache, &names).await.unwrap();
        let read = load(&*host.files, vm_id(1), &names).await.unwrap();
        (read == cache.get()).then_some(()).ok_or_else(|| format!("{read:?}"))
    })
    .await;
}

/// `handles.json` as each format was first written; kept for ever.
const FORMATS: [&str; 1] = [include_str!("fixtures/handles-1.json")];

#[test]
fn handles_json_of_every_format_is_read_with_all_that_it_says() {
    let mut all = handles();
    // No user was noted then.
    all.process.as_mut().unwrap().user = None;
    for text in FORMATS {
        assert_eq!(decode(vm_id(1), text.as_bytes()).unwrap(), all);
    }
}

/// `handles.json` as it is written now, with a value in every field. A field that is new needs a
/// default for the files that lack it, and is added to this text; anything else is a new
/// [`FORMAT`], with its first text among [`FORMATS`].
const WRITTEN: &str = include_str!("fixtures/handles-1-written.json");

#[test]
fn handles_json_is_written_as_it_was_before() {
    assert_eq!(String::from_utf8(encode(vm_id(1), &handles())).unwrap(), WRITTEN);
}

/// A file that was cut, flipped, copied from another VM or written by somebody else. Whatever is
/// taken of it names nothing but this VM's objects, and is read back the same.
#[test]
fn fuzz_handles_json_names_only_what_is_the_vms_own() {
    let names = Naming::default().vm(vm_id(1));
    let (ours, theirs) = (encode(vm_id(1), &handles()), encode(vm_id(2), &handles()));
    let none = encode(vm_id(1), &VmHandles::default());
    banger_fuzz::fuzz("handles_json", &[&ours, &theirs, &none], |content| {
        let Ok(read) = decode(vm_id(1), content) else { return };
        assert_eq!(decode(vm_id(1), &encode(vm_id(1), &read)).expect("its own"), read);
        let read = only_ours(read, &names);
        assert!(read.tap.is_none_or(|tap| tap == names.tap));
        assert!(read.snapshot.is_none_or(|snapshot| snapshot == names.snapshot));
        assert!(read.cow_loop.is_none_or(|cow| cow.file == names.cow()));
        let of_image = |base: LoopHandle| matches!(base.file, crate::host::BackingFile::Image(_));
        assert!(read.base_loop.is_none_or(of_image));
    });
}

#[tokio::test]
async fn hints_that_name_the_objects_of_another_are_dropped_and_the_others_kept() {
    let host = FakeKernel::new().host();
    let (names, other) = (Naming::default().vm(vm_id(1)), Naming::default().vm(vm_id(2)));
    host.files.ensure_dir(&names.dir).await.unwrap();
    let foreign = VmHandles {
        tap: Some(other.tap.clone()),
        snapshot: Some(other.snapshot.clone()),
        cow_loop: Some(LoopHandle { file: other.cow(), attached: None }),
        base_loop: Some(LoopHandle { file: names.work(), attached: None }),
        ..handles()
    };
    let content = encode(vm_id(1), &foreign);
    host.files.replace(&names.dir, &naming::part(naming::file::HANDLES), &content).await.unwrap();
    let read = load(&*host.files, vm_id(1), &names).await.unwrap();
    let kept = VmHandles { process: handles().process, restart_count: 2, ..VmHandles::default() };
    assert_eq!(read, kept);
}
