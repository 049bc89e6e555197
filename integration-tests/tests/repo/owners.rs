//! One owner each for SQL, for gRPC status, for spawning, for messages and for the time.

use super::source::{without_comments, without_inline_tests};
use super::tree::{self, TextFile};

/// Lines of code, tests left out, that hold one of `words`, in files whose path begins with
/// `below` and with none of `owners`.
fn strays(below: &[&str], words: &[&str], owners: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree::rust() {
        if file.is_test()
            || !below.iter().any(|dir| file.path.starts_with(dir))
            || owners.iter().any(|owner| file.path.starts_with(owner))
        {
            continue;
        }
        found.extend(lines_with(&file, words));
    }
    found
}

fn lines_with(file: &TextFile, words: &[&str]) -> Vec<String> {
    without_comments(without_inline_tests(&file.text))
        .lines()
        .enumerate()
        .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
        .map(|(at, line)| format!("{}:{}: {}", file.path, at + 1, line.trim()))
        .collect()
}

fn assert_none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}\n{}", found.join("\n"));
}

const PRODUCT: [&str; 10] = [
    "proto/src/",
    "proto/wire/src/",
    "server/src/",
    "server/images/src/",
    "agent/src/",
    "client/src/",
    "client/command/src/",
    "client/terminal/src/",
    "deploy/dev/src/",
    "deploy/installer/src/",
];

#[test]
fn sql_is_only_in_the_store() {
    let found = strays(&PRODUCT, &["sqlx::", "use sqlx"], &["server/src/store/"]);
    assert_none(&found, "SQL belongs to server/src/store");
}

#[test]
fn a_grpc_status_is_only_built_at_the_edge() {
    // Built in one place per process, so that every error carries its reason.
    let words = [
        "Status::new(",
        "Status::with_",
        "Status::cancelled(",
        "Status::unknown(",
        "Status::invalid_argument(",
        "Status::deadline_exceeded(",
        "Status::not_found(",
        "Status::already_exists(",
        "Status::permission_denied(",
        "Status::resource_exhausted(",
        "Status::failed_precondition(",
        "Status::aborted(",
        "Status::out_of_range(",
        "Status::unimplemented(",
        "Status::internal(",
        "Status::unavailable(",
        "Status::unauthenticated(",
    ];
    let found = strays(
        &["server/src/", "agent/src/"],
        &words,
        &[
            "server/src/api/status.rs",
            "server/src/api/status/guests.rs",
            "agent/src/rpc/status.rs",
            "agent/src/host/fakes/vmm/guests.rs",
        ],
    );
    assert_none(
        &found,
        "a Status is built in server/src/api/status.rs and agent/src/rpc/status.rs",
    );
}

#[test]
fn processes_are_only_spawned_by_their_owner() {
    let found = strays(
        &PRODUCT,
        &["Command::new("],
        &[
            "agent/src/host/exec",
            "deploy/dev/src",
            "client/command/src/commands/guest/ssh.rs",
            "deploy/installer/src/real.rs",
            "server/images/src/registry/docker.rs",
        ],
    );
    assert_none(
        &found,
        "processes are spawned in agent/src/host/exec, by `banger dev`, `banger system`, `banger vm ssh`, and to ask Docker's credential helpers",
    );
}

#[test]
fn the_time_is_only_read_by_a_clock() {
    let found = strays(
        &PRODUCT,
        &["SystemTime::now(", "Timestamp::now("],
        &["server/src/clock", "agent/src/clock", "client/command/src/clock"],
    );
    assert_none(&found, "time is an argument: ask a Clock");
}

#[test]
fn messages_of_the_wire_stay_at_the_edges_of_the_server() {
    let found = strays(
        &["server/src/"],
        &[
            "banger_proto::v1",
            "banger_proto::agent_v1",
            "banger_proto::{v1",
            "banger_proto::{agent_v1",
        ],
        &[
            "server/src/api/",
            "server/src/fleet/grpc",
            "server/src/fleet/convert",
            "server/src/server/",
        ],
    );
    assert_none(
        &found,
        "proto messages appear in server/src/api, in the fleet's gRPC link, and where services are wired",
    );
}

#[test]
fn messages_of_the_wire_stay_at_the_edges_of_the_agent() {
    let found = strays(
        &["agent/src/"],
        &[
            "banger_proto::v1",
            "banger_proto::agent_v1",
            "banger_proto::{v1",
            "banger_proto::{agent_v1",
        ],
        &[
            "agent/src/rpc",
            "agent/src/join",
            "agent/src/agent.rs",
            "agent/src/host/fakes/vmm/guests.rs",
        ],
    );
    assert_none(
        &found,
        "proto messages appear in agent/src/rpc, in join, where the service is wired, and in the fake guest",
    );
}
