//! Claims about `banger token`.

use banger_client::v1::Role;
use banger_fake_server as fake;

use crate::command::run;

#[test]
fn the_secret_alone_goes_to_standard_output_and_what_it_is_good_for_beside_it() {
    let server = fake::start();
    let ran = run(&server, &["token", "create", "ci", "--role", "operator", "--ttl", "30d"]);
    assert_eq!((ran.code, &*ran.out), (0, "bgr_0000000000000001_ci\n"), "{}", ran.err);
    assert!(
        ran.err.starts_with("ci is operator with it, until 2026-12-22T08:00:00Z"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("banger token revoke ci"), "{}", ran.err);
    let token = server.state().tokens["ci"].clone();
    assert_eq!(token.role(), Role::Operator);
    let ran = run(&server, &["token", "create", "wall", "--role", "viewer", "-o", "json"]);
    let made: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(made["secret"], "bgr_0000000000000002_wall");
    assert_eq!(made["token"]["role"], "ROLE_VIEWER");
    let ran = run(&server, &["token", "create", "root", "--role", "admin", "-o", "name"]);
    assert_eq!(ran.out, "bgr_0000000000000003_root\n");
}

#[test]
fn a_role_is_asked_for_and_a_name_that_is_taken_is_a_conflict() {
    let server = fake::start();
    assert_eq!(run(&server, &["token", "create", "ci"]).code, 2);
    assert_eq!(run(&server, &["token", "create", "ci", "--role", "root"]).code, 2);
    assert!(server.state().tokens.is_empty());
    let create = ["token", "create", "ci", "--role", "viewer"];
    assert_eq!(run(&server, &create).code, 0);
    assert_eq!(run(&server, &create).code, 4);
}

#[test]
fn a_secret_that_was_lost_on_the_way_is_an_error_that_says_what_to_do() {
    let server = fake::start();
    server.state().swallow_next_secret = true;
    let ran = run(&server, &["token", "create", "ci", "--role", "viewer"]);
    assert_eq!((ran.code, &*ran.out), (1, ""));
    assert!(ran.err.contains("banger token revoke ci"), "{}", ran.err);
}

#[test]
fn tokens_are_listed_without_secrets_and_taken_back_by_name_or_id() {
    let server = fake::start();
    let ran = run(&server, &["token", "ls"]);
    assert_eq!((ran.code, &*ran.out), (0, ""));
    assert!(ran.err.starts_with("No tokens."), "{}", ran.err);
    for (name, role) in [("ci", "operator"), ("wall", "viewer")] {
        assert_eq!(run(&server, &["token", "create", name, "--role", role]).code, 0);
    }
    assert_eq!(run(&server, &["token", "ls", "-o", "name"]).out, "ci\nwall\n");
    let ran = run(&server, &["token", "ls"]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[0].starts_with("NAME   ROLE"), "{}", ran.out);
    assert!(lines[1].starts_with("ci     operator   bgr_0000000000000001"), "{}", ran.out);
    assert!(lines[2].contains("never"), "{}", ran.out);
    let ran = run(&server, &["token", "revoke", "ci"]);
    assert_eq!(ran.code, 2, "nobody confirmed it");
    let ran = run(&server, &["token", "revoke", "ci", "bgr_0000000000000002", "--yes"]);
    assert_eq!((ran.code, &*ran.out), (0, "ci is taken back\nwall is taken back\n"));
    assert_eq!(run(&server, &["token", "revoke", "ci", "--yes"]).code, 3);
}

#[test]
fn what_goes_or_stays_with_a_token_is_named_and_the_list_shows_by_which_it_was_made() {
    let server = fake::start();
    for (name, maker) in [("root", 0), ("bot", 1), ("mallory", 0), ("backup", 3)] {
        assert_eq!(run(&server, &["token", "create", name, "--role", "admin"]).code, 0);
        if maker > 0 {
            let made = &mut server.state().tokens;
            made.get_mut(name).unwrap().created_by_token = format!("bgr_{maker:016x}");
        }
    }
    let ran = run(&server, &["token", "ls"]);
    assert!(ran.out.contains("local (bgr_00000000)"), "{}", ran.out);
    let ran = run(&server, &["token", "revoke", "mallory", "--yes"]);
    let told = "mallory is taken back\n  bgr_0000000000000004  backup  went with it\n";
    assert_eq!((ran.code, &*ran.out), (0, told));
    let ran = run(&server, &["token", "revoke", "root", "--keep-made", "--yes"]);
    let told = "root is taken back\n  bgr_0000000000000002  bot  was made with it and stays\n";
    assert_eq!((ran.code, &*ran.out), (0, told));
    assert_eq!(run(&server, &["token", "ls", "-o", "name"]).out, "bot\n");
}

#[test]
fn a_token_that_is_not_there_is_not_called_taken_back() {
    let server = fake::start();
    assert_eq!(run(&server, &["token", "create", "ci", "--role", "viewer"]).code, 0);
    let ran = run(&server, &["token", "revoke", "root", "ci", "--yes", "--allow-missing"]);
    assert_eq!((ran.code, &*ran.out), (0, "ci is taken back\n"));
    assert!(ran.err.contains("There is no token root."), "{}", ran.err);
    assert!(ran.err.contains("token file"), "{}", ran.err);
    let ran =
        run(&server, &["token", "revoke", "root", "--yes", "--allow-missing", "--output", "name"]);
    assert_eq!((ran.code, &*ran.out), (0, ""));
}

#[test]
fn a_mistyped_token_is_named() {
    let server = fake::start();
    assert_eq!(run(&server, &["token", "create", "builder", "--role", "viewer"]).code, 0);
    let ran = run(&server, &["token", "revoke", "bilder", "--yes"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("did you mean \"builder\"?"), "{}", ran.err);
}
