//! What wakes the search for hosts.

use std::pin::pin;
use std::task::{Context, Waker};

use banger_proto::ids::Generation;

use super::*;
use crate::model::affinity::AffinityDraft;
use crate::model::fixtures::{project, spec_with};
use crate::model::placement::NoHost;

/// Whether the search has been woken since it was asked last.
fn is_woken(view: &View) -> bool {
    let wake = pin!(view.placement_wake());
    wake.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

fn waiting(number: u32, why: NoHost) -> VmIntent {
    VmIntent { host: None, net: None, pending: Some(why), ..intent(number) }
}

#[test]
fn a_vm_that_gives_way_to_others_wakes_the_search_and_one_that_was_just_tried_does_not() {
    let view = view();
    with_host(&view);
    assert!(is_woken(&view) && !is_woken(&view));
    put(&view, &waiting(1, NoHost::NoneHasRoom));
    assert!(!is_woken(&view));
    put(&view, &waiting(2, NoHost::OthersFirst));
    assert!(is_woken(&view));
}

#[test]
fn a_vm_that_shrinks_or_gets_other_labels_wakes_the_search_and_one_that_grows_does_not() {
    let view = view();
    with_host(&view);
    let sized = |generation, memory, app: &str| VmIntent {
        spec: spec_with(|draft| {
            draft.memory_mib = memory;
            drop(draft.labels.insert("app".to_owned(), app.to_owned()));
        }),
        generation: Generation(generation),
        ..intent(1)
    };
    put(&view, &sized(1, 512, "web"));
    put(&view, &waiting(2, NoHost::NoneHasRoom));
    assert!(is_woken(&view));
    for (generation, memory, app, wakes) in
        [(2, 1024, "web", false), (3, 256, "web", true), (4, 256, "db", true)]
    {
        put(&view, &sized(generation, memory, app));
        assert_eq!(is_woken(&view), wakes, "{generation}");
    }
    put(&view, &VmIntent { pending: None, ..intent(2) });
    put(&view, &sized(5, 128, "web"));
    assert!(!is_woken(&view), "nobody waits");
}

#[test]
fn a_vm_that_gets_a_host_wakes_the_search_where_another_waits_to_be_near_it() {
    let view = view();
    with_host(&view);
    assert!(is_woken(&view));
    let near = |weight| {
        let rule =
            AffinityDraft { vm_selector: "app=db".to_owned(), weight, ..AffinityDraft::default() };
        let spec = spec_with(|draft| draft.affinity = vec![rule]);
        VmIntent { spec, ..waiting(1, NoHost::NoneMeetsAffinity) }
    };
    let db = |number| VmIntent { spec: spec(&[("app", "db")]), ..intent(number) };
    put(&view, &near(1));
    put(&view, &db(2));
    assert!(!is_woken(&view), "a soft rule keeps nobody waiting");
    put(&view, &VmIntent { generation: Generation(2), ..near(0) });
    put(&view, &VmIntent { project: project("lab"), ..db(3) });
    put(&view, &intent(4));
    assert!(!is_woken(&view), "of another project, and without labels");
    put(&view, &VmIntent { spec: db(5).spec, ..waiting(5, NoHost::NoneHasRoom) });
    assert!(!is_woken(&view));
    put(&view, &db(5));
    assert!(is_woken(&view), "bound");
    put(&view, &db(6));
    assert!(is_woken(&view), "new");
    forget(&view, &near(0));
    assert!(!is_woken(&view));
    put(&view, &db(7));
    assert!(!is_woken(&view));
}
