//! What wakes the search for hosts.

use std::pin::pin;
use std::task::{Context, Waker};

use super::*;
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
