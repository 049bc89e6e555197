//! Claims about the commands that reach into a guest, as processes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use banger_client::v1::VmState;
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{Ran, run, run_in, with_vms};
use crate::screen::{Screen, on_a_terminal};
use banger_fake_server::{self as fake, Running};

fn piped(server: &Running, args: &[&str], stdin: &str) -> Ran {
    let home = tempfile::tempdir().unwrap();
    run_in(home.path(), &server.url(), args, stdin)
}

/// Starts `banger` with pipes, to be talked to.
pub(crate) fn start(server: &Running, args: &[&str]) -> Child {
    #[expect(clippy::disallowed_methods, reason = "assert_cmd has no process to talk to")]
    let mut command = Command::new(env!("CARGO_BIN_EXE_banger"));
    command.args(args).env_clear().env("HOME", "/nonexistent").env("BANGER_SERVER", server.url());
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    pipes.spawn().unwrap()
}

#[test]
fn a_program_in_a_guest_is_like_one_here() {
    let server = with_vms(&["web"]);
    let ran = piped(&server, &["vm", "exec", "web", "-i", "--", "cat"], "over there");
    assert_eq!((ran.code, &*ran.out, &*ran.err), (0, "over there", ""));
    // Without -i it reads nothing.
    let ran = piped(&server, &["vm", "exec", "web", "--", "cat"], "not this");
    assert_eq!((ran.code, &*ran.out), (0, ""));
    let ran = run(&server, &["vm", "exec", "web", "--", "fail"]);
    assert_eq!((ran.code, &*ran.out, &*ran.err), (3, "out\n", "no\n"));
    assert_eq!(run(&server, &["vm", "exec", "web", "--", "killed"]).code, 137);
    let args =
        ["vm", "exec", "web", "-e", "A=1", "--env", "B=x=y", "--cwd", "/tmp", "--user", "me"];
    let ran = run(&server, &[&args[..], &["-t", "--", "show", "-x", "--"]].concat());
    let expected = r#"["show", "-x", "--"] [("A", "1"), ("B", "x=y")] /tmp me true"#;
    assert_eq!((ran.code, ran.out.trim_end()), (0, expected), "{}", ran.err);
}

#[test]
fn a_failure_of_ours_is_not_taken_for_the_programs() {
    let server = with_vms(&["web"]);
    let ran = run(&server, &["vm", "exec", "nope", "--", "cat"]);
    assert_eq!(ran.code, 125);
    assert_eq!(ran.err, "error: there is no VM \"nope\" (VM_NOT_FOUND)\n");
    let ran = run(&server, &["-o", "json", "vm", "exec", "nope", "--", "cat"]);
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(error["error"]["reason"], "VM_NOT_FOUND");
    assert_eq!(error["error"]["exitCode"], 125);
    assert_eq!(run(&server, &["vm", "exec", "web"]).code, 2);
    assert_eq!(run(&server, &["vm", "exec", "web", "-e", "novalue", "--", "x"]).code, 2);
}

