//! What a later life of the server knows of what came and went.

use super::*;
use crate::model::past::{GoneThing, Past, PastCommit, Thing};

/// A store whose table gives every change of a VM or host one revision.
fn counting(open: OpenStore) -> Store {
    let at = Mutex::new(Revision(open.revisions().start));
    let sink = move |changes: &[Change]| {
        let mut at = at.lock();
        let before = *at;
        let shown = |change: &&Change| matches!(change, Change::Vm(_) | Change::Host(_));
        at.0 += changes.iter().filter(shown).count() as u64;
        before..*at
    };
    open.start(Arc::new(sink), Arc::new(|_| {}))
}

async fn does(store: &Store, mutation: AnyMutation) {
    store.submit(caller(), mutation).await.expect("done");
}

fn of(past: &Past, thing: Thing) -> (Vec<&PastCommit>, Vec<&PastCommit>) {
    let made = past.commits.iter().filter(|commit| commit.made.contains(&thing)).collect();
    let is_gone = |gone: &GoneThing| gone.thing == thing;
    let gone = past.commits.iter().filter(|commit| commit.gone.iter().any(is_gone)).collect();
    (made, gone)
}

#[tokio::test]
async fn what_came_and_went_is_known_in_later_lives_with_the_revisions_between_which_it_was_told() {
    let directory = TempDir::new().expect("a directory");
    let open = open_in(&directory).await;
    assert_eq!(open.past().commits, []);
    let first = Revision(open.revisions().start);
    assert!(open.past().floor <= first && open.past().epoch_floor == Revision(0));
    let store = counting(open);
    for number in 1..=2 {
        does(&store, AnyMutation::CreateVm(create(number, &format!("vm-{number}")))).await;
    }
    does(&store, delete(2)).await;
    store.close().await;
    for _ in 0..2 {
        let open = open_in(&directory).await;
        let past = open.past().clone();
        let (made, gone) = of(&past, Thing::Vm(vm_id(2)));
        assert_eq!((made.len(), gone.len()), (1, 1), "{past:?}");
        assert_eq!((made[0].before, made[0].after), (first.next(), first.next().next()));
        assert!(gone[0].after > gone[0].before, "{past:?}");
        assert_eq!(gone[0].gone[0].name, "vm-2");
        assert!(gone[0].gone[0].project.is_some());
        assert_eq!(of(&past, Thing::Vm(vm_id(1))).1.len(), 0);
        assert!(past.floor <= first, "{past:?}");
        counting(open).close().await;
    }
}

#[tokio::test]
async fn a_server_that_is_killed_leaves_its_last_commit_between_two_lives_and_no_other() {
    let directory = TempDir::new().expect("a directory");
    let store = counting(open_in(&directory).await);
    does(&store, AnyMutation::CreateVm(create(1, "one"))).await;
    does(&store, AnyMutation::CreateVm(create(2, "two"))).await;
    let killed = TempDir::new().expect("a directory");
    for file in ["banger.db", "banger.db-wal"] {
        fs::copy(directory.path().join(file), killed.path().join(file)).expect("copied");
    }
    let open = open_in(&killed).await;
    let next = Revision(open.revisions().start);
    let commit = |number| {
        let (made, _) = of(open.past(), Thing::Vm(vm_id(number)));
        (made[0].before, made[0].after)
    };
    let (one, two) = (commit(1), commit(2));
    assert_eq!(one.1.0, one.0.0 + 1, "written along with the second");
    assert_eq!(two, (one.1, next), "nobody knows where in between");
    store.close().await;
}

#[tokio::test]
async fn a_new_epoch_lets_nobody_go_on_from_before_it() {
    let fixture = fixture().await;
    fixture.add_vm(1, "web").await;
    fixture.store.close().await;
    raise_epoch(&database(&fixture.directory), at(0)).await.expect("raised");
    let open = open_in(&fixture.directory).await;
    let first = Revision(open.revisions().start);
    let past = Past { epoch_floor: first, floor: first, commits: Vec::new() };
    assert_eq!(*open.past(), past);
}
