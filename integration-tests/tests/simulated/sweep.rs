//! What is on a host, whose it is, and what a sweep makes of it: through the public API.

use std::collections::BTreeSet;

use banger_integration_tests::fleet::Fleet;
use banger_integration_tests::specs::create;
use banger_integration_tests::wait::until;
use banger_proto::v1;
use serde_json::{Value, json};
use tonic::Code;

/// A VM that nobody knows, and the names of its objects for the instance `t0`: naming.rs.
const LOST: &str = "0193a7e2-3f40-7c21-9d5e-0000000000aa";

/// Changes the simulated machine of a stopped agent behind its back.
fn stage(fleet: &Fleet, change: impl FnOnce(&mut Value)) {
    let path = fleet.dir().join("host-0.state").join("simulated-kernel.json");
    let text = std::fs::read_to_string(&path).expect("the machine was saved");
    let mut machine: Value = serde_json::from_str(&text).expect("it is JSON");
    change(&mut machine);
    std::fs::write(&path, machine.to_string()).expect("it can be written");
}

fn configure(fleet: &Fleet, text: &str) {
    std::fs::write(fleet.dir().join("host-0.toml"), text).expect("it can be written");
}

/// Leftovers of a VM that nobody knows, and things that only look like some.
fn plant(machine: &mut Value) {
    let tap = json!({
        "index": 900,
        "kind": {"Tap": {"owner_uid": 0, "master": null, "up": true, "open": null}}
    });
    for name in ["t0-aaaaaaaaaaaa", "t0-tap0", "zz-aaaaaaaaaaaa"] {
        machine["links"][name] = tap.clone();
    }
    let rule = json!({"tap": "t0-bbbbbbbbbbbb", "address": "10.64.0.9", "nat": true});
    machine["rules"][LOST] = rule.clone();
    machine["rules"]["theirs"] = rule;
    let jail = json!({
        "root": null, "uid": 0, "entries": {}, "cgroup": true, "api_link": "Ours",
        "vsock_link": true, "socket": null, "pidfile": null
    });
    machine["jails"][LOST] = jail.clone();
    machine["jails"]["theirs"] = jail;
}

async fn inventory(fleet: &Fleet, only_unowned: bool) -> v1::GetHostInventoryResponse {
    // The server may not have noticed yet that the agent was away, or is back.
    until("the host is listed", || async {
        asked(fleet, only_unowned).await.map_err(|error| format!("{error:?}"))
    })
    .await
}

async fn asked(
    fleet: &Fleet,
    only_unowned: bool,
) -> Result<v1::GetHostInventoryResponse, tonic::Status> {
    let request = v1::GetHostInventoryRequest {
        host: "host-0".to_owned(),
        only_unowned,
        ..Default::default()
    };
    fleet.hosts().get_host_inventory(request).await.map(tonic::Response::into_inner)
}

async fn sweep(fleet: &Fleet, dry_run: bool) -> v1::SweepHostResponse {
    let request = v1::SweepHostRequest { host: "host-0".to_owned(), dry_run, ..Default::default() };
    fleet.hosts().sweep_host(request).await.expect("it answers").into_inner()
}

fn named<'a>(objects: impl IntoIterator<Item = &'a v1::HostObject>) -> BTreeSet<String> {
    objects.into_iter().map(|object| format!("{} {}", object.kind, object.name)).collect()
}

fn leftovers() -> BTreeSet<String> {
    BTreeSet::from([
        "tap t0-aaaaaaaaaaaa".to_owned(),
        format!("rule banger:t0:{LOST}"),
        format!("cgroup {LOST}"),
        format!("jail {LOST}"),
    ])
}

