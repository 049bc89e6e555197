use super::*;

const KNOWN: [Known; 6] = [
    Known::required("id"),
    Known::defaulted("api-sock", "/run/firecracker.socket"),
    Known::new("cgroup", Takes::Many),
    Known::new("daemonize", Takes::Nothing),
    Known { requires: Some("api-sock"), ..Known::new("no-api", Takes::Nothing) },
    Known { forbids: Some("daemonize"), ..Known::new("foreground", Takes::Nothing) },
];

fn line(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn run(text: &str) -> Given {
    match parse(&KNOWN, &line(text)) {
        Ok(Parsed::Run(given)) => given,
        other => panic!("{text}: {other:?}"),
    }
}

fn refused(text: &str) -> String {
    parse(&KNOWN, &line(text)).expect_err(text).to_string()
}

#[test]
fn values_defaults_repeats_and_extra_arguments_are_kept_apart() {
    let given = run("--id a --cgroup x=1 --cgroup y=2 --daemonize -- --api-sock /other");
    assert_eq!(given.one("id"), Some("a"));
    assert_eq!(given.one("api-sock"), Some("/run/firecracker.socket"));
    assert_eq!(given.many("cgroup"), ["x=1", "y=2"]);
    assert!(given.flag("daemonize"));
    assert_eq!(given.extra, ["--api-sock", "/other"]);
}

#[test]
fn what_the_real_programs_refuse_is_refused() {
    assert_eq!(refused("--daemonize"), "Argument 'id' required, but not found.");
    assert_eq!(refused("--id"), "The argument 'id' requires a value, but none was supplied.");
    assert_eq!(
        refused("--id --daemonize"),
        "The argument 'id' requires a value, but none was supplied."
    );
    assert_eq!(refused("--id a --id b"), "The argument 'id' was provided more than once.");
    assert_eq!(
        refused("--id=a"),
        "Found argument 'id=a' which wasn't expected, or isn't valid in this context."
    );
    assert_eq!(
        refused("id a"),
        "Found argument 'id' which wasn't expected, or isn't valid in this context."
    );
    assert_eq!(refused("--id a --no-api"), "Argument 'api-sock' required, but not found.");
    assert_eq!(
        refused("--id a --foreground --daemonize"),
        "Argument 'daemonize' cannot be used together with argument 'foreground'."
    );
}

#[test]
fn version_and_help_win_over_every_other_argument() {
    assert_eq!(parse(&KNOWN, &line("--nonsense --version")), Ok(Parsed::Version));
    assert_eq!(parse(&KNOWN, &line("--version -h")), Ok(Parsed::Help));
    assert_eq!(
        parse(&KNOWN, &line("--id a -- --version")),
        Ok(Parsed::Run(Given { extra: line("--version"), ..run("--id a") }))
    );
}

#[test]
fn an_instance_id_is_letters_digits_and_hyphens() {
    assert_eq!(check_instance_id("12-3aa"), Ok(()));
    assert_eq!(check_instance_id("12_3aa"), Err("Invalid char (_) at position 2".to_owned()));
    assert!(check_instance_id("").is_err());
    assert!(check_instance_id(&"a".repeat(65)).is_err());
}
