//! Claims about what can be typed.

use clap::CommandFactory as _;

use super::*;

#[test]
fn the_tree_of_commands_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn sizes_are_read_in_binary_units_only() {
    for (text, mib) in [("512", 512), ("512M", 512), ("2G", 2048), ("1GiB", 1024), ("1t", 1 << 20)]
    {
        assert_eq!(value::mebibytes(text), Ok(mib), "{text}");
    }
    for bad in ["", "M", "-1", "1.5G", "512MB", "10 G", "99999999T", "1k"] {
        assert!(value::mebibytes(bad).is_err(), "{bad}");
    }
}

#[test]
fn processors_are_read_to_the_thousandth() {
    for (text, millis) in [("2", 2000), ("0.5", 500), ("1.25", 1250), ("0.001", 1), ("0", 0)] {
        assert_eq!(value::thousandths(text), Ok(millis), "{text}");
    }
    for bad in ["", ".5", "1.", "-1", "1.0001", "1e3", "5000000"] {
        assert!(value::thousandths(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_label_needs_a_key_and_may_have_an_empty_value() {
    assert_eq!(value::label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
    assert_eq!(value::label("a="), Ok(("a".to_owned(), String::new())));
    assert!(value::label("=a").is_err());
    assert!(value::label("a").is_err());
}

#[test]
fn an_image_may_carry_its_digest() {
    let image = value::image("vmlinux@sha256:abc").unwrap();
    assert_eq!((image.name.as_str(), image.sha256.as_str()), ("vmlinux", "abc"));
    assert!(value::image("vmlinux@md5:abc").is_err());
    assert!(value::image("@sha256:abc").is_err());
}

#[test]
fn states_are_read_in_any_case() {
    let parse = |text: &str| {
        let cli = Cli::try_parse_from(["banger", "vm", "wait", "a", "--for", text]);
        match cli.map(|cli| cli.command) {
            Ok(Command::Vm(vm::VmCommand::Wait(wait))) => wait.state,
            Ok(_) | Err(_) => None,
        }
    };
    use banger_client::v1::VmState;
    assert_eq!(parse("RUNNING"), Some(VmState::Running));
    assert_eq!(parse("deleted"), Some(VmState::Deleted));
    assert_eq!(parse("booting"), None);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let cli = Cli::try_parse_from(["banger", "--server", "", "host", "ls"]).unwrap();
    assert_eq!(cli.global.chosen().server, None);
}

#[test]
fn dev_alone_means_dev_up() {
    let cli = Cli::try_parse_from(["banger", "dev", "--hosts", "3", "--detach"]).unwrap();
    let Command::Dev(dev) = cli.command else { panic!("{:?}", cli.command) };
    assert!(dev.command.is_none() && dev.up.hosts == 3 && dev.up.detach);
}
