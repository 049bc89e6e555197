use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::oci::tests::{LayoutMaker, of_platforms};
use crate::testing::{Bench, TarMaker, assert_clean, cat, gzip};
use crate::{Credentials, ErrorClass, Made, Source, Wanted, make};

/// What one path answers: a status, headers and a body.
type Page = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// Answers by path. Asks for the header where one is wanted, as a registry does.
#[derive(Default)]
struct Pages {
    by_path: BTreeMap<String, Page>,
    /// Without this `Authorization` everything but a token is refused, in these words.
    wanted: Option<(String, String)>,
    asked: Mutex<Vec<(String, Option<String>)>>,
    /// These paths fail so often before they answer: by a status, or by an end in the middle.
    failing: Mutex<BTreeMap<String, Vec<u16>>>,
}

impl Pages {
    fn of(maker: &LayoutMaker) -> Self {
        let mut pages = Self::default();
        for (digest, bytes) in &maker.blobs {
            for kind in ["blobs", "manifests"] {
                pages.put(&format!("/v2/team/app/{kind}/sha256:{digest}"), bytes);
            }
        }
        pages.put("/v2/team/app/manifests/v1", maker.index.to_string().as_bytes());
        pages
    }

    fn put(&mut self, path: &str, bytes: &[u8]) {
        self.by_path.insert(path.to_owned(), (200, Vec::new(), bytes.to_vec()));
    }

    fn answer(&self, path: &str, authorization: Option<&str>) -> Page {
        self.asked.lock().push((path.to_owned(), authorization.map(str::to_owned)));
        if let Some((header, challenge)) = &self.wanted
            && path.starts_with("/v2/")
            && authorization != Some(header)
        {
            return (401, vec![("WWW-Authenticate", challenge.clone())], Vec::new());
        }
        let failing = self.failing.lock().get_mut(path).and_then(Vec::pop);
        if let Some(status) = failing {
            return (status, vec![("Retry-After", "0".to_owned())], Vec::new());
        }
        let page = self.by_path.get(path).cloned();
        page.unwrap_or((404, Vec::new(), b"{}".to_vec()))
    }
}

/// Serves pages on a loopback address for as long as the test runs; gives host and port.
async fn serve(pages: impl FnOnce(&str) -> Pages) -> (String, Arc<Pages>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let at = listener.local_addr().expect("it has an address").to_string();
    let pages = Arc::new(pages(&at));
    let shared = pages.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let pages = shared.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await?);
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default();
                let authorization = request.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("authorization").then_some(value)
                });
                let (status, headers, body) = pages.answer(path, authorization);
                let mut head =
                    format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n", body.len());
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                // No status: an answer that breaks off.
                if status == 0 {
                    let cut = b"HTTP/1.1 200 Said\r\nContent-Length: 1000\r\n\r\nhalf";
                    stream.write_all(cut).await?;
                    return stream.shutdown().await;
                }
                stream.write_all(format!("{head}\r\n").as_bytes()).await?;
                stream.write_all(&body).await?;
                stream.shutdown().await
            });
        }
    });
    (at, pages)
}

fn image() -> LayoutMaker {
    let base = gzip(&TarMaker::new().file("etc/motd", b"pulled").finish());
    let empty = gzip(&TarMaker::new().finish());
    LayoutMaker::of_layers(&[base, empty.clone(), empty])
}

/// Options by which registries of the test's own are asked, and quickly.
fn near(bench: &Bench) -> Options {
    let mut options = bench.options.clone();
    options.registries.local = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    options.registries.back_off = Duration::from_millis(1);
    options
}

async fn import(bench: &Bench, at: &str, version: &str) -> Result<Made, ImportError> {
    import_with(bench, near(bench), at, version).await
}

async fn import_with(
    bench: &Bench,
    options: Options,
    at: &str,
    version: &str,
) -> Result<Made, ImportError> {
    std::fs::create_dir_all(bench.dir.path().join("out")).expect("a directory can be made");
    let reference = format!("{at}/team/app{version}").parse().expect("it is a reference");
    let source = Source::Registry(reference);
    let made = make(source, Wanted::Auto, options, bench.out(), Arc::new(|_| ())).await;
    let left = std::fs::read_dir(bench.dir.path().join("out")).expect("it is there").count();
    assert_eq!(left, usize::from(made.is_ok()), "nothing but the output is left: {made:?}");
    made
}

