//! Golden tables, and claims about words and JSON.

use banger_client::v1::*;
use banger_terminal::output::proto;
use banger_terminal::text;
use jiff::Timestamp;
use prost_types::Timestamp as Time;

use super::{hosts, objects, placement, vms};

const EIGHT: i64 = 1_795_334_400;

fn now() -> Timestamp {
    Timestamp::from_second(EIGHT + 3 * 3600 + 12 * 60).unwrap()
}

fn at(seconds: i64) -> Option<Time> {
    Some(Time { seconds: EIGHT + seconds, nanos: 0 })
}

fn image(name: &str) -> Option<ImageRef> {
    Some(ImageRef { name: name.to_owned(), sha256: String::new() })
}

fn vm(name: &str, state: VmState) -> Vm {
    Vm {
        id: "0192f0c1-0000-7000-8000-000000000001".to_owned(),
        name: name.to_owned(),
        project: "default".to_owned(),
        spec: Some(VmSpec {
            vcpus: 2,
            memory_mib: 1536,
            kernel: image("demo-kernel"),
            root_image: image("demo-root"),
            root_disk_mib: 1024,
            work_disk: Some(WorkDisk { size_mib: 512 }),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            ..VmSpec::default()
        }),
        desired_state: DesiredState::Running.into(),
        status: Some(VmStatus {
            state: state.into(),
            host_name: "b0".to_owned(),
            simulated: true,
            observed_generation: 2,
            guest_address: "10.64.0.2".to_owned(),
            mac_address: "02:fc:0a:40:00:02".to_owned(),
            vsock_cid: 5,
            restart_count: 1,
            observed_at: at(11_500),
            confirmed_at: at(11_519),
            state_since: at(60),
            adopted_at: at(120),
            process: Some(VmProcess { pid: 4242, start_ticks: 99, start_time: at(60) }),
            exit: Some(VmExit {
                crashed: true,
                signal: Some(9),
                message: "killed".to_owned(),
                time: at(50),
                ..VmExit::default()
            }),
            ..VmStatus::default()
        }),
        generation: 3,
        etag: "3".to_owned(),
        revision: 77,
        create_time: at(0),
        update_time: at(30),
        placement_evaluation: None,
    }
}

fn pending() -> Vm {
    let mut vm = vm("a-much-longer-name", VmState::Pending);
    vm.status = Some(VmStatus {
        state: VmState::Pending.into(),
        reason: "NO_HOST_HAS_ROOM".to_owned(),
        message: "no host has 64 vCPUs free".to_owned(),
        ..VmStatus::default()
    });
    vm
}

fn host(name: &str, simulated: bool) -> Host {
    Host {
        id: "0192f0c1-0000-7000-8000-0000000000b0".to_owned(),
        name: name.to_owned(),
        agent_address: "127.0.0.1:7072".to_owned(),
        cordoned: !simulated,
        guest_subnet: "10.64.0.0/20".to_owned(),
        create_time: at(0),
        certificate_expire_time: at(86_400 * 90),
        revocation: None,
        etag: "1".to_owned(),
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        status: Some(HostStatus {
            state: HostState::Online.into(),
            simulated,
            vmm: if simulated { "simulated" } else { "firecracker 1.16.1" }.to_owned(),
            capacity: Some(HostResources {
                vcpus: 8,
                memory_mib: 16384,
                disk_mib: 102_400,
                guests: 1023,
            }),
            booked: Some(HostResources { vcpus: 2, memory_mib: 1536, disk_mib: 1536, guests: 2 }),
            allocatable: Some(HostResources {
                vcpus: 32,
                memory_mib: 16384,
                disk_mib: 102_400,
                guests: 1023,
            }),
            addresses_free: 4093,
            overcommit: Some(HostOvercommit { vcpus: 4.0, memory: 1.0 }),
            vm_count: 1,
            agent_epoch: 2,
            last_seen: at(11_519),
            images: vec![HostImage {
                name: "demo-kernel".to_owned(),
                size_bytes: 44_040_192,
                sha256: String::new(),
                kind: HostImageKind::Kernel.into(),
            }],
            ..HostStatus::default()
        }),
        overcommit: Some(HostOvercommit { vcpus: 4.0, memory: 0.0 }),
        revision: 0,
        accepted_capacity: None,
    }
}

