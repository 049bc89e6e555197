//! How many requests that were done are remembered, and of whom.

use std::time::Duration;

use super::projects::{developer, make_as, vm_of, with_projects};
use super::*;
use crate::model::caller::{Grants, Role};
use crate::model::request::{RequestId, RequestKey};

#[test]
fn requests_of_one_party_leave_room_for_those_of_others_to_be_remembered() {
    let mut ledger = with_projects();
    ledger.config.max_requests = 1000;
    let (shop, lab) = (developer("shop"), developer("lab"));
    vm(make_as(&mut ledger, &shop, vm_of(1, "", "shop")));
    vm(make_as(&mut ledger, &lab, vm_of(2, "", "lab")));
    // Stopped again and again, each time by a request of its own: nothing changes but the first.
    let stop = |ledger: &mut Ledger, caller: &Caller, vm: u128, number: u128| {
        let power = Power::Stop { grace: Duration::ZERO };
        let wish = SetPower { vm: VmRef::Id(vm_id(vm)), etag: None, power };
        let id = RequestId(uuid::Uuid::from_u128(number));
        let key = RequestKey { id, fingerprint: [1; 32] };
        let decided = ledger.decide_once(caller, &wish.into(), Some(&key))?;
        ledger.apply(&decided.changes);
        Ok::<_, Refusal>(())
    };
    let kept = (1..2000).take_while(|n| stop(&mut ledger, &shop, 1, *n).is_ok()).count();
    assert_eq!(kept, 190, "a fifth of what is for all");
    let full = Refusal::RequestShareFull { whose: "project shop".to_owned() };
    assert_eq!(stop(&mut ledger, &shop, 1, 5000), Err(full));
    assert_eq!(stop(&mut ledger, &shop, 1, 7), Ok(()), "a repetition is remembered already");
    for number in 10_000..10_100 {
        assert_eq!(stop(&mut ledger, &lab, 2, number), Ok(()), "another project's");
    }
    // Whoever is no admin of the fleet has a share, and admins have what there is.
    let ops = Caller { actor: "ops".into(), grants: Grants::fleet(Role::Operator), ..caller() };
    let kept = (20_000..30_000).take_while(|n| stop(&mut ledger, &ops, 1, *n).is_ok()).count();
    assert!((100..200).contains(&kept), "{kept}");
    let kept = (30_000..40_000).take_while(|n| stop(&mut ledger, &caller(), 1, *n).is_ok()).count();
    assert_eq!(ledger.request_room().records, 1000, "{kept}");
    let full = Refusal::RequestsFull { limit: 1000 };
    assert_eq!(stop(&mut ledger, &caller(), 1, 50_000), Err(full));
}