async fn refusal(pages: Pages) -> ImportError {
    let (at, _) = serve(|_| pages).await;
    import(&Bench::new(), &at, ":v1").await.expect_err("it is refused")
}

#[tokio::test]
async fn an_image_is_pulled_by_its_tag_and_by_its_digest() {
    let maker = image();
    let digest = maker.index["manifests"][0]["digest"].as_str().expect("a digest").to_owned();
    let (at, _) = serve(|_| Pages::of(&maker)).await;
    for version in [":v1".to_owned(), format!("@{digest}"), format!(":v1@{digest}")] {
        let bench = Bench::new();
        let made = import(&bench, &at, &version).await.unwrap_or_else(|e| panic!("{e}: {e:?}"));
        assert!(made.notes.contains(&crate::Note::Manifest(digest.clone())), "{:?}", made.notes);
        assert_clean(&bench.out());
        assert_eq!(cat(&bench.out(), "/etc/motd"), "pulled");
    }
}

#[tokio::test]
async fn of_several_platforms_in_a_registry_the_wanted_one_is_pulled() {
    let maker = of_platforms(&["linux/arm64", "linux/amd64"]);
    let (at, _) = serve(|_| Pages::of(&maker)).await;
    for wanted in ["linux/amd64", "linux/arm64"] {
        let bench = Bench::new();
        let mut options = near(&bench);
        options.platform = wanted.parse().expect("a platform");
        let made = import_with(&bench, options, &at, ":v1").await;
        made.unwrap_or_else(|error| panic!("{wanted}: {error}: {error:?}"));
        assert_eq!(cat(&bench.out(), "/etc/motd"), wanted);
    }
    let bench = Bench::new();
    let mut options = near(&bench);
    options.platform = "linux/s390x".parse().expect("a platform");
    let error = import_with(&bench, options, &at, ":v1").await.expect_err("it is not there");
    assert!(error.to_string().contains("only for linux/amd64, linux/arm64"), "{error}");
}

