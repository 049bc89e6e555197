//! Where a request goes, and what becomes of answers that do not end, or lead elsewhere.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Answers each connection with one of these, and then with the last again and again.
async fn answers(with: Vec<Vec<u8>>) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut turn = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = with[turn.min(with.len() - 1)].clone();
            turn += 1;
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(&answer).await;
                // What has no end is not ended by us.
                if !answer.ends_with(b"}") {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    Url::parse(&format!("http://{at}/keys")).expect("a URL")
}

fn answer(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn leads(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

#[test]
fn only_https_is_asked_and_http_of_this_machine_where_that_is_allowed() {
    for good in ["https://login.example.org", "https://login.example.org:8443/realms/x?y=1"] {
        assert!(address(good, false).is_ok(), "{good}");
    }
    for near in ["http://127.0.0.1:5556/dex", "http://[::1]/", "http://localhost:1"] {
        assert!(address(near, true).is_ok(), "{near}");
        assert!(address(near, false).is_err(), "{near}");
    }
    for bad in [
        "http://login.example.org",
        "http://127.0.0.1.example.org",
        "http://localhost.example.org",
        "ftp://login.example.org",
        "file:///etc/passwd",
        "https://user@login.example.org",
        "https://login.example.org/#part",
        "login.example.org",
        "",
    ] {
        assert!(address(bad, true).is_err(), "{bad}");
    }
}

#[test]
fn an_address_of_somebody_else_steers_no_terminal() {
    let error = address("https://\u{1b}]0;x\u{7}example.org", false).expect_err("no URL");
    assert!(!error.to_string().contains('\u{1b}'), "{error}");
}

#[tokio::test]
async fn an_answer_is_read_whole_and_a_redirect_followed() {
    let web = Web::new(None).expect("a client");
    let url = answers(vec![leads("/elsewhere"), answer("{}")]).await;
    let read = web.get(&url).await.expect("answered");
    assert_eq!((read.status, &*read.body), (200, &b"{}"[..]));
}

#[tokio::test]
async fn a_redirect_leads_to_no_other_scheme_and_not_in_circles() {
    let web = Web::new(None).expect("a client");
    for to in ["http://192.0.2.1/", "file:///etc/passwd", "http://user@127.0.0.1/"] {
        let refused = web.get(&answers(vec![leads(to)]).await).await.expect_err(to);
        assert!(matches!(refused, WebError::Address { .. }), "{to}: {refused:?}");
    }
    let refused = web.get(&answers(vec![leads("/keys")]).await).await.expect_err("a circle");
    assert!(matches!(refused, WebError::Led { .. }), "{refused:?}");
}

#[tokio::test]
async fn what_is_posted_is_shown_to_nobody_else() {
    let web = Web::new(None).expect("a client");
    let elsewhere = answers(vec![answer("{}")]).await;
    let url = answers(vec![leads(elsewhere.as_str())]).await;
    let read = web.post(&url, &[("code", "secret")]).await.expect("answered");
    assert_eq!(read.status, 302, "it was not followed");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_kept() {
    let web = Web::new(None).expect("a client");
    let endless = [answer("")[..15].to_vec(), b"\r\n\r\n".to_vec(), vec![b' '; MOST_BYTES + 1]];
    let refused = web.get(&answers(vec![endless.concat()]).await).await.expect_err("too large");
    assert!(matches!(refused, WebError::TooLarge { .. }), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_an_answer_that_does_not_come() {
    let web = Web::new(None).expect("a client");
    let url = answers(vec![b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n".to_vec()]).await;
    let refused = web.get(&url).await.expect_err("it does not end");
    assert!(matches!(refused, WebError::Slow { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_provider_is_believed_by_the_ca_that_is_named_and_by_no_other() {
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    let (made, other) = (pair(), pair());
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = crate::tls::public_side(pem.as_bytes(), key.as_bytes(), None).expect("usable");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&answer("{}")).await;
        }
    });
    let url = address(&format!("https://localhost:{port}/"), false).expect("an address");
    let web = Web::new(Some(pem.as_bytes())).expect("a CA");
    assert_eq!(web.get(&url).await.expect("it is trusted").body, b"{}");
    for untrusting in [Web::new(Some(other.cert.pem().as_bytes())), Web::new(None)] {
        let refused = untrusting.expect("a client").get(&url).await.expect_err("nobody it trusts");
        assert!(matches!(refused, WebError::Unreached { .. }), "{refused:?}");
    }
    assert!(matches!(Web::new(Some(b"no CA")), Err(WebError::NoRoots)));
}
