use super::*;

fn args(user: &str, args: &[&str]) -> SshArgs {
    SshArgs {
        vm: "web".to_owned(),
        user: user.to_owned(),
        args: args.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn ssh_goes_through_a_forward_and_knows_the_guest_by_its_id() {
    let flags = ["--server".to_owned(), "http://127.0.0.1:7070".to_owned()];
    let words =
        arguments(Path::new("/usr/bin/banger"), "0192", &args("me", &["uname", "-a"]), &flags);
    assert_eq!(
        words,
        [
            "-o",
            "ProxyCommand='/usr/bin/banger' '--server' 'http://127.0.0.1:7070' vm forward 0192 22 \
             --stdio",
            "-o",
            "HostKeyAlias=banger-0192",
            "-l",
            "me",
            "banger-0192",
            "uname",
            "-a"
        ]
    );
}

#[test]
fn a_path_with_quotes_and_percents_is_one_word() {
    assert_eq!(quoted("/a b/it's 100%"), "'/a b/it'\\''s 100%%'");
}
