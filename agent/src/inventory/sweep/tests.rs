//! What a sweep decides.

use super::*;
use crate::host::{GuestKey, MountFacts, Pid, ProcessFacts};
use crate::inventory::Target;
use crate::naming::Naming;
use crate::vm::fixtures::vm_id;

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn object(n: u32, target: Target, standing: Standing) -> Object {
    let name = match &target {
        Target::Process(process) => process.pid.to_string(),
        Target::Cgroup(id) | Target::Jail(id) => id.to_string(),
        Target::Tap(tap) => tap.to_string(),
        other => format!("{other:?}"),
    };
    let vm = Some(vm_id(n));
    Object {
        name,
        target,
        vm,
        standing,
        age: None,
        size_bytes: 0,
        in_use: false,
        detail: String::new(),
    }
}

fn names(n: u32) -> crate::naming::VmNames {
    Naming::default().vm(vm_id(n))
}

fn jail(n: u32) -> Object {
    object(n, Target::Jail(names(n).jail), Standing::Orphan)
}

fn tap(n: u32, standing: Standing) -> Object {
    object(n, Target::Tap(names(n).tap), standing)
}

fn process(n: u32) -> Object {
    let facts = ProcessFacts {
        pid: Pid::new(100 + n).unwrap(),
        start_ticks: 1,
        comm: "firecracker".to_owned(),
        zombie: false,
        user: Some(200_002),
        program: Some("firecracker".to_owned()),
        arguments: Vec::new(),
        root: None,
    };
    object(n, Target::Process(facts), Standing::Lost)
}

fn people(claimed: &[u32]) -> Asker {
    let claimed = claimed.iter().map(|n| vm_id(*n)).collect();
    Asker::People { actor: "ann".to_owned(), claimed }
}

/// What became of each: its kind and number of verdict.
fn verdicts(
    objects: &[Object],
    ledger: &Ledger,
    settings: &SweepSettings,
    asker: &Asker,
    now: Moment,
) -> Vec<(Kind, Verdict)> {
    let planned = plan(objects, &Hindrances::new(), ledger, settings, asker, now).into_iter();
    planned.map(|item| (item.object.kind(), item.verdict)).collect()
}

/// Everything was an orphan for long enough.
fn ripe(objects: &[Object]) -> (Ledger, Moment) {
    let mut ledger = Ledger::default();
    ledger.note(objects, at(0));
    (ledger, at(60))
}

#[test]
fn an_orphan_stays_for_its_grace_period_and_says_how_long_it_has_been_one() {
    let (objects, settings) = ([jail(1)], SweepSettings::default());
    let mut ledger = Ledger::default();
    ledger.note(&objects, at(100));
    let of = |ledger: &Ledger, now| verdicts(&objects, ledger, &settings, &people(&[]), now);
    let orphan_for = Duration::from_secs(59);
    let kept = Kept::Grace { orphan_for, grace: settings.grace };
    assert_eq!(kept.to_string(), "an orphan for 59 s; it is removed after 60 s");
    assert_eq!(of(&ledger, at(159)), [(Kind::Jail, Verdict::Keep(kept))]);
    assert_eq!(of(&ledger, at(160)), [(Kind::Jail, Verdict::Remove)]);
}

#[test]
fn what_finds_an_owner_or_becomes_another_object_begins_its_grace_anew() {
    let mut ledger = Ledger::default();
    ledger.note(&[jail(1), jail(2)], at(0));
    ledger.note(&[jail(2), tap(1, Standing::Owned)], at(30));
    ledger.note(&[jail(1), jail(2)], at(60));
    assert_eq!(ledger.orphan_for(&jail(1), at(60)), Some(Duration::ZERO));
    assert_eq!(ledger.orphan_for(&jail(2), at(60)), Some(Duration::from_secs(60)));
    assert_eq!(ledger.orphan_for(&tap(1, Standing::Owned), at(60)), None);
}

