use super::*;

fn parsed(text: &str) -> Reference {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn short_names_are_docker_hubs() {
    assert_eq!(parsed("alpine").to_string(), "docker.io/library/alpine");
    assert_eq!(parsed("alpine").version(), "latest");
    assert_eq!(parsed("grafana/grafana:11").to_string(), "docker.io/grafana/grafana:11");
}

#[test]
fn a_port_is_no_tag_and_a_digest_wins_over_a_tag() {
    let reference = parsed("127.0.0.1:5000/a/b:c");
    assert_eq!((reference.registry(), reference.version()), ("127.0.0.1:5000", "c"));
    assert_eq!(parsed("127.0.0.1:5000/a").version(), "latest");
    assert_eq!(parsed("[::1]:5000/a").registry(), "[::1]:5000");
    let digest = format!("sha256:{}", "0f".repeat(32));
    let reference = parsed(&format!("ghcr.io/a/b:c@{digest}"));
    assert_eq!(reference.version(), digest);
}

#[test]
fn what_could_lead_elsewhere_is_no_reference() {
    for text in [
        "",
        "ghcr.io/",
        "ghcr.io/../a",
        "ghcr.io/a/..",
        "ghcr.io/A",
        "ghcr.io/a:",
        "ghcr.io/a:b c",
        "ghcr.io/a@sha256:12",
        "ghcr.io/a@sha512:12",
        "ghcr.io:99999/a",
        "gh\ncr.io/a",
        "user@ghcr.io/a",
        "ghcr.io/a?b",
        "ghcr.io/a#b",
        "ghcr.io//a",
        "[zz]:1/a",
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text:?} was taken");
    }
}
