//! Claims about the command as a process: exit codes, what goes where, and that it asks.

use std::path::Path;

use assert_cmd::Command;
use banger_client::v1::{HostState, VmState};
use tonic::Code;

use crate::fake::{self, Running, refusal};

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `banger` with nothing in its environment but a home of its own.
pub(crate) fn run_in(home: &Path, server: &str, args: &[&str], stdin: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_banger"));
    command.env_clear().env("HOME", home);
    if !server.is_empty() {
        command.env("BANGER_SERVER", server);
    }
    let output = command.args(args).write_stdin(stdin).output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn run(server: &Running, args: &[&str]) -> Ran {
    let home = tempfile::tempdir().unwrap();
    run_in(home.path(), &server.url(), args, "")
}

pub(crate) fn with_vms(names: &[&str]) -> Running {
    let server = fake::start();
    server.state().hosts.insert("b0".to_owned(), fake::host("b0", HostState::Online));
    let mut args = vec!["vm", "create", "--kernel", "k", "--memory", "512M"];
    args.extend(names);
    let ran = run(&server, &args);
    assert_eq!(ran.code, 0, "{}", ran.err);
    server
}

#[test]
fn a_server_that_is_down_is_one_line_that_says_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let ran = run_in(home.path(), &url, &["vm", "ls"], "");
    assert_eq!(ran.code, 6);
    assert_eq!(
        ran.err,
        format!(
            "error: cannot reach the server at {url}: connection refused. Is it running? Start \
             one with `banger dev`, or name another with --server.\n"
        )
    );
    assert_eq!(ran.out, "");
}

#[test]
fn each_class_of_error_has_its_exit_code() {
    let server = with_vms(&["web"]);
    for (args, code) in [
        (&["vm", "get", "web"][..], 0),
        (&["vm", "frobnicate"], 2),
        (&["vm", "get"], 2),
        (&["vm", "get", "nope"], 3),
        (&["vm", "create", "web", "--kernel", "k"], 4),
        (&["host", "rm", "b0", "--yes"], 4),
        (&["vm", "create", "other"], 5),
        (&["vm", "console", "web", "--no-attach"], 0),
        (&["host", "drain", "b0"], 8),
        (&["image", "get", "nope"], 3),
        (&["image", "import", "x"], 2),
        (&["vm", "rm", "web"], 2),
        (&["vm", "stop", "web", "other", "--etag", "1"], 2),
        (&["--context", "nope", "vm", "ls"], 2),
        (&["--server", "ftp://x", "vm", "ls"], 2),
        (&["--ca", "/nonexistent", "vm", "ls"], 2),
    ] {
        let ran = run(&server, args);
        assert_eq!(ran.code, code, "{args:?}\n{}{}", ran.out, ran.err);
        assert_eq!(ran.err.is_empty(), code == 0, "{args:?}: {}", ran.err);
    }
    server.state().refuse = Some(refusal(Code::Unauthenticated, "TOKEN_INVALID", "no"));
    assert_eq!(run(&server, &["vm", "ls"]).code, 9);
    server.state().refuse = Some(refusal(Code::Unavailable, "STORE_UNAVAILABLE", "full"));
    assert_eq!(run(&server, &["vm", "ls"]).code, 6);
    server.state().refuse = Some(refusal(Code::Internal, "INTERNAL", "oops"));
    assert_eq!(run(&server, &["vm", "ls"]).code, 1);
}

#[test]
fn every_bad_field_is_listed_on_a_line_of_its_own() {
    let server = fake::start();
    let ran = run(&server, &["vm", "create", "web", "--vcpus", "99"]);
    assert_eq!(ran.code, 5);
    assert_eq!(
        ran.err,
        "error: 2 fields are wrong (INVALID_FIELDS)\n  spec.kernel.name: is required\n  \
         spec.vcpus: must be 1 to 32\n"
    );
}

#[test]
fn what_the_server_does_not_have_yet_is_said_plainly() {
    let server = fake::start();
    let ran = run(&server, &["host", "drain", "b0"]);
    assert_eq!(
        ran.err,
        "error: the server does not have this yet: DrainHost comes later (NOT_IMPLEMENTED)\n"
    );
}

#[test]
fn an_inventory_is_shown_with_all_its_pages() {
    let server = fake::start();
    let ran = run(&server, &["-o", "name", "host", "inventory", "b0"]);
    assert_eq!(ran.out, "bg-aaaaaaaaaaaa\nbg-bbbbbbbbbbbb\nbg-cccccccccccc\nbg-dddddddddddd\n");
}