#[test]
fn a_signal_goes_to_the_program() {
    let server = with_vms(&["web"]);
    for (signal, code) in [(Signal::INT, 102), (Signal::TERM, 115), (Signal::HUP, 101)] {
        let mut child = start(&server, &["vm", "exec", "web", "--", "wait"]);
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "waiting\n");
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

/// Whoever ends the command is not to wait for a guest.
#[test]
fn a_guest_that_ignores_signals_or_never_begins_keeps_nobody() {
    let server = with_vms(&["web"]);
    for (signal, times) in [(Signal::INT, 3), (Signal::TERM, 2), (Signal::HUP, 2)] {
        let mut child = start(&server, &["vm", "exec", "web", "--", "deaf"]);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "waiting");
        for _ in 1..times {
            kill_process(Pid::from_child(&child), signal).unwrap();
            let heard = format!("heard {}", signal.as_raw());
            assert_eq!(lines.next().unwrap().unwrap(), heard);
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal:?}");
    }
    let mut child = start(&server, &["vm", "exec", "web", "--", "never"]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while server.state().never_begun == 0 {
        assert!(std::time::Instant::now() < deadline, "it never asked");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_console_is_shown_or_typed_into_by_a_pipe() {
    let server = with_vms(&["web"]);
    let ran = run(&server, &["vm", "console", "web", "--no-attach", "--tail", "7"]);
    assert_eq!((ran.code, &*ran.out), (0, "the last 7\n"));
    let ran = run(&server, &["vm", "console", "web", "--follow"]);
    assert_eq!((ran.code, &*ran.err), (0, "The console of web has ended.\n"));
    let mut child = start(&server, &["vm", "console", "web"]);
    let mut screen = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    screen.read_line(&mut line).unwrap();
    assert_eq!(line, "past 65536\n");
    let mut keys = child.stdin.take().unwrap();
    // The escape is one only where there is a terminal.
    keys.write_all(b"a \x1d b\n").unwrap();
    line.clear();
    screen.read_line(&mut line).unwrap();
    assert_eq!(line, "a \x1d b\n");
    keys.write_all(b"exit\n").unwrap();
    drop(keys);
    let mut rest = String::new();
    screen.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("exit\n", Some(0)));
}

#[test]
fn files_go_there_and_back() {
    let server = with_vms(&["web"]);
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name).display().to_string();
    std::fs::create_dir_all(temp.path().join("site/css")).unwrap();
    let large: String = (0..60_000).map(|n| format!("{n}\n")).collect();
    std::fs::write(temp.path().join("site/css/all.css"), &large).unwrap();
    std::os::unix::fs::symlink("css/all.css", temp.path().join("site/link")).unwrap();
    let ran = run(&server, &["vm", "cp", &at("site"), "web:/srv/"]);
    assert_eq!((ran.code, &*ran.out), (0, ""), "{}", ran.err);
    assert!(server.state().files.0.starts_with("/srv: site"), "{}", server.state().files.0);
    let ran = run(&server, &["vm", "cp", "web:/srv/site", &at("copy")]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let copied = std::fs::read_to_string(temp.path().join("copy/css/all.css")).unwrap();
    assert!(copied == large, "it is not what was sent");
    let link = std::fs::read_link(temp.path().join("copy/link")).unwrap();
    assert_eq!(link, std::path::Path::new("css/all.css"));
    // One file under another name, and into a directory that is there.
    let ran = run(&server, &["vm", "cp", &at("site/css/all.css"), "web:/etc/motd"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(server.state().files.0, "/etc: motd");
    // What the guest needs to put it into a directory of that name, as cp does.
    assert_eq!(server.state().own_name, "all.css");
    assert!(ran.err.contains("Copied 1 entry, "), "{}", ran.err);
    let ran = run(&server, &["vm", "cp", "web:/etc/motd", &at("copy")]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(std::fs::read_to_string(temp.path().join("copy/motd")).unwrap() == large);
    // The guest has another name in its archive than what is asked for.
    let ran = run(&server, &["vm", "cp", "web:/etc/passwd", &at("passwd")]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("which was not asked for"), "{}", ran.err);
    assert!(!std::fs::exists(at("passwd")).unwrap());
    for wrong in [["a", "b"], ["web:/a", "web:/b"], ["a", "web:b"], ["web:/", "here"]] {
        assert_eq!(run(&server, &["vm", "cp", wrong[0], wrong[1]]).code, 2, "{wrong:?}");
    }
    let ran = run(&server, &["vm", "cp", &at("missing"), "web:/"]);
    assert_eq!(ran.code, 1);
    assert_eq!(server.state().files.0, "/etc: motd", "half an archive was taken for one");
}

#[test]
fn a_port_of_a_guest_is_on_a_pipe_or_on_a_port_here() {
    let server = with_vms(&["web"]);
    let ran = piped(&server, &["vm", "forward", "web", "22", "--stdio"], "SSH-2.0-x\n");
    assert_eq!((ran.code, &*ran.out), (0, "SSH-2.0-x\n"), "{}", ran.err);
    let mut child = start(&server, &["vm", "forward", "web", "0:80"]);
    let mut note = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut note).unwrap();
    let address = note.split(' ').nth(1).unwrap();
    for text in ["one", "two"] {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, text);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(run(&server, &["vm", "forward", "web", "70000"]).code, 2);
}

#[test]
fn a_vm_for_one_program_is_waited_for_and_deleted_when_so_wished() {
    let server = fake::start();
    let run_args = ["vm", "run", "job", "--kernel", "k", "--memory", "512M"];
    let ran = run(&server, &[&run_args[..], &["--", "fail"]].concat());
    assert_eq!((ran.code, &*ran.out, &*ran.err), (3, "out\n", "no\n"));
    assert_eq!(server.state().waited_ready, [true]);
    assert!(server.state().vms.contains_key("job"), "nobody said --rm");
    assert_eq!(run(&server, &["vm", "rm", "job", "--yes"]).code, 0);
    let ran = run(&server, &[&run_args[..], &["--rm", "--", "show"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(server.state().vms.is_empty(), "--rm was said");
    // Nor is it left when the guest never comes up.
    server.state().new_state = Some(VmState::Failed);
    let ran = run(&server, &[&run_args[..], &["--rm", "--", "show"]].concat());
    assert_eq!(ran.code, 125);
    assert!(ran.err.contains("KERNEL_IMAGE_MISSING"), "{}", ran.err);
    assert!(server.state().vms.is_empty(), "--rm was said");
}

#[test]
fn a_vm_for_one_program_boots_the_demo_guest_where_no_image_is_named() {
    let server = fake::start();
    let run_args = ["vm", "run", "job", "--", "show"];
    // The server says what is missing.
    let ran = run(&server, &run_args);
    assert_eq!(ran.code, 125);
    assert!(ran.err.contains("spec.kernel"), "{}", ran.err);
    let demo = ["image", "import", "demo", "--server-path", "/srv/images/demo", "--kernel", "k"];
    let ran = run(&server, &[&demo[..], &["--initrd", "i", "--boot-args", "quiet"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let words = "kernel k, initrd i, boot arguments quiet";
    assert!(ran.out.contains(words), "{}", ran.out);
    let ran = run(&server, &run_args);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("the demo guest is booted"), "{}", ran.err);
    let spec = server.state().vms["job"].spec.clone().unwrap();
    assert_eq!((spec.kernel, spec.initrd), (None, None), "the image carries them");
    assert_eq!(spec.root_image.unwrap().name, "demo");
}

#[test]
fn a_vm_for_one_program_is_deleted_when_the_wait_is_interrupted() {
    let server = fake::start();
    server.state().new_state = Some(VmState::Starting);
    let args = ["vm", "run", "job", "--kernel", "k", "--rm", "--", "wait"];
    let mut child = start(&server, &args);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while server.state().waited_ready.is_empty() {
        assert!(std::time::Instant::now() < deadline, "it never waited");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(server.state().vms.is_empty(), "--rm was said");
}

#[test]
fn a_guest_does_not_make_the_terminal_answer_or_act() {
    use banger_fake_server::HOSTILE;
    let server = with_vms(&["evil"]);
    let console = ["vm", "console", "evil", "--no-attach"];
    let exec = ["vm", "exec", "evil", "--", "hostile"];
    let (raw_console, raw_exec) = (
        ["vm", "console", "evil", "--no-attach", "--raw"],
        ["vm", "exec", "evil", "--raw", "--", "hostile"],
    );
    let harmless = "abcd\x1b[31mred\x1b[0m\u{fffd}6n\r\n";
    for args in [&console[..], &exec] {
        let shown = String::from_utf8(on_a_terminal(&server, args, 80)).unwrap();
        let lines = shown.matches(harmless).count();
        assert_eq!(lines, if args == console { 1 } else { 2 }, "{args:?} {shown:?}");
        for bad in ["\x1b[6n", "\x1b]"] {
            assert!(!shown.contains(bad), "{args:?} {shown:?}");
        }
    }
    // Whoever wants all of it says so, and a pipe always gets it.
    let whole = &HOSTILE[..HOSTILE.len() - 1];
    let has = |bytes: &[u8]| bytes.windows(whole.len()).any(|window| window == whole);
    for args in [&raw_console[..], &raw_exec] {
        assert!(has(&on_a_terminal(&server, args, 80)), "{args:?}");
    }
    let mut child = start(&server, &exec);
    drop(child.stdin.take());
    let mut piped = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut piped).unwrap();
    child.wait().unwrap();
    assert_eq!(piped, HOSTILE);
}

#[test]
fn a_copy_of_nothing_is_said_and_a_limit_is_kept_where_nobody_can_be_asked() {
    let server = with_vms(&["web"]);
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name).display().to_string();
    let _socket = std::os::unix::net::UnixListener::bind(at("sock")).unwrap();
    let ran = run(&server, &["vm", "cp", &at("sock"), "web:/tmp/"]);
    assert_eq!(ran.code, 5);
    assert!(ran.err.contains("Left out") && ran.err.contains("nothing was copied"), "{}", ran.err);
    std::fs::write(temp.path().join("big"), vec![b'x'; 3 << 20]).unwrap();
    assert_eq!(run(&server, &["vm", "cp", &at("big"), "web:/tmp/"]).code, 0);
    let ran = run(&server, &["vm", "cp", "web:/tmp/big", &at("copy"), "--max-size", "2M"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("add --max-size"), "{}", ran.err);
    assert!(std::fs::metadata(at("copy")).unwrap().len() <= 2 << 20);
    assert_eq!(run(&server, &["vm", "cp", "web:/tmp/big", &at("copy")]).code, 0);
    assert_eq!(std::fs::metadata(at("copy")).unwrap().len(), 3 << 20);
    // Through the caller's own link, which stays one.
    std::os::unix::fs::symlink("real", temp.path().join("alias")).unwrap();
    std::fs::write(temp.path().join("real"), "old").unwrap();
    assert_eq!(run(&server, &["vm", "cp", "web:/tmp/big", &at("alias")]).code, 0);
    assert!(temp.path().join("alias").is_symlink());
    assert_eq!(std::fs::metadata(at("real")).unwrap().len(), 3 << 20);
}

#[test]
fn a_copy_says_how_far_how_fast_and_how_long_on_a_terminal_and_nothing_of_it_in_a_pipe() {
    let server = with_vms(&["web"]);
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name).display().to_string();
    std::fs::write(temp.path().join("big"), vec![b'x'; 16 << 20]).unwrap();
    let (big, back) = (at("big"), at("back"));
    let (to, from) = (["vm", "cp", &big, "web:/tmp/"], ["vm", "cp", "web:/tmp/big", &back]);
    // Of what a guest sends the first header says how much it is.
    let how_long =
        [["copying: ", " of 16M, ", "/s, ", "s left"], ["copying: ", " of 16M, ", "/s, ", " left"]];
    for ((args, call), words) in [(to, "CopyToVm"), (from, "CopyFromVm")].into_iter().zip(how_long)
    {
        server.state().slow.insert(call);
        let mut screen = Screen::start(&server, &args, 80);
        screen.until_line(&words);
        server.state().slow.clear();
        let (code, shown) = screen.end();
        let shown = String::from_utf8(shown).unwrap();
        assert_eq!(code, Some(0), "{shown:?}");
        assert!(shown.contains("Copied 1 entry, "), "{shown:?}");
        // As long as that, and whoever reads a pipe is told of the end alone.
        server.state().slow.insert(call);
        let mut child = start(&server, &args);
        drop(child.stdin.take());
        server.until_waited_for(40);
        server.state().slow.clear();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b""[..]), "{said}");
        assert!(said.starts_with("Copied 1 entry, ") && said.lines().count() == 1, "{said:?}");
    }
}

#[test]
fn a_program_waits_for_the_agent_of_an_image_that_has_one() {
    let server = with_vms(&["web"]);
    server.state().guest_boots = true;
    // Of this image nobody knows that it has an agent: it is refused as it was.
    let ran = run(&server, &["vm", "exec", "web", "--", "show"]);
    assert_eq!(ran.code, 125);
    assert!(ran.err.contains("the image may have none"), "{}", ran.err);
    assert!(server.state().waited_ready.is_empty());
    let import = ["image", "import", "r", "--server-path", "/srv/images/r"];
    assert_eq!(run(&server, &import).code, 0);
    let create = ["vm", "create", "app", "--kernel", "k", "--root", "r"];
    assert_eq!(run(&server, &create).code, 0);
    let ran = run(&server, &["vm", "exec", "app", "--", "show"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(server.state().waited_ready, [true]);
}

#[test]
fn a_state_has_its_colour_on_a_terminal() {
    let server = with_vms(&["web"]);
    for (state, word, colour) in [
        (VmState::Running, "RUNNING", "2"),
        (VmState::Starting, "STARTING", "3"),
        (VmState::Failed, "FAILED", "1"),
    ] {
        server.state().vms.get_mut("web").unwrap().status.get_or_insert_default().set_state(state);
        for args in [&["vm", "ls"][..], &["vm", "get", "web"]] {
            let shown = String::from_utf8(on_a_terminal(&server, args, 120)).unwrap();
            let (before, _) = shown.split_once(word).unwrap_or_else(|| panic!("{shown:?}"));
            // Of the palette of 16 or of 256 (ECMA-48, "SGR"; xterm's "CSI Pm m").
            let (_, last) = before.rsplit_once('\x1b').unwrap_or_else(|| panic!("{shown:?}"));
            let is = [format!("[3{colour}m"), format!("[38;5;{colour}m")];
            assert!(is.iter().any(|is| last.starts_with(is)), "{word}: {last:?} in {shown:?}");
        }
    }
}

#[test]
fn a_table_fits_the_terminal_and_loses_nothing() {
    let server = with_vms(&["a-rather-long-name-of-a-vm", "web"]);
    server.state().vms.values_mut().for_each(|vm| {
        let status = vm.status.as_mut().unwrap();
        status.guest_address = "10.64.0.222".to_owned();
        status.reason = "KERNEL_IMAGE_MISSING".to_owned();
    });
    let plain = |columns: u16| {
        let shown = String::from_utf8(on_a_terminal(&server, &["vm", "ls"], columns)).unwrap();
        let (mut plain, mut colour) = (String::new(), false);
        for c in shown.chars() {
            match c {
                '\x1b' => colour = true,
                'm' if colour => colour = false,
                _ if colour => {}
                c => plain.push(c),
            }
        }
        let widest = plain.lines().map(|line| line.trim_end().chars().count()).max().unwrap();
        assert!(widest <= columns.into(), "{widest} of {columns} columns:\n{plain}");
        plain
    };
    // Wide enough for every word, though not for the two of the host: no word is broken.
    let shown = plain(115);
    for word in ["a-rather-long-name-of-a-vm", "KERNEL_IMAGE_MISSING", "(simulated)", "10.64.0.222"]
    {
        assert!(shown.contains(word), "{word}:\n{shown}");
    }
    assert!(!shown.contains("b0 (simulated)"), "{shown}");
    // Narrower, they go on in the next line.
    assert!(plain(60).lines().count() > shown.lines().count());
    // In a pipe a row is one line.
    let piped = run(&server, &["vm", "ls"]).out;
    assert_eq!(piped.lines().count(), 3);
    assert!(piped.contains("a-rather-long-name-of-a-vm"));
}