#[tokio::test]
async fn sweep_leftovers_are_shown_as_orphans_and_a_sweep_takes_them_and_nothing_else() {
    let mut fleet = Fleet::of(1).await;
    let vm = fleet.create(create("web")).await;
    fleet.until_state("web", v1::VmState::Running).await;
    fleet.stop_agent(0);
    configure(&fleet, "[sweep]\ngrace_secs = 1\nautomatic = false\nbudget_per_hour = 5\n");
    stage(&fleet, plant);
    fleet.start_agent(0);
    fleet.until_state("web", v1::VmState::Running).await;

    let all = inventory(&fleet, false).await;
    let of_the_vm: Vec<_> = all.objects.iter().filter(|object| object.vm_id == vm.id).collect();
    let kinds: BTreeSet<&str> = of_the_vm.iter().map(|object| object.kind.as_str()).collect();
    let whole = ["process", "cgroup", "jail", "rule", "tap", "dm", "loop", "directory"].into();
    assert_eq!(kinds, whole, "{of_the_vm:#?}");
    for object in of_the_vm {
        assert_eq!(object.state(), v1::HostObjectState::Owned, "{object:#?}");
        assert_eq!(object.vm_name, "web");
        assert_eq!(object.orphan_for, None);
    }
    let orphans = inventory(&fleet, true).await.objects;
    assert_eq!(named(&orphans), leftovers());
    assert!(orphans.iter().all(|object| object.state() == v1::HostObjectState::Orphan));
    let policy = all.policy.expect("has one");
    assert_eq!((policy.budget_per_hour, policy.budget_left, policy.automatic), (5, 5, false));
    assert_eq!(policy.grace.expect("has one").seconds, 1);

    let dry = until("the grace period is over", || async {
        let dry = sweep(&fleet, true).await;
        if dry.kept.is_empty() { Ok(dry) } else { Err(format!("{dry:#?}")) }
    })
    .await;
    assert_eq!(named(&dry.removed), leftovers());
    assert_eq!(named(&inventory(&fleet, true).await.objects), leftovers(), "nothing went");
    let swept = sweep(&fleet, false).await;
    assert_eq!(named(&swept.removed), leftovers());
    assert_eq!((swept.kept.len(), swept.failed.len()), (0, 0), "{swept:#?}");
    assert_eq!(swept.policy.expect("has one").budget_left, 1);

    let after = inventory(&fleet, false).await;
    let owned = |objects: &[v1::HostObject]| {
        named(objects.iter().filter(|object| object.state() == v1::HostObjectState::Owned))
    };
    assert_eq!(owned(&after.objects), owned(&all.objects), "the VM has what it had");
    assert!(after.objects.iter().all(|object| object.state() != v1::HostObjectState::Orphan));
    let record = &after.recent_sweeps[0];
    assert_eq!((&*record.actor, record.removed, record.failed), ("local", 4, 0), "{record:#?}");
    // The things like ours are still there.
    fleet.stop_agent(0);
    stage(&fleet, |machine| {
        for name in ["t0-tap0", "zz-aaaaaaaaaaaa"] {
            assert!(machine["links"][name].is_object(), "{name} is gone");
        }
        assert!(machine["rules"]["theirs"].is_object() && machine["jails"]["theirs"].is_object());
        assert!(machine["links"]["t0-aaaaaaaaaaaa"].is_null());
        assert!(machine["rules"][LOST].is_null() && machine["jails"][LOST].is_null());
    });
}

#[tokio::test]
async fn sweep_an_agent_removes_orphans_by_itself_when_it_may() {
    let mut fleet = Fleet::of(1).await;
    fleet.stop_agent(0);
    configure(&fleet, "[sweep]\ngrace_secs = 1\ninterval_secs = 1\n");
    stage(&fleet, plant);
    fleet.start_agent(0);
    fleet.until_host("host-0", v1::HostState::Online).await;
    until("the orphans are gone", || async {
        let found = asked(&fleet, true).await.map_err(|error| format!("{error:?}"))?;
        let spent = found.policy.is_some_and(|policy| policy.budget_left == 200 - 4);
        if found.objects.is_empty() && spent { Ok(()) } else { Err(format!("{found:#?}")) }
    })
    .await;
    assert!(inventory(&fleet, true).await.recent_sweeps.is_empty(), "nobody asked");
}

#[tokio::test]
async fn sweep_a_host_that_is_away_has_no_inventory_and_says_so() {
    let mut fleet = Fleet::of(1).await;
    fleet.kill_agent(0);
    let error = until("the server has noticed", || async {
        let request =
            v1::GetHostInventoryRequest { host: "host-0".to_owned(), ..Default::default() };
        match fleet.hosts().get_host_inventory(request).await {
            Err(error) => Ok(error),
            Ok(answer) => Err(format!("{answer:#?}")),
        }
    })
    .await;
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    assert!(error.message().contains("host-0"), "{error:?}");
    let request =
        v1::SweepHostRequest { host: "host-0".to_owned(), dry_run: false, ..Default::default() };
    let error = fleet.hosts().sweep_host(request).await.expect_err("nobody is there");
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
}
