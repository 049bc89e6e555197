use super::*;

fn start(command: &[&str]) -> ExecStart {
    ExecStart { command: command.iter().map(ToString::to_string).collect(), ..Default::default() }
}

fn wrong(start: &ExecStart) -> Vec<String> {
    start.problems("start").into_iter().map(|problem| problem.field).collect()
}

#[test]
fn all_that_is_wrong_with_a_program_is_said_at_once() {
    assert_eq!(wrong(&start(&["cat", "", "--"])), Vec::<String>::new());
    let bad = ExecStart {
        environment: [("A=B".to_owned(), "x".to_owned())].into(),
        directory: "tmp".to_owned(),
        user: "a:b".to_owned(),
        terminal: Some(TerminalSize { rows: 0, columns: 80 }),
        ..ExecStart::default()
    };
    assert_eq!(
        wrong(&bad),
        ["start.command", "start.environment", "start.directory", "start.user", "start.terminal"]
    );
    assert_eq!(wrong(&start(&["a\0b"])), ["start.command"]);
    assert_eq!(wrong(&start(&["x"; MAX_COMMAND_WORDS + 1])), ["start.command"]);
}

#[test]
fn the_history_shows_the_name_of_a_program_and_nothing_else() {
    let mut secret = start(&["/usr/bin/mysql", "--password=hunter2"]);
    secret.environment.insert("TOKEN".to_owned(), "hunter3".to_owned());
    assert_eq!(secret.shown(), "mysql");
    // Also where a whole command line is one word.
    for (command, shown) in [
        ("/usr/bin/mysql -uroot -phunter2", "mysql"),
        ("curl https://u:p@h/x?token=SECRET", "curl"),
        ("https://u:p@h/x?token=SECRET", "x"),
        ("FOO=secret cmd", "FOO"),
        ("\tpython3.12\u{a0}-c 'secret'", "python3.12"),
        ("g++", "g++"),
        ("/", "a program"),
        (" ", "a program"),
        ("$(cat /etc/shadow)", "a program"),
        ("\x1b[31mred", "a program"),
    ] {
        assert_eq!(start(&[command]).shown(), shown, "{command:?}");
    }
    assert_eq!(start(&[&"x".repeat(1000)]).shown().len(), SHOWN);
}