#[tokio::test]
async fn a_blob_or_manifest_that_is_not_what_was_asked_for_is_refused() {
    let maker = image();
    for (digest, bytes) in &maker.blobs {
        for (change, kind) in [(0, "digest"), (1, "short"), (2, "long")] {
            let mut other = bytes.clone();
            match change {
                0 => other[5] ^= 1,
                1 => drop(other.pop()),
                _ => other.push(0),
            }
            let mut pages = Pages::of(&maker);
            for place in ["blobs", "manifests"] {
                pages.put(&format!("/v2/team/app/{place}/sha256:{digest}"), &other);
            }
            let error = refusal(pages).await;
            assert_eq!(error.class(), ErrorClass::Refused, "{kind} {digest}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_layer_larger_than_the_limit_is_not_begun() {
    let mut bench = Bench::new();
    bench.options.limits.source_bytes = 300;
    let (at, pages) = serve(|_| Pages::of(&image())).await;
    let error = import(&bench, &at, ":v1").await.expect_err("it is too large");
    assert_eq!(error.class(), ErrorClass::TooLarge, "{error:?}");
    assert!(pages.asked.lock().iter().all(|(path, _)| path.contains("/manifests/")));
}

#[tokio::test]
async fn a_token_is_had_where_the_registry_says_and_sent_to_it_alone() {
    let mut bench = Bench::new();
    bench.options.credentials =
        Some(Credentials { username: "me".to_owned(), password: "secret".to_owned() });
    // The blobs lie elsewhere, as they do with large registries.
    let maker = image();
    let (store, elsewhere) = serve(|_| Pages::of(&maker)).await;
    let (at, pages) = serve(|at| {
        let mut pages = Pages::of(&maker);
        for (path, page) in &mut pages.by_path {
            if path.contains("/blobs/") {
                *page = (307, vec![("Location", format!("http://{store}{path}"))], Vec::new());
            }
        }
        let challenge = format!("Bearer realm=\"http://{at}/token\",service=\"it\"");
        pages.wanted = Some(("Bearer good".to_owned(), challenge));
        let token = "/token?service=it&scope=repository%3Ateam%2Fapp%3Apull";
        pages.put(token, br#"{"token":"good"}"#);
        pages
    })
    .await;
    import(&bench, &at, ":v1").await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let asked = pages.asked.lock();
    let tokens: Vec<_> = asked.iter().filter(|(path, _)| path.starts_with("/token")).collect();
    assert_eq!(tokens.len(), 1, "{asked:?}");
    assert_eq!(tokens[0].1.as_deref(), Some("Basic bWU6c2VjcmV0"));
    let elsewhere = elsewhere.asked.lock();
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|(_, sent)| sent.is_none()));
}

#[tokio::test]
async fn who_is_not_let_in_is_told_so() {
    let mut pages = Pages::of(&image());
    pages.wanted = Some(("Basic x".to_owned(), "Basic realm=\"x\"".to_owned()));
    assert_eq!(refusal(pages).await.class(), ErrorClass::Denied);
    let mut pages = Pages::of(&image());
    pages.wanted = Some(("x".to_owned(), "Negotiate".to_owned()));
    assert_eq!(refusal(pages).await.class(), ErrorClass::Denied);
    let error = refusal(Pages::default()).await;
    assert_eq!(error.class(), ErrorClass::NotFound, "{error:?}");
    assert!(error.to_string().contains("manifests/v1 of team/app answered 404"), "{error}");
}

#[tokio::test]
async fn a_password_that_docker_keeps_is_shown_to_its_registry_and_to_no_other() {
    let bench = Bench::new();
    let shown = "Basic bWU6c2VjcmV0";
    let (at, pages) = serve(|_| {
        let mut pages = Pages::of(&image());
        pages.wanted = Some((shown.to_owned(), "Basic realm=\"x\"".to_owned()));
        pages
    })
    .await;
    let config = bench.dir.path().join("config.json");
    let keep = |registry: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let text = format!(r#"{{"auths":{{"{registry}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#);
        std::fs::write(&config, text).expect("it can be written");
        std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o600)).expect("set");
    };
    let mut options = near(&bench);
    options.registries.docker_config = Some(config.clone());
    keep("other.example");
    let error = import_with(&bench, options.clone(), &at, ":v1").await.expect_err("no password");
    assert_eq!(error.class(), ErrorClass::Denied, "{error:?}");
    assert!(pages.asked.lock().iter().all(|(_, sent)| sent.is_none()), "{:?}", pages.asked.lock());
    keep(&at);
    // Those of the request come before those of the file.
    let mut given = options.clone();
    let (username, password) = ("you".to_owned(), "other".to_owned());
    given.credentials = Some(Credentials { username, password });
    assert!(import_with(&bench, given, &at, ":v1").await.is_err());
    import_with(&bench, options, &at, ":v1").await.expect("it is let in");
    assert!(pages.asked.lock().iter().any(|(_, sent)| sent.as_deref() == Some(shown)));
}

