//! Golden files of every help text: a change of what can be typed shows in review.

use std::path::Path;

use assert_cmd::Command;

use crate::command::with_vms;

fn help(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_banger"));
    command.args(args).arg("--help").env_clear();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_help_texts_are_as_reviewed() {
    for args in [
        &[][..],
        &["vm"],
        &["vm", "create"],
        &["vm", "update"],
        &["vm", "ls"],
        &["vm", "rm"],
        &["vm", "stop"],
        &["vm", "reboot"],
        &["vm", "wait"],
        &["vm", "watch"],
        &["vm", "console"],
        &["vm", "logs"],
        &["vm", "shell"],
        &["vm", "exec"],
        &["vm", "run"],
        &["vm", "cp"],
        &["vm", "forward"],
        &["completions"],
        &["host"],
        &["host", "token"],
        &["host", "update"],
        &["image"],
        &["image", "import"],
        &["image", "build-demo"],
        &["project"],
        &["token"],
        &["audit"],
        &["token", "create"],
        &["token", "revoke"],
        &["context"],
        &["context", "set"],
        &["login"],
        &["dev"],
        &["dev", "down"],
        &["system"],
        &["system", "install"],
        &["system", "update"],
        &["system", "uninstall"],
    ] {
        let name = format!("help_{}", args.join("_"));
        insta::assert_snapshot!(name, help(args));
    }
}

/// The script with which a shell completes.
fn completion(shell: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_banger"));
    let output = command.args(["completions", shell]).env_clear().output().unwrap();
    assert!(output.status.success(), "{shell}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_shell_asks_this_program_for_what_it_completes() {
    for (shell, asks) in [
        ("bash", "COMPLETE=\"bash\""),
        ("zsh", "COMPLETE=\"zsh\""),
        ("fish", "COMPLETE=fish"),
        ("elvish", "COMPLETE=\"elvish\""),
        ("powershell", "$env:COMPLETE = \"powershell\""),
    ] {
        let script = completion(shell);
        assert!(script.contains(asks), "{shell}: {script}");
    }
}

#[test]
fn bash_completes_by_the_script_that_it_is_given() {
    let server = with_vms(&["web", "worker", "db"]);
    // What bash does when somebody presses TAB behind the last word.
    let press = |words: &str, at: usize| {
        let tab = format!(
            "eval \"$SCRIPT\"; COMP_WORDS=({words}); COMP_CWORD={at}; COMP_TYPE=9
            complete -p banger | grep -q -- '-F ' || exit 3
            $(complete -p banger | sed 's/.* -F \\([^ ]*\\) .*/\\1/') banger \"${{COMP_WORDS[COMP_CWORD]}}\"
            printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        bash.args(["--norc", "--noprofile", "-c", &tab]).env_clear();
        let beside = Path::new(env!("CARGO_BIN_EXE_banger")).parent().unwrap();
        bash.env("PATH", format!("{}:/usr/bin:/bin", beside.display()));
        bash.env("HOME", "/nonexistent").env("BANGER_SERVER", server.url());
        let output = bash.env("SCRIPT", completion("bash")).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(press("banger vm get w", 3), ["web", "worker"]);
    assert_eq!(press("banger vm cre", 2), ["create"]);
}
