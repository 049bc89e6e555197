//! Programs run to their end, are refused when missing, and are killed when they hang.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn script(dir: &Path, tool: Tool, body: &str) {
    let path = dir.join(tool.name());
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn exec_with(tool: Tool, body: &str, limit: Duration) -> (tempfile::TempDir, RealExec) {
    let dir = tempfile::tempdir().unwrap();
    script(dir.path(), tool, body);
    let exec = RealExec::find(&BTreeMap::new(), &[dir.path().to_owned()], limit);
    (dir, exec)
}

#[tokio::test]
async fn a_tool_gets_its_input_and_its_arguments_word_by_word() {
    let (_dir, exec) = exec_with(Tool::Ip, r#"cat; printf '<%s>' "$@""#, Duration::from_secs(20));
    let call = ToolCall::new(Tool::Ip, ["a b", "$(id)", "--", "*"]).stdin("in\n");
    let output = exec.run(&call).await.unwrap();
    assert_eq!(output.stdout, "in\n<a b><$(id)><--><*>");
    assert!(output.succeeded());
}

#[tokio::test]
async fn a_tool_that_never_reads_a_large_input_is_not_waited_for() {
    let (_dir, exec) = exec_with(Tool::Ip, "exit 3", Duration::from_secs(20));
    let call = ToolCall::new(Tool::Ip, ["x"]).stdin("x".repeat(1 << 20));
    assert_eq!(exec.run(&call).await.unwrap().code, Some(3));
}

#[tokio::test]
async fn a_tool_that_hangs_is_killed_and_its_outcome_unknown() {
    let (_dir, exec) = exec_with(Tool::Ip, "exec sleep 600", Duration::from_millis(50));
    let error = exec.run(&ToolCall::new(Tool::Ip, ["x"])).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::TimedOut);
}

#[tokio::test]
async fn a_missing_tool_is_named_with_the_places_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let exec = RealExec::find(&BTreeMap::new(), &[dir.path().to_owned()], Duration::from_secs(1));
    let error = exec.run(&ToolCall::new(Tool::Dmsetup, ["ls"])).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::MissingTool);
    assert!(error.chain().contains("/usr/sbin"), "{}", error.chain());
    assert_eq!(exec.missing().len(), Tool::ALL.len());
}

#[test]
fn a_file_that_is_not_executable_is_no_tool() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ip"), "x").unwrap();
    let exec = RealExec::find(&BTreeMap::new(), &[dir.path().to_owned()], Duration::from_secs(1));
    assert!(exec.path(Tool::Ip).is_err());
}

#[test]
fn a_complaint_about_a_busy_device_is_busy() {
    let output = ToolOutput {
        code: Some(1),
        stdout: String::new(),
        stderr: "device-mapper: remove ioctl on x failed: Device or resource busy\n".to_owned(),
    };
    let call = ToolCall::new(Tool::Dmsetup, ["remove", "x"]);
    let error = refusal("remove snapshot", "x", &call, &output);
    assert_eq!(error.kind, HostErrorKind::Busy);
    assert!(error.to_string().starts_with("could not remove snapshot x: dmsetup ended"));
}

#[tokio::test]
async fn priv_a_program_that_is_left_alone_shares_no_session_and_no_memory_with_us() {
    let body = "readlink /proc/self/ns/ipc; cut -d' ' -f1,5,6 /proc/$$/stat; echo $$";
    let (dir, exec) = exec_with(Tool::Jailer, body, Duration::from_secs(20));
    let log = dir.path().join("log");
    let errors = OwnedFd::from(std::fs::File::create(&log).unwrap());
    let call =
        LaunchCall { program: Tool::Jailer, args: Vec::new(), input: None, output: None, errors };
    assert!(exec.launch(call).unwrap().wait().unwrap().success());
    let said = std::fs::read_to_string(log).unwrap();
    let [ipc, ids, pid] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    let ours = std::fs::read_link("/proc/self/ns/ipc").unwrap();
    assert!(ipc.starts_with("ipc:") && Path::new(ipc) != ours, "{ipc}");
    // It leads its group and its session.
    assert_eq!(ids, format!("{pid} {pid} {pid}"));
}
