//! Claims about `banger audit`.

use banger_client::v1::{AuditEffect, AuditObject, AuditRecord, AuditStep};
use banger_fake_server as fake;

use crate::command::run;

fn record(id: u64, principal: &str, step: AuditStep, code: &str) -> AuditRecord {
    let object = AuditObject { kind: "vm".into(), id: format!("id-{id}"), name: "web".into() };
    AuditRecord {
        id,
        time: Some(prost_types::Timestamp { seconds: fake::EIGHT, nanos: 0 }),
        step: step.into(),
        principal: principal.to_owned(),
        peer: "192.0.2.1:4711".to_owned(),
        method: "banger.v1.VmService/DeleteVm".to_owned(),
        object: Some(object),
        code: code.to_owned(),
        ..AuditRecord::default()
    }
}

fn some() -> Vec<AuditRecord> {
    let refused = AuditRecord {
        object: None,
        reason: "NOT_PERMITTED".to_owned(),
        ..record(3, "eve", AuditStep::Refused, "PERMISSION_DENIED")
    };
    let left_out =
        AuditRecord { left_out: 7, ..record(5, "banger-server", AuditStep::LeftOut, "") };
    vec![
        record(1, "alice", AuditStep::Done, "OK"),
        record(2, "bob", AuditStep::Began, ""),
        refused,
        record(4, "bob", AuditStep::Ended, "CANCELLED"),
        left_out,
    ]
}

#[test]
fn records_are_read_over_pages_newest_first_as_a_table() {
    let server = fake::start();
    server.state().audit = some();
    let ran = run(&server, &["audit"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[0].starts_with("ID"), "{}", ran.out);
    let said =
        ["7 refused calls are left out", "ended CANCELLED", "PERMISSION_DENIED NOT_PERMITTED"];
    for (line, said) in lines[1..].iter().zip(said) {
        assert!(line.contains(said), "{}", ran.out);
    }
    assert!(lines[4].contains("begun") && lines[4].contains("vm web"), "{}", ran.out);
    assert!(lines[5].contains("2026-11-22T08:00:00Z") && lines[5].contains("192.0.2.1:4711"));
    assert_eq!(lines.len(), 6);
}

#[test]
fn what_went_along_or_was_kept_is_told_with_what_it_was_because_of() {
    let server = fake::start();
    let token = |name: &str| AuditObject { kind: "token".into(), name: name.into(), id: "".into() };
    let because = |id, name, effect: AuditEffect| AuditRecord {
        object: Some(token(name)),
        effect: effect.into(),
        cause: Some(token("mallory")),
        ..record(id, "alice", AuditStep::Done, "OK")
    };
    server.state().audit =
        vec![because(1, "door", AuditEffect::WentAlong), because(2, "ci", AuditEffect::Kept)];
    let ran = run(&server, &["audit"]);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = ran.out.lines().map(words).collect();
    assert!(lines[1].contains("token ci was kept from token mallory"), "{}", ran.out);
    assert!(lines[2].contains("token door went along with token mallory"), "{}", ran.out);
}

#[test]
fn for_programs_each_record_is_a_line_and_a_filter_goes_to_the_server() {
    let server = fake::start();
    server.state().audit = some();
    let ran = run(&server, &["audit", "--all", "-o", "json"]);
    let ids: Vec<String> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an object a line"))
        .map(|record| record["id"].as_str().expect("a number").to_owned())
        .collect();
    assert_eq!(ids, ["5", "4", "3", "2", "1"]);
    let ran = run(&server, &["audit", "--principal", "bob", "--method", "DeleteVm", "-o", "name"]);
    assert_eq!(ran.out, "4\n2\n");
    assert_eq!(run(&server, &["audit", "--limit", "3", "-o", "name"]).out, "5\n4\n3\n");
    assert_eq!(run(&server, &["audit", "--after", "3", "-o", "name"]).out, "5\n4\n");
}

#[test]
fn where_nothing_is_found_that_is_said() {
    let server = fake::start();
    let ran = run(&server, &["audit", "--since", "1h"]);
    assert_eq!((ran.code, &*ran.out, &*ran.err), (0, "", "No records.\n"));
}

#[test]
fn whoever_follows_sees_each_record_once_as_it_comes_also_after_a_break() {
    let server = fake::start();
    server.state().audit = some();
    server.state().break_next_audit = true;
    let ran = run(&server, &["audit", "--follow", "--after", "1", "-o", "name"]);
    assert_eq!(ran.out, "2\n3\n4\n5\n");
    assert_ne!(ran.code, 0, "the fake ends it by a refusal");
    assert_eq!(server.state().watched_after, [Some(1), Some(2)]);
    let ran = run(&server, &["audit", "--follow", "--principal", "bob"]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[0].contains("bob") && lines[0].contains("begun"), "{}", ran.out);
    assert!(lines[1].ends_with("ended CANCELLED  192.0.2.1:4711"), "{}", ran.out);
    assert_eq!(lines.len(), 2, "{}", ran.out);
    for other in ["--all", "--limit=3", "--since=1h", "--until=1h"] {
        assert_eq!(run(&server, &["audit", "--follow", other]).code, 2, "{other}");
    }
}
