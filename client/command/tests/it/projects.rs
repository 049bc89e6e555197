//! Claims about `--project`, `banger whoami` and tables of several projects.

use banger_client::v1::Vm;
use banger_fake_server as fake;

use crate::command::run;

#[test]
fn a_name_is_of_the_project_that_is_meant_unless_it_says_another() {
    let server = fake::start();
    for (of, name) in [("shop", "web"), ("lab", "web")] {
        // The server in memory knows no projects: to it this is a name.
        let name = format!("{of}/{name}");
        let vm = Vm { name: name.clone(), project: of.to_owned(), ..Vm::default() };
        server.state().vms.insert(name, vm);
    }
    for (args, of) in [
        (&["--project", "shop", "vm", "get", "web", "-o", "json"][..], "shop"),
        (&["--project", "shop", "vm", "get", "lab/web", "-o", "json"], "lab"),
        (&["vm", "get", "lab/web", "-o", "json"], "lab"),
    ] {
        let ran = run(&server, args);
        let shown: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(shown["project"], of, "{args:?} {}", ran.err);
    }
    assert_eq!(run(&server, &["vm", "get", "web"]).code, 3, "of no project but default");
    let ran = run(&server, &["--project", "A/b", "vm", "ls"]);
    assert!(ran.code != 0 && ran.err.contains("no name of a project"), "{}", ran.err);
}

#[test]
fn a_table_shows_projects_where_there_are_several() {
    let server = fake::start();
    let vm = |name: &str, of: &str| Vm {
        name: name.to_owned(),
        project: of.to_owned(),
        ..Vm::default()
    };
    server.state().vms.insert("a".to_owned(), vm("a", "shop"));
    assert!(!run(&server, &["vm", "ls"]).out.contains("PROJECT"));
    server.state().vms.insert("b".to_owned(), vm("b", "lab"));
    let ran = run(&server, &["vm", "ls"]);
    let begins = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next().unwrap().to_owned(), words.next().unwrap().to_owned())
    };
    let rows: Vec<_> = ran.out.lines().map(begins).collect();
    let word = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(rows, [word("PROJECT", "NAME"), word("shop", "a"), word("lab", "b")]);
}

#[test]
fn a_token_of_a_project_is_made_and_shown_as_one() {
    let server = fake::start();
    let create = ["token", "create", "ann", "--project", "shop", "--role", "developer"];
    let ran = run(&server, &create);
    assert!(ran.err.starts_with("shop/ann is developer of project shop with it"), "{}", ran.err);
    assert_eq!(server.state().tokens["ann"].project, "shop");
    let ran = run(&server, &["token", "ls"]);
    assert!(ran.out.lines().any(|line| line.starts_with("shop/ann")), "{}", ran.out);
    assert_eq!(run(&server, &["whoami"]).out, "local is admin of the whole fleet\n");
}