#[test]
fn the_budget_bounds_every_hour_and_comes_back_removal_by_removal() {
    let settings = SweepSettings { budget_per_hour: 3, ..SweepSettings::default() };
    let objects: Vec<Object> = (0..5).map(jail).collect();
    let (mut ledger, now) = ripe(&objects);
    let removed = |ledger: &Ledger, now| {
        let planned = verdicts(&objects, ledger, &settings, &Asker::Timer, now);
        planned.iter().filter(|(_, verdict)| *verdict == Verdict::Remove).count()
    };
    assert_eq!(removed(&ledger, now), 3);
    ledger.spend(at(60));
    ledger.spend(at(1860));
    assert_eq!((ledger.left(&settings, at(1860)), removed(&ledger, at(1860))), (1, 1));
    ledger.spend(at(1861));
    let planned = verdicts(&objects, &ledger, &settings, &people(&[]), at(1862));
    let spent = Verdict::Keep(Kept::Budget { per_hour: 3 });
    assert!(planned.iter().all(|(_, verdict)| *verdict == spent), "{planned:?}");
    assert_eq!(ledger.left(&settings, at(3660)), 1, "an hour after the first");
    assert_eq!(ledger.left(&settings, at(5461)), 3);
    let none = SweepSettings { budget_per_hour: 0, ..settings };
    assert_eq!(ledger.left(&none, at(9999)), 0);
}

#[test]
fn a_jail_and_its_control_group_go_together_or_stay_together() {
    let group = object(1, Target::Cgroup(names(1).jail), Standing::Orphan);
    let both = [group.clone(), jail(1)];
    let settings = SweepSettings::default();
    // The directory came later.
    let mut ledger = Ledger::default();
    ledger.note(&both[..1], at(0));
    ledger.note(&both, at(30));
    let planned = verdicts(&both, &ledger, &settings, &Asker::Timer, at(60));
    assert!(planned.iter().all(|(_, verdict)| *verdict != Verdict::Remove), "{planned:?}");
    // There is budget for one only.
    let one = SweepSettings { budget_per_hour: 1, ..settings };
    let planned = verdicts(&both, &ledger, &one, &Asker::Timer, at(90));
    let spent = Verdict::Keep(Kept::Budget { per_hour: 1 });
    assert_eq!(planned, [(Kind::Cgroup, spent.clone()), (Kind::Jail, spent)]);
    let planned = verdicts(&both, &ledger, &settings, &Asker::Timer, at(90));
    assert_eq!(planned, [(Kind::Cgroup, Verdict::Remove), (Kind::Jail, Verdict::Remove)]);
}

#[test]
fn what_somebody_owns_or_shares_is_never_in_a_plan() {
    let objects =
        [tap(1, Standing::Owned), tap(2, Standing::Leaving), tap(3, Standing::Shared), process(4)];
    let (ledger, now) = ripe(&objects);
    let settings = SweepSettings::default();
    assert_eq!(verdicts(&objects, &ledger, &settings, &Asker::Timer, now), []);
    let planned = verdicts(&objects, &ledger, &settings, &people(&[]), now);
    assert_eq!(planned, [(Kind::Process, Verdict::Remove)], "people may end a lost process");
}

#[test]
fn what_the_server_knows_or_nobody_can_tell_stays_and_so_does_all_beside_a_process_that_stays() {
    let unclear = || Standing::Unclear("its root cannot be read".to_owned());
    let objects = [
        Object { standing: unclear(), ..process(1) },
        tap(1, unclear()),
        process(2),
        tap(2, Standing::Lost),
        tap(3, Standing::Orphan),
    ];
    let (mut ledger, now) = ripe(&objects);
    let settings = SweepSettings::default();
    let planned = verdicts(&objects, &ledger, &settings, &people(&[3]), now);
    let kept = |kind, kept| (kind, Verdict::Keep(kept));
    let why = || "its root cannot be read".to_owned();
    assert_eq!(
        planned,
        [
            kept(Kind::Process, Kept::Unclear(why())),
            (Kind::Process, Verdict::Remove),
            kept(Kind::Tap, Kept::Unclear(why())),
            (Kind::Tap, Verdict::Remove),
            kept(Kind::Tap, Kept::Claimed),
        ]
    );
    // The process is young, its tap is old.
    ledger.note(&[tap(2, Standing::Lost)], at(60));
    ledger.note(&objects, at(61));
    let planned = verdicts(&objects[2..4], &ledger, &settings, &people(&[]), at(100));
    assert!(matches!(planned[0].1, Verdict::Keep(Kept::Grace { .. })), "{planned:?}");
    assert!(matches!(planned[1].1, Verdict::Keep(Kept::ProcessStays(_))), "{planned:?}");
}