#[tokio::test]
async fn redirects_lead_neither_in_a_circle_nor_off_this_machine_in_the_clear() {
    for location in ["/v2/team/app/manifests/v1", "http://192.0.2.1/x", "ftp://127.0.0.1/", "//"] {
        let mut pages = Pages::default();
        let page = (302, vec![("Location", location.to_owned())], Vec::new());
        pages.by_path.insert("/v2/team/app/manifests/v1".to_owned(), page);
        let error = refusal(pages).await;
        assert_eq!(error.class(), ErrorClass::Unavailable, "{location}: {error:?}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let at = listener.local_addr().expect("it has an address").to_string();
    drop(listener);
    let error = import(&Bench::new(), &at, ":v1").await.expect_err("nobody is there");
    assert_eq!(error.class(), ErrorClass::Unavailable, "{error:?}");
}

#[tokio::test]
async fn an_import_that_is_dropped_leaves_nothing() {
    // A registry that accepts and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let at = listener.local_addr().expect("it has an address").to_string();
    let bench = Bench::new();
    let out = bench.dir.path().join("out");
    tokio::select! {
        biased;
        made = import(&bench, &at, ":v1") => panic!("{made:?}"),
        accepted = listener.accept() => drop(accepted.expect("it is asked")),
    }
    assert!(bench.options.cancel.is_cancelled());
    assert_eq!(std::fs::read_dir(out).expect("it is there").count(), 0);
}

#[tokio::test]
async fn addresses_of_the_server_itself_are_not_asked_unless_an_operator_names_them() {
    let (at, pages) = serve(|_| Pages::of(&image())).await;
    let port = at.rsplit(':').next().expect("a port").to_owned();
    for at in [at.clone(), format!("localhost:{port}"), format!("[::1]:{port}")] {
        let bench = Bench::new();
        let options = bench.options.clone();
        let error = import_with(&bench, options, &at, ":v1").await.expect_err("it is refused");
        assert_eq!(error.class(), ErrorClass::Refused, "{at}: {error:?}");
        assert!(error.to_string().contains("images.local_registries"), "{error}");
    }
    assert!(pages.asked.lock().is_empty(), "nobody was asked");
    // Nobody can tell from the answer whether anybody listens there.
    let bench = Bench::new();
    let options = bench.options.clone();
    let nobody = import_with(&bench, options, "127.0.0.1:1", ":v1").await.expect_err("refused");
    assert_eq!(nobody.class(), ErrorClass::Refused);
}

#[tokio::test]
async fn neither_a_redirect_nor_a_token_leads_to_where_nobody_may_ask() {
    let (secret, asked) = serve(|_| Pages::default()).await;
    let secret = secret.replace("127.0.0.1", "localhost");
    for place in [format!("http://{secret}/x"), "http://169.254.169.254/latest/".to_owned()] {
        let redirected = serve(|_| {
            let mut pages = Pages::of(&image());
            let page = (307, vec![("Location", place.clone())], Vec::new());
            pages.by_path.insert("/v2/team/app/manifests/v1".to_owned(), page);
            pages
        });
        let with_token = serve(|_| {
            let mut pages = Pages::of(&image());
            let challenge = format!("Bearer realm=\"{place}\"");
            pages.wanted = Some(("Bearer good".to_owned(), challenge));
            pages
        });
        for (at, _) in [redirected.await, with_token.await] {
            let bench = Bench::new();
            let mut options = near(&bench);
            // The registry itself may be asked, and nothing else.
            options.registries.local = vec![at.clone()];
            let error = import_with(&bench, options, &at, ":v1").await.expect_err("refused");
            assert_eq!(error.class(), ErrorClass::Refused, "{place}: {error:?}");
        }
    }
    assert!(asked.asked.lock().is_empty(), "nobody was asked");
}

#[tokio::test]
async fn a_password_is_shown_to_nobody_whom_the_registry_leads_to() {
    let (thief, shown) = serve(|at| {
        let challenge = format!("Bearer realm=\"http://{at}/token\"");
        Pages { wanted: Some(("Bearer good".to_owned(), challenge)), ..Pages::default() }
    })
    .await;
    let (at, _) = serve(|_| {
        let mut pages = Pages::of(&image());
        let page = (307, vec![("Location", format!("http://{thief}/v2/x"))], Vec::new());
        pages.by_path.insert("/v2/team/app/manifests/v1".to_owned(), page);
        pages
    })
    .await;
    let bench = Bench::new();
    let mut options = near(&bench);
    options.credentials =
        Some(Credentials { username: "me".to_owned(), password: "secret".to_owned() });
    let error = import_with(&bench, options, &at, ":v1").await.expect_err("it is refused");
    assert!(error.to_string().contains("answered 401"), "{error}");
    let shown = shown.asked.lock();
    assert_eq!(*shown, [("/v2/x".to_owned(), None)], "asked once, with nothing");
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    let maker = image();
    for (failures, good) in
        [(vec![503], true), (vec![429, 0], true), (vec![500; 3], false), (vec![403], false)]
    {
        let (at, pages) = serve(|_| Pages::of(&maker)).await;
        let layer = format!("/v2/team/app/blobs/sha256:{}", maker.blobs[1].0);
        for path in [layer.clone(), "/v2/team/app/manifests/v1".to_owned()] {
            pages.failing.lock().insert(path, failures.clone());
        }
        let made = import(&Bench::new(), &at, ":v1").await;
        assert_eq!(made.is_ok(), good, "{failures:?}: {made:?}");
        let asked = pages.asked.lock().iter().filter(|(path, _)| *path == layer).count();
        assert_eq!(asked, if good { failures.len() + 1 } else { 0 }, "{failures:?}");
    }
}

#[tokio::test]
async fn a_registry_that_drips_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let at = listener.local_addr().expect("it has an address").to_string();
    let dripping = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await?;
        let mut every = tokio::time::interval(Duration::from_millis(20));
        loop {
            every.tick().await;
            stream.write_all(b"x").await?;
        }
        #[expect(unreachable_code, reason = "says what the loop fails with")]
        Ok::<(), std::io::Error>(())
    });
    let bench = Bench::new();
    let mut options = near(&bench);
    options.registries.patience.window = Duration::from_millis(200);
    let error = import_with(&bench, options, &at, ":v1").await.expect_err("it is given up");
    assert_eq!(error.class(), ErrorClass::Unavailable, "{error:?}");
    assert!(error.to_string().contains("is too slow"), "{error}");
    assert!(dripping.await.expect("no panic").is_err(), "nobody reads any more");
}

