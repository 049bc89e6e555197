use std::net::SocketAddr;

use super::*;
use crate::model::caller::CallOf;
use crate::model::fixtures::at;

fn caller(actor: &str, peer: &str) -> Caller {
    let peer: SocketAddr = format!("{peer}:4711").parse().expect("an address");
    let call = CallOf { method: "banger.v1.VmService/GetVm", peer: Some(peer) };
    Caller { actor: actor.into(), call: Some(call.into()), ..crate::model::fixtures::caller() }
}

fn denied() -> Status {
    crate::api::status::token_invalid("no bearer token was given")
}

fn refuse(refusals: &Refusals, times: u32, peer: &str, second: i64) {
    for _ in 0..times {
        refusals.note(&caller("anonymous", peer), false, at(second), &denied());
    }
}

#[test]
fn a_refused_call_is_a_record_with_who_where_from_and_why() {
    let refusals = Refusals::default();
    refuse(&refusals, 1, "192.0.2.1", 3);
    let [record] = &refusals.take(at(3))[..] else { panic!("one") };
    assert_eq!((&*record.principal, &*record.peer), ("anonymous", "192.0.2.1:4711"));
    assert_eq!((record.step, record.at), (AuditStep::Refused, at(3)));
    let outcome = (&*record.outcome.code, &*record.outcome.reason);
    assert_eq!(outcome, ("UNAUTHENTICATED", "TOKEN_INVALID"));
    assert!(refusals.take(at(4)).is_empty(), "once");
}

#[test]
fn what_is_not_refused_for_who_asked_is_no_record() {
    let refusals = Refusals::default();
    let eve = caller("eve", "192.0.2.1");
    refusals.note(&eve, true, at(0), &Status::not_found("no"));
    // What a registry or a guest denies to the server, or to whoever may ask.
    let denied_elsewhere = crate::api::status::error(
        tonic::Code::PermissionDenied,
        ErrorReason::ImageSourceDenied,
        "the registry wants a user",
    );
    refusals.note(&eve, true, at(0), &denied_elsewhere);
    let unlisted = Caller { call: None, ..eve };
    refusals.note(&unlisted, true, at(0), &denied());
    assert!(refusals.take_all(at(0)).is_empty());
}

#[test]
fn one_peer_has_few_records_a_minute_and_the_rest_is_a_number() {
    let refusals = Refusals::default();
    refuse(&refusals, 1000, "192.0.2.1", 0);
    refuse(&refusals, 1, "192.0.2.2", 1);
    let first = refusals.take(at(1));
    assert_eq!(first.len(), OF_ONE as usize + 1, "another peer is not pushed out");
    assert!(refusals.take(at(59)).is_empty(), "its minute is not over");
    let [told] = &refusals.take(at(60))[..] else { panic!("one line") };
    assert_eq!(told.step, AuditStep::LeftOut(1000 - u64::from(OF_ONE)));
    assert!(told.is_a_strangers(), "{told:?}");
    refuse(&refusals, 1, "192.0.2.1", 61);
    assert_eq!(refusals.take(at(61)).len(), 1, "another minute");
}

#[test]
fn many_strangers_have_few_records_together_and_push_out_nobody_who_is_known() {
    let refusals = Refusals::default();
    for peer in 1..=250 {
        refuse(&refusals, 4, &format!("192.0.2.{peer}"), 0);
    }
    assert_eq!(refusals.0.lock().strangers.of_one.len(), 15, "no more is kept of peers");
    refusals.note(&caller("eve", "192.0.2.7"), true, at(0), &denied());
    let records = refusals.take(at(0));
    assert_eq!(records.len(), OF_STRANGERS.of_all as usize + 1);
    assert!(records.iter().any(|record| &*record.principal == "eve"));
    let left_out: u64 = refusals.take_all(at(1)).iter().map(|r| r.step.left_out()).sum();
    assert_eq!(left_out, 1000 - u64::from(OF_STRANGERS.of_all));
}

#[test]
fn a_machine_with_all_of_a_network_of_ipv6_is_one_stranger() {
    let refusals = Refusals::default();
    for host in 1..=200 {
        refuse(&refusals, 1, &format!("[2001:db8:0:1::{host:x}]"), 0);
    }
    refuse(&refusals, 1, "[2001:db8:0:2::1]", 0);
    assert_eq!(refusals.take(at(0)).len(), OF_ONE as usize + 1);
}

#[test]
fn while_the_store_takes_nothing_strangers_leave_room_for_those_who_are_known_and_these_for_them() {
    let refusals = Refusals::default();
    let known = |name: &str, second| {
        refusals.note(&caller(name, "192.0.2.7"), true, at(second), &denied());
    };
    // An hour of each, of which nobody takes anything.
    for minute in 0..60 {
        for peer in 1..=60 {
            refuse(&refusals, 2, &format!("192.0.2.{peer}"), minute * 60);
        }
    }
    known("eve", 3600);
    let waiting = |refusals: &Refusals, name: &str| {
        let gathered = refusals.0.lock();
        let all = gathered.known.waiting.iter().chain(&gathered.strangers.waiting);
        all.filter(|record| &*record.principal == name).count()
    };
    assert_eq!(waiting(&refusals, "eve"), 1);
    refusals.take_all(at(3601));
    for minute in 0..60 {
        for number in 0..100 {
            known(&format!("bot-{number}"), 7200 + minute * 60);
        }
    }
    refuse(&refusals, 1, "192.0.2.1", 7200 + 3599);
    assert_eq!(waiting(&refusals, "anonymous"), 1);
}

#[test]
fn what_is_left_out_says_of_whom_and_one_principal_hides_no_other() {
    let refusals = Refusals::default();
    let known = |name: &str, times| {
        for _ in 0..times {
            refusals.note(&caller(name, "192.0.2.7"), true, at(0), &denied());
        }
    };
    for number in 0..9 {
        known(&format!("bot-{number}"), 100);
    }
    known("eve", 1);
    refuse(&refusals, 25, "192.0.2.1", 0);
    let records = refusals.take(at(0));
    assert_eq!(records.iter().filter(|record| &*record.principal == "eve").count(), 1);
    let told: Vec<_> = refusals.take(at(60));
    let told: Vec<_> = told.iter().map(|r| (&*r.principal, r.step.left_out())).collect();
    assert_eq!((told.len(), told[0]), (10, ("bot-0", 90)));
    assert_eq!(told.last(), Some(&("anonymous", 15)));
}

#[test]
fn what_the_store_does_not_take_is_counted() {
    let refusals = Refusals::default();
    refuse(&refusals, 3, "192.0.2.1", 0);
    let lost = refusals.take(at(0));
    refusals.lose(&lost, at(0));
    let [told] = &refusals.take(at(60))[..] else { panic!("one line") };
    assert_eq!(told.step, AuditStep::LeftOut(3));
    refusals.note(&caller("eve", "192.0.2.7"), true, at(70), &denied());
    let lost = refusals.take(at(70));
    refusals.lose(&lost, at(70));
    let [told] = &refusals.take(at(130))[..] else { panic!("one line") };
    assert_eq!((&*told.principal, told.step), ("eve", AuditStep::LeftOut(1)));
}
