//! Claims about addresses, tokens and CAs, before anything is sent.

use super::*;

fn url(text: &str) -> String {
    Endpoint::new(text).map_or_else(|error| error.to_string(), |e| e.server().to_owned())
}

#[test]
fn an_address_is_completed_as_people_mean_it() {
    for (given, meant) in [
        ("http://127.0.0.1:7070", "http://127.0.0.1:7070"),
        ("127.0.0.1:7070", "http://127.0.0.1:7070"),
        ("localhost", "http://localhost:7070"),
        ("[::1]:9", "http://[::1]:9"),
        ("[::1]", "http://[::1]:7070"),
        ("banger.example", "https://banger.example:7070"),
        ("HTTPS://banger.example:443/", "https://banger.example:443"),
        (" http://a:1 ", "http://a:1"),
    ] {
        assert_eq!(url(given), meant, "{given}");
    }
}

#[test]
fn a_bad_address_is_refused_with_the_reason_and_an_example() {
    for (given, why) in [
        ("", "it is empty"),
        ("ftp://a", "only http and https are known"),
        ("http://a:0", "the port is not a number from 1 to 65535"),
        ("http://a:seventy", "the port is not a number from 1 to 65535"),
        ("http://a:99999", "the port is not a number from 1 to 65535"),
        ("http://a/b", "a server address has no path"),
        ("http://me@a", "a server address has no user name"),
        ("http://", "it does not parse as host and port"),
        ("a b", "it does not parse as host and port"),
    ] {
        let said = url(given);
        assert!(said.contains(why), "{given:?}: {said}");
        assert!(said.contains("http://127.0.0.1:7070"), "{given:?}: {said}");
        assert!(!said.contains('\n'), "{given:?}: {said}");
    }
}

#[test]
fn a_token_goes_in_plain_text_to_this_machine_only() {
    let near = Endpoint::new("127.0.0.1").unwrap().token("t").unwrap();
    assert!(near.transport().is_ok());
    let far = Endpoint::new("http://192.0.2.1").unwrap().token("t").unwrap();
    assert!(matches!(far.transport(), Err(EndpointError::PlaintextToken { .. })));
    assert!(far.clone().allow_plaintext_token(true).transport().is_ok());
    assert!(Endpoint::new("http://192.0.2.1").unwrap().transport().is_ok());
}

#[test]
fn a_token_that_no_header_can_carry_is_refused() {
    for bad in ["", "  ", "a b", "a\nb", "tökén"] {
        let refused = Endpoint::new("localhost").unwrap().token(bad);
        assert!(matches!(refused, Err(EndpointError::Token)), "{bad:?}");
    }
    // A file usually ends with a newline.
    assert!(Endpoint::new("localhost").unwrap().token("secret\n").is_ok());
}

#[test]
fn a_ca_without_a_certificate_is_refused_at_once() {
    let endpoint = || Endpoint::new("https://a").unwrap();
    assert!(matches!(endpoint().ca_pem(b"hello"), Err(EndpointError::NoCertificate { .. })));
    let missing = endpoint().ca_file(Path::new("/nonexistent/ca.crt"));
    assert!(matches!(missing, Err(EndpointError::ReadCa(_))));
}

#[test]
fn debug_output_never_shows_the_token() {
    let endpoint = Endpoint::new("localhost").unwrap().token("hunter2").unwrap();
    assert!(!format!("{endpoint:?}").contains("hunter2"));
}

/// Somebody of another user who listens here and says whether he hears anything, once.
const STRANGER: &str = r#"
import os, socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    if connection.recv(1):
        print("something", flush=True)
        os._exit(0)
    print("nothing", flush=True)
"#;

/// Ended also when the test fails.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn priv_a_local_user_who_listens_in_the_servers_place_gets_no_token() {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};
    #[expect(clippy::disallowed_methods, reason = "somebody who listens")]
    let mut command = Command::new("python3");
    command.args(["-c", STRANGER]).uid(65_534).gid(65_534).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut stranger = Ended(command.spawn().unwrap());
    let mut hears = BufReader::new(stranger.0.stdout.take().unwrap()).lines();
    let port = hears.next().unwrap().unwrap();

    let endpoint = Endpoint::new(&format!("http://127.0.0.1:{port}")).unwrap();
    let with_token = endpoint.token("hunter2").unwrap().deadline(Duration::from_secs(5));
    let error = Client::connect(&with_token).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("uid 65534") && said.contains("not sent"), "{said}");
    assert!(error.advice().contains("--insecure-plaintext"), "{}", error.advice());
    assert_eq!(hears.next().unwrap().unwrap(), "nothing");
    // One that connects later looks as well.
    let client = Client::connect_lazy(&with_token).unwrap();
    let error = client.hosts().get("h").await.unwrap_err();
    assert!(error.to_string().contains("uid 65534"), "{error}");
    assert_eq!(hears.next().unwrap().unwrap(), "nothing");
    // Whoever insists is heard, as it was before.
    let insists = with_token.allow_plaintext_token(true);
    let client = Client::connect(&insists).await.unwrap();
    assert!(client.hosts().get("h").await.is_err(), "he is no server");
    assert_eq!(hears.next().unwrap().unwrap(), "something");
}

#[tokio::test]
async fn a_name_is_of_the_project_that_is_meant_and_an_id_of_none() {
    let endpoint = Endpoint::new("localhost").unwrap().project("shop").unwrap();
    let link = Client::connect_lazy(&endpoint).unwrap().link;
    let id = "01920000-0000-7000-8000-000000000001";
    for (given, sent) in [
        ("web", "shop/web"),
        ("lab/web", "lab/web"),
        ("", ""),
        (id, id),
        ("bgr_0123456789abcdef", "bgr_0123456789abcdef"),
    ] {
        assert_eq!(link.named(given), sent);
    }
    assert_eq!((link.project(""), link.project("lab")), ("shop".to_owned(), "lab".to_owned()));
    let plain = Client::connect_lazy(&Endpoint::new("localhost").unwrap()).unwrap().link;
    assert_eq!((plain.named("web"), plain.project("")), ("web".to_owned(), String::new()));
    for bad in ["", "A", "a b", "a/b"] {
        assert!(Endpoint::new("localhost").unwrap().project(bad).is_err(), "{bad:?}");
    }
}