#[test]
fn a_host_that_says_it_has_more_is_shown_with_what_counts_and_the_command_that_accepts_it() {
    let mut grown = host("b0", false);
    let status = grown.status.as_mut().unwrap();
    status.accepted_capacity = status.capacity;
    assert!(!hosts::detail(&host("b0", false), now()).contains("Accepted"));
    status.capacity.as_mut().unwrap().memory_mib *= 2;
    status.conditions.push(HostCondition {
        reason: "CAPACITY_NOT_ACCEPTED".to_owned(),
        message: "more: banger host set b0 --accept-capacity\x1b[2J".to_owned(),
    });
    let detail = plain(&hosts::detail(&grown, now()));
    assert!(detail.contains("at most (its agent says 8 vCPUs, 32G"), "{detail}");
    assert!(detail.contains("CAPACITY_NOT_ACCEPTED: more: banger host set b0"), "{detail}");
    assert!(!detail.contains('\x1b'), "{detail:?}");
    let table = plain(&hosts::table(&[grown], now()));
    assert!(table.contains("CAPACITY_NOT_ACCEPTED"), "{table}");
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn unclaimed_vms_are_counted_where_not_all_are_named() {
    let shown = |ids: &[&str], unclaimed_vm_count| {
        let mut host = host("b0", true);
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let status = host.status.take().unwrap();
        host.status = Some(HostStatus { unclaimed_vm_ids: ids, unclaimed_vm_count, ..status });
        let detail = plain(&hosts::detail(&host, now()));
        let line = detail.lines().find_map(|line| line.strip_prefix("Unclaimed VMs:"));
        line.map(|line| line.trim().to_owned())
    };
    assert_eq!(shown(&[], 0), None);
    assert_eq!(shown(&["a", "b"], 2).unwrap(), "a, b");
    assert_eq!(shown(&["a", "b"], 16_000).unwrap(), "16000: a, b, and 15998 more");
    // A server that does not count them names all.
    assert_eq!(shown(&["a", "b"], 0).unwrap(), "a, b");
}

fn evaluation() -> PlacementEvaluation {
    let objection = |reason: &str, message: &str| HostObjection {
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    let suits = |name: &str, score| HostVerdict {
        host_id: name.to_owned(),
        host_name: name.to_owned(),
        suitable: true,
        score,
        score_parts: vec![ScorePart { name: "room".to_owned(), value: score }],
        ..HostVerdict::default()
    };
    let full = HostVerdict {
        host_name: "b0".to_owned(),
        objections: vec![
            objection("HOST_CORDONED", "it is cordoned"),
            objection("NO_HOST_HAS_ROOM", "the VM needs 64 vCPUs and 6 are left"),
        ],
        ..HostVerdict::default()
    };
    PlacementEvaluation {
        strategy: PlacementStrategy::Spread.into(),
        chosen_host_id: "b2".to_owned(),
        reason: String::new(),
        hosts: vec![full, suits("b1", 250_000), suits("b2", 750_000)],
        suitable_hosts: 2,
        objections: vec![HostObjectionCount { reason: "HOST_CORDONED".to_owned(), hosts: 1 }],
    }
}

#[test]
fn the_tables_are_as_reviewed() {
    let list = [vm("web", VmState::Running), vm("db", VmState::Crashed), pending()];
    insta::assert_snapshot!("vm_list", plain(&vms::table(&list, now())));
    insta::assert_snapshot!("vm_detail", plain(&vms::detail(&list[0], now())));
    insta::assert_snapshot!("vm_detail_pending", plain(&vms::detail(&list[2], now())));
    let two = [host("b0", true), host("metal", false)];
    insta::assert_snapshot!("host_list", plain(&hosts::table(&two, now())));
    insta::assert_snapshot!("host_detail", plain(&hosts::detail(&two[0], now())));
    let explained = ExplainVmResponse {
        vm: Some(pending()),
        decision: "WAIT".to_owned(),
        reason: "NO_HOST_HAS_ROOM".to_owned(),
        explanation: vec!["No host has 64 vCPUs free.".to_owned(), "b0 has 6.".to_owned()],
        placement: Some(evaluation()),
    };
    insta::assert_snapshot!("vm_explained", plain(&vms::explanation(&explained)));
    let counted = PlacementEvaluation { hosts: Vec::new(), ..evaluation() };
    insta::assert_snapshot!("hosts_counted", plain(&placement::evaluation(&counted)));
    let event =
        |kind: VmEventType, vm: Vm| VmEvent { r#type: kind.into(), revision: 1, vm: Some(vm) };
    let lines = [
        event(VmEventType::Added, pending()),
        event(VmEventType::Modified, vm("web", VmState::Running)),
        event(VmEventType::Removed, vm("web", VmState::Deleted)),
    ];
    let lines: String = lines.iter().map(|e| vms::change_line(e, now())).collect();
    insta::assert_snapshot!("vm_watch", plain(&lines));
}

fn object(kind: &str, name: &str, state: HostObjectState) -> HostObject {
    HostObject {
        kind: kind.to_owned(),
        name: name.to_owned(),
        state: state.into(),
        ..HostObject::default()
    }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn policy() -> Option<SweepPolicy> {
    let grace = seconds(60);
    Some(SweepPolicy { grace, budget_per_hour: 200, budget_left: 199, automatic: false })
}

fn orphan() -> HostObject {
    HostObject { orphan_for: seconds(75), ..object("tap", "bg-a2", HostObjectState::Orphan) }
}

fn stored() -> HostObject {
    HostObject {
        vm_name: "web".to_owned(),
        vm_id: "0192f0c1".to_owned(),
        age: seconds(4000),
        size_bytes: 3 << 30,
        detail: "/vms/0192f0c1/root.cow".to_owned(),
        ..object("loop", "/dev/loop1", HostObjectState::Owned)
    }
}

#[test]
fn an_inventory_is_grouped_by_owner_with_what_nobody_owns_last() {
    let elsewhere = HostObject {
        vm_id: "0192f0c2".to_owned(),
        vm_name: "db".to_owned(),
        claimed_by_host_id: "0192f0b7".to_owned(),
        ..object("jail", "0192f0c2", HostObjectState::ClaimedElsewhere)
    };
    let count = |kind: &str, state: HostObjectState, count| HostObjectCount {
        kind: kind.to_owned(),
        state: state.into(),
        count,
    };
    let inventory = GetHostInventoryResponse {
        objects: vec![orphan(), elsewhere, stored()],
        counts: vec![
            count("tap", HostObjectState::Orphan, 1),
            count("jail", HostObjectState::ClaimedElsewhere, 1),
            count("loop", HostObjectState::Owned, 1),
        ],
        policy: policy(),
        recent_sweeps: vec![SweepRecord {
            time: at(0),
            actor: "ann".to_owned(),
            removed: 3,
            kept: 2,
            ..SweepRecord::default()
        }],
        ..GetHostInventoryResponse::default()
    };
    let shown = plain(&objects::inventory(&inventory)) + &objects::summary(&inventory, now());
    insta::assert_snapshot!(shown, @r"
    OWNER   KIND   NAME         STATE               SIZE   AGE    DETAIL
    web     loop   /dev/loop1   OWNED               3G     1h6m   /vms/0192f0c1/root.cow
    db      jail   0192f0c2     CLAIMED_ELSEWHERE   -      -      placed on host 0192f0b7
    -       tap    bg-a2        ORPHAN              -      -      an orphan for 1m15s
    3 objects, 1 orphan, 1 claimed elsewhere.
    An orphan may go after 1m0s; 199 of 200 removals in an hour are left; the agent removes none on its own.
    Last sweep asked for: 2026-11-22T08:00:00Z (3h12m ago) by ann: 3 removed, 2 kept, 0 failed.
    ");
}

#[test]
fn a_sweep_says_of_each_object_what_became_of_it_and_why() {
    let swept = SweepHostResponse {
        removed: vec![orphan()],
        kept: vec![KeptObject {
            object: Some(object("mount", "/m", HostObjectState::Orphan)),
            reason: KeptReason::MountedByOthers.into(),
            message: String::new(),
        }],
        failed: vec![FailedObject {
            object: Some(stored()),
            message: "detach: busy; loop /dev/loop1 is left behind".to_owned(),
        }],
        not_listed: 2,
        policy: policy(),
        repeated: false,
    };
    let shown = plain(&objects::swept(&swept, false)) + &objects::swept_summary(&swept, false);
    insta::assert_snapshot!(shown, @r"
    OUTCOME   KIND    NAME         VM    SIZE   WHY
    REMOVED   tap     bg-a2        -     -      an orphan for 1m15s
    KEPT      mount   /m           -     -      MOUNTED_BY_OTHERS
    FAILED    loop    /dev/loop1   web   3G     detach: busy; loop /dev/loop1 is left behind
    1 removed, 1 kept, 1 failed. 2 more stay and are not listed.
    An orphan may go after 1m0s; 199 of 200 removals in an hour are left; the agent removes none on its own.
    ");
    let dry = plain(&objects::swept(&swept, true));
    assert!(dry.contains("WOULD REMOVE"), "{dry}");
    let again = SweepHostResponse { repeated: true, ..SweepHostResponse::default() };
    let said = objects::swept_summary(&again, false);
    assert!(said.contains("it was not made again: what it removed is in the inventory"), "{said}");
}

#[test]
fn one_of_something_is_told_as_one() {
    let one = SweepPolicy { budget_per_hour: 1, budget_left: 1, ..policy().unwrap() };
    let swept = SweepHostResponse { not_listed: 1, policy: Some(one), ..Default::default() };
    let said = objects::swept_summary(&swept, false);
    assert!(said.contains("1 more stays and is not listed."), "{said}");
    assert!(said.contains("1 of 1 removal in an hour is left"), "{said}");
    let none = GetHostInventoryResponse::default();
    assert!(objects::summary(&none, now()).starts_with("0 objects, 0 orphans."));
}

#[test]
fn json_and_yaml_are_as_reviewed() {
    let vm = vm("web", VmState::Running);
    insta::assert_snapshot!("vm_json", proto::json(&vm, true).unwrap());
    insta::assert_snapshot!("vm_yaml", proto::yaml(&vm).unwrap());
}

#[test]
fn yaml_and_json_are_the_same_value() {
    let vm = vm("yes", VmState::Running);
    let json: serde_json::Value = serde_json::from_str(&proto::json(&vm, true).unwrap()).unwrap();
    let yaml: serde_json::Value = yaml_serde::from_str(&proto::yaml(&vm).unwrap()).unwrap();
    assert_eq!(json, yaml);
    assert_eq!(proto::from_value::<Vm>(json).unwrap(), vm);
}

#[test]
fn ages_have_two_units_at_most() {
    for (seconds, said) in [
        (-5, "0s"),
        (0, "0s"),
        (59, "59s"),
        (60, "1m0s"),
        (599, "9m59s"),
        (600, "10m"),
        (3600, "1h0m"),
        (86_399, "23h59m"),
        (86_400, "1d"),
        (86_400 * 400, "400d"),
    ] {
        assert_eq!(text::span(seconds), said, "{seconds}");
    }
    assert_eq!(text::age(None, now()), "-");
}

#[test]
fn a_time_that_no_clock_has_is_not_shown() {
    let absurd = Some(Time { seconds: i64::MAX, nanos: 0 });
    assert_eq!(text::age(absurd, now()), "-");
    assert_eq!(text::moment(absurd, now()), None);
}

#[test]
fn text_of_a_server_cannot_steer_the_terminal() {
    assert_eq!(text::clean("a\x1b]0;x\x07b"), "a\\u{1b}]0;x\\u{7}b");
    assert_eq!(text::clean("line\nbreak"), "line break");
    assert_eq!(text::clean("\u{202e}txt"), "\\u{202e}txt");
    let mut hostile = vm("web", VmState::Running);
    hostile.name = "\x1b[2J".to_owned();
    hostile.status.as_mut().unwrap().message = "\x1b[2J".to_owned();
    let shown = vms::table(std::slice::from_ref(&hostile), now()) + &vms::detail(&hostile, now());
    assert!(!shown.contains("\x1b[2J"), "{shown:?}");
}

#[test]
fn a_state_that_is_newer_than_this_command_is_shown_as_its_number() {
    let mut vm = vm("web", VmState::Running);
    vm.status.as_mut().unwrap().state = 99;
    assert!(plain(&vms::table(&[vm], now())).contains("99"));
}

#[test]
fn nothing_in_json_or_yaml_acts_on_a_terminal_and_all_of_it_is_read_back() {
    let evil = "a\u{9b}6n\u{9d}52;c;eA==\u{9c} \u{202e}txt.exe\u{2066} \u{61c}\u{200f}\u{2028}\u{7f}\x1b[6n\t\n\r🦀";
    let mut evil_vm = vm("web", VmState::Running);
    evil_vm.status.as_mut().unwrap().message = evil.to_owned();
    evil_vm.spec.as_mut().unwrap().boot_args = evil.to_owned();
    for text in [
        proto::json(&evil_vm, true).unwrap(),
        proto::json(&evil_vm, false).unwrap(),
        proto::yaml(&evil_vm).unwrap(),
    ] {
        let acting: Vec<char> = text
            .chars()
            .filter(|c| {
                *c != '\n'
                    && (c.is_control()
                        || ('\u{2028}'..='\u{202e}').contains(c)
                        || ['\u{2066}', '\u{61c}', '\u{200f}'].contains(c))
            })
            .collect();
        assert!(acting.is_empty(), "{acting:?} in {text}");
        assert!(text.contains('🦀'), "letters stay letters");
        let value: serde_json::Value = yaml_serde::from_str(&text).unwrap();
        assert_eq!(value["status"]["message"], evil);
        assert_eq!(proto::from_value::<Vm>(value).unwrap(), evil_vm);
    }
    assert!(!text::clean(evil).contains(['\u{9b}', '\u{202e}', '\u{2028}', '\x1b']));
}
