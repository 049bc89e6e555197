//! Shares of pools, by account.

use super::*;

fn account(name: &str) -> Account {
    Account(name.into())
}

#[test]
fn what_is_held_is_bounded_and_given_back() {
    let pool = Pool::of(100);
    let (mut one, mut two) = (pool.share(None, None), pool.share(None, None));
    one.grow(60).expect("there is room");
    two.grow(41).expect_err("there is none");
    two.grow(40).expect("there is");
    two.grow(usize::MAX).expect_err("no overflow");
    drop(one);
    two.grow(60).expect("it was given back");
    drop(two);
    assert_eq!(pool.held(), 0);
}

#[test]
fn one_account_has_its_share_and_the_others_theirs() {
    let pool = Pool::new(Limits { all: 100, share: 40, always: 0 });
    let (eve, ann) = (account("eve"), account("ann"));
    let mut of_eve = [pool.share(Some(&eve), None), pool.share(Some(&eve), None)];
    of_eve[0].grow(30).expect("it is within the share");
    assert_eq!(of_eve[1].grow(11), Err(Full { limit: 40 }), "its calls have one share together");
    of_eve[1].grow(10).expect("it is");
    assert_eq!(of_eve[0].has_room(), Err(Full { limit: 40 }));
    let mut of_ann = pool.share(Some(&ann), None);
    assert_eq!(of_ann.has_room(), Ok(()));
    of_ann.grow(40).expect("the share of another");
    let part = of_ann.split(15);
    drop(of_ann);
    assert_eq!(pool.held(), 55);
    drop((part, of_eve));
    assert_eq!(pool.held(), 0);
}

#[test]
fn however_many_fill_what_all_have_little_of_each_has_room() {
    let pool = Pool::new(Limits { all: 60, share: 40, always: 10 });
    let names = ["a", "b", "c", "d"].map(account);
    let mut shares = names.each_ref().map(|name| pool.share(Some(name), None));
    for (share, grows) in shares.iter_mut().zip([40, 40, 10, 10]) {
        share.grow(grows).expect("it fits");
    }
    assert_eq!(shares[2].grow(1), Err(Full { limit: 60 }), "what all have is full");
    let late = account("late");
    let mut late = pool.share(Some(&late), None);
    assert_eq!(late.grow(11), Err(Full { limit: 60 }));
    late.grow(10).expect("it has that always");
    // What does not fit and is taken all the same is given back as the rest.
    late.grow_anyway(100);
    assert!(late.has_room().is_err());
    drop((late, shares));
    assert_eq!((pool.held(), pool.held.lock().common), (0, 0));
}