#[tokio::test]
async fn an_import_has_an_end_whatever_its_registry_does() {
    // A registry that accepts and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let at = listener.local_addr().expect("it has an address").to_string();
    let bench = Bench::new();
    let mut options = near(&bench);
    options.deadline = Some(Duration::from_millis(100));
    let cancel = options.cancel.clone();
    let error = import_with(&bench, options, &at, ":v1").await.expect_err("it ends");
    assert!(matches!(error, ImportError::TooLong { .. }), "{error:?}");
    assert!(cancel.is_cancelled(), "what runs on threads ends too");
}

#[tokio::test]
async fn a_pull_keeps_to_the_room_that_is_left_to_others() {
    let (at, _) = serve(|_| Pages::of(&image())).await;
    let bench = Bench::new();
    let mut options = near(&bench);
    let directory = bench.dir.path().to_owned();
    options.room = Some(crate::Room { directory, reserve_bytes: u64::MAX });
    let error = import_with(&bench, options, &at, ":v1").await.expect_err("there is no room");
    assert!(matches!(error, ImportError::NoRoom { .. }), "{error:?}");
}

#[tokio::test]
async fn a_proxy_is_asked_for_what_is_not_this_machine() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let proxy_at = proxy.local_addr().expect("it has an address");
    let asked = tokio::spawn(async move {
        let mut lines = Vec::new();
        for _ in 0..3 {
            let (mut stream, _) = proxy.accept().await.expect("it is asked");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.expect("a request"));
            }
            let answer = b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.expect("it is read");
            lines.push(String::from_utf8_lossy(&request).lines().next().map(str::to_owned));
        }
        lines
    });
    let bench = Bench::new();
    let mut options = near(&bench);
    options.registries.proxy = Some(format!("http://{proxy_at}"));
    let error = import_with(&bench, options.clone(), "registry.example", ":v1").await;
    let error = error.expect_err("the proxy says no");
    assert_eq!(error.class(), ErrorClass::Unavailable, "{error:?}");
    let first = asked.await.expect("it was asked at each try").swap_remove(0);
    assert_eq!(first.as_deref(), Some("CONNECT registry.example:443 HTTP/1.1"));
    // The proxy is gone by now; this machine is asked without it.
    let (at, _) = serve(|_| Pages::of(&image())).await;
    import_with(&bench, options, &at, ":v1").await.expect("it is asked");
}
