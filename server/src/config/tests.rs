use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

fn parse(text: &str) -> Result<ServerConfig, toml::de::Error> {
    toml::from_str(text)
}

fn problems(text: &str) -> Vec<String> {
    match parse(text).expect("parses").check() {
        Ok(()) => Vec::new(),
        Err(ConfigError::Invalid(problems)) => problems,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn an_empty_file_is_the_defaults_and_they_are_valid() {
    assert_eq!(parse("").expect("parses"), ServerConfig::default());
    ServerConfig::default().check().expect("valid");
    ServerConfig::default().ledger().expect("valid");
}

#[test]
fn the_defaults_round_trip_through_toml() {
    let text = toml::to_string(&ServerConfig::default()).expect("serializes");
    assert_eq!(parse(&text).expect("parses"), ServerConfig::default());
}

#[test]
fn unknown_keys_are_refused_everywhere() {
    for text in [
        "lisen = \"127.0.0.1:1\"",
        "[auth]\ntoken = \"x\"",
        "[tls]\ncert = \"a\"\nkey = \"b\"\nca = \"c\"",
        "[placement]\nx = 1",
        "[limits]\nx = 1",
        "[telemetry]\nx = 1",
        "[agents]\nx = 1",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn all_problems_are_listed_at_once() {
    let found = problems(
        "listen = \"0.0.0.0:7070\"\nmetrics_listen = \"0.0.0.0:7070\"\ndomain = \"a..b\"\n\
         guest_pool = \"10.64.0.1/10\"\nguest_prefix = 30\n[placement]\nvcpu_overcommit = 0.0\n\
         memory_overcommit = nan\n[limits]\nmax_vms = 0\nmax_hosts = 0\nmax_audit_records = 0\n[agents]\n\
         offline_after_secs = 0\n",
    );
    assert_eq!(found.len(), 11, "{found:#?}");
}

#[test]
fn plain_text_beyond_loopback_needs_an_explicit_word() {
    let open = "listen = \"0.0.0.0:7070\"\ninsecure_anonymous = true\n";
    assert_eq!(problems(open).len(), 1);
    assert_eq!(problems(&format!("{open}insecure_plaintext = true\n")), [""; 0]);
    let tls = "[tls]\ncert = \"/etc/banger/tls.crt\"\nkey = \"/etc/banger/tls.key\"\n";
    assert_eq!(problems(&format!("{open}{tls}")), [""; 0]);
    for local in ["127.0.0.1:7070", "127.9.9.9:7070", "[::1]:7070"] {
        assert_eq!(problems(&format!("listen = \"{local}\"\n")), [""; 0]);
    }
}

#[test]
fn beyond_loopback_nobody_is_let_in_without_saying_who_they_are() {
    let tls = "[tls]\ncert = \"/etc/banger/tls.crt\"\nkey = \"/etc/banger/tls.key\"\n";
    for listen in ["0.0.0.0:7070", "[::]:7070", "192.0.2.1:7070", "[2001:db8::1]:7070"] {
        let listen = format!("listen = \"{listen}\"\n");
        assert_eq!(problems(&format!("{listen}{tls}")), [""; 0]);
        let tokens = "[auth]\ntoken_file = \"/etc/banger/tokens\"\n";
        assert_eq!(problems(&format!("{listen}{tls}{tokens}")), [""; 0]);
        assert_eq!(problems(&format!("{listen}insecure_anonymous = true\n{tls}")), [""; 0]);
    }
    assert!(!ServerConfig::default().lets_strangers_in(), "loopback is this machine alone");
    let both = problems("insecure_anonymous = true\n[auth]\nask_for_tokens = true\n");
    assert!(both[0].contains("say the opposite"), "{both:?}");
}

#[test]
fn beyond_loopback_every_call_needs_a_token_unless_an_operator_insists() {
    let beyond = |anonymous, token_file: Option<&str>| ServerConfig {
        listen: "[::]:7070".parse().expect("an address"),
        insecure_anonymous: anonymous,
        auth: AuthConfig { token_file: token_file.map(PathBuf::from), ..AuthConfig::default() },
        ..ServerConfig::default()
    };
    let asks = |config: ServerConfig| (config.asks_for_tokens(), config.lets_strangers_in());
    assert_eq!(asks(beyond(false, None)), (true, false), "though it has none: it makes one");
    assert_eq!(asks(beyond(true, None)), (false, true));
    assert_eq!(asks(beyond(true, Some("/tokens"))), (true, false));
    assert_eq!(asks(ServerConfig::default()), (false, false));
    let auth = AuthConfig { ask_for_tokens: true, ..AuthConfig::default() };
    assert_eq!(asks(ServerConfig { auth, ..ServerConfig::default() }), (true, false));
}

#[test]
fn what_strangers_can_reach_is_warned_of() {
    let warnings = |metrics: &str, anonymous: bool| {
        let mut config = ServerConfig {
            metrics_listen: metrics.parse().expect("an address"),
            ..ServerConfig::default()
        };
        if anonymous {
            config.listen = "[::]:7070".parse().expect("an address");
            config.insecure_anonymous = true;
        }
        config.warnings()
    };
    assert_eq!(warnings("127.0.0.1:7071", false), [""; 0]);
    let found = warnings("0.0.0.0:7071", true);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("insecure_anonymous") && found[1].contains("metrics_listen"));
}

#[test]
fn origins_and_names_that_could_never_match_are_problems_like_others() {
    let found = problems(
        "names = [\"fleet.example.org\", \"Fleet.example.org\", \"10.1\"]\n\
         cors_origins = [\"https://board.example.org\", \"https://board.example.org/\"]\n",
    );
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[2].contains("https://board.example.org/\", which is never sent"), "{found:#?}");
}

#[test]
fn a_pool_smaller_than_one_subnet_is_refused() {
    assert_eq!(problems("guest_pool = \"10.64.0.0/24\"\n").len(), 1);
    assert_eq!(problems("guest_pool = \"10.64.0.0/24\"\nguest_prefix = 24\n"), [""; 0]);
}

#[test]
fn flags_go_over_the_file_and_the_result_is_checked() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("server.toml");
    fs::write(&path, "listen = \"127.0.0.1:1\"\nstate_dir = \"/a\"\n").expect("written");
    let overrides = Overrides {
        listen: Some("127.0.0.1:2".parse().expect("an address")),
        ..Overrides::default()
    };
    let config = ServerConfig::load(Some(&path), overrides).expect("valid");
    assert_eq!((config.listen.port(), config.state_dir.to_str()), (2, Some("/a")));
    let open = Overrides {
        listen: Some("0.0.0.0:2".parse().expect("an address")),
        ..Overrides::default()
    };
    assert!(matches!(ServerConfig::load(Some(&path), open), Err(ConfigError::Invalid(_))));
    let missing = ServerConfig::load(Some(&directory.path().join("no.toml")), Overrides::default());
    assert!(matches!(missing, Err(ConfigError::Read { .. })));
}

#[test]
fn a_token_file_names_a_principal_for_each_token() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("tokens");
    let read = |text: &str| {
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        read_token_file(&path, Owners::Ours)
    };
    let tokens =
        read("# people\nalice 0123456789abcdef\n\n  bob   fedcba9876543210  \n").expect("fine");
    let alice = Principal { name: "alice".into(), rights: Rights::Fleet(Role::Admin) };
    assert_eq!(tokens.get("0123456789abcdef"), Some(&alice), "an admin where nothing is said");
    assert_eq!(tokens.len(), 2);
    let tokens =
        read("a 0123456789abcdef viewer\nb 1123456789abcdef operator\nc 2123456789abcdef admin")
            .expect("fine");
    let roles: Vec<Rights> = tokens.values().map(|principal| principal.rights.clone()).collect();
    assert_eq!(roles, [Role::Viewer, Role::Operator, Role::Admin].map(Rights::Fleet));
    for bad in ["a 0123456789abcdef root", "a 0123456789abcdef viewer more"] {
        assert!(read(bad).is_err(), "{bad}");
    }
    let bad =
        read("alice short\nBob 0123456789abcdef\na 0123456789abcdef\nb 0123456789abcdef\nc\n");
    let Err(ConfigError::Invalid(problems)) = bad else { panic!("{bad:?}") };
    assert_eq!(problems.len(), 4, "{problems:#?}");
    assert!(problems.iter().all(|problem| !problem.contains("0123456789abcdef")));
    let made = format!("bgr_0123456789abcdef_{}", "0".repeat(64));
    let refused = read(&format!("alice {made} viewer\n"));
    let Err(ConfigError::Invalid(problems)) = refused else { panic!("{refused:?}") };
    assert!(problems[0].contains("line 1") && problems[0].contains("made by a call"));
    assert!(!problems[0].contains(&made), "{problems:?}");
    for own in ["banger-server", "local", "anonymous"] {
        let refused = read(&format!("alice 0123456789abcdef\n{own} 1123456789abcdef viewer\n"));
        let Err(ConfigError::Invalid(problems)) = refused else { panic!("{refused:?}") };
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(problems[0].contains("line 2") && problems[0].contains(own), "{problems:?}");
        assert!(problems[0].contains("another name"), "{problems:?}");
    }
    assert!(read("").is_err(), "a file without tokens would let everybody in");
    fs::write(&path, "alice 0123456789abcdef\n").expect("written");
    for mode in [0o640, 0o604, 0o644, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        let error =
            read_token_file(&path, Owners::Ours).expect_err("others may read it").to_string();
        assert!(error.contains("chmod 600"), "{mode:o}: {error}");
    }
}
