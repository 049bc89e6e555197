//! Golden files of every help text: a change of what can be typed shows in review.

use assert_cmd::Command;

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

#[test]
fn every_command_has_help_and_every_shell_a_completion() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_banger"));
        let output = command.args(["completions", shell]).env_clear().output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("banger"), "{shell}");
    }
}
