use std::time::Duration;

use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::model::caller::ProjectRole;
use crate::model::fixtures::{caller, caller_of, project, project_record};

fn quota(name: &str, quota: Quota) -> Change {
    Change::put(Arc::new(ProjectRecord { quota, ..(*project_record(name)).clone() }))
}

fn developer(name: &str) -> Caller {
    caller_of(name, ProjectRole::Developer)
}

fn opened(parties: &Parties, caller: &Caller, kind: Lasting) -> Vec<OpenCall> {
    let mut held = Vec::new();
    while let Ok(call) = parties.open(caller, kind) {
        held.push(call);
        assert!(held.len() <= 20_000, "nothing bounds {}", caller.actor);
    }
    held
}

#[test]
fn each_project_has_as_many_open_as_its_quota_says_and_keeps_out_nobody() {
    let parties = Parties::default();
    parties.bound(ProjectBounds { watches: 5, streams: 4, calls_per_second: 0 });
    parties.committed(&[quota("shop", Quota { watches: 2, streams: 9, ..Quota::default() })]);
    let (shop, lab) = (developer("shop"), developer("lab"));
    let held = [
        opened(&parties, &shop, Lasting::Watch),
        opened(&parties, &shop, Lasting::Stream),
        opened(&parties, &lab, Lasting::Watch),
        opened(&parties, &lab, Lasting::Stream),
    ];
    assert_eq!(held.each_ref().map(Vec::len), [2, 9, 5, 4]);
    let now = Instant::now();
    let used = CallUse { watches: 2, streams: 9, calls: 0 };
    assert_eq!(parties.used(&project("shop"), now), used);
    let refused = parties.open(&shop, Lasting::Watch).expect_err("it has all it may have");
    let reason = refused.get_details_error_info().map(|info| info.reason);
    assert_eq!(
        (refused.code(), reason.as_deref()),
        (Code::ResourceExhausted, Some("QUOTA_EXCEEDED"))
    );
    assert!(refused.message().contains("2 of 2 watches of project shop"), "{refused:?}");
    // Another of the project is of it, and a principal of the fleet is a party alone.
    let bob = Caller { actor: "shop/bob".into(), ..shop.clone() };
    assert!(parties.open(&bob, Lasting::Watch).is_err());
    drop(parties.open(&caller(), Lasting::Watch).expect("the fleet's"));
    drop(held);
    assert_eq!(parties.used(&project("shop"), now), CallUse::default());
    assert_eq!(parties.0.open.lock().len(), 0, "nothing is kept of who has nothing open");

    // One that goes leaves its quota to nobody.
    let gone = Change::remove(project_record("shop"), crate::model::fixtures::at(1));
    parties.committed(&[gone]);
    assert_eq!(opened(&parties, &shop, Lasting::Watch).len(), 5);
    parties.bound(ProjectBounds::default());
    let many: Vec<_> = (0..6000).map(|_| parties.open(&lab, Lasting::Watch)).collect();
    assert!(many.iter().all(Result::is_ok), "0 bounds nothing");
}

#[test]
fn a_principal_of_the_fleet_has_a_bound_of_its_own() {
    let parties = Parties::default();
    let (ann, bob) = (caller(), Caller { actor: "bob".into(), ..caller() });
    let held = opened(&parties, &ann, Lasting::Stream);
    assert_eq!(held.len(), 512);
    let refused = parties.open(&ann, Lasting::Stream).expect_err("all it may have");
    let reason = refused.get_details_error_info().map(|info| info.reason);
    assert_eq!(reason.as_deref(), Some("LIMIT_REACHED"));
    assert!(parties.open(&bob, Lasting::Stream).is_ok());
}

#[test]
fn a_projects_quota_says_how_often_it_may_call() {
    let parties = Parties::default();
    parties.bound(ProjectBounds { calls_per_second: 3, ..ProjectBounds::default() });
    parties.committed(&[quota("shop", Quota { calls_per_second: 1, ..Quota::default() })]);
    let start = Instant::now();
    let calls = |name: &str| {
        let caller = developer(name);
        (0..1000).take_while(|_| parties.count_call(&caller, start).is_ok()).count()
    };
    assert_eq!((calls("shop"), calls("lab")), (10, 30), "each ten times as many after a rest");
    let later = start + Duration::from_secs(1);
    assert_eq!(parties.used(&project("lab"), later).calls, 31, "those that were refused, too");
    assert_eq!(parties.used(&project("lab"), later + Duration::from_secs(1)).calls, 0);
    parties.committed(&[quota("shop", Quota { calls_per_second: 5, ..Quota::default() })]);
    let caller = developer("shop");
    let more = (0..1000).take_while(|_| parties.count_call(&caller, later).is_ok()).count();
    assert_eq!(more, 5, "from now on");
}
