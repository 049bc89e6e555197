//! Claims about this machine as it is looked at.

use super::*;

#[test]
fn a_page_is_good_only_with_200() {
    assert_eq!(body("HTTP/1.0 200 OK\r\nA: b\r\n\r\nwell\n"), Ok("well\n".to_owned()));
    assert_eq!(body("HTTP/1.1 503 No\r\n\r\nwell\n"), Err("HTTP/1.1 503 No".to_owned()));
    assert_eq!(body(""), Err(String::new()));
}

#[test]
fn a_process_runs_its_own_file_and_no_copy_of_it() {
    let machine = RealMachine::new(|| Err(Failure::Usage("nobody asks the server".to_owned())));
    let own = std::env::current_exe().unwrap();
    let me = std::process::id();
    assert_eq!(machine.runs(me, &own), Some(true));
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    std::fs::copy(&own, &copy).unwrap();
    assert_eq!(machine.runs(me, &copy), Some(false));
    assert_eq!(machine.runs(me, &dir.path().join("none")), Some(false));
    assert_eq!(machine.runs(u32::MAX, &own), None);
}

#[test]
fn who_may_not_look_into_the_agents_directory_is_not_told_that_no_vm_runs() {
    use rustix::process::{Gid, Uid, geteuid};
    use std::os::unix::fs::PermissionsExt as _;
    let machine = RealMachine::new(|| Err(Failure::Usage("nobody asks the server".to_owned())));
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().to_owned();
    let agent = Settings {
        metrics: ([127, 0, 0, 1], 7073).into(),
        jail_dir: state.join("agent/jails"),
        image_dir: state.join("agent/images"),
        state_dir: state.join("agent"),
    };
    assert_eq!(machine.guests(&agent).unwrap(), [], "there is no agent");
    std::fs::create_dir_all(state.join("agent/vms")).unwrap();
    assert_eq!(machine.guests(&agent).unwrap(), []);
    let closed = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(state.join("agent"), closed).unwrap();
    let look = move || {
        // Root may look everywhere: this thread of it becomes somebody else.
        if geteuid().is_root() {
            let (nobody, group) = (Uid::from_raw(65_534), Gid::from_raw(65_534));
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        machine.guests(&agent).unwrap_err()
    };
    let error = std::thread::spawn(look).join().unwrap();
    let cause = error.root_cause().downcast_ref::<io::Error>().unwrap();
    assert_eq!(cause.kind(), io::ErrorKind::PermissionDenied, "{error:#}");
}