#[test]
fn a_mount_stays_and_keeps_the_directories_it_lies_in() {
    let inside = names(1).jail;
    let mount = MountFacts { path: "/jails/x/mnt".into(), inside };
    let objects = [
        jail(1),
        object(1, Target::Mount(mount), Standing::Orphan),
        tap(1, Standing::Orphan),
        object(2, Target::Rule(GuestKey::new("x").unwrap()), Standing::Orphan),
    ];
    let (ledger, now) = ripe(&objects);
    let planned = verdicts(&objects, &ledger, &SweepSettings::default(), &Asker::Timer, now);
    assert_eq!(
        planned,
        [
            (Kind::Jail, Verdict::Keep(Kept::Mounted)),
            (Kind::Mount, Verdict::Keep(Kept::Mounted)),
            (Kind::Rule, Verdict::Remove),
            (Kind::Tap, Verdict::Remove),
        ]
    );
}

#[test]
fn a_dry_run_and_a_sweep_are_one_plan_whose_order_is_that_of_removal() {
    let mut objects = vec![
        tap(1, Standing::Lost),
        jail(1),
        process(1),
        object(1, Target::Directory(names(1).dir), Standing::Lost),
    ];
    objects[1].standing = Standing::Lost;
    let (ledger, now) = ripe(&objects);
    let planned = verdicts(&objects, &ledger, &SweepSettings::default(), &people(&[]), now);
    let kinds: Vec<Kind> = planned.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Process, Kind::Jail, Kind::Tap, Kind::Directory]);
}

#[test]
fn what_something_has_open_stays_with_the_rest_of_its_vm_unless_its_process_goes_too() {
    let open = Object { in_use: true, ..tap(1, Standing::Lost) };
    let objects = [jail(1), open.clone(), tap(2, Standing::Orphan)];
    let (ledger, now) = ripe(&objects);
    let settings = SweepSettings::default();
    let of = |objects: &[Object], ledger: &Ledger| {
        verdicts(objects, ledger, &settings, &people(&[]), now)
    };
    let found = of(&objects, &ledger);
    let stays = |verdict: &Verdict| matches!(verdict, Verdict::Keep(Kept::ProcessStays(_)));
    assert!(stays(&found[0].1) && stays(&found[1].1), "{found:?}");
    assert_eq!(found[2], (Kind::Tap, Verdict::Remove), "another VM's");

    let with_process = [process(1), jail(1), open];
    let (ledger, _) = ripe(&with_process);
    let found = of(&with_process, &ledger);
    assert!(found.iter().all(|(_, verdict)| *verdict == Verdict::Remove), "{found:?}");
}

#[test]
fn a_hindrance_that_was_seen_is_the_verdict_and_costs_no_budget() {
    let objects = [tap(1, Standing::Orphan), tap(2, Standing::Orphan)];
    let (ledger, now) = ripe(&objects);
    let settings = SweepSettings { budget_per_hour: 1, ..SweepSettings::default() };
    let hindrances = Hindrances::from([(objects[0].key(), Kept::FoundOwner)]);
    let planned = plan(&objects, &hindrances, &ledger, &settings, &people(&[]), now);
    let verdicts: Vec<_> = planned.into_iter().map(|item| item.verdict).collect();
    assert_eq!(verdicts, [Verdict::Keep(Kept::FoundOwner), Verdict::Remove]);
}