#[test]
fn a_sweep_needs_yes_unless_it_is_a_dry_run_and_fails_when_something_stays_behind() {
    let server = fake::start();
    let ran = run(&server, &["host", "sweep", "b0"]);
    assert!(ran.err.contains("refusing to remove from b0 what no VM owns"), "{}", ran.err);
    let asked = |name| server.state().calls.iter().filter(|(call, _)| *call == name).count();
    assert_eq!(asked("SweepHost"), 0);
    let ran = run(&server, &["host", "sweep", "b0", "--dry-run"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let ran = run(&server, &["host", "sweep", "b0", "--yes"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("remove snapshot: busy"), "{}", ran.out);
    assert!(ran.err.contains("1 of what no VM owns could not be removed"), "{}", ran.err);
}

#[test]
fn a_program_gets_the_error_as_json() {
    let server = fake::start();
    let ran = run(&server, &["-o", "json", "vm", "create", "web", "--vcpus", "99"]);
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(error["error"]["code"], "InvalidArgument");
    assert_eq!(error["error"]["reason"], "INVALID_FIELDS");
    assert_eq!(error["error"]["fields"][1]["field"], "spec.vcpus");
    assert_eq!(error["error"]["exitCode"], 5);
}

#[test]
fn destroying_without_a_terminal_needs_yes() {
    let server = with_vms(&["web"]);
    let ran = run(&server, &["vm", "rm", "web"]);
    assert_eq!(
        ran.err,
        "error: refusing to delete web with all disks without being asked on a terminal; \
         add --yes\n"
    );
    assert!(server.state().vms.contains_key("web"));
    let ran = run(&server, &["vm", "rm", "web", "--yes", "--wait"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "web is gone\n"), "{}", ran.err);
    assert!(server.state().vms.is_empty());
    let ran = run(&server, &["vm", "rm", "web", "--yes", "--allow-missing"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "web was not there\n"), "{}", ran.err);
}

#[test]
fn one_bad_name_among_several_does_not_stop_the_others() {
    let server = with_vms(&["a", "b"]);
    let ran = run(&server, &["vm", "stop", "a", "nope", "b", "-o", "name"]);
    assert_eq!(ran.code, 3);
    assert_eq!(ran.out, "a\nb\n");
    assert_eq!(ran.err, "error: nope: there is no VM \"nope\" (VM_NOT_FOUND)\n");
}

#[test]
fn names_can_be_piped() {
    let server = with_vms(&["a", "b", "c"]);
    assert_eq!(run(&server, &["vm", "ls", "-o", "name"]).out, "a\nb\nc\n");
    assert_eq!(run(&server, &["host", "ls", "-o", "name"]).out, "b0\n");
    assert_eq!(run(&server, &["host", "token", "-o", "name"]).out, "bjt_secret\n");
}

#[test]
fn output_that_is_no_terminal_has_no_colours() {
    let server = with_vms(&["a"]);
    for args in [&["vm", "ls"][..], &["vm", "get", "a"], &["host", "ls"], &["vm", "get", "x"]] {
        let ran = run(&server, args);
        assert!(!(ran.out + &ran.err).contains('\x1b'), "{args:?}");
    }
}

#[test]
fn simulated_is_marked_wherever_vms_and_hosts_are_shown() {
    let server = with_vms(&["a"]);
    for args in [
        &["vm", "ls"][..],
        &["vm", "get", "a"],
        &["vm", "explain", "a"],
        &["vm", "start", "a"],
        &["vm", "wait", "a"],
        &["host", "ls"],
        &["host", "get", "b0"],
    ] {
        let ran = run(&server, args);
        assert!(ran.out.contains("(simulated)"), "{args:?}: {}", ran.out);
    }
}

#[test]
fn create_takes_a_file_from_standard_input_and_flags_win() {
    let server = fake::start();
    let home = tempfile::tempdir().unwrap();
    let yaml = "name: web\nspec:\n  kernel: {name: k}\n  vcpus: 2\n  memoryMib: 512\n";
    let args = ["vm", "create", "-f", "-", "--memory", "1G", "-o", "json"];
    let ran = run_in(home.path(), &server.url(), &args, yaml);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let vm: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&vm["name"], &vm["spec"]["vcpus"]), (&"web".into(), &2.into()));
    assert_eq!(vm["spec"]["memoryMib"], 1024);
    assert_eq!(vm["desiredState"], "DESIRED_STATE_RUNNING");
    assert_eq!(vm["createTime"], "2026-11-22T08:00:00Z");
    assert_eq!(vm["generation"], "1", "64-bit numbers are strings");
}

#[test]
fn a_bad_spec_file_is_refused_before_anything_is_sent() {
    let server = fake::start();
    let home = tempfile::tempdir().unwrap();
    let args = ["vm", "create", "web", "-f", "-"];
    let ran = run_in(home.path(), &server.url(), &args, "memory: 512\n");
    assert_eq!(ran.code, 5, "{}", ran.err);
    assert!(ran.err.contains("standard input") && ran.err.contains("memory"), "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    assert!(server.state().calls.is_empty());
}

#[test]
fn a_vm_that_was_printed_can_be_edited_and_given_back() {
    let server = with_vms(&["web"]);
    let home = tempfile::tempdir().unwrap();
    let printed = run(&server, &["vm", "get", "web", "-o", "yaml"]).out;
    let edited = printed.replace("memoryMib: 512", "memoryMib: 768");
    let args = ["vm", "update", "web", "-f", "-"];
    let ran = run_in(home.path(), &server.url(), &args, &edited);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(server.state().vms["web"].spec.as_ref().unwrap().memory_mib, 768);
    // Somebody changed it meanwhile: by now it is another VM than the one that was edited.
    let ran = run_in(home.path(), &server.url(), &args, &edited);
    assert_eq!(ran.code, 4, "{}", ran.err);
    assert!(ran.err.contains("ETAG_MISMATCH"), "{}", ran.err);
}

#[test]
fn a_dry_run_creates_nothing() {
    let server = fake::start();
    let ran = run(&server, &["vm", "create", "web", "--kernel", "k", "--dry-run"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.starts_with("Dry run"), "{}", ran.err);
    assert!(server.state().vms.is_empty());
}

#[test]
fn a_wait_that_fails_says_why_and_leaves_with_its_own_code() {
    let server = fake::start();
    server.state().new_state = Some(VmState::Failed);
    let ran = run(&server, &["vm", "create", "web", "--kernel", "k", "--wait"]);
    assert_eq!(ran.code, 7);
    assert_eq!(
        ran.err,
        "error: web is FAILED on b0 (simulated): b0 has no image \"k\" (KERNEL_IMAGE_MISSING)\n"
    );
    server.state().new_state = Some(VmState::Starting);
    let args = ["vm", "create", "db", "--kernel", "k", "--wait", "--timeout", "200ms"];
    let ran = run(&server, &args);
    assert_eq!(ran.code, 7);
    assert!(ran.err.contains("not reached within 200ms: db is STARTING"), "{}", ran.err);
}

#[test]
fn a_watch_prints_one_json_object_a_line() {
    use banger_client::v1::{Vm, VmEvent, VmEventType, WatchVmsResponse};
    let server = fake::start();
    let vm = Vm { id: "i".into(), name: "web".into(), revision: 1, ..Vm::default() };
    let event = VmEvent { r#type: VmEventType::Added.into(), revision: 1, vm: Some(vm) };
    let events = vec![event];
    server.state().watches.extend([
        vec![fake::Step::Say(WatchVmsResponse {
            events,
            revision: 1,
            initial_state_complete: true,
        })],
        vec![fake::Step::Fail(refusal(Code::PermissionDenied, "NOT_PERMITTED", "no more"))],
    ]);
    let ran = run(&server, &["vm", "watch", "-o", "json"]);
    assert_eq!(ran.code, 9);
    let line: serde_json::Value = serde_json::from_str(ran.out.trim()).unwrap();
    assert_eq!(line["type"], "VM_EVENT_TYPE_ADDED");
    assert_eq!(line["vm"]["name"], "web");
}

#[test]
fn contexts_are_made_used_and_forgotten() {
    let server = with_vms(&["web"]);
    let home = tempfile::tempdir().unwrap();
    let at = |args: &[&str]| run_in(home.path(), "", args, "");
    let url = server.url();
    assert_eq!(at(&["context", "set", "lab", "--server", &url, "--token", "t", "--use"]).code, 0);
    assert_eq!(at(&["vm", "ls", "-o", "name"]).out, "web\n");
    assert_eq!(server.state().calls.last().unwrap().1.as_deref(), Some("Bearer t"));
    let listed = at(&["context", "ls", "-o", "json"]).out;
    assert!(listed.contains("\"lab\"") && !listed.contains("\"t\""), "{listed}");
    let ran = at(&["context", "use", "moon"]);
    assert_eq!(ran.code, 2);
    assert_eq!(ran.err, "error: there is no context \"moon\"; there are: lab\n");
    assert_eq!(at(&["context", "rm", "lab"]).code, 0);
    assert_eq!(at(&["context", "ls", "-o", "name"]).out, "");
}

#[test]
fn dev_refuses_what_cannot_be_in_one_line() {
    let home = tempfile::tempdir().unwrap();
    let at = |args: &[&str]| run_in(home.path(), "", args, "");
    let ran = at(&["dev", "down"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, "Nothing to take down.\n"));
    let ran = at(&["dev", "status"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(at(&["dev", "up", "--simulate", "--real"]).code, 2);
    assert_eq!(at(&["dev", "up", "--hosts", "0"]).code, 2);
}
